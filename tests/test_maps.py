"""Maps of collections: land from TopoJSON, projections held against PROJ's geodesics, tiles where they belong."""

import json
import shutil
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from click.testing import CliRunner
from PIL import Image, ImageDraw
from pyproj import Geod, Transformer

from catalog_builder import cartography, charts, coast, drawing, maps, projection
from catalog_builder.cartography import COLOURS, Shape
from catalog_builder.catalog import AreaSummary
from catalog_builder.cli import main
from catalog_builder.errors import CatalogBuilderError, ReleaseError, UsageError
from catalog_builder.thumbnail import COLLECTION_SIZE
from tests.small_demo import small_demo

GEOD = Geod(ellps="WGS84")


def box(west: float, south: float, east: float, north: float) -> list[list[int]]:
    """A ring as an arc of TopoJSON in tenths of a degree, from (-180, -90), delta-coded; anticlockwise."""
    ring = np.array([[west, south], [east, south], [east, north], [west, north], [west, south]])
    places = np.rint(np.add(ring, (180, 90)) * 10).astype(int)
    return [places[0].tolist(), *np.diff(places, axis=0).tolist()]


def topology() -> dict[str, Any]:
    """Two countries that share the meridian of 5 degrees east, an island of the second, one across the antimeridian."""
    arcs = [
        [[1850, 1400], [0, 100]],  # 5 E, from 50 N to 60 N: the border
        [[1850, 1500], [-50, 0], [0, -100], [50, 0]],  # around the west, from its north
        [[1850, 1400], [50, 0], [0, 100], [-50, 0]],  # around the east, from its south
        box(12, 50, 13, 51),
        [[3590, 900], [-3590, 0], [10, 0], [0, 20], [-10, 0], [3590, 0], [0, -20]],  # 179 E to 179 W
    ]
    countries = [
        {"type": "Polygon", "arcs": [[1, 0]], "properties": {"name": "West"}},
        {"type": "MultiPolygon", "arcs": [[[2, ~0]], [[3]]], "properties": {"name": "East"}},
        {"type": "Polygon", "arcs": [[4]], "properties": {"name": "Dateline"}},
    ]
    return {
        "type": "Topology",
        "transform": {"scale": [0.1, 0.1], "translate": [-180, -90]},
        "arcs": arcs,
        "objects": {"countries": {"type": "GeometryCollection", "geometries": countries}},
    }


WORLD = coast.decode(topology())
REAL = coast.read()
needs_world = pytest.mark.skipif(REAL is None, reason="the explorer's page was not built")


def shape(number: int, title: str, box: tuple[float, float, float, float], tiles: int = 2) -> Shape:
    """An area of tiles x tiles tiles."""
    west, south, east, north = box
    x, y = np.linspace(west, east, tiles + 1), np.linspace(south, north, tiles + 1)
    cells = [(x[i], y[j], x[i + 1], y[j + 1]) for j in range(tiles) for i in range(tiles)]
    boxes = np.array(cells)
    boxes[:, [0, 2]] = (boxes[:, [0, 2]] + 180) % 360 - 180
    return Shape(number=number, title=title, words=f"{tiles**2} tiles", boxes=boxes)


def chart(*shapes: Shape) -> charts.Chart:
    return charts.Chart(title="A title", subtitle="words", shapes=shapes, notes=("SYNTHETIC: all of it",))


def pixels(data: bytes) -> npt.NDArray[np.uint8]:
    return np.asarray(Image.open(BytesIO(data)).convert("RGB"))


def is_colour(picture: npt.NDArray[np.uint8], colour: tuple[int, int, int]) -> npt.NDArray[np.bool_]:
    return np.asarray((picture == colour).all(axis=-1))


# --- coasts ---------------------------------------------------------------------------------------------------------


def test_rings_of_countries_are_joined_of_arcs_forwards_and_backwards() -> None:
    west, east, dateline = WORLD.countries
    assert shapely.equals(shapely.Polygon(west[0]), shapely.box(0, 50, 5, 60))
    assert [shapely.Polygon(ring).bounds for ring in east] == [(5, 50, 10, 60), (12, 50, 13, 51)]
    assert len(dateline) == 1
    for ring in (*west, *east, *dateline):
        assert ring[0].tolist() == pytest.approx(ring[-1].tolist())


