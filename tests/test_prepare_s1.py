"""`prepare s1-mean` and `prepare s1-activity`: speckle of known looks, known changes, bad input."""

import csv
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from rasterio.windows import Window

from catalog_builder import sources, template
from catalog_builder.check.release import check_release
from catalog_builder.cli import main
from catalog_builder.errors import RasterError, UsageError
from catalog_builder.executor import SerialExecutor
from catalog_builder.prepare import s1, series
from catalog_builder.prepare.provenance import Provenance
from catalog_builder.prepare.series import Choice, Reading
from catalog_builder.prepare.target import Target
from catalog_builder.progress import BlockProgress, TileProgress
from catalog_builder.schemas import SchemaStore
from tests import builds
from tests.makers import CORNER, small_templates, write_geotiff

Cube = npt.NDArray[Any]
"""(dates, VV and VH, rows, columns)"""

FIRST = datetime(2018, 1, 3, 17, 30, 17, tzinfo=UTC)
LOOKS, MEAN = 4.4, (0.1, 0.02)


def product(number: int, orbit: int = 59, when: datetime | None = None) -> str:
    """Name a Sentinel-1A product of date `number` of a relative orbit."""
    start = when or FIRST + timedelta(days=12 * number)
    absolute = 20000 + (orbit - 1 + 73 - 20000) % 175 + 175 * number
    stop = start + timedelta(seconds=25)
    return f"S1A_IW_GRDH_1SDV_{start:%Y%m%dT%H%M%S}_{stop:%Y%m%dT%H%M%S}_{absolute:06d}_022A6B_1234"


def speckle(dates: int, side: int = 96, seed: int = 1) -> Cube:
    """Linear power of stationary ground: a gamma law of known looks and means."""
    rng = np.random.default_rng(seed)
    noise = rng.gamma(LOOKS, 1 / LOOKS, size=(dates, 2, side, side))
    return np.asarray(noise * np.array(MEAN)[:, None, None]).astype(np.float32)


def write_series(folder: Path, cube: Cube, **profile: Any) -> list[Path]:
    """Write a file for each date, with bands VV and VH."""
    paths = [write_geotiff(folder / f"{product(n)}.tif", pixels, **profile) for n, pixels in enumerate(cube)]
    for path in paths:
        describe(path, ("VV", "VH"))
    return paths


def describe(path: Path, names: Sequence[str], **tags: str) -> Path:
    with rasterio.open(path, "r+") as dataset:
        dataset.descriptions = tuple(names)
        dataset.update_tags(**tags)
    return path


def run(command: str, *arguments: object) -> str:
    """Run a command that goes well; gives what it prints."""
    result = CliRunner().invoke(main, ["prepare", command, "--quiet", "--jobs", "1", *map(str, arguments)])
    if result.exception is not None:
        raise result.exception
    return result.stdout


def refused(command: str, *arguments: object) -> str:
    """Run a command that must fail; gives its one line and the exit code."""
    result = CliRunner().invoke(main, ["prepare", command, "--quiet", "--jobs", "1", *map(str, arguments)])
    assert isinstance(result.exception, SystemExit), result.exception
    return f"{result.exit_code}: {result.stderr.splitlines()[-1].removeprefix('catalog-builder: ')}"


def read(path: Path) -> Cube:
    with rasterio.open(path) as dataset:
        return np.asarray(dataset.read())


def notes(path: Path, name: str = "NOTES") -> Any:
    with rasterio.open(path) as dataset:
        return json.loads(dataset.tags()[f"DREAM_{name}"])


def oracle(power: Cube) -> Cube:
    """Mean in linear power over valid dates, in dB, of whole arrays."""
    total, count = np.nansum(power.astype(np.float64), axis=0), (~np.isnan(power)).sum(axis=0)
    return np.asarray(10 * np.log10(np.where(count > 0, total, np.nan) / np.maximum(count, 1))).astype(np.float32)


# --- the mean ---------------------------------------------------------------------------------------------------------


def test_mean_of_speckle_is_that_of_the_ground_and_looks_multiply(tmp_path: Path) -> None:
    cube = speckle(16, 384)
    run("s1-mean", *write_series(tmp_path, cube), tmp_path / "mean.tif", "--units", "linear")
    pixels = read(tmp_path / "mean.tif")
    power = (10 ** (pixels.astype(np.float64) / 10)).mean(axis=(1, 2))
    spread = 1 / math.sqrt(16 * LOOKS * 384**2)
    assert np.all(np.abs(power / MEAN - 1) < 4 * spread)
    found = notes(tmp_path / "mean.tif")
    assert found["looks_before"] == pytest.approx([LOOKS, LOOKS], rel=0.04)
    assert found["looks_after"] == pytest.approx([16 * LOOKS, 16 * LOOKS], rel=0.08)
    assert found["relative_orbits"] == [59]
    assert found["attribution"] == "Contains modified Copernicus Sentinel data 2018"


def test_looks_are_those_of_the_flat_ground_beside_rough_ground(tmp_path: Path) -> None:
    cube = speckle(8, 192)
    cube[:, :, :, 60:] *= np.random.default_rng(5).gamma(2, 0.5, size=(192, 132)).astype(np.float32)
    run("s1-mean", *write_series(tmp_path, cube), tmp_path / "mean.tif", "--units", "linear")
    found = notes(tmp_path / "mean.tif")
    assert found["looks_before"] == pytest.approx([LOOKS, LOOKS], rel=0.06)
    assert found["looks_after"] == pytest.approx([8 * LOOKS, 8 * LOOKS], rel=0.2)


