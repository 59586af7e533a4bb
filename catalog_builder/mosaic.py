"""The pixels of a tile: windows of a source's files, painted in order, copied or warped.

GDAL's exact transformation is asked for (its default approximation moves pixels by up to an eighth), and a kernel that
is the same for every tile; so a tile equals its part of the warp of the whole area, and neighbours agree along their
seam. A later file is painted over those before it, where it has valid pixels.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio.enums import Resampling
from rasterio.io import MemoryFile
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from catalog_builder.grid import Tile
from catalog_builder.placement import KERNEL_RADIUS, PlacedRaster, PlacedSource, same_crs, to_source
from catalog_builder.raster import gdal_environment, is_valid, read_window
from catalog_builder.template import Modality

EXACT = 1e-9
"""Tolerance of the transformer in pixels; GDAL takes 0 for an error. On a DEM of whole metres, 1e-6 lets 2 pixels in a
million differ between a tile and the whole area, 1e-9 none, for a fifth more time."""
_ROUNDING = 1e-6
"""Share of a pixel that is not there but by rounding."""
_ASIDE = 64
"""Pixels that a patch stands east of zero, more than a window can reach."""
_PROBES = 33
"""Points a side at which a patch's place in the source is asked."""
_MAX_WINDOW = 2**24
"""Source values read at once: a source much finer than the grid is warped in patches, so that memory stays flat."""


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where an array of pixels lies."""

    crs: str
    transform: Affine
    shape: tuple[int, ...]
    """Rows, columns."""


def read_tile(source: PlacedSource, tile: Tile) -> npt.NDArray[Any]:
    """Read the pixels of one tile, (bands, rows, columns) in the modality's type, nodata where there is none.

    Raises ``RasterError`` naming the file that cannot be read.
    """
    modality = source.modality
    shape = (len(source.bands), *tile.grid.tile_shape)
    canvas = np.full(shape, modality.nodata, dtype=modality.data_type)
    for run, rasters in source.touching(tile.bounds).runs:
        if run.copied:
            _join(canvas, rasters, source.bands, *tile.pixel_origin)
            continue
        for rows, columns in _patches(tile.grid.tile_shape, run.scale, len(source.bands)):
            part = canvas[:, rows, columns]
            transform = tile.transform @ Affine.translation(columns.start, rows.start)
            _paint_warped(part, rasters, source, _Frame(tile.grid.crs, transform, part.shape[1:]))
    return canvas


def _patches(shape: tuple[int, int], scale: tuple[float, float], bands: int) -> Iterator[tuple[slice, slice]]:
    """Cut a tile in patches (rows, columns) whose source windows are of bounded size; mostly one."""
    values = bands * shape[0] * shape[1] / (scale[0] * scale[1])
    parts = math.ceil(math.sqrt(values / _MAX_WINDOW))
    edges = [[length * part // parts for part in range(parts + 1)] for length in shape]
    for top, bottom in pairwise(edges[0]):
        for left, right in pairwise(edges[1]):
            yield slice(top, bottom), slice(left, right)


def _join(
    canvas: npt.NDArray[Any], rasters: list[PlacedRaster], bands: tuple[int, ...], column: int, row: int
) -> npt.NDArray[np.bool_]:
    """Paint files of one run on a canvas whose corner stands at (column, row) of the run.

    Gives where a valid pixel was painted, in the shape of the canvas.
    """
    rows, columns = canvas.shape[1:]
    painted = np.zeros(canvas.shape, dtype=np.bool_)
    for raster in rasters:
        (left, top), (height, width) = raster.offset, raster.header.shape
        col0, col1 = max(column, left), min(column + columns, left + width)
        row0, row1 = max(row, top), min(row + rows, top + height)
        if col0 >= col1 or row0 >= row1:
            continue
        window = Window(col0 - left, row0 - top, col1 - col0, row1 - row0)
        pixels, valid = read_window(raster.header, bands, window)
        part = np.s_[:, row0 - row : row1 - row, col0 - column : col1 - column]
        np.copyto(canvas[part], pixels, where=valid, casting="safe")
        painted[part] |= valid
    return painted


def _paint_warped(canvas: npt.NDArray[Any], rasters: list[PlacedRaster], source: PlacedSource, patch: _Frame) -> None:
    """Warp files of one run to a patch of a tile and paint it on ``canvas``, (bands, rows, columns) of the patch.

    The part of the run that the patch's kernels can reach is joined first.
    """
    modality, run = source.modality, rasters[0].run
    window = _needed(rasters[0], patch)
    if window is None:
        return
    column, row, columns, rows = window
    joined = np.full((len(source.bands), rows, columns), modality.nodata, dtype=modality.data_type)
    valid = _join(joined, rasters, source.bands, column, row)
    if modality.is_classes:
        # GDAL moves a value that is the target's nodata by one, which would make another class of it.
        valid &= is_valid(joined, modality.nodata)
    frame = _Frame(run.crs, run.transform @ Affine.translation(column, row), (rows, columns))
    covered = np.s_[:, :]
    if same_crs(run.crs, patch.crs):
        # Far from zero, coordinates lose digits, and GDAL takes for one more pixel what is only rounding. At zero,
        # pixels of 1 m would have the transform of a raster that has none.
        move = Affine.translation(_ASIDE * patch.transform.a - patch.transform.c, -patch.transform.f)
        patch = replace(patch, transform=move @ patch.transform)
        frame = replace(frame, transform=move @ run.transform @ Affine.translation(column, row))
        covered = _covered(frame, patch)
    for bands in _alike(valid):
        if valid[bands.start].any():
            pixels = _warp(joined[bands], valid[bands.start], frame, patch, modality, run.scale)[:, *covered]
            np.copyto(canvas[bands, *covered], pixels, where=is_valid(pixels, modality.nodata))


def _covered(frame: _Frame, patch: _Frame) -> tuple[slice, slice]:
    """Give rows and columns of a patch that meet a frame of the same CRS by more than rounding.

    Averaging, GDAL also fills a pixel that ends just where the source begins.
    """
    to_patch = ~patch.transform @ frame.transform
    left, top = to_patch @ (0, 0)
    right, bottom = to_patch @ (frame.shape[1], frame.shape[0])
    return _cells(top, bottom), _cells(left, right)


def _cells(low: float, high: float) -> slice:
    return slice(max(math.floor(low + _ROUNDING), 0), max(math.ceil(high - _ROUNDING), 0))


def _alike(valid: npt.NDArray[np.bool_]) -> list[slice]:
    """Give the bands that are warped together: all where their holes are the same, else each by itself.

    Together, GDAL would fill the rim of a hole of one band from the valid pixels around it.
    """
    count = len(valid)
    return [slice(0, count)] if (valid == valid[0]).all() else [slice(band, band + 1) for band in range(count)]


def _needed(raster: PlacedRaster, patch: _Frame) -> tuple[int, int, int, int] | None:
    """Give the window (column, row, columns, rows) of a raster's run that a patch's kernels can reach."""
    run = raster.run
    steps = [np.linspace(0, length, _PROBES) for length in patch.shape]
    columns, rows = np.meshgrid(steps[1], steps[0])
    xs, ys = _apply(patch.transform, np.stack([columns.ravel(), rows.ravel()]))
    moved = to_source(xs.tolist(), ys.tolist(), raster.header, patch.crs)
    moved = moved[:, np.isfinite(moved).all(axis=0)]
    if not moved.size:
        return None
    columns, rows = _apply(~run.transform, moved)
    left, top, right, bottom = run.box
    col0, col1 = _clip(columns, run.scale[0], left, right)
    row0, row1 = _clip(rows, run.scale[1], top, bottom)
    return (col0, row0, col1 - col0, row1 - row0) if col0 < col1 and row0 < row1 else None


def _apply(transform: Affine, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Apply a transform to points, (2, n): x and y."""
    matrix = np.array(transform, dtype=np.float64).reshape(3, 3)
    return matrix[:2, :2] @ points + matrix[:2, 2:]


