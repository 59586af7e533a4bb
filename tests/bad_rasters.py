"""Rasters that the builder cannot take: each function writes one."""

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.errors import NotGeoreferencedWarning

from tests.bench import SRTM, plain
from tests.makers import CORNER, TILE, write_geotiff

BAD = "bad.tif"
"""Name of most of them."""


def truncated(path: Path) -> None:
    """The header is whole, half of the blocks are missing: found only while pixels are read."""
    write_geotiff(path, SRTM, nodata=-32768, tiled=True, blockxsize=64, blockysize=64)
    os.truncate(path, path.stat().st_size // 2)


def corrupt(path: Path) -> None:
    """Garbage inside compressed blocks."""
    write_geotiff(path, SRTM, nodata=-32768, tiled=True, blockxsize=64, blockysize=64, compress="deflate")
    middle = path.stat().st_size // 2
    with path.open("r+b") as stream:
        stream.seek(middle)
        stream.write(b"\xff" * 2000)


def header_only(path: Path) -> None:
    path.write_bytes(b"II*\x00\x08\x00\x00\x00")


def plain_text(path: Path) -> None:
    path.write_text("no raster at all\n")


def vrt(path: Path, source_filename: str = "srtm.tif") -> None:
    path.write_text(
        f'<VRTDataset rasterXSize="{TILE}" rasterYSize="{TILE}"><SRS>EPSG:32631</SRS>'
        f"<GeoTransform>{CORNER[0]}, 10, 0, {CORNER[1]}, 0, -10</GeoTransform>"
        '<VRTRasterBand dataType="Int16" band="1"><NoDataValue>-32768</NoDataValue><SimpleSource>'
        f'<SourceFilename relativeToVRT="0">{source_filename}</SourceFilename><SourceBand>1</SourceBand>'
        "</SimpleSource></VRTRasterBand></VRTDataset>"
    )


def png(path: Path) -> None:
    profile = {"width": TILE, "height": TILE, "count": 1, "dtype": "uint8", "transform": Affine.scale(2, -2)}
    with rasterio.open(path, "w", driver="PNG", **profile) as dataset:
        dataset.write(SRTM.astype("uint8"))
    path.with_suffix(".png.aux.xml").unlink(missing_ok=True)


def no_geotransform(path: Path) -> None:
    profile = {"width": TILE, "height": TILE, "count": 1, "dtype": "int16", "crs": "EPSG:32631", "nodata": -32768}
    with (
        pytest.warns(NotGeoreferencedWarning),
        rasterio.open(path, "w", driver="GTiff", **profile) as dataset,
    ):
        dataset.write(SRTM)


def world_file_alone(path: Path) -> None:
    no_geotransform(path)
    world_file_beside(path)
    with rasterio.open(path) as dataset:
        assert dataset.transform.a == 10, "GDAL does look there"


def retagged(path: Path, tags: dict[int, int]) -> None:
    """Write a good file, then forge some of its TIFF tags."""
    plain(path)
    data = bytearray(path.read_bytes())
    (directory,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, directory)
    forged = set()
    for entry in range(directory + 2, directory + 2 + 12 * count, 12):
        tag = struct.unpack_from("<H", data, entry)[0]
        if tag in tags:
            struct.pack_into("<HII", data, entry + 2, 4, 1, tags[tag])
            forged.add(tag)
    assert forged == set(tags)
    path.write_bytes(data)


def no_tie_point(path: Path) -> None:
    """Pixels have a size and no place; GDAL would put them at (0, 0)."""
    plain(path)
    data = path.read_bytes()
    assert data.count(struct.pack("<H", 33922)) == 1
    path.write_bytes(data.replace(struct.pack("<H", 33922), struct.pack("<H", 33921)))


def sparse_giant(path: Path) -> None:
    """A real BigTIFF of 10^6 x 10^6 pixels, all of them left out of the file."""
    profile = {"tiled": True, "blockxsize": 16384, "blockysize": 16384, "compress": "deflate"}
    transform = Affine(10, 0, CORNER[0], 0, -10, CORNER[1])
    size = {"width": 10**6, "height": 10**6, "count": 1, "dtype": "int16"}
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        crs="EPSG:32631",
        transform=transform,
        bigtiff="YES",
        sparse_ok=True,
        **size,
        **profile,
    ):
        pass


def one_strip(path: Path) -> None:
    """One strip that would not fit in memory, and no pixels in the file."""
    transform = Affine(10, 0, CORNER[0], 0, -10, CORNER[1])
    size = {
        "width": 20_000,
        "height": 20_000,
        "count": 1,
        "dtype": "int16",
        "blockysize": 20_000,
        "compress": "deflate",
    }
    with rasterio.open(path, "w", driver="GTiff", crs="EPSG:32631", transform=transform, sparse_ok=True, **size):
        pass


def scaled(path: Path) -> None:
    plain(path)
    with rasterio.open(path, "r+") as dataset:
        dataset.scales, dataset.offsets = (0.1,), (-100.0,)


def world_file_beside(path: Path) -> None:
    for suffix in (".tfw", ".tifw", ".wld"):
        path.with_suffix(suffix).write_text(f"10\n0\n0\n-10\n{CORNER[0] + 12345}\n{CORNER[1]}\n")


def nodata_only(path: Path) -> None:
    plain(path, np.full_like(SRTM, -32768))