@pytest.mark.parametrize("units", ["linear", "db"])
def test_mean_equals_whole_arrays_with_gaps(units: str, tmp_path: Path) -> None:
    power = speckle(7, 80)
    rng = np.random.default_rng(2)
    power[rng.random(power.shape) < 0.2] = np.nan
    power[:, 0, 3, 4] = np.nan  # never seen in VV
    power[3, :, 40:] = np.nan  # half a date
    stored = power if units == "linear" else (10 * np.log10(power.astype(np.float64))).astype(np.float32)
    paths = write_series(tmp_path, stored, nodata=np.nan)
    run("s1-mean", *paths, tmp_path / "mean.tif", "--units", units, "--counts", tmp_path / "counts.tif")
    back = stored if units == "linear" else 10 ** (stored.astype(np.float64) / 10)
    expected, found = oracle(back), read(tmp_path / "mean.tif")
    if units == "linear":
        np.testing.assert_array_equal(found, expected)
    else:
        np.testing.assert_allclose(found, expected, rtol=0, atol=4e-6)
        assert np.mean(found[np.isfinite(found)] == expected[np.isfinite(found)]) > 0.99
    assert np.isnan(found[0, 3, 4])
    np.testing.assert_array_equal(read(tmp_path / "counts.tif"), (~np.isnan(power)).sum(axis=0))


def test_output_is_what_the_template_wants(tmp_path: Path) -> None:
    run("s1-mean", *write_series(tmp_path, speckle(2)), tmp_path / "mean.tif", "--units", "linear")
    modality = template.load(template.default_folder()).collections["france"].modalities["s1_mean"]
    with rasterio.open(tmp_path / "mean.tif") as dataset:
        assert dataset.descriptions == modality.band_names
        assert set(dataset.dtypes) == {modality.data_type}
        assert math.isnan(dataset.nodata)
        assert dataset.units == ("dB", "dB")
        assert dataset.tags()["TIFFTAG_COPYRIGHT"].endswith("2018")
        assert len(json.loads(dataset.tags()["DREAM_DATES"])) == 2


@pytest.mark.parametrize("command", ["s1-mean", "s1-activity"])
def test_bytes_are_the_same_for_any_number_of_workers(command: str, tmp_path: Path) -> None:
    cube = np.repeat(speckle(2, 64), 9, axis=3)[:, :, :, :530]
    paths = [str(path) for path in write_series(tmp_path, cube, nodata=np.nan)]
    made = []
    for jobs in (1, 2):
        out = tmp_path / f"out{jobs}.tif"
        code = "from catalog_builder.cli_prepare import prepare\nif __name__ == '__main__': prepare()"
        (tmp_path / "command.py").write_text(code)
        arguments = [command, *paths, str(out), "--units", "linear", "--jobs", str(jobs), "-q"]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
        script = [sys.executable, str(tmp_path / "command.py"), *arguments]
        subprocess.run(script, check=True, env=environment, capture_output=True)
        made.append(out.read_bytes())
    assert made[0] == made[1]


@given(left=st.integers(-6, 16), top=st.integers(-6, 16), width=st.integers(1, 14), height=st.integers(1, 14))
def test_a_window_is_a_part_of_the_whole(
    small_series: series.Series, left: int, top: int, width: int, height: int
) -> None:
    whole = s1.mean_block(small_series, Window(-6, -6, 40, 40))
    part = s1.mean_block(small_series, Window(left, top, width, height))
    np.testing.assert_array_equal(part, whole[:, top + 6 : top + 6 + height, left + 6 : left + 6 + width])


@pytest.fixture(scope="module")
def small_series(tmp_path_factory: pytest.TempPathFactory) -> series.Series:
    paths = write_series(tmp_path_factory.mktemp("small"), speckle(3, 20))
    return series.read_series(paths, [], Reading(decibels=False), Choice())


def test_a_part_of_the_grid_is_bit_for_bit(tmp_path: Path) -> None:
    paths = write_series(tmp_path, speckle(3, 60))
    run("s1-mean", *paths, tmp_path / "whole.tif", "--units", "linear")
    left, top = CORNER[0] + 100, CORNER[1] - 70
    box = ("--crs", "EPSG:32631", "--resolution", 10, "--bounds", left, top - 600, left + 300, top)
    run("s1-mean", *paths, tmp_path / "part.tif", "--units", "linear", *box)
    whole, part = read(tmp_path / "whole.tif"), read(tmp_path / "part.tif")
    assert part.shape == (2, 60, 30)
    np.testing.assert_array_equal(part[:, :53], whole[:, 7:60, 10:40])
    assert np.isnan(part[:, 53:]).all()
    run("s1-mean", *paths, tmp_path / "like.tif", "--units", "linear", "--like", tmp_path / "part.tif")
    np.testing.assert_array_equal(read(tmp_path / "like.tif"), part)


def test_nearest_date_is_given_as_it_is(tmp_path: Path) -> None:
    decibels = (10 * np.log10(speckle(5).astype(np.float64))).astype(np.float32)
    paths = write_series(tmp_path, decibels)
    printed = run("s1-mean", *paths, tmp_path / "s1.tif", "--units", "db", "--nearest", "2018-01-28")
    np.testing.assert_array_equal(read(tmp_path / "s1.tif"), decibels[2])
    assert ": s1, 1 input\n" in printed
    assert set(notes(tmp_path / "s1.tif")) == {"looks", "relative_orbits", "attribution"}


