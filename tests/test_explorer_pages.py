"""The explorer in a real browser where things are not as they should be, and on telephones, by keyboard, by ear."""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Page

from catalog_builder import layout
from tests.chromium import ROOT, Record, open_browser, open_page, save_screenshot
from tests.explorer_site import (
    EDGE,
    VENTOUX,
    Site,
    await_tile,
    canvas,
    canvases,
    chosen,
    four_by_four,
    listed,
    on_loopback,
    open_map,
    open_tile,
    panel,
    text_of,
    until,
)

pytestmark = pytest.mark.slow

AXE: Final = ROOT / "explorer" / "node_modules" / "axe-core" / "axe.min.js"
COG: Final = f"france/ventoux/{EDGE}/s2.tif"
INDEX: Final = layout.index("usa")


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return four_by_four(tmp_path_factory.mktemp("explorer_pages"))


@pytest.fixture(scope="module")
def home(release: Path) -> Iterator[Site]:
    with on_loopback(release) as site:
        yield site


@pytest.fixture
def spoilt(release: Path, tmp_path: Path) -> Path:
    """A copy of the release, to be changed."""
    return Path(shutil.copytree(release, tmp_path / "release"))


@contextmanager
def other_server(folder: Path) -> Iterator[str]:
    """The file server of Python: it knows no CORS and no byte ranges."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    document = json.loads(path.read_bytes())
    change(document)
    path.write_text(json.dumps(document))


def trouble(page: Page) -> str:
    """The sentence that a page shows which cannot show its release."""
    page.wait_for_selector("html[data-map=failed]", timeout=10_000)
    (shown,) = page.locator(".trouble:visible").all_text_contents()
    assert page.get_by_role("alert").first.is_visible()
    assert "undefined" not in shown
    assert "unexpected" not in shown
    return shown


# --- faults -----------------------------------------------------------------------------------------------------------


def test_a_release_of_another_site_without_cors(home: Site) -> None:
    with other_server(home.release) as elsewhere, open_page() as (page, _):
        page.goto(home.address(query=f"release={elsewhere}"))
        shown = trouble(page)
        assert f"{elsewhere}catalog.json cannot be read from this page" in shown
        assert "(CORS)" in shown
        assert "catalog-builder policy" in shown
        save_screenshot(page, "explorer-trouble")


@pytest.mark.parametrize("end", ["", "catalog.json"])
def test_a_release_of_another_site_with_cors(home: Site, end: str) -> None:
    with on_loopback(home.release) as elsewhere, open_page() as (page, record):
        open_map(page, home, query=f"release={elsewhere.root}{end}")
        assert chosen(page) == len(home.items)
        assert elsewhere.root in text_of(page, "python")
        open_tile(page, home, home.tile(VENTOUX), query=f"release={elsewhere.root}{end}")
        assert page.locator(".panel.failed").count() == 0
        assert record.count(f"{home.root}catalog.json") + record.count(f"{home.root}france/") == 0
        record.assert_clean()


def test_a_page_without_a_release(home: Site, tmp_path: Path) -> None:
    shutil.copytree(home.release / "explore", tmp_path / "explore")
    with on_loopback(tmp_path) as site, open_page() as (page, _):
        page.goto(site.address())
        assert trouble(page) == f"{site.root}catalog.json is not there (404)."


def test_a_server_that_knows_no_ranges(home: Site) -> None:
    """Everything comes whole; slow, but right."""
    with other_server(home.release) as root, open_page() as (page, record):
        open_tile(page, Site(home.release, root), home.tile(VENTOUX))
        assert page.locator(".panel.failed").count() == 0
        record.assert_clean()


def spoil(release: Path, what: str) -> str:
    """Damage a release, and give the words that a page should say of it."""
    path = release / INDEX
    match what:
        case "no index in the collection":
            edit(release / "usa" / layout.COLLECTION, lambda document: document.update(assets={}))
            return "usa/collection.json names no index of its items"
        case "no index":
            path.unlink()
            return f"{INDEX} is not there (404)."
        case "no parquet":
            path.write_bytes(b"<html>" * 1000)
            return f"{INDEX} is no parquet file."
        case "cut":
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        case "damaged":
            data = path.read_bytes()
            path.write_bytes(data[:100] + os.urandom(len(data) // 3) + data[100 + len(data) // 3 :])
        case "empty":
            path.write_bytes(b"")
            return INDEX
        case "no collection":
            (release / "usa" / layout.COLLECTION).unlink()
            return "usa/collection.json is not there (404)."
        case "no JSON":
            (release / layout.CATALOG).write_text("<html>")
            return "catalog.json is no JSON document"
        case "no catalog":
            (release / layout.CATALOG).write_text('{"type": "Catalog"}')
            return "catalog.json is not the catalog of a release"
    return f"{INDEX} cannot be read as an index"


FAULTS = (
    "no index in the collection", "no index", "no parquet", "cut", "damaged", "empty", "no collection", "no JSON",
    "no catalog",
)  # fmt: skip


def test_faults_of_a_release_are_told_in_a_sentence(release: Path, tmp_path: Path) -> None:
    said = {}
    with open_page() as (page, record):
        for fault in FAULTS:
            copied = Path(shutil.copytree(release, tmp_path / fault.replace(" ", "_")))
            words = spoil(copied, fault)
            with on_loopback(copied) as site:
                page.goto(site.address())
                page.wait_for_selector("html[data-map]", timeout=10_000)
                said[fault] = (page.locator("#trouble").text_content() or "", words)
        assert [error for error in record.errors if "uncaught" in error] == []
    assert {fault: shown for fault, (shown, words) in said.items() if words not in shown} == {}


@pytest.mark.parametrize("fault", ["missing", "cut", "damaged", "no TIFF", "another size"])
def test_one_bad_file_leaves_the_others_alone(spoilt: Path, fault: str) -> None:
    path = spoilt / COG
    data = path.read_bytes()
    match fault:
        case "missing":
            path.unlink()
        case "cut":
            path.write_bytes(data[: len(data) // 4])
        case "damaged":  # the directory is whole, its blocks are not
            path.write_bytes(data[:3000] + bytes(len(data) - 3000))
        case "no TIFF":
            path.write_bytes(b"<html>" * 3000)
        case "another size":
            shutil.copyfile(spoilt / "france/beauce/beauce_x0160_y2086/s2.tif", path)
            edit(path.parent / f"{EDGE}.json", lambda item: item["assets"]["s2"].update({"proj:shape": [256, 255]}))
    with on_loopback(spoilt) as site, open_page() as (page, record):
        open_tile(page, site, site.tile(EDGE))
        # Of a file that was cut the overview is whole: its panel stays, and the page says what is missing of it.
        where = ".trouble[data-modality=s2]" if fault == "cut" else ".panel.failed[data-modality=s2] .trouble"
        until(page, lambda: page.locator(where).count(), 1)
        shown = page.locator(where).text_content() or ""
        assert f"{site.root}{COG}" in shown
        assert ("Try again" in shown) == (fault == "cut")
        assert fault != "missing" or shown == f"{site.root}{COG} is not there (404)."
        assert "unexpected" not in shown
        drawn = {key: canvas(panel(page, key)) for key in ("s1", "s1_mean", "srtm", "osm")}
        assert {len(np.unique(one.reshape(-1, 4), axis=0)) > 5 for one in drawn.values()} == {True}
        assert [error for error in record.errors if "uncaught" in error] == []
        save_screenshot(page, f"explorer-file-{fault.replace(' ', '-')}")


def test_a_link_to_a_tile_that_is_not_there(home: Site) -> None:
    with open_page() as (page, record):
        for tile in ("france/ventoux_x9999_y9999", "nowhere/ventoux_x0264_y1914"):
            page.goto("about:blank")
            page.goto(home.address(f"tile={tile}"))
            await_tile(page)
            shown = page.locator("#tile").get_by_role("alert").text_content() or ""
            assert tile.split("/")[tile.startswith("france")] in shown
            assert "unexpected" not in shown, shown
            page.get_by_role("button", name="All tiles").click()
            page.wait_for_selector("html[data-map=ready]")
            assert chosen(page) == len(home.items)
        assert [error for error in record.errors if "uncaught" in error] == []


# --- browsers and people ----------------------------------------------------------------------------------------------


def test_without_webgl(home: Site) -> None:
    with open_browser("--disable-gpu", "--disable-3d-apis") as browser, open_page(browser=browser) as (page, record):
        open_map(page, home)
        assert page.evaluate("document.createElement('canvas').getContext('webgl')") is None
        open_tile(page, home, home.tile(VENTOUX))
        assert {len(np.unique(one.reshape(-1, 4), axis=0)) > 5 for one in canvases(page).values()} == {True}
        record.assert_clean()


def test_only_the_basemap_asks_another_host(home: Site) -> None:
    with open_page() as (page, record):
        open_map(page, home)
        page.get_by_label("Colour by").select_option("valid")
        page.wait_for_timeout(300)
        record.assert_clean()
        page.get_by_label("Basemap").check()
        until(page, lambda: len(record.foreign) > 0)
        assert {re.split("[/:]+", url)[1] for url in record.foreign} == {"tile.openstreetmap.org"}
        page.get_by_label("Basemap").uncheck()
        page.wait_for_timeout(500)
        before = len(record.foreign)
        page.get_by_role("button", name="Show all chosen").click()
        page.wait_for_timeout(500)
        assert len(record.foreign) == before
        assert [error for error in record.errors if "uncaught" in error] == []


def violations(page: Page) -> dict[str, list[str]]:
    """Serious and critical faults that axe finds: rule -> elements."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("async () => (await axe.run()).violations")
    return {
        entry["id"]: [node["html"][:200] for node in entry["nodes"]]
        for entry in found
        if entry["impact"] in {"serious", "critical"}
    }


