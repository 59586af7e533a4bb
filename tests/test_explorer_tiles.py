"""One tile in the explorer, in a real browser: its modalities, their pixels, swipe, bands and stretch."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from playwright.sync_api import Locator, Page

from catalog_builder.figures import _render
from catalog_builder.thumbnail import draw
from tests.chromium import open_page, save_screenshot
from tests.explorer_site import (
    EDGE,
    VENTOUX,
    Pixels,
    Site,
    await_tile,
    box,
    canvas,
    canvases,
    centre,
    check_values,
    four_by_four,
    go_to,
    on_loopback,
    on_map,
    one_large,
    open_map,
    open_tile,
    panel,
    place_of,
    publish_to,
    state,
    stored,
    until,
    view,
    zoom_in,
)
from tests.makers import TILE
from tools.local_bucket import LocalBucket

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return four_by_four(tmp_path_factory.mktemp("explorer"))


@pytest.fixture(scope="module")
def home(release: Path) -> Iterator[Site]:
    """The release on the loopback."""
    with on_loopback(release) as site:
        yield site


@pytest.fixture(scope="module")
def cloud(release: Path, s3_server: LocalBucket) -> Site:
    """The release as `publish` puts it into a bucket."""
    return publish_to(s3_server, release)


@pytest.fixture(params=["loopback", "bucket"])
def site(request: pytest.FixtureRequest) -> Site:
    found = request.getfixturevalue("home" if request.param == "loopback" else "cloud")
    assert isinstance(found, Site)
    return found


# --- one tile ---------------------------------------------------------------------------------------------------------


def test_a_click_on_the_map_opens_a_tile_with_all_its_modalities(site: Site) -> None:
    with open_page() as (page, record):
        open_map(page, site)
        go_to(page, site, [EDGE])
        screen = box(page.locator("#map .ol-viewport"))
        x, y = on_map(page, *centre(site.items[EDGE]))
        page.mouse.move(screen["x"] + x, screen["y"] + y)
        assert EDGE in (page.locator("#tip").text_content() or "")
        page.mouse.click(screen["x"] + x, screen["y"] + y)
        await_tile(page)
        item, collection = site.items[EDGE], site.collection(EDGE)
        assert state(page)["tile"] == f"france/{EDGE}"
        assert page.locator("#tile-title").text_content() == item["properties"]["title"]
        keys = page.locator(".panel").evaluate_all("all => all.map(one => one.dataset.modality)")
        assert keys == [key for key in collection["item_assets"] if key in site.cogs(EDGE)]
        for key, pixels in canvases(page).items():
            asset, text = item["assets"][key], panel(page, key).inner_text()
            assert len(np.unique(pixels.reshape(-1, 4), axis=0)) > 5, key
            days = {asset["start_datetime"][:10], asset["end_datetime"][:10]}
            assert all(day in text for day in days), key
            assert asset["title"] in text
            assert asset["dream:attribution"] in text
            assert "Synthetic: no instrument measured it" in text
            (link,) = panel(page, key).locator(".credits a").all()
            title = next(
                one["title"] for one in collection["links"]
                if one["rel"] == "license" and one["href"] == link.get_attribute("href")
            )  # fmt: skip
            assert key in title.split(":")[0].split(", ")
        classes = panel(page, "osm").locator(".classes li").all_text_contents()
        named = item["assets"]["osm"]["bands"][0]["classification:classes"]
        assert classes == [one["title"] for one in named if not one.get("nodata")]
        asked = [request.url for request in record.requests if re.search(r"_x\w+\.json$", request.url)]
        assert asked == [f"{site.root}{site.paths[EDGE].relative_to(site.release).as_posix()}"]
        save_screenshot(page, "explorer-tile")
        record.assert_clean()


def test_only_parts_of_files_are_read_and_overviews_first(tmp_path: Path) -> None:
    release = one_large(tmp_path)
    (item,) = (path.stem for path in release.glob("*/*/*/*_x*.json"))
    with on_loopback(release) as site, open_page() as (page, record):
        open_tile(page, site, site.tile(item))
        read = [request for request in record.finished if request.url.endswith(".tif")]
        statuses = {response.status for request in read if (response := request.response())}
        assert (statuses, {"range" in request.headers for request in read}) == ({206}, {True})
        sizes = {key: path.stat().st_size for key, path in site.cogs(item).items()}
        first = {key: record.received(f"/{key}.tif") for key in sizes}
        for key, size in sizes.items():
            assert first[key] < 0.4 * size, key
        assert sum(request.method == "HEAD" for request in record.requests) == 0
        # Few requests a file: each is a round trip to a server far away.
        assert {key: record.count(f"/{key}.tif") <= 6 for key in sizes} == dict.fromkeys(sizes, True)
        page.locator(".panel .screen").first.hover()
        zoom_in(page, 16)
        until(page, lambda: record.received("/s2.tif") > first["s2"] + 0.1 * sizes["s2"])
        record.assert_clean()


def test_tiles_are_opened_and_left_by_the_keyboard_alone(home: Site) -> None:
    with open_page() as (page, record):
        open_map(page, home, "collection=france")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        name = page.evaluate("document.activeElement.textContent")
        assert name == page.locator("#list button.plain").nth(1).text_content()
        page.keyboard.press("Enter")
        await_tile(page)
        assert state(page)["tile"] == f"france/{name}"
        assert page.evaluate("document.activeElement.id") == "tile-title"
        for _ in range(20):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.name === 'mode'"):
                break
        page.keyboard.press("ArrowRight")
        page.wait_for_selector(".swipe canvas")
        assert state(page)["mode"] == "swipe"
        page.get_by_label("Place of the line").focus()
        page.keyboard.press("End")
        assert page.get_by_label("Place of the line").input_value() == "100"
        page.locator(".swipe .screen").focus()
        before = view(page, home)
        page.keyboard.press("+")
        until(page, lambda: view(page, home)[2] < before[2])
        page.keyboard.press("ArrowRight")
        until(page, lambda: view(page, home)[0] > before[0])
        page.get_by_role("button", name="All tiles").focus()
        page.keyboard.press("Enter")
        until(page, lambda: page.locator("#overview").is_visible())
        record.assert_clean()


def test_values_under_the_cursor_are_those_of_the_files(site: Site) -> None:
    item = "cape_fear_x0001_y0000" if site.server else EDGE  # there is nodata in both
    with open_page() as (page, record):
        open_tile(page, site, site.tile(item))
        found: list[Any] = []
        size, keys = box(page.locator(".panel .ol-viewport").first), list(site.cogs(item))
        for number, (x, y) in enumerate([(3, 3), (0.5, 0.5), (0.97, 0.03), (0.31, 0.77), (0.9, 0.12), (0.98, 0.98)]):
            across, down = (x, y) if x > 1 else (round(x * size["width"]), round(y * size["height"]))
            found.append(check_values(site, item, page, keys[number % len(keys)], across, down))
        assert any(None in one for values in found for one in values.values())
        assert any(None not in one for values in found for one in values.values())
        before = view(page, site)
        panel(page, keys[0]).locator(".screen").hover()
        zoom_in(page)
        until(page, lambda: view(page, site)[2] < before[2] / 1.5)
        page.wait_for_timeout(600)
        for x, y in ((10, 200), (201, 57)):
            check_values(site, item, page, keys[-1], x, y)
        save_screenshot(page, "explorer-values")
        record.assert_clean()


def test_panels_move_together(home: Site) -> None:
    with open_page() as (page, record):
        open_tile(page, home, home.tile(VENTOUX))
        page.wait_for_timeout(300)
        before, whole = canvases(page), view(page, home)
        screen = box(panel(page, "s2").locator(".ol-viewport"))
        page.mouse.move(screen["x"] + 50, screen["y"] + 60)
        held = place_of(home, page, 50, 60)
        zoom_in(page)
        until(page, lambda: view(page, home)[2] < whole[2] / 1.5)
        page.wait_for_timeout(600)
        assert np.allclose(place_of(home, page, 50, 60), held, atol=1.5 * whole[2])
        near_by, zoomed = canvases(page), view(page, home)
        assert {key: bool((near_by[key] != before[key]).any()) for key in before} == dict.fromkeys(before, True)
        page.mouse.down()
        page.mouse.move(screen["x"] + 110, screen["y"] + 40, steps=30)
        page.wait_for_timeout(300)
        page.mouse.up()
        until(page, lambda: view(page, home) != zoomed)
        page.wait_for_timeout(600)
        moved, after = canvases(page), view(page, home)
        wanted = (zoomed[0] - 60 * zoomed[2], zoomed[1] - 20 * zoomed[2], zoomed[2])
        assert np.allclose(after, wanted, atol=4 * zoomed[2])
        assert {key: bool((moved[key] != near_by[key]).any()) for key in moved} == dict.fromkeys(moved, True)
        page.get_by_role("button", name="Whole tile").click()
        until(page, lambda: bool(np.allclose(view(page, home), whole, rtol=0, atol=1e-4)))
        until(
            page,
            lambda: {key: bool((one == before[key]).all()) for key, one in canvases(page).items()},
            dict.fromkeys(before, True),
        )
        record.assert_clean()


@pytest.mark.parametrize("item", [EDGE, "san_andreas_x0000_y0001"])
def test_pixels_are_drawn_where_they_lie_and_in_the_colours_of_the_builder(home: Site, item: str) -> None:
    assets, side = home.items[item]["assets"], 16
    a, _, west, _, _, north = home.items[item]["properties"]["proj:transform"]
    column, row = 236, 16  # an edge of the swath runs here
    place = f"{west + column * a},{north - row * a},{a / side}"
    with open_page() as (page, record):
        open_tile(page, home, home.tile(item, view=place))
        page.wait_for_timeout(300)
        pictures = canvases(page)
        for key, path in home.cogs(item).items():
            render = _render(key, assets[key], home.collection(item))
            wanted = draw(path, render, TILE)
            rows, columns, _ = pictures[key].shape
            assert (columns, rows) == tuple(
                round(box(panel(page, key).locator(".ol-viewport"))[name]) for name in ("width", "height")
            )
            for down in range(-8, 8):
                for across in range(-8, 8):
                    seen = pictures[key][int(rows / 2 + (down + 0.5) * side), int(columns / 2 + (across + 0.5) * side)]
                    pixel = wanted[:, row + down, column + across]
                    assert (seen[3] == pixel[3] == 0) or np.abs(seen.astype(int) - pixel).max() <= 1, (
                        key,
                        across,
                        down,
                    )
        save_screenshot(page, "explorer-pixels")
        record.assert_clean()


# --- swipe, bands and stretch -----------------------------------------------------------------------------------------


def slide(page: Page, percent: float) -> Pixels:
    """Move the line, and give what is drawn then."""
    page.get_by_label("Place of the line").evaluate(
        "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input', { bubbles: true })); }",
        str(percent),
    )
    page.wait_for_timeout(300)
    return canvas(page.locator(".swipe .screen"))


def test_a_swipe_shows_one_modality_on_each_side_of_its_line(home: Site) -> None:
    with open_page() as (page, record):
        open_tile(page, home, home.tile(VENTOUX))
        page.get_by_label("Swipe").check()
        until(page, lambda: state(page).get("mode"), "swipe")
        left, _ = page.locator(".sides select").all()
        left.select_option("s2")
        page.locator(".sides select").nth(1).select_option("osm")
        assert state(page)["swipe"] == "s2,osm"
        page.wait_for_timeout(500)
        only_right, only_left = slide(page, 0), slide(page, 100)
        assert (only_right != only_left).any()
        width = only_left.shape[1]
        for percent in (50, 25, 62.5):
            both, cut = slide(page, percent), round(width * percent / 100)
            line = box(page.locator(".swipe .line"))
            screen = box(page.locator(".swipe .ol-viewport"))
            assert abs(line["x"] + line["width"] / 2 - screen["x"] - cut) <= 1.5
            assert (both[:, : cut - 1] == only_left[:, : cut - 1]).all()
            assert (both[:, cut + 1 :] == only_right[:, cut + 1 :]).all()
        assert (both[:, : cut - 1] != only_right[:, : cut - 1]).any()
        colours = home.collection(VENTOUX)["renders"]["osm"]["colormap"].values()
        seen = {tuple(colour) for colour in np.unique(only_right.reshape(-1, 4), axis=0)}
        assert seen <= {*map(tuple, colours), (0, 0, 0, 0)}
        save_screenshot(page, "explorer-swipe")
        page.mouse.move(screen["x"] + screen["width"] / 2, screen["y"] + 100)
        until(page, lambda: len(page.locator(".swipe .values span").all()), len(home.cogs(VENTOUX)))
        text = page.locator(".swipe .values").inner_text()
        pixel = json.loads(page.locator(".place").get_attribute("data-pixel") or "null")
        bands = stored(home.cogs(VENTOUX)["s2"], *pixel)
        assert (
            "s2: "
            + " · ".join(f"{name} {value}" for name, value in zip(("B02", "B03", "B04", "B08"), bands, strict=True))
            in text
        )
        link = page.url
        slide(page, 100)
        page.reload()
        await_tile(page)
        page.wait_for_timeout(500)
        assert page.url == link
        assert (slide(page, 100) == only_left).all()
        record.assert_clean()


def field_of(frame: Locator, name: str) -> Locator:
    """The field that a label names; Playwright takes the options of a select for a part of its label."""
    return frame.locator("label", has=frame.page.locator(f'> span:text-is("{name}")')).locator("select, input")


LOOKS = {
    "one band": ({"Show": "4"}, "4:template"),
    "middle": ({"Stretch": "spread"}, "3-2-1:spread"),
    "all": ({"Stretch": "full"}, "3-2-1:full"),
    "range": ({"Stretch": "range", "From": "300", "To": "900"}, "3-2-1:300~900"),
    "three bands": ({"Show": "three", "Red": "4"}, "4-2-3:template"),
}


@pytest.mark.parametrize("name", LOOKS)
def test_bands_and_stretch_change_the_picture_and_links_keep_them(home: Site, name: str) -> None:
    choices, address = LOOKS[name]
    with open_page() as (page, record):
        open_tile(page, home, home.tile(VENTOUX))
        before, frame = canvases(page), panel(page, "s2")
        frame.get_by_text("Bands and stretch").first.click()
        for label, value in choices.items():
            field = field_of(frame, label)
            if label in {"From", "To"}:
                field.fill(value)
                field.press("Tab")
            else:
                field.select_option(value)
        until(page, lambda: state(page).get("look.s2"), address)
        until(page, lambda: bool((canvas(frame) != before["s2"]).any()))
        page.wait_for_timeout(300)
        after, words = canvases(page), frame.locator(".range").text_content()
        same = {key: bool((after[key] == before[key]).all()) for key in before}
        assert same == {key: key != "s2" for key in before}
        if name == "range":
            assert words == "red B04 (300 to 900), green B03 (300 to 900), blue B02 (300 to 900)"
            save_screenshot(page, "explorer-look")
        page.reload()
        await_tile(page)
        page.wait_for_timeout(300)
        assert (canvas(panel(page, "s2")) == after["s2"]).all()
        assert frame.locator(".range").text_content() == words
        frame.get_by_text("Bands and stretch").first.click()
        field_of(frame, "Stretch").select_option("template")
        field_of(frame, "Show").select_option(index=0)
        until(page, lambda: "look.s2" in state(page), False)
        until(page, lambda: bool((canvas(panel(page, "s2")) == before["s2"]).all()))
        record.assert_clean()


def test_a_stretch_by_hand_is_what_it_says(home: Site) -> None:
    a, _, west, _, _, north = home.items[VENTOUX]["properties"]["proj:transform"]
    column, row, side = 100, 60, 16
    place = {"view": f"{west + column * a},{north - row * a},{a / side}", "look.s2": "4:500~3000"}
    with open_page() as (page, record):
        open_tile(page, home, home.tile(VENTOUX, **place))
        page.wait_for_timeout(300)
        picture = canvas(panel(page, "s2"))
        with rasterio.open(home.cogs(VENTOUX)["s2"]) as dataset:
            pixels = dataset.read(4).astype(float)
        for down, across in np.ndindex(12, 12):
            y, x = (int(picture.shape[axis] / 2 + (at - 6 + 0.5) * side) for axis, at in enumerate((down, across)))
            level = np.clip(np.round((pixels[row + down - 6, column + across - 6] - 500) / 2500 * 255), 0, 255)
            assert np.abs(picture[y, x].astype(float) - [level, level, level, 255]).max() <= 1
        record.assert_clean()