def test_period_and_orbit_choose(tmp_path: Path) -> None:
    cube = speckle(6, 32)
    paths = write_series(tmp_path, cube)
    other = describe(write_geotiff(tmp_path / f"{product(9, orbit=8, when=FIRST)}.tif", cube[0]), ("VV", "VH"))
    out = tmp_path / "mean.tif"
    choice = ("--units", "linear", "--period", "2018-01-15", "2018-02-08")
    run("s1-mean", *paths, other, out, *choice, "--orbit", 59)
    np.testing.assert_array_equal(read(out), oracle(cube[1:4]))
    assert notes(out, "PARAMETERS") == {"period": ["2018-01-15", "2018-02-08"], "units": "linear"}
    assert notes(out, "DATES") == ["2018-01-15T17:30:17Z", "2018-01-27T17:30:17Z", "2018-02-08T17:30:17Z"]
    run("s1-mean", *paths, other, out, "--units", "linear", "--any-orbit")
    np.testing.assert_allclose(read(out), oracle(np.concatenate([cube, cube[:1]])), atol=2e-6)
    assert notes(out)["relative_orbits"] == [8, 59]


# --- how files are laid out -------------------------------------------------------------------------------------------


def one_file_a_polarization(folder: Path, cube: Cube) -> list[object]:
    for number, pixels in enumerate(cube):
        for name, band in zip(("VV", "VH"), pixels, strict=True):
            write_geotiff(folder / f"{product(number)}_{name}.tif", band[None])
    return [folder / "S1A_*.tif"]


def measurement_files(folder: Path, cube: Cube) -> list[object]:
    """As they are named in a product: s1a-iw-grd-vv-<start>-<stop>-<orbit>-…."""
    for number, pixels in enumerate(cube):
        _, _, _, _, start, stop, orbit, *_ = product(number).lower().split("_")
        for name, band in zip(("vv", "vh"), pixels, strict=True):
            write_geotiff(folder / f"s1a-iw-grd-{name}-{start}-{stop}-{orbit}-022a6b-001.tiff", band[None])
    return [folder / "s1a-*.tiff"]


def unnamed_bands(folder: Path, cube: Cube) -> list[object]:
    paths = [write_geotiff(folder / f"{product(n)}.tif", pixels[::-1]) for n, pixels in enumerate(cube)]
    return [*paths, "--vv-band", 2, "--vh-band", 1]


def stacks(folder: Path, cube: Cube) -> list[object]:
    days = [f"{FIRST + timedelta(days=12 * n):%Y%m%d}" for n in range(len(cube))]
    for side, name in enumerate(("one", "two")):
        describe(write_geotiff(folder / f"{name}.tif", cube[:, side], interleave="pixel"), days)
    return [folder / "one.tif", "--vh", folder / "two.tif"]


def table_of_dates(folder: Path, cube: Cube) -> list[object]:
    paths = [write_geotiff(folder / f"image{n}.tif", pixels) for n, pixels in enumerate(cube)]
    with (folder / "dates.csv").open("w", newline="") as stream:
        rows = ((path.name, (FIRST + timedelta(days=12 * n)).date(), 59) for n, path in enumerate(paths))
        csv.writer(stream).writerows([("file", "date", "orbit"), *rows])
    for path in paths:
        describe(path, ("Sigma0_VV", "Sigma0_VH"))
    return [*paths, "--dates", folder / "dates.csv"]


def tags(folder: Path, cube: Cube) -> list[object]:
    paths = []
    for n, pixels in enumerate(cube):
        when = FIRST + timedelta(days=12 * n)
        path = write_geotiff(folder / f"image{n}.tif", pixels)
        paths.append(describe(path, ("VV", "VH"), TIFFTAG_DATETIME=f"{when:%Y:%m:%d %H:%M:%S}", UNITS="linear"))
    return list(paths)


LAYOUTS = (one_file_a_polarization, measurement_files, unnamed_bands, stacks, table_of_dates, tags)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_of_files_give_the_same_mean(layout: Callable[[Path, Cube], list[object]], tmp_path: Path) -> None:
    cube = speckle(4, 40)
    inputs, out = layout(tmp_path, cube), tmp_path / "out" / "mean.tif"
    units = [] if layout is tags else ["--units", "linear"]
    run("s1-mean", *inputs, out, *units)
    np.testing.assert_array_equal(read(out), oracle(cube))
    days = [(FIRST + timedelta(days=12 * n)).date().isoformat() for n in range(4)]
    assert [text[:10] for text in notes(out, "DATES")] == days


def test_integers_with_a_scale(tmp_path: Path) -> None:
    stored = np.rint(1000 * np.log10(speckle(3, 40))).astype(np.int16)
    stored[0, 0, 0, 0] = -32768
    paths = write_series(tmp_path, stored, nodata=-32768)
    run("s1-mean", *paths, tmp_path / "mean.tif", "--units", "db", "--scale", 0.01)
    power = 10 ** (np.where(stored == -32768, np.nan, stored / 100.0) / 10)
    np.testing.assert_allclose(read(tmp_path / "mean.tif"), oracle(power), atol=4e-6)


