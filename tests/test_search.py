"""Searches of a release by its index, held against the same asked of every item, one by one."""

import json
import shutil
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pystac
import pystac_client
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

import catalog_builder
from catalog_builder import index, layout
from catalog_builder.errors import DamagedError, RemoteError, UsageError
from catalog_builder.location import FolderLocation
from catalog_builder.search import release as release_module
from catalog_builder.search.client import ReleaseIO
from catalog_builder.search.release import NoIndexWarning, Release
from tests.search_cases import (
    CASES,
    FIELDS,
    LENIENT,
    REFUSED,
    Case,
    Item,
    in_box,
    item_id,
    make_items,
    moment,
    op,
    prop,
    touches,
    value,
    within,
    write_release,
)

NOT_SUPPORTED = ("filter = by accenti",)
UNKNOWN_COLLECTION = ("a collection that is not there", "a collection that is there and one that is not")
ANSWERED = [case for case in CASES if case.name not in (*NOT_SUPPORTED, *UNKNOWN_COLLECTION)]


@pytest.fixture(scope="session")
def items() -> list[Item]:
    return make_items()


@pytest.fixture(scope="session")
def made(items: list[Item], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release of 300 items whose indexes have many small row groups."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "ROWS_PER_GROUP", 16)
        return write_release(tmp_path_factory.mktemp("made"), items)


@pytest.fixture(scope="session")
def client(made: Path) -> pystac_client.Client:
    return catalog_builder.open(made)


def ids(search: pystac_client.ItemSearch) -> list[str]:
    return [str(item["id"]) for item in search.items_as_dicts()]


# --- the same items ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ANSWERED, ids=lambda case: case.name)
def test_query(client: pystac_client.Client, items: list[Item], case: Case) -> None:
    search = client.search(limit=100, **case.search)
    expected = case.expected(items)
    assert (ids(search) if case.order else sorted(ids(search))) == expected
    assert search.matched() == len(expected)


@pytest.mark.parametrize("case", ANSWERED[::4], ids=lambda case: case.name)
def test_query_by_get(client: pystac_client.Client, items: list[Item], case: Case) -> None:
    """GET sends text where POST sends JSON."""
    found = ids(client.search(method="GET", **case.search))
    assert sorted(found) == sorted(case.expected(items))


longitudes = st.floats(-180, 180).map(lambda number: round(number, 3))
latitudes = st.floats(-60, 60).map(lambda number: round(number, 3))
near = st.sampled_from([number for item in make_items()[::7] for number in (item["bbox"][0], item["bbox"][2])])
near_latitude = st.sampled_from([number for item in make_items()[::7] for number in (item["bbox"][1], item["bbox"][3])])


@st.composite
def boxes(draw: st.DrawFn) -> list[float]:
    """Any box, wide or thin, across the antimeridian or not, often with edges that items share."""
    west, east = draw(longitudes | near), draw(longitudes | near)
    south, north = sorted([draw(latitudes | near_latitude), draw(latitudes | near_latitude)])
    return [west, south, east, north]


days = st.dates(moment("2014-06-01T00:00:00Z").date(), moment("2025-06-01T00:00:00Z").date())
ends = st.none() | days.map(lambda day: f"{day}T06:00:00Z")


@settings(max_examples=60)
@given(box=boxes())
def test_any_box(client: pystac_client.Client, items: list[Item], box: list[float]) -> None:
    expected = [item["id"] for item in items if in_box(*box)(item)]
    assert sorted(ids(client.search(bbox=box))) == sorted(expected)


@settings(max_examples=60)
@given(corners=st.lists(st.tuples(longitudes | near, latitudes | near_latitude), min_size=1, max_size=6))
def test_any_geometry(client: pystac_client.Client, items: list[Item], corners: list[tuple[float, float]]) -> None:
    geometry = shapely.MultiPoint(corners).convex_hull
    document = json.loads(shapely.to_geojson(geometry))
    expected = [item["id"] for item in items if touches(geometry)(item)]
    assert sorted(ids(client.search(intersects=document))) == sorted(expected)


@settings(max_examples=40)
@given(start=ends, end=ends)
def test_any_interval(client: pystac_client.Client, items: list[Item], start: str | None, end: str | None) -> None:
    if start and end and start > end:
        start, end = end, start
    expected = [item["id"] for item in items if within(start, end)(item)]
    wanted = f"{start or '..'}/{end or '..'}"
    assert sorted(ids(client.search(datetime=wanted))) == sorted(expected)


NUMBERS = ("dream:valid_percent", "dream:row", "dream:column", "eo:cloud_cover", "gsd")
TEXTS = ("dream:area", "dream:mixed", "proj:code")


def compared(name: str, sign: str, number: Any) -> tuple[Any, Callable[[Item], bool | None]]:
    tests: dict[str, Callable[[Any, Any], bool]] = {
        "=": lambda a, b: a == b, "<>": lambda a, b: a != b, "<": lambda a, b: a < b,
        "<=": lambda a, b: a <= b, ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
    }  # fmt: skip

    def test(item: Item) -> bool | None:
        found = value(item, name)
        return None if found is None else tests[sign](found, number)

    return op(sign, prop(name), number), test


def negated(part: tuple[Any, Callable[[Item], bool | None]]) -> tuple[Any, Callable[[Item], bool | None]]:
    node, test = part

    def opposite(item: Item) -> bool | None:
        found = test(item)
        return None if found is None else not found

    return op("not", node), opposite


def joined(name: str, parts: list[tuple[Any, Callable[[Item], bool | None]]]) -> tuple[Any, Any]:
    """Three-valued and/or, spelled out."""
    decides = name == "or"

    def test(item: Item) -> bool | None:
        found = [part(item) for _, part in parts]
        if decides in found:
            return decides
        return None if None in found else not decides

    return op(name, *(node for node, _ in parts)), test


signs = st.sampled_from(["=", "<>", "<", "<=", ">", ">="])
leaves = st.builds(compared, st.sampled_from(NUMBERS), signs, st.integers(-3, 60)) | st.builds(
    compared, st.sampled_from(TEXTS), signs, st.sampled_from(["area_1", "area_3", "ventoux", "EPSG:32611", ""])
)
filters = st.recursive(
    leaves,
    lambda inner: (
        st.builds(negated, inner)
        | st.builds(joined, st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=3))
    ),
    max_leaves=6,
)


