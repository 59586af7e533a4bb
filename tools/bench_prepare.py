"""Time the steps of `prepare` that handle most data, against what a user would otherwise do. Ratios within one run.

  s1-mean   against reading the same blocks on all cores, and against numpy on the whole arrays, with its memory;
  osm       against `osmium tags-filter`, ogr2ogr and gdal_rasterize (Debian: osmium-tool, gdal-bin), pixel by pixel;
  pauli     against reading the six files of the product from one end to the other.

Everything is a process of its own, started anew each time, and they run in turn. Memory is that of all its processes
together, shared pages counted once (PSS), at its highest. The Sentinel-1 dates and the UAVSAR files are drawn speckle;
the extract of OpenStreetMap is the real one of Andorra (DREAM_REAL_DATA or ../shared/real), side by side many times.
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import osmium
import psutil
import pyproj
import rasterio
from affine import Affine
from rasterio.windows import Window

from catalog_builder.executor import default_jobs
from catalog_builder.grid import Bounds
from catalog_builder.prepare.osm_classes import OsmClasses, Rule, default_file, read_classes
from catalog_builder.prepare.target import BLOCK, target_of
from catalog_builder.raster import gdal_environment

READ_SHARE, MEMORY_SHARE, OSM_RATIO, PAULI_RATIO = 0.4, 0.1, 2.0, 3.0
SAME_DECIBELS = 1e-4
UTM = "EPSG:32631"
LOOKS = 4.4
SEED = 20_210_712
IDS = {"n": 10**5, "w": 10**4, "r": 10**3}
"""More than there are nodes, ways and relations in the extract of Andorra."""

EXAMPLES = """\
examples:
  python tools/bench_prepare.py                                 all three, some ten minutes
  python tools/bench_prepare.py --only osm --rounds 1           one of them, quickly
  python tools/bench_prepare.py --only s1-mean --dates 20 --side 2048