@pytest.mark.skipif(not AXE.is_file(), reason="no axe-core: npm ci in explorer/")
@pytest.mark.parametrize("width", [1280, 360])
def test_nothing_keeps_people_out(home: Site, width: int) -> None:
    found, wide = {}, {}
    with open_page(width, 900 if width > 400 else 740) as (page, record):
        for name, fragment in (
            ("map", ""), ("tile", home.tile(EDGE)), ("swipe", home.tile(EDGE, mode="swipe")),
            ("missing", "tile=france/ventoux_x9999_y9999"),
        ):  # fmt: skip
            (open_tile if fragment else open_map)(page, home, fragment)
            page.wait_for_timeout(200)
            if name == "tile":
                for summary in page.get_by_text("Bands and stretch").all()[::2]:
                    summary.click()
            found[name] = violations(page)
            wide[name] = page.evaluate("document.documentElement.scrollWidth")
            save_screenshot(page, f"explorer-{name}-{width}")
        assert record.foreign == []
    assert found == {name: {} for name in found}
    assert wide == dict.fromkeys(wide, width)


def test_fingers(home: Site) -> None:
    with open_page(360, 740, touch=True, scale=2) as (page, record):
        open_map(page, home)
        page.locator("#list button.plain").nth(2).tap()
        await_tile(page)
        assert page.locator(".panel canvas").count() == 5
        page.wait_for_timeout(300)
        size = panel(page, "s2").locator(".ol-viewport").bounding_box()
        assert size is not None
        assert canvas(panel(page, "s2")).shape[0] == pytest.approx(2 * size["height"], abs=2)
        save_screenshot(page, "explorer-phone")
        record.assert_clean()


