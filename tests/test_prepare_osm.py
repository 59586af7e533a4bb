"""`prepare osm`: drawn maps of known areas held against numpy and shapely; real extracts; bad input."""

import gzip
import json
import math
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import osmium
import pyproj
import pytest
import rasterio
import shapely
from affine import Affine
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.features import rasterize

from catalog_builder import sources, template
from catalog_builder.cli import main
from catalog_builder.prepare.osm_classes import default_file, read_classes

Array = npt.NDArray[Any]
Point = tuple[float, float]

UTM = "EPSG:32631"
LEFT, TOP, SIDE, PIXEL = 400_000.0, 4_800_000.0, 200, 10.0
"""The grid of most tests: 200 x 200 pixels of 10 m in UTM."""
TO_DEGREES = pyproj.Transformer.from_crs(UTM, "EPSG:4326", always_xy=True)
FOREST, FARMLAND, GRASS, WATER, WATERWAY, RESIDENTIAL, BUILDING, MAJOR, MINOR, RAIL = 1, 2, 3, 4, 5, 6, 8, 9, 10, 11
MARGIN = 1000.0


@dataclass
class Map:
    """An OSM XML file in the making; places are in metres from the upper-left corner of the grid, y down."""

    nodes: list[str] = field(default_factory=list)
    ways: list[str] = field(default_factory=list)
    relations: list[str] = field(default_factory=list)
    missing: set[int] = field(default_factory=set)
    count: int = 0

    def node(self, x: float, y: float) -> int:
        self.count += 1
        lon, lat = TO_DEGREES.transform(LEFT + x, TOP - y)
        self.nodes.append(f'<node id="{self.count}" lon="{lon:.7f}" lat="{lat:.7f}" {STAMP}/>')
        return self.count

    def way(self, places: Iterable[Point], tags: Mapping[str, str] | None = None, *, closed: bool = False) -> int:
        return self.way_of([self.node(*place) for place in places], tags, closed=closed)

    def way_of(self, ids: Sequence[int], tags: Mapping[str, str] | None = None, *, closed: bool = False) -> int:
        self.count += 1
        refs = "".join(f'<nd ref="{ref}"/>' for ref in [*ids, *ids[: int(closed)]])
        self.ways.append(f'<way id="{self.count}" {STAMP}>{refs}{xml_tags(tags or {})}</way>')
        return self.count

    def relation(self, members: Sequence[tuple[int, str]], tags: Mapping[str, str], kind: str = "multipolygon") -> None:
        self.count += 1
        refs = "".join(f'<member type="way" ref="{ref}" role="{role}"/>' for ref, role in members)
        tagged = xml_tags({"type": kind, **tags})
        self.relations.append(f'<relation id="{self.count}" {STAMP}>{refs}{tagged}</relation>')

    def write(self, path: Path, *, box: str | None = None) -> Path:
        bounds = outer_box() if box is None else box
        body = "\n".join((bounds, *self.nodes, *self.ways, *self.relations))
        path.write_text(f'<?xml version="1.0"?>\n<osm version="0.6" generator="tests">\n{body}\n</osm>\n')
        return path


STAMP = 'version="1" timestamp="2021-03-04T05:06:07Z"'


def xml_tags(tags: Mapping[str, str]) -> str:
    return "".join(f'<tag k="{key}" v="{value}"/>' for key, value in tags.items())


def outer_box(margin: float = MARGIN, width: float = SIDE * PIXEL) -> str:
    """Bounds that hold the grid and a margin around."""
    west, south = TO_DEGREES.transform(LEFT - margin, TOP - SIDE * PIXEL - margin)
    east, north = TO_DEGREES.transform(LEFT + width + margin, TOP + margin)
    return f'<bounds minlat="{south - 0.01:.7f}" minlon="{west:.7f}" maxlat="{north + 0.01:.7f}" maxlon="{east:.7f}"/>'


def square(x: float, y: float, size: float) -> list[Point]:
    return [(x, y), (x + size, y), (x + size, y + size), (x, y + size)]


def command(*arguments: object, jobs: int = 1) -> Result:
    words = ["prepare", "osm", *map(str, arguments), "--jobs", str(jobs), "--quiet"]
    return CliRunner().invoke(main, words)


def grid(side: int = SIDE, pixel: float = PIXEL) -> list[object]:
    reach = SIDE * PIXEL
    return ["--crs", UTM, "--resolution", pixel, "--bounds", LEFT, TOP - reach, LEFT + side * pixel, TOP]


def draw(drawn: Map, folder: Path, *more: object, jobs: int = 1) -> Array:
    """Prepare a map on the grid and give its pixels."""
    out = folder / "osm.tif"
    result = command(drawn.write(folder / "map.osm"), out, *grid(), *more, jobs=jobs)
    assert result.exit_code == 0, result.output
    return read(out)


def read(path: Path) -> Array:
    with rasterio.open(path) as dataset:
        return np.asarray(dataset.read(1))


def failure(result: Result) -> str:
    """The one line of an error."""
    assert result.exit_code != 0
    assert result.output.count("\n") == 1, result.output
    return result.output


def only(pixels: Array) -> set[int]:
    return {int(value) for value in np.unique(pixels)}


# --- areas ------------------------------------------------------------------------------------------------------------


def test_square_is_filled_to_the_pixel(tmp_path: Path) -> None:
    drawn = Map()
    drawn.way(square(300, 500, 400), {"landuse": "forest"}, closed=True)
    expected = np.zeros((SIDE, SIDE), np.uint8)
    expected[50:90, 30:70] = FOREST
    assert np.array_equal(draw(drawn, tmp_path), expected)


@pytest.mark.parametrize(
    ("sides", "radius"), [(3, 800), (5, 700), (64, 900), (64, 500)], ids=["triangle", "five", "circle", "small circle"]
)
def test_area_is_kept_within_half_a_percent(tmp_path: Path, sides: int, radius: float) -> None:
    angles = np.arange(sides) * 2 * math.pi / sides + 0.1
    places = [(1000 + radius * math.cos(angle), 1000 + radius * math.sin(angle)) for angle in angles]
    drawn = Map()
    drawn.way(places, {"natural": "water"}, closed=True)
    true = shapely.Polygon(places).area
    assert np.count_nonzero(draw(drawn, tmp_path) == WATER) * PIXEL**2 == pytest.approx(true, rel=0.005)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1))
