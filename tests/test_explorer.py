"""The explorer in a real browser, on real servers: its map, filters, selections and links.

Tiles are in `test_explorer_tiles`, what goes wrong is in `test_explorer_pages`.
"""

import io
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import urllib3
from playwright.sync_api import Page

import catalog_builder
from catalog_builder import layout
from tests.chromium import open_page, save_screenshot
from tests.explorer_site import (
    EDGE,
    LAND,
    LEFT_OUT,
    VENTOUX,
    Site,
    await_colour,
    await_tile,
    canvases,
    centre,
    chosen,
    colour_at,
    four_by_four,
    go_on,
    go_to,
    legend,
    listed,
    mixed,
    near,
    on_loopback,
    open_map,
    open_tile,
    panel,
    publish_to,
    state,
    text_of,
    until,
    zoom_in,
)
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


# --- the map ----------------------------------------------------------------------------------------------------------


def test_map_shows_the_tiles_of_all_collections_where_they_lie(site: Site) -> None:
    with open_page() as (page, record):
        open_map(page, site)
        title = json.loads((site.release / layout.CATALOG).read_bytes())["title"]
        assert (page.title(), page.locator("h1").text_content()) == (title, title)
        assert page.locator("#count").text_content() == f"{len(site.items)} of {len(site.items)} tiles"
        assert (chosen(page), listed(page)) == (len(site.items), set(site.items))
        colours, areas = legend(page), site.by_area()
        assert colours.keys() == areas.keys()
        until(page, lambda: "map" in state(page))
        for name, items in areas.items():  # a few pixels each, of many tiles over each other
            found = colour_at(page, *np.mean([centre(site.items[item]) for item in items], axis=0))
            distances = {
                other: min(float(np.abs(found - mixed(colour, LAND, times)).sum()) for times in range(1, 5))
                for other, colour in colours.items()
            }
            assert min(distances, key=lambda other: distances[other]) == name
            assert distances[name] < 30 < np.abs(found - LAND).sum()
        save_screenshot(page, "explorer-map")
        for name, items in areas.items():  # from near, each tile by its outline
            go_to(page, site, items)
            for item in items:
                await_colour(page, site.items[item], mixed(colours[name]))
            west, _, east, _ = site.items[items[0]]["bbox"]
            longitude, latitude = centre(site.items[items[0]])
            for step in (-3, 3):
                assert near(colour_at(page, longitude + step * (east - west), latitude), LAND)
        record.assert_clean()


