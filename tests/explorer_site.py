"""Releases with the explorer, the servers they lie on, and what a browser shows of them: for tests."""

import base64
import io
import json
import os
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import numpy as np
import numpy.typing as npt
import pyproj
import pytest
import rasterio
import urllib3
from PIL import Image
from playwright.sync_api import FloatRect, Locator, Page
from rasterio.windows import Window

from catalog_builder import explorer, layout, policy, sources, template
from catalog_builder import publish as publishing
from catalog_builder.build import build
from catalog_builder.executor import SerialExecutor
from catalog_builder.fingerprint import Fingerprints
from catalog_builder.location import parse_s3
from catalog_builder.plan import make_plan
from catalog_builder.progress import TileProgress
from catalog_builder.publish import PublishOptions
from catalog_builder.serve import make_server
from catalog_builder.synthetic import write_synthetic_sources
from tests.makers import TILE, area, small_templates, source, texture, write_geotiff
from tests.test_publish import Silence
from tests.test_serve import serving
from tools.local_bucket import ACCESS_KEY, SECRET_KEY, LocalBucket

LAND: Final = (228, 224, 213)
LEFT_OUT: Final = (201, 201, 201)
OPACITY: Final = 0.6
VENTOUX, EDGE = "ventoux_x0264_y1914", "ventoux_x0265_y1915"
"""A tile that is full, and one at the edge of a Sentinel-1 swath."""
PATIENCE: Final = 10_000

Colour = tuple[float, float, float]
Pixels = npt.NDArray[np.uint8]


# --- releases and servers ---------------------------------------------------------------------------------------------


def page_folder() -> Path:
    """The page that was made, or that of DREAM_EXPLORER_PAGE."""
    return Path(os.environ.get("DREAM_EXPLORER_PAGE") or explorer.page_folder())


def the_page() -> explorer.Page:
    """The page as it goes into a release; skips the test where it was not made."""
    found = explorer.page(page_folder())
    if found is None:
        pytest.skip(f"no explorer in {page_folder()}: run tools/explorer-setup")
    return found


def build_release(listing: Path, templates: Path, release: Path) -> Path:
    loaded = template.load(templates)
    plan = make_plan(sources.load(listing, loaded), loaded, Fingerprints())
    build(plan, release, SerialExecutor(), TileProgress(io.StringIO(), quiet=True), page=the_page())
    return release


def four_by_four(folder: Path) -> Path:
    """Build a release of both collections: four areas of four small tiles, and the explorer."""
    the_page()
    listing = write_synthetic_sources(folder / "sources", size=2 * TILE)
    return build_release(listing, small_templates(folder / "stac"), folder / "release")


def one_large(folder: Path) -> Path:
    """Build a release of one tile as large as real ones."""
    shape, corner = (1024, 1024), (66 * 10240.0, 479 * 10240.0)
    write_geotiff(folder / "s2.tif", texture((4, *shape), "uint16", 1), nodata=0, corner=corner)
    write_geotiff(folder / "srtm.tif", texture((1, *shape), "int16", 2), nodata=-32768, corner=corner)
    listing = folder / "sources.toml"
    listing.write_text(area("large", source("s2", "s2.tif"), source("srtm", "srtm.tif")))
    return build_release(listing, template.default_folder(), folder / "release")


