"""NAIP quarter-quads -> aerial RGB of a grid, by area average.

A quarter-quad is a GeoTIFF of 8-bit red, green, blue and, since 2009, near infrared, in the UTM zone of its centre on
NAD 83, 0.6 m to 2 m a pixel. It reaches 300 m and more over its neighbours. Its name holds the day on which it was
taken, and of later years the day on which it was published: ``m_4709963_se_14_060_20190904_20191209.tif`` (quad,
quarter, zone, resolution, dates). (USDA, NAIP information sheet and digital ortho quarter quad naming.) Beyond the
photographs, the collar, all bands are 0, or a mask inside the file says so.
"""

import re
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from rasterio.windows import Window

from catalog_builder.errors import RasterError, UsageError
from catalog_builder.prepare.mosaic_step import (
    Valid,
    check_output,
    check_twice,
    chosen,
    day,
    is_file,
    modality_of,
    place,
    read_block,
    scratch_folder,
)
from catalog_builder.prepare.output import Bands, Blocks, Pixels, write_raster
from catalog_builder.prepare.provenance import Provenance
from catalog_builder.prepare.target import Target
from catalog_builder.raster import RasterHeader, open_source, read_header

ASSET = "naip"
BANDS = Bands(names=("red", "green", "blue"), data_type="uint8", nodata=0)
RESAMPLING = "average"
ATTRIBUTION = "NAIP imagery courtesy of the U.S. Department of Agriculture (USDA), public domain"

_NAME = re.compile(r"m_\d{7}_[ns][ew]_\d{1,2}_[^_]+_(\d{8})(?:_\d{8})?", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Photograph:
    """A quarter-quad with its day."""

    header: RasterHeader
    taken: datetime

    @property
    def path(self) -> Path:
        """The file."""
        return self.header.path


def prepare_naip(
    inputs: Sequence[Path],
    out: Path,
    target: Target,
    executor: Executor,
    progress: Blocks,
    *,
    taken: datetime | None = None,
) -> Provenance:
    """Write red, green, blue of a target, uint8 with nodata 0: each pixel the mean of the ground that it covers.

    Photographs are painted in the order of their days, a later one over those before it; ``taken`` is the day of those
    whose name tells none. Pixels of the collar have no part in a mean; a valid 0 is written as 1, as 0 is nodata.

    Raises ``UsageError`` or ``RasterError`` naming the file and what is wrong with it, ``BuildError`` where the output
    cannot be written.
    """
    check_output(out, inputs)
    check_twice(inputs)
    photographs = sorted(
        (open_photograph(path, taken) for path in inputs), key=lambda photo: (photo.taken, photo.path.name, photo.path)
    )
    source = place(modality_of(ASSET, BANDS, RESAMPLING), [photo.header for photo in photographs], target)
    used = chosen(photographs, lambda photo: photo.path, source)
    made = Provenance(
        step=ASSET,
        inputs=[photo.path.name for photo in used],
        parameters={"kernel": RESAMPLING},
        dates=sorted({photo.taken for photo in used}),
    )
    readers = {photo.path: partial(read_photograph, photo.header) for photo in used}
    tags = {**made.tags(), "TIFFTAG_COPYRIGHT": ATTRIBUTION}
    with scratch_folder(out) as scratch:
        make = partial(read_block, source, readers, target, scratch)
        write_raster(out, target, BANDS, make, tags, executor, progress)
    return made


def open_photograph(path: Path, taken: datetime | None) -> Photograph:
    """Read the header of a quarter-quad.

    Raises ``RasterError`` for another kind of file, ``UsageError`` for one whose day is not known.
    """
    if not is_file(path):
        raise UsageError(f"{path}: is a folder; name its files")
    header = read_header(path)
    if header.count not in (3, 4):
        raise RasterError(f"{path}: {header.count} bands; NAIP has 3 (red, green, blue) or 4 (and near infrared)")
    if header.data_type != "uint8":
        raise RasterError(f"{path}: {header.data_type}; NAIP is uint8")
    if match := _NAME.fullmatch(path.stem):
        return Photograph(header=header, taken=day(match[1], f"{path}"))
    if taken is None:
        raise UsageError(f"{path}: its name tells no day, as m_4709963_se_14_1_20090818.tif does; give --datetime")
    return Photograph(header=header, taken=taken)


def read_photograph(header: RasterHeader, window: Window) -> tuple[Pixels, Valid]:
    """Read red, green, blue (3, rows, columns) of a window, and where there is a photograph (rows, columns).

    A mask inside the file is believed. Without one, a pixel is none where all bands, near infrared too, are the file's
    nodata, or 0 where it names none; so one dark band is no hole. Raises ``RasterError`` for a corrupt file.
    """
    with open_source(header.path) as dataset:
        pixels = dataset.read(window=window)
        if header.has_mask:
            return pixels[:3], dataset.read_masks(1, window=window) != 0
    return pixels[:3], (pixels != (header.nodata or 0)).any(axis=0)
