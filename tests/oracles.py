"""What pixels should be, told by other means than the builder's: numpy and pyproj, or an exact warp of a whole area."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj
import rasterio
from affine import Affine
from rasterio.enums import Resampling
from rasterio.io import DatasetReader
from rasterio.vrt import WarpedVRT

from catalog_builder.template import Modality

Array = npt.NDArray[Any]
Points = npt.NDArray[np.float64]

TOLERANCE = 1e-9
"""Of the whole-area warp, in pixels: GDAL's default moves pixels by up to an eighth."""
_FLOAT_ERROR = 2e-4
"""Largest difference of float32 values of some hundreds that is rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Raster:
    """A whole source file in memory."""

    pixels: Array
    """(bands, rows, columns)."""
    crs: str
    transform: Affine
    nodata: float | None

    @classmethod
    def read(cls, path: Path, bands: list[int] | None = None) -> "Raster":
        """Read a file, all bands by default."""
        with rasterio.open(path) as dataset:
            return cls(
                pixels=dataset.read(bands),
                crs=dataset.crs.to_string(),
                transform=dataset.transform,
                nodata=dataset.nodata,
            )

    @property
    def valid(self) -> npt.NDArray[np.bool_]:
        """Where pixels are neither nodata nor NaN."""
        return np.asarray((self.pixels == self.pixels) & (self.pixels != self.nodata))

    def places(self, crs: str, transform: Affine, shape: tuple[int, int]) -> tuple[Points, Points]:
        """Give column and row in the raster, corner (0, 0), of the centre of every pixel of a target."""
        columns, rows = np.meshgrid(np.arange(shape[1]) + 0.5, np.arange(shape[0]) + 0.5)
        x = transform.c + columns * transform.a
        y = transform.f + rows * transform.e
        if pyproj.CRS(crs) != pyproj.CRS(self.crs):
            x, y = pyproj.Transformer.from_crs(crs, self.crs, always_xy=True).transform(x, y)
        return (x - self.transform.c) / self.transform.a, (y - self.transform.f) / self.transform.e

    def nearest(self, columns: Points, rows: Points, fill: float, data_type: str) -> Array:
        """Give the pixel that holds each place, (bands, *places), ``fill`` outside and where it is not valid."""
        column, row, inside = self._inside(columns, rows)
        picked = self.pixels[:, row, column].astype(data_type)
        return np.where(inside & self.valid[:, row, column], picked, np.asarray(fill, dtype=data_type))

    def bilinear(self, columns: Points, rows: Points, fill: float, data_type: str) -> Array:
        """Interpolate between the four pixel centres around each place, leaving out what is not valid.

        As in GDAL a place has a value only where the pixel that holds it is valid.
        """
        column, row, inside = self._inside(columns, rows)
        valid = self.valid
        total = np.zeros((len(self.pixels), *columns.shape))
        weights = np.zeros_like(total)
        left, top = np.floor(columns - 0.5).astype(int), np.floor(rows - 0.5).astype(int)
        for down in (0, 1):
            for right in (0, 1):
                weight = (1 - abs(columns - 0.5 - left - right)) * (1 - abs(rows - 0.5 - top - down))
                j, i, there = self._inside(left + right + 0.5, top + down + 0.5)
                weight = np.where(there & valid[:, i, j], weight, 0)
                total += np.where(weight > 0, self.pixels[:, i, j].astype(np.float64), 0) * weight
                weights += weight
        has_value = inside & valid[:, row, column]
        values = np.divide(total, weights, out=np.zeros_like(total), where=has_value)
        if np.issubdtype(np.dtype(data_type), np.integer):
            values = np.floor(values + 0.5)
        return np.where(has_value, values, fill).astype(data_type)

    def _inside(self, columns: Points, rows: Points) -> tuple[Array, Array, npt.NDArray[np.bool_]]:
        """Give whole column and row of places, those outside moved to the rim, and which are inside."""
        height, width = self.pixels.shape[1:]
        column, row = np.floor(columns).astype(int), np.floor(rows).astype(int)
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        return np.clip(column, 0, width - 1), np.clip(row, 0, height - 1), inside


@contextmanager
def whole_area(
    path: Path,
    modality: Modality,
    crs: str,
    transform: Affine,
    shape: tuple[int, int],
    *,
    src_nodata: float | None = None,
    scale: tuple[float, float] | None = None,
) -> Iterator[DatasetReader]:
    """Open the exact warp of one file to a whole area, which is computed where it is read.

    ``scale`` holds GDAL to one kernel; left alone it takes another for each chunk where it shrinks.
    """
    kernel = {"XSCALE": repr(scale[0]), "YSCALE": repr(scale[1])} if scale else {}
    with (
        rasterio.open(path) as dataset,
        WarpedVRT(
            dataset,
            crs=crs,
            transform=transform,
            height=shape[0],
            width=shape[1],
            resampling=Resampling[modality.resampling],
            src_nodata=dataset.nodata if src_nodata is None else src_nodata,
            nodata=modality.nodata,
            dtype=modality.data_type,
            tolerance=TOLERANCE,
            INIT_DEST="NO_DATA",
            **kernel,
        ) as warped,
    ):
        yield warped


def shrunk(pixels: Array, valid: npt.NDArray[np.bool_], weights: tuple[Points, Points]) -> tuple[Array, Array]:
    """Give the weighted sums of valid values of (rows, columns) and the sums of their weights.

    ``weights`` are those of target rows by source rows, and of target columns by source columns.
    """
    down, right = weights
    total = down @ np.where(valid, pixels, 0).astype(np.float64) @ right.T
    return total, down @ valid.astype(np.float64) @ right.T


def box_weights(count: int, length: int, ratio: float, start: float) -> Points:
    """Weigh ``length`` source pixels by their share in each of ``count`` target pixels of ``ratio`` source pixels."""
    low = start + np.arange(count)[:, None] * ratio
    source = np.arange(length)[None]
    return np.asarray(np.clip(np.minimum(low + ratio, source + 1) - np.maximum(low, source), 0, None))


def triangle_weights(count: int, length: int, ratio: float, start: float) -> Points:
    """Weigh ``length`` source pixels by bilinear interpolation, widened to target pixels of ``ratio`` >= 1 of them."""
    centre = start + (np.arange(count)[:, None] + 0.5) * ratio
    source = np.arange(length)[None] + 0.5
    return np.asarray(np.clip(1 - abs(source - centre) / ratio, 0, None))


@dataclass(slots=True)
class Tally:
    """Counts pixels that differ; all but rounding is an error."""

    compared: int = 0
    differing: int = 0
    worst: float = 0.0
    where: list[str] = field(default_factory=list)

    def add(self, actual: Array, expected: Array, where: str = "") -> None:
        """Compare two arrays of one shape and one type; NaN equals NaN."""
        assert actual.dtype == expected.dtype, where
        assert actual.shape == expected.shape, where
        gap = abs(actual.astype(np.float64) - expected.astype(np.float64))
        if np.issubdtype(actual.dtype, np.inexact):
            gap = np.where(np.isnan(actual) & np.isnan(expected), 0, np.where(np.isnan(gap), np.inf, gap))
            gap = np.where(gap <= _FLOAT_ERROR, 0, gap)
        self.compared += gap.size
        self.differing += int(np.count_nonzero(gap))
        self.worst = max(self.worst, float(gap.max(initial=0)))
        if gap.any():
            self.where.append(where)

    def join(self, other: "Tally") -> None:
        """Count what another has counted."""
        self.compared += other.compared
        self.differing += other.differing
        self.worst = max(self.worst, other.worst)
        self.where += other.where

    def check(self) -> None:
        """Hold the differences against the promise: at most one pixel in 10^6, by one unit."""
        assert self.compared
        assert self.differing <= self.compared * 1e-6, self
        assert self.worst <= 1, self