def test_nodata_that_is_not_declared_and_zero_power(tmp_path: Path) -> None:
    cube = speckle(3, 40)
    cube[0, :, 5] = 0  # the border of a product
    run("s1-mean", *write_series(tmp_path, cube), tmp_path / "mean.tif", "--units", "linear")
    np.testing.assert_array_equal(read(tmp_path / "mean.tif"), oracle(np.where(cube > 0, cube, np.nan)))
    decibels = (10 * np.log10(np.where(cube > 0, cube, 1e-30))).clip(min=-99).astype(np.float32)
    paths = write_series(tmp_path / "db", decibels)
    run("s1-mean", *paths, tmp_path / "db.tif", "--units", "db", "--nodata", -99)
    np.testing.assert_allclose(read(tmp_path / "db.tif"), read(tmp_path / "mean.tif"), atol=4e-6)


@pytest.mark.parametrize(
    ("name", "when", "orbit"),
    [
        ("S1A_IW_GRDH_1SDV_20180115T172018_20180115T172043_020166_022670_1C2D.tif", "2018-01-15T17:20:18", 147 - 14),
        ("S1B_IW_GRDH_1SDV_20180703T055005_20180703T055030_011643_015690_ABCD.SAFE", "2018-07-03T05:50:05", None),
        ("S1A__IW___A_20150309T173017_VV_grd_mli_geo_norm_db.tif", "2015-03-09T17:30:17", None),
        ("vv_2018-01-15.tif", "2018-01-15", None),
        ("20180115", "2018-01-15", None),
        ("S1_VV_85dates_dBx100_myanmar_30m.tif", None, None),
        ("tile_12345678.tif", None, None),
    ],
)
def test_dates_and_orbits_in_names(name: str, when: str | None, orbit: int | None) -> None:
    expected = None if when is None else datetime.fromisoformat(when).replace(tzinfo=UTC)
    assert series.date_in_name(name) == expected
    if name.startswith("S1A_IW"):
        # 20166 = 73 + 114 * 175 + 143, counted from 1: 144.
        assert series.orbit_in_name(name) == 144
    elif name.startswith("S1B"):
        # 11643 = 27 + 66 * 175 + 66, counted from 1: 67.
        assert series.orbit_in_name(name) == 67
    else:
        assert series.orbit_in_name(name) is orbit


def test_several_dates_in_a_name_are_not_guessed() -> None:
    with pytest.raises(UsageError, match=r"2018-01-15, 2020-02-01"):
        series.date_in_name("20180115_made_20200201.tif")


# --- activity ---------------------------------------------------------------------------------------------------------


def test_activity_of_known_changes(tmp_path: Path) -> None:
    dates = 24
    cube = speckle(dates, 96)
    cube[10:, 0, :30, :30] *= 30  # a building, from the eleventh date on, in VV
    cube[17, 1, 50:80, 50:80] *= 60  # one wet day, in VH
    paths = write_series(tmp_path, cube)
    printed = run("s1-activity", *paths, tmp_path / "activity.tif", "--units", "linear")
    assert ": s1_activity, 24 inputs\n" in printed
    found = read(tmp_path / "activity.tif")
    # Of a finite number of dates, the variance about their own mean is short by one of them.
    stationary = s1.stationary_variation(LOOKS) * math.sqrt((dates - 1) / dates)
    calm = np.ones((96, 96), dtype=bool)
    calm[:30, :30] = calm[50:80, 50:80] = False
    assert np.median(found[:2, calm], axis=1) == pytest.approx([stationary, stationary], rel=0.02)
    assert found[0, :30, :30].min() > np.quantile(found[0, calm], 0.99)
    assert np.quantile(found[1, 50:80, 50:80], 0.01) > np.quantile(found[1, calm], 0.99)
    days = np.array([(FIRST.date() + timedelta(days=12 * n) - date(1970, 1, 1)).days for n in range(dates)])
    assert found[2, :30, :30].min() >= days[10]
    assert np.mean(found[2, 50:80, 50:80] == days[17]) > 0.99
    amplitude = np.sqrt(cube.astype(np.float64))
    variation = amplitude.std(axis=0) / amplitude.mean(axis=0)
    np.testing.assert_allclose(found[:2], variation, rtol=1e-5)
    side = (variation[1] > variation[0]).astype(int)
    largest = np.take_along_axis(amplitude.argmax(axis=0), side[None], axis=0)[0]
    np.testing.assert_array_equal(found[2], days[largest])
    stated = notes(tmp_path / "activity.tif")
    assert stated["stationary_cv"] == pytest.approx([s1.stationary_variation(LOOKS)] * 2, rel=0.03)


def test_activity_with_gaps(tmp_path: Path) -> None:
    cube = speckle(5, 48)
    cube[1:, :, 0, 0] = np.nan  # one date is no series
    cube[2:, 1, 0, 1] = np.nan
    run("s1-activity", *write_series(tmp_path, cube), tmp_path / "a.tif", "--units", "linear", "--looks", 4.4)
    found = read(tmp_path / "a.tif")
    assert (found[:, 0, 0] == -1).all()
    root = np.sqrt(cube[:2, 1, 0, 1].astype(np.float64))
    assert found[1, 0, 1] == pytest.approx(root.std() / root.mean(), rel=1e-6)
    assert notes(tmp_path / "a.tif")["looks"] == [4.4, 4.4]


@pytest.mark.parametrize("looks", [0.5, 1, 4.4, 4.9, 20, 500])
def test_stationary_value_is_that_of_drawn_speckle(looks: float) -> None:
    drawn = np.sqrt(np.random.default_rng(3).gamma(looks, 1 / looks, size=400_000))
    assert s1.stationary_variation(looks) == pytest.approx(drawn.std() / drawn.mean(), rel=0.01)


