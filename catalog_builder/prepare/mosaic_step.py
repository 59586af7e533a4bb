"""Several files -> one raster: placed on a target and warped block by block as ``mosaic`` does for tiles.

Where a product is not stored as its modality wants it (nodata told by several bands, an offset to take off), the window
that a block needs is written anew to a scratch folder, with a mask, and read from there. So there is one warp only, a
source is read in windows only, and a file that is used as it lies is not copied at all.
"""

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyproj
import rasterio
from affine import Affine
from rasterio.windows import Window

from catalog_builder import template
from catalog_builder.errors import BuildError, RasterError, UsageError
from catalog_builder.grid import Bounds, Tile
from catalog_builder.mosaic import read_tile
from catalog_builder.placement import PlacedRaster, PlacedSource, place_source, to_source
from catalog_builder.prepare.output import Bands, Pixels, check_written, writing_scratch
from catalog_builder.prepare.provenance import PREFIX
from catalog_builder.prepare.target import BLOCK, Target
from catalog_builder.raster import RasterHeader, gdal_environment, open_source
from catalog_builder.template import Modality

Valid = npt.NDArray[np.bool_]
"""(rows, columns)"""
Reader = Callable[[Window], tuple[Pixels, Valid]]
"""Gives a window of a product, (bands, rows, columns) in the type of its modality, and where it is valid. A plain
function, or a partial of one, that a worker process can be sent."""
Item = TypeVar("Item")

_STRIP = 2**22
"""Values that are brought to a scratch file at a time: mostly a block's whole window, so that what is packed in large
tiles is unpacked once."""
_STAGED_BLOCK = 256
_PROBES = 33
"""Points a side at which a block's place in a file is asked."""
_SLACK = 2
"""Pixels of a file around what a block can reach, for rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A product with its place, and how its pixels are had."""

    header: RasterHeader
    """Its ``path`` names the product in messages and tells it from others."""
    read: Reader


# --- what goes in and comes out ---------------------------------------------------------------------------------------


def modality_of(key: str, bands: Bands, resampling: str) -> Modality:
    """Give what ``mosaic`` has to know of a raster to be made."""
    entries = [{"name": name, "data_type": bands.data_type, "nodata": float(bands.nodata)} for name in bands.names]
    return template.modality(key, {"bands": entries, "dream:resampling": resampling}, Path(key))


def check_output(out: Path, inputs: Sequence[Path]) -> None:
    """Refuse to write over what this program did not make, such as an input where the output was forgotten.

    Raises ``UsageError``.
    """
    if out.suffix.lower() not in (".tif", ".tiff"):
        raise UsageError(f"{out}: the output comes last, and is a GeoTIFF: let its name end in .tif")
    if any(out.resolve() == path.resolve() for path in inputs):
        raise UsageError(f"{out}: is an input; name another output, after the inputs")
    if out.is_dir():
        raise UsageError(f"{out}: is a folder; name a file in it")
    if out.exists() and not _was_prepared(out):
        raise UsageError(f"{out}: exists, and no `prepare` made it; remove it, or name another output")


def _was_prepared(path: Path) -> bool:
    try:
        with open_source(path) as dataset:
            return f"{PREFIX}STEP" in dataset.tags()
    except RasterError:
        return False


def check_twice(inputs: Sequence[Path]) -> None:
    """Refuse an input that was named twice. Raises ``UsageError``."""
    for number, path in enumerate(inputs):
        if path in inputs[:number]:
            raise UsageError(f"{path}: was given twice")


