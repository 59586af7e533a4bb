"""STAC Browser over a small release, in Chromium: every modality is drawn, in its place, and no other host is asked.

What the map shows is held against the COG itself, warped here to the pixels of the map.
"""

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner
from PIL import Image
from playwright.sync_api import Locator, Page, expect
from rasterio.enums import Resampling
from rasterio.warp import reproject, transform_bounds

from catalog_builder.cli import main
from catalog_builder.errors import UsageError
from catalog_builder.serve import make_server
from tests.chromium import ROOT, Record, open_page, save_screenshot
from tests.small_demo import small_demo
from tests.test_search_remote import running
from tools.browser_config import proj4, settings
from tools.local_bucket import BUCKET, LocalBucket

AREAS = {"france": "ventoux", "usa": "cape_fear"}
"""The areas whose tiles are looked at, by collection: they have all modalities."""
OUTLINE = 5
"""Pixels along the edge of a tile that are left out: its outline is drawn there."""
BLOCK = 4
"""Pixels a side over which pictures are averaged before they are compared: the map's own resampling is another."""

TRIALS = 8
"""Looks at a map, a second apart, until it shows what it must: nothing on the page says that all is drawn."""

Picture = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A STAC Browser and its release, somewhere."""

    name: str
    page: str
    """Address of the page."""


# --- the settings -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("browsed")
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        return small_demo(folder)


def values(text: str) -> dict[str, Any]:
    """What the settings say of a release: the object literal at their start, which is JSON."""
    found, _ = json.JSONDecoder().raw_decode(text.split("const release = ", 1)[1])
    assert isinstance(found, dict)
    return found


def test_settings_tell_of_the_release(release: Path) -> None:
    found = values(settings(str(release)))
    assert found["catalog"] == "../catalog.json"
    assert list(found["crs"]) == ["EPSG:32610", "EPSG:32617", "EPSG:32631"]
    assert found["renders"]["france"]["s2"] == {"bidx": [3, 2, 1], "rescale": [[0, 2200]] * 3}
    assert found["renders"]["france"].keys() == {"s1", "s1_mean", "s1_activity", "s2"}
    assert values(settings(str(release), "../v1.0.0/catalog.json"))["catalog"] == "../v1.0.0/catalog.json"
    with running(make_server(release)) as url:
        assert values(settings(f"{url}/")) == {**found, "catalog": f"{url}/catalog.json"}


def test_projections_are_those_of_pyproj() -> None:
    assert proj4("EPSG:32631").startswith("+proj=utm +zone=31 +datum=WGS84 +units=m")
    with pytest.raises(UsageError, match="EPSG:0"):
        proj4("EPSG:0")


def test_what_cannot_be_browsed_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no catalog\.json"):
        settings(str(tmp_path))
    with pytest.raises(UsageError, match="https://"):
        settings("s3://dream/v1.0.0")
    (tmp_path / "catalog.json").write_text("{")
    with pytest.raises(UsageError, match="not JSON"):
        settings(str(tmp_path))


# --- the tool ---------------------------------------------------------------------------------------------------------


def run_tool(*arguments: str, cwd: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    command = [str(ROOT / "tools" / "browser"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=1500, check=False, cwd=cwd)


def test_the_tool_says_what_it_does_and_what_is_wrong(tmp_path: Path) -> None:
    assert "examples:" in run_tool("--help").stdout
    (tmp_path / "mine.txt").touch()
    for arguments, message in {
        (): "no release given",
        ("--fast",): "--fast: no such option",
        ("nowhere", "--out"): "--out needs a value",
        ("nowhere",): f"{tmp_path}/nowhere: no such folder",
        ("nowhere", "--out", "."): "holds something else",
    }.items():
        done = run_tool(*arguments, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert message in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def build_browser(release: Path, out: Path, *more: str) -> Path:
    """Run the tool; two at a time wait for each other, so that one of them builds."""
    if shutil.which("npm") is None:
        pytest.skip("no npm: apt-get install nodejs npm")
    done = run_tool(str(release), "--out", str(out), *more)
    if done.returncode and ": npm " in done.stderr:
        pytest.skip(f"npm cannot fetch STAC Browser: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def built(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_browser(release, tmp_path_factory.mktemp("browser") / "browser")


@pytest.mark.slow
def test_what_is_built_is_whole_and_is_replaced_whole(release: Path, built: Path, tmp_path: Path) -> None:
    out = build_browser(release, tmp_path / "out")
    (out / "stale.js").touch()
    build_browser(release, out, "--catalog", "../v2/catalog.json")
    names = {path.relative_to(out) for path in out.rglob("*")}
    assert names == {path.relative_to(built) for path in built.rglob("*")}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert values((out / "config.js").read_text())["catalog"] == "../v2/catalog.json"
    assert not any(b"planetarymaps" in path.read_bytes() for path in out.rglob("*.js"))


# --- the places -------------------------------------------------------------------------------------------------------


@pytest.fixture
def served(release: Path, built: Path) -> Iterator[Place]:
    with running(make_server(release, browser=built)) as url:
        yield Place(name="served", page=f"{url}/browser/")


@pytest.fixture
def published(release: Path, bucket: LocalBucket, tmp_path: Path) -> Place:
    """The release in a public bucket, and the browser beside it."""
    prefix = f"s3://{BUCKET}/browsed"
    arguments = ["publish", str(release), f"{prefix}/v1.0.0", "--endpoint-url", bucket.url, "--quiet"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    folder = build_browser(release, tmp_path / "browser", "--catalog", "../v1.0.0/catalog.json")
    aws = [str(Path(sys.executable).with_name("aws")), "--endpoint-url", bucket.url, "--region", "us-east-1"]
    subprocess.run(
        [*aws, "s3", "sync", "--only-show-errors", str(folder), f"{prefix}/browser"], check=True, timeout=300
    )
    bucket.make_public()
    return Place(name="bucket", page=f"{bucket.url}/{BUCKET}/browsed/browser/index.html")


@pytest.fixture(params=["served", "published"])
def place(request: pytest.FixtureRequest) -> Place:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Place)
    return found


@contextmanager
def opened(place: Place, path: str, title: str) -> Iterator[tuple[Page, Record]]:
    """Open a document in STAC Browser; at the end nothing may have gone wrong."""
    with open_page(1400, 1000) as (page, record):
        page.goto(f"{place.page}#/{path}")
        expect(page.locator("h1").first).to_have_text(title, timeout=30_000)
        page.wait_for_load_state("networkidle")
        yield page, record
        record.assert_clean()


def document(release: Path, path: str) -> dict[str, Any]:
    found = json.loads((release / path).read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


# --- pages ------------------------------------------------------------------------------------------------------------


def assert_picture(image: Locator) -> None:
    """That an image has come, whole."""
    expect(image).to_be_visible(timeout=20_000)
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") > 50


@pytest.mark.slow
def test_the_root_shows_both_collections(place: Place, release: Path) -> None:
    with opened(place, "", document(release, "catalog.json")["title"]) as (page, _):
        cards = page.locator(".catalog-card")
        expect(cards).to_have_count(2)
        for card in cards.all():
            assert_picture(card.locator("img"))
        save_screenshot(page, f"stac-browser/{place.name}-root")
        # A link to be opened in another tab leads to the same page.
        assert (cards.first.locator("a").first.get_attribute("href") or "").startswith("#/")


@pytest.mark.slow
@pytest.mark.parametrize("collection", AREAS)
def test_a_collection_shows_its_thumbnail_and_areas(place: Place, release: Path, collection: str) -> None:
    told = document(release, f"{collection}/collection.json")
    with opened(place, f"{collection}/collection.json", told["title"]) as (page, _):
        expect(page.locator(".catalog-card")).to_have_count(2)
        for license in (link for link in told["links"] if link["rel"] == "license"):
            expect(page.get_by_role("link", name=license["title"]).first).to_be_visible()
        save_screenshot(page, f"stac-browser/{place.name}-{collection}")
        page.get_by_role("tab", name="Thumbnails").click()
        assert_picture(page.get_by_role("tabpanel", name="Thumbnails").locator("img"))
        save_screenshot(page, f"stac-browser/{place.name}-{collection}-thumbnail")


@pytest.mark.slow
def test_an_area_shows_its_tiles(place: Place, release: Path) -> None:
    told = document(release, "france/ventoux/catalog.json")
    items = sum(link["rel"] == "item" for link in told["links"])
    with opened(place, "france/ventoux/catalog.json", told["title"]) as (page, _):
        cards = page.locator(".item-card")
        expect(cards).to_have_count(items)
        for card in cards.all():
            assert_picture(card.locator("img"))
        save_screenshot(page, f"stac-browser/{place.name}-area")
        cards.first.locator("a").first.click()
        expect(page.locator(".asset").first).to_be_visible()


# --- maps -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("collection", AREAS)
def test_every_modality_is_drawn_in_its_place(place: Place, release: Path, collection: str) -> None:
    folder = next((release / collection / AREAS[collection]).glob("*/s2.tif")).parent
    item = json.loads((folder / f"{folder.name}.json").read_text())
    renders = document(release, f"{collection}/collection.json")["renders"]
    path = f"{folder.relative_to(release).as_posix()}/{folder.name}.json"
    rasters = {key: asset for key, asset in item["assets"].items() if "data" in asset["roles"]}
    assert rasters.keys() == renders.keys() - {"s1_activity"}  # which the demonstration lacks
    for key, asset in rasters.items():
        # A page for each: STAC Browser mixes up what is asked for while something else is still being drawn.
        with opened(place, path, item["properties"]["title"]) as (page, record):
            save_screenshot(page, f"stac-browser/{place.name}-{collection}-item")
            show(page, asset["title"])
            name, bands = f"stac-browser/{place.name}-{collection}-{key}", ranges(asset, renders[key])
            for trial in range(TRIALS):
                try:
                    assert_drawn(*shot(page, name), folder / f"{key}.tif", bands, item["bbox"], key)
                    break
                except AssertionError:
                    if trial == TRIALS - 1:
                        raise
                    page.wait_for_timeout(1000)
            assert record.count(f"{key}.tif")


def show(page: Page, title: str) -> None:
    """Have the map show an asset, once what it shows by itself has come."""
    asset = page.locator(".asset").filter(has=page.get_by_text(title, exact=True))
    expect(page.locator(".asset .shown").first).to_be_visible(timeout=20_000)
    page.wait_for_load_state("networkidle")
    if not asset.locator(".shown").count():
        asset.locator("button").first.click()
        asset.get_by_role("button", name="Show on map").click()
    expect(asset.locator(".shown")).to_be_visible(timeout=20_000)
    page.wait_for_load_state("networkidle")


def shot(page: Page, name: str) -> tuple[Picture, Affine]:
    """A picture of the map (rows, columns, 3), and where on the earth its pixels are (EPSG:3857)."""
    box = page.locator(".map-container").first
    path = save_screenshot(page.locator(".map").first, name)
    extent = box.evaluate(
        "box => { const map = box.__vue__.map; return map.getView().calculateExtent(map.getSize()); }"
    )
    size = box.evaluate("box => box.__vue__.map.getSize()")
    pixels = np.asarray(Image.open(io.BytesIO(path.read_bytes())).convert("RGB"), dtype=np.float64)
    # The element may have a border; the map is its middle.
    top, left = (round((have - want) / 2) for have, want in zip(pixels.shape[:2], reversed(size), strict=True))
    pixels = pixels[top : top + round(size[1]), left : left + round(size[0])]
    resolution = (extent[2] - extent[0]) / size[0]
    return pixels, Affine(resolution, 0, extent[0], 0, -resolution, extent[3])


def ranges(asset: Mapping[str, Any], render: Mapping[str, Any]) -> list[tuple[int, float, float]]:
    """Band, value of black and value of white, for red, green and blue."""
    if "rescale" in render and "colormap_name" not in render:
        found = [(band, *pair) for band, pair in zip(render["bidx"], render["rescale"], strict=True)]
    else:
        statistics = asset["bands"][0]["statistics"]
        found = [(1, statistics["minimum"], statistics["maximum"])]
    return found * (3 // len(found))


def expected_picture(
    path: Path, where: Affine, shape: tuple[int, int], bands: list[tuple[int, float, float]]
) -> Picture:
    """The COG as it ought to be drawn at the map's pixels; NaN where it has nothing."""
    channels = []
    with rasterio.open(path) as raster:
        for band, low, high in bands:
            goal = np.full(shape, np.nan)
            pixels = raster.read(band, masked=True).astype("float64").filled(np.nan)
            target = {"dst_transform": where, "dst_crs": "EPSG:3857", "dst_nodata": np.nan}
            origin = {"src_transform": raster.transform, "src_crs": raster.crs, "src_nodata": np.nan}
            reproject(pixels, goal, resampling=Resampling.nearest, **origin, **target)
            channels.append(255 * np.clip((goal - low) / (high - low), 0, 1))
    return np.stack(channels, axis=-1)