def test_random_maps_are_what_rasterio_draws_of_the_whole(tmp_path: Path, seed: int) -> None:
    """Stars of several classes, drawn by the rule of layers and sizes; blocks and passes leave no trace."""
    random = np.random.default_rng(seed)
    drawn, shapes = Map(), []
    for tags, value in (
        ({"landuse": "forest"}, FOREST),
        ({"landuse": "farmland"}, FARMLAND),
        ({"building": "yes"}, BUILDING),
    ):
        for _ in range(4):
            places = star(random)
            drawn.way(places, tags, closed=True)
            polygon = shapely.Polygon([rounded(place) for place in places])
            shapes.append(((value == BUILDING, -polygon.area), polygon, value))
    shapes.sort(key=lambda shape: shape[0])
    place = Affine(PIXEL, 0, LEFT, 0, -PIXEL, TOP)
    expected = rasterize(((polygon, value) for _, polygon, value in shapes), (SIDE, SIDE), transform=place)
    (tmp_path / "osm.tif").unlink(missing_ok=True)
    assert np.array_equal(draw(drawn, tmp_path), expected)


def star(random: np.random.Generator) -> list[Point]:
    x, y, count = random.uniform(-200, 2200), random.uniform(-200, 2200), int(random.integers(3, 12))
    angles, reach = np.sort(random.uniform(0, 2 * math.pi, count)), random.uniform(30, 900, count)
    return [(x + r * math.cos(a), y + r * math.sin(a)) for a, r in zip(angles, reach, strict=True)]


def rounded(place: Point) -> Point:
    """Where a place stands after it was written with seven decimals of degrees, in metres."""
    lon, lat = TO_DEGREES.transform(LEFT + place[0], TOP - place[1])
    x, y = TO_DEGREES.transform(round(lon, 7), round(lat, 7), direction="INVERSE")
    return x, y


def test_smaller_area_is_drawn_over_the_larger_one_whatever_the_order(tmp_path: Path) -> None:
    for order in (1, -1):
        drawn = Map()
        for places, use in ((square(100, 100, 1500), "forest"), (square(500, 500, 300), "meadow"))[::order]:
            drawn.way(places, {"landuse": use}, closed=True)
        pixels = draw(drawn, tmp_path)
        assert (pixels[50:80, 50:80] == GRASS).all()
        assert pixels[20, 20] == FOREST


def test_layers_lie_over_each_other(tmp_path: Path) -> None:
    drawn = Map()
    drawn.way([(0, 1005), (2000, 1005)], {"railway": "rail"})
    drawn.way([(0, 1005), (2000, 1005)], {"highway": "motorway"})
    drawn.way([(1005, 0), (1005, 2000)], {"highway": "residential"})
    drawn.way(square(900, 300, 200), {"building": "house"}, closed=True)
    drawn.way(square(500, 100, 1000), {"natural": "water"}, closed=True)
    drawn.way([(605, 0), (605, 2000)], {"waterway": "river"})
    pixels = draw(drawn, tmp_path)
    assert pixels[100, 20] == RAIL
    assert pixels[50, 100] == MINOR, "roads lie over houses"
    assert pixels[40, 95] == BUILDING
    assert pixels[50, 60] == WATER, "a shore counts more than the line of its river"
    assert pixels[150, 60] == WATERWAY


def test_open_ways_and_area_no_are_not_filled(tmp_path: Path) -> None:
    drawn = Map()
    drawn.way(square(100, 100, 500), {"landuse": "forest"})
    drawn.way(square(1000, 1000, 500), {"landuse": "forest", "area": "no"}, closed=True)
    drawn.way(square(100, 1000, 500), {"building": "no"}, closed=True)
    drawn.way([(1000, 100)] * 4, {"landuse": "forest"}, closed=True)
    assert only(draw(drawn, tmp_path)) == {0}


def test_rings_without_ground_and_rings_that_cross_themselves(tmp_path: Path) -> None:
    drawn = Map()
    first, second = drawn.node(100, 100), drawn.node(500, 500)
    drawn.way_of([first, second, second, first], {"landuse": "forest"})
    drawn.way_of([first] * 5, {"landuse": "forest"})
    drawn.way([(1000, 1000), (1400, 1400), (1400, 1000), (1000, 1400)], {"landuse": "meadow"}, closed=True)
    pixels = draw(drawn, tmp_path)
    assert only(pixels) == {0, GRASS}
    assert np.count_nonzero(pixels) == pytest.approx(800, rel=0.03)


def test_square_of_a_town_is_filled(tmp_path: Path) -> None:
    drawn = Map()
    drawn.way(square(300, 500, 400), {"highway": "residential", "area": "yes"}, closed=True)
    drawn.way(square(1300, 500, 400), {"highway": "residential"}, closed=True)
    pixels = draw(drawn, tmp_path)
    assert (pixels[50:90, 30:70] == MINOR).all()
    assert pixels[70, 150] == 0
    assert pixels[70, 130] == MINOR or pixels[70, 129] == MINOR


# --- multipolygons ----------------------------------------------------------------------------------------------------


def ring_of_two(drawn: Map, places: Sequence[Point]) -> list[int]:
    """A ring as two ways that share their ends."""
    ids = [drawn.node(*place) for place in places]
    half = len(ids) // 2
    return [drawn.way_of(ids[: half + 1]), drawn.way_of([*ids[half:], ids[0]])]


def lake_with_island(drawn: Map, **roles: str) -> list[tuple[int, str]]:
    outer = ring_of_two(drawn, square(100, 100, 1600))
    hole = ring_of_two(drawn, square(500, 500, 800))
    island = drawn.way(square(800, 800, 200), closed=True)
    outside, inside = roles.get("outer", "outer"), roles.get("inner", "inner")
    return [*((way, outside) for way in outer), *((way, inside) for way in hole), (island, outside)]


