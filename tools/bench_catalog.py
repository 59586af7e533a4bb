"""Time the documents of a release, without any pixel, against pystac.

N items in areas of 500 go through the whole build: item documents, area catalogs, manifests, collection, index, and
the move into place. Only the worker that would encode COGs is another one: it makes up what a COG would have told of
itself. pystac normalises and saves the same items, already made, in the same tree of a catalog an area, without hashes,
manifests or index. (All of them in one catalog would be no fair match: there it takes the square of their number.)

Each size runs in a process of its own, so that its peak of memory is its own. With --items above 20,000 that size is
run as well, to compare the time per item.
"""

import argparse
import hashlib
import importlib.metadata
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pystac

from catalog_builder import jsonio, layout, manifest, template
from catalog_builder.build import build
from catalog_builder.cog import CogAsset, CogBand
from catalog_builder.executor import default_jobs, open_executor
from catalog_builder.grid import TileGrid, TileRange
from catalog_builder.item import AssetRecord, item_document
from catalog_builder.placement import place_source
from catalog_builder.plan import Plan, PlannedArea, PlannedSource, TileJob
from catalog_builder.raster import RasterHeader
from catalog_builder.sources import Area, Source
from catalog_builder.template import Modality, Template, TemplateSet
from catalog_builder.tile import TileResult, item_summary
from catalog_builder.workspace import Overlay

COLLECTION = "france"
COLUMNS, ROWS = 25, 20
ITEMS_PER_AREA = COLUMNS * ROWS
AREAS_PER_ZONE = 80
REFERENCE = 20_000
WHEN = datetime(2021, 6, 18, 10, 36, tzinfo=UTC)
PEAK_LIMIT = 1e9
MEMORY_NEEDED = 6e9
"""Bytes that must be free in memory to write there: 200,000 items are 2 GB."""
RUNS = ("ours", "pystac_tree", "pystac_flat")

EXAMPLES = """\
examples:
  python tools/bench_catalog.py                                 20,000 items against pystac: a minute
  python tools/bench_catalog.py --items 200000                  200,000 and 20,000 items, and pystac at 20,000
  python tools/bench_catalog.py --items 2000 --no-pystac        a quick look
"""


# --- made-up areas, without rasters -----------------------------------------------------------------------------------