def averaged(picture: Picture, offset: tuple[int, int] = (0, 0)) -> Picture:
    """Means of whole blocks; NaN where any pixel of a block is."""
    rows, columns = (size // BLOCK for size in picture.shape[:2])
    rolled = np.roll(picture, offset, axis=(0, 1))[: rows * BLOCK, : columns * BLOCK]
    means: Picture = rolled.reshape(rows, BLOCK, columns, BLOCK, 3).mean(axis=(1, 3))
    return means


def likeness(drawn: Picture, expected: Picture) -> float:
    """Correlation over all blocks and channels in which the tile has values."""
    there = np.isfinite(expected)
    return float(np.corrcoef(drawn[there], expected[there])[0, 1])


def assert_drawn(
    picture: Picture, where: Affine, path: Path, bands: list[tuple[int, float, float]], bbox: list[float], key: str
) -> None:
    """That the map shows the pixels of a file, where they are, and white where there are none."""
    expected = expected_picture(path, where, picture.shape[:2], bands)
    there = np.asarray(np.isfinite(expected).all(axis=-1), dtype=np.bool_)
    inside = erode(there, OUTLINE)
    assert inside.sum() > 20_000, f"{key}: the map shows too little of the tile"
    assert picture[inside].std() > 8, f"{key}: one colour"
    assert 20 < picture[inside].mean() < 240, f"{key}: black or white"
    expected[~inside] = np.nan
    blocks = averaged(expected)
    assert likeness(averaged(picture), blocks) > 0.9, f"{key}: not what the file holds"
    assert np.nanmean(np.abs(averaged(picture) - blocks)) < 12, f"{key}: another contrast"
    # A picture out of its place is less alike.
    for offset in ((8, 0), (-8, 0), (0, 8), (0, -8)):
        assert likeness(averaged(picture, offset), blocks) < likeness(averaged(picture), blocks), f"{key}: displaced"
    with rasterio.open(path) as raster:
        tile = transform_bounds(raster.crs, "EPSG:3857", *raster.bounds)
    box = transform_bounds("EPSG:4326", "EPSG:3857", *bbox)
    np.testing.assert_allclose(box, tile, atol=3 * where.a, err_msg=f"{key}: not in the item's box")


def erode(mask: npt.NDArray[np.bool_], pixels: int) -> npt.NDArray[np.bool_]:
    """Without what is so near to an edge."""
    kept = mask.copy()
    for axis in (0, 1):
        for step in range(-pixels, pixels + 1):
            kept &= np.roll(mask, step, axis=axis)
    return kept
