"""Weights of classes for a loss, from how often each class is on the ground."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from catalog_builder.errors import RasterError, UsageError
from catalog_builder.load.access import Access
from catalog_builder.load.arrays import read_asset
from catalog_builder.load.bands import BandRef, select
from catalog_builder.load.tiles import Items, TileItem, read_items

Counts = npt.NDArray[np.int64]
Method = Literal["median_frequency", "inverse_frequency"]


def class_weights(
    items: Items,
    asset: str = "osm",
    *,
    method: Method = "median_frequency",
    endpoint_url: str | None = None,
    anonymous: bool = False,
) -> npt.NDArray[np.float64]:
    """Weigh classes against their share of the pixels: a vector with the weight of class ``c`` at index ``c``.

    It reads the class raster of every item, and leaves nodata out. Its length is the highest class that the items know,
    plus one; what never occurs in them has weight 0. Pass it on as
    ``CrossEntropyLoss(weight=torch.as_tensor(weights, dtype=torch.float32), ignore_index=255)``.

    - ``median_frequency``: median of all f over f_c, where f_c is the number of pixels of class c over the number of
      valid pixels of those tiles that have the class (Eigen and Fergus, ICCV 2015, section 6.3.2). -
      ``inverse_frequency``: n / (k n_c), with n pixels in k classes of which n_c are of class c (King and Zeng,
      Political Analysis 9, 2001; scikit-learn's "balanced"). Their mean over all pixels is 1.

    Raises ``UsageError`` for an asset without classes, ``RasterError`` where a raster holds a value that is no class or
    no item has a valid pixel, and as ``to_numpy`` does.
    """
    tiles = read_items(items)
    refs = select(tiles, [asset])
    if len(refs) != 1 or not refs[0].band.classes:
        raise UsageError(f"{asset!r}: not one band of classes (classification:classes)")
    counts = _histograms(tiles, refs[0], Access(endpoint_url=endpoint_url, anonymous=anonymous))
    if not counts.sum():
        raise RasterError(f"{asset!r}: no valid pixel in {len(tiles)} items, so classes have no weights")
    match method:
        case "median_frequency":
            return median_frequency(counts)
        case "inverse_frequency":
            return inverse_frequency(counts)
    raise UsageError(f"method {method!r}: neither 'median_frequency' nor 'inverse_frequency'")


def median_frequency(counts: Counts) -> npt.NDArray[np.float64]:
    """Weigh by the median frequency. ``counts`` are pixels (tiles, classes)."""
    valid = counts.sum(axis=1, keepdims=True)
    total, around = counts.sum(axis=0), np.where(counts > 0, valid, 0).sum(axis=0)
    there = total > 0
    frequency = total[there] / around[there]
    return _spread(np.median(frequency) / frequency, there)


def inverse_frequency(counts: Counts) -> npt.NDArray[np.float64]:
    """Weigh by the inverse frequency. ``counts`` are pixels (tiles, classes)."""
    total = counts.sum(axis=0)
    there = total > 0
    return _spread(total.sum() / (there.sum() * total[there]), there)


def _spread(weights: npt.NDArray[np.float64], there: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    spread = np.zeros(there.shape)
    spread[there] = weights
    return spread


def _histograms(tiles: Sequence[TileItem], ref: BandRef, access: Access) -> Counts:
    """Count the pixels of each class in each tile that has the raster: (tiles, classes)."""
    classes = sorted({value for tile in tiles if ref.asset in tile.assets for value in _classes(tile, ref)})
    if classes[0] < 0:
        raise UsageError(f"{ref.label}: class {classes[0]} cannot be the index of a weight")
    rows = [_histogram(tile, ref, access, np.array(classes)) for tile in tiles if ref.asset in tile.assets]
    return np.stack(rows)


def _classes(tile: TileItem, ref: BandRef) -> tuple[int, ...]:
    return tile.assets[ref.asset].bands[ref.number - 1].classes


def _histogram(tile: TileItem, ref: BandRef, access: Access, classes: npt.NDArray[Any]) -> Counts:
    asset = tile.assets[ref.asset]
    pixels = read_asset(asset, [ref.number], None, access).compressed()
    values, found = np.unique(pixels, return_counts=True)
    strange = values[~np.isin(values, classes)]
    if strange.size:
        raise RasterError(f"{asset.href}: holds {strange[0]}, which is no class of its item")
    counts = np.zeros(int(classes[-1]) + 1, dtype=np.int64)
    counts[values.astype(np.intp)] = found
    return counts