def test_border_is_drawn_once_and_is_no_coast() -> None:
    (border,) = WORLD.borders
    assert border.tolist() == [[5, 50], [5, 60]]
    assert len(WORLD.coasts) == 4


def test_land_across_the_antimeridian_is_in_one_piece() -> None:
    (ring,) = WORLD.countries[2]
    assert np.ptp(ring[:, 0]) == pytest.approx(2)
    assert shapely.Polygon(ring).area == pytest.approx(4)


def test_home_is_the_country_with_the_islands_near_it() -> None:
    assert coast.home(WORLD, np.array([[2.0, 55.0]])) == [[WORLD.countries[0][0]]]
    (east,) = coast.home(WORLD, np.array([[7.0, 55.0]]))
    assert len(east) == 2
    assert len(coast.home(WORLD, np.array([[2.0, 55.0], [7.0, 55.0]]))) == 2
    assert len(coast.home(WORLD, np.array([[-179.5, 1.0]]))) == 1
    assert coast.home(WORLD, np.array([[-1.0, 55.0]])) == [[WORLD.countries[0][0]]]  # in the sea beside it
    assert coast.home(WORLD, np.array([[-40.0, 0.0]])) == []


@needs_world
def test_real_world_is_whole() -> None:
    assert REAL is not None
    rings = [ring for country in REAL.countries for ring in country]
    assert sum(GEOD.polygon_area_perimeter(*ring.T)[0] < 0 for ring in rings) > 0.99 * len(rings)  # clockwise
    areas = [abs(shapely.Polygon(ring).area) for ring in rings]
    assert 20_000 < sum(areas) < 23_000  # square degrees of land, Antarctica with its pole
    for line in (*REAL.coasts, *REAL.borders, *rings):
        assert np.abs(np.diff(line[:, 0])).max() < 361
    (france,) = coast.home(REAL, np.array([[2.0, 47.0]]))
    (corsica,) = [ring for ring in france if shapely.Polygon(ring).contains(shapely.Point(9.1, 42.2))]
    assert len(corsica) > 10


def test_no_file_is_no_land_and_no_credit(tmp_path: Path) -> None:
    assert coast.read(tmp_path / "world.json") is None


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", json.dumps({**topology(), "arcs": []}), json.dumps({**topology(), "transform": None})]
)
def test_file_that_is_no_topojson_is_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "world.json").write_text(text)
    with pytest.raises(ReleaseError, match=r"world\.json: no TopoJSON of countries"):
        coast.read(tmp_path / "world.json")


# --- projections ----------------------------------------------------------------------------------------------------

PLACES = {
    "france": (-4.8, 41.3, 9.6, 51.1),
    "usa": (-125.0, 24.0, -66.0, 49.0),
    "antimeridian": (177.0, -20.0, -178.0, -15.0),
    "one area": (5.19, 44.08, 5.46, 44.28),
    "north": (-20.0, 78.0, 40.0, 89.0),
    "south of a pole": (0.0, -89.5, 30.0, -80.0),
    "world": (-150.0, -50.0, 150.0, 70.0),
}


def framed(place: tuple[float, float, float, float], margin: float = 0.05) -> projection.Frame:
    return projection.fit(projection.extent(projection.outline(place)), 800, 600, margin)


@pytest.mark.parametrize("place", PLACES.values(), ids=list(PLACES))
def test_all_of_the_ground_lies_in_the_frame(place: tuple[float, float, float, float]) -> None:
    seen = framed(place).pixels(projection.outline(place))
    assert (seen >= 0).all()
    assert (seen <= (800, 600)).all()