def expected_lake() -> Array:
    expected = np.zeros((SIDE, SIDE), np.uint8)
    expected[10:170, 10:170] = WATER
    expected[50:130, 50:130] = 0
    expected[80:100, 80:100] = WATER
    return expected


@pytest.mark.parametrize("roles", [{}, {"outer": "", "inner": ""}, {"inner": "outer"}], ids=["roles", "none", "wrong"])
def test_holes_and_islands_in_holes(tmp_path: Path, roles: dict[str, str]) -> None:
    drawn = Map()
    drawn.relation(lake_with_island(drawn, **roles), {"natural": "water"})
    assert np.array_equal(draw(drawn, tmp_path), expected_lake())


def test_old_multipolygon_has_its_tags_on_the_outer_way(tmp_path: Path) -> None:
    drawn = Map()
    outer = drawn.way(square(100, 100, 1600), {"natural": "water"}, closed=True)
    inner = drawn.way(square(500, 500, 800), closed=True)
    drawn.relation([(outer, "outer"), (inner, "inner")], {"source": "somebody"})
    expected = expected_lake()
    expected[80:100, 80:100] = 0
    assert np.array_equal(draw(drawn, tmp_path), expected)


def test_relation_of_another_kind_is_no_area(tmp_path: Path) -> None:
    drawn = Map()
    drawn.relation(lake_with_island(drawn), {"natural": "water"}, kind="site")
    assert only(draw(drawn, tmp_path)) == {0}


def test_island_of_an_incomplete_lake_is_no_lake(tmp_path: Path) -> None:
    """The outer ring lacks a way: nothing tells where the lake ends, but the hole must not be filled instead."""
    drawn = Map()
    members = lake_with_island(drawn)
    drawn.ways.pop(0)
    drawn.relation(members, {"natural": "water"})
    pixels = draw(drawn, tmp_path)
    assert (pixels[80:100, 80:100] == WATER).all(), "a whole outer ring is filled all the same"
    assert np.count_nonzero(pixels) == 400
    with rasterio.open(tmp_path / "osm.tif") as dataset:
        assert json.loads(dataset.tags()["DREAM_NOTES"])["incomplete_multipolygons"] == 1


def test_incomplete_forest_keeps_its_whole_rings_and_holes(tmp_path: Path) -> None:
    drawn = Map()
    outer = drawn.way(square(100, 100, 1600), closed=True)
    inner = drawn.way(square(500, 500, 800), closed=True)
    drawn.relation([(outer, "outer"), (inner, "inner"), (999_999, "outer")], {"landuse": "forest"})
    expected = np.where(expected_lake() == WATER, FOREST, 0)
    expected[80:100, 80:100] = 0
    assert np.array_equal(draw(drawn, tmp_path), expected)


def test_area_around_the_whole_grid_is_seen(tmp_path: Path) -> None:
    """None of its ways and nodes comes near the grid."""
    drawn = Map()
    far = 50_000
    drawn.relation([(way, "outer") for way in ring_of_two(drawn, square(-far, -far, 2 * far))], {"landuse": "forest"})
    drawn.way(square(-far, -far, 2 * far), {"landuse": "farmland"}, closed=True)
    assert only(draw(drawn, tmp_path)) <= {FOREST, FARMLAND}


def test_ring_that_touches_itself(tmp_path: Path) -> None:
    """Two squares that share a corner, drawn as one ring of two ways."""
    drawn = Map()
    places = [(100, 100), (900, 100), (900, 900), (1700, 900), (1700, 1700), (900, 1700), (900, 900), (100, 900)]
    ids = [drawn.node(*place) for place in places]
    ids[6] = ids[2]
    ways = [drawn.way_of(ids[:5]), drawn.way_of([*ids[4:], ids[0]])]
    drawn.relation([(way, "outer") for way in ways], {"natural": "water"})
    expected = np.zeros((SIDE, SIDE), np.uint8)
    expected[10:90, 10:90] = expected[90:170, 90:170] = WATER
    assert np.array_equal(draw(drawn, tmp_path), expected)


def test_area_that_reaches_to_the_end_of_the_projection(tmp_path: Path) -> None:
    """One part lies where UTM zone 31 has no places."""
    drawn = Map()
    near = drawn.way(square(300, 500, 400), closed=True)
    far = []
    for lon, lat in ((93, 0), (94, 0), (94, 1)):
        drawn.count += 1
        drawn.nodes.append(f'<node id="{drawn.count}" lon="{lon}" lat="{lat}" {STAMP}/>')
        far.append(drawn.count)
    drawn.relation([(near, "outer"), (drawn.way_of(far, closed=True), "outer")], {"natural": "water"})
    assert np.count_nonzero(draw(drawn, tmp_path)) == 1600


# --- lines ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("angle", [0, 17, 30, 45, 63, 90])
@pytest.mark.parametrize("kind", ["motorway", "track"])
def test_lines_are_connected_and_as_wide_as_their_kind(tmp_path: Path, angle: float, kind: str) -> None:
    """At 2 m a motorway is 12 m wide and a track 3 m; at 10 m both are there without a gap."""
    turn = math.radians(angle)
    ends = [(1000 + sign * 900 * math.cos(turn), 1000 + sign * 900 * math.sin(turn)) for sign in (-1, 1)]
    drawn = Map()
    drawn.way(ends, {"highway": kind})
    coarse = draw(drawn, tmp_path) > 0
    along = coarse.any(axis=0) if angle <= 45 else coarse.any(axis=1)
    reach = 1800 * max(math.cos(turn), math.sin(turn)) / PIXEL
    assert np.count_nonzero(along) == pytest.approx(reach, abs=2)
    if angle in (0, 45, 90):
        return  # pixels of 2 m cannot tell the width of what lies along them
    width = {"motorway": 12, "track": 3}[kind]
    result = command(tmp_path / "map.osm", tmp_path / "fine.tif", *grid(SIDE * 5, 2))
    assert result.exit_code == 0, result.output
    area = np.count_nonzero(read(tmp_path / "fine.tif")) * 4
    assert area == pytest.approx(1800 * width + math.pi * width**2 / 4, rel=0.03)