@settings(max_examples=60)
@given(condition=filters)
def test_any_filter(client: pystac_client.Client, items: list[Item], condition: Any) -> None:
    node, test = condition
    expected = [item["id"] for item in items if test(item) is True]
    assert sorted(ids(client.search(filter=node))) == sorted(expected)


@settings(max_examples=60)
@given(box=boxes(), start=ends, condition=filters, names=st.lists(st.integers(0, 149), max_size=40))
def test_all_together(
    client: pystac_client.Client,
    items: list[Item],
    box: list[float],
    start: str | None,
    condition: Any,
    names: list[int],
) -> None:
    node, test = condition
    wanted = [item_id("france", number) for number in names] + [item_id("usa", number) for number in names[:3]]
    expected = [
        item["id"]
        for item in items
        if in_box(*box)(item)
        and within(start, None)(item)
        and test(item) is True
        and (not wanted or item["id"] in wanted)
    ]
    asked: dict[str, Any] = {"bbox": box, "datetime": f"{start or '..'}/..", "filter": node}
    if wanted:
        asked["ids"] = wanted
    assert sorted(ids(client.search(**asked))) == sorted(expected)


# --- items as they were published -------------------------------------------------------------------------------------


def test_items_are_those_published(client: pystac_client.Client, made: Path, items: list[Item]) -> None:
    """Nothing is lost, added or reworded but addresses."""
    found = {item["id"]: item for item in client.search().items_as_dicts()}
    assert len(found) == len(items)
    for item in items:
        other = found[item["id"]]
        assert {**other, "links": [], "assets": {}} == {**item, "links": [], "assets": {}}
        for key, asset in item["assets"].items():
            path = made / item["collection"] / item["id"].rpartition("_x")[0] / item["id"] / f"{key}.tif"
            assert other["assets"][key] == {**asset, "href": str(path)}
        assert {link["rel"] for link in other["links"]} == {"self", "root", "parent", "collection"}
        assert all(Path(link["href"]).is_file() for link in other["links"])


def test_items_are_pystac_items(client: pystac_client.Client) -> None:
    item = next(client.search(ids=[item_id("usa", 129)]).items())
    assert isinstance(item, pystac.Item)
    collection = item.get_collection()
    assert collection is not None
    assert collection.id == "usa"
    parent = item.get_parent()
    assert parent is not None