def test_stationary_value_as_published() -> None:
    assert s1.stationary_variation(1) == pytest.approx(math.sqrt(4 / math.pi - 1), rel=1e-12)  # Rayleigh
    assert s1.stationary_variation(4.9) == pytest.approx(0.2286, abs=1e-3)


@given(st.floats(-60, 30))
def test_decibels_and_back(value: float) -> None:
    there = s1.to_power(np.array([value]))
    assert there[0] == pytest.approx(10 ** (value / 10), rel=1e-13)
    assert s1.to_decibels(there)[0] == pytest.approx(value, abs=1e-9)


# --- what the builder gets --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("command", "asset"), [("s1-mean", "s1_mean"), ("s1-activity", "s1_activity")])
def test_source_is_listed_as_the_builder_reads_it(command: str, asset: str, tmp_path: Path) -> None:
    listing = tmp_path / "sources.toml"
    place = ("--sources", listing, "--area", "alpes", "--collection", "france", "--title", "Alpes")
    run(command, *write_series(tmp_path, speckle(3)), tmp_path / "out.tif", "--units", "linear", *place)
    listing.write_text(listing.read_text().replace('title = "Alpes"', 'title = "Alpes"\nrequired = []'))
    (area,) = sources.load(listing, template.load(template.default_folder()))
    (source,) = area.sources
    assert source.asset == asset
    assert source.paths == ((tmp_path / "out.tif").resolve(),)
    assert (source.start, source.end) == (FIRST, FIRST + timedelta(days=24))
    assert source.properties["dream:date_count"] == 3
    assert source.properties["dream:attribution"] == "Contains modified Copernicus Sentinel data 2018"
    assert source.properties["processing:lineage"].startswith(f"catalog-builder prepare {command} of S1A_IW_GRDH")


def test_activity_becomes_a_release_that_check_accepts(schemas_dir: Path, tmp_path: Path) -> None:
    cube = np.repeat(np.repeat(speckle(3, 128), 2, axis=2), 2, axis=3)
    cube[1, :, 7] = np.nan
    paths, listing = write_series(tmp_path / "in", cube), tmp_path / "sources.toml"
    place = ("--units", "linear", "--sources", listing, "--area", "alpes", "--collection", "france", "--title", "Alpes")
    run("s1-mean", *paths, tmp_path / "mean.tif", *place)
    run("s1-activity", *paths, tmp_path / "activity.tif", *place)
    listing.write_text(listing.read_text().replace('title = "Alpes"', 'title = "Alpes"\nrequired = []'))
    report = builds.run(listing, tmp_path / "release", small_templates(tmp_path / "templates"))
    assert (report.items, report.assets) == (1, 2)
    (tile,) = (tmp_path / "release").rglob("s1_activity.tif")
    np.testing.assert_array_equal(read(tile), read(tmp_path / "activity.tif"))
    item = json.loads((tile.parent / f"{tile.parent.name}.json").read_text())
    asset = item["assets"]["s1_activity"]
    assert asset["dream:looks"] == asset["dream:looks_measured"]
    assert len(asset["dream:stationary_cv"]) == 2
    progress = TileProgress(sys.stderr, quiet=True)
    store = SchemaStore(mirror=schemas_dir)
    assert check_release(tmp_path / "release", store, SerialExecutor(), progress) == []


# --- bad input --------------------------------------------------------------------------------------------------------