"""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# --- processes --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Run:
    """What a process took: seconds, and its memory in bytes at the highest."""

    seconds: float
    memory: int


def run(*words: object, cwd: Path | None = None, env: dict[str, str] | None = None) -> Run:
    """Run a command to its end. Raises ``CalledProcessError``."""
    started, peak = time.perf_counter(), 0
    with subprocess.Popen(
        list(map(str, words)), cwd=cwd, env={**os.environ, **(env or {})}, stdout=subprocess.DEVNULL
    ) as process:
        watched = threading.Thread(target=process.wait)
        watched.start()
        while watched.is_alive():
            peak = max(peak, _memory(process.pid))
            watched.join(0.1)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, list(map(str, words)))
    return Run(time.perf_counter() - started, peak)


def _memory(pid: int) -> int:
    try:
        parent = psutil.Process(pid)
        return sum(one.memory_full_info().pss for one in (parent, *parent.children(recursive=True)))
    except psutil.Error:
        return 0


def own(name: str, *arguments: object) -> Run:
    """Run a function of this file by its name in a process of its own."""
    return run(sys.executable, __file__, "--run", name, *arguments)


def builder(*words: object) -> Run:
    """Run a step of `prepare`."""
    return run(Path(sys.executable).parent / "catalog-builder", "prepare", *words, "--quiet")


def in_turn(rounds: int, ways: dict[str, Callable[[], Run]]) -> dict[str, list[Run]]:
    """Run each way once a round, one after the other."""
    found: dict[str, list[Run]] = {name: [] for name in ways}
    for number in range(1, rounds + 1):
        for name, way in ways.items():
            found[name].append(way())
            last = found[name][-1]
            say(f"  round {number}: {name} {last.seconds:.1f} s, {last.memory / 1e6:,.0f} MB")
    return found


def ratio(above: Sequence[Run], below: Sequence[Run]) -> float:
    """Give the median over rounds of how many times as long the one took as the other."""
    return median(one.seconds / other.seconds for one, other in zip(above, below, strict=True))


def verdict(text: str, value: float, limit: float, *, least: bool = False) -> bool:
    """Print a figure beside what is wanted, and tell whether it is met."""
    met = value >= limit if least else value <= limit
    print(f"{text}: {value:.3g} ({'at least' if least else 'at most'} {limit:g} wanted{'' if met else ', MISSED'})")
    return met


# --- s1-mean ----------------------------------------------------------------------------------------------------------


def bench_s1(folder: Path, rounds: int, dates: int, side: int) -> bool:
    """Average a series of dates."""
    say(f"s1-mean: {dates} dates of {side} x {side} pixels, VV and VH")
    with ProcessPoolExecutor(default_jobs()) as pool:
        files = list(pool.map(partial(_write_date, folder, side), range(dates)))
    found = in_turn(
        rounds,
        {
            "ours": lambda: builder("s1-mean", *files, folder / "ours.tif", "--units", "db"),
            "reading": lambda: own("read_blocks", *files),
            "numpy": lambda: own("numpy_mean", folder / "numpy.tif", *files),
        },
    )
    difference = float(np.nanmax(np.abs(_pixels(folder / "ours.tif") - _pixels(folder / "numpy.tif"))))
    memory = median(run.memory for run in found["ours"]) / median(run.memory for run in found["numpy"])
    return all(
        (
            verdict("s1-mean, largest difference from numpy in dB", difference, SAME_DECIBELS),
            verdict(
                "s1-mean, rate beside reading alone", 1 / ratio(found["ours"], found["reading"]), READ_SHARE, least=True
            ),
            verdict("s1-mean, time beside numpy's", ratio(found["ours"], found["numpy"]), 1.0),
            verdict("s1-mean, memory beside numpy's", memory, MEMORY_SHARE),
        )
    )


def _write_date(folder: Path, side: int, number: int) -> Path:
    """Write VV and VH of one date, speckle in dB, as tiled float32."""
    random = np.random.default_rng(SEED + number)
    day = np.datetime64("2020-01-01") + number
    path = folder / f"S1A_IW_GRDH_1SDV_{str(day).replace('-', '')}T060000.tif"
    place = Affine(10, 0, 600_000, 0, -10, 4_900_000)
    profile = {"driver": "GTiff", "width": side, "height": side, "count": 2, "dtype": "float32", "nodata": float("nan")}
    tiles = {
        "tiled": True,
        "blockxsize": BLOCK,
        "blockysize": BLOCK,
        "compress": "ZSTD",
        "zstd_level": 1,
        "predictor": 3,
    }
    with rasterio.open(path, "w", crs=UTM, transform=place, **profile, **tiles) as dataset:
        dataset.descriptions = ("VV", "VH")
        for window in _windows(side):
            power = random.gamma(LOOKS, 1 / LOOKS, (2, window.height, window.width)) * [[[0.1]], [[0.02]]]
            dataset.write((10 * np.log10(power)).astype(np.float32), window=window)
    return path


def _windows(side: int) -> list[Window]:
    starts = range(0, side, BLOCK)
    return [Window(x, y, min(BLOCK, side - x), min(BLOCK, side - y)) for y in starts for x in starts]


def read_blocks(*files: str) -> None:
    """Read all dates block by block on all cores, and do nothing with them."""
    with rasterio.open(files[0]) as dataset:
        windows = _windows(dataset.width)
    with ProcessPoolExecutor(default_jobs()) as pool:
        list(pool.map(partial(_read_block, files), windows))


def _read_block(files: Sequence[str], window: Window) -> None:
    for file in files:
        with gdal_environment(), rasterio.open(file) as dataset:
            dataset.read(window=window)


def numpy_mean(out: str, *files: str) -> None:
    """Average whole arrays as one writes it down: stack, to linear power, mean, back to dB."""
    means = []
    for band in (1, 2):
        layers = []
        for file in files:
            with rasterio.open(file) as dataset:
                layers.append(dataset.read(band))
                profile = dataset.profile
        means.append(10 * np.log10(np.nanmean(10 ** (np.stack(layers) / 10), axis=0)))
    with rasterio.open(out, "w", **profile) as dataset:
        dataset.write(np.stack(means).astype(np.float32))


def _pixels(path: Path) -> npt.NDArray[Any]:
    with rasterio.open(path) as dataset:
        return np.asarray(dataset.read())


# --- osm --------------------------------------------------------------------------------------------------------------


def bench_osm(folder: Path, rounds: int, copies: int) -> bool:
    """Draw an extract."""
    missing = [tool for tool in ("osmium", "ogr2ogr", "gdal_rasterize") if shutil.which(tool) is None]
    if missing:
        print(f"osm: left out, since {', '.join(missing)} is missing (Debian: osmium-tool, gdal-bin)")
        return True
    real = Path(os.environ.get("DREAM_REAL_DATA") or Path(__file__).parents[2] / "shared" / "real")
    if not real.is_dir():
        print("osm: left out, since DREAM_REAL_DATA is not set and there is no real/ beside the checkout")
        return True
    extract, box = folder / "big.osm.pbf", _write_copies(real / "france_osm" / "andorra.osm.pbf", folder, copies)
    to_utm = pyproj.Transformer.from_crs("EPSG:4326", UTM, always_xy=True)
    target = target_of(UTM, 10, Bounds(*to_utm.transform_bounds(*box)))
    grid = ("--crs", UTM, "--resolution", 10, "--bounds", *target.bounds)
    say(f"osm: {copies * copies} times Andorra, {target.shape[1]} x {target.shape[0]} pixels of 10 m")
    found = in_turn(
        rounds,
        {
            "ours": lambda: builder("osm", extract, folder / "ours.tif", *grid),
            "osmium + GDAL": lambda: own("peer_osm", folder, *target.bounds),
        },
    )
    ours, theirs = _pixels(folder / "ours.tif"), _pixels(folder / "peer.tif")
    inside = ours != 255
    differ = int(np.count_nonzero(ours[inside] != theirs[inside]))
    print(f"osm, pixels with a class: {np.count_nonzero(ours[inside]):,} of {inside.sum():,}")
    return all(
        (
            verdict("osm, pixels that differ", differ, 0),
            verdict("osm, time beside osmium tags-filter + gdal_rasterize", ratio(*found.values()), OSM_RATIO),
        )
    )


def _write_copies(source: Path, folder: Path, copies: int) -> Bounds:
    """Write an extract many times side by side, with ids of its own each time, and give the box of all."""
    box = osmium.io.Reader(str(source), osmium.osm.NOTHING).header().box()
    west, south = box.bottom_left.lon, box.bottom_left.lat
    width, height = box.top_right.lon - west, box.top_right.lat - south
    everything = Bounds(west, south, west + copies * width, south + copies * height)
    header = osmium.io.Header()
    corners = (everything[:2], everything[2:])
    header.add_box(osmium.osm.Box(*(osmium.osm.Location(x, y) for x, y in corners)))
    header.set("osmosis_replication_timestamp", "2013-05-28T18:59:04Z")
    path, small = folder / "big.osm.pbf", folder / "small.osm.pbf"
    run("osmium", "renumber", "--no-progress", "-o", small, source)
    with osmium.SimpleWriter(str(path), header=header, overwrite=True) as writer:
        for kind in (osmium.osm.NODE, osmium.osm.WAY, osmium.osm.RELATION):
            for copy in range(copies * copies):
                east, north = copy % copies * width, copy // copies * height
                for each in osmium.FileProcessor(str(small), kind):
                    writer.add(_moved(each, east, north, copy))
    return everything


def _moved(each: Any, east: float, north: float, copy: int) -> Any:
    """Give an object at another place, under an id that no other copy has."""
    id_ = each.id + copy * IDS[each.type_str()]
    if each.is_node():
        return each.replace(id=id_, location=(each.location.lon + east, each.location.lat + north))
    if each.is_way():
        return each.replace(id=id_, nodes=[node.ref + copy * IDS["n"] for node in each.nodes])
    members = [(member.type, member.ref + copy * IDS[member.type], member.role) for member in each.members]
    return each.replace(id=id_, members=members)


def peer_osm(folder_name: str, *bounds: str) -> None:
    """Draw the same by command line tools: filter by tags, buffer lines in SQL, burn by layers and sizes."""
    folder, classes = Path(folder_name), read_classes(default_file())
    shapes = folder / "shapes.gpkg"
    shapes.unlink(missing_ok=True)
    config = {"OSM_CONFIG_FILE": str(_write_config(folder / "osmconf.ini", classes))}
    # All multipolygons, because old ones have their tags on the outer way and would lose their holes.
    filters = [*(f"wr/{key}" for key in sorted(classes.leading_keys())), "r/type=multipolygon"]
    chosen = folder / "filtered.osm.pbf"
    run("osmium", "tags-filter", "--overwrite", "--no-progress", "-o", chosen, folder / "big.osm.pbf", *filters)
    plain = folder / "plain.gpkg"
    plain.unlink(missing_ok=True)
    run("ogr2ogr", "-q", "-f", "GPKG", plain, chosen, "multipolygons", "lines", env=config)
    for append, sql in (((), _areas_sql(classes)), (("-update", "-append"), _lines_sql(classes, 10.0))):
        made = ("-nln", "shapes", "-nlt", "GEOMETRY", "-dialect", "sqlite", "-sql", sql)
        run("ogr2ogr", "-q", *append, "-f", "GPKG", shapes, plain, *made)
    left, bottom, right, top = bounds
    place = ("-te", left, bottom, right, top, "-tr", 10, 10, "-a_srs", UTM, "-ot", "Byte", "-init", 0)
    order = "SELECT * FROM shapes ORDER BY layer, size DESC"
    packed = ("-co", "COMPRESS=ZSTD", "-co", "TILED=YES", "-co", "ZSTD_LEVEL=3")
    out = folder / "peer.tif"
    out.unlink(missing_ok=True)
    run("gdal_rasterize", "-q", "-a", "value", "-sql", order, *place, *packed, shapes, out)


def _write_config(path: Path, classes: OsmClasses) -> Path:
    """Tell GDAL which tags become columns, and which closed ways are areas."""
    keys = ",".join(sorted(classes.keys()))
    areas = sorted({key for each in classes.classes for rule in each.areas for key, _ in rule.tags} - {"waterway"})
    layers = "".join(f"[{layer}]\nosm_id=yes\nattributes={keys}\n\n" for layer in ("points", "lines", "multipolygons"))
    path.write_text(
        f"closed_ways_are_polygons={','.join(areas)},waterway=riverbank\nattribute_name_laundering=no\n{layers}"
    )
    return path


def _test(rule: Rule) -> str:
    """Write a rule as SQL."""
    return " AND ".join(
        f"({key} IS NOT NULL AND {key} <> 'no')"
        if "*" in values
        else f"{key} IN ({', '.join(repr(value) for value in sorted(values))})"
        for key, values in rule.tags
    )


def _any(rules: Sequence[Rule]) -> str:
    return " OR ".join(f"({_test(rule)})" for rule in rules)


def _areas_sql(classes: OsmClasses) -> str:
    chosen = " UNION ALL ".join(
        f"SELECT ST_Transform(geom, {UTM[5:]}) AS geom, {each.value} AS value, {each.layer} AS layer "
        f"FROM multipolygons WHERE ({_any(each.areas)}) AND NOT coalesce({_any(classes.skip)}, 0)"
        for each in classes.classes
        if each.areas
    )
    return f"SELECT geom, value, layer, ST_Area(geom) AS size FROM ({chosen})"


def _lines_sql(classes: OsmClasses, pixel: float) -> str:
    chosen = " UNION ALL ".join(
        f"SELECT ST_Buffer(ST_Transform(geom, {UTM[5:]}), {max(width, pixel * (1 + 1e-6)) / 2!r}, 4) AS geom, "
        f"{each.value} AS value, {each.layer} AS layer "
        f"FROM lines WHERE {_test(rule)} AND NOT coalesce({_any(classes.skip)}, 0)"
        for each in classes.classes
        for rule, width in each.lines
    )
    return f"SELECT geom, value, layer, ST_Area(geom) AS size FROM ({chosen})"


# --- pauli ------------------------------------------------------------------------------------------------------------

CHANNELS = {"HHHH": "<f4", "HVHV": "<f4", "VVVV": "<f4", "HHHV": "<c8", "HHVV": "<c8", "HVVV": "<c8"}
GRANULE = "drawn_05521_09059_000_090813_L090_CX_01"


def bench_pauli(folder: Path, rounds: int, side: int) -> bool:
    """Make the Pauli image of a pass."""
    say(f"pauli: {side} x {side} pixels, six files of {side * side * 36 / 1e9:.1f} GB together")
    annotation = _write_pass(folder, side)
    files = sorted(folder.glob("*.grd"))
    found = in_turn(
        rounds,
        {
            "ours": lambda: builder("pauli", annotation, folder / "pauli.tif"),
            "reading": lambda: own("read_files", *files),
        },
    )
    return verdict("pauli, time beside reading the six files", ratio(*found.values()), PAULI_RATIO)


def _write_pass(folder: Path, side: int) -> Path:
    random = np.random.default_rng(SEED)
    names = {name: GRANULE.replace("_L090_", f"_L090{name}_") + ".grd" for name in CHANNELS}
    streams = {name: (folder / file).open("wb") for name, file in names.items()}
    for _ in range(side):
        parts = random.normal(size=(2, 3, side)).astype(np.float32)
        hh, hv, vv = parts[0] + 1j * parts[1]
        pairs = {
            "HHHH": (hh, hh),
            "HVHV": (hv, hv),
            "VVVV": (vv, vv),
            "HHHV": (hh, hv),
            "HHVV": (hh, vv),
            "HVVV": (hv, vv),
        }
        for name, (one, other) in pairs.items():
            product = one * other.conj()
            values = product if CHANNELS[name] == "<c8" else product.real
            streams[name].write(values.astype(CHANNELS[name]).tobytes())
    for stream in streams.values():
        stream.close()
    path = folder / f"{GRANULE}.ann"
    path.write_text(_annotation(names, side))
    return path


def _annotation(names: dict[str, str], side: int) -> str:
    layers = "".join(
        f"{layer}.set_rows (pixels) = {side}\n{layer}.set_cols (pixels) = {side}\n{layer}.row_addr (deg) = 36.02\n"
        f"{layer}.col_addr (deg) = -81.05\n{layer}.row_mult (deg/pixel) = -5.556e-05\n"
        f"{layer}.col_mult (deg/pixel) = 5.556e-05\n{layer}.val_size (bytes) = {size}\n"
        for layer, size in (("grd_pwr", 4), ("grd_mag", 8))
    )
    files = "".join(f"grd{name} (&) = {file}\n" for name, file in names.items())
    times = (
        "Start Time of Acquisition (&) = 13-Aug-2009 15:24:50 UTC\n"
        "Stop Time of Acquisition (&) = 13-Aug-2009 15:31:07 UTC\n"
    )
    head = "Site Description (&) = drawn\nAcquisition Mode (&) = PolSAR\nval_endi (&) = LITTLE ENDIAN\n"
    return f"{head}{times}set_phdg (deg) = 55.25\n{files}{layers}"


def read_files(*files: str) -> None:
    """Read files from one end to the other."""
    for file in files:
        with Path(file).open("rb", buffering=0) as stream:
            while stream.read(2**22):
                pass


# --- the command line -------------------------------------------------------------------------------------------------


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=["s1-mean", "osm", "pauli"], help="one of the three")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    parser.add_argument("--dates", type=int, default=60, help="of Sentinel-1; default: 60")
    parser.add_argument("--side", type=int, default=3072, help="pixels of a date; default: 3072")
    parser.add_argument("--copies", type=int, default=5, help="of Andorra, each way; default: 5")
    parser.add_argument("--swath", type=int, default=6144, help="pixels of the UAVSAR image; default: 6144")
    parser.add_argument("--folder", type=Path, help="where to work; some 5 GB. Default: the system's temporary folder")
    arguments = parser.parse_args()
    rounds = arguments.rounds
    benches: dict[str, Callable[[Path], bool]] = {
        "s1-mean": lambda folder: bench_s1(folder, rounds, arguments.dates, arguments.side),
        "osm": lambda folder: bench_osm(folder, rounds, arguments.copies),
        "pauli": lambda folder: bench_pauli(folder, rounds, arguments.swath),
    }
    print(f"{platform.machine()}, {default_jobs()} cores, GDAL {rasterio.__gdal_version__}, {rounds} rounds, medians")
    met = []
    for name, bench in benches.items():
        if arguments.only in (None, name):
            with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
                met.append(bench(Path(folder)))
    return 0 if all(met) else 1


RUNS: dict[str, Callable[..., None]] = {each.__name__: each for each in (read_blocks, numpy_mean, peer_osm, read_files)}

if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        RUNS[sys.argv[2]](*sys.argv[3:])
    else:
        sys.exit(main())
