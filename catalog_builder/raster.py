"""Source rasters, which nobody vouches for: what may be opened, and what a header must say before it is believed.

Only the drivers named here are tried, sidecar files (``.aux.xml``, ``.msk``, ``.ovr``, world files) are never looked
at, and nothing is opened but a plain local file; so no file can make GDAL reach for the network.
"""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import MaskFlags
from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window

from catalog_builder.errors import RasterError, SourcesError
from catalog_builder.grid import Bounds

GDAL_OPTIONS: dict[str, Any] = {
    # An empty directory listing: GDAL looks for no sidecar file.
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_PAM_ENABLED": "NO",
    # Work is parallel by tiles; threads inside GDAL would only fight over the same cores.
    "GDAL_NUM_THREADS": "1",
    # Decoded blocks that a worker keeps, in bytes: unlike GDAL, rasterio takes no number for megabytes.
    "GDAL_CACHEMAX": 64 * 2**20,
}

MAX_PIXELS = 10**11
"""Largest raster accepted: metropolitan France at 3 m. A header that claims more is not believed."""
MAX_BLOCK_BYTES = 2**28
"""Largest block accepted: GDAL holds a whole block in memory, however small the window."""

_TIFF_MAGIC = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")


@dataclass(frozen=True, slots=True, kw_only=True)
class RasterHeader:
    """What the header of a source raster says, read once."""

    path: Path
    driver: str
    crs: str
    """Authority code, or WKT where the CRS has none."""
    transform: Affine
    """Pixel (column, row) -> CRS (x, y); north up."""
    shape: tuple[int, int]
    """Rows, columns."""
    count: int
    data_type: str
    nodata: float | None
    has_mask: bool
    """Whether the file carries a mask of its own (an internal mask, not an alpha band)."""
    scaling: tuple[float, float]
    """Scale and offset of the bands; (1, 0) for plain values."""

    @property
    def bounds(self) -> Bounds:
        """Box of the raster in its own CRS."""
        left, top = self.transform @ (0, 0)
        right, bottom = self.transform @ (self.shape[1], self.shape[0])
        return Bounds(left, bottom, right, top)

    @property
    def resolution(self) -> tuple[float, float]:
        """Width and height of a pixel, in units of the CRS."""
        return self.transform.a, -self.transform.e


def gdal_environment() -> rasterio.Env:
    """Give the GDAL settings under which every raster is opened; use as a context manager."""
    return rasterio.Env(**GDAL_OPTIONS)


@contextmanager
def open_source(path: Path) -> Iterator[DatasetReader]:
    """Open a source raster with one of the allowed drivers. Raises ``RasterError`` naming the file."""
    driver = _driver(path)
    try:
        with gdal_environment(), rasterio.open(path, driver=driver) as dataset:
            yield dataset
    except (RasterioError, CRSError, UnicodeDecodeError) as error:
        raise RasterError(f"{path}: truncated or corrupt {driver} file: {_one_line(error)}") from error


