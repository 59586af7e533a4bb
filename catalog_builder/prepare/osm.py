"""An extract of OpenStreetMap -> a raster of classes on a grid.

Areas are filled, lines are drawn as wide as their kind is, and at least one pixel: a line of one pixel's width meets a
centre in every row or column that it crosses. A pixel has a class where its centre lies in an object, as GDAL's
``gdal_rasterize`` has it. Objects are drawn layer by layer, in a layer the larger ones first.

Shapes go to disk as they are read, to a file for each block of the raster that they touch, so memory does not grow with
the place; then blocks are drawn in parallel.
"""

import itertools
import math
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj
import shapely
from affine import Affine
from rasterio.features import rasterize
from rasterio.windows import Window
from shapely.geometry.base import BaseGeometry

from catalog_builder.errors import RasterError, UsageError
from catalog_builder.grid import Bounds
from catalog_builder.prepare.extract import Extract, Geometries
from catalog_builder.prepare.mosaic_step import check_output, scratch_folder
from catalog_builder.prepare.osm_classes import MAX_BITS, NODATA, UNMAPPED, OsmClasses
from catalog_builder.prepare.output import Bands, Blocks, Pixels, write_raster, writing_scratch
from catalog_builder.prepare.provenance import Provenance
from catalog_builder.prepare.shapes import Findings, Shapes, Tell, read_shapes
from catalog_builder.prepare.target import BLOCK, Target

ASSET = "osm"
BANDS = Bands(names=("class",), data_type="uint8", nodata=NODATA)
ATTRIBUTION = "© OpenStreetMap contributors, ODbL 1.0"

_DEGREES = "EPSG:4326"
_EDGE = 0.01
"""Degrees of an outline's edge that pass for straight on the grid."""
_ROUND = 4
"""Segments of a quarter of a circle at the ends and bends of lines."""
_NARROWEST = 1 + 1e-6
"""Width of the narrowest line in pixels: after rounding still one, so that a line has no gap."""
_MARGIN = 2
"""Pixels around a block that stay of an area."""
_HELD = 2**26
"""Bytes of shapes in memory before they go to disk."""
_HEAD = struct.Struct("<hdqBI")


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """What is to be drawn, and where."""

    extract: Extract
    outline: BaseGeometry
    """Where the extract ends, in degrees."""
    classes: OsmClasses
    target: Target
    snapshot: datetime | None = None
    """When the map was so, in place of what the extract tells."""


def prepare_osm(
    drawing: Drawing, out: Path, bits: Path | None, executor: Executor, progress: Blocks, tell: Tell
) -> Provenance:
    """Write the classes of a target, uint8: 0 where nothing is mapped, 255 outside the outline.

    ``bits`` is a second raster for objects that overlap, with a bit for each class: 2**(value - 1), uint16 or, with a
    value above 15, uint32; nodata is the largest value. The date of what is given back is that of the map: where the
    extract does not tell it, that of the youngest edit which matters.

    Raises ``UsageError`` for a grid without metres or beyond the extract, ``RasterError`` for an extract that cannot be
    read, ``BuildError`` where the output cannot be written.
    """
    for path in (out, bits):
        if path is not None:
            check_output(path, [drawing.extract.path])
    bit_bands = _bit_bands(drawing.classes) if bits is not None else None
    ground = _ground(drawing)
    findings = Findings()
    with scratch_folder(out) as scratch:
        spool = _Spool(scratch, drawing.target)
        for shapes in read_shapes(drawing.extract, drawing.classes, ground.near, scratch, findings, tell):
            spool.add(ground.place(shapes))
        spool.flush()
        made = _provenance(drawing, ground, findings)
        tags = {**made.tags(), "TIFFTAG_COPYRIGHT": ATTRIBUTION}
        if bits is not None and bit_bands is not None:  # first, so that there is no class raster where it fails
            block = partial(bit_block, scratch, drawing.target, ground.rim, bit_bands)
            write_raster(bits, drawing.target, bit_bands, block, tags, executor, progress)
        block = partial(class_block, scratch, drawing.target, ground.rim)
        write_raster(out, drawing.target, BANDS, block, tags, executor, progress)
    return made


def _bit_bands(classes: OsmClasses) -> Bands:
    last = classes.classes[-1]
    if last.value > MAX_BITS:
        raise UsageError(f"{classes.file}: class {last.name} has value {last.value}; there are {MAX_BITS} bits")
    size = 16 if last.value < 16 else 32
    return Bands(names=("classes",), data_type=f"uint{size}", nodata=2.0**size - 1)


def _provenance(drawing: Drawing, ground: "_Ground", findings: Findings) -> Provenance:
    extract = drawing.extract
    told = drawing.snapshot or extract.snapshot
    if told is None and findings.newest is None:
        raise UsageError(f"{extract.path}: tells no date of the map, nor do its objects; give --datetime")
    return Provenance(
        step=ASSET,
        inputs=[extract.path.name],
        parameters={"classes": drawing.classes.file},
        dates=[date for date in (told or findings.newest,) if date is not None],
        notes={
            **({} if told else {"date_from": "youngest edit of what was read"}),
            "areas": findings.areas,
            "lines": findings.lines,
            "incomplete_multipolygons": findings.incomplete,
            "cut_ways": findings.cut,
            "outside_percent": ground.outside_percent,
        },
    )


