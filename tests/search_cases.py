"""Made-up items for searches, and queries with what they mean, said in plain Python over the items."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from pystac import MediaType, RelType

from catalog_builder import catalog, index, jsonio, layout, manifest
from catalog_builder.item import link

Item = dict[str, Any]
COLLECTIONS = ("france", "usa")
_NOON = datetime(2015, 1, 1, 12, tzinfo=UTC)
_ROOT_TITLE = "Made-up items"


# --- items ------------------------------------------------------------------------------------------------------------


def make_items() -> list[Item]:
    """Make 300 items, seeded: tiles in France, tiles in the USA, and in Fiji on both sides of 180 degrees."""
    rng = np.random.default_rng(2021)
    france = [_tile(rng, "france", number, (-4 + number % 15 * 0.8, 42 + number // 15 * 0.8)) for number in range(150)]
    usa = [_tile(rng, "usa", number, (-120 + number % 13 * 4.0, 26 + number // 13 * 2.5)) for number in range(130)]
    fiji = [_tile(rng, "usa", 130 + number, (174.3 + number % 10 * 1.05, -19.3 + number // 10)) for number in range(20)]
    return france + usa + fiji


def _tile(rng: np.random.Generator, collection: str, number: int, corner: tuple[float, float]) -> Item:
    west, south = corner
    size = float(rng.uniform(0.5, 0.78))
    geometry = _outline(number, west, south, size)
    area = f"area_{number // 25}"
    properties: dict[str, Any] = {
        "title": f"{area.title()}, tile {number}",
        **_times(number),
        "gsd": 10 if collection == "france" else 5,
        "proj:code": f"EPSG:{32630 + number % 3 if collection == 'france' else 32610 + number % 5}",
        "dream:area": area,
        "dream:column": number % 10 - 3,
        "dream:row": number // 10,
        "dream:valid_percent": round(float(rng.uniform(0, 100)), 2) if number % 9 else 100.0,
        "dream:mixed": ["Ventoux", "ventoux", "VENTOUX", "Mont Ventoux", "50% cloud", "a_b", "été", ""][number % 8],
        "dream:flag": number % 2 == 0,
    }
    if number % 4 == 0:
        properties["eo:cloud_cover"] = number / 2
    if number % 5 == 0:
        properties["dream:absent"] = ["s1", "osm"] if number % 10 else ["s1"]
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [],
        "id": item_id(collection, number),
        "geometry": geometry,
        "bbox": _box(geometry),
        "properties": properties,
        "links": [],
        "assets": {
            key: {"href": f"./{key}.tif", "type": str(MediaType.COG), "title": key.upper(), "roles": ["data"]}
            for key in ("s1", "s2", "srtm")[: 1 + number % 3]
        },
        "collection": collection,
    }


def item_id(collection: str, number: int) -> str:
    """Give an id as releases have them: it tells the area."""
    return layout.item_id(f"{collection}_{number // 25}", number, 0)


def _outline(number: int, west: float, south: float, size: float) -> dict[str, Any]:
    """Draw a square, a triangle, a square with a hole, or two parts; cut at 180 degrees."""
    east, north = west + size, south + size
    square = shapely.box(west, south, east, north)
    kinds = {
        3: shapely.Polygon([(west, south), (east, south), (west, north)]),
        5: square.difference(square.buffer(-size / 4)),
        6: shapely.union_all(
            [shapely.box(west, south, west + size / 3, north), shapely.box(east - size / 3, south, east, north)]
        ),
    }
    shape = kinds.get(number % 7, square)
    if east > 180:
        left = shape & shapely.box(0, -90, 180, 90)
        right = shapely.transform(shape & shapely.box(180, -90, 360, 90), lambda points: points - [360, 0])
        shape = shapely.union_all([left, right])
    document: dict[str, Any] = json.loads(shapely.to_geojson(shapely.normalize(shapely.set_precision(shape, 1e-7))))
    return document


def _box(geometry: Mapping[str, Any]) -> list[float]:
    parts = shapely.get_parts(shape_of(geometry))
    boxes = [[float(value) for value in part.bounds] for part in parts]
    if max(box[2] for box in boxes) == 180 and min(box[0] for box in boxes) == -180:
        # Across the antimeridian, the west is larger than the east.
        boxes = [[west % 360, south, east % 360, north] for west, south, east, north in boxes]
        west, south, east, north = _around(boxes)
        return [west, south, east - 360, north]
    return _around(boxes)


def _around(boxes: list[list[float]]) -> list[float]:
    west, south, east, north = zip(*boxes, strict=True)
    return [min(west), min(south), max(east), max(north)]


def _times(number: int) -> dict[str, Any]:
    """Give an instant, an instant within an interval, or an interval alone; some with fractions of seconds."""
    at = _NOON + timedelta(days=37 * (number % 97), hours=number % 24, microseconds=250_000 * (number % 3))
    start, end = at - timedelta(days=20), at + timedelta(days=40)
    times: dict[str, Any] = {"datetime": text(at)}
    if number % 3 == 1:
        times |= {"start_datetime": text(start), "end_datetime": text(end)}
    if number % 3 == 2:
        times = {"datetime": None, "start_datetime": text(start), "end_datetime": text(end)}
    return times


def text(at: datetime) -> str:
    """Write a time as STAC does."""
    return at.isoformat().replace("+00:00", "Z")


def make_collections(items: list[Item]) -> list[dict[str, Any]]:
    return [_collection([item for item in items if item["collection"] == name]) for name in COLLECTIONS]


def _collection(items: list[Item]) -> dict[str, Any]:
    name = items[0]["collection"]
    times = sorted(moment for item in items for moment in interval(item))
    return {
        "type": "Collection",
        "stac_version": "1.1.0",
        "stac_extensions": [],
        "id": name,
        "title": name.title(),
        "description": "Made-up items.",
        "license": "other",
        "extent": {
            "spatial": {"bbox": [[-180, -90, 180, 90]]},
            "temporal": {"interval": [[text(times[0]), text(times[-1])]]},
        },
        "links": [],
    }


# --- the same as a release --------------------------------------------------------------------------------------------


def write_release(folder: Path, items: list[Item]) -> Path:
    """Write the documents and the indexes of a release with these items, and no asset."""
    for collection in make_collections(items):
        mine = [item for item in items if item["collection"] == collection["id"]]
        _write_collection(folder, collection, mine)
    children = [link(RelType.CHILD, f"./{layout.collection(name)}", name.title()) for name in COLLECTIONS]
    root = {"type": "Catalog", "stac_version": "1.1.0", "id": "made", "title": _ROOT_TITLE, "description": "Made-up."}
    _write(folder, layout.CATALOG, {**root, "links": [link(RelType.ROOT, "./catalog.json", _ROOT_TITLE), *children]})
    return folder


def _write_collection(folder: Path, collection: dict[str, Any], items: list[Item]) -> None:
    name, href, paths = collection["id"], layout.collection(collection["id"]), []
    areas: dict[str, list[Item]] = {}
    for item in sorted(items, key=lambda item: index.place_order(item["bbox"])):
        areas.setdefault(item["id"].rpartition("_x")[0], []).append(item)
    for area, members in areas.items():
        catalog_href = layout.area_catalog(name, area)
        hrefs = [layout.item(name, area, item["id"]) for item in members]
        for item, item_href in zip(members, hrefs, strict=True):
            own = link(RelType.COLLECTION, layout.relative(href, item_href), collection["title"])
            paths.append(_write(folder, item_href, {**item, "links": [*_up(item_href, catalog_href), own]}))
        down = [
            link(RelType.ITEM, layout.relative(item_href, catalog_href), item["id"], "application/geo+json")
            for item, item_href in zip(members, hrefs, strict=True)
        ]
        document = {"type": "Catalog", "stac_version": "1.1.0", "id": f"{name}-{area}", "description": area}
        _write(folder, catalog_href, {**document, "title": area, "links": [*_up(catalog_href, href), *down]})
    part, target = folder / "part.arrow", folder / layout.index(name)
    target.parent.mkdir(exist_ok=True)
    index.write_part(index.PartJob(items=tuple(paths), target=part))
    index.join_parts([part], target)
    part.unlink()
    data = target.read_bytes()
    asset = catalog.index_asset(name, len(data), manifest.sha256(data), "0" * 64)
    children = [link(RelType.CHILD, f"./{area}/{layout.CATALOG}", area) for area in areas]
    links = [*_up(href, layout.CATALOG), *children]
    _write(folder, href, {**collection, "links": links, "assets": {catalog.INDEX: asset}})


def _up(href: str, parent: str) -> list[dict[str, Any]]:
    root = link(RelType.ROOT, layout.relative(layout.CATALOG, href), _ROOT_TITLE)
    return [root, link(RelType.PARENT, layout.relative(parent, href), _ROOT_TITLE)]


def _write(folder: Path, href: str, document: Mapping[str, Any]) -> Path:
    path = folder / href
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(jsonio.dumps(document))
    return path


# --- what queries mean ------------------------------------------------------------------------------------------------


def shape_of(geometry: Mapping[str, Any]) -> Any:
    return shapely.from_geojson(json.dumps(geometry))


def moment(value: str) -> datetime:
    return datetime.fromisoformat(value)


def interval(item: Item) -> tuple[datetime, datetime]:
    """Give the first and the last instant of an item."""
    properties = item["properties"]
    start, end = (properties.get(f"{name}_datetime") or properties["datetime"] for name in ("start", "end"))
    return moment(start), moment(end)


def touches(geometry: Mapping[str, Any] | Any) -> Callable[[Item], bool]:
    """Say whether an item's geometry and another have a point in common."""
    other = shape_of(geometry) if isinstance(geometry, Mapping) else geometry
    return lambda item: bool(shapely.intersects(shape_of(item["geometry"]), other))


