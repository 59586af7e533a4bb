"""The same searches of the same items, by an index and by stac-fastapi-pgstac: same items, counts and order.

``tests/search_cases.py`` says in plain Python what each query means, and both are held to that. Where pgstac answers
otherwise, ``DIFFERENCES`` says why, and a test holds that it still does.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pystac_client
import pytest
from pystac_client.stac_api_io import StacApiIO

import catalog_builder
from catalog_builder.errors import UsageError
from tests.search_cases import (
    CASES,
    FIELDS,
    LENIENT,
    NUMBERS,
    REFUSED,
    Case,
    Item,
    item_id,
    make_collections,
    make_items,
    moment,
    write_release,
)
from tools import pgstac

pytestmark = pytest.mark.slow

STRICTER = {
    "a collection that is not there": "a collection's name that is wrong is an error here; pgstac finds nothing",
    "a collection that is there and one that is not": "the same; pgstac searches the other",
    "filter = by accenti": "accenti is not supported here; CQL2 lets a server leave it out",
}
"""What this package refuses, and pgstac answers: by name of the query."""

_NO_ANTIMERIDIAN = (
    "pgstac takes a box whose west is larger than its east for the box between the two, on the other side of the world"
)
_NO_HEIGHTS = "pgstac fails (HTTP 500) with a box of 6 numbers"
_FEW_OPERATORS = "the query extension of stac-fastapi-pgstac knows eq, neq, lt, lte, gt and gte alone"
_START = (
    "pgstac keeps one time an item, its start_datetime where it has one, and gives that out as datetime to filters and "
    "to sortby, even where datetime is null"
)

DIFFERENCES = {
    "box across the antimeridian": _NO_ANTIMERIDIAN,
    "box of 6 numbers": _NO_HEIGHTS,
    "box across the antimeridian of 6 numbers": _NO_HEIGHTS,
    "interval open on both sides": "stac-fastapi-pgstac refuses ../..; here it means any time",
    "query startsWith": _FEW_OPERATORS,
    "query endsWith": _FEW_OPERATORS,
    "query contains": _FEW_OPERATORS,
    "query contains %": _FEW_OPERATORS,
    "query startsWith a_": _FEW_OPERATORS,
    "query in": _FEW_OPERATORS,
    "query in, of numbers": _FEW_OPERATORS,
    "filter isNull of a datetime": _START,
    "filter datetime >=": _START,
    "filter t_intersects": _START,
    "filter t_after": _START,
    "filter start_datetime <": "pgstac gives an item that has datetime alone that as its start_datetime too",
    "sorted by datetime": _START,
    "sorted by datetime, descending": _START,
    "sorted by what some lack, descending": "pgstac puts items that lack the field first where it sorts down",
}


@pytest.fixture(scope="module")
def items() -> list[Item]:
    return make_items()


@pytest.fixture(scope="module")
def release(items: list[Item], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_release(tmp_path_factory.mktemp("release"), items)


@pytest.fixture(scope="module")
def ours(release: Path) -> pystac_client.Client:
    return catalog_builder.open(str(release))


@pytest.fixture(scope="module")
def server(items: list[Item]) -> Iterator[pgstac.PgstacServer]:
    if reason := pgstac.unavailable():
        pytest.skip(reason)
    with pgstac.pgstac_server() as running:
        running.count_matches()
        running.declare_numbers(NUMBERS)
        assert running.load(make_collections(items), items)[0] == len(items)
        yield running


@pytest.fixture(scope="module")
def theirs(server: pgstac.PgstacServer) -> pystac_client.Client:
    client = pystac_client.Client.open(server.url, stac_io=StacApiIO(max_retries=pgstac.RETRIES))
    # It sorts, but says so by a word that pystac_client does not know.
    client.add_conforms_to("SORT")
    return client


def answer(client: pystac_client.Client, case: Case) -> tuple[list[str], int | None]:
    """Give the ids found, page by page, in order where the query asks for one, and the count that was told."""
    search = client.search(limit=100, **case.search)
    found = [str(item["id"]) for item in search.items_as_dicts()]
    return found if case.order else sorted(found), search.matched()


def cases(*, named: Mapping[str, str], are: bool) -> pytest.MarkDecorator:
    """Run a test with the queries that are, or are not, in a list of differences."""
    chosen = [case for case in CASES if (case.name in named) == are]
    return pytest.mark.parametrize("case", chosen, ids=lambda case: case.name)


@cases(named=STRICTER, are=False)
def test_ours_gives_what_the_query_means(ours: pystac_client.Client, items: list[Item], case: Case) -> None:
    expected = case.expected(items)
    assert answer(ours, case) == (expected, len(expected))


@cases(named=STRICTER, are=True)
def test_ours_refuses(ours: pystac_client.Client, case: Case) -> None:
    with pytest.raises(UsageError, match=r"mars|accenti"):
        answer(ours, case)


@cases(named=DIFFERENCES, are=False)
def test_pgstac_gives_the_same(theirs: pystac_client.Client, items: list[Item], case: Case) -> None:
    expected = case.expected(items)
    assert answer(theirs, case) == (expected, len(expected))


@cases(named=DIFFERENCES, are=True)
def test_pgstac_still_differs(theirs: pystac_client.Client, items: list[Item], case: Case) -> None:
    expected = case.expected(items)
    try:
        got = answer(theirs, case)
    except pystac_client.exceptions.APIError:
        return
    assert got != (expected, len(expected)), f"no difference any more: {DIFFERENCES[case.name]}"


def test_every_difference_is_of_a_query() -> None:
    assert DIFFERENCES.keys() | STRICTER.keys() <= {case.name for case in CASES}
    assert len({case.name for case in CASES}) == len(CASES)


def keys(item: Mapping[str, Any]) -> set[str]:
    """Name what an item shows; links are everybody's own, and ``type`` is always shown here, never by pgstac."""
    inner = {f"{name}.{key}" for name in ("properties", "assets") for key in item.get(name, {})}
    return {*item, *inner} - {"links", "type"}


