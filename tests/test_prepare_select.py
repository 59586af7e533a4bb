"""`prepare select`: a STAC API and remote COGs on the loopback; the choice, the bytes, the pixels; faults."""

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj
import pytest
import rasterio
import shapely
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from rasterio.windows import Window
from rasterio.windows import from_bounds as window_of
from urllib3 import HTTPResponse

from catalog_builder import sources, template
from catalog_builder.cli import main
from catalog_builder.errors import RemoteError
from catalog_builder.grid import Bounds
from catalog_builder.load import access
from catalog_builder.prepare import apis, optical, scenes
from catalog_builder.prepare.s1 import MEAN_BANDS
from catalog_builder.prepare.scenes import Scene, Verdict
from catalog_builder.prepare.target import target_of
from tests.makers import small_templates
from tests.oracles import Raster
from tests.stac_server import HOST, Fault, Item, StacServer, document, slow, stac_server
from tools.local_bucket import BUCKET, LocalBucket

Array = npt.NDArray[Any]

UTM = "EPSG:32631"
LEFT, TOP = 660480.0, 4919040.0
SIZE = 1024
"""Pixels of 10 m a side of a scene."""
BLOCK = 256
SECRET = "sv=2020&sig=Kf3%2Bsecret"
S2_KEYS = {"B02": "blue", "B03": "green", "B04": "red", "B08": "nir", "SCL": "scl"}
S1_KEYS = {"VV": "vv", "VH": "vh"}
GRID = ["--crs", UTM, "--resolution", 10, "--bounds", LEFT + 2000, TOP - 7000, LEFT + 6500, TOP - 1500]
PERIOD = ["--period", "2023-06-01", "2023-06-30"]

TABLES = """
[local]
url = "{url}"
sign = "tests.test_prepare_select:sign"

[local.s2]
collection = "s2-l2a"
bands = {{ B02 = "blue", B03 = "green", B04 = "red", B08 = "nir", SCL = "scl" }}
baseline = "s2:processing_baseline"
applied = "test:applied"

[local.s1]
collection = "s1-rtc"
bands = {{ VV = "vv", VH = "vh" }}
units = "linear"
backscatter = "gamma0"
"""


def sign(href: str) -> str:
    """What a signing hook does."""
    return f"{href}?{SECRET}"


# --- a small world ----------------------------------------------------------------------------------------------------


def write_cog(
    path: Path, pixels: Array, *, left: float = LEFT, top: float = TOP, size: float = 10, **more: Any
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"height": pixels.shape[0], "width": pixels.shape[1], "count": 1, "dtype": pixels.dtype, "crs": UTM}
    transform = rasterio.Affine(size, 0, left, 0, -size, top)
    options = {"blocksize": BLOCK, "compress": "DEFLATE", "overviews": "AUTO", **more}
    with rasterio.open(path, "w", driver="COG", transform=transform, **profile, **options) as dataset:
        dataset.write(pixels, 1)
    return path


def footprint(left: float, top: float, width: float, height: float) -> dict[str, Any]:
    """Geometry and box of an item, in degrees."""
    xs, ys = [left, left + width, left + width, left, left], [top, top, top - height, top - height, top]
    lon, lat = pyproj.Transformer.from_crs(UTM, "OGC:CRS84", always_xy=True).transform(xs, ys)
    ring = [list(point) for point in zip(lon, lat, strict=True)]
    return {
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [min(lon), min(lat), max(lon), max(lat)],
    }


def item(
    name: str, collection: str, when: str, place: dict[str, Any], hrefs: dict[str, str], **properties: Any
) -> Item:
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": collection,
        "properties": {"datetime": when, **{key.replace("__", ":"): value for key, value in properties.items()}},
        "assets": {key: {"href": href} for key, href in hrefs.items()},
        "links": [],
        **place,
    }


def s2_item(
    folder: Path,
    name: str,
    when: str,
    *,
    cloud: float,
    left: float = LEFT,
    width: int = SIZE,
    seed: int = 0,
    **more: Any,
) -> Item:
    rng = np.random.default_rng(seed)
    for band, key in S2_KEYS.items():
        if band == "SCL":
            classes = rng.choice([4, 5, 9], size=(SIZE // 2, width // 2)).astype(np.uint8)
            write_cog(folder / name / f"{key}.tif", classes, left=left, size=20)
        else:
            pixels = rng.integers(1, 12000, size=(SIZE, width)).astype(np.uint16)
            write_cog(folder / name / f"{key}.tif", pixels, left=left, nodata=0)
    hrefs = {key: f"http://HOST/files/{name}/{key}.tif" for key in S2_KEYS.values()}
    place = footprint(left, TOP, width * 10, SIZE * 10)
    properties = {"eo__cloud_cover": cloud, "platform": "sentinel-2a", "sat__relative_orbit": 108, **more}
    return item(name, "s2-l2a", when, place, hrefs, s2__processing_baseline="05.09", **properties)


def s1_item(
    folder: Path, name: str, when: str, *, orbit: int, top: float = TOP, rows: int = SIZE, seed: int = 0
) -> Item:
    rng = np.random.default_rng(seed)
    for key in S1_KEYS.values():
        power = rng.gamma(4.4, 0.02, size=(rows, SIZE)).astype(np.float32)
        power[100:104] = -32768
        power[110:112] = -1e-4
        write_cog(folder / name / f"{key}.tif", power, top=top, nodata=-32768)
    hrefs = {key: f"http://HOST/files/{name}/{key}.tif" for key in S1_KEYS.values()}
    more = {"platform": "SENTINEL-1A", "sat__relative_orbit": orbit}
    return item(name, "s1-rtc", when, footprint(LEFT, top, SIZE * 10, rows * 10), hrefs, **more)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Item]]:
    """Two clear days and a cloudy one of Sentinel-2; a pass in two slices and one that covers half, of Sentinel-1."""
    folder = tmp_path_factory.mktemp("files")
    half = SIZE // 2
    return folder, [
        s2_item(folder, "S2_far", "2023-06-02T10:30:31Z", cloud=3, seed=1),
        s2_item(folder, "S2_near", "2023-06-14T10:30:31Z", cloud=3.2, seed=2),
        s2_item(folder, "S2_clear_half", "2023-06-15T10:30:31Z", cloud=0, width=half, seed=3),
        s2_item(folder, "S2_cloudy", "2023-06-16T10:30:31Z", cloud=55, width=half, seed=4),
        s1_item(folder, "S1_north", "2023-06-12T17:40:00Z", orbit=59, rows=half, seed=5),
        s1_item(folder, "S1_south", "2023-06-12T17:40:25Z", orbit=59, top=TOP - half * 10, rows=half, seed=6),
        s1_item(folder, "S1_part", "2023-06-14T06:00:00Z", orbit=110, rows=half, seed=7),
        s1_item(folder, "S1_late", "2023-06-24T17:40:00Z", orbit=59, seed=8),
    ]


