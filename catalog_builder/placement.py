"""Where the files of a source lie on a grid: copied or to be warped, joined with which others. No pixel is read.

A file on the area's grid is copied bit for bit. Any other is warped once. Files that share a CRS and a pixel raster are
joined before they are warped, so that interpolation sees across the seam of two files.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
from affine import Affine
from rasterio.crs import CRS
from rasterio.warp import transform as transform_points
from rasterio.warp import transform_bounds

from catalog_builder.errors import RasterError
from catalog_builder.grid import PIXEL_TOLERANCE, Bounds, TileGrid
from catalog_builder.raster import RasterHeader, gdal_environment
from catalog_builder.template import Modality

KERNEL_RADIUS = 3
"""Source pixels beyond a window that the widest kernel (cubic) can reach at full resolution, and one for rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Files of one pixel raster that follow each other in a source, and are joined before they are warped.

    A run is told in the whole source, so that every tile is made from a part of the same.
    """

    number: int
    crs: str
    transform: Affine
    """Of its first file, by whose pixels the others count; of the grid where the pixels are the grid's."""
    box: tuple[int, int, int, int]
    """Left, top, right, bottom around its files, in those pixels."""
    copied: bool
    """Whether its pixels are the grid's."""
    scale: tuple[float, float]
    """Target pixels per source pixel along x and y, at most 1: how far a kernel is widened when shrinking. One for all
    files of a run, so that they agree along a seam."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedRaster:
    """One file of a source with its place."""

    header: RasterHeader
    sha256: str
    """Of the file's bytes."""
    bounds: Bounds
    """Box in the CRS of the grid."""
    reach: float
    """How far beyond its box the file can matter to interpolation, in units of the grid's CRS; 0 for a copy."""
    run: Run
    offset: tuple[int, int]
    """Column, row of its corner in pixels of its run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedSource:
    """A source whose files have their place; what a tile is read from."""

    modality: Modality
    bands: tuple[int, ...]
    """Bands of the files, counted from 1."""
    rasters: tuple[PlacedRaster, ...]
    """In the order of painting."""

    def touching(self, box: Bounds) -> "PlacedSource":
        """Give the source with only those files whose bounds, or what interpolation reaches beyond them, meet a box."""
        near = tuple(raster for raster in self.rasters if raster.bounds.padded(raster.reach).intersection(box))
        return self if near == self.rasters else replace(self, rasters=near)

    @property
    def runs(self) -> list[tuple[Run, list[PlacedRaster]]]:
        """The files by run."""
        runs = groupby(self.rasters, key=lambda raster: raster.run.number)
        return [(rasters[0].run, rasters) for rasters in (list(members) for _, members in runs)]

    @property
    def inputs(self) -> list[Any]:
        """All of the files and of their place that pixels depend on, as JSON."""
        return [self.bands, [[_inputs(run), [raster.sha256 for raster in rasters]] for run, rasters in self.runs]]

    @property
    def resampling(self) -> str:
        """What placing does to pixels: ``none`` for a bit-for-bit copy, else the modality's resampling."""
        return "none" if all(raster.run.copied for raster in self.rasters) else self.modality.resampling


def _inputs(run: Run) -> list[Any] | None:
    # A copy depends on the file alone, whatever other files the source has.
    return None if run.copied else [run.scale, list(run.transform)[:6], run.box]


def place_source(
    modality: Modality, bands: tuple[int, ...], files: Iterable[tuple[RasterHeader, str]], grid: TileGrid
) -> PlacedSource:
    """Find where the files of a source, header and SHA-256 of each, lie on a grid.

    Raises ``RasterError`` where the CRS of a file cannot reach the grid's.
    """
    rasters: list[PlacedRaster] = []
    for number, (_, members) in enumerate(groupby(files, key=lambda file: _pixel_raster(file[0], grid))):
        rasters += _place_run(number, list(members), grid)
    return PlacedSource(modality=modality, bands=bands, rasters=tuple(rasters))


