"""COGs: pixels in, and what the file then says of itself; the way of that through an item's asset and back."""

import hashlib
import math
import string
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from rasterio.enums import ColorInterp, Compression, MaskFlags
from rio_cogeo.cogeo import cog_validate

from catalog_builder import jsonio
from catalog_builder.cog import (
    CogAsset,
    CogBand,
    describe,
    differences,
    encode,
    overview_factors,
    read_valid,
)
from catalog_builder.errors import RasterError
from catalog_builder.grid import TileGrid
from catalog_builder.item import AssetRecord, asset_document, cog_from_asset
from catalog_builder.template import CogOptions, Modality, same_nodata
from tests.makers import modality, texture

Array = npt.NDArray[Any]

GRID = TileGrid(crs="EPSG:32631", resolution=10, origin=(500_000.0, 5_000_000.0), tile_shape=(256, 256))
TILE = GRID.tile(3, 4)
OPTIONS = CogOptions(blocksize=128)
S2 = modality("uint16", 0, "bilinear", bands=4)
CLASSES = modality("uint8", 255, "mode")
KINDS = {
    "s2": S2,
    "s1": modality("float32", "nan", "bilinear", bands=2, unit="dB"),
    "srtm": modality("int16", -32768, "bilinear", unit="m"),
    "nir": modality("uint8", 0, "average", bands=4),
    "osm": CLASSES,
}
kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def rgb() -> Modality:
    kind = modality("uint8", 0, "average", bands=3)
    names = ("red", "green", "blue")
    return replace(
        kind,
        bands=tuple({**band, "eo:common_name": name} for band, name in zip(kind.bands, names, strict=True)),
    )


def pixels_of(kind: Modality, *, holes: bool = True) -> Array:
    """Pixels with a hole of its own in each band."""
    pixels = texture((len(kind.bands), *GRID.tile_shape), kind.data_type)
    if kind.is_classes:
        pixels = pixels // 16
    if holes:
        for band, image in enumerate(pixels):
            image[20 : 40 + 9 * band, 30 * band : 30 * band + 50] = kind.nodata
    return pixels


def write(path: Path, pixels: Array, kind: Modality, options: CogOptions = OPTIONS) -> Path:
    path.write_bytes(encode(pixels, kind, TILE, options))
    return path


def valid_of(pixels: Array, kind: Modality) -> Array:
    return np.asarray(~np.isnan(pixels) if math.isnan(kind.nodata) else pixels != kind.nodata)


# --- pixels to a file ------------------------------------------------------------------------------------------------


@kinds
@pytest.mark.parametrize("compress", ["ZSTD", "DEFLATE"])
def test_a_cog_holds_its_pixels_and_is_valid_without_warnings(tmp_path: Path, kind: Modality, compress: str) -> None:
    pixels = pixels_of(kind)
    path = write(tmp_path / "cog.tif", pixels, kind, replace(OPTIONS, compress=compress, level=6))
    assert cog_validate(path, strict=True) == (True, [], [])
    with rasterio.open(path) as dataset:
        np.testing.assert_array_equal(dataset.read(), pixels)
        assert dataset.compression == Compression[compress.lower()]
        assert dataset.block_shapes == [(128, 128)] * len(pixels)
        assert [dataset.overviews(band) for band in dataset.indexes] == [[2]] * len(pixels)
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert dataset.crs.to_string() == "EPSG:32631"
        assert dataset.transform == TILE.transform
        assert dataset.descriptions == kind.band_names
        assert [unit or None for unit in dataset.units] == [band.get("unit") for band in kind.bands]
    assert [found.name for found in tmp_path.iterdir()] == ["cog.tif"]


@pytest.mark.parametrize(("kind", "predictor"), [("s2", "2"), ("s1", "3"), ("srtm", "2"), ("nir", "2"), ("osm", None)])
@pytest.mark.parametrize("compress", ["ZSTD", "DEFLATE"])
def test_image_and_overview_have_the_right_predictor(
    tmp_path: Path, kind: str, predictor: str | None, compress: str
) -> None:
    options = replace(OPTIONS, compress=compress)
    path = write(tmp_path / "cog.tif", pixels_of(KINDS[kind]), KINDS[kind], options)
    for level in ({}, {"overview_level": 0}):
        with rasterio.open(path, **level) as dataset:
            structure = dataset.tags(ns="IMAGE_STRUCTURE")
            assert structure.get("PREDICTOR") == predictor
            assert structure["COMPRESSION"] == compress


