"""From raw products to a release by the commands of `prepare`, held against the ground of which both are."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
import odc.stac
import pystac
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner
from odc.geo.geobox import GeoBox

from catalog_builder.check.release import check_release
from catalog_builder.cli import main
from catalog_builder.executor import SerialExecutor
from catalog_builder.progress import TileProgress
from catalog_builder.schemas import SchemaStore
from catalog_builder.synthetic import generator, raw, sensors
from catalog_builder.synthetic.extract import LONGEST_WAY, fill, middles, thinned
from catalog_builder.synthetic.products import Ground, flooded
from tests import builds
from tests.makers import TILE, small_templates

Array = npt.NDArray[Any]

ITEMS = {"ventoux": "france/ventoux/ventoux_x0264_y1915", "cape_fear": "usa/cape_fear/cape_fear_x0000_y0000"}
PLACES = {area.id: area for area in raw.RAW_AREAS}
MODALITIES = {
    "ventoux": {"s1", "s1_mean", "s1_activity", "s2", "srtm", "osm"},
    "cape_fear": {"uavsar_1", "uavsar_2", "naip", "s1", "s1_activity", "s2", "srtm", "osm"},
}
VOID = -32768


@dataclass(frozen=True, kw_only=True)
class Chain:
    """What was made on the way, and the ground of which all of it is."""

    products: Path
    rasters: Path
    release: Path
    grounds: dict[str, Ground]

    def pixels(self, place: str, modality: str) -> Array:
        """Pixels of a modality in the release, (bands, rows, columns)."""
        with rasterio.open(self.release / ITEMS[place] / f"{modality}.tif") as dataset:
            return np.asarray(dataset.read())

    def item(self, place: str) -> pystac.Item:
        return pystac.Item.from_file(self.release / f"{ITEMS[place]}/{Path(ITEMS[place]).name}.json")

    def rng(self, place: str, layer: str) -> np.random.Generator:
        return generator(PLACES[place].place, layer)


def inner(pixels: Array) -> Array:
    """The part of a ground that is the tile."""
    return pixels[..., raw.MARGIN : -raw.MARGIN, raw.MARGIN : -raw.MARGIN]


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """All commands at a small size."""
    folder = tmp_path_factory.mktemp("from_raw")
    products, rasters = folder / "products", folder / "rasters"
    raw.write_raw_products(products, tile=TILE)
    for step in raw.prepare_steps(products, rasters, tile=TILE):
        words = [*step.arguments, "--jobs", "1", "--quiet"]
        result = CliRunner().invoke(main, words, catch_exceptions=False)
        assert result.exit_code == 0, result.output
    raw.mark_synthetic(rasters / raw.SOURCES)
    builds.run(rasters / raw.SOURCES, folder / "release", small_templates(folder / "templates"))
    grounds = {name: raw.raw_ground(area, TILE) for name, area in PLACES.items()}
    return Chain(products=products, rasters=rasters, release=folder / "release", grounds=grounds)


# --- the release ------------------------------------------------------------------------------------------------------


def test_check_finds_nothing(chain: Chain, schemas_dir: Path) -> None:
    progress = TileProgress(sys.stderr, quiet=True)
    assert check_release(chain.release, SchemaStore(mirror=schemas_dir), SerialExecutor(), progress) == []


@pytest.mark.parametrize("place", PLACES)
def test_every_modality_is_there_and_says_that_it_is_synthetic(chain: Chain, place: str) -> None:
    assets = chain.item(place).assets
    assert {key for key, asset in assets.items() if "data" in (asset.roles or ())} == MODALITIES[place]
    for key in MODALITIES[place]:
        fields = assets[key].extra_fields
        assert fields["dream:synthetic"] is True, key
        assert fields["processing:lineage"].startswith("catalog-builder prepare "), key


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")  # odc's own
@pytest.mark.parametrize("place", PLACES)
def test_odc_stac_reads_the_same_pixels(chain: Chain, place: str) -> None:
    item = chain.item(place)
    box = GeoBox((TILE, TILE), Affine(*item.properties["proj:transform"][:6]), item.properties["proj:code"])
    names = {"s2.4": ("s2", 3), "s1.2": ("s1", 1), "osm": ("osm", 0), "srtm": ("srtm", 0)}
    loaded = odc.stac.load([item], bands=list(names), geobox=box)
    for name, (key, band) in names.items():
        np.testing.assert_array_equal(loaded[name].values[0], chain.pixels(place, key)[band])


# --- pixels of the release against the ground -------------------------------------------------------------------------


def test_sentinel2_is_the_ground_without_offset_and_clouds(chain: Chain) -> None:
    truth = inner(sensors.sentinel2(chain.rng("ventoux", "s2"), chain.grounds["ventoux"].scene))
    np.testing.assert_array_equal(chain.pixels("ventoux", "s2"), truth)
    fields = chain.item("ventoux").assets["s2"].extra_fields
    assert fields["dream:cloud_percent"] > 1
    assert fields["dream:offsets"] == [-1000]


def test_sentinel2_at_5_m_keeps_the_mean_of_10_m(chain: Chain) -> None:
    truth = inner(sensors.sentinel2(chain.rng("cape_fear", "s2"), chain.grounds["cape_fear"].scene)).astype(float)
    pixels = chain.pixels("cape_fear", "s2").astype(float)
    coarse, fine = (values.reshape(4, 16, 16, 16, 16).mean(axis=(2, 4)) for values in (truth, pixels))
    assert np.abs(fine / coarse - 1).max() < 0.15  # what lies on the borders of these cells is interpolated
    assert np.abs(fine.mean() / coarse.mean() - 1) < 0.002


def test_the_mean_over_dates_is_nearer_to_the_ground_than_one_date(chain: Chain) -> None:
    scene, swath = chain.grounds["ventoux"].scene, PLACES["ventoux"].radar.swath
    truth = inner(sensors.sentinel1(np.random.default_rng(0), scene, swath, dates=100_000))
    dry = inner(flooded(scene).cover == scene.cover) & ~np.isnan(truth[0])
    mean, one = ((chain.pixels("ventoux", key) - truth)[:, dry] for key in ("s1_mean", "s1"))
    assert abs(float(mean.mean())) < 0.1
    # Ten dates: the root of ten times less, and a little more for the decibels of single dates.
    assert np.sqrt((mean**2).mean()) < np.sqrt((one**2).mean()) / 3
    assert np.isnan(chain.pixels("ventoux", "s1")).mean() == pytest.approx(np.isnan(truth).mean(), abs=1e-3)


@pytest.mark.parametrize("place", PLACES)
def test_activity_shows_the_fields_that_stood_under_water(chain: Chain, place: str) -> None:
    scene = chain.grounds[place].scene
    wet = inner(flooded(scene).cover != scene.cover)
    variation, _, day = chain.pixels(place, "s1_activity")
    there = variation >= 0
    assert np.median(variation[wet & there]) > 1.6 * np.median(variation[~wet & there])
    year = np.datetime64(f"{PLACES[place].radar.start.year}-01-01")
    days = day[there].astype("datetime64[D]")
    assert ((days >= year) & (days < year + 365)).all()
    # Under water nothing shines: the brightest day of these fields is a later one.
    last = year + PLACES[place].radar.wet * PLACES[place].radar.days - 36
    assert (day[wet & there].astype("datetime64[D]") > last).mean() > 0.98


@pytest.mark.parametrize("place", PLACES)
def test_elevation_lies_in_its_place(chain: Chain, place: str) -> None:
    ground = chain.grounds[place]
    heights = chain.pixels(place, "srtm")[0]
    known = heights != VOID
    error = (heights - inner(ground.scene.height))[known].astype(float)
    south, east = (inner(slope)[known] for slope in np.gradient(ground.scene.height.astype(float), ground.scene.pixel))
    (shift_east, shift_south, bias), *_ = np.linalg.lstsq(np.stack([east, south, np.ones_like(east)], axis=1), error)
    assert np.hypot(shift_east, shift_south) < 1.5  # metres, of cells of 30 m
    assert abs(bias) < 0.2
    if place == "cape_fear":  # gentle ground, which cells of 30 m hold
        assert np.percentile(np.abs(error), 90) < 1
    assert chain.item(place).assets["srtm"].extra_fields["dream:void_pixels"] == 54
    cell = 30.87**2 * np.cos(np.radians(ground.box()[1]))  # m2 of a value of 1 arc second
    assert (~known).sum() * ground.scene.pixel**2 == pytest.approx(54 * cell, rel=0.03)


@pytest.mark.parametrize("place", PLACES)
def test_classes_agree_away_from_borders(chain: Chain, place: str) -> None:
    truth = inner(sensors.openstreetmap(chain.grounds[place].scene)[0])
    classes = chain.pixels(place, "osm")[0]
    truth, classes = (np.where(values == 5, 4, values) for values in (truth, classes))  # a river is water here
    even = np.ones_like(truth, dtype=bool)
    for axis in (0, 1):
        for step in (-2, -1, 1, 2):
            even &= np.roll(truth, step, axis) == truth
    assert even.mean() > 0.3
    assert (classes == truth)[even].mean() > 0.97
    for line in (9, 10, 11):  # too narrow for that: most of the line lies on the road, which it follows
        near = np.zeros_like(even)
        for down in (-1, 0, 1):
            for right in (-1, 0, 1):
                near |= np.roll(truth, (down, right), (0, 1)) == line
        assert near[classes == line].mean() > 0.95
        assert (classes == line).sum() > 0.3 * (truth == line).sum()


def test_pauli_powers_are_those_of_the_ground(chain: Chain) -> None:
    for number, flight in enumerate(PLACES["cape_fear"].flights, start=1):
        scene = chain.grounds["cape_fear"].scene
        truth = inner(sensors.uavsar(chain.rng("cape_fear", flight.granule), scene, flight.swath))
        amplitude = chain.pixels("cape_fear", f"uavsar_{number}")
        seen, expected = np.isfinite(amplitude[0]), np.isfinite(truth[0])
        assert (seen == expected).mean() > 0.998
        powers, expected_powers = (values[:, seen & expected].astype(float) ** 2 for values in (amplitude, truth))
        np.testing.assert_allclose(powers.mean(axis=1), expected_powers.mean(axis=1), rtol=2e-3)
        for one, other in zip(powers, expected_powers, strict=True):
            assert np.corrcoef(np.log(one), np.log(other))[0, 1] > 0.9  # half a pixel off it would be 0.8
        fields = chain.item("cape_fear").assets[f"uavsar_{number}"].extra_fields
        assert fields["dream:heading"] == flight.heading


def test_photographs_meet_without_a_hole(chain: Chain) -> None:
    truth = inner(sensors.naip(chain.rng("cape_fear", "naip"), chain.grounds["cape_fear"].scene)).astype(int)
    pixels = chain.pixels("cape_fear", "naip").astype(int)
    assert pixels.min() > 0
    np.testing.assert_array_equal(pixels[:, :, :40], truth[:, :, :40])  # the western one alone
    brighter = pixels[:, :, -40:] / truth[:, :, -40:]
    assert np.median(brighter) == pytest.approx(1.06, abs=0.02)


# --- products ---------------------------------------------------------------------------------------------------------


def test_products_say_what_they_are(chain: Chain) -> None:
    contents = (chain.products / raw.CONTENTS).read_text()
    assert contents.startswith("SYNTHETIC")
    files = {path for path in chain.products.rglob("*") if path.is_file()} - {chain.products / raw.CONTENTS}
    assert files == {chain.products / name for name in contents.splitlines()[2:]}
    for path in files:
        if path.suffix in (".ann", ".xml", ".osm", ".zip"):
            assert b"SYNTHETIC: " in path.read_bytes(), path
        elif path.suffix == ".tif":
            with rasterio.open(path) as dataset:
                assert "Synthetic" in dataset.tags()["TIFFTAG_IMAGEDESCRIPTION"]
    assert {path.suffix for path in files} == {".ann", ".grd", ".hgt", ".jp2", ".osm", ".tif", ".xml", ".zip"}


def test_the_same_products_have_the_same_bytes(chain: Chain, tmp_path: Path) -> None:
    raw.write_raw_products(tmp_path, tile=TILE)
    assert builds.tree(tmp_path) == builds.tree(chain.products)


def test_a_second_run_writes_nothing(chain: Chain) -> None:
    before, said = builds.state(chain.products), list[str]()
    raw.write_raw_products(chain.products, said.append, tile=TILE)
    assert len(said) == 1
    listing = chain.rasters / raw.SOURCES
    raw.mark_synthetic(listing)
    assert builds.state(chain.products) == before
    steps = list(raw.prepare_steps(chain.products, chain.rasters, tile=TILE))
    assert all(step.is_done(chain.products / raw.CONTENTS, listing) for step in steps)


def test_a_step_is_done_anew_where_something_is_missing_or_older(tmp_path: Path) -> None:
    contents, listing = (tmp_path / name for name in (raw.CONTENTS, raw.SOURCES))
    step = next(raw.prepare_steps(tmp_path, tmp_path))
    step.out.parent.mkdir()
    for second, path in enumerate((contents, step.out, listing), start=1):
        assert not step.is_done(contents, listing)
        path.touch()
        os.utime(path, (second, second))
    assert step.is_done(contents, listing)
    os.utime(contents, (9, 9))
    assert not step.is_done(contents, listing)


def test_interrupted_products_are_made_anew(chain: Chain, tmp_path: Path) -> None:
    products = Path(shutil.copytree(chain.products, tmp_path / "products"))
    (products / "ventoux" / "N44E005.hgt").unlink()
    raw.write_raw_products(products, tile=TILE)
    assert builds.tree(products) == builds.tree(chain.products)


@pytest.mark.parametrize("place", PLACES)
def test_the_extract_is_good_openstreetmap(chain: Chain, place: str) -> None:
    """Every reference leads somewhere, areas are closed, neighbours share nodes, holes are members of their own."""
    root = ElementTree.parse(chain.products / place / f"{place}.osm").getroot()
    nodes = {node.get("id") for node in root.iter("node")}
    ways = {way.get("id"): [node.get("ref") for node in way.iter("nd")] for way in root.iter("way")}
    tags = {way.get("id"): {tag.get("k") for tag in way.iter("tag")} for way in root.iter("way")}
    assert all(set(refs) <= nodes and 2 <= len(refs) <= LONGEST_WAY for refs in ways.values())
    relations = [list(relation.iter("member")) for relation in root.iter("relation")]
    assert all(member.get("ref") in ways for members in relations for member in members)
    assert any({member.get("role") for member in members} == {"outer", "inner"} for members in relations)
    assert set().union(*tags.values()) >= {"landuse", "natural", "building", "highway", "railway", "waterway"}
    areas = {"landuse", "natural", "building"}
    assert all(refs[0] == refs[-1] for way, refs in ways.items() if areas & tags[way])
    land = [set(refs) for way, refs in ways.items() if tags[way] <= areas - {"building"} | {"water"}]
    assert sum(len(refs) for refs in land) > 1.3 * len(set().union(*land))


# --- drawing ----------------------------------------------------------------------------------------------------------


def test_holes_are_filled_from_around() -> None:
    classes = np.array([[1, 1, 9, 2], [1, 9, 9, 2], [1, 1, 9, 2]], np.uint8)
    filled = fill(classes, classes == 9)
    assert set(np.unique(filled)) == {1, 2}
    np.testing.assert_array_equal(filled[classes != 9], classes[classes != 9])


def test_a_broad_line_has_one_line_in_its_middle() -> None:
    mask = np.zeros((40, 60), bool)
    mask[18:23, 5:55] = True
    assert thinned(mask).sum(axis=0).max() == 1
    (line,) = middles(mask)
    (x, y), (x2, y2) = line.coords[0], line.coords[-1]
    assert (y, y2) == (20.5, 20.5)
    assert abs(x2 - x) >= 44


def test_crossing_lines_stay_joined_and_an_empty_mask_has_none() -> None:
    mask = np.zeros((40, 40), bool)
    assert list(middles(mask)) == []
    mask[20, :] = mask[:, 12] = True
    np.fill_diagonal(mask, True)
    lines = list(middles(mask))
    assert sum(line.length for line in lines) == pytest.approx(39 + 39 + 39 * np.sqrt(2), rel=0.1)


# --- the command ------------------------------------------------------------------------------------------------------


def shown(text: str) -> list[tuple[str, ...]]:
    """The commands that were printed, as a shell reads them, without the name of the program."""
    lines = text.replace("\\\n", "").splitlines()
    return [tuple(shlex.split(line[2:])[1:]) for line in lines if line.startswith("$ ")]


@pytest.mark.slow
def test_the_demonstration_at_full_size(tmp_path: Path, schemas_dir: Path) -> None:
    """The command of `tools/demo --from-raw`, twice; then one of the commands that it shows, by hand."""
    run = partial(subprocess.run, check=True, capture_output=True, text=True, cwd=tmp_path)
    demo = [*builds.CLI, "demo", "--from-raw", "--no-explorer", "--quiet"]
    first = run(demo).stdout
    release = tmp_path / "demo-release-raw"
    commands = [
        step.arguments for step in raw.prepare_steps(Path(f"{release.name}_products"), Path(f"{release.name}_sources"))
    ]
    listing = f"{release.name}_sources/{raw.SOURCES}"
    assert shown(first) == [*commands, ("build", listing, release.name)]
    checked = run([*builds.CLI, "check", release.name, "--schemas", str(schemas_dir), "--clients", "--quiet"])
    assert "no findings" in checked.stdout + checked.stderr
    before = builds.state(tmp_path)
    second = run(demo).stdout
    assert second.count("there already, nothing to do") == len(commands)
    assert shown(second) == shown(first)
    assert builds.state(tmp_path) == before
    out = tmp_path / f"{release.name}_sources" / "ventoux" / "s1_mean.tif"
    pixels = out.read_bytes()
    run([*builds.CLI, *next(words for words in shown(second) if out.name in str(words))])
    assert out.read_bytes() == pixels
    sources = tomllib.loads((tmp_path / listing).read_text())["area"]
    assert {area["id"]: {source["asset"] for source in area["source"]} for area in sources} == MODALITIES
    collections = json.loads((release / "catalog.json").read_text())["links"]
    assert sum(link["rel"] == "child" for link in collections) == 2
