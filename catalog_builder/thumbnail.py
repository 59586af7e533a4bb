"""Small pictures of tiles: an authored render (STAC render extension) and a COG -> PNG.

Understood of a render: ``assets`` (one), ``bidx`` (one or three bands), ``rescale`` (a range a channel), ``colormap``
(value -> [r, g, b, a]) and ``colormap_name`` (one of COLORMAPS). What is not valid is transparent.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio.enums import Resampling
from rasterio.io import MemoryFile
from rasterio.shutil import copy as copy_raster

from catalog_builder import jsonio
from catalog_builder.raster import gdal_environment, is_valid

SIZE = 256
"""Pixels a side of a thumbnail of an item."""
COLLECTION_SIZE = (512, 384)
"""Width and height of a thumbnail of a collection, which is a map."""
_ZLEVEL = 3
"""Twice as fast as 6, for 0.3 % more bytes."""

COLORMAPS: Mapping[str, Sequence[tuple[float, tuple[int, int, int]]]] = jsonio.read(
    Path(__file__).with_name("colormaps.json")
)
"""Places between the low (0) and the high end (1) of the range, and their colours; ``terrain`` as in matplotlib, where
land begins at a quarter. The explorer has the same file."""

Image = npt.NDArray[np.uint8]


def thumbnail(path: Path, render: Mapping[str, Any], size: int = SIZE) -> bytes:
    """Draw a COG as a PNG of ``size`` x ``size`` pixels; the same file gives the same bytes."""
    return encode_png(draw(path, render, size))


def draw(path: Path, render: Mapping[str, Any], size: int) -> Image:
    """Draw a COG as red, green, blue, alpha: (4, size, size), uint8."""
    classes = render.get("colormap")
    bands = [int(band) for band in render.get("bidx", [1])]
    with gdal_environment(), rasterio.open(path, driver="GTiff") as dataset:
        nodata = dataset.nodata
        # Labels are picked, values averaged: from the overview, so little is read.
        resampling = Resampling.nearest if classes else Resampling.average
        pixels = dataset.read(bands, out_shape=(len(bands), size, size), resampling=resampling)
    valid = np.asarray(is_valid(pixels, nodata).all(axis=0))
    if classes:
        return _paint_classes(pixels[0], valid, classes)
    levels = _rescale(pixels, valid, render.get("rescale", [[0, 255]]))
    colours = levels if len(bands) == 3 else _paint_levels(levels[0], str(render.get("colormap_name", "gray")))
    return np.concatenate([colours, np.where(valid, 255, 0).astype(np.uint8)[None]])


def _rescale(pixels: npt.NDArray[Any], valid: npt.NDArray[np.bool_], ranges: list[list[float]]) -> Image:
    """Stretch each band to 0..255; one range serves all bands where only one is given."""
    ranges = ranges * len(pixels) if len(ranges) == 1 else ranges
    low = np.array([pair[0] for pair in ranges], dtype=np.float64)[:, None, None]
    high = np.array([pair[1] for pair in ranges], dtype=np.float64)[:, None, None]
    values = np.where(valid, pixels, low)
    return np.rint(np.clip((values - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def _paint_levels(levels: Image, name: str) -> Image:
    places, colours = zip(*COLORMAPS.get(name, COLORMAPS["gray"]), strict=True)
    table = np.stack([np.interp(np.linspace(0, 1, 256), places, channel) for channel in zip(*colours, strict=True)])
    return np.asarray(np.rint(table).astype(np.uint8)[:, levels])


def _paint_classes(labels: npt.NDArray[Any], valid: npt.NDArray[np.bool_], colours: Mapping[str, Any]) -> Image:
    table = np.zeros((4, 256), dtype=np.uint8)
    for value, colour in colours.items():
        table[:, int(value)] = [*colour, 255][:4]
    image = table[:, labels.astype(np.uint8)]
    image[3][~valid] = 0
    return image


def encode_png(image: Image) -> bytes:
    """Pack an image (channels, rows, columns) as PNG."""
    count, rows, columns = image.shape
    # A transform that says nothing, but is none of the identity that rasterio warns of.
    profile = {"count": count, "height": rows, "width": columns, "dtype": "uint8", "transform": Affine.scale(2, -2)}
    with gdal_environment(), MemoryFile(ext=".png") as target:
        with rasterio.open("", "w+", driver="MEM", **profile) as dataset:
            dataset.write(image)
            copy_raster(dataset, target.name, driver="PNG", zlevel=_ZLEVEL)
        return bytes(target.getbuffer())