def _driver(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            magic = stream.read(4)
    except OSError as error:
        raise RasterError(f"{path}: cannot read: {error.strerror}") from error
    if magic in _TIFF_MAGIC:
        return "GTiff"
    if path.suffix.lower() == ".hgt":
        return "SRTMHGT"
    raise RasterError(f"{path}: neither a GeoTIFF nor an SRTM .hgt file; convert it to GeoTIFF with gdal_translate")


def read_header(path: Path) -> RasterHeader:
    """Read and judge the header of a source raster.

    Raises ``RasterError`` for a file of another kind, without CRS, rotated, off the Earth, or of impossible size.
    """
    try:
        # GDAL fills in what a file does not say of its place; rasterio then warns.
        with warnings.catch_warnings(action="error", category=NotGeoreferencedWarning), open_source(path) as dataset:
            return _header(path, dataset)
    except NotGeoreferencedWarning as error:
        raise RasterError(f"{path}: no geotransform; give the file its corners with gdal_edit.py -a_ullr") from error


def _header(path: Path, dataset: DatasetReader) -> RasterHeader:
    _check_size(path, dataset)
    if dataset.crs is None:
        raise RasterError(f"{path}: no CRS; set the right one with gdal_edit.py -a_srs")
    _check_transform(path, dataset.transform)
    _check_degrees(path, dataset)
    flags = dataset.mask_flag_enums[0]
    return RasterHeader(
        path=path,
        driver=dataset.driver,
        crs=crs_name(dataset.crs),
        transform=dataset.transform,
        shape=dataset.shape,
        count=dataset.count,
        data_type=_data_type(path, dataset),
        nodata=_nodata(path, dataset),
        has_mask=MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags,
        scaling=_scaling(path, dataset),
    )


def crs_name(crs: CRS) -> str:
    """Name a CRS by its authority code, or by its WKT where it has none."""
    authority = crs.to_authority()
    return ":".join(authority) if authority else crs.to_wkt()


def parse_crs(text: str, where: str) -> CRS:
    """Parse an authority code or WKT that a user wrote. Raises ``SourcesError`` naming ``where`` and the value."""
    try:
        return CRS.from_user_input(text)
    except CRSError as error:
        raise SourcesError(f"{where}: unknown CRS {text!r}") from error


def _check_size(path: Path, dataset: DatasetReader) -> None:
    rows, columns = dataset.shape
    if rows * columns > MAX_PIXELS:
        raise RasterError(f"{path}: the header claims {columns} x {rows} pixels; at most {MAX_PIXELS:.0e} are accepted")
    for (block_rows, block_columns), name in zip(dataset.block_shapes, dataset.dtypes, strict=True):
        if block_rows * block_columns * np.dtype(_numpy_name(name)).itemsize > MAX_BLOCK_BYTES:
            raise RasterError(
                f"{path}: blocks of {block_columns} x {block_rows} pixels cannot be read in windows; "
                "tile it with gdal_translate -co TILED=YES"
            )


def _check_transform(path: Path, transform: Affine) -> None:
    if transform.b or transform.d:
        raise RasterError(f"{path}: rotated transform {tuple(transform)[:6]}; make it north-up with gdalwarp")
    if transform.a <= 0 or transform.e >= 0:
        raise RasterError(f"{path}: transform {tuple(transform)[:6]} is not north-up; make it so with gdalwarp")


def _check_degrees(path: Path, dataset: DatasetReader) -> None:
    """Refuse a raster in degrees that lies off the Earth: metres under a CRS of degrees are a common mistake."""
    if not dataset.crs.is_geographic:
        return
    right_angle = math.pi / 2 / dataset.crs.units_factor[1]
    left, bottom, right, top = dataset.bounds
    # A pixel may reach over the pole by its half; longitudes may count on across the antimeridian.
    slack = -dataset.transform.e
    if max(-bottom, top) > right_angle + slack or max(-left, right) > 4 * right_angle + slack:
        box = f"{left:g}, {bottom:g}, {right:g}, {top:g}"
        raise RasterError(
            f"{path}: {box} is off the Earth in {crs_name(dataset.crs)}; set the right CRS with gdal_edit.py -a_srs"
        )


def _data_type(path: Path, dataset: DatasetReader) -> str:
    types = set(dataset.dtypes)
    if len(types) > 1:
        raise RasterError(f"{path}: bands of different types: {', '.join(dataset.dtypes)}")
    return _numpy_name(types.pop())


def _numpy_name(name: str) -> str:
    """GDAL knows complex integers, which numpy does not; no modality takes them."""
    return name if name != "complex_int16" else "complex64"


def _nodata(path: Path, dataset: DatasetReader) -> float | None:
    values = {str(value): value for value in dataset.nodatavals}
    if len(values) > 1:
        raise RasterError(f"{path}: bands of different nodata: {', '.join(values)}")
    value = dataset.nodatavals[0]
    return None if value is None else float(value)


def _scaling(path: Path, dataset: DatasetReader) -> tuple[float, float]:
    pairs = set(zip(dataset.scales, dataset.offsets, strict=True))
    if len(pairs) > 1:
        raise RasterError(f"{path}: bands of different scale or offset")
    return pairs.pop()


def read_window(
    header: RasterHeader, bands: tuple[int, ...], window: Window
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Read a window that lies inside the raster.

    Returns pixels (bands, rows, columns) as stored, and where they are valid (same shape): not nodata, not NaN, not
    masked by a mask of the file. An alpha band masks nothing, because GDAL takes the fourth band of many a
    near-infrared image for one. Raises ``RasterError`` for a corrupt file.
    """
    with open_source(header.path) as dataset:
        pixels = dataset.read(list(bands), window=window)
        valid = is_valid(pixels, header.nodata)
        if header.has_mask:
            valid &= dataset.read_masks(list(bands), window=window) != 0
    return pixels, valid


def is_valid(pixels: npt.NDArray[Any], nodata: float | None) -> npt.NDArray[np.bool_]:
    """Tell where pixels are neither nodata nor NaN; same shape as ``pixels``."""
    floating = np.issubdtype(pixels.dtype, np.inexact)
    if nodata is None or np.isnan(nodata):
        return ~np.isnan(pixels) if floating else np.ones(pixels.shape, dtype=np.bool_)
    valid: npt.NDArray[np.bool_] = pixels != nodata
    return valid & ~np.isnan(pixels) if floating else valid


def _one_line(error: Exception) -> str:
    return " ".join(str(error.__cause__ or error).split())