@pytest.mark.parametrize("place", PLACES.values(), ids=list(PLACES))
def test_scale_is_that_of_the_ground_in_the_middle(place: tuple[float, float, float, float]) -> None:
    """Ends of a scale bar around the middle, by PROJ's geodesic: a way of its own from the projection's."""
    frame = framed(place)
    length = drawing.bar_length(200 * frame.ground) / frame.ground
    (west, south), (east, north) = frame.degrees(np.array([[400 - length / 2, 300], [400 + length / 2, 300]]))
    assert GEOD.inv(west, south, east, north)[2] == pytest.approx(length * frame.ground, rel=0.01)


@pytest.mark.parametrize("place", PLACES.values(), ids=list(PLACES))
def test_areas_are_in_proportion_everywhere(place: tuple[float, float, float, float]) -> None:
    frame = framed(place)
    for x, y in ((60, 300), (400, 300), (740, 300)):
        square = np.array([[x, y], [x + 20, y], [x + 20, y + 20], [x, y + 20]], dtype=np.float64)
        corners = frame.degrees(square)
        if np.isfinite(corners).all():
            area = abs(GEOD.polygon_area_perimeter(*corners.T)[0])
            assert area == pytest.approx((20 * frame.metres) ** 2, rel=0.01)


@pytest.mark.parametrize("place", PLACES.values(), ids=list(PLACES))
def test_window_holds_all_that_is_seen(place: tuple[float, float, float, float]) -> None:
    frame = framed(place)
    west, south, east, north = frame.window()
    rng = np.random.default_rng(3)
    seen = frame.degrees(rng.uniform((0, 0), (800, 600), (500, 2)))
    seen = seen[np.isfinite(seen).all(axis=1)]
    assert len(seen) > 100
    assert (seen >= (west - 1e-3, south)).all()
    assert (seen <= (east + 1e-3, north)).all()


def test_ticks_stand_where_the_projection_puts_them() -> None:
    frame = framed(PLACES["france"])
    ticks = projection.graticule(frame)[1]
    assert {tick.text for tick in ticks} >= {"0°", "44° N", "48° N"}
    for tick in ticks:
        number, _, letter = tick.text.partition("° ")
        value = float(number.rstrip("°")) * (-1 if letter in ("W", "S") else 1)
        at = [tick.place, 600.0] if tick.edge == "bottom" else [0.0, tick.place]
        assert frame.degrees(np.array([at]))[0, 0 if tick.edge == "bottom" else 1] == pytest.approx(value, abs=0.01)


def test_degrees_count_through_the_antimeridian() -> None:
    texts = [tick.text for tick in projection.graticule(framed(PLACES["antimeridian"]))[1]]
    assert {"178° E", "180°", "178° W"} <= set(texts) or {"179° E", "180°", "179° W"} <= set(texts)


@pytest.mark.parametrize(
    ("longitudes", "middle"),
    [([1.0, 3.0], 2.0), ([179.0, -179.0], 180.0), ([170.0, -160.0, 175.0], -175.0), ([-120.0, -60.0, -100.0], -90.0)],
)
def test_middle_is_that_of_the_shortest_way_around(longitudes: list[float], middle: float) -> None:
    found = projection.middle(np.array(longitudes))
    assert (found - middle + 180) % 360 - 180 == pytest.approx(0, abs=1e-9)


# --- pictures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("world", [WORLD, None], ids=["land", "no land"])
def test_colour_of_an_area_lies_where_proj_puts_it(world: coast.World | None) -> None:
    """The middle of each tile by a transformer of its own: the area's very colour there, and none of it far away."""
    area = shape(1, "A quarter of the west", (1.0, 51.0, 4.0, 54.0))
    frame = projection.fit(charts.ground_of([area], world), 640, 480, 0.06)
    picture = np.asarray(cartography.sheet(frame, world, [area]))
    known = is_colour(picture, area.colour)
    to_metres = Transformer.from_crs("OGC:CRS84", frame.definition, always_xy=True)
    for west, south, east, north in area.boxes:
        for share in (0.25, 0.75):
            x, y = to_metres.transform(west + share * (east - west), south + share * (north - south))
            assert known[int((frame.top - y) / frame.metres), int((x - frame.left) / frame.metres)]
    expected = abs(GEOD.polygon_area_perimeter(*projection.outline((1, 51, 4, 54)).T)[0]) / frame.metres**2
    assert 0.9 * expected < known.sum() < expected  # but for seams and edges
    assert is_colour(picture, cartography.LAND).any() == (world is not None)


