"""Tiles, or square chips of them, by number: what a training loop asks for. Needs numpy and rasterio alone."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np

from catalog_builder.errors import UsageError
from catalog_builder.load.access import Access
from catalog_builder.load.arrays import Box, Masked, blank, by_asset, read_asset
from catalog_builder.load.bands import select
from catalog_builder.load.tiles import Items, TileItem, read_items

Sample: TypeAlias = dict[str, Any]


class TileSamples:
    """The tiles of a search, or their chips, in a fixed order: item by item, in each row by row.

    A sample is a dict: ``pixels`` (modality -> array (bands, rows, columns) in the type of its file), ``valid``
    (modality -> the same shape, false where nodata or NaN), ``item`` (its id) and ``window`` (row, column, height,
    width). All samples have the same modalities and bands: what a tile lacks is nodata, and not valid.

    ``assets`` are names as ``to_numpy`` takes them. ``chip`` is the side of a chip in pixels; it divides the tile.
    ``transform`` is called with each sample and gives what is returned instead. Nothing is opened until a sample is
    asked for, and pickled it holds neither files nor credentials.

    Raises ``UsageError`` for no items, unknown names, tiles of different shapes, and a chip that does not divide them.
    """

    def __init__(
        self,
        items: Items,
        assets: str | Iterable[str] | None = None,
        *,
        chip: int | None = None,
        transform: Callable[[Sample], Any] | None = None,
        endpoint_url: str | None = None,
        anonymous: bool = False,
    ) -> None:
        tiles = read_items(items)
        self._refs = select(tiles, assets)
        self._groups: Mapping[str, tuple[int, ...]] = by_asset(self._refs)
        self._tiles = [tile for tile in tiles if any(key in tile.assets for key in self._groups)]
        self._boxes = _chips(_common_shape(self._tiles, self._groups), chip)
        self._transform = transform
        self._access = Access(endpoint_url=endpoint_url, anonymous=anonymous)

    def __len__(self) -> int:
        return len(self._tiles) * len(self._boxes)

    def __getitem__(self, index: int) -> Any:
        if not -len(self) <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        tile, box = divmod(index % len(self), len(self._boxes))
        sample = self._read(self._tiles[tile], self._boxes[box])
        return sample if self._transform is None else self._transform(sample)

    def _read(self, tile: TileItem, box: Box) -> Sample:
        arrays = {key: self._modality(tile, key, box) for key in self._groups}
        return {
            "pixels": {key: array.data for key, array in arrays.items()},
            "valid": {key: ~np.ma.getmaskarray(array) for key, array in arrays.items()},
            "item": tile.id,
            "window": np.array(box, dtype=np.int64),
        }

    def _modality(self, tile: TileItem, key: str, box: Box) -> Masked:
        if key in tile.assets:
            return read_asset(tile.assets[key], self._groups[key], box, self._access)
        bands = {ref.number: ref for ref in self._refs if ref.asset == key}
        return blank([bands[number] for number in self._groups[key]], (box[2], box[3]))


def _common_shape(tiles: Iterable[TileItem], keys: Iterable[str]) -> tuple[int, int]:
    keys = list(keys)
    shapes = {tile.assets[key].grid.shape for tile in tiles for key in keys if key in tile.assets}
    if len(shapes) > 1:
        listed = ", ".join(f"{rows} x {columns}" for rows, columns in sorted(shapes))
        raise UsageError(f"tiles of different shapes ({listed}) make no batch: load each collection by itself")
    return shapes.pop()


def _chips(shape: tuple[int, int], chip: int | None) -> list[Box]:
    rows, columns = shape
    if chip is None:
        return [(0, 0, rows, columns)]
    if chip < 1 or rows % chip or columns % chip:
        raise UsageError(f"chip {chip}: does not divide tiles of {rows} x {columns} pixels")
    return [(row, column, chip, chip) for row in range(0, rows, chip) for column in range(0, columns, chip)]