def test_line_across_the_rim_goes_on_to_it(tmp_path: Path) -> None:
    """Its last nodes are beyond the grid, and one beyond is not in the extract."""
    drawn = Map()
    nodes = [drawn.node(x, 1005) for x in (-5000, 500, 1500, 2600)]
    drawn.way_of([*nodes, 888_888, 888_889], {"highway": "primary"})
    pixels = draw(drawn, tmp_path)
    assert (pixels[100] == MAJOR).all()
    with rasterio.open(tmp_path / "osm.tif") as dataset:
        assert json.loads(dataset.tags()["DREAM_NOTES"])["cut_ways"] == 1


def test_line_with_a_gap_is_drawn_in_pieces(tmp_path: Path) -> None:
    drawn = Map()
    first, last = ([drawn.node(x, 1005) for x in pair] for pair in ((100, 500), (1500, 1900)))
    drawn.way_of([*first, 888_888, *last], {"highway": "primary"})
    row = draw(drawn, tmp_path)[100]
    assert (row[12:48] == MAJOR).all()
    assert (row[55:145] == 0).all()
    assert (row[152:188] == MAJOR).all()


def test_what_is_under_ground_is_not_drawn(tmp_path: Path) -> None:
    drawn = Map()
    drawn.way([(0, 500), (2000, 500)], {"highway": "motorway", "tunnel": "yes"})
    drawn.way([(0, 700), (2000, 700)], {"railway": "subway", "location": "underground"})
    drawn.way([(0, 900), (2000, 900)], {"highway": "motorway", "tunnel": "no"})
    rows = np.flatnonzero(draw(drawn, tmp_path).any(axis=1))
    assert set(rows) <= {89, 90}


# --- rim and bits -----------------------------------------------------------------------------------------------------


def test_outside_the_extract_is_nodata(tmp_path: Path) -> None:
    drawn = Map()
    drawn.way(square(300, 500, 400), {"landuse": "forest"}, closed=True)
    west, south = TO_DEGREES.transform(LEFT, TOP - 3000)
    east, north = TO_DEGREES.transform(LEFT + 1000, TOP + 1000)
    pixels = draw(drawn, tmp_path, "--extent", west - 0.1, south, east, north)
    assert pixels[100, 150] == 255
    assert pixels[100, 90] == 0
    share = np.count_nonzero(pixels == 255) / pixels.size
    with rasterio.open(tmp_path / "osm.tif") as dataset:
        assert dataset.nodata == 255
        told = json.loads(dataset.tags()["DREAM_NOTES"])["outside_percent"]
    assert 100 * share == pytest.approx(told, abs=0.5)


OUTER = [(-0.3, 42), (2.9, 42), (2.9, 44), (-0.3, 44), (-0.3, 42)]


@pytest.mark.parametrize("kind", ["poly", "geojson"])
def test_outline_with_a_hole(tmp_path: Path, kind: str) -> None:
    hole = [TO_DEGREES.transform(LEFT + x, TOP - y) for x, y in square(500, 500, 1000)]
    hole.append(hole[0])
    path = tmp_path / f"outline.{kind}"
    if kind == "poly":
        rings = (("1", OUTER), ("!2", hole))
        body = "".join(
            f"{name}\n" + "".join(f"   {x:.9E}   {y:.9E}\n" for x, y in ring) + "END\n" for name, ring in rings
        )
        path.write_text(f"country\n{body}END\n")
    else:
        polygon = {"type": "Polygon", "coordinates": [OUTER, hole]}
        feature = {"type": "Feature", "properties": {}, "geometry": polygon}
        path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    drawn = Map()
    drawn.node(0, 0)
    pixels = draw(drawn, tmp_path, "--outline", path)
    expected = np.zeros((SIDE, SIDE), np.uint8)
    expected[50:150, 50:150] = 255
    assert np.array_equal(pixels, expected)


def test_bits_keep_what_lies_below(tmp_path: Path) -> None:
    drawn = Map()
    drawn.way(square(300, 500, 400), {"landuse": "forest"}, closed=True)
    drawn.way(square(500, 500, 400), {"landuse": "residential", "building": "yes"}, closed=True)
    classes = draw(drawn, tmp_path, "--bits", tmp_path / "bits.tif")
    bits = read(tmp_path / "bits.tif")
    assert bits.dtype == np.uint16
    assert only(bits) == {0, 1 << 0, 1 << 5 | 1 << 7, 1 << 0 | 1 << 5 | 1 << 7}
    assert np.count_nonzero(bits & 1) == 1600
    assert ((bits > 0) == (classes > 0)).all()
    with rasterio.open(tmp_path / "bits.tif") as dataset:
        assert dataset.nodata == 65535
        assert dataset.tags()["DREAM_STEP"] == "osm"


def test_bits_outside_the_extract(tmp_path: Path) -> None:
    drawn = Map()
    drawn.node(0, 0)
    west, north = TO_DEGREES.transform(LEFT + 1000, TOP + 1000)
    draw(drawn, tmp_path, "--extent", west, 40, west + 1, north, "--bits", tmp_path / "bits.tif")
    assert read(tmp_path / "bits.tif")[100, 10] == 65535
    assert read(tmp_path / "bits.tif")[100, 190] == 0


# --- what the raster is for -------------------------------------------------------------------------------------------


def test_bytes_do_not_depend_on_workers_or_on_the_form_of_the_file(tmp_path: Path) -> None:
    drawn = Map()
    random = np.random.default_rng(7)
    for use in ("forest", "meadow", "residential") * 6:
        drawn.way(star(random), {"landuse": use}, closed=True)
    draw(drawn, tmp_path)
    wanted = (tmp_path / "osm.tif").read_bytes()
    source = tmp_path / "map.osm"
    packed = tmp_path / "map.osm.gz"
    packed.write_bytes(gzip.compress(source.read_bytes()))
    binary = tmp_path / "map.osm.pbf"
    with osmium.SimpleWriter(str(binary), header=osmium.io.Reader(str(source)).header()) as writer:
        for entity in osmium.FileProcessor(str(source)):
            writer.add(entity)
    for number, path in enumerate((source, packed, binary)):
        assert command(path, tmp_path / f"{number}.tif", *grid(), jobs=2).exit_code == 0
        assert np.array_equal(read(tmp_path / f"{number}.tif"), read(tmp_path / "osm.tif"))
    assert (tmp_path / "0.tif").read_bytes() == wanted


