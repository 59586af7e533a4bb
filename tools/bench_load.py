"""Time how fast tiles and chips become arrays, by every path, against plain reads by rasterio.

A tile is all modalities of an item; a chip is 256 x 256 pixels at a random place, of all modalities. The paths take
turns tile by tile and chip by chip, so that whatever else the machine does slows all of them alike; a ratio compares
two reads of the same pixels. Each reads in one thread unless it says otherwise, and opens its files anew each time:

  plain        rasterio.open(…).read(…) of the files of the release, without masks: what all others are held against;
  gdal_cog     the same reads of the same pixels as `gdal_translate -of COG` writes them by default (LZW, 512 blocks);
  to_numpy     catalog_builder.load.to_numpy, masks included;
  samples      catalog_builder.load.TileSamples; its chips lie on a grid, so fewer blocks are touched;
  torch        TileDataset in a DataLoader with two worker processes, where PyTorch is installed; in second and later
               epochs, so that over HTTP GDAL remembers a part of what it reads;
  to_xarray    catalog_builder.load.to_xarray, computed by dask in one thread; to_xarray_threads: in dask's own threads;
  odc_stac     odc.stac.load as its users call it, on the item's grid, without dask;
  stackstac    stackstac.stack of catalog_builder.load.for_stackstac, computed by dask in one thread.

Over HTTP the files come from `catalog_builder.serve` in a process of its own, and each path reads each tile from a port
of its own once, since GDAL remembers what it has read under an address.
"""

import argparse
import io
import itertools
import json
import multiprocessing
import platform
import random
import shutil
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import dask
import odc.stac
import pystac
import rasterio
import stackstac
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.shutil import copy as copy_raster
from rasterio.windows import Window

from catalog_builder import load, sources, synthetic, template
from catalog_builder.build import build
from catalog_builder.executor import default_jobs, open_executor
from catalog_builder.fingerprint import Fingerprints
from catalog_builder.plan import make_plan
from catalog_builder.progress import TileProgress
from catalog_builder.serve import make_server

CHIP = 256
PORTS = 400
WORKERS = 2

EXAMPLES = """\
examples:
  python tools/bench_load.py                            8 tiles of 5 modalities, local and over HTTP: two minutes
  python tools/bench_load.py --seconds 3               a quick look
  python tools/bench_load.py --release demo-release     the tiles of a release that is there already
"""

Box = tuple[int, int, int, int]
Read = Callable[[Any, Box | None], Any]
"""Reads an item, whole or a window (row, column, height, width) of it."""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# --- what is read ---------------------------------------------------------------------------------------------------


def made_release(folder: Path) -> Path:
    """Build the synthetic areas."""
    templates = template.load(template.default_folder())
    listing = synthetic.write_synthetic_sources(folder / "sources")
    plan = make_plan(sources.load(listing, templates), templates, Fingerprints())
    jobs = default_jobs()
    with open_executor(jobs) as executor:
        build(plan, folder / "release", executor, TileProgress(io.StringIO(), quiet=True))
    return folder / "release"


def read_items(release: Path, collection: str) -> list[dict[str, Any]]:
    """Give the items of a collection as a search gives them, with absolute hrefs."""
    catalog = pystac.Catalog.from_file(str(release / "catalog.json"))
    child = catalog.get_child(collection)
    if child is None:
        sys.exit(f"{release}: no collection {collection}")
    documents = []
    for item in child.get_items(recursive=True):
        document = item.to_dict(include_self_link=False, transform_hrefs=False)
        for key, asset in item.assets.items():
            document["assets"][key]["href"] = asset.get_absolute_href()
        documents.append(document)
    return documents