def in_box(*box: float) -> Callable[[Item], bool]:
    west, south, east, north = box
    if west <= east:
        return touches(shapely.box(west, south, east, north))
    parts = shapely.box(west, south, 180, north), shapely.box(-180, south, east, north)
    return touches(shapely.MultiPolygon(parts))


def within(start: str | None, end: str | None) -> Callable[[Item], bool]:
    """Say whether an item's time and a closed interval have an instant in common."""
    first = moment(start) if start else datetime.min.replace(tzinfo=UTC)
    last = moment(end) if end else datetime.max.replace(tzinfo=UTC)
    return lambda item: interval(item)[0] <= last and interval(item)[1] >= first


def value(item: Item, name: str) -> Any:
    return item["properties"].get(name)


def known(name: str, test: Callable[[Any], bool]) -> Callable[[Item], bool]:
    """Hold a property against a test; what an item does not know passes none, its opposite neither."""
    return lambda item: value(item, name) is not None and test(value(item, name))


def both(*tests: Callable[[Item], bool]) -> Callable[[Item], bool]:
    return lambda item: all(test(item) for test in tests)


def either(*tests: Callable[[Item], bool]) -> Callable[[Item], bool]:
    return lambda item: any(test(item) for test in tests)


@dataclass(frozen=True, slots=True)
class Case:
    """One query: what ``search`` is called with, and which items it means."""

    name: str
    search: Mapping[str, Any]
    where: Callable[[Item], bool]
    order: Callable[[list[Item]], list[Item]] | None = field(default=None)
    """Puts the items found in order, where the query asks for one."""

    def expected(self, items: list[Item]) -> list[str]:
        """Give the ids of the items that the query means, in order where it asks for one, else sorted."""
        found = [item for item in items if self.where(item)]
        return [item["id"] for item in self.order(found)] if self.order else sorted(item["id"] for item in found)