def test_raster_is_a_source_that_fits_the_template(tmp_path: Path) -> None:
    drawn = Map()
    drawn.way(square(300, 500, 400), {"landuse": "forest"}, closed=True)
    listing = ("--sources", tmp_path / "sources.toml", "--area", "here", "--collection", "france", "--title", "Here")
    draw(drawn, tmp_path, *listing)
    text = (tmp_path / "sources.toml").read_text()
    (tmp_path / "sources.toml").write_text(text.replace("[[area]]", '[[area]]\nrequired = ["osm"]'))
    (area,) = sources.load(tmp_path / "sources.toml", template.load(template.default_folder()))
    (source,) = area.sources
    assert source.asset == "osm"
    assert source.start.isoformat() == "2021-03-04T05:06:07+00:00"
    assert source.properties["dream:date_from"].startswith("youngest edit")
    assert source.properties["processing:lineage"] == "catalog-builder prepare osm of map.osm"
    with rasterio.open(tmp_path / "osm.tif") as dataset:
        assert (dataset.dtypes, dataset.nodata, dataset.descriptions) == (("uint8",), 255, ("class",))
        assert "OpenStreetMap" in dataset.tags()["TIFFTAG_COPYRIGHT"]


def test_date_of_the_map_may_be_told(tmp_path: Path) -> None:
    drawn = Map()
    drawn.node(0, 0)
    draw(drawn, tmp_path, "--datetime", "2013-05-28")
    with rasterio.open(tmp_path / "osm.tif") as dataset:
        assert dataset.tags()["DREAM_DATES"] == '["2013-05-28T00:00:00Z"]'


@pytest.mark.parametrize("collection", ["france", "usa"])
def test_templates_have_the_classes_of_the_file(collection: str) -> None:
    document = json.loads((template.default_folder() / collection / "collection.json").read_text())
    (band,) = document["item_assets"]["osm"]["bands"]
    result = CliRunner().invoke(main, ["prepare", "osm-classes"])
    assert json.loads(result.output) == band["classification:classes"]


def test_nothing_of_a_place_is_left_in_what_is_published(tmp_path: Path) -> None:
    drawn = Map()
    drawn.node(0, 0)
    draw(drawn, tmp_path, "--datetime", "2013-05-28")
    with rasterio.open(tmp_path / "osm.tif") as dataset:
        assert str(tmp_path) not in json.dumps(dataset.tags())


def test_objects_that_were_not_uploaded(tmp_path: Path) -> None:
    """JOSM gives new objects ids below 0."""
    drawn = Map()
    ring = drawn.way(square(300, 500, 400), closed=True)
    drawn.relation([(ring, "outer")], {"natural": "water"})
    drawn.way([(0, 1205), (500, 1205), (2000, 1205)], {"highway": "primary"})
    draw(drawn, tmp_path)
    wanted = read(tmp_path / "osm.tif")
    assert only(wanted) == {0, WATER, MAJOR}
    source = (tmp_path / "map.osm").read_text()
    (tmp_path / "map.osm").write_text(re.sub(r'(id|ref)="(\d+)"', r'\1="-\2"', source))
    assert command(tmp_path / "map.osm", tmp_path / "new.tif", *grid()).exit_code == 0
    assert np.array_equal(read(tmp_path / "new.tif"), wanted)


def test_deleted_objects_are_not_drawn(tmp_path: Path) -> None:
    drawn = Map()
    drawn.way(square(300, 500, 400), {"landuse": "forest"}, closed=True)
    drawn.ways[0] = drawn.ways[0].replace("<way ", '<way visible="false" ')
    assert only(draw(drawn, tmp_path)) == {0}


def test_versions_of_one_way_are_refused(tmp_path: Path) -> None:
    drawn = Map()
    drawn.way(square(300, 500, 400), {"landuse": "forest"}, closed=True)
    drawn.ways.append(drawn.ways[0].replace('version="1"', 'version="2"'))
    path = drawn.write(tmp_path / "map.osm")
    assert "is there twice; take an extract without history" in refuse(tmp_path, path, tmp_path / "osm.tif", *grid())


def test_several_boxes_tell_no_outline(tmp_path: Path) -> None:
    drawn = Map()
    drawn.node(0, 0)
    path = drawn.write(tmp_path / "map.osm", box=outer_box() + "\n" + outer_box(5000))
    assert "does not tell where it ends" in refuse(tmp_path, path, tmp_path / "osm.tif", *grid())


def test_large_area_on_many_blocks(tmp_path: Path) -> None:
    """A shore of 20,000 nodes across 16 blocks: each gets its part, and all together the area."""
    angles = np.linspace(0, 2 * np.pi, 20_000, endpoint=False)
    reach = 9000 + 500 * np.sin(40 * angles) + np.random.default_rng(3).uniform(-30, 30, angles.size)
    places = [(10_000 + r * math.cos(a), 10_000 + r * math.sin(a)) for a, r in zip(angles, reach, strict=True)]
    drawn = Map()
    ids = [drawn.node(*place) for place in places]
    ways = [drawn.way_of([*ids, ids[0]][start : start + 2000]) for start in range(0, len(ids), 1999)]
    drawn.relation([(way, "outer") for way in ways], {"natural": "water"})
    out = tmp_path / "osm.tif"
    box = ("--crs", UTM, "--resolution", 10, "--bounds", LEFT, TOP - 20_000, LEFT + 20_000, TOP)
    path = drawn.write(tmp_path / "map.osm", box='<bounds minlat="40" minlon="0" maxlat="46" maxlon="6"/>')
    result = command(path, out, *box)
    assert result.exit_code == 0, result.output
    polygon = shapely.Polygon([rounded(place) for place in places])
    place = Affine(10, 0, LEFT, 0, -10, TOP)
    assert np.array_equal(read(out), rasterize([(polygon, WATER)], (2000, 2000), transform=place))


