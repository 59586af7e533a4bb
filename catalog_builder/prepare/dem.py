"""SRTM height tiles (``.hgt``, also zipped) -> elevation of a grid, whole metres.

A tile covers one degree and is named by its south-west corner: ``N44E005.hgt`` spans 44 to 45 north, 5 to 6 east. It
holds big-endian int16, rows from north to south, -32768 for voids: 3601 x 3601 values 1 arc second apart (SRTM1), or
1201 x 1201 values 3 arc seconds apart (SRTM3). Values stand on whole arc seconds, those of the rim on the degree lines,
so that neighbours share a row or a column. (SRTM Topography, SRTM_Topo.pdf of the USGS, 2015.) Tiles of one spacing are
therefore one raster of pixels, which is joined before it is warped.
"""

import re
import shutil
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
from rasterio.windows import Window, intersect

from catalog_builder.errors import BuildError, RasterError, UsageError
from catalog_builder.executor import ordered
from catalog_builder.placement import PlacedRaster, PlacedSource
from catalog_builder.prepare.mosaic_step import (
    check_output,
    inside,
    is_file,
    modality_of,
    place,
    scratch_folder,
    span_of,
    warped_block,
)
from catalog_builder.prepare.output import Bands, Blocks, write_raster
from catalog_builder.prepare.provenance import Provenance
from catalog_builder.prepare.target import Target
from catalog_builder.raster import read_header

ASSET = "srtm"
VOID = -32768
BANDS = Bands(names=("elevation",), data_type="int16", nodata=VOID, unit="m")
RESAMPLING = "bilinear"
FLIGHT = (datetime(2000, 2, 11, tzinfo=UTC), datetime(2000, 2, 22, tzinfo=UTC))
"""The days on which the Shuttle took its measurements."""
ATTRIBUTION = "SRTM data courtesy of NASA and the U.S. Geological Survey (USGS), public domain"

_NAME = re.compile(r"([NS])(\d\d)([EW])(\d\d\d)\.hgt", re.IGNORECASE)
_SIDES = {2 * side * side: side for side in (1201, 3601)}
"""Bytes of a tile -> values a side."""
_SIZES = " or ".join(f"{size:,} (SRTM{3600 // (side - 1)})" for size, side in _SIDES.items())
_UNZIP_CHUNK = 2**20
_WINDOW = 8
"""Blocks under way at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeightTile:
    """One ``.hgt`` file that is what its name and its size say."""

    path: Path
    origin: Path
    """What was given: the file, or the archive that it came from."""
    corner: tuple[int, int]
    """Latitude, longitude of its south-west corner, in degrees."""
    side: int
    """Values a side, 1201 or 3601."""

    @property
    def label(self) -> str:
        """Name it for provenance."""
        name = self.path.name
        return name if self.origin.suffix.lower() == ".hgt" else f"{name} ({self.origin.name})"


def prepare_srtm(inputs: Sequence[Path], out: Path, target: Target, executor: Executor, progress: Blocks) -> Provenance:
    """Write the elevation of a target, int16 metres above the EGM96 geoid, bilinear; voids are -32768 and never filled.

    Tiles of 3 arc seconds are painted first, those of 1 over them. Raises ``UsageError`` or ``RasterError`` naming the
    file and what is wrong with it, ``BuildError`` where the output cannot be written.
    """
    check_output(out, inputs)
    with scratch_folder(out) as scratch:
        tiles = _in_order(tile for path in inputs for tile in open_tiles(path, scratch))
        headers = [replace(read_header(tile.path), nodata=float(VOID)) for tile in tiles]
        source = place(modality_of(ASSET, BANDS, RESAMPLING), headers, target)
        used = {raster.header.path for raster in source.rasters}
        tiles = [tile for tile in tiles if tile.path in used]
        made = Provenance(
            step=ASSET,
            inputs=[tile.label for tile in tiles],
            parameters={"kernel": RESAMPLING},
            notes={
                "arc_seconds": ", ".join(str(size) for size in sorted({3600 // (tile.side - 1) for tile in tiles})),
                "void_pixels": count_voids(source, target, executor),
            },
        )
        # The days of one flight are no dates to be counted.
        tags = {**replace(made, dates=FLIGHT).tags(), "TIFFTAG_COPYRIGHT": ATTRIBUTION}
        write_raster(out, target, BANDS, partial(warped_block, source, target), tags, executor, progress)
    return made


# --- tiles ------------------------------------------------------------------------------------------------------------


def open_tiles(path: Path, scratch: Path) -> list[HeightTile]:
    """Give the tiles of a file: itself, or what an archive holds, taken out to ``scratch``.

    Of an archive only members are taken that are named as a tile, without a folder, and have the size of one. Raises
    ``UsageError`` for a wrong name, ``RasterError`` for wrong contents.
    """
    if not is_file(path):
        raise UsageError(f"{path}: is a folder; name its .hgt files")
    if path.suffix.lower() == ".zip":
        return [_tile(taken, path) for taken in _unzip(path, scratch)]
    return [_tile(path, path)]


def _tile(path: Path, origin: Path) -> HeightTile:
    where = path if path == origin else f"{origin}: {path.name}"
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise UsageError(f"{where}: no name of an SRTM tile; it says where it lies, such as N44E005.hgt, or is a .zip")
    north, east = match[1].upper() == "N", match[3].upper() == "E"
    latitude = int(match[2]) if north else -int(match[2])
    longitude = int(match[4]) if east else -int(match[4])
    if not (-90 <= latitude < 90 and -180 <= longitude < 180):
        raise UsageError(f"{where}: a tile at {latitude}, {longitude} (latitude, longitude) is off the Earth")
    side = _SIDES.get(path.stat().st_size)
    if side is None:
        raise RasterError(f"{where}: {path.stat().st_size:,} bytes; a tile has {_SIZES}: truncated, or of another kind")
    return HeightTile(path=path, origin=origin, corner=(latitude, longitude), side=side)


def _unzip(path: Path, scratch: Path) -> list[Path]:
    """Take the tiles out of an archive, each archive to a folder of its own."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if _NAME.fullmatch(member.filename)]
            if not members:
                held = ", ".join(member.filename for member in archive.infolist()[:3]) or "nothing"
                raise RasterError(f"{path}: holds no tile such as N44E005.hgt at its top, but {held}")
            folder = scratch / f"{len(list(scratch.iterdir()))}"
            folder.mkdir()
            return [_take_out(archive, member, folder, path) for member in members]
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise RasterError(f"{path}: truncated or corrupt archive: {error}") from error