@kinds
def test_the_same_pixels_give_the_same_bytes(kind: Modality) -> None:
    pixels = pixels_of(kind)
    first = encode(pixels, kind, TILE, OPTIONS)
    assert encode(pixels.copy(), kind, TILE, OPTIONS) == first
    pixels[0, 0, 0] += 1
    assert encode(pixels, kind, TILE, OPTIONS) != first


def test_an_overview_averages_valid_values(tmp_path: Path) -> None:
    kind = KINDS["s1"]
    pixels = pixels_of(kind)
    path = write(tmp_path / "cog.tif", pixels, kind)
    with rasterio.open(path, overview_level=0) as dataset:
        small = dataset.read()
    cells = pixels.reshape(2, 128, 2, 128, 2).transpose(0, 1, 3, 2, 4).reshape(2, 128, 128, 4)
    empty = np.isnan(cells).all(axis=-1)
    np.testing.assert_array_equal(np.isnan(small), empty)
    np.testing.assert_allclose(small[~empty], np.nanmean(cells[~empty], axis=-1), rtol=1e-6)


def test_an_overview_of_classes_is_the_commonest_of_each_cell(tmp_path: Path) -> None:
    pixels = pixels_of(CLASSES)
    path = write(tmp_path / "cog.tif", pixels, CLASSES)
    with rasterio.open(path, overview_level=0) as dataset:
        small = dataset.read(1)
    cells = pixels[0].reshape(128, 2, 128, 2).transpose(0, 2, 1, 3).reshape(128, 128, 4)
    assert (cells == small[..., None]).any(axis=-1).all()
    votes = np.stack([((cells == label) & (cells != 255)).sum(axis=-1) for label in range(256)])
    chosen = np.take_along_axis(votes, small[None].astype(int), axis=0)[0]
    np.testing.assert_array_equal(chosen, votes.max(axis=0))


@pytest.mark.parametrize("options", [CogOptions(), CogOptions(blocksize=256)])
def test_a_tile_of_1024_has_overviews_down_to_one_block(tmp_path: Path, options: CogOptions) -> None:
    grid = replace(GRID, tile_shape=(1024, 1024))
    path = tmp_path / "cog.tif"
    path.write_bytes(encode(texture((1, 1024, 1024), "int16"), KINDS["srtm"], grid.tile(0, 0), options))
    assert cog_validate(path, strict=True) == (True, [], [])
    with rasterio.open(path) as dataset:
        assert dataset.overviews(1) == ([2] if options.blocksize == 512 else [2, 4])
        assert dataset.block_shapes == [(options.blocksize, options.blocksize)]


@pytest.mark.parametrize(
    ("shape", "blocksize", "factors"),
    [((1, 1024, 1024), 512, [2]), ((4, 256, 256), 128, [2]), ((1, 512, 512), 512, []), ((1, 100, 700), 128, [2, 4, 8])],
)
def test_overview_factors(shape: tuple[int, ...], blocksize: int, factors: list[int]) -> None:
    assert overview_factors(shape, blocksize) == factors


def test_the_fourth_band_of_an_8_bit_image_is_not_alpha(tmp_path: Path) -> None:
    kind = KINDS["nir"]
    pixels = pixels_of(kind)
    pixels[3] = 0
    path = write(tmp_path / "cog.tif", pixels, kind)
    with rasterio.open(path) as dataset:
        assert ColorInterp.alpha not in dataset.colorinterp
        assert dataset.mask_flag_enums == ([MaskFlags.nodata],) * 4
        np.testing.assert_array_equal(dataset.read_masks(1) != 0, pixels[0] != 0)
        np.testing.assert_array_equal(dataset.read(1, masked=True).mask, pixels[0] == 0)


