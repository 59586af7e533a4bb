"""A source on a grid: how its files are placed, and the window of one tile.

A file on the area's grid is copied bit for bit. Any other is warped once, with GDAL's exact transformation (its
default approximation moves pixels by up to an eighth) and a kernel that is the same for every tile; so a tile equals
its part of the warp of the whole area, and neighbours agree along their seam.

Files that share a CRS and a pixel raster are joined before they are warped, so that interpolation sees across the seam
of two files. Whatever is joined is painted in the order of the source: a later file over those before it, where it has
valid pixels.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.io import MemoryFile
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform as transform_points
from rasterio.warp import transform_bounds
from rasterio.windows import Window

from catalog_builder.errors import RasterError
from catalog_builder.grid import PIXEL_TOLERANCE, Bounds, Tile, TileGrid
from catalog_builder.raster import RasterHeader, gdal_environment, is_valid, read_window
from catalog_builder.template import Modality

EXACT = 1e-9
"""Tolerance of the transformer in pixels; GDAL takes 0 for an error. On a DEM of whole metres, 1e-6 lets 2 pixels in a
million differ between a tile and the whole area, 1e-9 none, for a fifth more time."""
_KERNEL_RADIUS = 3
"""Source pixels beyond a window that the widest kernel (cubic) can reach at full resolution, and one for rounding."""
_PROBES = 33
"""Points a side at which a patch's place in the source is asked."""
_MAX_WINDOW = 2**24
"""Source values read at once: a source much finer than the grid is warped in patches, so that memory stays flat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedRaster:
    """One file of a source with its place: on the grid, or to be warped."""

    header: RasterHeader
    sha256: str
    """Of the file's bytes."""
    bounds: Bounds
    """Box in the CRS of the grid."""
    offset: tuple[int, int] | None
    """Column, row of its corner in whole pixels from the grid's origin; None where it is off the grid."""
    scale: tuple[float, float]
    """Target pixels per source pixel along x and y, at most 1: how far the kernel is widened when shrinking."""
    reach: float
    """How far beyond its box the file can matter to interpolation, in units of the grid's CRS; 0 on the grid."""
    run: int = 0
    """Number of its run: files of one pixel raster that follow each other, joined before they are warped."""
    frame: Affine
    """Transform of the first file of its run, whose pixels the others count by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedSource:
    """A source whose files have their place; what a tile is read from."""

    modality: Modality
    bands: tuple[int, ...]
    """Bands of the files, counted from 1."""
    rasters: tuple[PlacedRaster, ...]
    """In the order of painting."""
    holes: bool
    """Whether nodata may stand in the source. A single file of measured whole numbers that declares neither nodata nor
    a mask has none: there, the modality's nodata is a value like others."""

    def touching(self, tile: Tile) -> "PlacedSource":
        """Give the source with only those files whose box, or what interpolation reaches beyond it, meets the tile."""
        near = tuple(raster for raster in self.rasters if raster.bounds.padded(raster.reach).intersection(tile.bounds))
        return replace(self, rasters=near)

    @property
    def runs(self) -> list[list[PlacedRaster]]:
        """The files by run. Runs are told in the whole source, so that those of every tile are parts of the same."""
        return [list(run) for _, run in groupby(self.rasters, key=lambda raster: raster.run)]

    @property
    def inputs(self) -> list[Any]:
        """All of the files and of their place that pixels depend on, as JSON."""
        return [self.bands, [[self._warp_inputs(run[0]), [raster.sha256 for raster in run]] for run in self.runs]]

    def _warp_inputs(self, first: PlacedRaster) -> list[Any] | None:
        # A copy depends on the file alone, whatever other files the source has.
        return None if first.offset is not None else [self.holes, first.scale, list(first.frame)[:6]]

    @property
    def resampling(self) -> str:
        """What placing does to pixels: ``none`` for a bit-for-bit copy, else the modality's resampling."""
        copied = all(raster.offset is not None for raster in self.rasters)
        return "none" if copied else self.modality.resampling


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where an array of pixels lies."""

    crs: str
    transform: Affine
    shape: tuple[int, ...]
    """Rows, columns."""


def place_source(
    modality: Modality, bands: tuple[int, ...], files: Iterable[tuple[RasterHeader, str]], grid: TileGrid
) -> PlacedSource:
    """Find where the files of a source, header and SHA-256 of each, lie on a grid.

    The files of a run get the scale and the frame of the first, so that they agree along a seam. Raises
    ``RasterError`` where the CRS of a file cannot reach the grid's.
    """
    placed = [_place(header, sha256, grid) for header, sha256 in files]
    rasters: list[PlacedRaster] = []
    for number, (_, members) in enumerate(groupby(placed, key=_pixel_raster)):
        run = list(members)
        rasters += [replace(raster, run=number, frame=run[0].frame, scale=run[0].scale) for raster in run]
    return PlacedSource(modality=modality, bands=bands, rasters=tuple(rasters), holes=_has_holes(rasters, modality))


def _has_holes(rasters: list[PlacedRaster], modality: Modality) -> bool:
    declared = any(raster.header.nodata is not None or raster.header.has_mask for raster in rasters)
    # GDAL changes a value that is the target's nodata by one, which would make another class of it.
    return declared or len(rasters) > 1 or modality.is_classes or np.issubdtype(modality.data_type, np.inexact)


def _place(header: RasterHeader, sha256: str, grid: TileGrid) -> PlacedRaster:
    same_crs = CRS.from_user_input(header.crs) == CRS.from_user_input(grid.crs)
    offset = grid.pixel_offset(header.transform) if same_crs else None
    bounds = bounds_in(header, grid.crs)
    scale, reach = ((1.0, 1.0), 0.0) if offset is not None else _scale(header, grid, bounds)
    return PlacedRaster(
        header=header,
        sha256=sha256,
        bounds=bounds,
        offset=offset,
        scale=scale,
        reach=reach,
        frame=header.transform,
    )


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


def _scale(header: RasterHeader, grid: TileGrid, bounds: Bounds) -> tuple[tuple[float, float], float]:
    """Ratio of pixel sizes at the raster's centre, and the reach of a kernel.

    The ratio is 1 where the source is coarser, since kernels never shrink.
    """
    x, y = (bounds.left + bounds.right) / 2, (bounds.bottom + bounds.top) / 2
    step = grid.resolution
    xs, ys = _to_source([x, x + step, x], [y, y, y + step], header, grid.crs)
    width = math.hypot((xs[1] - xs[0]) / header.resolution[0], (ys[1] - ys[0]) / header.resolution[1])
    height = math.hypot((xs[2] - xs[0]) / header.resolution[0], (ys[2] - ys[0]) / header.resolution[1])
    if not 0 < width < math.inf or not 0 < height < math.inf:
        raise _unreachable(header, grid.crs)
    reach = (_KERNEL_RADIUS + 1) * step * max(1.0, 1 / width, 1 / height)
    return (min(1.0, 1 / width), min(1.0, 1 / height)), reach


def _to_source(xs: list[float], ys: list[float], header: RasterHeader, crs: str) -> npt.NDArray[np.float64]:
    try:
        with gdal_environment():
            moved = transform_points(CRS.from_user_input(crs), CRS.from_user_input(header.crs), xs, ys)
    except Exception as error:  # as above
        raise _unreachable(header, crs) from error
    return np.asarray(moved[:2], dtype=np.float64)


def _unreachable(header: RasterHeader, crs: str) -> RasterError:
    return RasterError(f"{header.path}: cannot be brought from {header.crs} to {crs}")


def read_tile(source: PlacedSource, tile: Tile) -> npt.NDArray[Any]:
    """Read the pixels of one tile, (bands, rows, columns) in the modality's type, nodata where there is none.

    Raises ``RasterError`` naming the file that cannot be read.
    """
    modality = source.modality
    shape = (len(source.bands), *tile.grid.tile_shape)
    canvas = np.full(shape, modality.nodata, dtype=modality.data_type)
    for group in source.touching(tile).runs:
        if group[0].offset is not None:
            column, row = tile.pixel_origin
            _paint_group(canvas, group, source, column, row, _grid_offsets(group))
        else:
            for rows, columns in _patches(tile.grid.tile_shape, group[0].scale, len(source.bands)):
                part = canvas[:, rows, columns]
                transform = tile.transform @ Affine.translation(columns.start, rows.start)
                _paint_warped(part, group, source, _Frame(tile.grid.crs, transform, part.shape[1:]))
    return canvas


def _patches(shape: tuple[int, int], scale: tuple[float, float], bands: int) -> Iterator[tuple[slice, slice]]:
    """Cut a tile in patches (rows, columns) whose source windows are of bounded size; mostly one."""
    values = bands * shape[0] * shape[1] / (scale[0] * scale[1])
    parts = math.ceil(math.sqrt(values / _MAX_WINDOW))
    edges = [[length * part // parts for part in range(parts + 1)] for length in shape]
    for top, bottom in pairwise(edges[0]):
        for left, right in pairwise(edges[1]):
            yield slice(top, bottom), slice(left, right)


def _pixel_raster(raster: PlacedRaster) -> tuple[object, ...]:
    """Tell pixel rasters apart."""
    if raster.offset is not None:
        return ("grid",)
    header = raster.header
    width, height = header.resolution
    phase = (header.transform.c / width) % 1, (header.transform.f / height) % 1
    return header.crs, round(width, 12), round(height, 12), *(_phase_key(value) for value in phase)


def _phase_key(value: float) -> float:
    """Round to the tolerance of the grid, with 0.9999 and 0.0001 alike."""
    return round(value / PIXEL_TOLERANCE) % round(1 / PIXEL_TOLERANCE)


def _grid_offsets(group: list[PlacedRaster]) -> list[tuple[int, int]]:
    return [raster.offset for raster in group if raster.offset is not None]


def _source_offsets(group: list[PlacedRaster]) -> list[tuple[int, int]]:
    """Whole-pixel offsets of the files of a group from the corner of its frame."""
    corners = (~raster.frame @ (raster.header.transform.c, raster.header.transform.f) for raster in group)
    return [(round(column), round(row)) for column, row in corners]


def _paint_group(
    canvas: npt.NDArray[Any],
    group: list[PlacedRaster],
    source: PlacedSource,
    column: int,
    row: int,
    offsets: list[tuple[int, int]],
) -> None:
    """Paint files of one pixel raster on a canvas whose corner stands at (column, row) of that raster."""
    rows, columns = canvas.shape[1:]
    for raster, (left, top) in zip(group, offsets, strict=True):
        height, width = raster.header.shape
        col0, col1 = max(column, left), min(column + columns, left + width)
        row0, row1 = max(row, top), min(row + rows, top + height)
        if col0 >= col1 or row0 >= row1:
            continue
        window = Window(col0 - left, row0 - top, col1 - col0, row1 - row0)
        pixels, valid = read_window(raster.header, source.bands, window)
        part = canvas[:, row0 - row : row1 - row, col0 - column : col1 - column]
        np.copyto(part, pixels, where=valid, casting="safe")


def _paint_warped(canvas: npt.NDArray[Any], group: list[PlacedRaster], source: PlacedSource, patch: _Frame) -> None:
    """Warp a group to a patch of a tile and paint it on ``canvas``, (bands, rows, columns) of the patch.

    The part of the group that the patch's kernels can reach is joined first.
    """
    offsets = _source_offsets(group)
    box = _needed(group, offsets, patch)
    if box is None:
        return
    column, row, columns, rows = box
    modality, header = source.modality, group[0].header
    joined = np.full((len(source.bands), rows, columns), modality.nodata, dtype=modality.data_type)
    _paint_group(joined, group, source, column, row, offsets)
    frame = _Frame(header.crs, group[0].frame @ Affine.translation(column, row), (rows, columns))
    pixels = _warp(joined, frame, patch, source, group[0].scale)
    np.copyto(canvas, pixels, where=is_valid(pixels, modality.nodata))


def _needed(
    group: list[PlacedRaster], offsets: list[tuple[int, int]], patch: _Frame
) -> tuple[int, int, int, int] | None:
    """Give the window (column, row, columns, rows) of a group's pixel raster that a patch's kernels can reach."""
    header, scale = group[0].header, group[0].scale
    steps = [np.linspace(0, length, _PROBES) for length in patch.shape]
    columns, rows = np.meshgrid(steps[1], steps[0])
    xs, ys = _apply(patch.transform, np.stack([columns.ravel(), rows.ravel()]))
    moved = _to_source(xs.tolist(), ys.tolist(), header, patch.crs)
    moved = moved[:, np.isfinite(moved).all(axis=0)]
    if not moved.size:
        return None
    columns, rows = _apply(~group[0].frame, moved)
    pad = [math.ceil(_KERNEL_RADIUS / factor) + 1 for factor in scale]
    heights, widths = zip(*(raster.header.shape for raster in group), strict=True)
    lefts, tops = zip(*offsets, strict=True)
    col0, col1 = _clip(columns, pad[0], lefts, widths)
    row0, row1 = _clip(rows, pad[1], tops, heights)
    return (col0, row0, col1 - col0, row1 - row0) if col0 < col1 and row0 < row1 else None


def _apply(transform: Affine, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Apply a transform to points, (2, n): x and y."""
    matrix = np.array(transform, dtype=np.float64).reshape(3, 3)
    return matrix[:2, :2] @ points + matrix[:2, 2:]