# --- from degrees to the grid -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Placed:
    """An area on the grid, with what decides when it is drawn: the smaller tuple first."""

    order: tuple[int, float, int, int]
    """Layer, minus its area, id, value of its class."""
    bounds: Bounds
    area: BaseGeometry


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ground:
    """How degrees become places on a target."""

    to_target: pyproj.Transformer
    metre: float
    """In units of the CRS."""
    narrowest: float
    """Width of a line, in units of the CRS."""
    near: Bounds
    """What of the Earth can reach the target, in degrees."""
    rim: BaseGeometry | None
    """Where the extract ends, in the CRS; None where that is nowhere on the target."""
    outside_percent: float

    def place(self, shapes: Shapes) -> Iterator[_Placed]:
        """Move shapes to the target, and make areas of lines."""
        moved = self._moved(shapes.geometries)
        lines = shapes.widths > 0
        widths = np.maximum(shapes.widths[lines] * self.metre, self.narrowest)
        moved[lines] = shapely.buffer(moved[lines], widths / 2, quad_segs=_ROUND)
        sizes, boxes = shapely.area(moved), shapely.bounds(moved)
        for number, each in enumerate(shapes.classes):
            if np.isfinite(boxes[number]).all():
                order = (each.layer, -float(sizes[number]), int(shapes.ids[number]), each.value)
                yield _Placed(order, Bounds(*boxes[number].tolist()), moved[number])

    def _moved(self, geometries: Geometries) -> Geometries:
        """Move geometries; of one that reaches to where the CRS ends, what is near the target."""
        moved: Geometries = _move(geometries, self.to_target)
        endless = ~np.isfinite(shapely.bounds(moved)).all(axis=1)
        near = shapely.intersection(shapely.make_valid(geometries[endless]), shapely.box(*self.near))
        moved[endless] = _move(near, self.to_target)
        return moved


def _ground(drawing: Drawing) -> _Ground:
    target, path = drawing.target, drawing.extract.path
    crs = pyproj.CRS.from_user_input(target.crs)
    if not crs.is_projected:
        raise UsageError(
            f"{target.crs}: widths of lines are in metres; name a projected CRS, such as that of the UTM zone"
        )
    metre = 1 / crs.axis_info[0].unit_conversion_factor
    to_target = pyproj.Transformer.from_crs(_DEGREES, crs, always_xy=True)
    wide = target.bounds.padded(drawing.classes.max_width() * metre + target.resolution)
    near = Bounds(*to_target.transform_bounds(*wide, direction="INVERSE"))
    if not near.left < near.right or not np.isfinite(near).all():
        raise UsageError("a grid across 180 degrees, or off the Earth; prepare each side by itself")
    known = shapely.intersection(drawing.outline, shapely.box(*near.padded(_EDGE)))
    inside = _move(shapely.segmentize(known, _EDGE), to_target)
    box = shapely.box(*target.bounds)
    share = shapely.intersection(shapely.make_valid(inside), box).area / box.area
    if share == 0:
        lies, grid = (" ".join(f"{value:.4g}" for value in each) for each in (drawing.outline.bounds, near))
        raise RasterError(f"{path}: does not meet the grid: it lies at {lies}, the grid at {grid} (degrees)")
    return _Ground(
        to_target=to_target,
        metre=metre,
        narrowest=_NARROWEST * target.resolution,
        near=near,
        rim=None if inside.contains(box) else inside,
        outside_percent=round(100 * (1 - share), 2),
    )


def _move(geometries: Any, transformer: pyproj.Transformer) -> Any:
    return shapely.transform(geometries, transformer.transform, interleaved=False)


# --- shapes on disk ---------------------------------------------------------------------------------------------------


class _Spool:
    """Shapes by the blocks that they touch, in a file for each block."""

    def __init__(self, folder: Path, target: Target) -> None:
        self._folder, self._target = folder, target
        self._held: dict[Path, bytearray] = defaultdict(bytearray)
        self._bytes = 0

    def add(self, shapes: Iterable[_Placed]) -> None:
        """Take shapes in any order. Raises ``BuildError`` where they cannot be kept."""
        for shape in shapes:
            for path, area in self._pieces(shape):
                wkb = shapely.to_wkb(area)
                record = _HEAD.pack(*shape.order, len(wkb)) + wkb
                self._held[path] += record
                self._bytes += len(record)
                if self._bytes > _HELD:
                    self.flush()

    def _pieces(self, shape: _Placed) -> Iterator[tuple[Path, BaseGeometry]]:
        """Cut a shape along blocks, a little beyond each: GDAL looks at every edge in every row.

        What is not valid stays whole, since only all of its edges tell what is inside.
        """
        blocks = list(self._blocks(shape.bounds))
        if len(blocks) == 1 or not shapely.is_valid(shape.area):
            yield from ((_block_file(self._folder, *block), shape.area) for block in blocks)
            return
        for block in blocks:
            piece = shapely.clip_by_rect(shape.area, *self._box(*block))
            if not piece.is_empty:
                yield _block_file(self._folder, *block), piece

    def _blocks(self, box: Bounds) -> Iterator[tuple[int, int]]:
        """Give row and column of the blocks that a box touches."""
        left, _, _, top = self._target.bounds
        side, (rows, columns) = BLOCK * self._target.resolution, self._target.shape
        for row in _span(top - box.top, top - box.bottom, side, rows):
            for column in _span(box.left - left, box.right - left, side, columns):
                yield row, column

    def _box(self, row: int, column: int) -> Bounds:
        window = Window(column * BLOCK, row * BLOCK, BLOCK, BLOCK)
        return _window_bounds(self._target, window).padded(_MARGIN * self._target.resolution)

    def flush(self) -> None:
        """Write down what is held. Raises ``BuildError``."""
        for path, records in self._held.items():
            with writing_scratch(path), path.open("ab") as stream:
                stream.write(records)
        self._held.clear()
        self._bytes = 0


