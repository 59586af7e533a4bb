"""The one grid on which many tiles lie; arithmetic only."""

from collections import Counter
from collections.abc import Hashable, Sequence
from itertools import islice

from catalog_builder.errors import UsageError
from catalog_builder.load.tiles import Grid, TileItem

_PART_OF_A_PIXEL = 1e-6
"""Origins that are less off whole pixels are on them: a double of metres is no more exact."""


def common_grid(items: Sequence[TileItem], assets: Sequence[str]) -> Grid:
    """Give the smallest grid that holds every tile with its own pixels.

    Raises ``UsageError``, saying how to split the items, where they differ in CRS or resolution or are shifted by part
    of a pixel.
    """
    grids = [[item.assets[key].grid for key in assets if key in item.assets] for item in items]
    found = [own for own in grids if own]
    _check_one("CRS", [own[0].crs for own in found], "item.properties['proj:code']")
    every = [grid for own in found for grid in own]
    _check_one("sizes of pixels", [_size(own[0]) for own in found], "item.collection_id")
    first = every[0]
    if any((grid.crs, _size(grid)) != (first.crs, _size(first)) for grid in every):
        raise UsageError("assets of one item differ in CRS or size of pixels: load them one by one")
    _check_one("grids", [_origin(own[0], first) for own in found], "item.properties['dream:area']")
    boxes = [grid.bounds for grid in every]
    left, top = min(box[0] for box in boxes), max(box[3] for box in boxes)
    right, bottom = max(box[2] for box in boxes), min(box[1] for box in boxes)
    width, height = first.transform[0], -first.transform[4]
    shape = round((top - bottom) / height), round((right - left) / width)
    return Grid(crs=first.crs, transform=(width, 0.0, left, 0.0, -height, top), shape=shape)


def _size(grid: Grid) -> str:
    return f"{grid.transform[0]:.12g} x {-grid.transform[4]:.12g}"


def _origin(grid: Grid, first: Grid) -> str:
    """Say by which part of a pixel a grid is off the first."""
    parts = [
        (grid.transform[at] - first.transform[at]) / first.transform[step] for at, step in ((2, 0), (5, 4))
    ]  # fmt: skip
    x, y = (0.0 if abs(part - round(part)) < _PART_OF_A_PIXEL else part % 1 for part in parts)
    return f"shifted by {x:.3f}, {y:.3f} pixels"


def _check_one(what: str, values: Sequence[Hashable], key: str) -> None:
    counts = Counter(values)
    if len(counts) > 1:
        listed = ", ".join(f"{value} ({count})" for value, count in islice(counts.most_common(), 6))
        more = ", …" if len(counts) > 6 else ""
        raise UsageError(
            f"items of {len(counts)} {what}: {listed}{more}; group them by {key} and load each group by itself"
        )


def offset(tile: Grid, whole: Grid) -> tuple[int, int]:
    """Give the row and column of a tile's upper left pixel in a grid that is aligned with it."""
    return (
        round((tile.transform[5] - whole.transform[5]) / whole.transform[4]),
        round((tile.transform[2] - whole.transform[2]) / whole.transform[0]),
    )
