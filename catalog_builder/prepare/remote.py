"""Rasters far away -> GeoTIFFs with what a target needs of them; no whole scene is read.

Only blocks that meet the target, and what interpolation reaches beyond it, are asked for, each once. What an address
may hold as a token is told to nobody.
"""

import math
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio.enums import MaskFlags
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import DatasetReader
from rasterio.windows import Window

from catalog_builder.errors import RemoteError
from catalog_builder.executor import ordered
from catalog_builder.load.access import Access, open_href
from catalog_builder.placement import place_source
from catalog_builder.prepare.apis import public, signed, without_secrets
from catalog_builder.prepare.mosaic_step import modality_of, window_around
from catalog_builder.prepare.output import Bands, Blocks, check_written, writing_scratch
from catalog_builder.prepare.s1 import to_power
from catalog_builder.prepare.target import BLOCK, Target
from catalog_builder.raster import MAX_BLOCK_BYTES, RasterHeader, crs_name, is_valid

Stored = npt.NDArray[Any]
"""(rows, columns)"""

_TYPES = ("uint8", "int16", "uint16", "int32", "uint32", "float32", "float64")
_WINDOW = 16
"""Files under way at a time."""
_STRIP = 2**22
"""Values that are held at a time."""
_DECIBELS = (-100.0, 60.0)
"""Backscatter of the Earth lies well inside."""
_LEAST_POWER = -1.0
"""Subtracted noise leaves powers a little below 0, but none like this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A raster of one band, far away, and where what is needed of it goes."""

    href: str
    sign: str | None
    """``module:function`` that gives the address to read from."""
    path: Path
    units: str | None = None
    """``linear`` or ``db`` for backscatter, which is stored as linear power, float32, NaN where there is none; None for
    what is stored as it is."""


def fetch(wanted: Sequence[Wanted], target: Target, executor: Executor, progress: Blocks) -> None:
    """Bring what a target needs of each raster to its path.

    Raises ``RemoteError`` naming the address and what is wrong with it, ``BuildError`` where a file cannot be written.
    """
    progress.start(len(wanted))
    for _ in ordered(executor, partial(_fetch, target), wanted, _WINDOW):
        progress.block()


def _fetch(target: Target, wanted: Wanted) -> None:
    with _opened(wanted) as dataset:
        name = public(wanted.href)
        header = _header(name, dataset)
        window = _window(header, target)
        if window is None:
            raise RemoteError(f"{name}: does not meet the grid, but its item says so")
        _copy(dataset, header, window, wanted, name)


@contextmanager
def _opened(wanted: Wanted) -> Iterator[DatasetReader]:
    """Open a raster. Raises ``RemoteError`` without what is secret, here and where reading in the block fails."""
    try:
        # GDAL fills in what a file does not say of its place; rasterio then warns.
        with (
            warnings.catch_warnings(action="error", category=NotGeoreferencedWarning),
            open_href(signed(wanted.href, wanted.sign), Access()) as dataset,
        ):
            yield dataset
    except NotGeoreferencedWarning:
        raise RemoteError(f"{public(wanted.href)}: no geotransform; it cannot be placed") from None
    except RemoteError as error:
        raise RemoteError(without_secrets(str(error))) from None


def _header(name: str, dataset: DatasetReader) -> RasterHeader:
    """Judge a header as far as it takes to read windows; what is brought is judged as any other file is."""
    transform, flags = dataset.transform, dataset.mask_flag_enums[0]
    if dataset.crs is None or transform.b or transform.d or transform.a <= 0 or transform.e >= 0:
        raise RemoteError(f"{name}: no CRS, or not north-up; it cannot be placed")
    if dataset.count != 1 or MaskFlags.per_dataset in flags:
        raise RemoteError(f"{name}: {dataset.count} bands, or a mask; a file of one band is wanted")
    if dataset.dtypes[0] not in _TYPES:
        raise RemoteError(f"{name}: {dataset.dtypes[0]} values; one of {', '.join(_TYPES)} is wanted")
    rows, columns = dataset.block_shapes[0]
    if rows * columns * np.dtype(dataset.dtypes[0]).itemsize > MAX_BLOCK_BYTES:
        raise RemoteError(f"{name}: blocks of {columns} x {rows} pixels; it cannot be read in windows")
    return RasterHeader(
        path=Path(name),
        driver="GTiff",
        crs=crs_name(dataset.crs),
        transform=transform,
        shape=dataset.shape,
        count=1,
        data_type=dataset.dtypes[0],
        nodata=dataset.nodata,
        has_mask=False,
        scaling=(dataset.scales[0], dataset.offsets[0]),
    )