def test_map_colours_tiles_by_their_valid_share(home: Site) -> None:
    with open_page() as (page, record):
        open_map(page, home, "collection=usa")
        page.get_by_label("Colour by").select_option("valid")
        until(page, lambda: state(page).get("colour"), "valid")
        colours = list(legend(page).items())
        assert [name for name, _ in colours] == [f"{low} to {low + 20} % valid" for low in range(0, 100, 20)]
        areas = home.by_area()
        for name in areas["usa/cape_fear"]:
            go_to(page, home, [name])
            colour = colours[min(int(home.items[name]["properties"]["dream:valid_percent"] // 20), 4)][1]
            await_colour(page, home.items[name], mixed(colour))
        left_out = areas["france/beauce"][0]  # of another collection than the chosen one
        go_to(page, home, [left_out])
        await_colour(page, home.items[left_out], mixed(LEFT_OUT))
        record.assert_clean()


# --- filters ----------------------------------------------------------------------------------------------------------

FORM: Final = """form => ({
    boxes: [...form.querySelectorAll("input:checked")].map(box => box.value),
    areas: [...form.querySelector("select").selectedOptions].map(option => option.value),
    others: [...form.querySelectorAll("input[type=date], input[type=number]")].map(input => input.value),
})"""


@dataclass(frozen=True)
class Choice:
    """What somebody chooses, what the address then says, and the same as a search."""

    address: dict[str, str]
    search: dict[str, Any]
    boxes: tuple[str, ...] = ()
    areas: tuple[str, ...] = ()
    since: str = ""
    until: str = ""
    valid: str = ""

    def make(self, page: Page) -> None:
        form = page.locator("#filters")
        for value in self.boxes:
            form.locator(f'input[value="{value}"]').check()
        if self.areas:
            form.locator("select").select_option(list(self.areas))
        for label, value in (("From", self.since), ("To", self.until), ("Valid, at least (%)", self.valid)):
            if value:
                form.get_by_label(label, exact=True).fill(value)
                form.get_by_label(label, exact=True).press("Tab")


AREAS = ("france/ventoux", "usa/san_andreas")
CHOICES = {
    "collection": Choice({"collection": "usa"}, {"collections": ["usa"]}, boxes=("usa",)),
    "areas": Choice(
        {"area": ",".join(AREAS)}, {"filter": "\"dream:area\" IN ('ventoux', 'san_andreas')"}, areas=AREAS
    ),
    "since": Choice({"from": "2021-12-01"}, {"datetime": "2021-12-01/.."}, since="2021-12-01"),
    "until": Choice({"to": "2000-02-10"}, {"datetime": "../2000-02-10"}, until="2000-02-10"),
    "days": Choice(
        {"from": "2021-07-01", "to": "2021-07-01"}, {"datetime": "2021-07-01"}, since="2021-07-01", until="2021-07-01"
    ),
    "modality": Choice({"has": "uavsar_3"}, {"filter": "\"dream:area\" = 'cape_fear'"}, boxes=("uavsar_3",)),
    "modalities": Choice({"has": "s1_mean,naip"}, {"ids": ["none has both"]}, boxes=("s1_mean", "naip")),
    "valid": Choice({"valid": "99.5"}, {"filter": '"dream:valid_percent" >= 99.5'}, valid="99.5"),
    "all at once": Choice(
        {"collection": "usa", "area": AREAS[1], "has": "uavsar_2", "valid": "50", "from": "2010-01-01"},
        {"collections": ["usa"], "filter": "\"dream:area\" = 'san_andreas' AND \"dream:valid_percent\" >= 50"},
        boxes=("usa", "uavsar_2"), areas=AREAS[1:], valid="50", since="2010-01-01",
    ),
}  # fmt: skip


def search(site: Site, **parameters: Any) -> set[str]:
    return {item.id for item in catalog_builder.open(site.release).search(**parameters).items()}


def test_filters_find_what_a_search_finds_and_links_keep_them(home: Site) -> None:
    found = {name: search(home, **choice.search) for name, choice in CHOICES.items()}
    counts = {name: len(ids) for name, ids in found.items()}
    assert set(counts.values()) > {0, 4, 8}
    with open_page() as (page, record):
        open_map(page, home)
        empty = page.locator("#filters").evaluate(FORM)
        for name, choice in CHOICES.items():
            choice.make(page)
            until(page, lambda: chosen(page), counts[name])
            assert listed(page) == found[name], name
            assert page.locator("#count").text_content() == f"{counts[name]} of {len(home.items)} tiles"
            address = {key: value for key, value in state(page).items() if key != "map"}
            assert address == choice.address, name
            form, link = page.locator("#filters").evaluate(FORM), page.url
            assert form != empty
            page.reload()
            page.wait_for_selector("html[data-map=ready]")
            assert (page.url, page.locator("#filters").evaluate(FORM)) == (link, form)
            assert (chosen(page), listed(page)) == (counts[name], found[name])
            page.get_by_role("button", name="Clear").click()
            until(page, lambda: chosen(page), len(home.items))
            assert page.locator("#filters").evaluate(FORM) == empty
            assert state(page).keys() <= {"map"}
        record.assert_clean()


def test_a_share_that_a_tile_has_exactly_finds_it(home: Site) -> None:
    shares = {name: float(item["properties"]["dream:valid_percent"]) for name, item in home.items.items()}
    with open_page() as (page, _):
        open_map(page, home)
        found = {}
        for share in set(shares.values()):
            go_on(page, f"valid={share}")
            found[share] = listed(page)
    assert found == {share: {name for name, own in shares.items() if own >= share} for share in shares.values()}


# --- selections -------------------------------------------------------------------------------------------------------

SELECTIONS: Final[dict[str, tuple[str, Callable[[dict[str, Any]], bool]]]] = {
    "everything": ("", lambda _: True),
    "collection": ("collection=usa", lambda item: item["collection"] == "usa"),
    "areas of two collections": (
        "area=usa/cape_fear,france/beauce&valid=51",
        lambda item: (
            item["properties"]["dream:area"] in {"cape_fear", "beauce"}
            and item["properties"]["dream:valid_percent"] >= 51
        ),
    ),
    "modality": ("has=uavsar_3,naip", lambda item: "uavsar_3" in item["assets"]),
    "several": (
        "has=s2,uavsar_2&from=2010-01-01&to=2021-07-01&valid=60&area=usa/san_andreas,usa/cape_fear",
        lambda item: item["collection"] == "usa" and item["properties"]["dream:valid_percent"] >= 60,
    ),
    "a moment": ("from=2021-12-31", lambda item: item["collection"] == "france"),
    "nothing": ("has=uavsar_3&collection=france", lambda _: False),
}


def test_the_copied_python_and_addresses_are_of_the_chosen_tiles(site: Site) -> None:
    texts: dict[str, str] = {}
    found: dict[str, set[str]] = {}
    addresses: dict[str, list[str]] = {}
    with open_page() as (page, record):
        open_map(page, site)
        for name, (fragment, _) in SELECTIONS.items():
            go_on(page, fragment)
            found[name], texts[name] = listed(page), text_of(page, "python")
            addresses[name] = text_of(page, "urls").split()
        go_on(page, "")
        page.get_by_text("Files of some modalities only").click()
        for key in ("uavsar_3", "s1_mean"):
            page.locator(f'#selection input[value="{key}"]').check()
        files = text_of(page, "urls").split()
        record.assert_clean()
    for name, (_, is_chosen) in SELECTIONS.items():
        wanted = {key for key, item in site.items.items() if is_chosen(item)}
        assert found[name] == wanted, name
        said, names = io.StringIO(), dict[str, Any]()
        with redirect_stdout(said):
            exec(texts[name], names)
        assert {item.id for item in names.get("items", ())} == wanted, name
        # Where no collection can have one there is nothing to ask for.
        assert said.getvalue() == f"{len(wanted)} tiles\n" or not (wanted or said.getvalue())
        assert sorted(addresses[name]) == sorted(
            site.root + site.paths[key].relative_to(site.release).as_posix() for key in wanted
        )
    pool = urllib3.PoolManager()
    for address in addresses["everything"]:
        answer = pool.request("GET", address)
        assert (answer.status, answer.json()["id"]) == (200, address.split("/")[-2])
    assert sorted(files) == sorted(
        site.root + path.relative_to(site.release).as_posix()
        for key in ("uavsar_3", "s1_mean")
        for path in site.release.rglob(f"{key}.tif")
    )
    assert {pool.request("HEAD", address).status for address in files} == {200}


def synced(lines: str, folder: Path) -> set[str]:
    """Run what the page says as a user would who has no credentials, and name what came."""
    folder.mkdir()
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    private = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    subprocess.run(
        ["bash", "-euo", "pipefail", "-c", lines], cwd=folder, env={**private, "PATH": programs},
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    return {path.relative_to(folder / "mirror").as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_copied_aws_commands_bring_the_chosen_files(cloud: Site, tmp_path: Path) -> None:
    whole = {path.relative_to(cloud.release).as_posix() for path in cloud.release.rglob("*") if path.is_file()}
    valid = "collection=usa&valid=51.9"
    with open_page() as (page, record):
        open_map(page, cloud)
        everything = text_of(page, "sync")
        open_map(page, cloud, valid)
        some, items = text_of(page, "sync"), listed(page)
        page.get_by_text("Files of some modalities only").click()
        page.locator('#selection input[value="s1"]').check()
        one = text_of(page, "sync")
        record.assert_clean()
    assert synced(everything, tmp_path / "all") == whole
    folders = {f"{cloud.paths[name].relative_to(cloud.release).parent.as_posix()}/" for name in items}
    assert items == {name for name in cloud.by_area()["usa/cape_fear"] if not name.endswith("x0001_y0000")} | {
        name for name in cloud.by_area()["usa/san_andreas"] if not name.endswith("x0000_y0001")
    }
    wanted = {href for href in whole if href.startswith(tuple(folders))}
    leading = {href for href in whole if href.endswith(("/catalog.json", "/collection.json"))} | {layout.CATALOG}
    above = {layout.CATALOG, layout.collection("usa")}
    for lines, found in ((some, wanted), (one, {href for href in wanted if href.endswith((".json", "/s1.tif"))})):
        came = synced(lines, tmp_path / f"some-{len(found)}")
        assert came - leading == found
        assert came >= above


def test_a_release_that_is_in_no_bucket_says_so(home: Site) -> None:
    with open_page() as (page, _):
        open_map(page, home, "area=usa/cape_fear")
        note, *lines = text_of(page, "sync").replace("\\\n", " ").strip().split("\n")
        assert note.startswith("# Put the address of the bucket in place of s3://BUCKET/PREFIX")
        assert {shlex.split(line)[3].startswith("s3://BUCKET/PREFIX/") for line in lines} == {True}
        assert shlex.split(lines[-1])[2:5] == ["sync", "s3://BUCKET/PREFIX/usa/cape_fear", "mirror/usa/cape_fear"]


# --- links ------------------------------------------------------------------------------------------------------------


def test_links_and_the_buttons_of_the_browser(home: Site) -> None:
    with open_page() as (page, record):
        open_map(page, home, "collection=france")
        first, second = page.locator("#list button.plain").all_text_contents()[:2]
        page.get_by_role("button", name=first).click()
        await_tile(page)
        page.get_by_role("button", name="Tile after").click()
        until(page, lambda: state(page)["tile"], f"france/{second}")
        await_tile(page)
        title = page.locator("#tile-title").text_content()
        page.go_back()
        until(page, lambda: page.locator("#tile-title").text_content(), home.items[first]["properties"]["title"])
        await_tile(page)
        page.go_back()
        until(page, lambda: (page.locator("#overview").is_visible(), page.locator("#tile").is_visible()), (True, False))
        assert chosen(page) == 8
        page.go_forward()
        page.go_forward()
        until(page, lambda: page.locator("#tile-title").text_content(), title)
        await_tile(page)
        record.assert_clean()
        page.get_by_label("Swipe").check()
        page.wait_for_timeout(300)
        page.get_by_label("Side by side").check()
        panel(page, "s2").locator(".screen").hover()
        zoom_in(page)
        until(page, lambda: "view" in state(page))
        page.wait_for_timeout(600)
        link, seen = page.url, canvases(page)
        page.goto("about:blank")
        page.goto(link)
        await_tile(page)
        page.wait_for_timeout(600)
        assert page.url == link
        assert {key: bool((one == seen[key]).all()) for key, one in canvases(page).items()} == dict.fromkeys(seen, True)
        page.get_by_role("button", name="All tiles").click()
        until(page, lambda: page.locator("#overview").is_visible())
        assert "view" not in state(page)
        record.assert_clean()


def test_a_release_below_a_prefix(release: Path, tmp_path: Path) -> None:
    shutil.copytree(release, tmp_path / "some" / "prefix-1", copy_function=os.link)
    with on_loopback(tmp_path, "some/prefix-1/") as site, open_page() as (page, record):
        open_map(page, site)
        assert chosen(page) == len(site.items)
        assert site.root + "catalog.json" in text_of(page, "python")
        assert shlex.split(text_of(page, "sync"))[3] == "s3://some/prefix-1"
        open_tile(page, site, site.tile(EDGE))
        assert page.locator(".panel.failed").count() == 0
        assert record.count("/some/prefix-1/") == len(record.requests)
        record.assert_clean()


NONSENSE = (
    "collection=nothing,,%00&area=a/b,/,x&from=2021-99-99&to=yesterday&has=nope&valid=abc&split=%25E0%25A4%25A&colour=mauve"
    "&map=1,2&tile=/&mode=sideways&swipe=a&view=NaN,1,2&look.s2=0-0:x&look.=1:full&=&&%%%",
    "valid=-5&map=1e99,-1e99,1e99&colour=constructor&has=__proto__&look.__proto__=1:full",
    "valid=1e999&map=181,-95,0.0001&from=0000-00-00&to=9999-12-31",
)


@pytest.mark.parametrize("fragment", NONSENSE)
def test_nonsense_in_a_link_does_not_break_the_page(home: Site, fragment: str) -> None:
    with open_page() as (page, record):
        open_map(page, home, fragment)
        page.get_by_role("button", name="Clear").click()
        until(page, lambda: chosen(page), len(home.items))
        page.locator("#list button.plain").first.click()
        await_tile(page)
        assert page.locator(".panel canvas").count() == 5
        assert page.locator(".trouble:visible").count() == 0
        record.assert_clean()


def test_nonsense_in_a_link_to_a_tile_does_not_break_it(home: Site) -> None:
    nonsense = {"view": "1e300,-1e300,1e-300", "look.s2": "9-9-9:full", "look.osm": "1:5~5", "swipe": "nope,s2"}
    with open_page() as (page, record):
        open_tile(page, home, home.tile(VENTOUX, mode="swipe", **nonsense))
        assert page.locator(".swipe canvas").count() == 1
        page.get_by_label("Side by side").check()
        page.get_by_role("button", name="Whole tile").click()
        until(page, lambda: {len(np.unique(one)) > 5 for one in canvases(page).values()}, {True})
        record.assert_clean()