# --- own classes ------------------------------------------------------------------------------------------------------

HEAD = """
layers = ["all"]
[unmapped]
title = "Unmapped"
description = "Nothing"
color = "FFFFFF"
[nodata]
title = "No data"
description = "Outside"
color = "000000"
"""
CLASS = """
[[class]]
value = 40
name = "pitch"
title = "Pitch"
description = "leisure=pitch of a sport"
color = "00FF00"
layer = "all"
areas = [{ leisure = "pitch", sport = ["tennis", "soccer"] }]
"""


def test_own_classes(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(HEAD + CLASS)
    drawn = Map()
    drawn.way(square(300, 500, 400), {"leisure": "pitch", "sport": "tennis"}, closed=True)
    drawn.way(square(300, 1000, 400), {"leisure": "pitch", "sport": "chess"}, closed=True)
    drawn.way(square(1000, 1000, 400), {"landuse": "forest"}, closed=True)
    pixels = draw(drawn, tmp_path, "--classes", tmp_path / "own.toml")
    assert only(pixels) == {0, 40}
    assert np.count_nonzero(pixels) == 1600
    result = command(
        tmp_path / "map.osm", tmp_path / "a.tif", *grid(), "--classes", tmp_path / "own.toml", "--bits", "b.tif"
    )
    assert "class pitch has value 40; there are 31 bits" in failure(result)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("value = 40", "value = 255", "value 255"),
        ("value = 40", 'value = "40"', "value '40'"),
        ('name = "pitch"', 'name = "Pitch"', "small letters"),
        ('layer = "all"', 'layer = "top"', "'top' is none of all"),
        ('color = "00FF00"', 'color = "green"', "'green'"),
        ("areas = [{", "areas = { a = [{", "not TOML"),
        ('areas = [{ leisure = "pitch", sport = ["tennis", "soccer"] }]', "", "neither areas nor lines"),
        ('areas = [{ leisure = "pitch", sport = ["tennis", "soccer"] }]', "areas = [{}]", "no table of tags"),
        ('leisure = "pitch"', "leisure = true", "True is no text"),
        ('leisure = "pitch"', "leisure = []", "[] is no text"),
        ("areas = [{ leisure", "ways = [{ leisure", "unknown key 'ways'"),
        ("areas = [{ leisure", "lines = [{ leisure", "unknown key"),
        ("areas = [{ leisure", "lines = [{ tags = {a = 'b'}, width = -1 }]\nareas = [{ leisure", "width -1"),
        ('["tennis", "soccer"]', '["tennis", "tennis"]', "'tennis' stands there twice"),
        (CLASS, CLASS + CLASS, "40 stands there twice"),
        (CLASS, "", "no table [[class]]"),
        ('layers = ["all"]', "", "layers: None"),
        ('title = "No data"', "", "nodata: title None"),
    ],
)
def test_wrong_classes_are_told_in_a_line(tmp_path: Path, old: str, new: str, told: str) -> None:
    own = tmp_path / "own.toml"
    assert old in HEAD + CLASS
    own.write_text((HEAD + CLASS).replace(old, new, 1))
    drawn = Map()
    drawn.node(0, 0)
    drawn.write(tmp_path / "map.osm")
    result = command(tmp_path / "map.osm", tmp_path / "osm.tif", *grid(), "--classes", own)
    text = failure(result)
    assert f"{own}: " in text
    assert told in text
    assert not (tmp_path / "osm.tif").exists()


def test_classes_that_are_not_there(tmp_path: Path) -> None:
    drawn = Map()
    drawn.node(0, 0)
    drawn.write(tmp_path / "map.osm")
    result = command(tmp_path / "map.osm", tmp_path / "osm.tif", *grid(), "--classes", tmp_path / "none.toml")
    assert "none.toml: cannot read: No such file" in failure(result)


# --- bad input --------------------------------------------------------------------------------------------------------


def refuse(folder: Path, *arguments: object) -> str:
    """Give the error of a run that must leave nothing behind."""
    before = {path.name for path in folder.iterdir()}
    text = failure(command(*arguments))
    assert {path.name for path in folder.iterdir()} == before
    return text


@pytest.fixture
def binary(tmp_path: Path) -> bytes:
    """A PBF file of some blocks."""
    drawn = Map()
    random = np.random.default_rng(1)
    for _ in range(300):
        drawn.way(star(random), {"landuse": "forest"}, closed=True)
    source, path = drawn.write(tmp_path / "source.osm"), tmp_path / "source.osm.pbf"
    with osmium.SimpleWriter(str(path), header=osmium.io.Reader(str(source)).header()) as writer:
        for entity in osmium.FileProcessor(str(source)):
            writer.add(entity)
    return path.read_bytes()