# --- hostile releases -------------------------------------------------------------------------------------------------

MARKUP: Final = "<img src=x onerror='window.hit=1'><script>window.hit=1</script>\"'>&amp;{{style}}"
SCRIPT: Final = "javascript:window.hit=1"


def rename(release: Path, collection: str, name: str, new: str) -> None:
    """Give a row of an index another id."""
    path = release / layout.index(collection)
    table = pq.read_table(path)
    ids = [new if value == name else value for value in table.column("id").to_pylist()]
    at = table.schema.get_field_index("id")
    pq.write_table(table.set_column(at, table.schema.field(at), pa.array(ids, table.schema.field(at).type)), path)


def hostile(release: Path) -> None:
    """Write markup wherever text stands that the page shows, and scripts wherever links do."""

    def change_collection(document: dict[str, Any]) -> None:
        document["title"] = MARKUP
        for link in document["links"]:
            if link["rel"] == "license":
                link["href"] = SCRIPT
                link["title"] = f"{link['title'].split(':')[0]}: {MARKUP}"
        for render in document["renders"].values():
            render["title"] = MARKUP

    def change_item(document: dict[str, Any]) -> None:
        document["properties"]["title"] = MARKUP
        document["properties"]["dream:absent"] = [MARKUP]
        document["properties"]["gsd"] = MARKUP
        for asset in document["assets"].values():
            asset |= {"title": MARKUP, "dream:attribution": MARKUP, "license": MARKUP, "start_datetime": MARKUP}
            for band in asset.get("bands", ()):
                band |= {"name": MARKUP, "unit": MARKUP}
                for entry in band.get("classification:classes", ()):
                    entry |= {"title": MARKUP, "description": MARKUP}

    edit(release / layout.CATALOG, lambda document: document.update(title=MARKUP))
    edit(release / "france" / layout.COLLECTION, change_collection)
    edit(release / "france" / "ventoux" / EDGE / f"{EDGE}.json", change_item)
    rename(release, "france", VENTOUX, MARKUP)