def planned_area(number: int, collection: Template, root_title: str) -> PlannedArea:
    """Lay an area of 500 tiles somewhere on the northern half of the Earth; no two overlap."""
    zone, place = divmod(number, AREAS_PER_ZONE)
    shape = collection.grid.tile_shape
    grid = TileGrid(
        crs=f"EPSG:{32631 + zone}",
        resolution=collection.grid.resolution,
        origin=(0.0, shape[0] * collection.grid.resolution),
        tile_shape=shape,
        rows="north",
    )
    column, row = COLUMNS * (1 + place % 2), ROWS * (place // 2)
    tiles = TileRange(grid=grid, columns=range(column, column + COLUMNS), rows=range(row, row + ROWS))
    name = f"area_{number:04d}"
    sources = tuple(planned_source(modality, name, tiles) for modality in collection.modalities.values())
    area = Area(
        collection=collection.id,
        id=name,
        title=f"Area {number}",
        sources=tuple(planned.source for planned in sources),
        required=("s2",),
        file=Path("sources.toml"),
    )
    return PlannedArea(area=area, template=collection, root_title=root_title, grid=grid, tiles=tiles, sources=sources)


def planned_source(modality: Modality, area: str, tiles: TileRange) -> PlannedSource:
    """Make up one raster that covers an area."""
    path = Path(area) / f"{modality.key}.tif"
    rows, columns = tiles.grid.tile_shape
    header = RasterHeader(
        path=path,
        driver="GTiff",
        crs=tiles.grid.crs,
        transform=tiles.grid.tile(tiles.columns[0], tiles.rows[-1]).transform,
        shape=(rows * len(tiles.rows), columns * len(tiles.columns)),
        count=len(modality.bands),
        data_type=modality.data_type,
        nodata=modality.nodata,
        has_mask=False,
        scaling=(1.0, 0.0),
    )
    bands = tuple(range(1, header.count + 1))
    placed = place_source(modality, bands, [(header, made_up_sha256(str(path)))], tiles.grid)
    source = Source(asset=modality.key, paths=(path,), start=WHEN, end=WHEN, properties={"dream:synthetic": True})
    return PlannedSource(source=source, placed=placed)


def make_plan(items: int) -> Plan:
    templates: TemplateSet = template.load(template.default_folder())
    root_title = str(templates.catalog["title"])
    areas = [
        planned_area(number, templates.collections[COLLECTION], root_title) for number in range(items // ITEMS_PER_AREA)
    ]
    return Plan(templates=templates, areas=tuple(areas))


# --- made-up tiles ----------------------------------------------------------------------------------------------------


def made_up_sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def made_up_bands(names: tuple[str, ...], data_type: str, nodata: str, level: int) -> tuple[CogBand, ...]:
    """Make up bands; few enough sorts that making them up takes no time worth mentioning."""
    numbers = {"minimum": 1.0, "maximum": level / 7 + 2, "mean": level / 19 + 1, "stddev": level / 77}
    statistics = numbers | {"valid_percent": 100.0}
    return tuple(CogBand(name=name, data_type=data_type, nodata=float(nodata), statistics=statistics) for name in names)


def made_up_record(job: TileJob, planned: PlannedSource, transform: tuple[float, ...]) -> AssetRecord:
    """Make up what the COG of a modality would have told of itself."""
    modality, tile = planned.modality, job.place.tile
    sha256 = made_up_sha256(f"{tile.name}/{modality.key}")
    cog = CogAsset(
        crs=tile.grid.crs,
        transform=transform,
        shape=tile.grid.tile_shape,
        bands=made_up_bands(modality.band_names, modality.data_type, str(modality.nodata), int(sha256[0], 16)),
        size=1_000_000 + int(sha256[:5], 16),
        sha256=sha256,
    )
    return AssetRecord(
        modality=modality,
        cog=cog,
        start=planned.source.start,
        end=planned.source.end,
        resampling=planned.placed.resampling,
        inputs=sha256[::-1],
        properties=planned.source.properties,
    )


def make_item(job: TileJob) -> tuple[dict[str, Any], list[AssetRecord]]:
    transform = tuple(job.place.tile.transform)[:6]
    records = [made_up_record(job, planned, transform) for planned in job.sources]
    return item_document(job.place, records, job.outline, None), records


def make_tile(job: TileJob, overlay: Overlay) -> TileResult:
    """Stage the item of a tile, and no other file; stands in for ``build_tile``."""
    document, records = make_item(job)
    data = jsonio.dumps(document)
    overlay.put(job.place.href, data)
    files = {layout.asset_file(record.modality.key): record.cog.sha256 for record in records}
    tile = job.place.tile
    return TileResult(
        item_id=job.place.item_id,
        column=tile.column,
        row=tile.row,
        valid_percent={record.modality.key: record.cog.valid_percent for record in records},
        files=files | {f"{job.place.item_id}.json": manifest.sha256(data)},
        size=sum(record.cog.size for record in records),
        item=item_summary(document),
    )


def put_placeholders(plan: Plan, release: Path) -> None:
    """Put empty space, as large as the items say, where the COGs would be: the next build looks for them."""
    for area in plan.areas:
        for job in area.jobs():
            for record in make_item(job)[1]:
                path = release / job.place.file(layout.asset_file(record.modality.key))
                path.touch()
                os.truncate(path, record.cog.size)


# --- runs, each in a process of its own -------------------------------------------------------------------------------


class Stopwatch:
    """Progress of a build as the seconds at which each step began."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.steps: list[tuple[str, float]] = []

    def start(self, tiles: int) -> None:
        """Hear how many tiles there are."""

    def tile(self, result: TileResult) -> None:
        """Hear of a tile."""

    def note(self, text: str) -> None:
        """Hear of a step."""
        self.steps.append((text, time.perf_counter() - self.began))

    def since(self, word: str) -> float:
        """Give the seconds since the first step that tells of ``word``."""
        return time.perf_counter() - self.began - next(at for text, at in self.steps if word in text)


def run_ours(items: int, jobs: int, *, again: bool) -> dict[str, Any]:
    """Build N items, and with ``again`` once more with nothing to do."""
    plan = make_plan(items)
    with temporary_folder() as folder, open_executor(jobs) as executor:
        release = folder / "release"
        # Workers import what they need before the clock starts.
        build(make_plan(ITEMS_PER_AREA), folder / "warm_up", executor, Stopwatch(), make_tile=make_tile)
        watch = Stopwatch()
        report = build(plan, release, executor, watch, window=4 * jobs, make_tile=make_tile)
        moving = watch.since("moving")
        index = watch.since("writing items/") - moving
        whole = time.perf_counter() - watch.began
        result: dict[str, Any] = {
            "items": report.items,
            "areas": report.areas,
            "seconds": {"json": whole - index, "index": index, "moving": moving, "whole": whole},
            "microseconds_per_item": whole / report.items * 1e6,
            "peak_bytes": peaks(executor, jobs),
            "index_bytes": (release / layout.index(COLLECTION)).stat().st_size,
        }
        if again:
            put_placeholders(plan, release)
            watch = Stopwatch()
            report = build(plan, release, executor, watch, window=4 * jobs, make_tile=make_tile)
            if report.files:
                raise SystemExit(f"the rebuild with nothing to do changed {report.files} files")
            result["seconds"]["no_op"] = time.perf_counter() - watch.began
        return result


def peaks(executor: Executor, jobs: int) -> dict[str, int]:
    """Give the peak of memory of this process and of its workers."""
    workers = dict(executor.map(peak, [0.2] * 4 * jobs))
    workers.pop(os.getpid(), None)
    return {"build": peak(0)[1], "workers": max(workers.values(), default=0), "all": peak(0)[1] + sum(workers.values())}


def peak(seconds: float) -> tuple[int, int]:
    """Give the id of this process and its peak of memory; takes its time, so that every worker has its turn."""
    time.sleep(seconds)
    return os.getpid(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def run_pystac(items: int, *, flat: bool) -> dict[str, Any]:
    """Normalise and save the same items, in one collection or in a catalog an area as ours are."""
    plan = make_plan(items)
    root = pystac.Catalog.from_dict(dict(plan.templates.catalog))
    collection = pystac.Collection.from_dict(dict(plan.templates.collections[COLLECTION].document))
    root.add_child(collection)
    for area in plan.areas:
        parent: pystac.Catalog = collection
        if not flat:
            parent = pystac.Catalog(id=area.area.id, title=area.area.title, description=area.area.title)
            collection.add_child(parent)
        parent.add_items(pystac.Item.from_dict({**make_item(job)[0], "links": []}) for job in area.jobs())
    with temporary_folder() as folder:
        started = time.perf_counter()
        root.normalize_and_save(str(folder), pystac.CatalogType.SELF_CONTAINED)
        seconds = time.perf_counter() - started
    return {
        "catalogs": "one collection" if flat else "same tree",
        "items": items,
        "seconds": seconds,
        "peak_bytes": peak(0)[1],
    }


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Make a folder in memory where there is one.

    A disk's own time is the same for everybody, and on some file systems depends on what was deleted just before.
    """
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > MEMORY_NEEDED
    base = memory if roomy and "TMPDIR" not in os.environ else None
    with tempfile.TemporaryDirectory(prefix="bench_catalog_", dir=base) as folder:
        yield Path(folder)


def alone(run: str, items: int, jobs: int) -> dict[str, Any]:
    """Run one size in a process of its own."""
    say(f"{run}: {items:,} items")
    command = [sys.executable, __file__, "--only", run, "--items", str(items), "--jobs", str(jobs)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


# --- the command ------------------------------------------------------------------------------------------------------


def compare(items: int, jobs: int, rivals: Sequence[str]) -> dict[str, Any]:
    small = min(items, REFERENCE)
    ours = {small: alone("ours", small, jobs)}
    if items > small:
        ours[items] = alone("ours", items, jobs)
    report: dict[str, Any] = {"ours": list(ours.values())}
    seconds = ours[small]["seconds"]
    targets = [
        at_most(f"no-op rebuild of {small:,} items against the first build", seconds["no_op"] / seconds["whole"], 0.1),
        at_most(
            f"peak of memory of all processes at {items:,} items, bytes", ours[items]["peak_bytes"]["all"], PEAK_LIMIT
        ),
    ]
    if items > small:
        growth = ours[items]["microseconds_per_item"] / ours[small]["microseconds_per_item"]
        targets.append(at_most(f"time per item at {items:,} against {small:,}", growth, 1.3))
    report["pystac"] = [alone(run, small, jobs) for run in rivals]
    for theirs in report["pystac"]:
        rival = f"of {small:,} items against pystac, {theirs['catalogs']}"
        targets += [
            at_least(f"JSON {rival}", theirs["seconds"] / seconds["json"], 10),
            at_least(f"whole {rival}", theirs["seconds"] / seconds["whole"], 4),
        ]
    return report | {"targets": targets}


def at_least(name: str, measured: float, limit: float) -> dict[str, Any]:
    return {"name": name, "measured": round(measured, 3), "at_least": limit, "met": measured >= limit}


def at_most(name: str, measured: float, limit: float) -> dict[str, Any]:
    return {"name": name, "measured": round(measured, 3), "at_most": limit, "met": measured <= limit}


def machine() -> dict[str, Any]:
    """Say what the figures depend on."""
    names = ("catalog-builder", "orjson", "pyarrow", "pystac", "stac-geoparquet")
    versions = {name: importlib.metadata.version(name) for name in names}
    return {"versions": {"python": platform.python_version(), **versions}, "cpus": default_jobs()}


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def tell(report: dict[str, Any]) -> None:
    """Write the short table for people."""
    for ours in report["ours"]:
        times = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in ours["seconds"].items())
        say(f"ours, {ours['items']:,} items: {times}; {ours['microseconds_per_item']:.0f} us an item")
        say("  peak " + ", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in ours["peak_bytes"].items()))
    for theirs in report.get("pystac", ()):
        say(f"pystac, {theirs['items']:,} items, {theirs['catalogs']}: {theirs['seconds']:.2f} s, "
            f"peak {theirs['peak_bytes'] / 1e6:.0f} MB")  # fmt: skip
    for one in report["targets"]:
        limit = f"at least {one['at_least']:g}" if "at_least" in one else f"at most {one['at_most']:g}"
        say(f"{'met   ' if one['met'] else 'MISSED'} {one['measured']:12g} ({limit})  {one['name']}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, default=REFERENCE, help=f"multiple of {ITEMS_PER_AREA} (default: 20000)")
    parser.add_argument("--jobs", type=int, default=default_jobs(), help="worker processes (default: one a core)")
    parser.add_argument("--no-pystac", action="store_true", help="leave pystac out")
    parser.add_argument("--one-collection", action="store_true", help="run pystac with one collection too: 8 minutes")
    parser.add_argument("--only", choices=RUNS, help="one run in this very process")
    return parser.parse_args()


def rivals(args: argparse.Namespace) -> Sequence[str]:
    return () if args.no_pystac else RUNS[1:] if args.one_collection else RUNS[1:2]


def main() -> None:
    args = arguments()
    most = 6 * AREAS_PER_ZONE * ITEMS_PER_AREA
    if args.items % ITEMS_PER_AREA or not ITEMS_PER_AREA <= args.items <= most:
        sys.exit(f"--items {args.items}: a multiple of {ITEMS_PER_AREA}, at most {most}")
    if args.only == "ours":
        print(json.dumps(run_ours(args.items, args.jobs, again=args.items <= REFERENCE)))
    elif args.only:
        print(json.dumps(run_pystac(args.items, flat=args.only == "pystac_flat")))
    else:
        report = {"benchmark": "catalog", **machine()}
        report |= compare(args.items, args.jobs, rivals(args))
        tell(report)
        print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