def truncated(folder: Path, cube: Cube) -> list[object]:
    paths = write_series(folder, cube)
    paths[1].write_bytes(paths[1].read_bytes()[: paths[1].stat().st_size // 2])
    return [*paths]


def missing(folder: Path, cube: Cube) -> list[object]:
    return [*write_series(folder, cube), folder / f"{product(7)}.tif"]


def other_corner(folder: Path, cube: Cube) -> list[object]:
    pixels = write_geotiff(folder / f"{product(7)}.tif", cube[0], corner=(CORNER[0] + 5, CORNER[1]))
    return [*write_series(folder, cube), describe(pixels, ("VV", "VH"))]


def other_shape(folder: Path, cube: Cube) -> list[object]:
    path = write_geotiff(folder / f"{product(7)}.tif", cube[0][:, :-1])
    return [*write_series(folder, cube), describe(path, ("VV", "VH"))]


def other_crs(folder: Path, cube: Cube) -> list[object]:
    path = write_geotiff(folder / f"{product(7)}.tif", cube[0], crs="EPSG:32632")
    return [*write_series(folder, cube), describe(path, ("VV", "VH"))]


def two_orbits(folder: Path, cube: Cube) -> list[object]:
    path = write_geotiff(folder / f"{product(7, orbit=8)}.tif", cube[0])
    return [*write_series(folder, cube), describe(path, ("VV", "VH"))]


def unknown_orbit(folder: Path, cube: Cube) -> list[object]:
    path = write_geotiff(folder / "20190301.tif", cube[0])
    return [*write_series(folder, cube), describe(path, ("VV", "VH"))]


def same_day(folder: Path, cube: Cube) -> list[object]:
    path = write_geotiff(folder / f"{product(0, when=FIRST + timedelta(seconds=25))}.tif", cube[0])
    return [*write_series(folder, cube), describe(path, ("VV", "VH"))]


def no_date(folder: Path, cube: Cube) -> list[object]:
    return [describe(write_geotiff(folder / "image.tif", cube[0]), ("VV", "VH"))]


def two_dates(folder: Path, cube: Cube) -> list[object]:
    path = write_geotiff(folder / f"{FIRST:%Y%m%d}.tif", cube[0])
    return [describe(path, ("VV", "VH"), ACQUISITION_DATE="2018-01-04")]


def no_names(folder: Path, cube: Cube) -> list[object]:
    return [write_geotiff(folder / f"{product(0)}.tif", cube[0])]


def no_partner(folder: Path, cube: Cube) -> list[object]:
    return [write_geotiff(folder / f"{product(0)}_VV.tif", cube[0][:1])]


def tag_of_db(folder: Path, cube: Cube) -> list[object]:
    paths = write_series(folder, cube)
    return [*paths[:-1], describe(paths[-1], ("VV", "VH"), UNITS="dB")]


def decibels_among_linear(folder: Path, cube: Cube) -> list[object]:
    path = write_geotiff(folder / f"{product(7)}.tif", 10 * np.log10(cube[0]))
    return [*write_series(folder, cube), describe(path, ("VV", "VH"))]


def same_file_twice(folder: Path, cube: Cube) -> list[object]:
    paths = write_series(folder, cube)
    return [*paths, paths[0]]


def complex_values(folder: Path, cube: Cube) -> list[object]:
    return [write_geotiff(folder / f"{product(0)}.tif", cube[0].astype(np.complex64))]


BAD_INPUT = [
    (truncated, r"1: .*S1A_IW_GRDH_1SDV_20180115.*tif: truncated or corrupt"),
    (missing, r"1: .*20180328.*: cannot read: No such file"),
    (other_corner, r"1: .*20180328.*: not on the grid of .*20180103.*: left 675845 for 675840"),
    (other_shape, r"1: .*20180328.*: 48 x 47 pixels for 48 x 48"),
    (other_crs, r"1: .*20180328.*: EPSG:32632 for EPSG:32631"),
    (two_orbits, r"1: S1A.*20180328.* is of relative orbit 8, S1A.*20180103.* of 59; name one with --orbit"),
    (unknown_orbit, r"1: 20190301.tif is of relative orbit unknown, S1A.* of 59"),
    (same_day, r"1: .*T173042.* and .*T173017.* are both VV of 2018-01-03; leave one out"),
    (no_date, r"1: .*image.tif: band 1: no date in its name or tags; give a table: --dates"),
    (two_dates, r"1: .*20180103.tif: band 1: ACQUISITION_DATE says 2018-01-04, the name 2018-01-03"),
    (no_names, r"1: .*neither its name nor its bands say which is VV"),
    (no_partner, r"1: .*_VV.tif \(band 1\): VV of 2018-01-03 has no VH beside it"),
    (tag_of_db, r"1: .*20180127.*: dB and linear at once: tag dB, --units linear"),
    (decibels_among_linear, r"1: .*20180328.*: band 1: -\d.* is no power; is it in dB\?"),
    (same_file_twice, r"2: .*20180103.*: named twice"),
    (complex_values, r"1: .*complex64 values; detected backscatter is wanted"),
]


@pytest.mark.parametrize("command", ["s1-mean", "s1-activity"])
@pytest.mark.parametrize(("make", "line"), BAD_INPUT, ids=lambda value: getattr(value, "__name__", ""))
def test_bad_input_is_one_line_and_leaves_nothing(
    command: str, make: Callable[[Path, Cube], list[object]], line: str, tmp_path: Path
) -> None:
    inputs, out = make(tmp_path / "in", speckle(3, 48)), tmp_path / "out" / "out.tif"
    assert_matches(refused(command, *inputs, out, "--units", "linear"), line)
    assert not out.parent.exists() or not list(out.parent.iterdir())


def assert_matches(text: str, pattern: str) -> None:
    assert re.match(pattern, text), text


BAD_OPTIONS: list[tuple[list[object], str]] = [
    ([], r"1: .*no tag says whether it is in dB; give --units"),
    (["--units", "db"], r"1: .*no value is below 0 \(the lowest is 0\.\d+\); is it linear"),
    (["--units", "dB"], r"2: .*'dB' is not one of"),
    (["--units", "linear", "--orbit", 8], r"2: --orbit 8: no image; there are images of orbit 59"),
    (["--units", "linear", "--period", "2019-01-01", "2019-12-31"], r"2: --period .*2018-01-03 to 2018-01-27"),
    (["--units", "linear", "--period", "2018-12-31", "2018-01-01"], r"2: --period .*: ends before it begins"),
    (["--units", "linear", "--period", "2018-01-01", "2018-02-30"], r"2: --period: '2018-02-30' is no date"),
    (["--units", "linear", "--nearest", "July"], r"2: --nearest: 'July' is no date"),
    (["--units", "linear", "--vv-band", 1], r"2: --vv-band and --vh-band go together"),
    (["--units", "linear", "--vv-band", 1, "--vh-band", 3], r"2: .*has no band 3 for VH, only 2"),
    (["--units", "linear", "--orbit", 8, "--any-orbit"], r"2: --orbit and --any-orbit exclude"),
    (["--units", "linear", "--sources", "x.toml"], r"2: --sources and --area go together"),
    (["--units", "linear", "--resolution", 10], r"2: name the grid of the output"),
    (["--units", "linear", "--dates", "nowhere.csv"], r"2: nowhere.csv: cannot read this table"),
]


@pytest.mark.parametrize(("options", "line"), BAD_OPTIONS)
def test_bad_options_are_one_line_and_leave_nothing(options: list[object], line: str, tmp_path: Path) -> None:
    paths, out = write_series(tmp_path / "in", speckle(3, 48)), tmp_path / "out.tif"
    assert_matches(refused("s1-mean", *paths, out, *options), line)
    assert {path.name for path in tmp_path.iterdir()} == {"in"}


@pytest.mark.parametrize(
    ("box", "line"),
    [
        (("EPSG:32632", 10, 0, 0), r"2: the output is in EPSG:32632, the images in EPSG:32631; nothing is warped"),
        (("EPSG:32631", 20, 0, 0), r"2: the output has pixels of 20, the images of 10"),
        (("EPSG:32631", 10, 900, 0), r"2: the output lies beside the images"),
    ],
)
def test_grids_that_need_warping_are_refused(box: tuple[str, float, float, float], line: str, tmp_path: Path) -> None:
    crs, resolution, right, down = box
    left, top = CORNER[0] + right, CORNER[1] - down
    grid = ("--crs", crs, "--resolution", resolution, "--bounds", left, top - 200, left + 200, top)
    paths = write_series(tmp_path / "in", speckle(2, 48))
    assert_matches(refused("s1-mean", *paths, tmp_path / "out.tif", "--units", "linear", *grid), line)


def test_grid_between_pixels_is_refused(tmp_path: Path) -> None:
    other = write_geotiff(tmp_path / "like.tif", speckle(1, 20)[0], corner=(CORNER[0] + 4, CORNER[1]))
    paths = write_series(tmp_path / "in", speckle(2, 48))
    line = refused("s1-mean", *paths, tmp_path / "out.tif", "--units", "linear", "--like", other)
    assert_matches(line, r"2: the output's corner 675844, .* lies between pixels")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("name,date\n", r"2: .*: columns name, date; wanted: file,date"),
        ("file,date\na.tif,tomorrow\n", r"2: .*line 2: 'tomorrow' is no date"),
        ("file,date\na.tif,2018-01-01\na.tif,2018-01-02\n", r"2: .*line 3: 'a.tif' stands in the table twice"),
        ("file,date,orbit\na.tif,2018-01-01,x\n", r"2: .*line 2: orbit 'x' is no number"),
        ("file,date\nother.tif,2018-01-01\n", r"2: .*a.tif: no date of band 1 in the table"),
    ],
)
def test_bad_tables(text: str, line: str, tmp_path: Path) -> None:
    path = describe(write_geotiff(tmp_path / "a.tif", speckle(1, 20)[0]), ("VV", "VH"))
    (tmp_path / "t.csv").write_text(text)
    found = refused("s1-mean", path, tmp_path / "o.tif", "--units", "linear", "--dates", tmp_path / "t.csv")
    assert_matches(found, line)


