"""Time a whole build against what a user would write, and against the floor.

The same rasters (tiles of four modalities: S2-like 4 x uint16, S1-like 2 x float32, int16 metres, uint8 classes) go
through

  ours    our whole build: headers, hashes, COGs, items, collection, index, manifests, all moved into place;
  serial  what a user writes: a raster at a time `cog_translate`, `rio_stac.create_stac_item` with statistics, pystac;
  pool    the same in worker processes;
  floor   nothing but decode + predictor + compress of the same blocks, overviews included, in worker processes.

They run in turn, round by round; a ratio compares two runs of one round. All pools are warm, so start-up is not in
these times; it is measured apart, as what the command `catalog-builder build` takes more.
"""

import argparse
import cProfile
import importlib.metadata
import json
import os
import platform
import pstats
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pystac
import rasterio
import rio_stac
from affine import Affine
from rasterio.io import MemoryFile
from rio_cogeo.cogeo import cog_translate

from catalog_builder import cog, synthetic, template
from catalog_builder.build import BuildReport, build
from catalog_builder.executor import SerialExecutor, default_jobs, open_executor
from catalog_builder.fingerprint import Fingerprints
from catalog_builder.grid import TileGrid
from catalog_builder.plan import make_plan
from catalog_builder.progress import TileProgress
from catalog_builder.raster import gdal_environment
from catalog_builder.sources import load
from catalog_builder.template import CogOptions, Modality, TemplateSet

Pixels = npt.NDArray[Any]

COLLECTION = "france"
MODALITIES = ("s2", "s1", "srtm", "osm")
SIDE = 1024
COLUMNS = 4
"""Tiles in a row of the area."""
GRID = TileGrid(crs="EPSG:32631", resolution=10.0, origin=(0.0, SIDE * 10.0), rows="north")
FIRST = (40, 480)
"""Column, row of the lower-left tile on the global grid."""
WHEN = datetime(2021, 6, 18, 10, 36, tzinfo=UTC)
LEVEL = 9
"""Level of ZSTD at which ours and the user's way are compared."""
CODECS = (*(CogOptions(level=level) for level in (1, 3, 6, 9, 15)), CogOptions(compress="DEFLATE", level=6))

EXAMPLES = """\
examples:
  python tools/bench_build.py                                 16 tiles x 4 modalities, 3 rounds: four minutes
  python tools/bench_build.py --tiles 4 --rounds 1            a quick look
  python tools/bench_build.py --real ../shared/real           pixels of real rasters
  python tools/bench_build.py --codecs --real ../shared/real  size against time of each codec
  python tools/bench_build.py --steps                         where the time of our build goes, in one process
"""


# --- rasters ----------------------------------------------------------------------------------------------------------