def _span(low: float, high: float, side: float, pixels: int) -> range:
    """Give the blocks from ``low`` to ``high``, both in units of the CRS from the first block's beginning."""
    return range(max(math.floor(low / side), 0), min(math.floor(high / side) + 1, math.ceil(pixels / BLOCK)))


def _block_file(folder: Path, row: int, column: int) -> Path:
    return folder / f"{row}_{column}.shapes"


def _read_block(folder: Path, window: Window) -> tuple[list[int], Geometries]:
    """Give the values and the areas of a block in the order in which they are drawn."""
    path = _block_file(folder, window.row_off // BLOCK, window.col_off // BLOCK)
    records = path.read_bytes() if path.exists() else b""
    found, start = [], 0
    while start < len(records):
        *order, size = _HEAD.unpack_from(records, start)
        start += _HEAD.size + size
        found.append((tuple(order), records[start - size : start]))
    found.sort()
    return [order[-1] for order, _ in found], shapely.from_wkb(np.array([wkb for _, wkb in found], object))


def _window_bounds(target: Target, window: Window) -> Bounds:
    left, top = target.transform @ (window.col_off, window.row_off)
    size = target.resolution
    return Bounds(left, top - window.height * size, left + window.width * size, top)


# --- blocks -----------------------------------------------------------------------------------------------------------


def class_block(folder: Path, target: Target, rim: BaseGeometry | None, window: Window) -> Pixels:
    """Draw a block of classes, (1, rows, columns)."""
    pixels = _burn(*_read_block(folder, window), target, window)
    pixels[_outside(rim, target, window)] = NODATA
    return pixels[None]


def bit_block(folder: Path, target: Target, rim: BaseGeometry | None, bands: Bands, window: Window) -> Pixels:
    """Draw a block with a bit for each class, (1, rows, columns)."""
    pixels = np.zeros((window.height, window.width), bands.data_type)
    values, areas = _read_block(folder, window)
    for value in set(values):
        chosen = areas[np.array(values) == value]
        pixels |= _burn([1] * len(chosen), chosen, target, window).astype(bands.data_type) << (value - 1)
    pixels[_outside(rim, target, window)] = int(bands.nodata)
    return pixels[None]


def _outside(rim: BaseGeometry | None, target: Target, window: Window) -> npt.NDArray[np.bool_]:
    """Tell which pixels of a block, (rows, columns), lie outside a rim."""
    if rim is None or rim.contains(shapely.box(*_window_bounds(target, window))):
        return np.zeros((window.height, window.width), np.bool_)
    return np.asarray(_burn([1], np.array([rim]), target, window) == 0)


def _burn(values: Sequence[int], areas: Geometries, target: Target, window: Window) -> npt.NDArray[np.uint8]:
    shapes = list(_polygons(values, areas))
    shape = (window.height, window.width)
    if not shapes:
        return np.full(shape, UNMAPPED, np.uint8)
    place = target.transform @ Affine.translation(window.col_off, window.row_off)
    drawn = rasterize(shapes, out_shape=shape, fill=UNMAPPED, transform=place, dtype="uint8")
    return np.asarray(drawn, np.uint8)


def _polygons(values: Sequence[int], areas: Geometries) -> Iterator[tuple[dict[str, Any], int]]:
    """Give polygons as GeoJSON with their values: lists, which rasterio reads much faster than shapely's own points."""
    parts, owner = shapely.get_parts(areas, return_index=True)
    filled = (shapely.get_type_id(parts) == shapely.GeometryType.POLYGON) & ~shapely.is_empty(parts)
    if not filled.any():
        return
    owner = owner[filled]
    rings, part = shapely.get_rings(parts[filled], return_index=True)
    points, ring = shapely.get_coordinates(rings, return_index=True)
    lines = np.split(points, np.flatnonzero(np.diff(ring)) + 1)
    for number, group in itertools.groupby(zip(part.tolist(), lines, strict=True), key=itemgetter(0)):
        yield {"type": "Polygon", "coordinates": [line.tolist() for _, line in group]}, values[owner[number]]