def _take_out(archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path, path: Path) -> Path:
    if member.file_size not in _SIDES:
        raise RasterError(f"{path}: {member.filename}: {member.file_size:,} bytes; a tile has {_SIZES}")
    taken = folder / member.filename
    try:
        # zipfile gives no more bytes than the archive promises, and holds them against their checksum.
        with archive.open(member) as packed, taken.open("xb") as plain:
            shutil.copyfileobj(packed, plain, _UNZIP_CHUNK)
    except FileExistsError as error:
        raise RasterError(f"{path}: holds {member.filename} twice") from error
    except OSError as error:
        raise BuildError(f"{path}: cannot unpack to {folder.parent}: {error.strerror or error}") from error
    return taken


def _in_order(tiles: Iterable[HeightTile]) -> list[HeightTile]:
    """Give tiles in the order of painting, whatever the order in which they were named."""
    by_corner: dict[tuple[int, int], HeightTile] = {}
    for tile in tiles:
        other = by_corner.setdefault(tile.corner, tile)
        if other is not tile:
            raise UsageError(f"{tile.origin}: {tile.path.name} was given twice; the other is {other.origin}")
    if by_corner and max(corner[1] for corner in by_corner) - min(corner[1] for corner in by_corner) > 180:
        raise UsageError("the tiles lie on both sides of 180 degrees; prepare each side by itself")
    return sorted(by_corner.values(), key=lambda tile: (tile.side, tile.corner))


# --- voids ------------------------------------------------------------------------------------------------------------


def count_voids(source: PlacedSource, target: Target, executor: Executor) -> int:
    """Count the values of the tiles that are void and stand inside a target.

    They are values of SRTM, not pixels of the target. One that two tiles share counts once, and not at all where one of
    them has it. Raises ``RasterError``.
    """
    total = 0
    for _, rasters in source.runs:
        lattice = _lattice(rasters)
        posts = place(source.modality, [raster.header for raster in rasters], lattice)
        span = span_of(replace(rasters[0].header, transform=lattice.transform, shape=lattice.shape), target)
        if span is not None:
            blocks = [block for block in lattice.blocks() if intersect(block, span)]
            count = partial(_voids_in, posts, lattice, target)
            total += sum(voids for _, voids in ordered(executor, count, blocks, _WINDOW))
    return total


def _lattice(rasters: Sequence[PlacedRaster]) -> Target:
    """Give the raster of values that all tiles of a run share."""
    run, header = rasters[0].run, rasters[0].header
    left, top, right, bottom = run.box
    return Target(
        crs=run.crs,
        resolution=header.resolution[0],
        corner=run.transform @ (left, top),
        shape=(bottom - top, right - left),
    )


def _voids_in(posts: PlacedSource, lattice: Target, target: Target, block: Window) -> int:
    """Count the voids of a block of the lattice that are inside the target."""
    void = warped_block(posts, lattice, block)[0] == VOID
    covered = np.zeros_like(void)
    for raster in posts.rasters:
        (column, row), (height, width) = raster.offset, raster.header.shape
        left, top = max(column - block.col_off, 0), max(row - block.row_off, 0)
        right, bottom = max(column + width - block.col_off, 0), max(row + height - block.row_off, 0)
        covered[top:bottom, left:right] = True
    rows, columns = np.nonzero(void & covered)
    within = inside(lattice.transform, lattice.crs, rows + block.row_off, columns + block.col_off, target)
    return int(np.count_nonzero(within))