def sorter(*keys: str) -> Callable[[list[Item]], list[Item]]:
    """Sort by fields, the last one first, ``-`` for descending; items that do not have a field come last."""

    def sort(items: list[Item]) -> list[Item]:
        for key in reversed(keys):
            name, reverse = key.lstrip("+-"), key.startswith("-")
            have = [item for item in items if _field(item, name) is not None]
            lack = [item for item in items if _field(item, name) is None]
            items = sorted(have, key=lambda item: _field(item, name), reverse=reverse) + lack
        return items

    return sort


def _field(item: Item, name: str) -> Any:
    if name in ("id", "collection"):
        return item[name]
    found = value(item, name.removeprefix("properties."))
    return moment(found) if found is not None and name.endswith("datetime") else found


# --- queries ----------------------------------------------------------------------------------------------------------

ALL: Callable[[Item], bool] = bool
"""Every item; none is empty."""
CLOUD, VALID, MIXED = "eo:cloud_cover", "dream:valid_percent", "dream:mixed"
NUMBERS = (CLOUD, VALID, "dream:row", "dream:column", "gsd")
FRANCE_BOX = (0.0, 43.0, 2.0, 45.0)
FIJI_BOX = (178.0, -20.0, -178.0, -18.0)
L_SHAPE = {"type": "Polygon", "coordinates": [[[-3, 42], [6, 42], [6, 43], [-2, 43], [-2, 48], [-3, 48], [-3, 42]]]}
RING = {
    "type": "Polygon",
    "coordinates": [
        [[-4, 42], [8, 42], [8, 50], [-4, 50], [-4, 42]],
        [[-2, 43], [-2, 49], [6, 49], [6, 43], [-2, 43]],
    ],
}
ISLANDS = {
    "type": "MultiPolygon",
    "coordinates": [
        [[[0, 43], [1, 43], [1, 44], [0, 44], [0, 43]]],
        [[[-100, 30], [-90, 30], [-90, 35], [-100, 35], [-100, 30]]],
    ],
}
TRACK = {"type": "LineString", "coordinates": [[-4, 42], [3, 46], [8, 46.1]]}
PLACE = {"type": "Point", "coordinates": [0.95, 43.75]}
BOUNDARY = {"type": "Point", "coordinates": [-4, 42]}
YEAR_2018 = ("2018-01-01T00:00:00Z", "2018-12-31T23:59:59Z")


