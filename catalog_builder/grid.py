"""The tile grid: pure arithmetic from a CRS, a resolution and an origin to tiles. It opens nothing.

Axis order is x (east), y (north) for coordinates, (rows, columns) for shapes. Transforms are affine ``(a, b, c, d, e,
f)`` as STAC's ``proj:transform`` and ``rasterio.Affine`` have them.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

from affine import Affine

from catalog_builder import layout

PIXEL_TOLERANCE = 1e-3
"""How far, in pixels, a raster may lie off the grid and still be on it: what rounding in a GeoTIFF's header does,
far below what a resampling could show."""

Rows = Literal["north", "south"]


class Bounds(NamedTuple):
    """A box in the CRS of its context: left, bottom, right, top."""

    left: float
    bottom: float
    right: float
    top: float

    def intersection(self, other: "Bounds") -> "Bounds | None":
        """Give the common box, or None where the two do not overlap."""
        box = Bounds(
            max(self.left, other.left),
            max(self.bottom, other.bottom),
            min(self.right, other.right),
            min(self.top, other.top),
        )
        return box if box.left < box.right and box.bottom < box.top else None

    def padded(self, margin: float) -> "Bounds":
        """Give the box with a margin on each side."""
        return Bounds(self.left - margin, self.bottom - margin, self.right + margin, self.top + margin)

    def union(self, other: "Bounds") -> "Bounds":
        """Give the smallest box around both."""
        return Bounds(
            min(self.left, other.left),
            min(self.bottom, other.bottom),
            max(self.right, other.right),
            max(self.top, other.top),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TileGrid:
    """CRS + resolution + origin + tile shape: what gives a tile its transform."""

    crs: str
    """Authority code such as ``EPSG:32631``."""
    resolution: float
    """Size of a pixel in units of the CRS; pixels are square."""
    origin: tuple[float, float]
    """x, y of the upper-left corner of tile (0, 0)."""
    tile_shape: tuple[int, int] = (1024, 1024)
    """Rows, columns of a tile."""
    rows: Rows = "south"
    """Where row indices grow: ``south`` as in a raster, ``north`` as in a grid over a whole CRS."""

    @property
    def tile_size(self) -> tuple[float, float]:
        """Width and height of a tile in units of the CRS."""
        return self.tile_shape[1] * self.resolution, self.tile_shape[0] * self.resolution

    def tile(self, column: int, row: int) -> "Tile":
        """Give the tile at a column and a row."""
        return Tile(grid=self, column=column, row=row)

    def cover(self, bounds: Bounds) -> "TileRange":
        """Give the range of tiles that touch ``bounds`` by more than PIXEL_TOLERANCE of a pixel."""
        width, height = self.tile_size
        slack = PIXEL_TOLERANCE * self.resolution
        columns = _span(bounds.left - self.origin[0], bounds.right - self.origin[0], width, slack)
        if self.rows == "south":
            rows = _span(self.origin[1] - bounds.top, self.origin[1] - bounds.bottom, height, slack)
        else:
            bottom = self.origin[1] - height
            rows = _span(bounds.bottom - bottom, bounds.top - bottom, height, slack)
        return TileRange(grid=self, columns=columns, rows=rows)

    def pixel_offset(self, transform: Affine) -> tuple[int, int] | None:
        """Give column, row of a raster's corner in whole pixels from the origin, or None where it is off the grid."""
        if not math.isclose(transform.a, self.resolution, rel_tol=1e-9):
            return None
        if not math.isclose(transform.e, -self.resolution, rel_tol=1e-9) or transform.b or transform.d:
            return None
        column = (transform.c - self.origin[0]) / self.resolution
        row = (self.origin[1] - transform.f) / self.resolution
        if max(abs(column - round(column)), abs(row - round(row))) > PIXEL_TOLERANCE:
            return None
        return round(column), round(row)


@dataclass(frozen=True, slots=True, kw_only=True)
class TileRange:
    """A rectangle of tiles; iterates row by row, without keeping the tiles."""

    grid: TileGrid
    columns: range
    rows: range

    def __len__(self) -> int:
        return len(self.columns) * len(self.rows)

    def __iter__(self) -> Iterator["Tile"]:
        return (self.grid.tile(column, row) for row in self.rows for column in self.columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One cell of a grid; becomes one STAC item."""

    grid: TileGrid
    column: int
    row: int

    @property
    def name(self) -> str:
        """The tile's place as a word, ``x0045_y0478``."""
        return layout.tile_name(self.column, self.row)

    @property
    def corner(self) -> tuple[float, float]:
        """x, y of the upper-left corner."""
        width, height = self.grid.tile_size
        step = height if self.grid.rows == "north" else -height
        return self.grid.origin[0] + self.column * width, self.grid.origin[1] + self.row * step

    @property
    def transform(self) -> Affine:
        """Pixel (column, row) -> CRS (x, y)."""
        x, y = self.corner
        return Affine(self.grid.resolution, 0.0, x, 0.0, -self.grid.resolution, y)

    @property
    def bounds(self) -> Bounds:
        """The tile's box in the CRS of the grid."""
        (x, y), (width, height) = self.corner, self.grid.tile_size
        return Bounds(x, y - height, x + width, y)

    @property
    def pixel_origin(self) -> tuple[int, int]:
        """Column, row of the tile's corner in whole pixels from the grid's origin (rows downward)."""
        rows, columns = self.grid.tile_shape
        down = -self.row if self.grid.rows == "north" else self.row
        return self.column * columns, down * rows

    def outline(self, points_per_side: int) -> list[tuple[float, float]]:
        """Give a closed, counter-clockwise ring along the rim, so that it keeps its shape in another CRS."""
        left, bottom, right, top = self.bounds
        corners = [(left, top), (left, bottom), (right, bottom), (right, top), (left, top)]
        ring = [
            (x0 + (x1 - x0) * step / points_per_side, y0 + (y1 - y0) * step / points_per_side)
            for (x0, y0), (x1, y1) in pairwise(corners)
            for step in range(points_per_side)
        ]
        return [*ring, corners[0]]


def _span(low: float, high: float, size: float, slack: float) -> range:
    """Give the cells of one axis that ``[low, high]`` touches by more than ``slack``."""
    return range(math.floor((low + slack) / size), math.ceil((high - slack) / size))