def test_area_that_would_be_a_dot_has_a_mark() -> None:
    area = shape(1, "small", (2.0, 55.0, 2.02, 55.02))
    frame = projection.fit(charts.ground_of([area], WORLD), 640, 480, 0.06)
    marks = cartography.marks_of(frame, [area], 8.0, spread=True)
    known = is_colour(np.asarray(cartography.sheet(frame, WORLD, [area], marks)), area.colour)
    assert known.sum() == pytest.approx(np.pi * 8**2, rel=0.15)
    rows, columns = np.nonzero(known)
    assert (columns.mean() + 0.5, rows.mean() + 0.5) == pytest.approx(marks[0].place, abs=0.5)


def test_marks_that_would_hide_each_other_stand_apart() -> None:
    areas = [shape(number, "one of many", (2.0, 55.0 + 0.01 * number, 2.02, 55.02)) for number in range(1, 9)]
    frame = projection.fit(charts.ground_of(areas, WORLD), 640, 480, 0.06)
    spots = np.array([mark.spot for mark in cartography.marks_of(frame, areas, 10.0, spread=True)])
    apart = np.hypot(*(spots[:, None] - spots[None]).transpose(2, 0, 1)) + 100 * np.eye(8)
    assert apart.min() > 20


def test_names_do_not_lie_on_each_other_nor_on_marks() -> None:
    areas = [shape(n, f"A place with a long name, {n}", (n, 55.0, n + 0.02, 55.02)) for n in (1, 2, 3)]
    frame = projection.fit(charts.ground_of(areas, WORLD), 640, 480, 0.06)
    marks = cartography.marks_of(frame, areas, 10.0, spread=True)
    taken = [mark.box(13) for mark in marks]
    picture = cartography.sheet(frame, WORLD, areas, marks)
    cartography.write_names(ImageDraw.Draw(picture), frame, marks, taken)
    assert len(taken) > len(marks)
    for number, one in enumerate(taken):
        for other in taken[:number]:
            assert not cartography._meet(one, other)


SETS = {
    "one area": [shape(1, "alone", (2.0, 55.0, 2.1, 55.1))],
    "one at sea": [shape(1, "alone", (-40.0, 0.0, -39.5, 0.5))],
    "across the antimeridian": [shape(1, "both sides", (179.8, 0.5, 180.2, 0.9))],
    "two sides of it": [shape(1, "east", (178.5, 1.0, 178.6, 1.1)), shape(2, "west", (-179.0, 1.0, -178.9, 1.1))],
    "six": [shape(n, f"number {n}", (n, 51.0 + n, n + 0.1, 51.1 + n)) for n in range(1, 7)],
    "twenty": [shape(n, f"number {n}", (n / 4, 51.0, n / 4 + 0.1, 51.1)) for n in range(1, 21)],
    "two hundred": [
        shape(n, f"number {n}", (n % 20 / 2, 50 + n / 20, n % 20 / 2 + 0.1, 50.1 + n / 20)) for n in range(200)
    ],
    "the world": [shape(1, "west", (-100.0, 40.0, -99.0, 41.0)), shape(2, "east", (100.0, -40.0, 101.0, -39.0))],
    "a pole": [shape(1, "north", (-20.0, 86.0, 20.0, 89.9), tiles=8)],
}


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("world", [WORLD, None], ids=["land", "no land"])
def test_every_set_of_areas_has_a_map_and_the_same_one_twice(name: str, world: coast.World | None) -> None:
    data = charts.draw(chart(*SETS[name]), world)
    picture = pixels(data)
    assert picture.shape[1] == charts.WIDTH
    assert data == charts.draw(chart(*SETS[name]), world)
    for area in SETS[name][:6]:
        assert is_colour(picture, area.colour).sum() > 20
    assert (picture[:10] == 255).all()
    assert (picture[:, -14:] == 255).all()


