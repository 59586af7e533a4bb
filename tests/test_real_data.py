"""Real rasters through the public pipeline: North Carolina, North Dakota, Portland, Provence, Wales.

Every tile is held, at seeded windows, against pyproj and numpy (bilinear, nearest) or against the exact warp of the
whole area (average, mode); and read as users read it, with pystac, odc-stac and rasterio.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import odc.stac
import pystac
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner, Result
from odc.geo.geobox import GeoBox
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.warp import transform_bounds
from rasterio.windows import Window
from rio_cogeo.cogeo import cog_validate

from catalog_builder import sources, template
from catalog_builder.cli import main
from catalog_builder.fingerprint import Fingerprints
from catalog_builder.mosaic import read_tile
from catalog_builder.plan import make_plan
from catalog_builder.schemas import SchemaStore
from tests.makers import area, source, write_geotiff
from tests.oracles import Raster, Tally, box_weights, shrunk, whole_area

Array = npt.NDArray[Any]
Pixels = tuple[int, int]

WALES = Path(__file__).parent / "data" / "wales"
CAROLINA_RADAR = "usa_uavsar_pauli/lngley_05521_09059_000_090813_L090_CX_01_pauli_x016_y020_radar.tif"
CAROLINA_AERIAL = "usa_naip/lngley_05521_09059_000_090813_L090_CX_01_pauli_x016_y020_optique.tif"
DAKOTA = {2009: "usa_naip/m_4709963_se_14_1_20090818.tif", 2019: "usa_naip/m_4709963_se_14_1_20190904.tif"}
PORTLAND = "usa_dem/portland-ned.tif"
PROVENCE = "france_dem/N44E005.hgt"
WALES_S2 = "wales_sentinel2/sen2_20210527_aber_mosaic16.tif"
WALES_DEM = "wales_dem/AberSRTM_4326.tif"

SRTM_DATE = "datetime = 2000-02-11T00:00:00Z"
SIZE = 1024
"""Pixels a side of a tile."""
WINDOW = 128
"""Pixels a side of a window that is compared."""


# --- releases --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RealTile:
    """One item of a release with the folder of its files."""

    folder: Path
    item: pystac.Item

    @property
    def place(self) -> tuple[int, int]:
        return self.item.properties["dream:column"], self.item.properties["dream:row"]

    @property
    def crs(self) -> str:
        return str(self.item.properties["proj:code"])

    @property
    def transform(self) -> Affine:
        return Affine(*self.item.properties["proj:transform"])

    def cogs(self) -> list[str]:
        return [key for key in self.item.assets if key != "thumbnail"]

    def read(self, key: str, window: Window | None = None) -> Array:
        with rasterio.open(self.folder / f"{key}.tif") as dataset:
            return np.asarray(dataset.read(window=window))

    def resampling(self, key: str) -> str:
        return str(self.item.assets[key].extra_fields["dream:resampling"])


@dataclass(frozen=True, slots=True)
class Release:
    """A built release, and what the build said."""

    root: Path
    listing: Path
    collection: str
    templates: template.TemplateSet
    report: dict[str, Any]

    def tiles(self, name: str = "*") -> list[RealTile]:
        """Every tile of an area, by default of all."""
        paths = sorted(self.root.glob(f"{self.collection}/{name}/*/*_y*.json"))
        return [RealTile(path.parent, pystac.Item.from_file(str(path))) for path in paths]

    def kind(self, key: str) -> template.Modality:
        return self.templates.collections[self.collection].modalities[key]


def command(folder: Path, *arguments: object) -> Result:
    """Run the command line, with caches of its own."""
    return CliRunner(env={"XDG_CACHE_HOME": str(folder / "cache")}).invoke(main, [*map(str, arguments), "--jobs", "1"])


def build(folder: Path, collection: str, *areas: str, templates: Path | None = None) -> Release:
    """Build areas with the shipped templates, or with others."""
    folder.mkdir(parents=True, exist_ok=True)
    listing, root = folder / "sources.toml", folder / "release"
    listing.write_text("\n".join(areas))
    others = ["--templates", templates] if templates else []
    result = command(folder, "build", listing, root, *others, "--json", "--quiet", "--no-explorer")
    assert result.exit_code == 0, result.output
    loaded = template.load(templates or template.default_folder())
    return Release(root, listing, collection, loaded, json.loads(result.stdout))


def carolina_area(real_data: Path, **more: Any) -> str:
    return area(
        "lngley_05521",
        source("uavsar_1", str(real_data / CAROLINA_RADAR), "datetime = 2009-08-13T00:00:00Z"),
        # Its date is not known; what is known is that it is not from before the programme, nor from the future.
        source(
            "naip",
            str(real_data / CAROLINA_AERIAL),
            "start_datetime = 2003-01-01T00:00:00Z\nend_datetime = 2020-12-31T00:00:00Z",
        ),
        collection="usa",
        required=["uavsar_1", "naip"],
        crs="EPSG:32617",
        **more,
    )


@pytest.fixture(scope="module")
def carolina(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Release:
    return build(tmp_path_factory.mktemp("carolina"), "usa", carolina_area(real_data))


@pytest.fixture(scope="module")
def dakota(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Release:
    """Two dates, each in the CRS of the file and in that of the template's rule."""
    dates = {2009: "datetime = 2009-08-18T00:00:00Z", 2019: "datetime = 2019-09-04T00:00:00Z"}
    areas = [
        area(
            f"dakota_{year}_{name}",
            source("naip", str(real_data / path), dates[year], bands=[1, 2, 3]),
            collection="usa",
            required=["naip"],
            **crs,
        )
        for year, path in DAKOTA.items()
        for name, crs in (("own", {"crs": "EPSG:26914"}), ("utm", {}))
    ]
    return build(tmp_path_factory.mktemp("dakota"), "usa", *areas)