def prop(name: str) -> dict[str, str]:
    return {"property": name}


def op(name: str, *args: Any) -> dict[str, Any]:
    return {"op": name, "args": list(args)}


def query(name: str, **tests: Any) -> dict[str, Any]:
    return {"query": {name: tests}}


def stamp(value: str) -> dict[str, str]:
    return {"timestamp": value}


def negated(test: Callable[[Item], bool]) -> Callable[[Item], bool]:
    return lambda item: not test(item)


def lower(test: Callable[[str], bool]) -> Callable[[str], bool]:
    return lambda word: test(word.casefold())


_MATCH_ALL = {"collections": list(COLLECTIONS)}

CASES = (
    # collections and ids
    Case("everything", {}, ALL),
    Case("a collection", {"collections": ["usa"]}, lambda item: item["collection"] == "usa"),
    Case("two collections", _MATCH_ALL, ALL),
    Case("a collection that is not there", {"collections": ["mars"]}, negated(ALL)),
    Case(
        "a collection that is there and one that is not",
        {"collections": ["france", "mars"]},
        lambda item: item["collection"] == "france",
    ),
    Case(
        "ids",
        {"ids": [item_id("usa", 3), item_id("france", 10), "nobody"]},
        lambda item: item["id"] in (item_id("usa", 3), item_id("france", 10)),
    ),
    Case("ids of another collection", {"ids": [item_id("usa", 3)], "collections": ["france"]}, negated(ALL)),
    Case(
        "ids and a box",
        {"ids": [item_id("france", 0), item_id("usa", 0)], "bbox": [-5, 41, 0, 43]},
        both(lambda item: item["id"] in (item_id("france", 0), item_id("usa", 0)), in_box(-5, 41, 0, 43)),
    ),
    # boxes
    Case("small box", {"bbox": list(FRANCE_BOX)}, in_box(*FRANCE_BOX)),
    Case("big box", {"bbox": [-130, 20, 10, 50]}, in_box(-130, 20, 10, 50)),
    Case("the whole world", {"bbox": [-180, -90, 180, 90]}, ALL),
    Case("box over the sea", {"bbox": [-40, 0, -30, 10]}, negated(ALL)),
    Case("box across the antimeridian", {"bbox": list(FIJI_BOX)}, in_box(*FIJI_BOX)),
    Case("box west of the antimeridian", {"bbox": [178, -20, 180, -18]}, in_box(178, -20, 180, -18)),
    Case("box east of the antimeridian", {"bbox": [-180, -20, -179, -18]}, in_box(-180, -20, -179, -18)),
    Case("box of 6 numbers", {"bbox": [0, 43, -100, 2, 45, 9000]}, in_box(*FRANCE_BOX)),
    Case("box across the antimeridian of 6 numbers", {"bbox": [178, -20, 0, -178, -18, 10]}, in_box(*FIJI_BOX)),
    Case("box that is a point", {"bbox": [0.95, 43.75, 0.95, 43.75]}, touches(PLACE)),
    Case(
        "box that is a line",
        {"bbox": [-4, 43.75, 8, 43.75]},
        touches({"type": "LineString", "coordinates": [[-4, 43.75], [8, 43.75]]}),
    ),
    Case("box that shares an edge", {"bbox": [-5, 41, -4, 43]}, in_box(-5, 41, -4, 43)),
    Case("box in the hole of an item", {"bbox": [0.3, 42.3, 0.31, 42.31]}, in_box(0.3, 42.3, 0.31, 42.31)),
    # geometries
    Case("point", {"intersects": PLACE}, touches(PLACE)),
    Case("point on a corner", {"intersects": BOUNDARY}, touches(BOUNDARY)),
    Case("polygon", {"intersects": L_SHAPE}, touches(L_SHAPE)),
    Case("polygon with a hole", {"intersects": RING}, touches(RING)),
    Case("multipolygon", {"intersects": ISLANDS}, touches(ISLANDS)),
    Case("line", {"intersects": TRACK}, touches(TRACK)),
    Case(
        "geometry and collection",
        {"intersects": ISLANDS, "collections": ["usa"]},
        both(touches(ISLANDS), lambda item: item["collection"] == "usa"),
    ),
    # times
    Case("instant", {"datetime": "2015-02-07T13:00:00.250Z"}, within(*["2015-02-07T13:00:00.250+00:00"] * 2)),
    Case(
        "instant at the end of an interval",
        {"datetime": "2015-03-19T13:00:00.250Z"},
        within(*["2015-03-19T13:00:00.250+00:00"] * 2),
    ),
    Case(
        "instant at the start of an interval",
        {"datetime": "2015-01-18T13:00:00.250Z"},
        within(*["2015-01-18T13:00:00.250+00:00"] * 2),
    ),
    Case(
        "instant in another zone",
        {"datetime": "2015-02-07T15:00:00.250+02:00"},
        within(*["2015-02-07T13:00:00.250+00:00"] * 2),
    ),
    Case("year", {"datetime": "2018"}, within(*YEAR_2018)),
    Case("month", {"datetime": "2018-02"}, within("2018-02-01T00:00:00Z", "2018-02-28T23:59:59Z")),
    Case("day", {"datetime": "2018-03-02"}, within("2018-03-02T00:00:00Z", "2018-03-02T23:59:59Z")),
    Case(
        "closed interval",
        {"datetime": "2017-03-01T00:00:00Z/2017-05-01T00:00:00Z"},
        within("2017-03-01T00:00:00Z", "2017-05-01T00:00:00Z"),
    ),
    Case(
        "interval that ends at an item's instant",
        {"datetime": "2014-12-01T00:00:00Z/2015-01-01T12:00:00Z"},
        within("2014-12-01T00:00:00Z", "2015-01-01T12:00:00Z"),
    ),
    Case("interval open to the past", {"datetime": "../2016-01-01T00:00:00Z"}, within(None, "2016-01-01T00:00:00Z")),
    Case("interval open to the future", {"datetime": "2023-06-01T00:00:00Z/.."}, within("2023-06-01T00:00:00Z", None)),
    Case("interval open on both sides", {"datetime": "../.."}, ALL),
    Case("interval without items", {"datetime": "1999"}, negated(ALL)),
    Case(
        "box and year",
        {"bbox": list(FRANCE_BOX), "datetime": "2018", "collections": ["france"]},
        both(in_box(*FRANCE_BOX), within(*YEAR_2018), lambda item: item["collection"] == "france"),
    ),
    # the query extension
    Case("query eq", query("dream:area", eq="area_2"), known("dream:area", lambda area: area == "area_2")),
    Case("query eq of a number", query("dream:column", eq=-2), known("dream:column", lambda column: column == -2)),
    Case("query eq of a truth", query("dream:flag", eq=True), known("dream:flag", bool)),
    Case("query neq", query("dream:area", neq="area_2"), known("dream:area", lambda area: area != "area_2")),
    Case("query neq of what some lack", query(CLOUD, neq=10), known(CLOUD, lambda cloud: cloud != 10)),
    Case("query lt", query(CLOUD, lt=10), known(CLOUD, lambda cloud: cloud < 10)),
    Case("query lte", query(CLOUD, lte=10), known(CLOUD, lambda cloud: cloud <= 10)),
    Case("query gt", query(VALID, gt=50.5), known(VALID, lambda percent: percent > 50.5)),
    Case("query gte", query(VALID, gte=100), known(VALID, lambda percent: percent >= 100)),
    Case("query from and to", query("dream:row", gte=2, lt=9), known("dream:row", lambda row: 2 <= row < 9)),
    Case("query lt below ten, as numbers", query("dream:row", lt=9), known("dream:row", lambda row: row < 9)),
    Case("query startsWith", query("dream:mixed", startsWith="Ven"), known(MIXED, lambda word: word.startswith("Ven"))),
    Case("query endsWith", query("dream:mixed", endsWith="toux"), known(MIXED, lambda word: word.endswith("toux"))),
    Case("query contains", query("dream:mixed", contains="ent"), known(MIXED, lambda word: "ent" in word)),
    Case("query contains %", query("dream:mixed", contains="%"), known(MIXED, lambda word: "%" in word)),
    Case(
        "query startsWith a_", query("dream:mixed", startsWith="a_"), known(MIXED, lambda word: word.startswith("a_"))
    ),
    Case(
        "query in",
        {"query": {"dream:area": {"in": ["area_1", "area_3", "none"]}}},
        known("dream:area", lambda area: area in ("area_1", "area_3")),
    ),
    Case(
        "query in, of numbers",
        {"query": {"dream:row": {"in": [3, 11]}}},
        known("dream:row", lambda row: row in (3, 11)),
    ),
    Case(
        "query two properties",
        {"query": {"dream:area": {"eq": "area_2"}, VALID: {"lt": 40}}},
        both(known("dream:area", lambda area: area == "area_2"), known(VALID, lambda percent: percent < 40)),
    ),
    Case(
        "query and box",
        {**query(VALID, lt=40), "bbox": list(FRANCE_BOX)},
        both(known(VALID, lambda percent: percent < 40), in_box(*FRANCE_BOX)),
    ),
    # CQL2
    Case("filter =, text", {"filter": "\"dream:area\" = 'area_1'"}, known("dream:area", lambda area: area == "area_1")),
    Case(
        "filter =, JSON",
        {"filter": op("=", prop("dream:area"), "area_1")},
        known("dream:area", lambda area: area == "area_1"),
    ),
    Case(
        "filter = in other case",
        {"filter": op("=", prop(MIXED), "ventoux")},
        known(MIXED, lambda word: word == "ventoux"),
    ),
    Case(
        "filter = by casei",
        {"filter": op("=", op("casei", prop(MIXED)), op("casei", "VenToux"))},
        known(MIXED, lower(lambda word: word == "ventoux")),
    ),
    Case(
        "filter = by accenti",
        {"filter": op("=", op("accenti", prop(MIXED)), op("accenti", "ete"))},
        known(MIXED, lambda word: word == "été"),
    ),
    Case("filter <>", {"filter": "gsd <> 10"}, known("gsd", lambda gsd: gsd != 10)),
    Case("filter <> of what some lack", {"filter": op("<>", prop(CLOUD), 10)}, known(CLOUD, lambda cloud: cloud != 10)),
    Case("filter <", {"filter": f'"{CLOUD}" < 10'}, known(CLOUD, lambda cloud: cloud < 10)),
    Case("filter < as numbers", {"filter": '"dream:row" < 9'}, known("dream:row", lambda row: row < 9)),
    Case(
        "filter >= of text",
        {"filter": "\"dream:area\" >= 'area_3'"},
        known("dream:area", lambda area: area >= "area_3"),
    ),
    Case("filter = of a truth", {"filter": op("=", prop("dream:flag"), True)}, known("dream:flag", bool)),
    Case("filter = of an id", {"filter": f"id = '{item_id('usa', 7)}'"}, lambda item: item["id"] == item_id("usa", 7)),
    Case(
        "filter = of a collection",
        {"filter": op("=", prop("collection"), "usa")},
        lambda item: item["collection"] == "usa",
    ),
    Case(
        "filter properties.NAME",
        {"filter": op("=", prop("properties.dream:area"), "area_1")},
        known("dream:area", lambda area: area == "area_1"),
    ),
    Case(
        "filter and, or",
        {"filter": f'(gsd = 5 OR "dream:row" > 11) AND "{VALID}" < 50'},
        both(
            either(known("gsd", lambda gsd: gsd == 5), known("dream:row", lambda row: row > 11)),
            known(VALID, lambda percent: percent < 50),
        ),
    ),
    Case(
        "filter not",
        {"filter": op("not", op("=", prop("dream:area"), "area_1"))},
        known("dream:area", lambda area: area != "area_1"),
    ),
    Case(
        "filter not of what some lack",
        {"filter": op("not", op("<", prop(CLOUD), 10))},
        known(CLOUD, lambda cloud: cloud >= 10),
    ),
    Case(
        "filter or of what some lack",
        {"filter": op("or", op("<", prop(CLOUD), 10), op("=", prop("gsd"), 5))},
        either(known(CLOUD, lambda cloud: cloud < 10), known("gsd", lambda gsd: gsd == 5)),
    ),
    Case(
        "filter between, text",
        {"filter": f'"{CLOUD}" BETWEEN 10 AND 20'},
        known(CLOUD, lambda cloud: 10 <= cloud <= 20),
    ),
    Case(
        "filter between, JSON",
        {"filter": op("between", prop(CLOUD), 10, 20)},
        known(CLOUD, lambda cloud: 10 <= cloud <= 20),
    ),
    Case(
        "filter in, text",
        {"filter": "\"dream:area\" IN ('area_1', 'area_4')"},
        known("dream:area", lambda area: area in ("area_1", "area_4")),
    ),
    Case(
        "filter in, of numbers",
        {"filter": op("in", prop("dream:row"), [3, 11])},
        known("dream:row", lambda row: row in (3, 11)),
    ),
    Case(
        "filter not in",
        {"filter": "\"dream:area\" NOT IN ('area_1', 'area_4')"},
        known("dream:area", lambda area: area not in ("area_1", "area_4")),
    ),
    Case("filter like %", {"filter": f"\"{MIXED}\" LIKE 'Ven%'"}, known(MIXED, lambda word: word.startswith("Ven"))),
    Case(
        "filter like _",
        {"filter": op("like", prop(MIXED), "_entoux")},
        known(MIXED, lambda word: len(word) == 7 and word.endswith("entoux")),
    ),
    Case(
        "filter not like",
        {"filter": f"\"{MIXED}\" NOT LIKE '%toux'"},
        known(MIXED, lambda word: not word.endswith("toux")),
    ),
    Case(
        "filter like by casei",
        {"filter": op("like", op("casei", prop(MIXED)), op("casei", "VEN%"))},
        known(MIXED, lower(lambda word: word.startswith("ven"))),
    ),
    Case("filter isNull", {"filter": op("isNull", prop(CLOUD))}, lambda item: value(item, CLOUD) is None),
    Case("filter is not null", {"filter": f'"{CLOUD}" IS NOT NULL'}, lambda item: value(item, CLOUD) is not None),
    Case(
        "filter isNull of a datetime",
        {"filter": op("isNull", prop("datetime"))},
        lambda item: value(item, "datetime") is None,
    ),
    Case("filter = of nothing", {"filter": f"\"{MIXED}\" = ''"}, known(MIXED, lambda word: word == "")),
    Case(
        "filter sum",
        {"filter": '"dream:row" + "dream:column" = 4'},
        lambda item: value(item, "dream:row") + value(item, "dream:column") == 4,
    ),
    Case(
        "filter between properties",
        {"filter": op("<", prop("dream:column"), prop("dream:row"))},
        lambda item: bool(value(item, "dream:column") < value(item, "dream:row")),
    ),
    Case(
        "filter datetime >=",
        {"filter": op(">=", prop("datetime"), stamp("2023-06-01T00:00:00Z"))},
        known("datetime", lambda at: moment(at) >= moment("2023-06-01T00:00:00Z")),
    ),
    Case(
        "filter start_datetime <",
        {"filter": op("<", prop("start_datetime"), stamp("2016-01-01T00:00:00Z"))},
        known("start_datetime", lambda at: moment(at) < moment("2016-01-01T00:00:00Z")),
    ),
    Case("filter s_intersects", {"filter": op("s_intersects", prop("geometry"), L_SHAPE)}, touches(L_SHAPE)),
    Case("filter s_intersects, text", {"filter": "S_INTERSECTS(geometry, POINT(0.95 43.75))"}, touches(PLACE)),
    Case(
        "filter not s_intersects",
        {"filter": op("not", op("s_intersects", prop("geometry"), L_SHAPE))},
        negated(touches(L_SHAPE)),
    ),
    Case(
        "filter s_within",
        {"filter": op("s_within", prop("geometry"), L_SHAPE)},
        lambda item: bool(shapely.within(shape_of(item["geometry"]), shape_of(L_SHAPE))),
    ),
    Case("filter s_disjoint", {"filter": op("s_disjoint", prop("geometry"), L_SHAPE)}, negated(touches(L_SHAPE))),
    Case(
        "filter t_intersects",
        {
            "filter": op(
                "t_intersects", prop("datetime"), {"interval": ["2017-03-01T00:00:00Z", "2017-05-01T00:00:00Z"]}
            )
        },
        known("datetime", lambda at: moment("2017-03-01T00:00:00Z") <= moment(at) <= moment("2017-05-01T00:00:00Z")),
    ),
    Case(
        "filter t_after",
        {"filter": op("t_after", prop("datetime"), stamp("2023-06-01T00:00:00Z"))},
        known("datetime", lambda at: moment(at) > moment("2023-06-01T00:00:00Z")),
    ),
    Case(
        "filter a_contains",
        {"filter": op("a_contains", prop("dream:absent"), ["osm"])},
        known("dream:absent", lambda names: "osm" in names),
    ),
    Case(
        "filter, box and time",
        {"filter": "gsd = 10", "bbox": list(FRANCE_BOX), "datetime": "2018"},
        both(in_box(*FRANCE_BOX), within(*YEAR_2018), known("gsd", lambda gsd: gsd == 10)),
    ),
    # order
    Case("sorted by id", {"sortby": "id"}, ALL, sorter("id")),
    Case("sorted by id, descending", {"sortby": "-id"}, ALL, sorter("-id")),
    Case("sorted by collection and id", {"sortby": ["-collection", "+id"]}, ALL, sorter("-collection", "id")),
    Case("sorted by datetime", {"sortby": ["datetime", "id"]}, ALL, sorter("datetime", "id")),
    Case("sorted by datetime, descending", {"sortby": ["-datetime", "id"]}, ALL, sorter("-datetime", "id")),
    Case("sorted by a number", {"sortby": ["properties.dream:row", "id"]}, ALL, sorter("dream:row", "id")),
    Case("sorted by a number, descending", {"sortby": [f"-properties.{VALID}", "id"]}, ALL, sorter(f"-{VALID}", "id")),
    Case("sorted by what some lack", {"sortby": [f"properties.{CLOUD}", "id"]}, ALL, sorter(CLOUD, "id")),
    Case(
        "sorted by what some lack, descending",
        {"sortby": [f"-properties.{CLOUD}", "id"]},
        ALL,
        sorter(f"-{CLOUD}", "id"),
    ),
    Case("sorted by text", {"sortby": [f"properties.{MIXED}", "-id"]}, ALL, sorter(MIXED, "-id")),
    Case("sorted by a name without properties.", {"sortby": ["dream:row", "id"]}, ALL, sorter("dream:row", "id")),
    Case(
        "sorted by three",
        {"sortby": ["-dream:area", "dream:column", "-id"]},
        ALL,
        sorter("-dream:area", "dream:column", "-id"),
    ),
)

