"""Sources on a grid: tiles against numpy, and against warps of the whole area; grids against arithmetic."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio._env import get_gdal_config
from rasterio.enums import ColorInterp
from rasterio.io import MemoryFile
from rasterio.windows import Window

from catalog_builder import mosaic
from catalog_builder.cog import encode
from catalog_builder.grid import Bounds, Tile, TileGrid
from catalog_builder.mosaic import read_tile
from catalog_builder.placement import PlacedSource, place_source
from catalog_builder.raster import RasterHeader, gdal_environment, read_header, read_window
from catalog_builder.template import CogOptions, Modality
from tests.makers import modality, texture, write_geotiff
from tests.oracles import Raster, Tally, box_weights, shrunk, triangle_weights, whole_area

Array = npt.NDArray[Any]

CORNER = (500_000.0, 5_000_000.0)
CRS = "EPSG:32631"
GRID = TileGrid(crs=CRS, resolution=10, origin=CORNER, tile_shape=(32, 32))
TILE = GRID.tile(0, 0)
RESAMPLINGS = ("nearest", "mode", "bilinear", "cubic", "average")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mosaic")


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> list[Window]:
    """Every window that is read of a source."""
    seen: list[Window] = []

    def noted(header: RasterHeader, bands: tuple[int, ...], window: Window) -> Any:
        seen.append(window)
        return read_window(header, bands, window)

    monkeypatch.setattr(mosaic, "read_window", noted)
    return seen


def place(kind: Modality, grid: TileGrid, *paths: Path, bands: Sequence[int] = ()) -> PlacedSource:
    headers = [read_header(path) for path in paths]
    numbers = tuple(bands) or tuple(range(1, headers[0].count + 1))
    return place_source(kind, numbers, [(header, header.path.name) for header in headers], grid)


def read_area(source: PlacedSource, grid: TileGrid, rows: int, columns: int) -> Array:
    """Read tiles and join them."""
    return np.block([[read_tile(source, grid.tile(column, row)) for column in range(columns)] for row in range(rows)])


def noise(*shape: int, data_type: str = "uint16", low: int = 1, high: int = 200, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(low, high, size=shape).astype(data_type)


# --- copied bit for bit ----------------------------------------------------------------------------------------------


def pasted(pixels: Array, column: int, row: int, tile: Tile, fill: float) -> Array:
    """Paste pixels whose corner stands at (column, row) of the grid into a tile, one pixel at a time."""
    rows, columns = tile.grid.tile_shape
    left, top = tile.pixel_origin
    expected = np.full((len(pixels), rows, columns), fill, dtype=pixels.dtype)
    for i in range(rows):
        for j in range(columns):
            y, x = top + i - row, left + j - column
            if 0 <= y < pixels.shape[1] and 0 <= x < pixels.shape[2]:
                expected[:, i, j] = pixels[:, y, x]
    return expected


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    column=st.integers(-60, 60),
    row=st.integers(-60, 60),
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    tile=st.tuples(st.integers(-2, 2), st.integers(-2, 2)),
    origin=st.sampled_from([CORNER, (257070.59483340546, 285728.7167059921), (0.0, 0.0)]),
    resolution=st.sampled_from([10.0, 5.0, 0.6]),
    rows=st.sampled_from(["north", "south"]),
    data_type=st.sampled_from(["uint8", "uint16", "int16", "float32"]),
    tiled=st.booleans(),
)
def test_a_file_on_the_grid_is_copied_bit_for_bit(
    folder: Path, column: int, row: int, width: int, height: int, tile: tuple[int, int], origin: tuple[float, float],
    resolution: float, rows: Any, data_type: str, tiled: bool,
) -> None:  # fmt: skip
    grid = TileGrid(crs=CRS, resolution=resolution, origin=origin, tile_shape=(32, 24), rows=rows)
    pixels = noise(2, height, width, data_type=data_type)
    corner = origin[0] + column * resolution, origin[1] - row * resolution
    options: dict[str, Any] = {"tiled": True, "blockxsize": 16, "blockysize": 16} if tiled else {}
    path = write_geotiff(folder / "copied.tif", pixels, corner=corner, resolution=resolution, **options)
    source = place(modality(data_type, 0, "cubic", bands=2), grid, path)
    np.testing.assert_array_equal(
        read_tile(source, grid.tile(*tile)), pasted(pixels, column, row, grid.tile(*tile), fill=0)
    )
    assert source.resampling == "none"


def test_header_rounding_is_no_reason_to_resample(folder: Path) -> None:
    pixels = noise(1, 40, 40)
    path = write_geotiff(folder / "rounded.tif", pixels, corner=(CORNER[0] + 100.000001, CORNER[1] - 50.000001))
    source = place(modality("uint16", 0, "bilinear"), GRID, path)
    np.testing.assert_array_equal(read_tile(source, TILE), pasted(pixels, 10, 5, TILE, fill=0))


@pytest.mark.parametrize(
    ("shift", "resolution", "crs"), [(0.05, 10.0, CRS), (0, 10.0001, CRS), (0, 10.0, "EPSG:32632")]
)
def test_a_file_off_the_grid_is_resampled_and_says_so(folder: Path, shift: float, resolution: float, crs: str) -> None:
    corner = (CORNER[0] + shift, CORNER[1])
    path = write_geotiff(folder / "off.tif", noise(1, 40, 40), corner=corner, resolution=resolution, crs=crs)
    assert place(modality("uint16", 0, "bilinear"), GRID, path).resampling == "bilinear"


def test_bands_are_chosen_in_the_order_asked_for(folder: Path) -> None:
    pixels = noise(4, 32, 32, data_type="uint8")
    path = write_geotiff(folder / "chosen.tif", pixels, corner=CORNER)
    source = place(modality("uint8", 0, "nearest", bands=3), GRID, path, bands=(3, 1, 2))
    np.testing.assert_array_equal(read_tile(source, TILE), pixels[[2, 0, 1]])


# --- rims and holes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("resampling", RESAMPLINGS)
@pytest.mark.parametrize(("left", "top"), [(-7, 13), (13, -7), (5, 6)])
@pytest.mark.parametrize("resolution", [20.0, 4.0])
def test_a_tile_ends_where_its_source_ends(
    folder: Path, resampling: str, left: int, top: int, resolution: float
) -> None:
    """Every pixel whose centre is in the source has a value, every other is nodata; a constant stays constant."""
    size = 24
    pixels = np.full((1, round(size * 10 / resolution), round(size * 10 / resolution)), 77, dtype="uint8")
    corner = (CORNER[0] + left * 10, CORNER[1] - top * 10)
    path = write_geotiff(folder / "rim.tif", pixels, corner=corner, resolution=resolution)
    expected = np.zeros((1, 32, 32), dtype="uint8")
    expected[:, max(top, 0) : top + size, max(left, 0) : left + size] = 77
    np.testing.assert_array_equal(read_tile(place(modality("uint8", 0, resampling), GRID, path), TILE), expected)


def holed(data_type: str, hole: float) -> Array:
    """Three bands with holes of their own, where the others are valid."""
    pixels = noise(3, 64, 64, data_type=data_type, seed=3)
    pixels[0, 10:20, 30:40] = hole
    pixels[1, 15:50, 5:9] = hole
    pixels[1, 63] = hole
    return pixels


@pytest.mark.parametrize("resampling", RESAMPLINGS)
@pytest.mark.parametrize(("data_type", "nodata"), [("float32", "nan"), ("int16", -32768), ("uint16", 0)])
@pytest.mark.parametrize("resolution", [20.0, 7.0])
def test_a_hole_in_one_band_is_none_in_the_others(
    folder: Path, resampling: str, data_type: str, nodata: float | str, resolution: float
) -> None:
    hole = float(nodata)
    path = write_geotiff(
        folder / "holes.tif", holed(data_type, hole), corner=CORNER, resolution=resolution, nodata=hole
    )
    together = read_tile(place(modality(data_type, nodata, resampling, bands=3), GRID, path), TILE)
    for band in (1, 2, 3):
        alone = read_tile(place(modality(data_type, nodata, resampling), GRID, path, bands=[band]), TILE)
        np.testing.assert_array_equal(together[band - 1 : band], alone)
    assert np.isfinite(together[2]).all()
    assert (together[2] != hole).all()
    if resampling in ("nearest", "bilinear", "cubic"):
        raster = Raster.read(path)
        expected = raster.nearest(*raster.places(CRS, TILE.transform, (32, 32)), hole, data_type)
        np.testing.assert_array_equal(is_hole(together, hole), is_hole(expected, hole))


def is_hole(pixels: Array, nodata: float) -> npt.NDArray[np.bool_]:
    return np.asarray(np.isnan(pixels) if np.isnan(nodata) else pixels == nodata)


@pytest.mark.parametrize("nodata", [None, float("nan")])
def test_nan_is_a_hole_whether_declared_or_not(folder: Path, nodata: float | None) -> None:
    path = write_geotiff(folder / "nan.tif", holed("float32", np.nan), corner=CORNER, resolution=20.0, nodata=nodata)
    raster = Raster.read(path)
    pixels = read_tile(place(modality("float32", "nan", "bilinear", bands=3), GRID, path), TILE)
    expected = raster.bilinear(*raster.places(CRS, TILE.transform, (32, 32)), np.nan, "float32")
    np.testing.assert_allclose(pixels, expected, rtol=1e-6)
    assert np.isnan(pixels[1]).any()


@pytest.mark.parametrize("resolution", [10.0, 20.0])
def test_an_internal_mask_masks(folder: Path, resolution: float) -> None:
    path, mask = folder / "masked.tif", np.ones((64, 64), dtype=bool)
    mask[4:9, 11:40] = False
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        write_geotiff(path, noise(2, 64, 64), corner=CORNER, resolution=resolution)
        with rasterio.open(path, "r+") as dataset:
            dataset.write_mask(mask)
    pixels = read_tile(place(modality("uint16", 0, "bilinear", bands=2), GRID, path), TILE)
    step = int(resolution / 10)
    expected = np.repeat(np.repeat(mask, step, 0), step, 1)[:32, :32]
    np.testing.assert_array_equal(pixels != 0, np.stack([expected, expected]))


@pytest.mark.parametrize("resolution", [10.0, 20.0])
def test_a_fourth_band_that_gdal_takes_for_alpha_masks_nothing(folder: Path, resolution: float) -> None:
    pixels = noise(4, 64, 64, data_type="uint8")
    pixels[3] = 0
    path = write_geotiff(
        folder / "nir.tif", pixels, corner=CORNER, resolution=resolution, photometric="RGB", alpha="YES"
    )
    with rasterio.open(path) as dataset:
        assert dataset.colorinterp[3] == ColorInterp.alpha
    tile = read_tile(place(modality("uint8", 255, "nearest", bands=4), GRID, path), TILE)
    step = int(resolution / 10)
    np.testing.assert_array_equal(tile, np.repeat(np.repeat(pixels, step, 1), step, 2)[:, :32, :32])


# --- several files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("resolution", [10.0, 20.0])
def test_a_later_file_is_painted_over_an_earlier_one_but_for_its_holes(folder: Path, resolution: float) -> None:
    under, over = np.full((1, 32, 32), 3, "uint16"), np.full((1, 10, 32), 9, "uint16")
    over[0, 3:6, 3:6] = 0
    first = write_geotiff(folder / "under.tif", under, corner=CORNER, resolution=resolution, nodata=0)
    second = write_geotiff(folder / "over.tif", over, corner=CORNER, resolution=resolution, nodata=0)
    expected = under.copy()
    expected[:, :10] = np.where(over == 0, 3, 9)
    step = int(resolution / 10)
    expected = np.repeat(np.repeat(expected, step, 1), step, 2)[:, :32, :32]
    kind = modality("uint16", 0, "nearest")
    np.testing.assert_array_equal(read_tile(place(kind, GRID, first, second), TILE), expected)
    reverse = read_tile(place(kind, GRID, second, first), TILE)
    assert (reverse == 3).all()


@pytest.mark.parametrize("resampling", RESAMPLINGS)
def test_files_of_different_pixels_and_crs_are_painted_one_by_one(folder: Path, resampling: str) -> None:
    """On the grid, off it, coarser, finer, and of another zone: the whole is the parts in their order."""
    places: list[tuple[tuple[float, float], float, str]] = [
        (CORNER, 10.0, CRS),
        ((CORNER[0] + 33.3, CORNER[1] - 21.7), 10.0, CRS),
        ((CORNER[0] - 100, CORNER[1] - 100), 25.0, CRS),
        ((CORNER[0] + 120, CORNER[1] - 160), 3.0, CRS),
    ]
    with rasterio.open(write_geotiff(folder / "zone.tif", noise(2, 8, 8), corner=CORNER)) as dataset:
        x, y = rasterio.warp.transform(dataset.crs, "EPSG:32632", [CORNER[0] + 200], [CORNER[1] - 20])
    places.append(((x[0], y[0]), 12.0, "EPSG:32632"))
    paths = []
    for number, (corner, resolution, crs) in enumerate(places):
        pixels = noise(2, 16, 16, seed=number)
        pixels[number % 2, 5:8, 5:8] = 0
        path = folder / f"part{number}.tif"
        paths.append(write_geotiff(path, pixels, corner=corner, resolution=resolution, crs=crs, nodata=0))
    kind = modality("uint16", 0, resampling, bands=2)
    expected = np.zeros((2, 32, 32), "uint16")
    for path in paths:
        part = read_tile(place(kind, GRID, path), TILE)
        assert part.any()
        expected = np.where(part != 0, part, expected)
    np.testing.assert_array_equal(read_tile(place(kind, GRID, *paths), TILE), expected)


@pytest.mark.parametrize("resampling", RESAMPLINGS)
@pytest.mark.parametrize(("resolution", "cut"), [(30.0, 21), (20.0, 31), (20.0, 32), (20.0, 33), (4.0, 80), (4.0, 77)])
def test_interpolation_sees_across_the_seam_of_two_files(
    folder: Path, resampling: str, resolution: float, cut: int
) -> None:
    """Two abutting files give what one joined file gives; the seam lies at the rim of a tile, or beside it."""
    pixels = noise(1, 90, 160, seed=5)
    joined = write_geotiff(folder / "joined.tif", pixels, corner=CORNER, resolution=resolution, nodata=0)
    left = write_geotiff(folder / "left.tif", pixels[:, :, :cut], corner=CORNER, resolution=resolution, nodata=0)
    corner = (CORNER[0] + cut * resolution, CORNER[1])
    right = write_geotiff(folder / "right.tif", pixels[:, :, cut:], corner=corner, resolution=resolution, nodata=0)
    kind = modality("uint16", 0, resampling)
    one, two = (read_area(place(kind, GRID, *paths), GRID, 1, 3) for paths in ([joined], [left, right]))
    np.testing.assert_array_equal(two, one)
    assert (one != 0).any()


@pytest.mark.parametrize("resampling", RESAMPLINGS)
def test_tiles_do_not_depend_on_the_grid_that_cuts_them(folder: Path, resampling: str) -> None:
    """Many small tiles equal one large one, though fewer files of the source meet each of them.

    Between two files of one pixel raster stands one of another, which only some of the tiles meet; no file declares
    nodata, and 0 stands in them.
    """
    pixels = noise(2, 40, 120, low=0, high=40, seed=7)
    corners = [(CORNER[0], CORNER[1]), (CORNER[0] + 7, CORNER[1] - 600), (CORNER[0] + 1000, CORNER[1])]
    parts = [pixels[:, :, :50], pixels[:, :12, :12], pixels[:, :, 50:]]
    paths = [
        write_geotiff(folder / f"cut{n}.tif", part, corner=corner, resolution=resolution)
        for n, (part, corner, resolution) in enumerate(zip(parts, corners, (20.0, 16.0, 20.0), strict=True))
    ]
    kind = modality("uint16", 0, resampling, bands=2)
    large, small = (replace(GRID, tile_shape=(size, size)) for size in (150, 25))
    np.testing.assert_array_equal(
        read_area(place(kind, small, *paths), small, 6, 6), read_area(place(kind, large, *paths), large, 1, 1)
    )


def test_a_source_of_one_metre_is_one_like_others(folder: Path) -> None:
    """At the corner of a tile it could have the transform of a raster that has none."""
    grid = replace(GRID, resolution=2.0)
    pixels = noise(1, 64, 64)
    path = write_geotiff(folder / "metre.tif", pixels, corner=CORNER, resolution=1.0)
    tile = read_tile(place(modality("uint16", 0, "average"), grid, path), grid.tile(0, 0))
    cells = pixels.reshape(1, 32, 2, 32, 2).mean(axis=(2, 4))
    assert abs(tile - cells).max() < 0.5 + 1e-6


@pytest.mark.parametrize("resampling", ["average", "mode", "bilinear"])
def test_a_file_paints_nothing_beside_itself(folder: Path, resampling: str) -> None:
    """Averaging, GDAL would also fill the pixels that end just where a file begins, over those of another file."""
    left = write_geotiff(folder / "west.tif", np.full((1, 32, 15), 3, "uint8"), corner=CORNER)
    corner = (CORNER[0] + 150, CORNER[1] - 40)
    right = write_geotiff(folder / "east.tif", np.full((1, 30, 30), 9, "uint8"), corner=corner, resolution=20.0)
    tile = read_tile(place(modality("uint8", 0, resampling), GRID, left, right), TILE)[0]
    assert (tile[:, :15] == 3).all()
    assert (tile[:4, 15:] == 0).all()
    assert (tile[4:, 15:] == 9).all()


def test_inputs_tell_what_pixels_depend_on(folder: Path) -> None:
    """A copied tile depends on its own files alone; a warped one also on what the whole run gives to every tile."""
    shape, kind = (1, 32, 32), modality("uint16", 0, "bilinear")
    here, far = (CORNER, (CORNER[0] + 6400, CORNER[1] + 3200))
    paths = {
        resolution: [
            write_geotiff(folder / f"inputs{n}_{resolution}.tif", noise(*shape), corner=corner, resolution=resolution)
            for n, corner in enumerate((here, far))
        ]
        for resolution in (10.0, 20.0)
    }

    def inputs(*paths: Path) -> object:
        return place(kind, GRID, *paths).touching(TILE.bounds).inputs

    assert inputs(paths[10.0][0]) == inputs(*paths[10.0]) != inputs(paths[20.0][0])
    assert inputs(paths[20.0][0]) != inputs(*paths[20.0])
    assert inputs(paths[20.0][0]) == inputs(paths[20.0][0], paths[10.0][1])


# --- a tile is its part of the warp of the whole area ----------------------------------------------------------------


@pytest.mark.parametrize("resampling", RESAMPLINGS)
@pytest.mark.parametrize(
    ("resolution", "grid_resolution", "data_type"),
    [(20.0, 10.0, "uint16"), (3.1, 10.0, "uint16"), (0.6, 5.0, "uint8"), (9.7, 10.0, "float32"), (30.0, 10.0, "int16")],
)
def test_a_tile_is_its_part_of_the_warp_of_the_whole_area(
    folder: Path, resampling: str, resolution: float, grid_resolution: float, data_type: str
) -> None:
    """From another UTM zone, so that the source lies askew."""
    grid = replace(GRID, resolution=grid_resolution, tile_shape=(48, 48))
    size = round(3 * 48 * grid_resolution / resolution) + 20
    x, y = rasterio.warp.transform(CRS, "EPSG:32632", [CORNER[0]], [CORNER[1]])
    classes = resampling in ("nearest", "mode")
    # Classes come in patches, as on a map: in pure noise every third footprint holds several classes as often.
    pixels = patches(size) if classes else noise(1, size, size, data_type=data_type)
    nodata: float | str = {"float32": "nan", "int16": -32768}.get(data_type, 0)  # type: ignore[assignment]
    path = write_geotiff(
        folder / "whole.tif", pixels.astype(data_type), corner=(x[0] - 60, y[0] + 40), resolution=resolution,
        crs="EPSG:32632", nodata=float(nodata),
    )  # fmt: skip
    kind = modality(data_type, nodata, resampling)
    source = place(kind, grid, path)
    with whole_area(
        path, kind, CRS, grid.tile(0, 0).transform, (144, 144), scale=source.rasters[0].run.scale
    ) as warped:
        expected = warped.read()
    tally = Tally()
    tally.add(read_area(source, grid, 3, 3), expected)
    tally.check()
    assert (is_hole(expected, float(nodata)).mean()) < 0.5


def patches(size: int) -> Array:
    """Six classes in patches of 4 to 16 pixels, (1, size, size)."""
    rng = np.random.default_rng(11)
    coarse = rng.integers(1, 7, size=(size // 4 + 1, size // 4 + 1))
    return np.repeat(np.repeat(coarse, 4, 0), 4, 1)[None, :size, :size].astype("uint8")


@pytest.mark.parametrize("resampling", ["average", "bilinear"])
@pytest.mark.parametrize(("resolution", "grid_resolution"), [(3.0, 10.0), (0.6, 5.0), (5.0, 10.0), (2.0, 5.0)])
def test_shrinking_weighs_pixels_as_it_says(
    folder: Path, resampling: str, resolution: float, grid_resolution: float
) -> None:
    """Against dense weights in numpy, holes included: off by one only where the true value ends in one half."""
    grid = replace(GRID, resolution=grid_resolution)
    ratio, size = grid_resolution / resolution, 2 * 32
    length = round(size * ratio)
    pixels = noise(1, length, length, data_type="uint8", seed=9)
    pixels[0, 40:70, 50:60] = 0
    path = write_geotiff(folder / "shrunk.tif", pixels, corner=CORNER, resolution=resolution, nodata=0)
    weigh = box_weights if resampling == "average" else triangle_weights
    weights = weigh(size, length, ratio, 0.0)
    total, weight = shrunk(pixels[0], pixels[0] != 0, (weights, weights))
    actual = read_area(place(modality("uint8", 0, resampling), grid, path), grid, 2, 2)[0]
    centre, reach = (np.arange(size) + 0.5) * ratio, ratio / 2 if resampling == "average" else ratio
    inside = (centre - reach > -1e-9) & (centre + reach < length + 1e-9)
    whole = np.outer(inside, inside)
    true = np.divide(total, weight, where=weight > 1e-9, out=np.zeros_like(total))
    compared = whole & (weight > 1e-9) & (actual != 0)
    assert abs(actual - true)[compared].max() < 0.5 + 1e-6
    assert compared.sum() > 0.9 * actual.size
    np.testing.assert_array_equal((actual != 0)[whole & (weight > weight[whole].max() * 0.9)], True)


@pytest.mark.parametrize("resampling", RESAMPLINGS)
def test_patches_make_the_pixels_of_one_window(
    folder: Path, resampling: str, windows: list[Window], monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = noise(3, 150, 150)
    pixels[1, 30:60, 30:60] = 0
    path = write_geotiff(
        folder / "patches.tif", pixels, corner=(CORNER[0] - 11, CORNER[1] + 17), resolution=3.7, nodata=0
    )
    source = place(modality("uint16", 0, resampling, bands=3), GRID, path)
    whole = read_tile(source, TILE)
    monkeypatch.setattr(mosaic, "_MAX_WINDOW", 3_000)
    windows.clear()
    np.testing.assert_array_equal(read_tile(source, TILE), whole)
    assert len(windows) > 4


@pytest.mark.parametrize(("resolution", "most"), [(10.0, 32 * 32), (20.0, 26**2), (1.0, 390**2)])
def test_only_windows_of_a_huge_source_are_read(
    folder: Path, resolution: float, most: int, windows: list[Window]
) -> None:
    path, size = folder / "huge.tif", 40_000
    profile = {"count": 1, "height": size, "width": size, "dtype": "uint8", "crs": CRS, "tiled": True}
    transform = Affine(resolution, 0, CORNER[0], 0, -resolution, CORNER[1])
    with rasterio.open(path, "w", driver="GTiff", transform=transform, SPARSE_OK=True, **profile) as dataset:
        dataset.write(np.full((1, 512, 512), 5, "uint8"), window=Window(20_000, 20_000, 512, 512))
    tile = GRID.tile(*[int(20_200 * resolution / 320)] * 2)
    pixels = read_tile(place(modality("uint8", 0, "average"), GRID, path), tile)
    assert pixels.any()
    assert sum(window.width * window.height for window in windows) <= most


# --- classes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("resampling", ["nearest", "mode"])
@pytest.mark.parametrize("resolution", [25.0, 10.0, 3.0, 1.7])
@pytest.mark.parametrize("nodata", [None, 255])
def test_a_class_raster_gains_no_class(folder: Path, resampling: str, resolution: float, nodata: int | None) -> None:
    """Neither in the tile nor in its overview; 255 is nodata in the template, whether the file declares it or not."""
    grid = replace(GRID, tile_shape=(256, 256))
    size = round(2560 / resolution)
    pixels = (patches(size) * 40).astype("uint8")
    pixels[0, : size // 3, : size // 3] = 255
    path = write_geotiff(folder / "classes.tif", pixels, corner=CORNER, resolution=resolution, nodata=nodata)
    kind = modality("uint8", 255, resampling)
    tile = read_tile(place(kind, grid, path), grid.tile(0, 0))
    assert set(np.unique(tile)) <= set(np.unique(pixels))
    assert (tile == 255).mean() == pytest.approx(1 / 9, abs=0.02)
    with MemoryFile(encode(tile, kind, grid.tile(0, 0), CogOptions(blocksize=128))) as memory:
        with memory.open() as dataset:
            np.testing.assert_array_equal(dataset.read(), tile)
        with memory.open(overview_level=0) as overview:
            small = overview.read()
    assert small.shape == (1, 128, 128)
    assert set(np.unique(small)) <= set(np.unique(pixels))


@pytest.mark.parametrize("ratio", [2, 3, 7])
@pytest.mark.parametrize("corner", [CORNER, (257070.59483340546, 285728.7167059921)])
def test_mode_takes_the_class_of_the_largest_share(folder: Path, ratio: int, corner: tuple[float, float]) -> None:
    """Of just the pixels of each cell: rounding of coordinates, far from zero, adds none to them."""
    grid = replace(GRID, origin=corner)
    pixels = patches(128 * ratio)
    path = write_geotiff(folder / "mode.tif", pixels, corner=corner, resolution=10 / ratio)
    tiles = read_area(place(modality("uint8", 255, "mode"), grid, path), grid, 4, 4)[0]
    cells = pixels[0].reshape(128, ratio, 128, ratio).transpose(0, 2, 1, 3).reshape(128, 128, ratio**2)
    shares = np.stack([(cells == label).sum(axis=-1) for label in range(7)])
    np.testing.assert_array_equal(np.take_along_axis(shares, tiles[None].astype(int), axis=0)[0], shares.max(axis=0))


# --- types -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("narrow", "wide"), [("uint8", "float32"), ("uint16", "float32"), ("uint8", "uint16")])
@pytest.mark.parametrize("resolution", [10.0, 20.0])
def test_a_narrower_type_is_widened_before_anything_is_lost(
    folder: Path, narrow: str, wide: str, resolution: float
) -> None:
    pixels = noise(2, 32, 32, data_type=narrow, low=0)
    pixels[0, :4] = np.iinfo(narrow).max
    path = write_geotiff(folder / "narrow.tif", pixels, corner=CORNER, resolution=resolution)
    nodata: float | str = "nan" if wide == "float32" else 65535
    tile = read_tile(place(modality(wide, nodata, "bilinear", bands=2), GRID, path), TILE)
    assert tile.dtype == wide
    if resolution == 10:
        np.testing.assert_array_equal(tile, pixels.astype(wide))
    else:
        raster = Raster.read(path)
        expected = raster.bilinear(*raster.places(CRS, TILE.transform, (32, 32)), float(nodata), wide)
        np.testing.assert_allclose(tile, expected, rtol=1e-6)
        assert wide != "float32" or (tile % 1 != 0).any()


@pytest.mark.parametrize("data_type", ["int16", "float32"])
def test_bilinear_is_that_of_numpy_and_pyproj(folder: Path, data_type: str) -> None:
    nodata = -32768.0 if data_type == "int16" else float("nan")
    pixels = texture((1, 60, 80), data_type, seed=4)
    pixels[0, 20:24, 30:33] = nodata
    path = write_geotiff(
        folder / "degrees.tif", pixels, corner=(2.9995, 45.1540), resolution=0.0005, crs="EPSG:4326", nodata=nodata
    )
    grid = replace(GRID, tile_shape=(128, 128))
    tile = read_tile(place(modality(data_type, str(nodata), "bilinear"), grid, path), grid.tile(0, 0))
    raster = Raster.read(path)
    tally = Tally()
    places = raster.places(CRS, grid.tile(0, 0).transform, (128, 128))
    tally.add(tile, raster.bilinear(*places, nodata, data_type))
    tally.check()
    assert 0 < is_hole(tile, nodata).mean() < 0.5


# --- the grid --------------------------------------------------------------------------------------------------------

grids = st.builds(
    TileGrid,
    crs=st.just(CRS),
    resolution=st.sampled_from([0.6, 5.0, 10.0, 30.0]),
    origin=st.tuples(st.floats(-1e6, 1e6).map(lambda x: round(x, 3)), st.floats(-1e7, 1e7).map(lambda x: round(x, 3))),
    tile_shape=st.tuples(st.integers(1, 1024), st.integers(1, 1024)),
    rows=st.sampled_from(["north", "south"]),
)
cells = st.integers(-3000, 3000)


@given(grids, cells, cells, st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_every_point_belongs_to_one_tile(grid: TileGrid, column: int, row: int, across: float, down: float) -> None:
    left, bottom, right, top = grid.tile(column, row).bounds
    x, y = left + across * (right - left), bottom + down * (top - bottom)
    reach = grid.resolution / 100 / 4
    found = grid.cover(Bounds(x - reach, y - reach, x + reach, y + reach))
    assert (column, row) in {(tile.column, tile.row) for tile in found}
    inside = [
        tile
        for tile in (grid.tile(column + right, row + up) for right in (-1, 0, 1) for up in (-1, 0, 1))
        if tile.bounds.left <= x < tile.bounds.right and tile.bounds.bottom <= y < tile.bounds.top
    ]
    assert [(tile.column, tile.row) for tile in inside] == [(column, row)]


@given(grids, st.integers(-9, 9), st.integers(-9, 9), st.data())
def test_cover_finds_the_tiles_that_overlap(grid: TileGrid, column: int, row: int, data: st.DataObject) -> None:
    width, height = grid.tile_size
    x, y = grid.tile(column, row).corner
    spans = st.floats(0.05, 3.5)
    box = Bounds(
        x + data.draw(st.floats(-1, 1)) * width, y - data.draw(spans) * height,
        x + (1 + data.draw(spans)) * width, y + data.draw(st.floats(0.1, 1)) * height,
    )  # fmt: skip
    touched = box.padded(-1e-3 * grid.resolution)
    expected = {
        (tile.column, tile.row)
        for tile in (grid.tile(column + i, row + j) for i in range(-6, 9) for j in range(-9, 10))
        if tile.bounds.intersection(touched)
    }
    found = grid.cover(box)
    assert {(tile.column, tile.row) for tile in found} == expected
    assert len(found) == len(expected)


@given(grids, cells, cells)
def test_cover_of_a_tile_is_that_tile(grid: TileGrid, column: int, row: int) -> None:
    assert [(tile.column, tile.row) for tile in grid.cover(grid.tile(column, row).bounds)] == [(column, row)]


@given(grids, st.integers(-100_000, 100_000), st.integers(-100_000, 100_000), st.floats(-9e-4, 9e-4))
def test_pixel_offset_goes_there_and_back(grid: TileGrid, column: int, row: int, slip: float) -> None:
    x, y = grid.origin[0] + (column + slip) * grid.resolution, grid.origin[1] - (row - slip) * grid.resolution
    transform = Affine(grid.resolution, 0, x, 0, -grid.resolution, y)
    assert grid.pixel_offset(transform) == (column, row)
    assert grid.pixel_offset(transform @ Affine.translation(0.01, 0)) is None
    assert grid.pixel_offset(transform @ Affine.translation(0, 0.5)) is None
    assert grid.pixel_offset(transform @ Affine.scale(1.001, 1)) is None
    assert grid.pixel_offset(transform @ Affine.rotation(1)) is None


@given(grids, cells, cells)
def test_tiles_lie_where_their_pixels_say(grid: TileGrid, column: int, row: int) -> None:
    tile = grid.tile(column, row)
    assert grid.pixel_offset(tile.transform) == tile.pixel_origin
    left, bottom, right, top = tile.bounds
    assert tile.transform @ (0, 0) == pytest.approx((left, top))
    assert tile.transform @ grid.tile_shape[::-1] == pytest.approx((right, bottom))


@given(grids, cells, cells)
def test_rows_grow_as_the_grid_says(grid: TileGrid, column: int, row: int) -> None:
    here, next_row, next_column = grid.tile(column, row), grid.tile(column, row + 1), grid.tile(column + 1, row)
    step = next_row.corner[1] - here.corner[1]
    assert step == pytest.approx(grid.tile_size[1] * (1 if grid.rows == "north" else -1))
    assert next_column.corner[0] - here.corner[0] == pytest.approx(grid.tile_size[0])
    down = next_row.pixel_origin[1] - here.pixel_origin[1]
    assert down == grid.tile_shape[0] * (-1 if grid.rows == "north" else 1)


@given(grids, cells, cells, st.integers(1, 7))
def test_an_outline_is_closed_and_counter_clockwise(grid: TileGrid, column: int, row: int, points: int) -> None:
    tile = grid.tile(column, row)
    ring = tile.outline(points)
    assert len(ring) == 4 * points + 1
    assert ring[0] == ring[-1]
    x0, y0 = tile.bounds.left, tile.bounds.bottom
    around = [(x - x0, y - y0) for x, y in ring]
    doubled = sum(x * v - u * y for (x, y), (u, v) in pairwise(around))
    assert doubled / 2 == pytest.approx(grid.tile_size[0] * grid.tile_size[1], rel=1e-6)


def test_tiles_are_listed_row_by_row() -> None:
    found = GRID.cover(Bounds(CORNER[0], CORNER[1] - 640, CORNER[0] + 960, CORNER[1]))
    names = [tile.name for tile in found]
    assert names == [f"x{column:04d}_y{row:04d}" for row in (0, 1) for column in (0, 1, 2)]


def test_gdal_keeps_more_than_a_block() -> None:
    """rasterio hands the number to GDAL as bytes, where GDAL's own option means megabytes."""
    with gdal_environment():
        assert get_gdal_config("GDAL_CACHEMAX") >= 2**24
