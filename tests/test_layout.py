"""The release layout: hrefs, names and the siblings that some S3 servers list out of order."""

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog_builder import layout

names = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,5}", fullmatch=True)
hrefs = st.lists(names, min_size=1, max_size=5).map("/".join)


@given(hrefs, hrefs)
def test_relative_and_resolve_are_inverse(target: str, document: str) -> None:
    assert layout.resolve(layout.relative(target, document), document) == target


@pytest.mark.parametrize(
    "href", ["../../x", "/etc/passwd", "http://127.0.0.1/x", "..", "a/../../../x", "\\\\host\\x", "file:///x"]
)
def test_resolve_never_leaves_the_release(href: str) -> None:
    assert layout.resolve(href, "france/collection.json") is None


@given(st.integers(-99999, 99999), st.integers(-99999, 99999), names)
def test_item_ids_keep_their_place(column: int, row: int, area: str) -> None:
    item = layout.item_id(area, column, row)
    assert layout.parse_item(f"{item}/{item}.json") == (column, row, f"{item}/{item}.json")
    assert layout.item_id(area, 45, 478) == f"{area}_x0045_y0478"


@pytest.mark.parametrize("path", ["catalog.json", "y0003/catalog.json", "a_x0001_y0002/s2.tif", "a_x1_y2/a_x1_y2.json"])
def test_only_items_are_items(path: str) -> None:
    assert layout.parse_item(path) is None


@given(st.sets(st.text("ab-_.!0", min_size=1, max_size=4), max_size=6))
def test_siblings_that_list_out_of_order_are_found(siblings: set[str]) -> None:
    """The oracle is the listing itself: as folders (``name/``) and as plain names the order must be the same."""
    found = layout.sibling_problem(siblings)
    by_key = sorted(siblings, key=lambda name: (name + "/").encode())
    if found is None:
        assert by_key == sorted(siblings, key=str.encode)
    else:
        folder, sibling = found
        assert {folder, sibling} <= siblings
        assert sibling.startswith(folder)
        assert (sibling + "/").encode() < (folder + "/").encode()


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "a b", "é", "a\n", "-a", "_a", "a" * 65, "catalog", "items", "explore"]
)
def test_bad_ids_are_refused(name: str) -> None:
    assert layout.id_problem(name)


@pytest.mark.parametrize("name", ["a", "lngley_05521", "ZONE-2", "0", "a" * 64])
def test_good_ids_pass(name: str) -> None:
    assert layout.id_problem(name) is None


def test_paths_are_those_of_the_contract() -> None:
    assert layout.collection("france") == "france/collection.json"
    assert layout.area_catalog("france", "beauce") == "france/beauce/catalog.json"
    assert layout.item("france", "beauce", "beauce_x0045_y0478") == (
        "france/beauce/beauce_x0045_y0478/beauce_x0045_y0478.json"
    )
    assert layout.index("france") == "items/france.parquet"
    assert layout.area_manifest("france", "beauce") == "france/beauce/manifest.sha256"
    assert posixpath.dirname(layout.row_catalog("france", "beauce", -3)) == "france/beauce/ym0003"
    assert layout.explorer_file("index.html") == layout.EXPLORER == "explore/index.html"


def test_what_is_pointed_at_ranks_before_what_points_at_it() -> None:
    hrefs = [
        *("explore/explorer-ABCDEFGH.js", "explore/world.json", "france/beauce/beauce_x0045_y0478/s2.tif"),
        "france/beauce/beauce_x0045_y0478/beauce_x0045_y0478.json",
        "items/france.parquet",
        "france/beauce/y0478/catalog.json",
        "france/beauce/catalog.json",
        "france/beauce/manifest.sha256",
        *("explore/index.html", "france/collection.json"),
        "catalog.json",
        "manifest.sha256",
    ]
    assert sorted(hrefs, key=layout.order) == hrefs
    assert [layout.rank(href) for href in hrefs] == [0, 0, 0, 1, 2, 3, 4, 5, 6, 6, 7, 8]
    # Whatever the page is made of, and however it is named, it tells of no item.
    assert {layout.rank(f"explore/{name}") for name in ("catalog.json", "collection.json", "manifest.sha256")} == {0}


@pytest.mark.parametrize(
    ("href", "is_explorer", "is_hashed"),
    [
        ("explore/index.html", True, False),
        ("explore/explorer-K6NR26IP.css", True, True),
        ("explore/pool-worker-IRALJI4W.js", True, True),
        ("explore/explorer-k6nr26ip.js", True, False),
        ("explore/style.css", True, False),
        ("explore/world.json", True, False),
        ("explore/LICENSES.txt", True, False),
        ("explore/.hidden.js", False, False),
        ("explore/a/b-K6NR26IP.js", False, False),
        ("explore/tool.exe", False, False),
        ("explore/manifest.sha256", False, False),
        ("explore", False, False),
        ("france/explore/a-K6NR26IP.js", False, False),
    ],
)
def test_files_of_the_explorer_are_told_by_their_names(href: str, is_explorer: bool, is_hashed: bool) -> None:
    assert (layout.is_explorer_file(href), layout.is_hashed(href)) == (is_explorer, is_hashed)