@contextmanager
def scratch_folder(out: Path) -> Iterator[Path]:
    """Give a folder beside the output that is gone at the end. Raises ``BuildError`` where it cannot be made."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent)
    except OSError as error:
        raise BuildError(f"{out}: cannot write beside it: {error.strerror}") from error
    with folder as name:
        yield Path(name)


def is_file(path: Path) -> bool:
    """Tell whether a name is that of a file. Raises ``UsageError`` where there is nothing of that name."""
    try:
        if path.exists():
            return path.is_file()
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: no such file: {error}") from error
    raise UsageError(f"{path}: no such file or folder")


def day(text: str, where: str) -> datetime:
    """Turn ``20090818`` or ``20200601T103031`` into UTC. Raises ``UsageError`` naming ``where``."""
    try:
        return datetime.strptime(text, "%Y%m%dT%H%M%S" if "T" in text else "%Y%m%d").replace(tzinfo=UTC)
    except ValueError as error:
        raise UsageError(f"{where}: {text} is no date") from error


def instant(text: str, option: str) -> datetime:
    """Turn what was given as a time, ``2009-08-18`` or ``2009-08-18T10:00:00Z``, into UTC; a day is its midnight.

    Raises ``UsageError`` naming the option.
    """
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{option} {text!r}: write it as 2009-08-18 or 2009-08-18T10:00:00Z") from error
    if when.tzinfo is None and len(text) > len("2009-08-18"):
        raise UsageError(f"{option} {text!r} has no time zone; write it as 2009-08-18T10:00:00Z")
    try:
        return when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC)
    except OverflowError as error:
        raise UsageError(f"{option} {text!r} is beyond the calendar") from error


# --- placing ----------------------------------------------------------------------------------------------------------


def place(modality: Modality, headers: Sequence[RasterHeader], target: Target) -> PlacedSource:
    """Find where files lie on a target, in the order of painting; those that do not matter there are left out.

    All bands of the modality are read, from the first on. Raises ``RasterError`` where no file meets the target, or one
    has a CRS that cannot reach it.
    """
    bands = tuple(range(1, len(modality.bands) + 1))
    grid = target.block_tile(Window(0, 0, BLOCK, BLOCK)).grid
    everything = place_source(modality, bands, [(header, "") for header in headers], grid)
    if not any(raster.bounds.intersection(target.bounds) for raster in everything.rasters):
        first = everything.rasters[0]
        lies = " ".join(f"{value:g}" for value in first.bounds)
        box = " ".join(f"{value:g}" for value in target.bounds)
        more = f", nor do {len(headers) - 1} more" if len(headers) > 1 else ""
        raise RasterError(
            f"{first.header.path}: does not meet the grid{more}: it lies at {lies} in {target.crs}, the grid at {box}"
        )
    near = everything.touching(target.bounds).rasters
    # Placed anew: what is left out has no say in how the others are warped.
    return place_source(modality, bands, [(raster.header, "") for raster in near], grid)


def chosen(items: Sequence[Item], path_of: Callable[[Item], Path], source: PlacedSource) -> list[Item]:
    """Give the items whose path a placed source has, in their order."""
    paths = {raster.header.path for raster in source.rasters}
    return [item for item in items if path_of(item) in paths]


# --- blocks -----------------------------------------------------------------------------------------------------------


def warped_block(source: PlacedSource, target: Target, window: Window) -> Pixels:
    """Make a block of a target, (bands, rows, columns), from files as they lie. Raises ``RasterError``."""
    return read_tile(source, target.block_tile(window))[:, : window.height, : window.width]


def read_block(
    source: PlacedSource, readers: Mapping[Path, Reader], target: Target, scratch: Path, window: Window
) -> Pixels:
    """Make a block of a target, (bands, rows, columns), from what readers give for each file of a source.

    What the block can reach of each file is brought to a scratch file first. Raises ``RasterError``.
    """
    tile = target.block_tile(window)
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        staged = [
            part
            for number, raster in enumerate(source.touching(tile.bounds).rasters)
            if (part := _stage(raster, readers[raster.header.path], tile, Path(folder) / f"{number}.tif", source))
        ]
        pixels = read_tile(replace(source, rasters=tuple(staged)), tile)
    return pixels[:, : window.height, : window.width]


def _stage(raster: PlacedRaster, read: Reader, tile: Tile, path: Path, source: PlacedSource) -> PlacedRaster | None:
    """Write what a tile can reach of a file to ``path``; give it with its place, or None where that is nothing."""
    part = window_around(raster.header, tile.bounds.padded(raster.reach), tile.grid.crs, _SLACK)
    if part is None:
        return None
    corner = Affine.translation(part.col_off, part.row_off)
    header = replace(
        raster.header,
        path=path,
        driver="GTiff",
        transform=raster.header.transform @ corner,
        shape=(part.height, part.width),
        count=len(source.bands),
        data_type=source.modality.data_type,
        nodata=None,
        has_mask=True,
    )
    _write_staged(header, part, read, raises_zero=raster.run.copied and source.modality.nodata == 0)
    offset = raster.offset[0] + part.col_off, raster.offset[1] + part.row_off
    return replace(raster, header=header, offset=offset)


def _write_staged(header: RasterHeader, part: Window, read: Reader, *, raises_zero: bool) -> None:
    """Write a window of a product with a mask.

    With ``raises_zero`` a valid 0 becomes 1: where pixels are copied, it would pass for nodata. Where they are warped,
    GDAL does the same with what it has computed.
    """
    (rows, columns), count = header.shape, header.count
    profile = {"driver": "GTiff", "count": count, "height": rows, "width": columns, "dtype": header.data_type}
    layout = {
        "tiled": True,
        "blockxsize": _STAGED_BLOCK,
        "blockysize": _STAGED_BLOCK,
        "photometric": "MINISBLACK",
        "alpha": "NO",
    }
    place = {"crs": header.crs, "transform": header.transform}
    step = max(_STRIP // (columns * count * _STAGED_BLOCK), 1) * _STAGED_BLOCK
    with writing_scratch(header.path):
        with (
            gdal_environment(),
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
            rasterio.open(header.path, "w", **profile, **layout, **place) as dataset,
        ):
            for top in range(0, rows, step):
                height = min(step, rows - top)
                pixels, valid = read(Window(part.col_off, part.row_off + top, columns, height))
                if raises_zero:
                    pixels = np.where(valid & (pixels == 0), pixels.dtype.type(1), pixels)
                strip = Window(0, top, columns, height)
                dataset.write(pixels, window=strip)
                dataset.write_mask(valid, window=strip)
        check_written(header.path)


def window_around(header: RasterHeader, box: Bounds, crs: str, slack: int) -> Window | None:
    """Give the window of a file that a box in another CRS reaches, and ``slack`` pixels more."""
    xs, ys = np.meshgrid(np.linspace(box.left, box.right, _PROBES), np.linspace(box.bottom, box.top, _PROBES))
    moved = to_source(xs.ravel().tolist(), ys.ravel().tolist(), header, crs)
    moved = moved[:, np.isfinite(moved).all(axis=0)]
    if not moved.size:
        return None
    columns, rows = moved_by(~header.transform, moved[0], moved[1])
    left, top = (max(math.floor(values.min()) - slack, 0) for values in (columns, rows))
    right = min(math.ceil(columns.max()) + slack, header.shape[1])
    bottom = min(math.ceil(rows.max()) + slack, header.shape[0])
    return Window(left, top, right - left, bottom - top) if left < right and top < bottom else None


# --- counting ---------------------------------------------------------------------------------------------------------


def moved_by(transform: Affine, x: Pixels, y: Pixels) -> tuple[Pixels, Pixels]:
    """Apply a transform without rotation to coordinates."""
    return transform.a * x + transform.c, transform.e * y + transform.f


def inside(transform: Affine, crs: str, rows: npt.NDArray[Any], columns: npt.NDArray[Any], target: Target) -> Valid:
    """Tell which pixels (rows and columns, both of one shape) of a raster have their centre in a target."""
    x, y = moved_by(transform, columns + 0.5, rows + 0.5)
    if pyproj.CRS.from_user_input(crs) != pyproj.CRS.from_user_input(target.crs):
        x, y = pyproj.Transformer.from_crs(crs, target.crs, always_xy=True).transform(x, y)
    left, bottom, right, top = target.bounds
    return np.asarray((x >= left) & (x < right) & (y > bottom) & (y <= top))


def span_of(header: RasterHeader, target: Target) -> Window | None:
    """Give a window of a raster that holds all its pixels inside a target, or None where there are none."""
    return window_around(header, target.bounds, target.crs, 2 * _SLACK)


def windows_of(span: Window) -> Iterator[Window]:
    """Cut a window in parts that are read at a time, row by row."""
    right, bottom, step = span.col_off + span.width, span.row_off + span.height, 2 * BLOCK
    for row in range(span.row_off, bottom, step):
        for column in range(span.col_off, right, step):
            yield Window(column, row, min(step, right - column), min(step, bottom - row))