def test_truncated_and_damaged_pbf(tmp_path: Path, binary: bytes) -> None:
    bad = tmp_path / "bad.osm.pbf"
    size = len(binary)
    damaged = bytearray(binary)
    damaged[size // 2 : size // 2 + 200] = bytes(200)
    for data in (binary[: size // 2], binary[: size - 1], bytes(damaged), b"\x00\x00\x00\x0dnonsense of some bytes"):
        bad.write_bytes(data)
        text = refuse(tmp_path, bad, tmp_path / "osm.tif", *grid())
        assert f"{bad}: truncated or corrupt: " in text


def test_empty_extracts(tmp_path: Path) -> None:
    empty = tmp_path / "empty.osm.pbf"
    empty.touch()
    assert f"{empty}: is empty" in refuse(tmp_path, empty, tmp_path / "osm.tif", *grid())
    hollow = Map().write(tmp_path / "hollow.osm")
    assert "hollow.osm: holds no node" in refuse(tmp_path, hollow, tmp_path / "osm.tif", *grid())


@pytest.mark.parametrize(
    "text", ["", "hello", "<osm version='0.6'><node id='1'", '<osm version="0.6"></osm', "<html></html>"]
)
def test_what_is_no_osm_xml(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.osm"
    path.write_text(text)
    assert f"{path}: " in refuse(tmp_path, path, tmp_path / "osm.tif", *grid())


def test_entities_of_xml_are_refused(tmp_path: Path) -> None:
    path = Map().write(tmp_path / "bomb.osm")
    bomb = '<!DOCTYPE osm [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>'
    path.write_text(path.read_text().replace("<osm ", f"{bomb}\n<osm "))
    assert "XML entities are not supported" in refuse(tmp_path, path, tmp_path / "osm.tif", *grid())


@pytest.mark.parametrize("name", ["map.txt", "map.osc", "map.osh.pbf2", "http://127.0.0.1:1/a.png"])
def test_other_files(tmp_path: Path, name: str) -> None:
    text = refuse(tmp_path, name, tmp_path / "osm.tif", *grid())
    assert "no extract of OpenStreetMap; its name ends in .osm.pbf" in text


@pytest.mark.parametrize("name", ["nothing.osm.pbf", "http://127.0.0.1:1/map.osm.pbf"])
def test_nothing_is_fetched(tmp_path: Path, name: str) -> None:
    assert "cannot read: No such file" in refuse(tmp_path, name, tmp_path / "osm.tif", *grid())


def test_extract_beside_the_grid(tmp_path: Path) -> None:
    drawn = Map()
    drawn.node(0, 0)
    box = '<bounds minlat="50" minlon="10" maxlat="51" maxlon="11"/>'
    drawn.write(tmp_path / "map.osm", box=box)
    text = refuse(tmp_path, tmp_path / "map.osm", tmp_path / "osm.tif", *grid())
    assert "map.osm: does not meet the grid: it lies at 10 50 11 51" in text


def test_extract_that_does_not_tell_where_it_ends(tmp_path: Path) -> None:
    drawn = Map()
    drawn.node(0, 0)
    drawn.write(tmp_path / "map.osm", box=" ")
    text = refuse(tmp_path, tmp_path / "map.osm", tmp_path / "osm.tif", *grid())
    assert "does not tell where it ends; name its --outline FILE" in text


def test_map_without_a_date(tmp_path: Path) -> None:
    drawn = Map()
    drawn.way(square(300, 500, 400), {"landuse": "forest"}, closed=True)
    path = drawn.write(tmp_path / "map.osm")
    path.write_text(path.read_text().replace(STAMP, 'version="1"'))
    assert "tells no date of the map" in refuse(tmp_path, path, tmp_path / "osm.tif", *grid())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--extent", 3, 1, 2, 4], "west south east north"),
        (["--extent", 100, 1, 200, 4], "west south east north"),
        (["--extent", 1, 1, 2, 2, "--outline", "a.poly"], "exclude each other"),
        (["--outline", "none.poly"], "none.poly: cannot read"),
        (["--outline", "a.shp"], "an outline is a .poly"),
        (["--outline", "cut.poly"], "has no END"),
        (["--outline", "words.poly"], "is no longitude and latitude"),
        (["--outline", "bad.geojson"], "not GeoJSON"),
        (["--outline", "point.geojson"], "no polygon in degrees"),
        (["--outline", "metres.geojson"], "no polygon in degrees"),
        (["--outline", "nan.poly"], "is no longitude and latitude"),
        (["--datetime", "yesterday"], "--datetime 'yesterday'"),
        (["--like", "map.osm"], "leave out --crs"),
    ],
)
def test_wrong_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[object], told: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.shp").write_text("x")
    Path("cut.poly").write_text("a\n1\n 1 2\n 2 3\n 3 3\n")
    Path("words.poly").write_text("a\n1\n one two\nEND\nEND\n")
    Path("nan.poly").write_text("a\n1\n nan 2\n 2 3\n 3 3\nEND\nEND\n")
    Path("bad.geojson").write_text("{")
    Path("point.geojson").write_text('{"type": "Point", "coordinates": [1, 2]}')
    far = [[[0, 0], [400_000, 0], [400_000, 1], [0, 0]]]
    Path("metres.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": far}))
    drawn = Map()
    drawn.node(0, 0)
    drawn.write(Path("map.osm"))
    assert told in refuse(tmp_path, "map.osm", "osm.tif", *grid(), *arguments)


def test_grid_in_degrees(tmp_path: Path) -> None:
    drawn = Map()
    drawn.node(0, 0)
    drawn.write(tmp_path / "map.osm")
    degrees = ("--crs", "EPSG:4326", "--resolution", 0.001, "--bounds", 1, 43, 1.2, 43.2)
    assert "name a projected CRS" in refuse(tmp_path, tmp_path / "map.osm", tmp_path / "osm.tif", *degrees)


def test_output_over_what_is_not_ours(tmp_path: Path) -> None:
    drawn = Map()
    drawn.node(0, 0)
    source = drawn.write(tmp_path / "map.osm")
    other = tmp_path / "other.tif"
    other.write_bytes(b"precious")
    assert "no `prepare` made it" in refuse(tmp_path, source, other, *grid())
    assert "no `prepare` made it" in refuse(tmp_path, source, tmp_path / "osm.tif", *grid(), "--bits", other)
    assert "is the output" in refuse(tmp_path, source, tmp_path / "osm.tif", *grid(), "--bits", tmp_path / "osm.tif")


# --- memory, real extracts --------------------------------------------------------------------------------------------

PEAK = """
import re, sys, threading, time
from pathlib import Path
from catalog_builder.cli import main
peak = 0
def watch():
    global peak
    while True:
        own = int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
        peak = max(peak, own)
        time.sleep(0.01)
threading.Thread(target=watch, daemon=True).start()
try:
    main(sys.argv[1:])
finally:
    print("peak", peak)
"""