@pytest.fixture
def api(world: tuple[Path, list[Item]]) -> Iterator[StacServer]:
    with stac_server(*world) as server:
        yield server


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long for what is asked again."""
    monkeypatch.setattr(apis, "_BACKOFF", 0.01)
    options = {**access.GDAL_OPTIONS, "GDAL_HTTP_MAX_RETRY": "1", "GDAL_HTTP_RETRY_DELAY": "0.01"}
    monkeypatch.setattr(access, "GDAL_OPTIONS", options)


def tables(folder: Path, url: str, text: str = TABLES) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "apis.toml").write_text(text.format(url=url))
    return folder / "apis.toml"


def select(folder: Path, api: StacServer, *words: object, jobs: int = 1, grid: Sequence[object] = GRID) -> Result:
    """Run the command with OUTDIR ``folder / "out"``."""
    file = folder / "apis.toml"
    file = file if file.exists() else tables(folder, api.url)
    arguments = [folder / "out", "--api", "local", "--apis", file, *PERIOD, *grid, "--jobs", jobs, "--quiet", *words]
    return CliRunner().invoke(main, ["prepare", "select", *map(str, arguments)])


def read(path: Path) -> Array:
    with rasterio.open(path) as dataset:
        return np.asarray(dataset.read())


def tag(path: Path, name: str) -> Any:
    with rasterio.open(path) as dataset:
        return json.loads(dataset.tags()[f"DREAM_{name}"])


def window(path: Path, bounds: Bounds) -> Window:
    """The pixels of a file in a box."""
    with rasterio.open(path) as dataset:
        return window_of(*bounds, transform=dataset.transform).round_offsets().round_lengths()


def block_bytes(path: Path, bounds: Bounds) -> int:
    """Bytes of the blocks of a file that a box touches."""
    part = window(path, bounds)
    with rasterio.open(path) as dataset:
        return sum(
            int(dataset.get_tag_item(f"BLOCK_SIZE_{x}_{y}", "TIFF", bidx=1))
            for (y, x), block in dataset.block_windows(1)
            if rasterio.windows.intersect(block, part)
        )


BOX = Bounds(LEFT + 2000, TOP - 7000, LEFT + 6500, TOP - 1500)

# --- pixels and bytes -------------------------------------------------------------------------------------------------


def reflectance(folder: Path, bounds: Bounds, offset: int) -> Array:
    """What the modality should be of a scene."""
    files = [folder / f"{S2_KEYS[band]}.tif" for band in optical.BANDS.names]
    pixels = np.stack([read_part(file, bounds) for file in files]).astype(int)
    return np.asarray(np.maximum(pixels + offset, 1).astype(np.uint16))


def read_part(file: Path, bounds: Bounds) -> Array:
    with rasterio.open(file) as dataset:
        return np.asarray(dataset.read(1, window=window(file, bounds)))


def decibels(file: Path, bounds: Bounds) -> Array:
    power = read_part(file, bounds).astype(np.float64)
    return np.asarray(10 * np.log10(np.where(power > 0, power, np.nan))).astype(np.float32)


@pytest.mark.parametrize("jobs", [1, 2])
def test_rasters_are_those_of_the_chosen_scenes(
    world: tuple[Path, list[Item]], api: StacServer, tmp_path: Path, jobs: int
) -> None:
    result = select(tmp_path, api, jobs=jobs)
    assert result.exit_code == 0, result.output
    folder, _ = world
    s2, s1 = tmp_path / "out" / "s2.tif", tmp_path / "out" / "s1.tif"
    assert sorted(s2.parent.iterdir()) == [s1, s2]
    np.testing.assert_array_equal(read(s2), reflectance(folder / "S2_near", BOX, -1000))
    middle = TOP - SIZE * 5
    north, south = Bounds(BOX.left, middle, BOX.right, BOX.top), Bounds(BOX.left, BOX.bottom, BOX.right, middle)
    for band, pixels in zip(("vv", "vh"), read(s1), strict=True):
        parts = (
            decibels(folder / "S1_north" / f"{band}.tif", north),
            decibels(folder / "S1_south" / f"{band}.tif", south),
        )
        np.testing.assert_allclose(pixels, np.concatenate(parts), rtol=1e-6)
        assert np.isnan(pixels).sum() == 6 * pixels.shape[1]
    with rasterio.open(s1) as dataset:
        assert (dataset.descriptions, dataset.dtypes, dataset.units) == (("VV", "VH"), ("float32",) * 2, ("dB",) * 2)
        assert np.isnan(dataset.nodata)


def touched(folder: Path, bounds: Bounds) -> dict[str, int]:
    """Bytes of touched blocks of the files that are fetched for ``BOX``, by their path on the server."""
    files = [folder / "S2_near" / f"{key}.tif" for key in S2_KEYS.values()]
    files += [folder / name / f"{key}.tif" for name in ("S1_north", "S1_south") for key in S1_KEYS.values()]
    return {f"/files/{file.relative_to(folder)}": block_bytes(file, bounds) for file in files}


@pytest.mark.parametrize(
    "bounds", [BOX, Bounds(LEFT + 2560, TOP - 7680, LEFT + 7680, TOP - 2560)], ids=["any", "on blocks"]
)
def test_only_blocks_of_the_area_are_sent(
    world: tuple[Path, list[Item]], api: StacServer, tmp_path: Path, bounds: Bounds
) -> None:
    result = select(tmp_path, api, grid=["--crs", UTM, "--resolution", 10, "--bounds", *bounds])
    assert result.exit_code == 0, result.output
    wanted = touched(world[0], bounds)
    sent = {path: size for path, size in api.sent.items() if path.startswith("/files/")}
    assert set(sent) == set(wanted)
    assert sum(sent.values()) < 1.1 * sum(wanted.values())
    assert all(sent[path] < 1.1 * wanted[path] for path in wanted if "scl" not in path)
    assert all(f"?{SECRET}" in line for line in api.asked if "/files/" in line)


def test_the_grid_of_an_image_and_another_zone(world: tuple[Path, list[Item]], api: StacServer, tmp_path: Path) -> None:
    x, y = pyproj.Transformer.from_crs(UTM, "EPSG:32632", always_xy=True).transform(LEFT + 3000, TOP - 4000)
    grid = ["--crs", "EPSG:32632", "--resolution", 8, "--bounds", x, y - 2400, x + 3000, y]
    assert select(tmp_path, api, grid=grid).exit_code == 0
    like = select(tmp_path / "like", api, grid=["--like", tmp_path / "out" / "s2.tif"], jobs=2)
    assert like.exit_code == 0, like.output
    out = tmp_path / "out"
    assert all(
        (out / name).read_bytes() == (tmp_path / "like" / "out" / name).read_bytes() for name in ("s1.tif", "s2.tif")
    )
    _assert_warped(out / "s1.tif", *_power_of_the_pass(world[0]))
    near = read(world[0] / "S2_near" / "red.tif")
    red = Raster(pixels=np.maximum(near.astype(int) - 1000, 1), crs=UTM, transform=_PLACE, nodata=0)
    with rasterio.open(out / "s2.tif") as dataset:
        found = dataset.read(3)
        (expected,) = red.bilinear(*red.places("EPSG:32632", dataset.transform, dataset.shape), 0, "uint16")
    assert np.abs(found.astype(int) - expected).max() <= 1


_PLACE = rasterio.Affine(10, 0, LEFT, 0, -10, TOP)


def _power_of_the_pass(folder: Path) -> list[Raster]:
    """VV and VH of the slices of a pass, joined."""
    powers = []
    for key in S1_KEYS.values():
        slices = [read(folder / name / f"{key}.tif") for name in ("S1_north", "S1_south")]
        power = np.concatenate(slices, axis=1).astype(np.float64)
        powers.append(Raster(pixels=np.where(power > 0, power, np.nan), crs=UTM, transform=_PLACE, nodata=None))
    return powers


def _assert_warped(path: Path, *powers: Raster) -> None:
    """Interpolated in linear power, and then in decibels."""
    with rasterio.open(path) as dataset:
        found, crs, transform = dataset.read(), dataset.crs.to_string(), dataset.transform
    for pixels, power in zip(found, powers, strict=True):
        (expected,) = power.bilinear(*power.places(crs, transform, pixels.shape), np.nan, "float64")
        known = np.isfinite(expected) & np.isfinite(pixels)
        assert known.mean() > 0.95
        assert (np.isfinite(expected) != np.isfinite(pixels)).mean() < 1e-3
        np.testing.assert_allclose(pixels[known], 10 * np.log10(expected[known]), atol=2e-3)


@pytest.mark.slow
def test_files_in_a_bucket(
    world: tuple[Path, list[Item]], bucket: LocalBucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", bucket.url)
    access._endpoint.cache_clear()
    access._aws_session.cache_clear()
    folder, items = world
    for file in (folder / "S1_late").iterdir():
        bucket.client().upload_file(str(file), BUCKET, f"select/S1_late/{file.name}")
    moved = json.loads(json.dumps(items).replace("http://HOST/files/", f"s3://{BUCKET}/select/"))
    with stac_server(folder, moved) as api:
        tables(tmp_path, api.url, TABLES.replace("sign =", "# sign ="))
        result = select(tmp_path, api, "--what", "s1", "--nearest", "2023-06-30")
    assert result.exit_code == 0, result.output
    for key, pixels in zip(S1_KEYS.values(), read(tmp_path / "out" / "s1.tif"), strict=True):
        np.testing.assert_allclose(pixels, decibels(folder / "S1_late" / f"{key}.tif", BOX), rtol=1e-6)
    access._endpoint.cache_clear()
    access._aws_session.cache_clear()


# --- what is told -----------------------------------------------------------------------------------------------------


def test_scenes_are_shown_with_their_reasons(api: StacServer, tmp_path: Path) -> None:
    result = select(tmp_path, api, "--dry-run")
    assert result.exit_code == 0, result.output
    assert not (tmp_path / "out").exists()
    assert not any("/files/" in line for line in api.asked)
    rows = [line.split("  ") for line in result.output.splitlines()]
    reasons = {row[1].strip(): row[-1].strip() for row in rows if len(row) > 4}
    assert reasons == {
        "scene": "why",
        "S2_near": "taken: its pass covers 100 % of the area, 1 day from 2023-06-15",
        "S2_far": "not taken: 13 days from 2023-06-15, not 1",
        "S2_clear_half": "not taken: its pass covers 69 %, not 100 %",
        "S2_cloudy": "not taken: cloud 55 %, over 20 %",
        "S1_north": "taken: its pass covers 100 % of the area, 2 days from 2023-06-14",
        "S1_south": "taken: its pass covers 100 % of the area, 2 days from 2023-06-14",
        "S1_late": "not taken: 10 days from 2023-06-14, not 2",
        "S1_part": "not taken: its pass covers 66 %, not 100 %",
    }


def test_a_day_and_a_modality_can_be_named(api: StacServer, tmp_path: Path) -> None:
    result = select(tmp_path, api, "--what", "s1", "--nearest", "2023-06-30", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "S1_late   2023-06-24           100     taken" in result.output
    assert "s2" not in result.output
    cloudless = select(tmp_path, api, "--what", "s2", "--max-cloud", 1, "--dry-run")
    assert "S2_clear_half  2023-06-15  0        69      taken" in cloudless.output


def test_tags_tell_what_was_done_and_no_secret(api: StacServer, tmp_path: Path) -> None:
    listing = tmp_path / "sources.toml"
    words = ["--sources", listing, "--area", "p", "--collection", "france", "--title", "P"]
    result = select(tmp_path, api, *words)
    assert result.exit_code == 0, result.output
    s2, s1 = tmp_path / "out" / "s2.tif", tmp_path / "out" / "s1.tif"
    assert (tag(s2, "INPUTS"), tag(s1, "INPUTS")) == (["S2_near"], ["S1_north", "S1_south"])
    assert tag(s2, "DATES") == ["2023-06-14T10:30:31Z"]
    asked = {"api": api.url, "period": ["2023-06-01", "2023-06-30"], "kernel": "bilinear"}
    optic = {
        "nearest": "2023-06-15",
        "collection": "s2-l2a",
        "max_cloud_percent": 20.0,
        "offsets": [-1000],
        "clouds_masked": False,
    }
    radar = {"nearest": "2023-06-14", "collection": "s1-rtc", "units": "linear", "backscatter": "gamma0"}
    assert (tag(s2, "PARAMETERS"), tag(s1, "PARAMETERS")) == ({**asked, **optic}, {**asked, **radar})
    assert tag(s1, "NOTES")["relative_orbits"] == [59]
    assert "cloud_percent" in tag(s2, "NOTES")
    for path in (s2, s1):
        with rasterio.open(path) as dataset:
            tags = dataset.tags()
        assert tags["DREAM_STEP"] == "select"
        assert tags["TIFFTAG_COPYRIGHT"] == "Contains modified Copernicus Sentinel data 2023"
        assert SECRET.encode() not in path.read_bytes()
    assert SECRET not in listing.read_text() + result.output


def test_build_copies_the_rasters(api: StacServer, tmp_path: Path) -> None:
    templates, listing = small_templates(tmp_path / "templates", 128), tmp_path / "sources.toml"
    listing.write_text('[[area]]\ncollection = "france"\nid = "p"\ntitle = "P"\nrequired = ["s1", "s2"]\n')
    grid = ["--crs", UTM, "--resolution", 10, "--bounds", LEFT, TOP - 2560, LEFT + 2560, TOP]
    result = select(tmp_path, api, "--sources", listing, "--area", "p", grid=grid)
    assert result.exit_code == 0, result.output
    (area,) = sources.load(listing, template.load(templates))
    assert {source.asset: source.start.isoformat() for source in area.sources} == {
        "s2": "2023-06-15T10:30:31+00:00",
        "s1": "2023-06-14T06:00:00+00:00",
    }
    release = tmp_path / "release"
    arguments = ["build", listing, release, "--templates", templates, "--jobs", "1", "--quiet", "--no-explorer"]
    built = CliRunner().invoke(main, [*map(str, arguments)])
    assert built.exit_code == 0, built.output
    items = sorted(release.glob("france/p/*/*_y*.json"))
    assert items
    for path in items:
        for key, asset in json.loads(path.read_text())["assets"].items():
            if key in ("s1", "s2"):
                assert asset["dream:resampling"] == "none"
                assert asset["dream:api"] == api.url
                assert asset["processing:lineage"].startswith(f"catalog-builder prepare select of {key.upper()}_")
                _assert_same_pixels(path.parent / f"{key}.tif", tmp_path / "out" / f"{key}.tif")


def _assert_same_pixels(part: Path, whole: Path) -> None:
    """Where the two meet."""
    with rasterio.open(part) as one, rasterio.open(whole) as other:
        box = Bounds(*one.bounds).intersection(Bounds(*other.bounds))
        assert box is not None
        pixels = [each.read(window=window_of(*box, transform=each.transform)) for each in (one, other)]
    np.testing.assert_array_equal(*pixels)


# --- the choice -------------------------------------------------------------------------------------------------------

TARGET = target_of(UTM, 10, Bounds(0, 0, 1000, 1000))


def scene(name: str, day: int, box: Sequence[float], cloud: float = 0, track: str = "a", **more: Any) -> Scene:
    part = shapely.intersection(shapely.box(*box), scenes.area_of(TARGET))
    return Scene(
        id=name,
        taken=datetime(2023, 6, 1, 10, tzinfo=UTC) + timedelta(days=day),
        orbit=None,
        track=track,
        part=part,
        overlap=part.area / 1e6,
        hrefs={},
        cloud=cloud,
        **more,
    )


WANTED = date(2023, 6, 11)
ALL, WEST, EAST = (0, 0, 1000, 1000), (0, 0, 500, 1000), (480, 0, 1000, 1000)


def taken(verdicts: Sequence[Verdict]) -> list[str]:
    return [verdict.scene.id for verdict in verdicts if verdict.taken]


@pytest.mark.parametrize(
    ("offered", "names"),
    [
        # What covers all, though others are clearer and nearer.
        ([scene("all", 0, ALL, 19), scene("west", 10, WEST), scene("east", 10, EAST, track="b")], ["all"]),
        # Two scenes of one pass are one day.
        ([scene("west", 0, WEST, 19), scene("east", 0, EAST, 19), scene("half", 10, WEST)], ["east", "west"]),
        # The clearer, the nearer, the first by id.
        ([scene("a", 10, ALL, 5), scene("b", 0, ALL, 1)], ["b"]),
        ([scene("a", 0, ALL, 1.4), scene("b", 9, ALL, 1.2)], ["b"]),
        ([scene("b", 9, ALL, track="y"), scene("a", 11, ALL, track="x")], ["a"]),
        # The part that is missing comes from another day; what adds nothing is left.
        ([scene("w", 1, WEST), scene("e", 2, EAST, 9), scene("e2", 3, EAST, 1), scene("w2", 9, WEST, 3)], ["e2", "w"]),
        # A rim of a footprint is not worth another day.
        ([scene("most", 1, (0, 0, 1000, 999.5)), scene("rim", 2, (0, 900, 1000, 1000))], ["most"]),
        # Processed twice: the newer one.
        ([scene("a", 1, ALL, baseline=2.14), scene("b", 1, ALL, baseline=5.0)], ["b"]),
        ([scene("a", 1, ALL, lack="has no asset 'red'")], []),
        ([], []),
    ],
)
def test_the_choice(offered: list[Scene], names: list[str]) -> None:
    assert taken(scenes.choose(offered, TARGET, WANTED)) == names


def test_one_pass_alone_may_leave_a_part_open() -> None:
    offered = [scene("w", 1, WEST), scene("w2", 9, WEST), scene("e", 10, (600, 0, 1000, 1000))]
    assert taken(scenes.choose(offered, TARGET, WANTED, most=1)) == ["w2"]


def test_reasons_name_what_decided() -> None:
    offered = [
        scene("best", 10, ALL, 2),
        scene("twin", 10, ALL, 2, track="b"),
        scene("far", 0, ALL, 2),
        scene("grey", 10, ALL, 9, track="c"),
        scene("half", 10, WEST, track="d"),
        scene("spare", 10, WEST, 2),
        scene("lost", 10, ALL, lack="has no asset 'red'"),
    ]
    assert {verdict.scene.id: verdict.reason for verdict in scenes.choose(offered, TARGET, WANTED)} == {
        "best": "its pass covers 100 % of the area, 0 days from 2023-06-11",
        "spare": "adds nothing to the others of its pass",
        "twin": "as good as the one taken; the ids decide",
        "far": "10 days from 2023-06-11, not 0",
        "grey": "cloud 9 %, not 2 %",
        "half": "its pass covers 50 %, not 100 %",
        "lost": "has no asset 'red'",
    }


def test_what_another_day_adds_is_told() -> None:
    offered = [scene("w", 1, WEST), scene("e", 2, EAST)]
    assert {verdict.scene.id: verdict.reason for verdict in scenes.choose(offered, TARGET, WANTED)} == {
        "e": "its pass covers 52 % of the area, 8 days from 2023-06-11",
        "w": "its pass adds 48 % and covers 50 % of the area, 9 days from 2023-06-11",
    }


edges = st.tuples(st.integers(0, 9), st.integers(1, 10)).map(sorted).filter(lambda pair: pair[0] < pair[1])
boxes = st.tuples(edges, edges).map(
    lambda pair: [100 * side for side in (pair[0][0], pair[1][0], pair[0][1], pair[1][1])]
)
offers = st.lists(st.tuples(boxes, st.integers(0, 4), st.integers(0, 30), st.sampled_from("ab")), max_size=8)


@given(offers, st.randoms())
def test_what_can_be_covered_is_covered_in_any_order(offered: list[Any], shuffler: Any) -> None:
    made = [scene(f"s{n}", day, box, cloud, track) for n, (box, day, cloud, track) in enumerate(offered)]
    verdicts = scenes.choose(made, TARGET, WANTED)
    assert sorted(verdict.scene.id for verdict in verdicts) == sorted(one.id for one in made)
    assert all(verdict.reason for verdict in verdicts)
    whole = shapely.union_all([one.part for one in made])
    covered = shapely.union_all([verdict.scene.part for verdict in verdicts if verdict.taken])
    assert shapely.difference(whole, covered).area <= 0.001 * 1e6 * len(made)
    shuffler.shuffle(made)
    assert scenes.choose(made, TARGET, WANTED) == verdicts


# --- items ------------------------------------------------------------------------------------------------------------

COLLECTION = apis.ApiCollection(id="s2-l2a", bands=S2_KEYS, baseline="s2:processing_baseline", applied="test:applied")
PLACE = footprint(LEFT, TOP, 10240, 10240)
HREFS = {key: f"https://example.com/{key}.tif" for key in S2_KEYS.values()}


LIMITS = scenes.Limits(period=(date(2023, 6, 1), date(2023, 6, 30)), max_cloud=20)


def read_one(hrefs: dict[str, str] = HREFS, place: dict[str, Any] = PLACE, **properties: Any) -> Scene:
    properties = {"eo__cloud_cover": 3, "s2__processing_baseline": "05.09", **properties}
    one = item("S2", "s2-l2a", "2023-06-14T10:30:31Z", place, hrefs, **properties)
    (made,) = scenes.read_scenes([one, one], COLLECTION, target_of(UTM, 10, BOX), "API", LIMITS)
    return made


def test_the_offset_is_told_by_the_baseline_unless_it_is_taken_off() -> None:
    assert read_one().offset == -1000
    assert read_one(s2__processing_baseline="04.00").offset == -1000
    assert read_one(s2__processing_baseline="02.14").offset == 0
    assert read_one(test__applied=True).offset == 0
    assert read_one(test__applied=False).offset == -1000
    assert "s2:processing_baseline" in read_one(s2__processing_baseline=None).lack


@pytest.mark.parametrize(
    "href",
    ["file:///etc/passwd", "/vsicurl/http://example.com/a.tif", "/etc/passwd", "B02.tif", "", "ftp://example.com/a.tif",
     "https:///a.tif", "https://example.com/a b.tif", "https://example.com/a\r\nX: y", "vrt://https://example.com/a.tif",
     "/vsizip//vsicurl/http://example.com/a.zip", "http://[::1/a.tif"],
)  # fmt: skip
def test_hrefs_lead_to_web_addresses_only(href: str) -> None:
    assert read_one({**HREFS, "red": href}).lack == "its asset 'red' is at no web address"


def test_what_an_item_lacks_is_its_reason() -> None:
    assert read_one({key: href for key, href in HREFS.items() if key != "nir"}).lack == "has no asset 'nir'"
    assert read_one(eo__cloud_cover=20).lack == ""
    assert read_one(eo__cloud_cover=None).lack == "does not tell its eo:cloud_cover"
    assert "does not meet" in read_one(place={"geometry": None, "bbox": [0, 0, 1, 1]}).lack
    assert "does not meet" in read_one(place=footprint(LEFT + 50000, TOP, 1000, 1000)).lack


@pytest.mark.parametrize(
    "broken",
    [
        {"eo__cloud_cover": float("nan")},
        {"eo__cloud_cover": "\x1b[31m"},
        {"sat__relative_orbit": {}},
        {"s2__processing_baseline": "N0509"},
        {"datetime": "0001-01-01T00:00:00+23:00"},
        {"datetime": None},
        {"place": {"geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}}},
        {"place": {"geometry": {"type": "Blob"}}},
        {"place": {"geometry": []}},
        {"place": {"geometry": {"type": "Polygon", "coordinates": ""}}},
        {"hrefs": {**HREFS, "red": None}, "assets": None},
    ],
)
def test_a_broken_item_is_one_line(broken: dict[str, Any]) -> None:
    one = item("S2", "s2-l2a", "2023-06-14T10:30:31Z", broken.pop("place", PLACE), broken.pop("hrefs", HREFS))
    one |= {"assets": broken.pop("assets")} if "assets" in broken else {}
    known = {"eo:cloud_cover": 3, "s2:processing_baseline": "05.09"}
    one["properties"] |= known | {key.replace("__", ":"): value for key, value in broken.items()}
    with pytest.raises(RemoteError, match=r"^https://a\.com: no STAC item of s2-l2a: \w+") as caught:
        scenes.read_scenes([one], COLLECTION, target_of(UTM, 10, BOX), "https://a.com", LIMITS)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


def test_a_scene_outside_the_period_is_not_taken() -> None:
    assert read_one(datetime="1999-01-01T00:00:00Z").lack == "taken on 1999-01-01, outside the period"
    assert read_one(datetime="2023-06-30T23:59:59Z").lack == ""


def test_of_items_with_one_id_the_earliest_counts_in_whatever_order() -> None:
    early, late = (item("S2", "s2-l2a", f"2023-06-{day:02d}T10:30:31Z", PLACE, HREFS) for day in (5, 10))
    for one in (early, late):
        one["properties"] |= {"eo:cloud_cover": 3, "s2:processing_baseline": "05.09"}
    for items in ([early, late], [late, early]):
        (made,) = scenes.read_scenes(items, COLLECTION, target_of(UTM, 10, BOX), "API", LIMITS)
        assert made.taken.day == 5


@pytest.mark.parametrize("words", [("--max-cloud", "nan"), ("--timeout", "inf"), ("--timeout", "nan")])
def test_what_is_no_number_is_refused(api: StacServer, tmp_path: Path, words: tuple[str, str]) -> None:
    result = select(tmp_path, api, *words)
    assert (result.exit_code, result.output.count("\n")) == (2, 1)
    assert "a number up to" in result.output


def test_ids_become_words() -> None:
    assert scenes.clean("../../etc/\x1b[31mpasswd\n") == ".._.._etc_31mpasswd_"
    assert len(scenes.clean("x" * 5000)) == 100


# --- the file of APIs -------------------------------------------------------------------------------------------------


def test_known_apis() -> None:
    earth, older, planetary = (
        apis.read_api(name) for name in ("earth-search", "earth-search-l2a", "planetary-computer")
    )
    assert (list(earth.collections), list(planetary.collections)) == (["s2"], ["s2", "s1"])
    assert (earth.collections["s2"].offset, older.collections["s2"].applied) == (
        -1000,
        "earthsearch:boa_offset_applied",
    )
    assert planetary.sign == "planetary_computer:sign_url"
    assert planetary.collections["s1"].bands == {"VV": "vv", "VH": "vh"}
    assert planetary.collections["s1"].backscatter == "gamma0"


BAD_TABLES = {
    "no TOML": ("[local", "not TOML"),
    "another name": (TABLES.replace("[local", "[other"), "--api 'local': not in"),
    "no url": (TABLES.replace("url =", "title ="), "unknown key 'title'"),
    "a path for a url": (TABLES.replace("{url}", "/srv/stac"), "is no address"),
    "no function": (TABLES.replace("select:sign", "select"), "not written as module:function"),
    "no collections": ('[local]\nurl = "{url}"\n', "has neither [local.s2] nor [local.s1]"),
    "no band": (TABLES.replace('B08 = "nir", ', ""), "[local.s2]: bands: no asset named for B08"),
    "another band": (TABLES.replace("SCL", "B12"), "bands: unknown key 'B12'"),
    "an empty asset": (TABLES.replace('"nir"', '""'), "B08 is '', no text"),
    "two offsets": (TABLES.replace("applied =", "offset = 0\napplied ="), "wants one of offset"),
    "no whole number": (TABLES.replace('baseline = "s2:processing_baseline"', "offset = -0.1"), "no whole number"),
    "other units": (TABLES.replace('"linear"', '"amplitude"'), "units 'amplitude' is none of linear, db"),
    "no backscatter": (TABLES.replace('backscatter = "gamma0"', ""), "[local.s1]: backscatter is missing"),
    "no table": ("local = 3", "[local]: is no table"),
    "a signer that is nowhere": (
        TABLES.replace("tests.test_prepare_select:", "no_such_module:"),
        "pip install no-such",
    ),
    "a signer without the function": (TABLES.replace("select:sign", "select:no"), "has no no"),
}


@pytest.mark.parametrize("kind", BAD_TABLES)
def test_a_bad_file_of_apis_is_one_line(kind: str, api: StacServer, tmp_path: Path) -> None:
    text, message = BAD_TABLES[kind]
    tables(tmp_path, api.url, text)
    _assert_refused(select(tmp_path, api), tmp_path, 2, message)


def _assert_refused(result: Result, folder: Path, code: int, message: str) -> None:
    assert (result.exit_code, result.stderr.count("\n")) == (code, 1), (result.output, result.exception)
    assert message in result.stderr
    assert "Kf3" not in result.output
    out = folder / "out"
    assert not out.exists() or not list(out.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--period", "2023-07-01", "2023-06-01"], "ends before it begins"),
        (["--period", "2023-06", "2023-06-01"], "--period '2023-06'"),
        (["--nearest", "soon"], "--nearest 'soon'"),
        (["--api", "https://example.com"], "--api 'https://example.com': not in"),
        (["--apis", "no_such.toml"], "no_such.toml: cannot read"),
        (["--area", "p"], "--sources and --area go together"),
        (["--period", "2019-01-01", "2019-01-31"], "s2: no scene of s2-l2a, 2019-01-01 to 2019-01-31"),
        (["--max-cloud", "60", "--period", "2023-06-16", "2023-06-17", "--what", "s1"], "there is none over the area"),
        (["--max-cloud", "2", "--period", "2023-06-16", "2023-06-17"], "S2_cloudy: cloud 55 %, over 2 %"),
    ],
)
def test_a_bad_question_is_one_line(words: list[str], message: str, api: StacServer, tmp_path: Path) -> None:
    _assert_refused(select(tmp_path, api, *words), tmp_path, 2, message)


def test_what_is_there_and_not_of_a_prepare_is_kept(api: StacServer, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "s1.tif").write_bytes(b"mine")
    result = select(tmp_path, api)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert (tmp_path / "out" / "s1.tif").read_bytes() == b"mine"
    assert api.asked == []


# --- an API at fault --------------------------------------------------------------------------------------------------


def always(*answer: Any, path: str = "/search") -> Fault:
    return lambda asked, _: document(*answer) if asked == path else None


def page(*features: Any, **link: Any) -> Item:
    return {"type": "FeatureCollection", "features": list(features), "links": [{"rel": "next", **link}] if link else []}


FAULTS: dict[str, tuple[Fault, str]] = {
    "busy for ever": (always({"detail": "slow down"}, 429), "answers 429"),
    "broken": (lambda *_: (500, {}, b"<html>" + b"x" * 9000), "answers 500"),
    "refuses": (always({"detail": "for https://a.com/?sig=Kf3"}, 403), "answers 403"),
    "too slow": (slow(1.5), "no answer within 0.3 s"),
    "no JSON": (lambda *_: (200, {}, b"<html>\n\x1b[31m"), "gives no STAC API's answer"),
    "no STAC": (always([1, 2], path="/"), "gives no STAC API's answer"),
    "no features": (always({"features": 3}), "gives no STAC API's answer"),
    "not an item": (always(page(None)), "no STAC item of s2-l2a: TypeError"),
    "half an item": (always(page({"id": "S2"})), "no STAC item of s2-l2a"),
    "pages that lead to a file": (always(page({"id": "S2"}, href="/etc/passwd")), "'/etc/passwd', which is no web"),
    "pages that lead to a file address": (always(page({"id": "S2"}, href="file:///etc/passwd")), "which is no web"),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_an_api_at_fault_is_one_line(kind: str, api: StacServer, tmp_path: Path) -> None:
    api.fault, message = FAULTS[kind]
    result = select(tmp_path, api, "--timeout", 0.3)
    _assert_refused(result, tmp_path, 1, message)
    assert "\x1b" not in result.stderr
    assert len(result.stderr) < 500


def test_pages_without_end_are_one_line(api: StacServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apis, "MAX_ITEMS", 100)
    one = item("S2", "s2-l2a", "2023-06-14T10:30:31Z", PLACE, HREFS, eo__cloud_cover=3)
    endless = page(*[one] * 20, href=f"{api.url}/search", method="POST", body={})
    api.fault = always(endless)
    _assert_refused(select(tmp_path, api), tmp_path, 1, "more than 100 items of s2-l2a, or its pages never end")


def test_an_api_that_is_busy_for_a_while_is_asked_again(api: StacServer, tmp_path: Path) -> None:
    api.fault = lambda _, number: document({}, 429, **{"Retry-After": "0"}) if number in (1, 2, 4, 5) else None
    result = select(tmp_path, api, "--dry-run")
    assert result.exit_code == 0, result.output
    assert "S2_near" in result.output


def test_no_api_waits_longer_than_is_bearable() -> None:
    assert apis._patience().get_retry_after(HTTPResponse(headers={"Retry-After": "86400"})) == 60


def test_nobody_there(tmp_path: Path, api: StacServer) -> None:
    tables(tmp_path, f"http://user:Kf3@{HOST}:1/?sig=Kf3")
    _assert_refused(select(tmp_path, api), tmp_path, 1, f"http://{HOST}:1/: gives no")


def test_hostile_items(world: tuple[Path, list[Item]], tmp_path: Path) -> None:
    name = "../../escape\n\x1b[31m"
    items = [{**one, "id": name} if one["id"] == "S2_near" else one for one in world[1]]
    with stac_server(world[0], items) as api:
        result = select(tmp_path, api, "--what", "s2")
        assert result.exit_code == 0, result.output
    assert "\x1b" not in result.output
    assert tag(tmp_path / "out" / "s2.tif", "INPUTS") == [".._.._escape_31m"]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["apis.toml", "out", "s2.tif"]


# --- files at fault ---------------------------------------------------------------------------------------------------


def cut(share: float) -> Callable[[bytes], bytes]:
    return lambda data: data[: int(share * len(data))]


def without_place(_: bytes) -> bytes:
    with rasterio.MemoryFile() as memory:
        with memory.open(driver="GTiff", width=8, height=8, count=1, dtype="uint16") as dataset:
            dataset.write(np.ones((1, 8, 8), dtype=np.uint16))
        return bytes(memory.read())


def of_complex_numbers(_: bytes) -> bytes:
    place = {"crs": UTM, "transform": _PLACE}
    with rasterio.MemoryFile() as memory:
        with memory.open(driver="GTiff", width=8, height=8, count=1, dtype="complex64", **place):
            pass
        return bytes(memory.read())


BAD_FILES: dict[str, tuple[str, Callable[[bytes], bytes | None], str]] = {
    "missing": ("S2_near/red.tif", lambda _: None, "S2_near/red.tif: cannot be read"),
    "truncated": ("S2_near/nir.tif", cut(0.5), "S2_near/nir.tif: cannot be read"),
    "a header alone": ("S1_south/vh.tif", cut(0.01), "S1_south/vh.tif: cannot be read"),
    "garbage": ("S1_north/vv.tif", lambda _: b"<html>" * 1000, "S1_north/vv.tif: cannot be read"),
    "complex values": ("S1_north/vh.tif", of_complex_numbers, "S1_north/vh.tif: complex64 values"),
    "a picture without a place": ("S2_near/blue.tif", without_place, "S2_near/blue.tif: no geotransform"),
}


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_file_is_one_line(
    kind: str, jobs: int, world: tuple[Path, list[Item]], api: StacServer, tmp_path: Path
) -> None:
    name, spoil, message = BAD_FILES[kind]
    (api.folder, original) = tmp_path / "files", world[0]
    for path in original.rglob("*.tif"):
        (api.folder / path.relative_to(original)).parent.mkdir(parents=True, exist_ok=True)
        (api.folder / path.relative_to(original)).symlink_to(path)
    spoilt = spoil((original / name).read_bytes())
    (api.folder / name).unlink()
    if spoilt is not None:
        (api.folder / name).write_bytes(spoilt)
    _assert_refused(select(tmp_path, api, jobs=jobs), tmp_path, 1, message)


def test_answers_that_break_off_are_one_line(api: StacServer, tmp_path: Path) -> None:
    api.ends_early = True
    _assert_refused(select(tmp_path, api), tmp_path, 1, "S2_near/blue.tif: cannot be read")


def test_units_are_believed_only_where_they_can_be(world: tuple[Path, list[Item]], tmp_path: Path) -> None:
    (tmp_path / "files" / "S1").mkdir(parents=True)
    for key in S1_KEYS.values():
        write_cog(tmp_path / "files" / "S1" / f"{key}.tif", np.full((SIZE, SIZE), -12, dtype=np.float32))
    (one,) = [one for one in world[1] if one["id"] == "S1_late"]
    hrefs = {key: {"href": f"http://HOST/files/S1/{key}.tif"} for key in S1_KEYS.values()}
    with stac_server(tmp_path / "files", [{**one, "assets": hrefs}]) as api:
        _assert_refused(select(tmp_path, api, "--what", "s1"), tmp_path, 1, "-12 is no backscatter in units of linear")
        tables(tmp_path, api.url, TABLES.replace('"linear"', '"db"'))
        assert select(tmp_path, api, "--what", "s1").exit_code == 0
    np.testing.assert_allclose(read(tmp_path / "out" / "s1.tif"), -12, atol=1e-5)


def test_secrets_are_left_out_of_words() -> None:
    text = (
        "'https://a.com/b.tif?sv=1&sig=x': failed; see http://me:pw@a.com:80/c?sig=y: and s3://bucket/key, http://a/#t"
    )
    assert apis.without_secrets(text) == (
        "'https://a.com/b.tif': failed; see http://a.com:80/c: and s3://bucket/key, http://a/"
    )


@pytest.mark.parametrize("address", ["https://u:p@ss@a.com:80/x?sig=y#z", "https://a.com:80/x?sig=abc'def"])
def test_a_published_address_has_no_secret(address: str) -> None:
    assert apis.public(address) == "https://a.com:80/x"


def test_modalities_are_those_of_the_templates() -> None:
    for collection in template.load(template.default_folder()).collections.values():
        authored = collection.modalities["s1"]
        assert (authored.data_type, authored.band_names) == (MEAN_BANDS.data_type, MEAN_BANDS.names)
        assert authored.resampling == "bilinear"


def refuse(href: str) -> str:
    """A signing hook whose own server does not answer."""
    raise OSError(f"no token for {href}?{SECRET}")


def test_a_signer_that_fails_is_one_line(api: StacServer, tmp_path: Path) -> None:
    tables(tmp_path, api.url, TABLES.replace("select:sign", "select:refuse"))
    message = "blue.tif: not signed by tests.test_prepare_select:refuse: OSError: no token for"
    _assert_refused(select(tmp_path, api), tmp_path, 1, message)