@dataclass(frozen=True)
class Site:
    """A release that is served."""

    release: Path
    root: str
    """Its address, with a slash at its end."""
    server: str = ""
    """Address of the S3 server, where it is one."""

    def address(self, fragment: str = "", query: str = "") -> str:
        return f"{self.root}explore/index.html{query and '?'}{query}{fragment and '#'}{fragment}"

    @cached_property
    def paths(self) -> dict[str, Path]:
        """Where each item is, by its id."""
        return {path.stem: path for path in self.release.glob("*/*/*/*_x*.json")}

    @cached_property
    def items(self) -> dict[str, dict[str, Any]]:
        return {name: json.loads(path.read_bytes()) for name, path in self.paths.items()}

    def cogs(self, item: str) -> dict[str, Path]:
        """Each modality and its file, in the order of the collection."""
        return {key: self.paths[item].parent / f"{key}.tif" for key in self.items[item]["assets"] if key != "thumbnail"}

    def collection(self, item: str) -> dict[str, Any]:
        found = json.loads((self.release / self.items[item]["collection"] / layout.COLLECTION).read_bytes())
        assert isinstance(found, dict)
        return found

    def tile(self, item: str, **more: str) -> str:
        """The fragment that opens a tile."""
        parts = {"tile": f"{self.items[item]['collection']}/{item}", **more}
        return "&".join(f"{name}={value}" for name, value in parts.items())

    def by_area(self) -> dict[str, list[str]]:
        """Items of each area, as `collection/area`."""
        found: dict[str, list[str]] = {}
        for name, item in self.items.items():
            found.setdefault(f"{item['collection']}/{name.rsplit('_', 2)[0]}", []).append(name)
        return found


@contextmanager
def on_loopback(release: Path, below: str = "") -> Iterator[Site]:
    """Serve a folder that is a release, or in which there is one at `below`."""
    with serving(make_server(release)) as server:
        yield Site(release / below, f"http://127.0.0.1:{server.server_port}/{below}")


def publish_to(server: LocalBucket, release: Path) -> Site:
    """Publish to a new bucket that everybody may read, as docs/publishing.md says."""
    bucket, prefix = f"explorer-{uuid.uuid4().hex[:8]}", "v1.0.0"
    client, target = server.client(), parse_s3(f"s3://{bucket}/{prefix}", server.url)
    client.create_bucket(Bucket=bucket)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        publishing.publish(release, target, PublishOptions(), SerialExecutor(), Silence(), workers=1)
    client.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy.public_read(target)))
    client.put_bucket_cors(Bucket=bucket, CORSConfiguration=policy.cors())
    site = Site(release, f"{server.url}/{bucket}/{prefix}/", server.url)
    retries = urllib3.Retry(20, status_forcelist=[403], backoff_factor=0.1, backoff_max=0.5)
    assert urllib3.request("GET", f"{site.root}{layout.CATALOG}", retries=retries).status == 200
    return site


# --- what a page shows ------------------------------------------------------------------------------------------------


def open_map(page: Page, site: Site, fragment: str = "", query: str = "") -> None:
    page.set_default_timeout(PATIENCE)
    page.goto("about:blank")
    page.goto(site.address(fragment, query))
    page.wait_for_selector("html[data-map=ready]", timeout=PATIENCE)


def open_tile(page: Page, site: Site, fragment: str, query: str = "") -> None:
    page.set_default_timeout(PATIENCE)
    page.goto("about:blank")
    page.goto(site.address(fragment, query))
    await_tile(page)


def go_on(page: Page, fragment: str) -> None:
    """Write another address into the bar, as somebody who stays on the page."""
    page.evaluate("fragment => { location.hash = fragment; }", fragment)
    page.wait_for_timeout(100)


def await_tile(page: Page) -> None:
    page.wait_for_selector("#tile[data-state=ready]", timeout=PATIENCE)


def until(page: Page, look: Callable[[], Any], wanted: Any = True) -> None:
    """Wait for what the page shows to become so."""
    found = look()
    for _ in range(100):
        if found == wanted:
            return
        page.wait_for_timeout(50)
        found = look()
    assert found == wanted


def state(page: Page) -> dict[str, str]:
    """What the address says."""
    return {name: values[0] for name, values in parse_qs(urlsplit(page.url).fragment).items()}


def numbers(page: Page, name: str) -> tuple[float, float, float]:
    x, y, scale = map(float, state(page)[name].split(","))
    return x, y, scale