def test_out_is_no_input(tmp_path: Path) -> None:
    paths = write_series(tmp_path, speckle(2, 20))
    assert_matches(refused("s1-mean", *paths, paths[0], "--units", "linear"), r"2: .*is an input; name another output")
    for counts in (tmp_path / "o.tif", paths[1]):
        line = refused("s1-mean", *paths, tmp_path / "o.tif", "--units", "linear", "--counts", counts)
        assert_matches(line, r"2: .*is an input; name another output")
    before = paths[-1].read_bytes()
    line = refused("s1-mean", *paths, "--units", "linear")
    assert_matches(line, r"2: .*exists, and no `prepare` made it")
    assert paths[-1].read_bytes() == before, "an output that was forgotten"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--scale", "nan"], "nan is no number above 0"),
        (["--scale", "0"], "0 is no number above 0"),
        (["--nearest", "0001-01-01T00:00:00+05:00"], "beyond the calendar"),
    ],
)
def test_numbers_and_dates_that_are_none(tmp_path: Path, words: list[str], told: str) -> None:
    paths = write_series(tmp_path, speckle(2, 20))
    assert told in refused("s1-mean", *paths, tmp_path / "o.tif", "--units", "linear", *words)


def test_nodata_that_the_file_has_too(tmp_path: Path) -> None:
    paths = write_series(tmp_path, speckle(2, 48))
    run("s1-mean", *paths, tmp_path / "o.tif", "--units", "linear", "--nodata", "nan")


def test_a_pattern_that_is_none(tmp_path: Path) -> None:
    assert_matches(refused("s1-mean", tmp_path / "**.tif", tmp_path / "o.tif"), r"2: .*(no pattern|no file matches)")


def test_one_date_has_no_activity(tmp_path: Path) -> None:
    paths = write_series(tmp_path, speckle(1, 48))
    line = refused("s1-activity", *paths, tmp_path / "a.tif", "--units", "linear")
    assert_matches(line, r"2: one date, 2018-01-03: activity is what differs")


def test_ground_too_small_for_looks(tmp_path: Path) -> None:
    paths = write_series(tmp_path, speckle(3, 10))
    assert_matches(refused("s1-activity", *paths, tmp_path / "a.tif", "--units", "linear"), r"2: no homogeneous ground")
    run("s1-mean", *paths, tmp_path / "mean.tif", "--units", "linear")
    assert "looks_before" not in notes(tmp_path / "mean.tif")