def peak_memory(path: Path, out: Path) -> int:
    """Memory of its own that a run needs at most, in kB; pages of the file of places are the system's to take back."""
    words = ["prepare", "osm", path, out, *grid(), "--jobs", "1", "--quiet"]
    run = subprocess.run(
        [sys.executable, "-c", PEAK, *map(str, words)], capture_output=True, text=True, check=True, timeout=300
    )
    found = re.search(r"peak (\d+)", run.stdout)
    assert found is not None, run.stderr
    return int(found[1])


@pytest.mark.slow
def test_memory_does_not_grow_with_the_extract(tmp_path: Path) -> None:
    """240,000 objects more, a third of them multipolygons, all far from the grid: 16 MB for these, and little else."""
    peaks = []
    for number, count in enumerate((120_000, 360_000)):
        path = tmp_path / f"{number}.osm.pbf"
        write_far(path, count)
        peaks.append(peak_memory(path, tmp_path / f"{number}.tif"))
    assert peaks[1] < peaks[0] + 32_000, peaks


def write_far(path: Path, count: int) -> None:
    """Write houses some degrees from the grid, a third of them as multipolygons, and one on it."""
    header = osmium.io.Header()
    header.add_box(osmium.osm.Box(osmium.osm.Location(-10, 35), osmium.osm.Location(30, 60)))
    header.set("osmosis_replication_timestamp", "2024-01-01T00:00:00Z")
    near = TO_DEGREES.transform(LEFT + 500, TOP - 500)
    corners = ((0, 0), (1e-4, 0), (1e-4, 1e-4), (0, 1e-4))
    with osmium.SimpleWriter(str(path), header=header) as writer:
        for number in range(count):
            x, y = (5 + number % 1000 * 0.01, 50 + number // 1000 * 0.01) if number else near
            for corner, (east, north) in enumerate(corners):
                node = osmium.osm.mutable.Node(id=10 * number + corner + 1, location=(x + east, y + north), version=1)
                writer.add_node(node)
        for number in range(count):
            nodes = [10 * number + corner + 1 for corner in (0, 1, 2, 3, 0)]
            tags = {} if number % 3 == 1 else {"building": "yes"}
            writer.add_way(osmium.osm.mutable.Way(id=number + 1, nodes=nodes, tags=tags, version=1))
        for number in range(1, count, 3):
            tags = {"type": "multipolygon", "building": "yes"}
            member = [("w", number + 1, "outer")]
            writer.add_relation(osmium.osm.mutable.Relation(id=number + 1, members=member, tags=tags, version=1))


def test_portland_roads_lie_on_its_elevation_model(real_data: Path, tmp_path: Path) -> None:
    """On the model's place, at 5 m; the motorways' length agrees with that of their lines."""
    extract = real_data / "usa_osm" / "portland-central-filtered.osm.pbf"
    model = real_data / "usa_dem" / "portland-ned.tif"
    with rasterio.open(model) as dataset:
        box = rasterio.warp.transform_bounds(dataset.crs, "EPSG:32610", *dataset.bounds)
    out = tmp_path / "osm.tif"
    place = ("--crs", "EPSG:32610", "--resolution", 5, "--bounds", *box)
    result = command(extract, out, *place, "--extent", -122.713, 45.473, -122.564, 45.561)
    assert result.exit_code == 0, result.output
    pixels = read(out)
    assert only(pixels) <= {0, GRASS, BUILDING, MAJOR, MINOR}
    assert 0.05 < np.count_nonzero(pixels == MINOR) / pixels.size < 0.25
    motorway = motorway_area(extract, box)
    with rasterio.open(out) as dataset:
        inverse = ~dataset.transform
    hit = [pixels[int(row), int(column)] for column, row in (inverse @ place for place in motorway)]
    assert np.count_nonzero(np.array(hit) == MAJOR) / len(hit) > 0.999


def motorway_area(extract: Path, box: Sequence[float]) -> list[Point]:
    """Nodes of motorways inside a box, in metres."""
    to_metres = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:32610", always_xy=True)
    found = []
    objects: Iterable[Any] = osmium.FileProcessor(str(extract)).with_locations()
    for way in objects:
        if way.is_way() and way.tags.get("highway") == "motorway" and "tunnel" not in way.tags:
            found += [to_metres.transform(node.lon, node.lat) for node in way.nodes if node.location.valid()]
    left, bottom, right, top = box
    return [(x, y) for x, y in found if left + 1 < x < right - 1 and bottom + 1 < y < top - 1]


def test_andorra_lies_on_its_elevation_model(real_data: Path, tmp_path: Path) -> None:
    """Lakes of the map are flat in SRTM, and rivers lie lower than the forests around."""
    extract, tile = real_data / "france_osm" / "andorra.osm.pbf", real_data / "france_dem" / "N42E001.hgt"
    place = ["--crs", UTM, "--resolution", 30, "--bounds", 368000, 4696000, 402000, 4726000]
    words = ["prepare", "srtm", tile, tmp_path / "srtm.tif", *place, "--jobs", "1", "--quiet"]
    assert CliRunner().invoke(main, list(map(str, words))).exit_code == 0
    result = command(extract, tmp_path / "osm.tif", "--like", tmp_path / "srtm.tif", jobs=2)
    assert result.exit_code == 0, result.output
    classes, height = read(tmp_path / "osm.tif"), read(tmp_path / "srtm.tif").astype(float)
    known = (height != -32768) & (classes != 255)
    slope = np.hypot(*np.gradient(height, 30.0))
    assert np.median(slope[known & (classes == WATER)]) < 0.5 * np.median(slope[known & (classes == 0)])
    assert np.median(height[known & (classes == MAJOR)]) < np.median(height[known & (classes == 0)]) - 300
    with rasterio.open(tmp_path / "osm.tif") as dataset:
        assert dataset.tags()["DREAM_DATES"] == '["2013-05-28T18:59:04Z"]'
        assert json.loads(dataset.tags()["DREAM_NOTES"])["incomplete_multipolygons"] <= 2


def test_shipped_classes_can_be_read() -> None:
    classes = read_classes(default_file())
    assert [each.value for each in classes.classes] == list(range(1, 12))
    assert classes.max_width() == 15