def _place_run(number: int, files: list[tuple[RasterHeader, str]], grid: TileGrid) -> list[PlacedRaster]:
    headers = [header for header, _ in files]
    first, copied = headers[0], _is_copied(headers[0], grid)
    transform = grid.tile(0, 0).transform if copied else first.transform
    offsets = [_offset(header, transform) for header in headers]
    bounds = [bounds_in(header, grid.crs) for header in headers]
    sizes = [(1.0, 1.0) if copied else _pixel_size(*place, grid) for place in zip(headers, bounds, strict=True)]
    run = Run(
        number=number,
        crs=first.crs,
        transform=transform,
        box=_box(offsets, headers),
        copied=copied,
        scale=(min(1.0, 1 / sizes[0][0]), min(1.0, 1 / sizes[0][1])),
    )
    reaches = [0.0 if copied else (KERNEL_RADIUS + 1) * grid.resolution / min(1.0, *size) for size in sizes]
    return [
        PlacedRaster(header=header, sha256=sha256, bounds=box, reach=reach, run=run, offset=offset)
        for (header, sha256), box, reach, offset in zip(files, bounds, reaches, offsets, strict=True)
    ]


def _pixel_raster(header: RasterHeader, grid: TileGrid) -> tuple[object, ...]:
    """Tell pixel rasters apart."""
    if _is_copied(header, grid):
        return ()
    width, height = header.resolution
    phase = (header.transform.c / width) % 1, (header.transform.f / height) % 1
    return header.crs, round(width, 12), round(height, 12), *(_phase_key(value) for value in phase)


def _is_copied(header: RasterHeader, grid: TileGrid) -> bool:
    return same_crs(header.crs, grid.crs) and grid.pixel_offset(header.transform) is not None


def same_crs(one: str, other: str) -> bool:
    """Whether two names are of one CRS."""
    return bool(CRS.from_user_input(one) == CRS.from_user_input(other))


def _phase_key(value: float) -> float:
    """Round to the tolerance of the grid, with 0.9999 and 0.0001 alike."""
    return round(value / PIXEL_TOLERANCE) % round(1 / PIXEL_TOLERANCE)


def _offset(header: RasterHeader, transform: Affine) -> tuple[int, int]:
    """Give column, row of a file's corner in whole pixels of a transform."""
    column, row = ~transform @ (header.transform.c, header.transform.f)
    return round(column), round(row)


def _box(offsets: list[tuple[int, int]], headers: list[RasterHeader]) -> tuple[int, int, int, int]:
    lefts, tops = zip(*offsets, strict=True)
    rights = [left + header.shape[1] for left, header in zip(lefts, headers, strict=True)]
    bottoms = [top + header.shape[0] for top, header in zip(tops, headers, strict=True)]
    return min(lefts), min(tops), max(rights), max(bottoms)


def bounds_in(header: RasterHeader, crs: str) -> Bounds:
    """Give the box of a file in another CRS, its rim densified."""
    try:
        with gdal_environment():
            box = Bounds(*transform_bounds(CRS.from_user_input(header.crs), CRS.from_user_input(crs), *header.bounds))
    except Exception as error:  # rasterio raises several unrelated classes here
        raise _unreachable(header, crs) from error
    if not all(map(math.isfinite, box)):
        raise RasterError(f"{header.path}: lies outside what {crs} can show")
    return box


def _pixel_size(header: RasterHeader, bounds: Bounds, grid: TileGrid) -> tuple[float, float]:
    """Give width and height of a pixel of the grid at a raster's centre, in pixels of the raster."""
    x, y = (bounds.left + bounds.right) / 2, (bounds.bottom + bounds.top) / 2
    step = grid.resolution
    xs, ys = to_source([x, x + step, x], [y, y, y + step], header, grid.crs)
    width = math.hypot((xs[1] - xs[0]) / header.resolution[0], (ys[1] - ys[0]) / header.resolution[1])
    height = math.hypot((xs[2] - xs[0]) / header.resolution[0], (ys[2] - ys[0]) / header.resolution[1])
    if not 0 < width < math.inf or not 0 < height < math.inf:
        raise _unreachable(header, grid.crs)
    return width, height


def to_source(xs: list[float], ys: list[float], header: RasterHeader, crs: str) -> npt.NDArray[np.float64]:
    """Bring points of a CRS to that of a file: x and y, (2, n); infinite where there is no such place."""
    try:
        with gdal_environment():
            moved = transform_points(CRS.from_user_input(crs), CRS.from_user_input(header.crs), xs, ys)
    except Exception as error:  # as above
        raise _unreachable(header, crs) from error
    return np.asarray(moved[:2], dtype=np.float64)


def _unreachable(header: RasterHeader, crs: str) -> RasterError:
    return RasterError(f"{header.path}: cannot be brought from {header.crs} to {crs}")