def portland_area(dem: Path, **more: Any) -> str:
    return area("portland", source("srtm", str(dem), SRTM_DATE), collection="usa", required=["srtm"], **more)


@pytest.fixture(scope="module")
def portland_dem(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The elevation of Portland in whole metres: decimals do not fit in ``srtm``, as a test below holds."""
    with rasterio.open(real_data / PORTLAND) as dataset:
        metres, transform = dataset.read(), dataset.transform
        pixels = np.where(metres == dataset.nodata, -32768, np.rint(metres)).astype("int16")
    path = tmp_path_factory.mktemp("portland") / "portland.tif"
    return write_geotiff(path, pixels, crs="EPSG:4269", transform=transform, nodata=-32768)


@pytest.fixture(scope="module")
def portland(portland_dem: Path) -> Release:
    return build(portland_dem.parent / "own", "usa", portland_area(portland_dem))


@pytest.fixture(scope="module")
def provence(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Release:
    listing = area("provence", source("srtm", str(real_data / PROVENCE), SRTM_DATE), required=["srtm"])
    return build(tmp_path_factory.mktemp("provence"), "france", listing)


@pytest.fixture(scope="module")
def wales_cover(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Classes of the vegetation index of the real scene, since no real class raster is at hand."""
    with rasterio.open(real_data / WALES_S2) as dataset:
        red, near_infrared = dataset.read([3, 7]).astype(np.float64)
        profile = {"crs": dataset.crs.to_string(), "transform": dataset.transform}
    index = (near_infrared - red) / (near_infrared + red)
    classes = np.digitize(index, [0, 0.3, 0.6]).astype("uint8")[None]
    return write_geotiff(tmp_path_factory.mktemp("wales") / "cover.tif", classes, nodata=255, **profile)


def wales_area(real_data: Path, cover: Path, name: str, **more: Any) -> str:
    scene = "datetime = 2021-05-27T11:21:21Z"
    return area(
        name,
        source("s2", str(real_data / WALES_S2), scene),
        source("elevation", str(real_data / WALES_DEM), SRTM_DATE),
        source("elevation_measured", str(real_data / WALES_DEM), SRTM_DATE),
        source("cover", str(cover), scene),
        collection="wales",
        required=["s2", "elevation"],
        **more,
    )


@pytest.fixture(scope="module")
def wales(real_data: Path, wales_cover: Path) -> Release:
    """From a template of its own: once on the grid of the scene, once in another CRS."""
    return build(
        wales_cover.parent / "own",
        "wales",
        wales_area(real_data, wales_cover, "aberystwyth"),
        wales_area(real_data, wales_cover, "aberystwyth_utm", crs="EPSG:32630"),
        templates=WALES,
    )


SLOW = pytest.mark.slow
EVERYWHERE = ["dakota", "portland", *(pytest.param(name, marks=SLOW) for name in ("carolina", "wales", "provence"))]


@pytest.fixture
def release(request: pytest.FixtureRequest) -> Release:
    """A release by the name of its fixture."""
    return cast("Release", request.getfixturevalue(request.param))


everywhere = pytest.mark.parametrize("release", EVERYWHERE, indirect=True)


# --- windows ---------------------------------------------------------------------------------------------------------


def windows(tile: RealTile, count: int = 4) -> Iterator[Window]:
    """Seeded windows of a tile, two of them at its corners."""
    column, row = tile.place
    rng = np.random.default_rng([abs(column), abs(row)])
    yield Window(0, 0, WINDOW, WINDOW)
    yield Window(SIZE - WINDOW, SIZE - WINDOW, WINDOW, WINDOW)
    for left, top in rng.integers(0, SIZE - WINDOW, size=(count - 2, 2)).tolist():
        yield Window(left, top, WINDOW, WINDOW)


def rims(tile: RealTile, raster: Raster) -> Iterator[Window]:
    """Windows around the corners and the middles of the sides of a source, where they lie in a tile."""
    height, width = raster.pixels.shape[1:]
    for across, down in ((0, 0), (0, 0.5), (0, 1), (0.5, 0), (0.5, 1), (1, 0), (1, 0.5), (1, 1)):
        x, y = raster.transform @ (across * width, down * height)
        xs, ys = rasterio.warp.transform(raster.crs, tile.crs, [x], [y])
        column, row = ~tile.transform @ (xs[0], ys[0])
        if 0 <= column < SIZE and 0 <= row < SIZE:
            left, top = (min(max(round(value) - WINDOW // 2, 0), SIZE - WINDOW) for value in (column, row))
            yield Window(left, top, WINDOW, WINDOW)


def compare_points(release: Release, tile: RealTile, key: str, raster: Raster, spots: Sequence[Window]) -> Tally:
    """Hold windows of an asset against bilinear or nearest by pyproj and numpy."""
    kind, tally = release.kind(key), Tally()
    told = raster.nearest if kind.resampling == "nearest" else raster.bilinear
    for window in spots:
        corner = tile.transform @ Affine.translation(window.col_off, window.row_off)
        places = raster.places(tile.crs, corner, (window.height, window.width))
        expected = told(*places, kind.nodata, kind.data_type)
        tally.add(tile.read(key, window), expected, f"{tile.item.id} {key} {window}")
    return tally


def compare_area(
    release: Release, tiles: Sequence[RealTile], key: str, path: Path, bands: list[int] | None = None
) -> Tally:
    """Hold windows of an asset against the exact warp of the whole area."""
    first, tally = min(tiles, key=lambda tile: tile.place), Tally()
    columns, rows = (max(tile.place[axis] for tile in tiles) + 1 for axis in (0, 1))
    raster = Raster.read(path)
    with whole_area(path, release.kind(key), first.crs, first.transform, (rows * SIZE, columns * SIZE)) as warped:
        for tile in tiles:
            for window in [*windows(tile), *rims(tile, raster)]:
                column, row = ~first.transform @ (tile.transform.c, tile.transform.f)
                left, top = round(column) + window.col_off, round(row) + window.row_off
                expected = warped.read(bands, window=Window(left, top, window.width, window.height))
                tally.add(tile.read(key, window), expected, f"{tile.item.id} {key} {window}")
    return tally


def joined(tiles: Sequence[RealTile], key: str) -> tuple[Array, npt.NDArray[np.bool_], tuple[float, float]]:
    """Join tiles: pixels, where there is a tile, and the upper-left corner."""
    left, top = min(tile.transform.c for tile in tiles), max(tile.transform.f for tile in tiles)
    places = [~tiles[0].transform @ (tile.transform.c, tile.transform.f) for tile in tiles]
    base = ~tiles[0].transform @ (left, top)
    spots = [(round(column - base[0]), round(row - base[1])) for column, row in places]
    first = tiles[0].read(key)
    shape = max(row for _, row in spots) + SIZE, max(column for column, _ in spots) + SIZE
    pixels = np.zeros((len(first), *shape), dtype=first.dtype)
    there = np.zeros(shape, dtype=np.bool_)
    for tile, (column, row) in zip(tiles, spots, strict=True):
        pixels[:, row : row + SIZE, column : column + SIZE] = tile.read(key)
        there[row : row + SIZE, column : column + SIZE] = True
    return pixels, there, (left, top)


def compare_overlap(tiles: Sequence[RealTile], shifted: Sequence[RealTile], key: str) -> Tally:
    """Hold tiles against those of a grid that is shifted: what is a seam in one is the midst of a tile in the other."""
    (one, in_one, corner), (two, in_two, other) = joined(tiles, key), joined(shifted, key)
    resolution = tiles[0].transform.a
    left, down = round((corner[0] - other[0]) / resolution), round((other[1] - corner[1]) / resolution)
    assert (abs(left), abs(down)) != (0, 0)
    rows, columns = (slice(max(0, -n), None) for n in (down, left))
    one, in_one = one[:, rows, columns], in_one[rows, columns]
    rows, columns = (slice(max(0, n), None) for n in (down, left))
    two, in_two = two[:, rows, columns], in_two[rows, columns]
    height, width = min(one.shape[1], two.shape[1]), min(one.shape[2], two.shape[2])
    both = in_one[:height, :width] & in_two[:height, :width]
    tally = Tally()
    tally.add(one[:, :height, :width][:, both], two[:, :height, :width][:, both], key)
    return tally


def half_a_tile_off(tile: RealTile) -> list[float]:
    """Give the origin of the grid of an area, moved by half a tile to the upper left."""
    column, row = tile.place
    corner = tile.transform @ (-column * SIZE - SIZE // 2, -row * SIZE - SIZE // 2)
    return [float(value) for value in corner]


# --- every release, as its users read it -----------------------------------------------------------------------------


@everywhere
def test_every_cog_is_valid_and_stands_alone(release: Release) -> None:
    for tile in release.tiles():
        for key in tile.cogs():
            path = tile.folder / f"{key}.tif"
            assert cog_validate(path, strict=True) == (True, [], [])
            with rasterio.open(path) as dataset:
                bands = len(release.kind(key).bands)
                assert dataset.shape == (SIZE, SIZE)
                assert dataset.block_shapes == [(512, 512)] * bands
                assert [dataset.overviews(band) for band in dataset.indexes] == [[2]] * bands
                assert ColorInterp.alpha not in dataset.colorinterp
                assert dataset.crs == CRS.from_string(tile.crs)
                assert dataset.transform == tile.transform
    suffixes = {path.suffix for path in release.root.rglob("*") if path.is_file()}
    assert suffixes == {".tif", ".json", ".png", ".parquet", ".sha256"}


@everywhere
def test_pystac_reads_the_tree(release: Release) -> None:
    catalog = pystac.Catalog.from_file(str(release.root / "catalog.json"))
    items = list(catalog.get_items(recursive=True))
    assert len(items) == release.report["items"] == len(release.tiles())
    assert [child.id for child in catalog.get_children()] == [release.collection]
    for item in items:
        assert item.collection_id == release.collection
        assert item.get_root() is catalog
        assert all(Path(asset.get_absolute_href() or "").is_file() for asset in item.assets.values())


@everywhere
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")  # odc's own
def test_odc_stac_loads_every_band_on_the_exact_grid(release: Release) -> None:
    """From the item alone: pixels bit for bit, coordinates without rounding."""
    tiles = release.tiles()
    for tile in tiles if len(tiles) < 9 else [tiles[number] for number in (0, 40, 95)]:
        transform, centres = tile.transform, np.arange(SIZE) + 0.5
        geobox = GeoBox((SIZE, SIZE), transform, tile.crs)
        for key in tile.cogs():
            pixels = tile.read(key)
            names = [key] if len(pixels) == 1 else [f"{key}.{band}" for band in range(1, len(pixels) + 1)]
            loaded = odc.stac.load([tile.item], bands=names, geobox=geobox)
            np.testing.assert_array_equal(loaded.x.values, transform.c + centres * transform.a)
            np.testing.assert_array_equal(loaded.y.values, transform.f + centres * transform.e)
            for image, name in zip(pixels, names, strict=True):
                np.testing.assert_array_equal(loaded[name].values[0], image)


# --- USA: North Carolina ---------------------------------------------------------------------------------------------


@SLOW
def test_carolina_leaves_out_tiles_with_hardly_a_pixel(carolina: Release, real_data: Path) -> None:
    assert [tile.place for tile in carolina.tiles()] == [(0, 0), (0, 1)]
    assert [found["item"] for found in carolina.report["left_out"]] == [
        "lngley_05521_x0001_y0000", "lngley_05521_x0001_y0001",
    ]  # fmt: skip
    radar = Raster.read(real_data / CAROLINA_RADAR)
    for row, found in enumerate(carolina.report["left_out"]):
        transform = carolina.tiles()[row].transform @ Affine.translation(SIZE, 0)
        pixels = radar.nearest(*radar.places("EPSG:32617", transform, (SIZE, SIZE)), np.nan, "float32")
        share = 100 * np.isfinite(pixels[0]).mean()
        assert 0 < share < 5
        assert found["why"] == f"uavsar_1 has {share:.3g} % valid pixels"


@SLOW
def test_carolina_is_the_radar_interpolated(carolina: Release, real_data: Path) -> None:
    radar, tally = Raster.read(real_data / CAROLINA_RADAR), Tally()
    for tile in carolina.tiles():
        assert tile.resampling("uavsar_1") == "bilinear"
        tally.join(compare_points(carolina, tile, "uavsar_1", radar, [*windows(tile, 6), *rims(tile, radar)]))
    tally.check()


@SLOW
def test_dark_radar_pixels_are_data(carolina: Release) -> None:
    """0 is a measured value of the 8-bit original, which declares no nodata; the rim is NaN."""
    pixels = carolina.tiles()[0].read("uavsar_1")
    assert pixels.dtype == np.float32
    assert (pixels == 0).any()
    assert np.isnan(pixels).any()


@SLOW
def test_carolina_is_the_aerial_image_averaged(carolina: Release, real_data: Path) -> None:
    compare_area(carolina, carolina.tiles(), "naip", real_data / CAROLINA_AERIAL).check()


@SLOW
def test_carolina_agrees_with_itself_on_a_shifted_grid(carolina: Release, real_data: Path, tmp_path: Path) -> None:
    listing = carolina_area(real_data, origin=half_a_tile_off(carolina.tiles()[0]))
    shifted = build(tmp_path, "usa", listing)
    assert len(shifted.tiles()) == 4
    for key in ("uavsar_1", "naip"):
        tally = compare_overlap(carolina.tiles(), shifted.tiles(), key)
        assert tally.compared > 3 * 10**6
        tally.check()


# --- USA: North Dakota -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("year", DAKOTA)
def test_dakota_in_its_own_crs_is_the_file_itself(dakota: Release, real_data: Path, year: int) -> None:
    original = Raster.read(real_data / DAKOTA[year], [1, 2, 3])
    (tile,) = dakota.tiles(f"dakota_{year}_own")
    rows, columns = original.pixels.shape[1:]
    assert tile.resampling("naip") == "none"
    assert tile.transform == original.transform
    expected = np.zeros((3, SIZE, SIZE), dtype="uint8")
    expected[:, :rows, :columns] = original.pixels
    np.testing.assert_array_equal(tile.read("naip"), expected)


@pytest.mark.parametrize("year", DAKOTA)
def test_dakota_in_utm_is_the_file_averaged(dakota: Release, real_data: Path, year: int) -> None:
    (tile,) = dakota.tiles(f"dakota_{year}_utm")
    assert tile.crs == "EPSG:32614"
    assert tile.resampling("naip") == "average"
    compare_area(dakota, [tile], "naip", real_data / DAKOTA[year], [1, 2, 3]).check()


@pytest.mark.parametrize("year", DAKOTA)
def test_dakota_in_utm_is_what_arithmetic_says(dakota: Release, real_data: Path, year: int) -> None:
    """The two CRS differ in the datum's name alone: pixels are the average of four, by whole metres of overlap."""
    (tile,) = dakota.tiles(f"dakota_{year}_utm")
    original = Raster.read(real_data / DAKOTA[year], [1, 2, 3])
    column, row = ~original.transform @ (tile.transform.c, tile.transform.f)
    height, width = original.pixels.shape[1:]
    down, right = box_weights(height, height, 1.0, row), box_weights(width, width, 1.0, column)
    actual = tile.read("naip", Window(0, 0, width, height))
    for image, source_image in zip(actual, original.pixels, strict=True):
        total, weight = shrunk(source_image, source_image != 0, (down, right))
        full = weight > 1 - 1e-6
        assert full.mean() > 0.99
        np.testing.assert_array_equal(image[full], np.floor(total[full] / weight[full] + 0.5))


# --- USA: Portland ---------------------------------------------------------------------------------------------------


def test_decimals_do_not_fit_in_whole_metres(real_data: Path, tmp_path: Path) -> None:
    listing = tmp_path / "sources.toml"
    listing.write_text(portland_area(real_data / PORTLAND))
    result = command(tmp_path, "build", listing, tmp_path / "release", "--quiet")
    assert result.exit_code == 1
    assert result.stderr == (
        f"catalog-builder: {(real_data / PORTLAND).resolve()}: float32 does not fit in int16 of 'srtm' without loss; "
        "convert it with gdal_translate -ot\n"
    )
    assert not (tmp_path / "release").exists()


def test_portland_is_the_elevation_interpolated(portland: Release, portland_dem: Path) -> None:
    dem, tally = Raster.read(portland_dem), Tally()
    assert dem.crs == "EPSG:4269"
    for tile in portland.tiles():
        assert tile.crs == "EPSG:32610"
        tally.join(compare_points(portland, tile, "srtm", dem, [*windows(tile, 6), *rims(tile, dem)]))
    tally.check()
    assert {tile.place for tile in portland.tiles()} == {(0, 0), (1, 0), (0, 1), (1, 1)}


@SLOW
def test_portland_agrees_with_itself_on_a_shifted_grid(portland: Release, portland_dem: Path, tmp_path: Path) -> None:
    listing = portland_area(portland_dem, origin=half_a_tile_off(portland.tiles()[0]))
    tally = compare_overlap(portland.tiles(), build(tmp_path, "usa", listing).tiles(), "srtm")
    assert tally.compared > 10**6
    tally.check()


# --- France: Provence ------------------------------------------------------------------------------------------------


@SLOW
def test_provence_has_sixty_full_tiles_on_the_global_grid(provence: Release, real_data: Path) -> None:
    with rasterio.open(real_data / PROVENCE) as dataset:
        west, south, east, north = dataset.bounds
    full = 0
    for tile in provence.tiles():
        (column, row), (left, top) = tile.place, (tile.transform.c, tile.transform.f)
        assert tile.crs == "EPSG:32631"
        assert (left, top) == (column * SIZE * 10, (row + 1) * SIZE * 10)
        assert tile.item.properties["grid:code"].endswith(f"EPSG32631_x{column:04d}_y{row:04d}")
        assert tile.item.properties["dream:absent"] == ["s1", "s1_mean", "s1_activity", "s2", "osm"]
        box = transform_bounds(tile.crs, "EPSG:4326", left, top - SIZE * 10, left + SIZE * 10, top)
        full += west <= box[0] and south <= box[1] and box[2] <= east and box[3] <= north
    assert full >= 60
    shares = [tile.item.properties["dream:valid_percent"] for tile in provence.tiles()]
    assert sum(share > 95 for share in shares) >= 60
    assert min(shares) >= 5


@SLOW
def test_provence_is_the_elevation_interpolated(provence: Release, real_data: Path) -> None:
    dem, tally = Raster.read(real_data / PROVENCE), Tally()
    for tile in provence.tiles():
        tally.join(compare_points(provence, tile, "srtm", dem, [*windows(tile, 3), *rims(tile, dem)]))
    tally.check()
    assert tally.compared > 4 * 10**6


@SLOW
def test_voids_of_provence_are_nodata(provence: Release, real_data: Path) -> None:
    """Around thirty voids of the source, windows have nodata in just the pixels whose centre lies in a void."""
    dem, tally, tiles = Raster.read(real_data / PROVENCE), Tally(), provence.tiles()
    voids = np.argwhere(~dem.valid[0])
    assert len(voids) > 1000
    for row, column in np.random.default_rng(5).permutation(voids)[:30].tolist():
        x, y = dem.transform @ (column + 0.5, row + 0.5)
        xs, ys = rasterio.warp.transform(dem.crs, "EPSG:32631", [x], [y])
        for tile in tiles:
            j, i = (round(value) for value in ~tile.transform @ (xs[0], ys[0]))
            if 40 <= j < SIZE - 40 and 40 <= i < SIZE - 40:
                window = Window(j - 40, i - 40, 80, 80)
                assert (tile.read("srtm", window) == -32768).any()
                tally.join(compare_points(provence, tile, "srtm", dem, [window]))
    assert tally.compared > 20 * 80 * 80
    tally.check()


@SLOW
def test_provence_is_its_part_of_the_warp_of_the_whole_area(provence: Release, real_data: Path) -> None:
    kind, tally = provence.kind("srtm"), Tally()
    tiles = provence.tiles()
    left, top = min(tile.transform.c for tile in tiles), max(tile.transform.f for tile in tiles)
    corner = Affine(10, 0, left, 0, -10, top)
    with whole_area(real_data / PROVENCE, kind, "EPSG:32631", corner, (13 * SIZE, 9 * SIZE)) as warped:
        for tile in tiles[::9]:
            column, row = (round(value) for value in ~corner @ (tile.transform.c, tile.transform.f))
            tally.add(tile.read("srtm"), warped.read(window=Window(column, row, SIZE, SIZE)), tile.item.id)
    tally.check()
    assert tally.compared > 10**7


@SLOW
def test_provence_agrees_with_itself_on_a_shifted_grid(provence: Release, real_data: Path, tmp_path: Path) -> None:
    """Tiles astride the seams of four others."""
    tiles = {tile.place: tile for tile in provence.tiles()}
    listing = tmp_path / "sources.toml"
    origin = [float(66 * SIZE * 10 + SIZE * 5), float(484 * SIZE * 10 - SIZE * 5)]
    dem = source("srtm", str(real_data / PROVENCE), SRTM_DATE)
    listing.write_text(area("provence", dem, required=["srtm"], crs="EPSG:32631", origin=origin))
    (planned,) = make_plan(sources.load(listing, provence.templates), provence.templates, Fingerprints()).areas
    tally, half = Tally(), SIZE // 2
    for column, row in ((0, 0), (2, 1)):
        pixels = read_tile(planned.sources[0].placed, planned.grid.tile(column, row))
        for right in (0, 1):
            for down in (0, 1):
                part = pixels[:, down * half : (down + 1) * half, right * half : (right + 1) * half]
                other = tiles[66 + column + right, 483 - row - down]
                tally.add(part, other.read("srtm", Window((1 - right) * half, (1 - down) * half, half, half)))
    tally.check()
    assert tally.compared == 2 * SIZE**2


# --- Wales: a template of its own ------------------------------------------------------------------------------------


def test_the_template_of_wales_is_valid(schemas_dir: Path, tmp_path: Path) -> None:
    store = SchemaStore(mirror=schemas_dir, cache=tmp_path)
    for name in ("catalog.json", "wales/collection.json"):
        assert store.errors(json.loads((WALES / name).read_text())) == []


@SLOW
def test_wales_is_the_scene_itself_on_the_grid_of_the_scene(wales: Release, real_data: Path) -> None:
    scene = Raster.read(real_data / WALES_S2)
    (tile,) = wales.tiles("aberystwyth")
    assert (tile.crs, tile.transform) == ("EPSG:27700", scene.transform)
    assert [tile.resampling(key) for key in ("s2", "cover", "elevation")] == ["none", "none", "bilinear"]
    rows, columns = scene.pixels.shape[1:]
    pixels = tile.read("s2")
    np.testing.assert_array_equal(pixels[:, :rows, :columns], scene.pixels)
    assert not pixels[:, rows:].any()
    assert not pixels[:, :, columns:].any()


@SLOW
def test_wales_in_utm_is_the_scene_interpolated(wales: Release, real_data: Path) -> None:
    scene, tally = Raster.read(real_data / WALES_S2), Tally()
    for tile in wales.tiles("aberystwyth_utm"):
        assert (tile.crs, tile.resampling("s2")) == ("EPSG:32630", "bilinear")
        tally.join(compare_points(wales, tile, "s2", scene, [*windows(tile), *rims(tile, scene)]))
    tally.check()


@SLOW
@pytest.mark.parametrize("name", ["aberystwyth", "aberystwyth_utm"])
@pytest.mark.parametrize("key", ["elevation", "elevation_measured"])
def test_elevation_of_wales_is_that_of_numpy(wales: Release, real_data: Path, name: str, key: str) -> None:
    """Interpolated, and of the nearest cell."""
    dem, tally = Raster.read(real_data / WALES_DEM), Tally()
    assert dem.nodata == -32767
    for tile in wales.tiles(name):
        tally.join(compare_points(wales, tile, key, dem, list(windows(tile, 9))))
    tally.check()


@SLOW
def test_cover_of_wales_is_its_part_of_the_warp_of_the_whole_area(wales: Release, wales_cover: Path) -> None:
    tiles = wales.tiles("aberystwyth_utm")
    assert {tile.resampling("cover") for tile in tiles} == {"mode"}
    tally = compare_area(wales, tiles, "cover", wales_cover)
    assert tally.differing == 0
    assert {int(value) for tile in tiles for value in np.unique(tile.read("cover"))} <= {0, 1, 2, 3, 255}


@SLOW
def test_wales_agrees_with_itself_on_a_shifted_grid(
    wales: Release, real_data: Path, wales_cover: Path, tmp_path: Path
) -> None:
    tiles = wales.tiles("aberystwyth_utm")
    listing = wales_area(real_data, wales_cover, "aberystwyth_utm", crs="EPSG:32630", origin=half_a_tile_off(tiles[0]))
    shifted = build(tmp_path, "wales", listing, templates=WALES).tiles()
    for key in ("s2", "elevation", "elevation_measured", "cover"):
        compare_overlap(tiles, shifted, key).check()


@SLOW
def test_wales_keeps_the_words_of_its_template(wales: Release) -> None:
    (tile,) = wales.tiles("aberystwyth")
    bands = tile.item.assets["s2"].extra_fields["bands"]
    assert [band["name"] for band in bands] == ["B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"]
    assert {band["raster:scale"] for band in bands} == {0.001}
    assert tile.item.assets["elevation"].extra_fields["bands"][0]["nodata"] == -32767
    with rasterio.open(tile.folder / "s2.tif") as dataset:
        assert dataset.tags(ns="IMAGE_STRUCTURE")["COMPRESSION"] == "DEFLATE"