def moved(document: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    """Give an item whose files lie elsewhere."""
    assets = {
        key: {**asset, "href": new + asset["href"].removeprefix(old)} for key, asset in document["assets"].items()
    }
    return {**document, "assets": assets}


def as_gdal_writes(documents: list[dict[str, Any]], release: Path, folder: Path) -> None:
    """Write every raster anew with the COG driver's defaults."""
    for document in documents:
        for href in rasters(document).values():
            target = folder / Path(href).relative_to(release)
            target.parent.mkdir(parents=True, exist_ok=True)
            copy_raster(href, str(target), driver="COG")


def rasters(document: dict[str, Any]) -> dict[str, str]:
    return {key: asset["href"] for key, asset in document["assets"].items() if "bands" in asset}


# --- the paths ------------------------------------------------------------------------------------------------------


def plain(item: Any, box: Box | None) -> Any:
    window = None if box is None else Window(box[1], box[0], box[3], box[2])
    found = {}
    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"):
        for key, href in rasters(item).items():
            with rasterio.open(href) as dataset:
                found[key] = dataset.read(window=window)
    return found


def numpy_path(item: Any, box: Box | None) -> Any:
    return load.to_numpy(item, window=box)


def samples(item: Any, box: Box | None) -> Any:
    if box is None:
        return load.TileSamples(item)[0]
    chips = load.TileSamples(item, chip=CHIP)
    # The chip of its grid that lies nearest.
    across = item["properties"]["proj:shape"][1] // CHIP
    return chips[round(box[0] / CHIP) * across + round(box[1] / CHIP)]


def xarray_path(item: Any, box: Box | None, scheduler: str = "synchronous") -> Any:
    chunks: Any = "tile" if box is None else {"y": CHIP, "x": CHIP}
    with dask.config.set(scheduler=scheduler):
        return cut(load.to_xarray(item, chunks=chunks), box).compute()


def stackstac_path(item: Any, box: Box | None) -> Any:
    chunks = item["properties"]["proj:shape"][0] if box is None else CHIP
    with dask.config.set(scheduler="synchronous"):
        return cut(stackstac.stack(**load.for_stackstac(item), chunksize=chunks), box).compute()


def cut(data: Any, box: Box | None) -> Any:
    if box is None:
        return data
    row, column, height, width = box
    return data.isel(y=slice(row, row + height), x=slice(column, column + width))


def odc_path(item: Any, box: Box | None) -> Any:
    fields = item["properties"]
    grid = GeoBox(fields["proj:shape"], Affine(*fields["proj:transform"]), fields["proj:code"])
    if box is not None:
        grid = grid[box[0] : box[0] + box[2], box[1] : box[1] + box[3]]
    bands = [f"{key}.{n}" for key in rasters(item) for n in range(1, len(item["assets"][key]["bands"]) + 1)]
    return odc.stac.load([pystac.Item.from_dict(item)], bands=bands, geobox=grid)


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to read."""

    name: str
    read: Read
    files: str = "release"
    """The files that it reads: of the release, or as GDAL writes them."""


WAYS = (
    Way(name="plain", read=plain),
    Way(name="gdal_cog", read=plain, files="gdal_cog"),
    Way(name="to_numpy", read=numpy_path),
    Way(name="samples", read=samples),
    Way(name="to_xarray", read=xarray_path),
    Way(name="to_xarray_threads", read=partial(xarray_path, scheduler="threads")),
    Way(name="odc_stac", read=odc_path),
    Way(name="stackstac", read=stackstac_path),
)


# --- measuring ------------------------------------------------------------------------------------------------------


def timed(read: Read, item: Any, box: Box | None) -> float:
    started = time.perf_counter()
    read(item, box)
    return time.perf_counter() - started


def torch_rate(items: list[Any], chip: int | None, seconds: float) -> float:
    """Read by worker processes; their start is not in the time."""
    from torch.utils.data import DataLoader

    data = load.TileDataset(items, chip=chip)
    batch = 1 if chip is None else 8
    loader = DataLoader(
        data, batch_size=batch, num_workers=WORKERS, persistent_workers=True, multiprocessing_context="spawn"
    )
    list(loader)
    started, done = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        done += sum(len(one["item"]) for one in loader)
    return done / (time.perf_counter() - started)


def serve(folder: Path, count: int, pipe: Any) -> None:
    """Serve a folder at many ports, until the process is ended."""
    servers = [make_server(folder) for _ in range(count)]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    pipe.send([server.server_port for server in servers])
    threading.Event().wait()


@contextmanager
def served(folder: Path) -> Iterator[Iterator[str]]:
    """Serve a folder from a process of its own; gives addresses, each of which was never read before."""
    mine, other = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(folder, PORTS, other), daemon=True)
    process.start()
    try:
        yield (f"http://127.0.0.1:{port}" for port in mine.recv())
    finally:
        process.terminate()
        process.join()


def boxes(documents: list[Any], unit: str, number: int) -> list[Box | None]:
    """Give the part to read of each item: all of it, or a chip at a random place."""
    if unit == "tiles":
        return [None] * len(documents)
    draw, side = random.Random(number), documents[0]["properties"]["proj:shape"][0]
    return [(draw.randrange(side - CHIP), draw.randrange(side - CHIP), CHIP, CHIP) for _ in documents]


def measure(
    documents: list[Any], release: Path, place: Callable[[str], str], unit: str, args: argparse.Namespace
) -> dict[str, Any]:
    """Measure every path, tile by tile. ``place`` gives the address of the files, of those by GDAL where asked so."""
    for path in WAYS:  # imports, and what GDAL and dask make once
        path.read(moved(documents[0], str(release), place(path.files)), boxes(documents, unit, 0)[0])
    seconds: dict[str, list[float]] = {path.name: [] for path in WAYS}
    until = time.perf_counter() + args.seconds
    for number in itertools.count():
        bases = {path.name: place(path.files) for path in WAYS}
        for document, box in zip(documents, boxes(documents, unit, number), strict=True):
            for path in WAYS:
                item = moved(document, str(release), bases[path.name])
                seconds[path.name].append(timed(path.read, item, box))
            if time.perf_counter() > until:
                return summary(seconds, torch_part(documents, release, place, unit, args))
    raise AssertionError


def torch_part(
    documents: list[Any], release: Path, place: Callable[[str], str], unit: str, args: argparse.Namespace
) -> dict[str, float]:
    if find_spec("torch") is None:
        return {}
    items = [moved(document, str(release), place("release")) for document in documents]
    return {"torch": round(torch_rate(items, None if unit == "tiles" else CHIP, args.seconds / 5), 2)}


def summary(seconds: dict[str, list[float]], more: dict[str, float]) -> dict[str, Any]:
    """Give medians of rates, and of ratios to other reads of the same pixels."""

    def ratios(other: str) -> dict[str, float]:
        return {
            name: round(median(right / mine for right, mine in zip(seconds[other], own, strict=True)), 3)
            for name, own in seconds.items()
        }

    rates = {name: round(1 / median(own), 2) for name, own in seconds.items()} | more
    say("  " + ", ".join(f"{name} {value:.1f}" for name, value in rates.items()))
    return {
        "reads": len(seconds["plain"]),
        "per_second": rates,
        "ratio_to_plain": ratios("plain"),
        "ratio_to_gdal_cog": ratios("gdal_cog"),
    }


def at_least(name: str, measured: float, limit: float) -> dict[str, Any]:
    return {"name": name, "measured": measured, "at_least": limit, "met": measured >= limit}


def size(documents: list[Any], release: str, folder: str) -> int:
    """Count the bytes of the files that are read."""
    hrefs = (href for document in documents for href in rasters(moved(document, release, folder)).values())
    return sum(Path(href).stat().st_size for href in hrefs)


def run(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    say("making the tiles")
    release = (args.release or made_release(folder)).resolve()
    documents = read_items(release, args.collection)[: args.tiles]
    as_gdal_writes(documents, release, folder / "gdal_cog")
    folders = {"release": release, "gdal_cog": folder / "gdal_cog"}
    report: dict[str, Any] = {
        "benchmark": "load",
        "python": platform.python_version(),
        "gdal": rasterio.__gdal_version__,
        "tiles": len(documents),
        "modalities": list(rasters(documents[0])),
        "chip": CHIP,
        "torch": "with two workers" if find_spec("torch") else "not installed",
        "bytes": {name: size(documents, str(release), str(one)) for name, one in folders.items()},
    }
    for unit in ("tiles", "chips"):
        say(f"{unit} a second, local")
        report[f"local_{unit}"] = measure(documents, release, lambda name: str(folders[name]), unit, args)
    with served(release) as ours, served(folder / "gdal_cog") as theirs:
        addresses = {"release": ours, "gdal_cog": theirs}
        for unit in ("tiles", "chips"):
            say(f"{unit} a second, over HTTP")
            report[f"http_{unit}"] = measure(documents, release, lambda name: next(addresses[name]), unit, args)
    report["targets"] = [
        at_least(f"to_numpy against plain reads, {place} {unit}", value, args.least)
        for place, unit in itertools.product(("local", "http"), ("tiles", "chips"))
        for value in [report[f"{place}_{unit}"]["ratio_to_plain"]["to_numpy"]]
    ]
    return report


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--release", type=Path, help="a release to read (default: one is made of synthetic rasters)")
    parser.add_argument("--collection", default="france", help="the collection whose tiles are read (default: france)")
    parser.add_argument("--tiles", type=int, default=8, help="read at most so many tiles (default: 8)")
    parser.add_argument("--seconds", type=float, default=20, help="time for each of four parts (default: 20)")
    parser.add_argument("--least", type=float, default=0.9, help="share of plain reads that to_numpy has to reach")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    warnings.simplefilter("ignore")  # what the clients say of libraries of theirs
    folder = Path(tempfile.mkdtemp(prefix="bench_load_"))
    try:
        report = run(folder, args)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for one in report["targets"]:
        verdict = "met   " if one["met"] else "MISSED"
        say(f"{verdict} {one['measured']:8.3f} (at least {one['at_least']:g})  {one['name']}")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
