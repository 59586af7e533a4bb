"""Pixels -> Cloud-Optimized GeoTIFF, and a Cloud-Optimized GeoTIFF -> what it is.

GDAL's own COG driver writes; the file then testifies: whatever an item says of a COG comes from ``describe``.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader, MemoryFile
from rasterio.shutil import copy as copy_raster

from catalog_builder.errors import RasterError
from catalog_builder.grid import Tile
from catalog_builder.manifest import hash_file
from catalog_builder.raster import crs_name, gdal_environment, is_valid
from catalog_builder.template import CogOptions, Modality, same_nodata

STATISTICS = {
    "minimum": "STATISTICS_MINIMUM",
    "maximum": "STATISTICS_MAXIMUM",
    "mean": "STATISTICS_MEAN",
    "stddev": "STATISTICS_STDDEV",
    "valid_percent": "STATISTICS_VALID_PERCENT",
}
"""STAC's names of band statistics -> GDAL's, as they stand in the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CogBand:
    """One band of a file as the file tells it."""

    name: str | None
    data_type: str
    nodata: float | None
    statistics: Mapping[str, float]
    """``minimum``, ``maximum``, ``mean``, ``stddev`` over valid pixels, and ``valid_percent``; the latter alone where
    no pixel is valid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CogAsset:
    """A COG, read back from the file."""

    crs: str
    transform: tuple[float, ...]
    """Affine (a, b, c, d, e, f)."""
    shape: tuple[int, int]
    """Rows, columns."""
    bands: tuple[CogBand, ...]
    size: int
    """Bytes of the file."""
    sha256: str
    """Of the bytes of the file, hex."""

    @property
    def valid_percent(self) -> float:
        """Share of valid pixels in the band that has the fewest."""
        return min(band.statistics["valid_percent"] for band in self.bands)


def encode(pixels: npt.NDArray[Any], modality: Modality, tile: Tile, options: CogOptions) -> bytes:
    """Pack pixels (bands, rows, columns) of a tile as a COG and give its bytes.

    The same pixels and the same GDAL give the same bytes.
    """
    with gdal_environment(), MemoryFile(ext=".tif") as target:
        with _memory_dataset(pixels, modality, tile) as dataset:
            # An overview that the source already has spares the driver its own compressed detour.
            overview = Resampling.mode if modality.is_classes else Resampling.average
            dataset.build_overviews(overview_factors(pixels.shape, options.blocksize), overview)
            copy_raster(dataset, target.name, driver="COG", **_creation_options(modality, options))
        return bytes(target.getbuffer())


def _memory_dataset(pixels: npt.NDArray[Any], modality: Modality, tile: Tile) -> Any:
    count, rows, columns = pixels.shape
    dataset = rasterio.open(
        "", "w+", driver="MEM", width=columns, height=rows, count=count, dtype=pixels.dtype,
        crs=tile.grid.crs, transform=tile.transform, nodata=modality.nodata,
    )  # fmt: skip
    dataset.write(pixels)
    dataset.descriptions = modality.band_names
    dataset.units = [str(band.get("unit", "")) for band in modality.bands]
    # Said outright, or GDAL takes the fourth band of an 8-bit image for transparency.
    rgb = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
    dataset.colorinterp = rgb if modality.is_rgb else (ColorInterp.gray,) + (ColorInterp.undefined,) * (count - 1)
    return dataset


def overview_factors(shape: tuple[int, ...], blocksize: int) -> list[int]:
    """Halve until one block holds the whole image: 1024 pixels in blocks of 512 need one overview."""
    steps = math.ceil(math.log2(max(max(shape[1:]) / blocksize, 1)))
    return [2**step for step in range(1, steps + 1)]


def _creation_options(modality: Modality, options: CogOptions) -> dict[str, Any]:
    # Classes repeat whole runs of one value, which differences would only break up.
    predictor = "NO" if modality.is_classes else "YES"
    return {
        "compress": options.compress,
        "level": options.level,
        "predictor": predictor,
        # GDAL does not hand these on to the overview by itself.
        "overview_compress": options.compress,
        "overview_predictor": predictor,
        "blocksize": options.blocksize,
        "overviews": "FORCE_USE_EXISTING",
        "statistics": "YES",
        "bigtiff": "IF_SAFER",
        "num_threads": "1",
    }


def describe(path: Path) -> CogAsset:
    """Read back what a finished COG is. Raises ``RasterError`` naming the file."""
    try:
        with gdal_environment(), rasterio.open(path, driver="GTiff") as dataset:
            bands = tuple(_band(dataset, index) for index in dataset.indexes)
            crs, transform, shape = dataset.crs, dataset.transform, dataset.shape
    except RasterioError as error:
        raise RasterError(f"{path}: not a readable GeoTIFF: {error}") from error
    size, sha256 = hash_file(path)
    return CogAsset(
        crs=crs_name(crs) if crs else "",
        transform=tuple(transform)[:6],
        shape=shape,
        bands=bands,
        size=size,
        sha256=sha256,
    )


def _band(dataset: DatasetReader, index: int) -> CogBand:
    tags = dataset.tags(index)
    nodata = dataset.nodatavals[index - 1]
    return CogBand(
        name=dataset.descriptions[index - 1],
        data_type=dataset.dtypes[index - 1],
        nodata=None if nodata is None else float(nodata),
        statistics={name: float(tags[tag]) for name, tag in STATISTICS.items() if tag in tags},
    )


def differences(cog: CogAsset, modality: Modality, tile: Tile) -> list[str]:
    """Say where a file differs from what the template promises; empty where it keeps its word."""
    pairs: list[tuple[str, object, object]] = [
        ("shape", cog.shape, tile.grid.tile_shape),
        ("CRS", cog.crs, tile.grid.crs),
        ("number of bands", len(cog.bands), len(modality.bands)),
        ("band names", tuple(band.name for band in cog.bands), modality.band_names),
        ("data_type", {band.data_type for band in cog.bands}, {modality.data_type}),
    ]
    found = [f"{what} is {is_}, the template says {should}" for what, is_, should in pairs if is_ != should]
    if not _same_transform(cog.transform, tile.transform):
        found.append(f"transform is {cog.transform}, the grid says {tuple(tile.transform)[:6]}")
    found += [
        f"nodata of band {band.name} is {band.nodata}, the template says {modality.nodata}"
        for band in cog.bands
        if not same_nodata(band.nodata, modality.nodata)
    ]
    found += [f"band {band.name} has no statistics" for band in cog.bands if "valid_percent" not in band.statistics]
    found += [
        f"{name} of band {band.name} is {value}"
        for band in cog.bands
        for name, value in band.statistics.items()
        if not math.isfinite(value)
    ]
    return found


def _same_transform(one: tuple[float, ...], other: Affine) -> bool:
    return all(math.isclose(a, b, rel_tol=1e-12, abs_tol=1e-9) for a, b in zip(one, tuple(other)[:6], strict=True))


def read_valid(path: Path, nodata: float) -> npt.NDArray[np.bool_]:
    """Tell where a COG has a valid pixel in any band, (rows, columns)."""
    with gdal_environment(), rasterio.open(path, driver="GTiff") as dataset:
        return np.asarray(is_valid(dataset.read(), nodata).any(axis=0))