def test_client_is_the_real_one(client: pystac_client.Client, items: list[Item]) -> None:
    """The whole of pystac_client works, and none of it warns."""
    assert isinstance(client, pystac_client.Client)
    assert [one.id for one in client.get_collections()] == ["france", "usa"]
    usa = client.get_collection("usa")
    assert usa is not None
    assert client.get_collection("mars") is None
    assert len(list(usa.get_items())) == 150
    assert [one.id for one in usa.get_items(item_id("usa", 4))] == [item_id("usa", 4)]
    found = usa.get_item(item_id("usa", 5))
    assert found is not None
    assert found.id == item_id("usa", 5)
    assert usa.get_item(item_id("france", 5)) is None
    assert len(list(client.get_items())) == len(items)
    assert [child.id for child in client.get_children()] == ["france", "usa"]
    assert len(list(next(iter(client.get_children())).get_children())) == 6
    assert client.get_queryables()["properties"]["dream:valid_percent"] == {"type": "number"}
    assert "dream:row" in client.get_merged_queryables(["france", "usa"])["properties"]
    assert [one.id for one in client.collection_search(q="Usa").collections()] == ["usa"]
    assert client.collection_search(bbox=[0, 0, 1, 1], datetime="2016").matched() == 2
    assert list(client.collection_search(datetime="1990").collections()) == []


@pytest.mark.parametrize("limit", [1, 7, 150, 300, 1000, None])
@pytest.mark.parametrize("most", [1, 100, 160, None])
def test_pages(client: pystac_client.Client, items: list[Item], limit: int | None, most: int | None) -> None:
    search = client.search(limit=limit, max_items=most)
    found = ids(search)
    assert len(found) == len(set(found)) == min(most or len(items), len(items))
    assert search.matched() == len(items)


@pytest.mark.parametrize("fields", FIELDS, ids=str)
def test_fields_change_nothing_else(client: pystac_client.Client, fields: Any) -> None:
    """What is shown is as it is without a choice of fields, and only what is shown is read."""
    whole = next(client.search(ids=[item_id("usa", 6)]).items_as_dicts())
    shown = next(client.search(ids=[item_id("usa", 6)], fields=fields).items_as_dicts())
    assert {"type", "id", "collection"} <= shown.keys()
    assert (
        shown.keys() < whole.keys()
        or shown["properties"].keys() < whole["properties"].keys()
        or (shown["assets"].keys() < whole["assets"].keys())
    )
    for key, inner in shown.items():
        if isinstance(inner, dict):
            assert all(whole[key][name] == one or key == "assets" for name, one in inner.items())
        else:
            assert whole[key] == inner


