"""Thumbnails: an authored render and a COG to a PNG."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from rasterio.io import MemoryFile

from catalog_builder import template
from catalog_builder.cog import encode
from catalog_builder.grid import TileGrid
from catalog_builder.template import CogOptions
from catalog_builder.thumbnail import draw, thumbnail

GRID = TileGrid(crs="EPSG:32631", resolution=10.0, origin=(660_000.0, 4_900_000.0))
FRANCE = template.load(template.default_folder()).collections["france"]


def write(folder: Path, key: str, pixels: npt.NDArray[Any]) -> Path:
    """Write pixels of a tile as a COG."""
    path = folder / f"{key}.tif"
    path.write_bytes(encode(pixels, FRANCE.modalities[key], GRID.tile(0, 0), CogOptions()))
    return path


def test_true_colour_is_stretched_and_nodata_transparent(tmp_path: Path) -> None:
    pixels = np.full((4, 1024, 1024), 1250, dtype=np.uint16)
    pixels[:, :, :512] = 0
    image = draw(write(tmp_path, "s2", pixels), {"assets": ["s2"], "bidx": [3, 2, 1], "rescale": [[0, 2500]]}, 256)
    assert image.shape == (4, 256, 256)
    assert not image[3, :, :127].any()
    assert (image[3, :, 129:] == 255).all()
    assert (image[:3, :, 129:] == 128).all()


def test_classes_keep_their_colours(tmp_path: Path) -> None:
    render = FRANCE.render("osm")
    values = [int(value) for value in render["colormap"]]
    labels = np.resize(np.repeat(np.array(values, dtype=np.uint8), 64), (1, 1024, 1024))
    image = draw(write(tmp_path, "osm", labels), render, 256)
    shown = {tuple(colour) for colour in image.reshape(4, -1).T.tolist() if colour[3]}
    assert shown <= {tuple([*colour, 255][:4]) for colour in render["colormap"].values()}
    assert len(shown) > 1


@pytest.mark.parametrize("name", ["gray", "terrain"])
def test_one_band_is_painted_along_its_range(tmp_path: Path, name: str) -> None:
    ramp = np.tile(np.arange(1024, dtype=np.int16), (1024, 1))[None]
    render = {"assets": ["srtm"], "rescale": [[0, 1023]], "colormap_name": name}
    image = draw(write(tmp_path, "srtm", ramp), render, 256)
    assert tuple(image[:3, 0, -1]) == (255, 255, 255)
    assert len({tuple(colour) for colour in image[:3, 0].T.tolist()}) > 100


def test_png_is_readable_and_the_same_twice(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(1, 2500, size=(4, 1024, 1024)).astype(np.uint16)
    path = write(tmp_path, "s2", pixels)
    render = FRANCE.render("s2")
    data = thumbnail(path, render)
    assert data == thumbnail(path, render)
    assert not list(tmp_path.glob("*.aux.xml"))
    with MemoryFile(data) as memory:
        with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
            picture = memory.open()
        assert (picture.driver, picture.count, picture.shape) == ("PNG", 4, (256, 256))
        assert np.array_equal(picture.read(), draw(path, render, 256))
        picture.close()