def view(page: Page, site: Site) -> tuple[float, float, float]:
    """Centre and scale of the pictures of a tile: those of the address, else all of the tile."""
    if "view" in state(page):
        return numbers(page, "view")
    properties = site.items[state(page)["tile"].split("/")[1]]["properties"]
    a, _, west, _, e, north = properties["proj:transform"]
    rows, columns = properties["proj:shape"]
    screen = box(page.locator(".screen .ol-viewport").first)
    scale = max(columns * a / screen["width"], -rows * e / screen["height"])
    return west + columns * a / 2, north + rows * e / 2, scale


def chosen(page: Page) -> int:
    return int(page.locator("#count").get_attribute("data-count") or -1)


def listed(page: Page) -> set[str]:
    return set(page.locator("#list button.plain").all_text_contents())


def text_of(page: Page, kind: str) -> str:
    page.get_by_label("Copy as").select_option(kind)
    return page.get_by_label("The chosen tiles as text").input_value()


def box(locator: Locator) -> FloatRect:
    found = locator.bounding_box()
    assert found is not None
    return found


def shot(locator: Locator) -> Pixels:
    """What people see, (rows, columns, 3)."""
    return np.asarray(Image.open(io.BytesIO(locator.screenshot())).convert("RGB"), np.uint8)


def canvas(locator: Locator) -> Pixels:
    """What is drawn on the one canvas of a picture, (rows, columns, 4)."""
    data = locator.locator("canvas").evaluate("canvas => canvas.toDataURL()")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data.split(",")[1]))).convert("RGBA"))


def zoom_in(page: Page, times: int = 6) -> None:
    """Turn the wheel where the mouse is; without Control it scrolls the page."""
    page.keyboard.down("Control")
    for _ in range(times):
        page.mouse.wheel(0, -100)
        page.wait_for_timeout(60)
    page.keyboard.up("Control")


def panel(page: Page, key: str) -> Locator:
    return page.locator(f'.panel[data-modality="{key}"]')


def canvases(page: Page) -> dict[str, Pixels]:
    return {str(one.get_attribute("data-modality")): canvas(one) for one in page.locator(".panel").all()}


def mixed(colour: Colour, ground: Colour = LAND, times: int = 1) -> Colour:
    """A colour as it is seen where so many tiles lie over each other."""
    share = 1 - (1 - OPACITY) ** times
    red, green, blue = (share * one + (1 - share) * other for one, other in zip(colour, ground, strict=True))
    return red, green, blue


def near(actual: npt.NDArray[Any], wanted: Colour, slack: float = 3) -> bool:
    return bool(np.abs(np.asarray(actual, float) - wanted).max() <= slack)


def legend(page: Page) -> dict[str, Colour]:
    """Meaning -> colour of the map's legend."""
    found = {}
    for entry in page.locator("#legend li").all():
        style = entry.locator(".swatch").evaluate("swatch => getComputedStyle(swatch).backgroundColor")
        red, green, blue = map(float, re.findall(r"\d+", style))
        found[entry.text_content() or ""] = red, green, blue
    return found


MERCATOR: Final = pyproj.Transformer.from_crs(4326, 3857, always_xy=True)


def on_map(page: Page, longitude: float, latitude: float) -> tuple[float, float]:
    """CSS pixel of a place on the map as the address has it, from the upper left of the map."""
    east, north, zoom = numbers(page, "map")
    resolution = 2 * np.pi * 6378137 / 256 / 2**zoom
    (x, y), (centre_x, centre_y) = MERCATOR.transform(longitude, latitude), MERCATOR.transform(east, north)
    screen = box(page.locator("#map .ol-viewport"))
    return screen["width"] / 2 + (x - centre_x) / resolution, screen["height"] / 2 - (y - centre_y) / resolution


def centre(item: dict[str, Any]) -> tuple[float, float]:
    west, south, east, north = item["bbox"]
    return (west + east) / 2, (south + north) / 2


def colour_at(page: Page, longitude: float, latitude: float) -> npt.NDArray[Any]:
    x, y = on_map(page, longitude, latitude)
    colour: npt.NDArray[np.float64] = shot(page.locator("#map .ol-viewport"))[int(y), int(x)].astype(float)
    return colour