def test_markup_in_a_release_stays_text(spoilt: Path) -> None:
    hostile(spoilt)
    with on_loopback(spoilt) as site, open_page() as (page, record):
        open_map(page, site)
        assert page.title().startswith("<img")
        assert MARKUP in listed(page)
        for kind in ("python", "sync", "urls"):
            text_of(page, kind)
        assert harmless(page, record)
        row = page.locator("#list button.plain").filter(has_text="<img")
        row.click()
        await_tile(page)
        assert page.locator("#tile .trouble").count() == 1
        record.failed.clear()
        record.errors.clear()
        open_tile(page, site, site.tile(EDGE))
        page.wait_for_timeout(300)
        text = page.locator("#tile").inner_text()
        assert text.count("<img src=x") > 20
        assert page.locator(".credits a").count() == 0
        for summary in page.get_by_text("Bands and stretch").all()[::2]:
            summary.click()
        box = panel(page, "osm").locator(".screen").bounding_box()
        assert box is not None
        panel(page, "osm").locator(".screen").hover()
        page.wait_for_timeout(300)
        save_screenshot(page, "explorer-markup")
        page.get_by_label("Swipe").check()
        page.wait_for_timeout(300)
        assert harmless(page, record)
        record.assert_clean()


def harmless(page: Page, record: Record) -> bool:
    """Whether nothing of the release became an element or ran."""
    hrefs = page.locator("a").evaluate_all("all => all.map(one => one.protocol)")
    made = page.locator("body img[src=x], body script").count()
    return not made and set(hrefs) <= {"http:", "https:"} and page.evaluate("window.hit") is None and not record.errors


@pytest.mark.parametrize(
    "href",
    [
        SCRIPT,
        "file:///etc/passwd",
        "data:text/html,<script>window.hit=1</script>",
        "//[",
        "https://elsewhere.example/a.tif",
    ],
)
def test_files_that_lie_elsewhere(spoilt: Path, href: str) -> None:
    edit(spoilt / "france" / "ventoux" / EDGE / f"{EDGE}.json", lambda item: item["assets"]["s2"].update(href=href))
    with on_loopback(spoilt) as site, open_page() as (page, record):
        open_tile(page, site, site.tile(EDGE))
        until(page, lambda: page.locator(".panel.failed").count(), 1)
        shown = panel(page, "s2").get_by_role("alert").text_content() or ""
        assert "unexpected" not in shown, shown
        assert page.evaluate("window.hit") is None
        assert [error for error in record.errors if "uncaught" in error] == []
        assert record.foreign == [href] * len(record.foreign)