def test_credit_stands_only_where_land_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    def listening(lines: Any, width: float) -> Any:
        lines = list(lines)
        said.extend(text for text, _, _ in lines)
        return drawing.wrapped(lines, width)

    monkeypatch.setattr("catalog_builder.charts.wrapped", listening)
    charts.compose(chart(*SETS["six"]), None)
    assert not [text for text in said if "Natural Earth" in text]
    charts.compose(chart(*SETS["six"]), WORLD)
    assert [text for text in said if "Made with Natural Earth" in text]


def test_colours_are_told_apart_by_readers_of_all_eyes() -> None:
    """Deuteranopia by Viénot et al. (1999): red and green fall together, and all pairs still differ."""
    linear = (np.array(COLOURS) / 255.0) ** 2.2
    matrix = np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]])
    seen = np.clip(linear @ matrix.T, 0, 1) ** (1 / 2.2) * 255
    apart = np.linalg.norm(seen[:, None] - seen[None], axis=2) + 1000 * np.eye(len(COLOURS))
    assert apart.min() > 30


# --- thumbnails of collections --------------------------------------------------------------------------------------


def summary(name: str, bbox: tuple[float, ...]) -> AreaSummary:
    return AreaSummary(
        id=name, title=name, items=4, size=1, bbox=bbox, start="", end="", crs="EPSG:32631", assets={}, thumbnail=None
    )


def test_thumbnail_has_its_size_and_each_area() -> None:
    areas = [summary(f"area{n}", (n, 44.0, n + 0.1, 44.1)) for n in range(5)]
    data = maps.thumbnail(areas)
    assert data == maps.thumbnail(areas)
    picture = pixels(data)
    assert picture.shape[1::-1] == COLLECTION_SIZE
    for colour in COLOURS[:5]:
        assert is_colour(picture, colour).sum() > 100
    assert len(data) < 40_000


def test_thumbnail_of_thousands_of_areas_is_quick() -> None:
    rng = np.random.default_rng(5)
    places = rng.uniform((-120, 30), (-75, 48), (3000, 2)).tolist()
    started = time.monotonic()
    maps.thumbnail([summary(f"area{n}", (x, y, x + 0.1, y + 0.1)) for n, (x, y) in enumerate(places)])
    assert time.monotonic() - started < 15


# --- releases -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_demo(tmp_path_factory.mktemp("maps"))


@pytest.fixture
def copy(release: Path, tmp_path: Path) -> Path:
    """A release that a test may break."""
    return shutil.copytree(release, tmp_path / "copy")


def test_each_collection_has_its_map(release: Path, tmp_path: Path) -> None:
    paths = maps.write_maps(release, tmp_path / "out")
    assert [path.name for path in paths] == ["map_france.png", "map_usa.png"]
    again = maps.write_maps(release, tmp_path / "again")
    assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in again]
    for path in paths:
        assert is_colour(pixels(path.read_bytes()), COLOURS[0]).sum() > 500
        assert path.stat().st_size < 150_000


def test_command_draws_maps_unless_items_are_named(release: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["figures", str(release), str(tmp_path), "--size", "64"])
    assert result.exit_code == 0, result.output
    names = [Path(line).name for line in result.output.splitlines()]
    assert names[:2] == ["map_france.png", "map_usa.png"]
    assert sorted(names) == sorted(path.name for path in tmp_path.iterdir())


def test_map_tells_what_the_release_holds(release: Path) -> None:
    told = maps.describe(release, "france/collection.json")
    assert told.title == "DREAM France, 10 m"
    assert told.subtitle == "2 areas · 2 tiles of 256 x 256 pixels of 10 m, 2.56 x 2.56 km"
    assert [area.number for area in told.shapes] == [1, 2]
    assert told.notes[0].startswith("SYNTHETIC: All of it")
    assert any("Copernicus" in note for note in told.notes)
    item = json.loads(next(release.glob("france/ventoux/*/*_x*.json")).read_text())
    ventoux = next(area for area in told.shapes if "Ventoux" in area.title)
    assert ventoux.boxes.tolist() == [item["bbox"]]
    assert shapely.equals(shapely.Polygon(ventoux.outlines[0]), shapely.geometry.shape(item["geometry"]))
    assert ventoux.labels == (item["id"].removeprefix("ventoux_"),)