def test_natural_colour_is_said_to_be_so(tmp_path: Path) -> None:
    with rasterio.open(write(tmp_path / "cog.tif", pixels_of(rgb()), rgb())) as dataset:
        assert dataset.colorinterp == (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
        assert dataset.tags(ns="IMAGE_STRUCTURE")["INTERLEAVE"] == "PIXEL"


# --- the file testifies ----------------------------------------------------------------------------------------------


@kinds
@pytest.mark.parametrize("holes", [False, True])
def test_a_file_tells_what_it_is(tmp_path: Path, kind: Modality, holes: bool) -> None:
    path = write(tmp_path / "cog.tif", pixels_of(kind, holes=holes), kind)
    cog = describe(path)
    assert (cog.crs, cog.transform, cog.shape) == ("EPSG:32631", tuple(TILE.transform)[:6], (256, 256))
    assert (cog.size, cog.sha256) == (path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
    assert [band.name for band in cog.bands] == list(kind.band_names)
    assert {band.data_type for band in cog.bands} == {kind.data_type}
    assert all(same_nodata(band.nodata, kind.nodata) for band in cog.bands)
    assert differences(cog, kind, TILE) == []


@kinds
def test_statistics_are_those_of_the_valid_pixels(tmp_path: Path, kind: Modality) -> None:
    pixels = pixels_of(kind)
    for image, band in zip(pixels, describe(write(tmp_path / "cog.tif", pixels, kind)).bands, strict=True):
        valid = image[valid_of(image, kind)].astype(np.float64)
        statistics = dict(band.statistics)
        # GDAL writes four digits.
        assert statistics.pop("valid_percent") == pytest.approx(100 * valid.size / image.size, rel=1e-3)
        expected = {"minimum": valid.min(), "maximum": valid.max(), "mean": valid.mean(), "stddev": valid.std()}
        assert statistics == pytest.approx(expected, rel=1e-6)


def test_a_full_tile_is_valid_to_a_hundred_percent(tmp_path: Path) -> None:
    cog = describe(write(tmp_path / "cog.tif", pixels_of(S2, holes=False), S2))
    assert cog.valid_percent == 100


@kinds
def test_a_band_without_any_valid_pixel_has_no_other_statistic(tmp_path: Path, kind: Modality) -> None:
    pixels = pixels_of(kind)
    pixels[-1] = kind.nodata
    path = write(tmp_path / "cog.tif", pixels, kind)
    cog = describe(path)
    assert dict(cog.bands[-1].statistics) == {"valid_percent": 0}
    assert cog.valid_percent == 0
    assert differences(cog, kind, TILE) == []
    assert all("mean" in band.statistics for band in cog.bands[:-1])
    assert cog_validate(path, strict=True) == (True, [], [])


@kinds
def test_valid_pixels_are_those_of_any_band(tmp_path: Path, kind: Modality) -> None:
    pixels = pixels_of(kind)
    path = write(tmp_path / "cog.tif", pixels, kind)
    np.testing.assert_array_equal(read_valid(path, kind.nodata), valid_of(pixels, kind).any(axis=0))


@pytest.mark.parametrize("content", [b"", b"II*\x00", b"no picture at all", b"<VRTDataset/>"])
def test_a_file_that_is_no_cog_is_an_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.tif"
    path.write_bytes(content)
    with pytest.raises(RasterError, match=r"broken\.tif: not a readable GeoTIFF"):
        describe(path)


# --- differences -----------------------------------------------------------------------------------------------------


def good() -> CogAsset:
    """What a file of S2 would tell."""
    statistics = {"minimum": 1.0, "maximum": 9.0, "mean": 5.0, "stddev": 2.0, "valid_percent": 100.0}
    bands = [CogBand(name=name, data_type="uint16", nodata=0.0, statistics=statistics) for name in S2.band_names]
    transform = tuple(TILE.transform)[:6]
    return CogAsset(
        crs="EPSG:32631", transform=transform, shape=(256, 256), bands=tuple(bands), size=9, sha256="0" * 64
    )


def with_band(**changes: Any) -> CogAsset:
    cog = good()
    return replace(cog, bands=(cog.bands[0], replace(cog.bands[1], **changes), *cog.bands[2:]))


def shifted(cog: CogAsset, metres: float) -> CogAsset:
    a, b, c, d, e, f = cog.transform
    return replace(cog, transform=(a, b, c + metres, d, e, f))


FAULTS: list[tuple[Callable[[], CogAsset], str]] = [
    (lambda: replace(good(), shape=(256, 255)), "shape is (256, 255), the template says (256, 256)"),
    (lambda: replace(good(), crs="EPSG:32632"), "CRS is EPSG:32632, the template says EPSG:32631"),
    (lambda: replace(good(), crs=""), "CRS is , the template says EPSG:32631"),
    (lambda: replace(good(), bands=good().bands[:3]), "number of bands is 3, the template says 4"),
    (lambda: replace(good(), bands=good().bands[::-1]), "band names is ('band4', 'band3', 'band2', 'band1'), the"),
    (lambda: with_band(name=None), "band names is ('band1', None, 'band3', 'band4'), the template says"),
    (lambda: with_band(data_type="int16"), "data_type is {"),
    (lambda: shifted(good(), 10), "transform is (10.0, 0.0, 507690.0"),
    (lambda: shifted(good(), 1e-4), "transform is (10.0, 0.0, 507680.0001"),
    (lambda: with_band(nodata=None), "nodata of band band2 is None, the template says 0.0"),
    (lambda: with_band(nodata=1.0), "nodata of band band2 is 1.0, the template says 0.0"),
    (lambda: with_band(nodata=math.nan), "nodata of band band2 is nan, the template says 0.0"),
    (lambda: with_band(statistics={}), "band band2 has no statistics"),
    (lambda: with_band(statistics={"mean": math.inf, "valid_percent": 1.0}), "mean of band band2 is inf"),
    (lambda: with_band(statistics={"stddev": math.nan, "valid_percent": 1.0}), "stddev of band band2 is nan"),
]


@pytest.mark.parametrize(("fault", "message"), FAULTS, ids=[message[:24] for _, message in FAULTS])
def test_each_difference_from_the_template_is_named(fault: Callable[[], CogAsset], message: str) -> None:
    found = differences(fault(), S2, TILE)
    assert any(line.startswith(message) for line in found), found


def test_a_file_that_keeps_its_word_differs_in_nothing() -> None:
    assert differences(good(), S2, TILE) == []
    assert differences(shifted(good(), 1e-10), S2, TILE) == []


def test_every_difference_is_listed() -> None:
    broken = replace(shifted(with_band(nodata=7.0), 30), shape=(1, 1), crs="EPSG:4326")
    assert len(differences(broken, S2, TILE)) == 4


# --- through the item and back ---------------------------------------------------------------------------------------

values = st.floats(allow_nan=False, allow_infinity=False)
nodata_values = st.one_of(values, st.sampled_from([math.nan, math.inf, -math.inf, -3.4028234663852886e38, -9999.0]))
cog_bands = st.builds(
    CogBand,
    name=st.text(string.ascii_letters + string.digits + "-+|", min_size=1, max_size=8),
    data_type=st.sampled_from(["uint8", "int16", "uint16", "float32"]),
    nodata=nodata_values,
    statistics=st.fixed_dictionaries(
        {"valid_percent": st.floats(0, 100)},
        optional=dict.fromkeys(("minimum", "maximum", "mean", "stddev"), values),
    ),
)
cogs = st.builds(
    CogAsset,
    crs=st.sampled_from(["EPSG:32631", "EPSG:27700", "ESRI:102014"]),
    transform=st.tuples(*[values] * 6),
    shape=st.tuples(st.integers(1, 10**6), st.integers(1, 10**6)),
    bands=st.lists(cog_bands, min_size=1, max_size=10).map(tuple),
    size=st.integers(0, 10**12),
    sha256=st.text("0123456789abcdef", min_size=64, max_size=64),
)


def same_cog(one: CogAsset, other: CogAsset) -> bool:
    """Equality in which NaN equals NaN."""
    pairs = zip(one.bands, other.bands, strict=True)
    alike = all(same_nodata(a.nodata, b.nodata) and replace(a, nodata=0) == replace(b, nodata=0) for a, b in pairs)
    return alike and replace(one, bands=()) == replace(other, bands=())


def asset_of(cog: CogAsset, kind: Modality) -> dict[str, Any]:
    """Write a COG's asset as JSON and read it again."""
    when = datetime(2020, 6, 1, tzinfo=UTC)
    record = AssetRecord(modality=kind, cog=cog, start=when, end=when, resampling="none", inputs="", properties={})
    asset: dict[str, Any] = jsonio.loads(jsonio.dumps(asset_document(record)))
    return asset


@given(cogs)
def test_a_cog_comes_back_from_its_asset(cog: CogAsset) -> None:
    kind = modality("uint16", 0, "bilinear", bands=len(cog.bands))
    authored = tuple({**band, "name": cog.bands[n].name} for n, band in enumerate(kind.bands))
    assert same_cog(cog_from_asset(asset_of(cog, replace(kind, bands=authored))), cog)


@kinds
def test_a_written_cog_comes_back_from_its_asset(tmp_path: Path, kind: Modality) -> None:
    cog = describe(write(tmp_path / "cog.tif", pixels_of(kind), kind))
    back = cog_from_asset(asset_of(cog, kind))
    assert same_cog(back, cog)
    assert differences(back, kind, TILE) == []


@pytest.mark.parametrize("field", ["proj:code", "proj:transform", "proj:shape", "bands", "file:size", "file:checksum"])
def test_an_asset_that_the_builder_did_not_write_is_refused(field: str) -> None:
    asset = asset_of(good(), S2)
    del asset[field]
    with pytest.raises((KeyError, TypeError, ValueError)):
        cog_from_asset(asset)


def test_another_kind_of_hash_is_refused() -> None:
    asset = asset_of(good(), S2)
    with pytest.raises(ValueError, match="no sha2-256 multihash"):
        cog_from_asset({**asset, "file:checksum": "d41d8cd98f00b204e9800998ecf8427e"})