def synthetic_pixels(tiles: int) -> Iterator[dict[str, Pixels]]:
    """Cut tiles out of the landscapes of the demonstration, all drawn at 10 m."""
    for place in synthetic.AREAS[: -(-tiles // COLUMNS)]:
        area = replace(place, pixel=GRID.resolution)
        scene = synthetic.make_scene(area, 2 * SIDE)
        sources = {source.asset: source for source in area.sources}
        layers = {key: synthetic.make_raster(area, scene, sources[key]).pixels for key in MODALITIES if key != "srtm"}
        # Metres on the tiles' own grid: all that is copied here is copied bit for bit.
        layers["srtm"] = np.rint(scene.height).astype(np.int16)[None]
        for top in (0, SIDE):
            for left in (0, SIDE):
                yield {key: pixels[:, top : top + SIDE, left : left + SIDE] for key, pixels in layers.items()}


def real_rasters(folder: Path) -> dict[str, Pixels]:
    """Read real rasters in their own shape: Sentinel-2 and elevation at 10 m, Sentinel-1 in dB."""
    reflectance = [_read(path) for path in sorted(folder.glob("laos_sentinel2/*_B0[2348].tif"))]
    backscatter = [_read(path) for path in sorted(folder.glob("france_sentinel1/*.tif"))]
    elevation = _read(folder / "wales_dem" / "AberSRTM_4326.tif")
    if not reflectance or not backscatter:
        sys.exit(f"{folder}: no laos_sentinel2/*_B0?.tif or no france_sentinel1/*.tif in this folder")
    return {"s2": np.concatenate(reflectance), "s1": backscatter[0], "srtm": elevation}


def _read(path: Path) -> Pixels:
    with rasterio.open(path) as dataset:
        return np.asarray(dataset.read())


def real_pixels(folder: Path, tiles: int) -> Iterator[dict[str, Pixels]]:
    """Fill tiles from real rasters; classes are synthetic, for there are none at hand."""
    real = real_rasters(folder)
    for number, drawn in enumerate(synthetic_pixels(tiles)):
        filled = {key: _patchwork(pixels, number) for key, pixels in real.items()}
        # The one band at hand stands for both: turned over, and as weak as the cross-polarised one is.
        filled["s1"] = np.concatenate([filled["s1"], filled["s1"][:, ::-1] * np.float32(1.55)])
        yield drawn | filled


def _patchwork(pixels: Pixels, number: int) -> Pixels:
    """Lay a raster side by side until it fills a tile.

    Each copy of floats is a little larger than the last, so that no codec can take one for a repeat of another.
    """
    count, rows, columns = pixels.shape
    rolled = np.roll(pixels, (61 * number, 37 * number), axis=(1, 2))
    down, across = -(-SIDE // rows), -(-SIDE // columns)
    step = 1 / 73 if pixels.dtype.kind == "f" else 0
    patches = [
        [rolled * np.asarray(1 + step * (row * across + column), pixels.dtype) for column in range(across)]
        for row in range(down)
    ]
    return np.block(patches)[:, :SIDE, :SIDE].reshape(count, SIDE, SIDE)


def write_rasters(folder: Path, tiles: Iterable[dict[str, Pixels]], count: int, templates: TemplateSet) -> int:
    """Write one GeoTIFF a tile and modality, and the sources.toml that lists them; give the bytes of all pixels."""
    size = 0
    for number, layers in zip(range(count), tiles, strict=False):
        for key in MODALITIES:
            path = folder / key / f"{key}_{number:02d}.tif"
            write_raster(path, layers[key], number, templates.collections[COLLECTION].modalities[key])
            size += layers[key].nbytes
    text = f'[[area]]\ncollection = "{COLLECTION}"\nid = "bench"\ntitle = "Bench"\n'
    text += f'crs = "{GRID.crs}"\nrequired = ["s2"]\n'
    for key in MODALITIES:
        text += f'\n[[area.source]]\nasset = "{key}"\nhref = "{key}/*.tif"\ndatetime = {WHEN.isoformat()}\n'
    (folder / "sources.toml").write_text(text)
    return size


def write_raster(path: Path, pixels: Pixels, number: int, modality: Modality) -> None:
    """Write one tile on the grid, as the synthetic rasters of the demonstration are written."""
    path.parent.mkdir(exist_ok=True)
    profile = {
        "driver": "GTiff", "crs": GRID.crs, "transform": transform_of(number), "nodata": modality.nodata,
        "count": len(pixels), "height": SIDE, "width": SIDE, "dtype": pixels.dtype, "photometric": "minisblack",
        "tiled": True, "blockxsize": 512, "blockysize": 512, "interleave": "band",
        "compress": "zstd", "zstd_level": 1, "predictor": 3 if pixels.dtype.kind == "f" else 2,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(pixels)


def transform_of(number: int) -> Affine:
    return GRID.tile(FIRST[0] + number % COLUMNS, FIRST[1] - number // COLUMNS).transform


# --- ours -------------------------------------------------------------------------------------------------------------


def at_level(templates: TemplateSet, options: CogOptions) -> TemplateSet:
    """Give the templates with other COG options."""
    collections = {name: replace(one, cog=options) for name, one in templates.collections.items()}
    return replace(templates, collections=collections)


def our_build(sources: Path, release: Path, executor: Executor, jobs: int, templates: TemplateSet) -> BuildReport:
    plan = make_plan(load(sources / "sources.toml", templates), templates, Fingerprints())
    return build(plan, release, executor, TileProgress(sys.stderr, quiet=True), window=4 * jobs)


# --- what a user writes -----------------------------------------------------------------------------------------------


def user_tile(number: int, sources: Path, release: Path, level: int) -> int:
    """Translate the rasters of one tile and write its item; give the bytes of the COGs."""
    folder = release / f"bench_{number:02d}"
    folder.mkdir()
    size, items = 0, []
    for key in MODALITIES:
        target = folder / f"{key}.tif"
        user_cog(sources / key / f"{key}_{number:02d}.tif", target, key, level)
        item = rio_stac.create_stac_item(
            str(target), input_datetime=WHEN, id=folder.name, asset_name=key, asset_roles=["data"],
            with_proj=True, with_raster=True,
        )  # fmt: skip
        items.append(item)
        size += target.stat().st_size
    for other in items[1:]:
        for key, asset in other.assets.items():
            items[0].add_asset(key, asset)
    items[0].save_object(include_self_link=False, dest_href=str(folder / f"{folder.name}.json"))
    return size


def user_cog(source: Path, target: Path, key: str, level: int) -> None:
    """Translate with the options that our COGs have."""
    predictor = {"s1": 3, "osm": 1}.get(key, 2)
    profile = {
        "driver": "GTiff", "interleave": "pixel", "tiled": True, "blockxsize": 512, "blockysize": 512,
        "compress": "ZSTD", "zstd_level": level, "predictor": predictor,
    }  # fmt: skip
    resampling: Literal["mode", "average"] = "mode" if key == "osm" else "average"
    config = {"ZSTD_LEVEL_OVERVIEW": level, "PREDICTOR_OVERVIEW": predictor}
    cog_translate(
        source, target, profile, in_memory=True, overview_level=1, overview_resampling=resampling, config=config,
        quiet=True,
    )  # fmt: skip


def user_catalog(tiles: int, release: Path) -> None:
    """Save the catalog that lists the items."""
    catalog = pystac.Catalog(id="bench", description="Bench")
    for number in range(tiles):
        name = f"bench_{number:02d}"
        catalog.add_item(pystac.Item.from_file(str(release / name / f"{name}.json")))
    catalog.normalize_and_save(str(release), pystac.CatalogType.SELF_CONTAINED)


def user_build(sources: Path, release: Path, executor: Executor, tiles: int, level: int) -> int:
    release.mkdir()
    size = sum(executor.map(partial(user_tile, sources=sources, release=release, level=level), range(tiles)))
    user_catalog(tiles, release)
    return size


# --- the floor --------------------------------------------------------------------------------------------------------


def floor_tile(number: int, sources: Path, level: int) -> int:
    """Decode the rasters of one tile and compress what a COG holds of them; give the bytes."""
    codec = pa.Codec("zstd", compression_level=level)
    size = 0
    for key in MODALITIES:
        with gdal_environment(), rasterio.open(sources / key / f"{key}_{number:02d}.tif") as dataset:
            pixels = dataset.read()
        for image in (pixels, half(pixels, classes=key == "osm")):
            for block in blocks(image):
                size += len(codec.compress(block if key == "osm" else predicted(block)))
    return size


def half(pixels: Pixels, *, classes: bool) -> Pixels:
    """Make the overview; the mode of classes is taken for free here."""
    if classes:
        return pixels[:, ::2, ::2]
    quarters = [pixels[:, row::2, column::2].astype(np.float32) for row in (0, 1) for column in (0, 1)]
    return np.asarray((quarters[0] + quarters[1] + quarters[2] + quarters[3]) / 4).astype(pixels.dtype)


def blocks(pixels: Pixels) -> Iterator[Pixels]:
    """Cut pixels (bands, rows, columns) in blocks of 512, bands last, as a COG holds them."""
    for top in range(0, pixels.shape[1], 512):
        for left in range(0, pixels.shape[2], 512):
            yield np.ascontiguousarray(np.moveaxis(pixels[:, top : top + 512, left : left + 512], 0, 2))


def predicted(block: Pixels) -> Pixels:
    """Difference along rows as TIFF does: of values (predictor 2), of the bytes of floats plane by plane (3)."""
    rows, columns, bands = block.shape
    if block.dtype.kind == "f":
        planes = block.view(np.uint8).reshape(rows, columns * bands, 4).transpose(0, 2, 1)[:, ::-1]
        values = np.ascontiguousarray(planes).reshape(rows, -1)
    else:
        values = block.reshape(rows, -1)
    result = values.copy()
    np.subtract(values[:, bands:], values[:, :-bands], out=result[:, bands:])
    return result


def floor(sources: Path, executor: Executor, tiles: int, level: int) -> int:
    return sum(executor.map(partial(floor_tile, sources=sources, level=level), range(tiles)))


# --- rounds -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What all runs share."""

    sources: Path
    folder: Path
    tiles: int
    jobs: int
    level: int
    templates: TemplateSet
    ours: Executor
    pool: Executor
    """Processes for the user's way and for the floor."""

    def runs(self, name: str) -> dict[str, Callable[[], int]]:
        """Give the contestants of a round, each with the bytes that it makes."""
        release = self.folder / name
        same = at_level(self.templates, CogOptions(level=self.level))
        build = partial(our_build, self.sources, executor=self.ours, jobs=self.jobs)
        user = partial(user_build, self.sources, tiles=self.tiles, level=self.level)
        return {
            "ours": lambda: build(release / "ours", templates=same).size,
            "serial": lambda: user(release / "serial", executor=SerialExecutor()),
            "pool": lambda: user(release / "pool", executor=self.pool),
            "floor": lambda: floor(self.sources, self.pool, self.tiles, self.level),
            "ours_default": lambda: build(release / "default", templates=self.templates).size,
        }

    def round(self, name: str) -> tuple[dict[str, float], dict[str, int]]:
        """Run all contestants once: seconds and bytes of each."""
        (self.folder / name).mkdir()
        seconds, sizes = {}, {}
        for run, function in self.runs(name).items():
            started = time.perf_counter()
            sizes[run] = function()
            seconds[run] = time.perf_counter() - started
            say(f"  {name}: {run:<13} {seconds[run]:6.2f} s")
        shutil.rmtree(self.folder / name)
        return seconds, sizes


@contextmanager
def open_bench(args: argparse.Namespace, folder: Path, tiles: int) -> Iterator[Bench]:
    """Open the pools and warm them, so that no run pays for the start of another's."""
    context = get_context("spawn")
    with open_executor(args.jobs) as ours, ProcessPoolExecutor(args.jobs, mp_context=context) as pool:
        bench = Bench(
            sources=folder / "sources", folder=folder, tiles=tiles, jobs=args.jobs, level=args.level,
            templates=template.load(template.default_folder()), ours=ours, pool=pool,
        )  # fmt: skip
        wait_for([executor.submit(time.sleep, 0.5) for executor in (ours, pool) for _ in range(args.jobs)])
        yield bench


def ratios(rounds: list[dict[str, float]], run: str, other: str) -> float:
    """How many times as fast as ``other`` a run is: median over the rounds."""
    return median(seconds[other] / seconds[run] for seconds in rounds)


def compare(args: argparse.Namespace, folder: Path, pixel_bytes: int) -> dict[str, Any]:
    with open_bench(args, folder, args.tiles) as bench:
        bench.round("warm_up")
        measured = [bench.round(f"round_{number}") for number in range(1, args.rounds + 1)]
    rounds, sizes = [seconds for seconds, _ in measured], measured[0][1]
    targets = [
        target("ours, same codec and level, against the user's way, serial", ratios(rounds, "ours", "serial"), 2.2),
        target("ours, same codec and level, against the user's way, pool", ratios(rounds, "ours", "pool"), 1.3),
        target("ours, same codec and level, against the floor", ratios(rounds, "ours", "floor"), 0.6),
        target(f"ours, default level, against the user's way, serial, level {args.level}",
               ratios(rounds, "ours_default", "serial"), 4.0),
    ]  # fmt: skip
    medians = {run: median(seconds[run] for seconds in rounds) for run in rounds[0]}
    return {
        "tiles": args.tiles,
        "rasters": args.tiles * len(MODALITIES),
        "pixel_bytes": pixel_bytes,
        "level": args.level,
        "default_level": bench.templates.collections[COLLECTION].cog.level,
        "floor": "rasterio decode, numpy predictor, pyarrow zstd, no file written",
        "rounds": rounds,
        "median_seconds": medians,
        "cog_bytes": sizes,
        "start_up_seconds": start_up(args, folder, medians["ours_default"]),
        "targets": targets,
    }


def target(name: str, ratio: float, at_least: float) -> dict[str, Any]:
    return {"name": name, "ratio": round(ratio, 3), "at_least": at_least, "met": ratio >= at_least}


def start_up(args: argparse.Namespace, folder: Path, warm: float) -> dict[str, float]:
    """Time the bare interpreter and the whole command: what the latter takes more than a warm build is start-up."""
    environment = os.environ | {"XDG_CACHE_HOME": str(folder / "cache")}
    command = [sys.executable, "-m", "catalog_builder.cli", "build", "--quiet", "--jobs", str(args.jobs)]
    times = []
    for number in range(2):
        started = time.perf_counter()
        words = [*command, str(folder / "sources" / "sources.toml"), str(folder / f"command_{number}")]
        subprocess.run(words, check=True, env=environment, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - started)
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    bare = time.perf_counter() - started
    return {"interpreter": bare, "command": min(times), "command_less_warm_build": min(times) - warm}


# --- codecs and steps -------------------------------------------------------------------------------------------------


def codec_table(args: argparse.Namespace, tiles: Iterable[dict[str, Pixels]]) -> dict[str, Any]:
    """Encode the tiles with each codec, in this process: bytes and seconds of CPU by modality."""
    modalities = template.load(template.default_folder()).collections[COLLECTION].modalities
    rasters = [(key, layers[key]) for _, layers in zip(range(args.tiles), tiles, strict=False) for key in MODALITIES]
    rows = []
    for options in CODECS:
        for key in MODALITIES:
            chosen = [pixels for name, pixels in rasters if name == key]
            rows.append({"codec": f"{options.compress} {options.level}", "modality": key,
                         **_measure(chosen, modalities[key], options)})  # fmt: skip
            say(f"  {rows[-1]['codec']:<10} {key}")
    return {"tiles": args.tiles, "codecs": rows}


def _measure(rasters: list[Pixels], modality: Modality, options: CogOptions) -> dict[str, Any]:
    seconds = reading = 0.0
    size = 0
    for pixels in rasters:
        started = time.process_time()
        data = cog.encode(pixels, modality, GRID.tile(*FIRST), options)
        seconds += time.process_time() - started
        size += len(data)
        started = time.process_time()
        with gdal_environment(), MemoryFile(data) as memory, memory.open() as dataset:
            dataset.read()
        reading += time.process_time() - started
    return {
        "pixel_bytes": sum(pixels.nbytes for pixels in rasters),
        "bytes": size,
        "encode_seconds": seconds,
        "decode_seconds": reading,
    }


STEPS = {
    "fingerprint.py:sha256": "hash sources",
    "plan.py:make_plan": "plan (with hash sources)",
    "mosaic.py:read_tile": "read",
    "raster.py:is_valid": "valid pixels",
    "cog.py:encode": "encode",
    "cog.py:describe": "describe (with hash)",
    "manifest.py:hash_file": "hash",
    "thumbnail.py:thumbnail": "thumbnail",
    "footprint.py:valid_polygon": "footprint",
    "item.py:item_document": "item",
    "jsonio.py:dumps": "json",
    "workspace.py:stage": "stage files",
    "build.py:_write_index": "index",
    "workspace.py:commit": "commit",
    "build.py:build": "build, all",
}


def steps(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Profile one build in this process: cumulative seconds of CPU by step."""
    templates = template.load(template.default_folder())
    our_build(folder / "sources", folder / "warm_up", SerialExecutor(), 1, templates)
    profile = cProfile.Profile(time.process_time)
    profile.runcall(our_build, folder / "sources", folder / "profiled", SerialExecutor(), 1, templates)
    stats: dict[tuple[str, int, str], tuple[Any, ...]] = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    seconds: dict[str, float] = {}
    for (file, _, function), (_, _, _, cumulative, _) in stats.items():
        step = STEPS.get(f"{Path(file).name}:{function}")
        if step is not None and "catalog_builder" in file:
            seconds[step] = seconds.get(step, 0.0) + cumulative
    return {"tiles": args.tiles, "step_seconds": dict(sorted(seconds.items(), key=lambda pair: -pair[1]))}


# --- the command ------------------------------------------------------------------------------------------------------


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def machine() -> dict[str, Any]:
    """Say what the figures depend on."""
    names = ("catalog-builder", "numpy", "pyarrow", "pystac", "rasterio", "rio-cogeo", "rio-stac")
    versions = {name: importlib.metadata.version(name) for name in names}
    return {
        "versions": {"python": platform.python_version(), "gdal": rasterio.__gdal_version__, **versions},
        "cpus": default_jobs(),
    }


def tell(report: dict[str, Any]) -> None:
    """Write the short table for people."""
    for run, seconds in report.get("median_seconds", {}).items():
        say(f"{run:<14} {seconds:7.2f} s  {report['cog_bytes'][run] / 1e6:8.1f} MB")
    for one in report.get("targets", ()):
        say(f"{'met   ' if one['met'] else 'MISSED'} {one['ratio']:6.2f} (at least {one['at_least']:g})  {one['name']}")
    for name, seconds in report.get("start_up_seconds", {}).items():
        say(f"start-up: {name:<24} {seconds:6.2f} s")
    for name, seconds in report.get("step_seconds", {}).items():
        say(f"{name:<26} {seconds:7.3f} s")
    for row in report.get("codecs", ()):
        mega = row["pixel_bytes"] / 1e6
        share, encode, decode = row["bytes"] / 1e6 / mega, mega / row["encode_seconds"], mega / row["decode_seconds"]
        say(
            f"{row['codec']:<10} {row['modality']:<5} {share:6.1%} of {mega:6.1f} MB; "
            f"encode {encode:6.0f} MB/s, decode {decode:6.0f} MB/s"
        )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tiles", type=int, default=16, help="tiles, 4 modalities each; at most 16 (default: 16)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds to take medians of (default: 3)")
    parser.add_argument("--level", type=int, default=LEVEL, help=f"level of ZSTD compared at (default: {LEVEL})")
    parser.add_argument("--jobs", type=int, default=default_jobs(), help="worker processes (default: one a core)")
    parser.add_argument("--real", type=Path, metavar="DIR", help="take pixels from real rasters in this folder")
    parser.add_argument("--codecs", action="store_true", help="only: size against time of each codec")
    parser.add_argument("--steps", action="store_true", help="only: where the time of our build goes")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    if not 1 <= args.tiles <= COLUMNS * len(synthetic.AREAS):
        sys.exit(f"--tiles {args.tiles}: 1 to {COLUMNS * len(synthetic.AREAS)}")
    pixels = real_pixels(args.real, args.tiles) if args.real else synthetic_pixels(args.tiles)
    report: dict[str, Any] = {"benchmark": "build", **machine(), "pixels": "real" if args.real else "synthetic"}
    with tempfile.TemporaryDirectory(prefix="bench_build_") as name:
        folder = Path(name)
        if args.codecs:
            report |= codec_table(args, pixels)
        else:
            (folder / "sources").mkdir()
            say("making the rasters")
            size = write_rasters(folder / "sources", pixels, args.tiles, template.load(template.default_folder()))
            report |= steps(args, folder) if args.steps else compare(args, folder, size)
    tell(report)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