def await_colour(page: Page, item: dict[str, Any], wanted: Colour) -> None:
    """Wait until the middle of a tile has this colour on the map."""
    until(page, lambda: near(colour_at(page, *centre(item)), wanted))


def go_to(page: Page, site: Site, items: list[str], zoom: float = 11) -> None:
    """Move the map to the middle of some items."""
    places = np.array([centre(site.items[name]) for name in items]).mean(axis=0)
    others = "&".join(f"{name}={value}" for name, value in state(page).items() if name != "map")
    go_on(page, f"map={places[0]:.5f},{places[1]:.5f},{zoom:.2f}&{others}")
    page.wait_for_timeout(150)


# --- pixels -----------------------------------------------------------------------------------------------------------


def stored(path: Path, column: int, row: int) -> list[float | None]:
    """Values of a pixel as rasterio reads them; None for nodata."""
    with rasterio.open(path) as dataset:
        values = dataset.read(window=Window(column, row, 1, 1))[:, 0, 0]
        return [
            None if np.isnan(value) or value == nodata else value.item()
            for value, nodata in zip(values, dataset.nodatavals, strict=True)
        ]  # fmt: skip


def place_of(site: Site, page: Page, x: float, y: float) -> tuple[float, float]:
    """CRS coordinate at a CSS pixel of a picture, by the view that the address has."""
    (centre_x, centre_y, scale), screen = view(page, site), box(page.locator(".panel .ol-viewport").first)
    return centre_x + (x - screen["width"] / 2) * scale, centre_y - (y - screen["height"] / 2) * scale


def pixel_under(site: Site, item: str, page: Page, x: float, y: float) -> tuple[int, int]:
    path = next(iter(site.cogs(item).values()))
    with rasterio.open(path) as dataset:
        row, column = dataset.index(*place_of(site, page, x, y))
    return int(column), int(row)


def inside_pixel(site: Site, item: str, page: Page, x: float, y: float) -> bool:
    around = {pixel_under(site, item, page, x + dx, y + dy) for dx in (-0.1, 0.1) for dy in (-0.1, 0.1)}
    return len(around) == 1


def point(page: Page, key: str, x: float, y: float) -> None:
    """Rest the mouse on a picture, at a CSS pixel from its upper left."""
    page.mouse.move(2, 2)
    screen = panel(page, key).locator(".ol-viewport")
    screen.scroll_into_view_if_needed()
    until(page, lambda: {one.get_attribute("data-values") for one in page.locator(".values").all()} <= {"null", None})
    corner = box(screen)
    page.mouse.move(corner["x"] + x, corner["y"] + y)


def values(page: Page) -> dict[str, Any]:
    found = page.locator(".panel").evaluate_all(
        "all => all.map(one => [one.dataset.modality, one.querySelector('.values').dataset.values])"
    )
    return {key: json.loads(text or "null") for key, text in found}


def check_values(site: Site, item: str, page: Page, key: str, x: float, y: float) -> dict[str, Any]:
    """Point somewhere and hold the pixel and all its values against the files."""
    # Not on the edge of a pixel, where the six digits of the address decide.
    x, y = next(
        (x + dx, y + dy) for dx in range(3) for dy in range(3) if inside_pixel(site, item, page, x + dx, y + dy)
    )
    point(page, key, x, y)
    pixel = pixel_under(site, item, page, x, y)
    wanted = {name: stored(path, *pixel) for name, path in site.cogs(item).items()}
    until(page, lambda: json.loads(page.locator(".place").get_attribute("data-pixel") or "null"), list(pixel))
    until(page, lambda: values(page), wanted)
    crosses = page.locator(".panel .cross:not([hidden])").evaluate_all("all => all.map(one => one.style.transform)")
    assert len(crosses) == len(wanted)
    for cross in crosses:
        assert np.allclose([float(number) for number in re.findall(r"-?[\d.]+", cross)], (x, y), atol=0.6)
    return wanted