def test_measured_modalities_beside_made_up_ones_are_told_apart(copy: Path) -> None:
    path = copy / "items" / "france.parquet"
    rows = pq.read_table(path).to_pylist()
    del rows[0]["assets"]["s2"]["dream:synthetic"], rows[1]["assets"]["srtm"]["dream:synthetic"]
    del rows[1]["assets"]["s2"]["dream:synthetic"]
    pq.write_table(pa.Table.from_pylist(rows), path)
    note = maps.describe(copy, "france/collection.json").notes[0]
    assert note.startswith("SYNTHETIC: s1, s1_mean, srtm (1 of 2 tiles), osm was made up")


def broken() -> Iterator[Any]:
    def drop(name: str) -> Any:
        return lambda table: table.drop_columns([name])

    def other(name: str, values: list[Any]) -> Any:
        return lambda table: table.set_column(table.column_names.index(name), name, pa.array(values))

    yield pytest.param(drop("bbox"), "bbox", id="no boxes")
    yield pytest.param(drop("dream:area"), "dream:area", id="no areas")
    yield pytest.param(other("dream:area", ["ventoux", "elsewhere"]), "elsewhere", id="unknown area")
    yield pytest.param(other("dream:area", ["ventoux", "ventoux"]), "beauce", id="area without tiles")
    yield pytest.param(other("bbox", [1.0, 2.0]), "cannot read", id="boxes of another kind")
    box = {"xmin": 0.0, "ymin": 0.0, "xmax": 500.0, "ymax": 1.0}
    yield pytest.param(other("bbox", [box, box]), "no box in degrees", id="boxes in pixels")
    yield pytest.param(other("bbox", [None, None]), "", id="boxes missing")
    yield pytest.param(other("geometry", [b"no", b"wkb"]), "", id="outlines of another kind")
    yield pytest.param(lambda table: table.slice(0, 0), "no box", id="no tiles")


@pytest.mark.parametrize(("change", "told"), list(broken()))
def test_index_that_was_changed_is_one_line(change: Any, told: str, copy: Path, tmp_path: Path) -> None:
    path = copy / "items" / "france.parquet"
    pq.write_table(change(pq.read_table(path)), path)
    with pytest.raises(ReleaseError, match=r"france\.parquet: ") as caught:
        maps.write_maps(copy, tmp_path / "out")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", [None, b"no parquet", b""], ids=["gone", "text", "empty"])
def test_index_that_cannot_be_read_is_one_line(text: bytes | None, copy: Path, tmp_path: Path) -> None:
    path = copy / "items" / "france.parquet"
    path.unlink()
    if text is not None:
        path.write_bytes(text)
    with pytest.raises(ReleaseError, match=r"france\.parquet: "):
        maps.write_maps(copy, tmp_path / "out")


def test_folder_that_is_no_release_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a release"):
        maps.write_maps(tmp_path, tmp_path / "out")


def test_folder_that_cannot_be_made_is_one_line(release: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CatalogBuilderError, match="file"):
        maps.write_maps(release, tmp_path / "file" / "out")


def test_twenty_thousand_tiles_take_seconds(copy: Path, tmp_path: Path) -> None:
    """Boxes and areas alone are read then; what else the index holds is not needed."""
    x, y = (values.ravel().astype(float) for values in np.meshgrid(np.arange(200), np.arange(100)))
    boxes = [
        {"xmin": a, "ymin": b, "xmax": a + 0.04, "ymax": b + 0.04} for a, b in zip(x / 25, 43 + y / 25, strict=True)
    ]
    areas = ["beauce" if west < 4 else "ventoux" for west in x / 25]
    pq.write_table(pa.table({"bbox": boxes, "dream:area": areas}), copy / "items" / "france.parquet")
    started = time.monotonic()
    path = maps.write_maps(copy, tmp_path / "out")[0]
    assert time.monotonic() - started < 8
    picture = pixels(path.read_bytes())
    assert all(is_colour(picture, colour).sum() > 20_000 for colour in COLOURS[:2])
