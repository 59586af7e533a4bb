"""``build --keep-going``: what can be built is built, the rest is listed and keeps its last good version."""

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import Result

from tests.bad_rasters import BAD, truncated
from tests.bench import Bench, alpes, assert_refused, assert_vouched, content, plain, tree
from tests.makers import CORNER, TILE, area, source, texture, write_geotiff

EAST = CORNER[0] + 8 * TILE * 10, CORNER[1]


def nothing_valid(path: Path) -> None:
    plain(path, np.full((1, TILE, 2 * TILE), -32768, "int16"), corner=EAST)


def second_tile_missing(path: Path) -> None:
    """The blocks of the first tile are whole, those of the second are cut off."""
    pixels = texture((1, TILE, 2 * TILE), "int16", 5)
    plain(path, pixels, corner=EAST, tiled=True, blockxsize=TILE, blockysize=TILE)
    os.truncate(path, path.stat().st_size - TILE * TILE)


def second_tile_missing_in_s2(path: Path) -> None:
    pixels = texture((4, TILE, 2 * TILE), "uint16", 4)
    write_geotiff(path, pixels, nodata=0, corner=EAST, tiled=True, blockxsize=TILE, blockysize=TILE, interleave="pixel")
    os.truncate(path, path.stat().st_size - TILE * TILE)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault in one of two areas."""

    name: str
    make: Callable[[Path], object]
    says: str
    where: str = "france/bresse"
    asset: str = "srtm"


FAULTS = (
    Fault(name="no CRS", make=lambda path: plain(path, crs=None, corner=EAST), says="no CRS"),
    Fault(name="missing file", make=lambda path: path.unlink(missing_ok=True), says="no such file"),
    Fault(name="outside its area", make=plain, says="outside the area"),
    Fault(name="nodata only", make=nothing_valid, says="no valid pixel for 'srtm'"),
    Fault(name="one tile of two", make=second_tile_missing, says="truncated or corrupt", where="bresse_x0273_y1903"),
    Fault(name="required", make=second_tile_missing_in_s2, says="truncated", where="bresse_x0273_y1903", asset="s2"),
)


def write_bresse(folder: Path) -> None:
    """Two good rasters of an area of two tiles."""
    write_geotiff(folder / "b_s2.tif", texture((4, TILE, 2 * TILE), "uint16", 4), nodata=0, corner=EAST)
    plain(folder / "b_srtm.tif", texture((1, TILE, 2 * TILE), "int16", 5), corner=EAST)


def two_areas(bench: Bench, alpes_keys: Sequence[str] = ("srtm", "osm")) -> Path:
    bresse = area("bresse", source("s2", "b_s2.tif"), source("srtm", "b_srtm.tif"), required=["s2"])
    return bench.write(alpes(keys=alpes_keys) + bresse)


def assert_kept_going(result: Result, fault: Fault) -> None:
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"failed: {fault.where}: ")
    assert f"b_{fault.asset}.tif" in line
    assert fault.says in line


def index_ids(release: Path) -> set[str]:
    return set(pq.read_table(release / "items" / "france.parquet", columns=["id"])["id"].to_pylist())


def item_ids(release: Path) -> set[str]:
    return {path.stem for path in release.glob("france/*/*_x*/*.json")}


@dataclass(frozen=True, kw_only=True)
class Versions:
    """Two versions of a release of two areas, both good; the second is without the classes of the first area."""

    older: Path
    newer: Path


@pytest.fixture(scope="module")
def versions(world: Bench, tmp_path_factory: pytest.TempPathFactory) -> Versions:
    folder = tmp_path_factory.mktemp("versions")
    bench = Bench(folder=folder, templates=world.templates, good=world.good, release=folder / "newer")
    write_bresse(folder)
    assert bench.build(two_areas(bench), folder / "older").exit_code == 0
    assert bench.build(two_areas(bench, alpes_keys=["srtm"]), folder / "newer").exit_code == 0
    return Versions(older=folder / "older", newer=folder / "newer")


@pytest.mark.parametrize("older", [pytest.param(False, marks=pytest.mark.slow), True], ids=["new", "older"])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_keep_going_builds_what_can_be_built(bench: Bench, versions: Versions, fault: Fault, older: bool) -> None:
    """The good area is built, the bad one keeps what it had, and the mended one is as if nothing had been."""
    release, folder = bench.folder / "release", bench.folder
    if older:
        shutil.copytree(versions.older, release)
    before = content(release)
    write_bresse(folder)
    fault.make(folder / f"b_{fault.asset}.tif")
    sources = two_areas(bench, alpes_keys=["srtm"])
    stopped = bench.build(sources, release)
    assert_refused(stopped, [f"b_{fault.asset}.tif", fault.says], stopped.exit_code)
    assert content(release) == before

    assert_kept_going(bench.build(sources, release, "--keep-going"), fault)
    assert_vouched(release)
    after = content(release)
    assert within("france/alpes/", after) == within("france/alpes/", content(versions.newer))
    unbuilt = "france/bresse/" if fault.where == "france/bresse" else f"france/bresse/{fault.where}/"
    assert within(unbuilt, after) == within(unbuilt, before)
    assert index_ids(release) == item_ids(release)
    assert_kept_going(bench.build(sources, release, "--keep-going"), fault)
    assert content(release) == after

    write_bresse(folder)
    assert bench.build(sources, release).exit_code == 0
    assert content(release) == content(versions.newer)
    assert_vouched(release)


def within(folder: str, files: dict[str, str]) -> dict[str, str]:
    """Give the files below a folder of a release."""
    return {href: sha256 for href, sha256 in files.items() if href.startswith(folder)}


def test_keep_going_with_nothing_to_build_is_refused(bench: Bench) -> None:
    """All areas are bad and none was good before: there is nothing to release."""
    truncated(bench.folder / BAD)
    sources = bench.write(area("alpes", source("srtm", BAD), required=["srtm"]))
    new = bench.folder / "new"
    assert_refused(bench.build(sources, new, "--keep-going"), [BAD, "nothing could be built"], 1)
    assert not tree(new)


def test_keep_going_keeps_no_tile_of_another_grid(bench: Bench) -> None:
    """A tile that cannot be built is not replaced by one of the same name that lies elsewhere."""
    release = bench.folder / "release"
    write_bresse(bench.folder)
    sources = two_areas(bench)
    text = sources.read_text()
    moved = text.replace('id = "bresse"', f'id = "bresse"\norigin = [{EAST[0] - 50.0}, {EAST[1]}]')
    sources.write_text(text.replace('id = "bresse"', f'id = "bresse"\norigin = [{EAST[0]}, {EAST[1]}]'))
    assert bench.build(sources, release).exit_code == 0
    sources.write_text(moved)
    second_tile_missing(bench.folder / "b_srtm.tif")
    result = bench.build(sources, release, "--keep-going")
    assert result.exit_code == 1
    assert "bresse_x0001_y0000" in result.stderr
    assert_vouched(release)
    assert not (release / "france/bresse/bresse_x0001_y0000").exists()


def test_what_a_refused_build_left_aside_never_slips_in(bench: Bench, versions: Versions) -> None:
    """A build fails on its second area; its first goes back to what it was: nothing of the failed build is released."""
    folder = bench.folder
    release = shutil.copytree(versions.older, folder / "release")
    before = content(release)
    write_bresse(folder)
    truncated(folder / BAD)
    bad = two_areas(bench, alpes_keys=["srtm"]).read_text().replace("b_srtm.tif", BAD)
    assert bench.build(bench.write(bad), release).exit_code != 0
    assert content(release) == before
    assert bench.build(two_areas(bench), release).exit_code == 0
    assert content(release) == before
    assert_vouched(release)
