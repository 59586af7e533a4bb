"""Tiles as numpy arrays: the short way from a file to training."""

import operator
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from affine import Affine
from rasterio.io import DatasetReader
from rasterio.windows import Window

from catalog_builder.errors import RasterError, UsageError
from catalog_builder.load.access import Access, open_href
from catalog_builder.load.bands import BandRef, select
from catalog_builder.load.tiles import TileAsset, read_item
from catalog_builder.raster import crs_name
from catalog_builder.template import same_nodata

Box: TypeAlias = tuple[int, int, int, int]
"""Row, column, height, width in pixels of a tile."""
Masked: TypeAlias = "np.ma.MaskedArray[Any, np.dtype[Any]]"


def to_numpy(
    item: Any,
    assets: str | Iterable[str] | None = None,
    *,
    window: Box | None = None,
    endpoint_url: str | None = None,
    anonymous: bool = False,
) -> dict[str, Masked]:
    """Read one tile: modality -> masked array (bands, rows, columns) in the type of its file.

    ``assets`` are names of modalities (``"s2"``, all its bands) or of bands (``"s2.red"``); default: all. ``window`` is
    (row, column, height, width) of a part. Masked is what is nodata or NaN; ``.data`` holds the pixels as stored, and
    ``.mask`` is a whole array, never a single value. Raises ``UsageError`` for a name or a window that the item does
    not have, ``RasterError`` or ``RemoteError``, naming the href, for a file that is missing, cannot be read, or is not
    what the item says.
    """
    tile = read_item(item)
    access = Access(endpoint_url=endpoint_url, anonymous=anonymous)
    groups = by_asset(select([tile], assets))
    return {key: read_asset(tile.assets[key], numbers, window, access) for key, numbers in groups.items()}


def by_asset(refs: Sequence[BandRef]) -> dict[str, tuple[int, ...]]:
    """Give the numbers of the wanted bands of each asset, in the order asked for."""
    groups: dict[str, dict[int, None]] = {}
    for ref in refs:
        groups.setdefault(ref.asset, {})[ref.number] = None
    return {key: tuple(numbers) for key, numbers in groups.items()}


def read_asset(asset: TileAsset, numbers: Sequence[int], window: Box | None, access: Access) -> Masked:
    """Read bands of one raster, whole or a part of them."""
    box = as_window(window, asset.grid.shape)
    with open_href(asset.href, access) as dataset:
        check_header(asset, dataset)
        pixels = dataset.read(list(numbers), window=box)
    nodata = asset.bands[numbers[0] - 1].nodata
    return np.ma.MaskedArray(pixels, mask=invalid(pixels, nodata), fill_value=nodata)


def blank(bands: Sequence[BandRef], shape: tuple[int, int]) -> Masked:
    """Give what stands for a modality that a tile lacks: nodata, all masked."""
    band = bands[0].band
    pixels = np.full((len(bands), *shape), 0 if band.nodata is None else band.nodata, dtype=band.data_type)
    return np.ma.MaskedArray(pixels, mask=np.ones(pixels.shape, dtype=np.bool_), fill_value=band.nodata)


def as_window(box: Box | None, shape: tuple[int, int]) -> Window | None:
    """Turn a box into a window. Raises ``UsageError`` where it leaves the tile."""
    if box is None:
        return None
    try:
        row, column, height, width = map(operator.index, box)
    except (TypeError, ValueError) as error:
        raise UsageError(f"window {box}: not four whole numbers (row, column, height, width)") from error
    if min(row, column) < 0 or min(height, width) < 1 or row + height > shape[0] or column + width > shape[1]:
        raise UsageError(
            f"window {box}: (row, column, height, width) lies not inside a tile of {shape[0]} x {shape[1]}"
        )
    return Window(column, row, width, height)


def invalid(pixels: npt.NDArray[Any], nodata: float | None) -> npt.NDArray[np.bool_]:
    """Tell where pixels are nodata or NaN; same shape."""
    masked: npt.NDArray[np.bool_]
    if np.issubdtype(pixels.dtype, np.inexact):
        masked = np.isnan(pixels)
        return masked if nodata is None or np.isnan(nodata) else masked | (pixels == pixels.dtype.type(nodata))
    # Compared in its own type: numpy would turn every pixel into a double for a Python float.
    return np.zeros(pixels.shape, np.bool_) if nodata is None else pixels == pixels.dtype.type(int(nodata))


def check_header(asset: TileAsset, dataset: DatasetReader) -> None:
    """Hold a file against its item. Raises ``RasterError`` for a difference that would give other pixels."""
    grid = asset.grid
    if dataset.crs is None or crs_name(dataset.crs) != grid.crs:
        _same(asset, "CRS", None if dataset.crs is None else crs_name(dataset.crs), grid.crs)
    names = tuple(band.name for band in asset.bands)
    if all(dataset.descriptions) and all(names):
        _same(asset, "bands", tuple(dataset.descriptions), names)
    _same(asset, "shape", tuple(dataset.shape), grid.shape)
    _same(asset, "types of bands", dataset.dtypes, tuple(band.data_type for band in asset.bands))
    told = Affine(*grid.transform)
    if not dataset.transform.almost_equals(told, precision=1e-6 * grid.transform[0]):
        _same(asset, "transform", tuple(dataset.transform)[:6], grid.transform)
    for band, nodata in zip(asset.bands, dataset.nodatavals, strict=True):
        if not same_nodata(nodata, band.nodata):
            _same(asset, "nodata", nodata, band.nodata)


def _same(asset: TileAsset, what: str, found: Any, told: Any) -> None:
    if found != told:
        raise RasterError(
            f"{asset.href}: {what} {found}, but its item says {told}; the mirror is older or newer than it"
        )