def _clip(places: npt.NDArray[np.float64], scale: float, low: int, high: int) -> tuple[int, int]:
    """Pad the range of ``places`` along one axis by the reach of a kernel, and clip it."""
    pad = math.ceil(KERNEL_RADIUS / scale) + 1
    return max(math.floor(places.min()) - pad, low), min(math.ceil(places.max()) + pad, high)


def _warp(
    pixels: npt.NDArray[Any],
    valid: npt.NDArray[np.bool_],
    frame: _Frame,
    patch: _Frame,
    modality: Modality,
    scale: tuple[float, float],
) -> npt.NDArray[Any]:
    """Warp pixels (bands, rows, columns), where they are valid (rows, columns), from their frame to a patch."""
    count, rows, columns = pixels.shape
    profile = {"count": count, "height": rows, "width": columns, "dtype": pixels.dtype}
    with gdal_environment(), rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), MemoryFile() as memory:
        # Said outright, or GDAL takes the fourth band of an 8-bit image for transparency.
        profile["photometric"] = "MINISBLACK"
        with memory.open(driver="GTiff", crs=frame.crs, transform=frame.transform, **profile) as dataset:
            dataset.write(pixels)
            if not valid.all():
                dataset.write_mask(valid)
        with (
            memory.open(driver="GTiff") as dataset,
            WarpedVRT(
                dataset,
                crs=patch.crs,
                transform=patch.transform,
                height=patch.shape[0],
                width=patch.shape[1],
                resampling=Resampling[modality.resampling],
                nodata=modality.nodata,
                tolerance=EXACT,
                # Left alone, GDAL takes the ratio from each chunk, and chunks differ from tile to tile.
                XSCALE=repr(scale[0]),
                YSCALE=repr(scale[1]),
                INIT_DEST="NO_DATA",
            ) as warped,
        ):
            return np.asarray(warped.read())
