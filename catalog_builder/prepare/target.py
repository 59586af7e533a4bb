"""The grid of a raster to be made: that of another image, or one of one's own. Pure arithmetic, but for one header."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from affine import Affine
from rasterio.windows import Window

from catalog_builder.errors import RasterError, UsageError
from catalog_builder.grid import Bounds, Tile, TileGrid
from catalog_builder.raster import MAX_PIXELS, crs_name, parse_crs, read_header

BLOCK = 512
"""Pixels a side of what is read, made and written at a time."""

_ROUNDING = 1e-6
"""Pixels by which a division of what is written in decimals may be off."""
_LARGEST_DEGREES = 360.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """CRS, place and size of a raster to be made; pixels are square, north is up."""

    crs: str
    """Authority code, or WKT where the CRS has none."""
    resolution: float
    """Size of a pixel in units of the CRS."""
    corner: tuple[float, float]
    """x, y of the upper-left corner."""
    shape: tuple[int, int]
    """Rows, columns."""

    @property
    def transform(self) -> Affine:
        """Pixel (column, row) -> CRS (x, y)."""
        return Affine(self.resolution, 0.0, self.corner[0], 0.0, -self.resolution, self.corner[1])

    @property
    def bounds(self) -> Bounds:
        """Box of the raster in its CRS."""
        (rows, columns), (x, y) = self.shape, self.corner
        return Bounds(x, y - rows * self.resolution, x + columns * self.resolution, y)

    def blocks(self) -> Iterator[Window]:
        """Give the windows of which the raster is made, row by row; at the right and at the bottom they are smaller."""
        rows, columns = self.shape
        for top in range(0, rows, BLOCK):
            for left in range(0, columns, BLOCK):
                yield Window(left, top, min(BLOCK, columns - left), min(BLOCK, rows - top))

    @property
    def block_count(self) -> int:
        """Number of blocks."""
        return math.ceil(self.shape[0] / BLOCK) * math.ceil(self.shape[1] / BLOCK)

    def block_tile(self, window: Window) -> Tile:
        """Give the whole block of a window as a tile, for what reads tiles; it reaches beyond the raster at its rim."""
        grid = TileGrid(crs=self.crs, resolution=self.resolution, origin=self.corner, tile_shape=(BLOCK, BLOCK))
        return grid.tile(window.col_off // BLOCK, window.row_off // BLOCK)


def target_like(image: Path) -> Target:
    """Give the grid of an image. Raises ``RasterError`` for one that has none, or whose pixels are not square."""
    header = read_header(image)
    width, height = header.resolution
    if not math.isclose(width, height, rel_tol=1e-9):
        raise RasterError(
            f"{image}: pixels of {width:g} x {height:g}; a grid has square ones: give --crs, --resolution"
        )
    return Target(crs=header.crs, resolution=width, corner=(header.transform.c, header.transform.f), shape=header.shape)


def target_of(crs: str, resolution: float, bounds: Bounds) -> Target:
    """Give the grid that covers ``bounds`` (in the CRS), its corner on a multiple of the resolution.

    So that grids of the same CRS and resolution share their pixels. Raises ``UsageError``.
    """
    if not (math.isfinite(resolution) and resolution > 0):
        raise UsageError(f"--resolution {resolution:g}: the size of a pixel is a number above 0")
    if not all(map(math.isfinite, bounds)) or bounds.left >= bounds.right or bounds.bottom >= bounds.top:
        raise UsageError(f"--bounds {' '.join(f'{value:g}' for value in bounds)}: left bottom right top, in the CRS")
    known = parse_crs(crs, "--crs")
    if not (known.is_projected or known.is_geographic):
        raise UsageError(f"--crs {crs}: no CRS of maps, nor of longitude and latitude")
    if known.is_geographic and (resolution > 1 or max(map(abs, bounds)) > _LARGEST_DEGREES):
        raise UsageError(
            f"--crs {crs} is in degrees, but --resolution {resolution:g} and --bounds are not: are they metres?"
        )
    if not all(math.isfinite(value / resolution) for value in bounds):
        raise UsageError(f"--resolution {resolution:g}: too small")
    left, bottom = (math.floor(value / resolution + _ROUNDING) for value in (bounds.left, bounds.bottom))
    right, top = (math.ceil(value / resolution - _ROUNDING) for value in (bounds.right, bounds.top))
    columns, rows = right - left, top - bottom
    if columns * rows > MAX_PIXELS:
        raise UsageError(f"--bounds: {columns:,} x {rows:,} pixels of {resolution:g}; are they in the units of {crs}?")
    return Target(
        crs=crs_name(known), resolution=resolution, corner=(left * resolution, top * resolution), shape=(rows, columns)
    )