def test_a_file_cut_off_in_its_last_rows_leaves_nothing(tmp_path: Path) -> None:
    """The header and the first blocks are whole: the error comes in the middle of writing."""
    rows = 1200
    transform = Affine(10, 0, CORNER[0], 0, -10, CORNER[1])
    pixels = np.repeat(speckle(2, 40), rows // 40, axis=2)
    paths = [
        write_geotiff(tmp_path / f"in/{product(n)}.tif", date, transform=transform) for n, date in enumerate(pixels)
    ]
    whole = paths[1].read_bytes()
    paths[1].write_bytes(whole[: len(whole) - 40 * 4 * 20])
    found = series.read_series(paths, [], Reading(decibels=False, bands=(1, 2)), Choice())
    s1.mean_block(found, Window(0, 0, 40, 500))
    with pytest.raises(RasterError, match="truncated or corrupt"):
        s1.mean_block(found, Window(0, 0, 40, rows))
    bands = ("--units", "linear", "--vv-band", 1, "--vh-band", 2)
    assert_matches(refused("s1-mean", *paths, tmp_path / "o.tif", *bands), r"1: .*20180115.*: truncated")
    with pytest.raises(RasterError, match="truncated or corrupt"):
        s1._write(work_on(found), tmp_path / "o.tif", s1.MEAN_BANDS, partial(s1.mean_block, found), made_of_nothing())
    assert {path.name for path in tmp_path.iterdir()} == {"in"}


def work_on(found: series.Series) -> s1.Work:
    progress = BlockProgress(sys.stderr, quiet=True)
    return s1.Work(series=found, target=found.grid, parameters={}, executor=SerialExecutor(), progress=progress)


def made_of_nothing() -> Provenance:
    return Provenance(step="s1-mean", inputs=())


# --- memory, real data ------------------------------------------------------------------------------------------------

_MEASURE = """
import re, sys
from pathlib import Path
from catalog_builder.executor import SerialExecutor
from catalog_builder.prepare import s1, series
from catalog_builder.prepare.series import Choice, Reading
from rasterio.windows import Window
import itertools
found = series.read_series(sorted(Path(sys.argv[1]).glob("*.tif")), [], Reading(decibels=False), Choice())
for window in itertools.islice(found.grid.blocks(), int(sys.argv[2])):
    s1.mean_block(found, window), s1.activity_block(found, window)
# Not getrusage: that counts what the process was before it became this program, which is pytest.
print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


def test_memory_does_not_grow_with_dates_or_size(tmp_path: Path) -> None:
    """Sparse rasters: 20,000 x 20,000 pixels that take no place on the disk."""
    peaks = []
    for dates in (2, 12):
        for number in range(dates):
            path = tmp_path / str(dates) / f"{product(number)}.tif"
            path.parent.mkdir(exist_ok=True)
            profile = {"width": 20000, "height": 20000, "count": 2, "dtype": "float32", "nodata": 0, "tiled": True}
            place = {"crs": "EPSG:32631", "transform": Affine(10, 0, CORNER[0], 0, -10, CORNER[1])}
            options = {"blockxsize": 512, "blockysize": 512, "SPARSE_OK": True, "BIGTIFF": "YES"}
            with rasterio.open(path, "w", driver="GTiff", **profile, **place, **options) as dataset:
                dataset.descriptions = ("VV", "VH")
        command = [sys.executable, "-c", _MEASURE, str(tmp_path / str(dates)), "3"]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        peaks.append(int(done.stdout) / 1024)
    assert max(peaks) < 400  # MB; one date alone is 3,200
    assert peaks[1] < peaks[0] + 20


def test_looks_read_few_blocks_of_a_large_raster() -> None:
    grid = Target(crs="EPSG:32631", resolution=10, corner=CORNER, shape=(20000, 20000))
    chosen = s1._spread(grid)
    assert len(chosen) == 8
    assert len({window.col_off for window in chosen}) == len({window.row_off for window in chosen}) == 8


@pytest.fixture(scope="module")
def myanmar(real_data: Path) -> tuple[series.Series, Cube]:
    paths = sorted((real_data / "myanmar_sentinel1").glob("S1_V?_*.tif"))
    choice = Choice(period=(date(2018, 1, 1), date(2018, 12, 31)))
    found = series.read_series(paths, [], Reading(decibels=True, scale=0.01), choice)
    sides = []
    for path in paths[::-1]:
        with rasterio.open(path) as dataset:
            bands = [n for n, text in enumerate(dataset.descriptions, start=1) if text.startswith("2018")]
            sides.append(dataset.read(bands))
    return found, np.asarray(10 ** (np.stack(sides, axis=1) / 1000.0))


def test_real_mean_is_that_of_numpy(myanmar: tuple[series.Series, Cube]) -> None:
    found, power = myanmar
    assert power.shape == (28, 2, 120, 120)
    assert len(found.images) == 28
    mean = s1.mean_block(found, Window(0, 0, 120, 120))
    np.testing.assert_allclose(mean, 10 * np.log10(power.mean(axis=0)), atol=4e-6)
    amplitude = np.sqrt(power)
    activity = s1.activity_block(found, Window(0, 0, 120, 120))
    np.testing.assert_allclose(activity[:2], amplitude.std(axis=0) / amplitude.mean(axis=0), rtol=1e-5)


def test_real_looks_grow_with_dates(myanmar: tuple[series.Series, Cube]) -> None:
    found, _ = myanmar
    after = []
    for count in (2, 4, 8, 28):
        part = series.Series(images=found.images[:count], decibels=True, grid=found.grid)
        looks = s1.measure_looks(part, found.grid, SerialExecutor())
        assert looks.before is not None
        assert looks.after is not None
        after.append(looks.after[0] / looks.before[0])
    assert after == sorted(after)
    # Forested ridges are no flat ground: their own texture is all that is left in the end.
    assert after[0] > 1.2
    assert 1.5 < after[-1] < 28