def _clip(
    places: npt.NDArray[np.float64], pad: int, starts: tuple[int, ...], lengths: tuple[int, ...]
) -> tuple[int, int]:
    """Pad the range of ``places`` and clip it to what the files of a group cover along one axis."""
    end = max(start + length for start, length in zip(starts, lengths, strict=True))
    return max(math.floor(places.min()) - pad, min(starts)), min(math.ceil(places.max()) + pad, end)


def _warp(
    pixels: npt.NDArray[Any], frame: _Frame, patch: _Frame, source: PlacedSource, scale: tuple[float, float]
) -> npt.NDArray[Any]:
    """Warp pixels (bands, rows, columns) from their frame to a patch of the grid."""
    nodata = source.modality.nodata
    count, rows, columns = pixels.shape
    profile = {"count": count, "height": rows, "width": columns, "dtype": pixels.dtype}
    with gdal_environment(), MemoryFile() as memory:
        with memory.open(driver="GTiff", crs=frame.crs, transform=frame.transform, **profile) as dataset:
            dataset.write(pixels)
        with (
            memory.open(driver="GTiff") as dataset,
            WarpedVRT(
                dataset,
                crs=patch.crs,
                transform=patch.transform,
                height=patch.shape[0],
                width=patch.shape[1],
                resampling=Resampling[source.modality.resampling],
                src_nodata=nodata if source.holes else None,
                nodata=nodata,
                tolerance=EXACT,
                # Left alone, GDAL takes the ratio from each chunk, and chunks differ from tile to tile.
                XSCALE=repr(scale[0]),
                YSCALE=repr(scale[1]),
                # A pixel may be nodata in one band and valid in the others.
                UNIFIED_SRC_NODATA="NO",
                INIT_DEST="NO_DATA",
            ) as warped,
        ):
            return np.asarray(warped.read())