def _window(header: RasterHeader, target: Target) -> Window | None:
    """Give the part of a raster that matters to a target: the same pixels where they are its own, else some more."""
    bands = Bands(names=("band",), data_type="float32", nodata=math.nan)
    grid = target.block_tile(Window(0, 0, BLOCK, BLOCK)).grid
    (raster,) = place_source(modality_of("band", bands, "bilinear"), (1,), [(header, "")], grid).rasters
    if raster.run.copied:
        left, top = raster.offset
        rows, columns = (
            slice(max(-start, 0), min(size, length - start))
            for start, size, length in zip((top, left), header.shape, target.shape, strict=True)
        )
        inside = rows.start < rows.stop and columns.start < columns.stop
        return Window.from_slices(rows, columns) if inside else None
    return window_around(header, target.bounds.padded(raster.reach), target.crs, 0)


def _copy(dataset: DatasetReader, header: RasterHeader, window: Window, wanted: Wanted, name: str) -> None:
    """Copy a window to a GeoTIFF of its own, a few rows of blocks at a time."""
    profile = {
        "driver": "GTiff",
        "count": 1,
        "height": window.height,
        "width": window.width,
        "crs": dataset.crs,
        "transform": header.transform @ Affine.translation(window.col_off, window.row_off),
        "dtype": header.data_type if wanted.units is None else "float32",
        "nodata": header.nodata if wanted.units is None else math.nan,
        "tiled": True,
        "blockxsize": BLOCK,
        "blockysize": BLOCK,
        "compress": "ZSTD",
        "zstd_level": 1,
        "bigtiff": "IF_SAFER",
    }
    with writing_scratch(wanted.path):
        wanted.path.parent.mkdir(parents=True, exist_ok=True)
        copy = rasterio.open(wanted.path, "w", **profile)
    with copy:
        for strip in _strips(window, dataset.block_shapes[0][0]):
            pixels = dataset.read(1, window=strip)
            if wanted.units is not None:
                pixels = _power(pixels, header, wanted.units, name)
            with writing_scratch(wanted.path):
                copy.write(pixels, 1, window=Window(0, strip.row_off - window.row_off, strip.width, strip.height))
    with writing_scratch(wanted.path):
        check_written(wanted.path)


def _strips(window: Window, block: int) -> Iterator[Window]:
    """Cut a window along rows of blocks, so that each block is asked for once."""
    step = max(_STRIP // (window.width * block), 1) * block
    bottom = window.row_off + window.height
    for row in range(window.row_off // block * block, bottom, step):
        top = max(row, window.row_off)
        yield Window(window.col_off, top, window.width, min(row + step, bottom) - top)


def _power(stored: Stored, header: RasterHeader, units: str, name: str) -> Stored:
    """Turn backscatter into linear power, float32, NaN where there is none. Raises ``RemoteError`` for what is none."""
    scale, offset = header.scaling
    values = np.where(is_valid(stored, header.nodata), stored * np.float64(scale) + offset, np.nan)
    values[np.isneginf(values)] = np.nan  # decibels of no power
    low, high = _DECIBELS if units == "db" else (_LEAST_POWER, math.inf)
    wrong = (values < low) | (values > high) | np.isposinf(values)
    if wrong.any():
        raise RemoteError(f"{name}: {values[wrong][0]:g} is no backscatter in units of {units}")
    power = to_power(values) if units == "db" else np.where(values > 0, values, np.nan)
    return power.astype(np.float32)
