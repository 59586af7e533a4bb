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
import rasterio
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
_ROUNDING = 1e-6
"""Share of a pixel that is not there but by rounding."""
_ASIDE = 64
"""Pixels that a patch stands east of zero, more than a window can reach."""
_PROBES = 33
"""Points a side at which a patch's place in the source is asked."""
_MAX_WINDOW = 2**24
"""Source values read at once: a source much finer than the grid is warped in patches, so that memory stays flat."""


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

    def touching(self, tile: Tile) -> "PlacedSource":
        """Give the source with only those files whose box, or what interpolation reaches beyond it, meets the tile."""
        box = tile.bounds
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
    reaches = [0.0 if copied else (_KERNEL_RADIUS + 1) * grid.resolution / min(1.0, *size) for size in sizes]
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
    return _same_crs(header.crs, grid.crs) and grid.pixel_offset(header.transform) is not None


def _same_crs(one: str, other: str) -> bool:
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
    xs, ys = _to_source([x, x + step, x], [y, y, y + step], header, grid.crs)
    width = math.hypot((xs[1] - xs[0]) / header.resolution[0], (ys[1] - ys[0]) / header.resolution[1])
    height = math.hypot((xs[2] - xs[0]) / header.resolution[0], (ys[2] - ys[0]) / header.resolution[1])
    if not 0 < width < math.inf or not 0 < height < math.inf:
        raise _unreachable(header, grid.crs)
    return width, height


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
    for run, rasters in source.touching(tile).runs:
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
    if _same_crs(run.crs, patch.crs):
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
    moved = _to_source(xs.tolist(), ys.tolist(), raster.header, patch.crs)
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
    pad = math.ceil(_KERNEL_RADIUS / scale) + 1
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