# --- refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("search", [*REFUSED.values(), *LENIENT.values()], ids=[*REFUSED, *LENIENT])
def test_refused(client: pystac_client.Client, search: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        ids(client.search(**search))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("search", "says"),
    [
        ({"collections": ["mars"]}, "there is no mars; there are france, usa"),
        ({"filter": '"dream:valid" > 3'}, "the nearest is 'dream:valid_percent'"),
        ({"sortby": "dream:colum"}, "the nearest is 'dream:column'"),
        ({"query": {"dream:rows": {"eq": 1}}}, "the nearest is 'dream:row'"),
        ({"filter": "gsd = 'ten'"}, "gsd is a number"),
        ({"filter": '"dream:area" = 3'}, "'dream:area' is text|dream:area is text"),
        ({"filter": '"dream:absent" = 3'}, "a_contains|is list"),
        ({"filter": "gsd LIKE '1%'"}, "like wants text"),
        ({"filter": "accenti(\"dream:area\") = 'x'"}, "'accenti' with 1 arguments is not supported"),
        ({"filter": "datetime > 'soon'"}, "'soon': not an instant"),
        ({"filter": "gsd + 1"}, "gives no truth but a number"),
        ({"filter": "gsd =", "method": "GET"}, "not CQL2 text"),
        ({"filter": {"op": "=", "args": []}}, "0 arguments"),
        ({"filter": "gsd = 1", "filter_lang": "sql"}, "filter-lang 'sql'"),
        ({"bbox": [0, float("nan"), 1, 1]}, "not"),
        ({"bbox": [0, 0, 1]}, "3 numbers"),
        ({"intersects": {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [0, 1], [1, 0], [0, 0]]]}}, "valid"),
        ({"intersects": {"type": "Point", "coordinates": [200, 0]}}, "longitude first"),
        ({"intersects": {"type": "GeometryCollection", "geometries": []}}, "empty"),
        ({"query": {}}, "not a mapping"),
        ({"query": {"gsd": {"eq": 1, "near": 2}}}, "'near'"),
        ({"fields": ["nonsense"]}, "no item has 'nonsense'"),
        ({"fields": ["-properties.dream:colum"]}, "the nearest is 'properties.dream:column'"),
        ({"fields": ["assets.s9"]}, "the nearest is 'assets.s1'"),
        ({"filter": "GSD = 10"}, "the nearest is 'gsd'"),
        ({"sortby": "geometry"}, "no item has a property 'geometry'"),
        ({"fields": {"incl": ["id"]}}, "only include and exclude"),
        ({"sortby": [{"field": "id", "direction": "up"}]}, "asc or desc"),
    ],
    ids=str,
)
def test_refused_with_a_reason(client: pystac_client.Client, search: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        ids(client.search(**search))


@pytest.mark.parametrize(
    ("search", "says"),
    [
        ({"query": ["gsd=5", "dream:valid_percent~50"]}, "no comparison such as"),
        ({"query": ["dream:valid_percent>=90", "dream:valid_percent>=10"]}, "asked twice"),
        ({"intersects": {"type": "Feature", "geometry": None}}, "the feature has no geometry"),
        ({"ids": []}, "ids: asks for none"),
        ({"collections": ()}, "collections: asks for none"),
        ({"filter": ""}, "neither CQL2 text nor JSON"),
        ({"filter": {}}, "neither CQL2 text nor JSON"),
        ({"filter": True}, "neither CQL2 text nor JSON"),
        ({"max_items": 0}, "max_items 0: not a number from 1"),
        ({"limit": "10"}, "limit '10': not a number from 1"),
        ({"datetime": "foo"}, "invalid datetime component"),
        ({"datetime": "2021-02-30"}, "search:"),
        ({"filter": "(" * 30_000}, "longer than"),
        ({"filter": "(" * 5_000 + "gsd=1" + ")" * 5_000}, "more than 250"),
        ({"filter": "not " * 4_000 + "gsd=1"}, "more than 250"),
        ({"query": {"gsd": {"eq": 2**63}}}, "search:"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_pystac_client_would_leave_out_is_refused(
    client: pystac_client.Client, search: dict[str, Any], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        ids(client.search(**search))


def test_query_as_text(client: pystac_client.Client, items: list[Item]) -> None:
    found = ids(client.search(query=["dream:row>=3", "dream:row<9", '{"gsd": {"eq": 10}}']))
    wanted = [one["id"] for one in items if 3 <= value(one, "dream:row") < 9 and value(one, "gsd") == 10]
    assert sorted(found) == sorted(wanted)


def test_many_quoted_dates_are_no_nesting(client: pystac_client.Client) -> None:
    names = ", ".join(f"'2019-01-{number:02}'" for number in range(1, 300))
    assert ids(client.search(filter=f"id IN ({names})")) == []


def test_threads_may_share_a_client(client: pystac_client.Client, items: list[Item]) -> None:
    names = [item["id"] for item in items[::3]]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda name: ids(client.search(ids=[name])), names))
    assert found == [[name] for name in names]


def test_unknown_parameter_is_refused(client: pystac_client.Client) -> None:
    search = client.search()
    search._parameters["q"] = "toulouse"
    with pytest.raises(UsageError, match="q: not supported"):
        ids(search)
    with pytest.raises(UsageError, match="sortby: not supported"):
        list(client.collection_search(sortby="id").collections())


def test_division_by_nothing_is_unknown(client: pystac_client.Client) -> None:
    assert ids(client.search(filter='"dream:row" / 0 > 1')) == []
    assert ids(client.search(filter='NOT ("dream:row" / 0 > 1)')) == []


def test_deep_filter_is_refused(client: pystac_client.Client) -> None:
    node: Any = op("=", prop("gsd"), 10)
    for _ in range(300):
        node = op("not", node)
    with pytest.raises(UsageError):
        ids(client.search(filter=node))


# --- releases that are not as they should be --------------------------------------------------------------------------


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "release"))


def test_without_index_all_items_are_read_and_it_is_said(copy: Path, items: list[Item]) -> None:
    (copy / layout.index("usa")).unlink()
    client = catalog_builder.open(copy)
    box = [-125.0, 20.0, -60.0, 50.0]
    with pytest.warns(NoIndexWarning, match=r"usa.*no index"):
        found = ids(client.search(bbox=box, sortby="id"))
    assert found == sorted(item["id"] for item in items if in_box(*box)(item))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(ids(client.search(collections=["usa"], filter='"eo:cloud_cover" < 10'))) > 0
        assert len(ids(client.search(collections=["france"]))) == 150


def test_what_was_read_item_by_item_is_read_again(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (copy / layout.index("usa")).rename(copy / "aside")
    client = catalog_builder.open(copy)
    with pytest.warns(NoIndexWarning):
        assert len(ids(client.search(collections=["usa"]))) == 150
    (copy / "aside").rename(copy / layout.index("usa"))
    monkeypatch.setattr(release_module, "_KEPT_SECONDS", -1.0)
    assert len(ids(client.search(collections=["usa"]))) == 150, "and without a warning"


def test_index_replaced_or_cut_under_a_client(copy: Path, items: list[Item]) -> None:
    """What was opened is read to its end, and a cut file is an error, not the end of the process."""
    client = catalog_builder.open(copy)
    assert client.search().matched() == len(items)
    path = copy / layout.index("usa")
    shutil.copy(copy / layout.index("france"), copy / "other")
    size = path.stat().st_size
    (copy / "other").replace(path)
    assert len(ids(client.search(collections=["usa"], limit=10))) == 150
    other = catalog_builder.open(copy)
    with pytest.raises(DamagedError):
        ids(other.search(collections=["usa"]))
    france = copy / layout.index("france")
    with france.open("r+b") as file:
        file.truncate(size // 4)
    with pytest.raises(DamagedError, match="cut or damaged"):
        ids(client.search(collections=["france"], sortby="dream:row", fields=["-geometry"]))


def test_collections_across_the_antimeridian(copy: Path) -> None:
    def move(document: dict[str, Any]) -> None:
        document["extent"]["spatial"]["bbox"] = [[174, -20, -175, -10]]

    rewrite(copy / layout.collection("usa"), move)
    client = catalog_builder.open(copy)
    for box in ((176, -19, 178, -11), (170, -30, -170, 30), (-180, -20, -178, -10)):
        assert "usa" in [one.id for one in client.collection_search(bbox=box).collections()]
    assert [one.id for one in client.collection_search(bbox=[0, -20, 10, -10]).collections()] == ["france"]


def test_without_index_items_are_the_same(copy: Path, client: pystac_client.Client) -> None:
    (copy / layout.index("usa")).unlink()
    with pytest.warns(NoIndexWarning):
        found = list(catalog_builder.open(copy).search(collections=["usa"], sortby="id").items_as_dicts())
    wanted = list(client.search(collections=["usa"], sortby="id").items_as_dicts())
    for one, other in zip(found, wanted, strict=True):
        assert {**one, "links": [], "assets": []} == {**other, "links": [], "assets": []}


def rewrite(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def forget_size(folder: Path, name: str) -> None:
    def forget(document: dict[str, Any]) -> None:
        for asset in document["assets"].values():
            asset.pop("file:size", None)

    rewrite(folder / layout.collection(name), forget)


@pytest.mark.parametrize("size", [0, 3, 10_000, -1])
def test_truncated_index(copy: Path, size: int) -> None:
    path = copy / layout.index("usa")
    data = path.read_bytes()[:size]
    path.write_bytes(data)
    with pytest.raises(DamagedError, match=r"usa\.parquet: has .* its collection says"):
        ids(catalog_builder.open(copy).search())
    forget_size(copy, "usa")
    with pytest.raises((DamagedError, RemoteError), match=r"usa\.parquet: (cut or damaged|cannot read)"):
        ids(catalog_builder.open(copy).search())


def test_damaged_index(copy: Path) -> None:
    path = copy / layout.index("usa")
    data = bytearray(path.read_bytes())
    for place in range(100, len(data) // 2, 50):
        data[place] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(DamagedError, match="damaged"):
        ids(catalog_builder.open(copy).search())


def test_index_of_another_collection_or_release(copy: Path) -> None:
    shutil.copy(copy / layout.index("france"), copy / layout.index("usa"))
    with pytest.raises(DamagedError, match="bring both up to date"):
        ids(catalog_builder.open(copy).search())
    forget_size(copy, "usa")
    with pytest.raises(DamagedError, match="is the index of 'france', not of 'usa'"):
        ids(catalog_builder.open(copy).search())


def test_another_table_is_no_index(copy: Path) -> None:
    path = copy / layout.index("usa")
    pq.write_table(pq.read_table(path).select(["id", "bbox"]), path)
    forget_size(copy, "usa")
    with pytest.raises(DamagedError, match="no index of items: it has no assets, geometry, links"):
        ids(catalog_builder.open(copy).search())


@pytest.mark.parametrize("href", ["../../../../../etc/passwd", "/etc/passwd", "http://example.com/x.tif", "file:///x"])
def test_hrefs_cannot_leave_the_release(items: list[Item], tmp_path: Path, href: str) -> None:
    bad = json.loads(json.dumps(items))
    bad[0]["assets"]["s1"]["href"] = href
    client = catalog_builder.open(write_release(tmp_path / "release", bad))
    with pytest.raises(DamagedError, match="leaves the release"):
        ids(client.search(ids=[bad[0]["id"]]))


def test_a_rebuilt_release_is_seen(copy: Path, items: list[Item]) -> None:
    client = catalog_builder.open(copy)
    assert client.search().matched() == len(items)
    pages = client.search(limit=10).pages_as_dicts()
    next(pages)
    shutil.rmtree(copy)
    write_release(copy, items[:200])
    assert client.search().matched() == 200
    with pytest.raises(UsageError, match="changed between two pages"):
        next(pages)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("<html>", "a web page"),
        ("", "no JSON"),
        ("[1]", "no STAC document"),
        ('{"links":[],"type":"Feature"}', "no STAC catalog"),
    ],
)
def test_no_catalog(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "catalog.json").write_text(text)
    with pytest.raises(RemoteError, match=says):
        catalog_builder.open(tmp_path)


def test_no_release(tmp_path: Path) -> None:
    with pytest.raises(RemoteError, match="not there; is it the address of a release"):
        catalog_builder.open(tmp_path)
    with pytest.raises(UsageError, match="no such folder"):
        catalog_builder.open(tmp_path / "nothing")
    with pytest.raises(RemoteError, match=r"no answer from 127\.0\.0\.1:9"):
        catalog_builder.open("http://127.0.0.1:9/catalog.json")
    with pytest.raises(UsageError, match="neither a folder nor"):
        catalog_builder.open("ftp://example.com/x")


def test_links_out_of_the_release_are_not_followed(copy: Path) -> None:
    other = {"rel": "child", "href": "https://example.com/catalog.json"}
    rewrite(copy / "catalog.json", lambda document: document["links"].append(other))
    client = catalog_builder.open(copy)
    assert len(list(client.get_collections())) == 2
    with pytest.raises(pystac.STACError) as caught:
        list(client.get_children())
    assert "leads out of the release" in str(caught.value.__cause__)


# --- only what is needed is read --------------------------------------------------------------------------------------


def tables(client: pystac_client.Client) -> Iterator[Any]:
    io = client._stac_io
    assert isinstance(io, ReleaseIO)
    for href, document in io.release.collections():
        yield io.release.table(href, document).table


def test_groups_that_cannot_match_are_left_out(made: Path) -> None:
    from catalog_builder.search.places import parse_bbox
    from catalog_builder.search.times import parse_interval

    release = Release(FolderLocation(path=made))
    france = release.table(*next(release.collections())).table
    every = len(france.groups([], None, None))
    assert every == -(-150 // 16)
    assert len(france.groups([parse_bbox([0, 43, 0.5, 43.5])], None, None)) < every / 2
    assert france.groups([parse_bbox([100, 0, 101, 1])], None, None) == []
    assert france.groups([], parse_interval("1990-01-01/1991-01-01"), None) == []
    assert 1 <= len(france.groups([], None, [item_id("france", 3)])) < every
    assert france.groups([], None, ["zzz"]) == []