FIELDS: tuple[Any, ...] = (
    ["id"],
    ["properties"],
    ["properties.dream:row"],
    ["properties.dream:row", "assets.s1"],
    ["id", "-geometry"],
    ["-geometry"],
    ["-properties.gsd"],
    ["-properties"],
    ["-assets"],
    ["-assets.s1"],
    ["properties", "-properties.gsd"],
    ["-properties", "properties.gsd"],
    ["bbox", "geometry"],
    {"include": ["properties.gsd", "assets"], "exclude": ["assets.s1"]},
)

REFUSED: dict[str, dict[str, Any]] = {
    "box upside down": {"bbox": [0, 10, 10, 0]},
    "box outside the world": {"bbox": [-200, -100, 200, 100]},
    "box of 3 numbers": {"bbox": [0, 0, 1]},
    "box and geometry": {"bbox": [0, 43, 2, 45], "intersects": PLACE},
    "interval upside down": {"datetime": "2019-01-01T00:00:00Z/2018-01-01T00:00:00Z"},
    "no geometry": {"intersects": {"type": "Square", "coordinates": []}},
    "unknown operator of query": query("gsd", about=10),
    "unknown operator of CQL2": {"filter": op("nearly", prop("gsd"), 10), "filter_lang": "cql2-json"},
}
"""What nobody should answer."""

LENIENT: dict[str, dict[str, Any]] = {
    "filter on a property that no item has": {"filter": op("=", prop("dream:valid_percents"), 1)},
    "filter on a property in other case": {"filter": "GSD = 10"},
    "query on a property that no item has": query("dream:valid_percents", gt=1),
    "sorted by a property that no item has": {"sortby": "dream:valid_percents"},
    "number compared with text": {"filter": op("=", prop("gsd"), "10")},
    "list compared with text": {"filter": op("=", prop("dream:absent"), "s1")},
    "polygon that crosses itself": {
        "intersects": {"type": "Polygon", "coordinates": [[[0, 43], [2, 45], [2, 43], [0, 45], [0, 43]]]}
    },
    "polygon beyond 180 degrees": {
        "intersects": {"type": "Polygon", "coordinates": [[[179, -20], [181, -20], [181, -18], [179, -20]]]}
    },
}
"""What pgstac answers, and this package refuses: mistakes that would find nothing, or who knows what."""