@pytest.mark.parametrize("fields", FIELDS, ids=str)
@pytest.mark.parametrize("name", [item_id("france", 6), item_id("usa", 1)])
def test_same_fields(ours: pystac_client.Client, theirs: pystac_client.Client, fields: Any, name: str) -> None:
    shown = [next(client.search(ids=[name], fields=fields).items_as_dicts()) for client in (ours, theirs)]
    assert keys(shown[0]) == keys(shown[1])


def test_no_fields_are_few_here_and_all_by_pgstac(ours: pystac_client.Client, theirs: pystac_client.Client) -> None:
    none: Any = {"include": [], "exclude": []}
    mine, other = (
        next(client.search(ids=[item_id("usa", 1)], fields=none).items_as_dicts()) for client in (ours, theirs)
    )
    assert "dream:row" in other["properties"]
    assert mine["properties"].keys() == {"datetime"}


@pytest.mark.parametrize("search", REFUSED.values(), ids=REFUSED)
def test_both_refuse(ours: pystac_client.Client, theirs: pystac_client.Client, search: dict[str, Any]) -> None:
    for client, error in ((ours, UsageError), (theirs, pystac_client.exceptions.APIError)):
        with pytest.raises(error):
            list(client.search(**search).items_as_dicts())


@pytest.mark.parametrize("search", LENIENT.values(), ids=LENIENT)
def test_pgstac_answers_what_ours_refuses(
    ours: pystac_client.Client, theirs: pystac_client.Client, search: dict[str, Any]
) -> None:
    list(theirs.search(**search).items_as_dicts())
    with pytest.raises(UsageError):
        list(ours.search(**search).items_as_dicts())


@pytest.mark.parametrize("most", [None, 1, 7, 20, 300, 1000])
def test_same_pages(
    ours: pystac_client.Client, theirs: pystac_client.Client, items: list[Item], most: int | None
) -> None:
    expected = sorted(item["id"] for item in items)
    for client in (ours, theirs):
        search = client.search(limit=7, max_items=most, sortby="id")
        pages = [[str(item["id"]) for item in page["features"]] for page in search.pages_as_dicts()]
        assert [name for page in pages for name in page] == expected[:most]
        assert all(len(page) == min(7, most or 7) for page in pages[:-1])
        assert search.matched() == len(expected)


def test_same_collections(ours: pystac_client.Client, theirs: pystac_client.Client) -> None:
    assert {one.id for one in ours.get_collections()} == {one.id for one in theirs.get_collections()}


def plain(value: Any, key: str = "") -> Any:
    """Drop what is null, and read times: both may be spelled in more than one way."""
    if isinstance(value, dict):
        return {name: plain(inner, name) for name, inner in value.items() if inner is not None and name != "href"}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return moment(value) if key.endswith("datetime") else value


def test_same_documents(ours: pystac_client.Client, theirs: pystac_client.Client, items: list[Item]) -> None:
    wanted = {item["id"]: plain({**item, "links": []}) for item in items}
    for client in (ours, theirs):
        found = {item["id"]: plain({**item, "links": []}) for item in client.search(limit=300).items_as_dicts()}
        assert found == wanted


def test_hrefs_of_assets_lead_into_the_release(ours: pystac_client.Client, release: Path) -> None:
    item = next(ours.search(ids=[item_id("usa", 3)]).items())
    expected = release / "usa" / "usa_0" / item_id("usa", 3) / "s1.tif"
    assert item.assets["s1"].get_absolute_href() == item.assets["s1"].href
    assert Path(item.assets["s1"].href.removeprefix("file://")) == expected
