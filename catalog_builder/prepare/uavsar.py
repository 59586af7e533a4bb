"""UAVSAR ground projected cross products (GRD) -> Pauli amplitudes on a grid of maps, averaged in power.

Files: JPL's "Polarimetric (PolSAR) Data Format" (https://uavsar.jpl.nasa.gov/science/documents/polsar-format.html).
Each is a bare array of rows, little-endian: HHHH, HVHV, VVVV float32, HHVV complex64, linear sigma nought, on a grid of
longitude and latitude. They are averages over looks of products of scattering amplitudes; HHVV is S_hh S_vv*.

What HVHV is: the format gives the three real powers as S_hh S_hh*, S_hv S_hv* and S_vv S_vv*. So HVHV is the power of
one cross-polar channel, |S_hv|^2, and not the sum of HV and VH: the product is a symmetrised covariance
(https://catalyst.earth/catalyst-system-files/help/references/gdb_r/UAVSAR.html) and has no file of VH. Other readers
agree: polsartools (``sensors/uavsar.py``, https://github.com/polsartools/polsartools) writes C22 of the covariance
matrix, which is 2 |S_hv|^2, as twice HVHV. Hence the factor 2 below, and the span HHHH + 2 HVHV + VVVV.

Pauli basis: k = (S_hh + S_vv, S_hh - S_vv, 2 S_hv) / sqrt(2) (Cloude and Pottier, "A review of target decomposition
theorems in radar polarimetry", IEEE TGRS 34(2), 1996, doi:10.1109/36.485127). Powers of a pixel therefore are
|S_hh -+ S_vv|^2 / 2 = (HHHH + VVVV -+ 2 Re HHVV) / 2 and 2 |S_hv|^2 = 2 HVHV; they sum to the span.

Averaging: the footprint of a target pixel lies turned on the GRD grid. It is taken for the box along rows and columns
of the GRD that has its centre and its area, and where the target's CRS is conformal, as UTM is, its second moments.
Each GRD pixel counts by the area that it shares with the box. A target pixel is valid where at least half of its box
lies on valid GRD pixels, and is the mean over that part. A GRD pixel is valid where all channels and their sum are
finite, no power is negative and the powers are not all 0, as they are off the swath.

Places: PROJ transforms the centre of each 32nd pixel along both axes, and boxes between are interpolated, bilinearly.
Where that could be off by more than a thousandth of a GRD pixel, as on coarse grids or around a pole, PROJ transforms
every centre. In UTM at 5 m and 36 degrees it is off by a ten-thousandth.
"""

import math
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj
from pyproj.aoi import AreaOfInterest
from rasterio.windows import Window

from catalog_builder.errors import RasterError, SourcesError
from catalog_builder.grid import Bounds
from catalog_builder.plan import utm_zone
from catalog_builder.prepare.annotation import CHANNELS, Annotation, read_annotation
from catalog_builder.prepare.output import Bands, BlockMaker, Blocks, Pixels, write_raster
from catalog_builder.prepare.provenance import Provenance
from catalog_builder.prepare.target import Target, target_of

GEOGRAPHIC = "EPSG:4326"
"""CRS of GRD files; coordinates are longitude, latitude here."""
RESOLUTION = 5.0
"""Metres a pixel of the grid that is taken where none is named."""
LEAST_SHARE = 0.5
"""Of a target pixel's area that lies on valid GRD pixels, for it to be valid."""
BANDS = Bands(names=("HH-VV", "HV", "HH+VV"), data_type="float32", nodata=math.nan)
"""Linear amplitudes; the squares of the three sum to the span."""

ATTRIBUTION = "UAVSAR data courtesy NASA/JPL-Caltech"

_LARGEST_WINDOW = 2**22
"""GRD pixels read at once; a target much coarser than the GRD is made in parts, so that memory stays flat."""
_PROBED_ROWS = 64
_PLAUSIBLE = 1e-9, 1e9
"""Powers that can be: noise is near 1e-6, the strongest reflectors near 1e5. Of swapped bytes, most are outside."""
_ROUNDING = 1e-6
"""Share of a pixel that is not there but by rounding, of float32."""
_SPACING = 32
"""Pixels from node to node, along both axes."""
_CELL = 2 * _SPACING
"""Pixels a side of what is interpolated, or is not: 3 x 3 nodes."""
_TOLERANCE = 1e-3
"""GRD pixels by which an interpolated box may be off."""
_STRIP = 128
"""Rows of a block that are made at once: few enough to stay in the processor's cache."""

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Boxes = Floats
"""Left, top, width and height of target pixels in the GRD, in its pixels from its corner: (4, rows, columns)."""
Grids = list[npt.NDArray[Any]]
"""The files of a scene, mapped, in the order of ``CHANNELS``."""
Part = tuple[slice, slice]
"""Rows, columns."""
Shares = tuple[npt.NDArray[np.intp], Floats]
"""Of the pixels of an axis: the number of the node before, and the share of the way to the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """The GRD files of a pass, with their annotation; sizes are checked."""

    annotation: Annotation
    files: tuple[Path, ...]
    """In the order of ``CHANNELS``."""

    @property
    def bounds(self) -> Bounds:
        """Box of the image in degrees."""
        rows, columns = self.annotation.shape
        west, north = self.annotation.transform @ (0, 0)
        east, south = self.annotation.transform @ (columns, rows)
        return Bounds(west, south, east, north)


def open_scene(path: Path, folder: Path | None = None) -> Scene:
    """Find the GRD files of an annotation in ``folder``, by default beside it, and check what they hold.

    Raises ``RasterError`` naming file and value: see ``read_annotation``; for a GRD file that is missing, or whose size
    is not what rows and columns say; for values that cannot be powers, as those of a big-endian file.
    """
    annotation = read_annotation(path)
    files = tuple((folder or path.parent) / annotation.names[channel] for channel in CHANNELS)
    for channel, file in zip(CHANNELS, files, strict=True):
        _check_size(file, channel, annotation)
    for channel, file in zip(CHANNELS, files, strict=True):
        _check_values(file, channel, annotation.shape)
    return Scene(annotation=annotation, files=files)


def default_target(scene: Scene) -> Target:
    """Give the grid of 5 m in the UTM zone of the image's centre that covers the image.

    Raises ``RasterError`` near the poles, which have no zone.
    """
    try:
        crs = utm_zone(scene.bounds, str(scene.annotation.path))
    except SourcesError as error:
        raise RasterError(f"{scene.annotation.path}: lies in no UTM zone; name the grid of the output") from error
    box = _transformer(scene.bounds, GEOGRAPHIC, crs).transform_bounds(*scene.bounds)
    return target_of(crs, RESOLUTION, Bounds(*box))


def block_maker(scene: Scene, target: Target) -> BlockMaker:
    """Give what makes the blocks of the Pauli image on a grid; see ``make_block``.

    Raises ``RasterError`` where the image does not meet the grid.
    """
    try:
        box = _transformer(scene.bounds, GEOGRAPHIC, target.crs).transform_bounds(*scene.bounds)
    except pyproj.exceptions.ProjError as error:
        raise _apart(scene, target) from error
    if not all(map(math.isfinite, box)) or Bounds(*box).intersection(target.bounds) is None:
        raise _apart(scene, target)
    return partial(make_block, scene, target)


def _apart(scene: Scene, target: Target) -> RasterError:
    box = ", ".join(f"{value:.4f}" for value in scene.bounds)
    return RasterError(f"{scene.annotation.path}: {box} (degrees) does not meet the grid of the output in {target.crs}")


def make_block(scene: Scene, target: Target, block: Window) -> Pixels:
    """Make the Pauli amplitudes of a block of a grid: (3, rows, columns) float32, NaN where there are none.

    A block depends on its pixels alone, however the grid is cut. Raises ``RasterError`` for a file that cannot be read.
    """
    shape, lattice = scene.annotation.shape, _lattice(scene, target, block)
    grids = [_open(file, channel, shape) for channel, file in zip(CHANNELS, scene.files, strict=True)]
    amplitudes = np.full((len(BANDS.names), block.height, block.width), np.nan, dtype=np.float32)
    for start in range(0, block.height, _STRIP):
        strip = amplitudes[:, start : start + _STRIP]
        top, left = block.row_off + start, block.col_off
        boxes = lattice.boxes(range(top, top + strip.shape[1]), range(left, left + block.width))
        for part, window in _parts(boxes):
            _average(grids, window, boxes[:, *part], strip[:, *part])
    return np.sqrt(amplitudes, out=amplitudes)


def prepare_pauli(scene: Scene, path: Path, target: Target, executor: Executor, progress: Blocks) -> Provenance:
    """Write the Pauli image of a pass on a grid, and tell what it is made of.

    Raises ``RasterError`` where the image does not meet the grid or cannot be read, ``BuildError`` where the output
    cannot be written.
    """
    made = provenance(scene)
    tags = {**made.tags(), "TIFFTAG_COPYRIGHT": ATTRIBUTION}
    write_raster(path, target, BANDS, block_maker(scene, target), tags, executor, progress)
    return made


def provenance(scene: Scene) -> Provenance:
    """Tell what the image is made of."""
    annotation = scene.annotation
    return Provenance(
        step="pauli",
        inputs=(annotation.path.name, *(file.name for file in scene.files)),
        parameters={"averaging": "power"},
        dates=(annotation.start,),
        notes={
            "granule": annotation.granule,
            "flight_line": annotation.flight_line,
            "heading": round(annotation.heading, 6),
            "mode": annotation.mode,
        },
    )


# --- files ------------------------------------------------------------------------------------------------------------


def _data_type(channel: str) -> np.dtype[Any]:
    return np.dtype("<c8" if channel == "HHVV" else "<f4")


def _check_size(file: Path, channel: str, annotation: Annotation) -> None:
    rows, columns = annotation.shape
    size = rows * columns * _data_type(channel).itemsize
    if not file.is_file():
        raise RasterError(f"{file}: no such file; {annotation.path.name} names it, give its --folder")
    found = file.stat().st_size
    if found != size:
        what = "truncated" if found < size else "too large"
        of = f"{annotation.path.name} says {rows} x {columns} pixels, {size:,} bytes"
        raise RasterError(f"{file}: {what}: {found:,} bytes, but {of}")


def _open(file: Path, channel: str, shape: tuple[int, int]) -> npt.NDArray[Any]:
    try:
        return np.memmap(file, dtype=_data_type(channel), mode="r", shape=shape).view(np.ndarray)
    except (OSError, ValueError) as error:
        raise RasterError(f"{file}: cannot read: {error}") from error


def _check_values(file: Path, channel: str, shape: tuple[int, int]) -> None:
    """Refuse a file most of whose values, of some rows, can be no powers or products of such."""
    step = max(1, shape[0] // _PROBED_ROWS)
    rows = _open(file, channel, shape)[step // 2 :: step]
    with np.errstate(invalid="ignore"):  # swapped bytes may make a NaN that signals
        values = np.abs(rows.astype(np.complex128)) if channel == "HHVV" else np.array(rows, dtype=np.float64)
    values = values[(values != 0) & ~np.isnan(values)]
    low, high = _PLAUSIBLE
    absurd = values[(values < low) | (values > high)]
    if 2 * absurd.size > values.size:
        value = float(absurd[absurd.size // 2])
        raise RasterError(
            f"{file}: values such as {value:.3g} are no linear powers; are its bytes big-endian, or is it dB?"
        )


def _read(grids: Grids, window: Part) -> tuple[Singles, npt.NDArray[np.bool_]]:
    """Read a window, which may reach beyond the GRD: Pauli powers (3, rows, columns), and where they are valid.

    Powers that are not are 0.
    """
    sizes = grids[0].shape
    inside = tuple(slice(max(axis.start, 0), min(axis.stop, size)) for axis, size in zip(window, sizes, strict=True))
    products = [grid[inside] for grid in grids]
    powers, valid = pauli_powers(*products), _valid(*products)
    if not valid.all():
        powers[:, ~valid] = 0.0
    if inside == window:
        return powers, valid
    beyond = [(axis.start - all_.start, all_.stop - axis.stop) for axis, all_ in zip(inside, window, strict=True)]
    return np.pad(powers, [(0, 0), *beyond]), np.pad(valid, beyond)


def _valid(hhhh: Singles, hvhv: Singles, vvvv: Singles, hhvv: npt.NDArray[np.complex64]) -> npt.NDArray[np.bool_]:
    """Tell which pixels have a measurement: finite, no power negative, not all 0."""
    with np.errstate(invalid="ignore", over="ignore"):
        total = hhhh + hvhv + vvvv
        positive = (hhhh >= 0) & (hvhv >= 0) & (vvvv >= 0) & (total > 0)
        return np.asarray(positive & (total < np.inf) & np.isfinite(hhvv))


def pauli_powers(hhhh: npt.ArrayLike, hvhv: npt.ArrayLike, vvvv: npt.ArrayLike, hhvv: npt.ArrayLike) -> Singles:
    """Give the powers of HH-VV, HV, HH+VV, one array of them for arrays of cross products of any one shape.

    Linear, as the products are, and of their precision; no power is below 0, as rounding in the products could make it.
    See the module for what the products are.
    """
    powers = np.empty((len(BANDS.names), *np.shape(hvhv)), dtype=np.float32)
    with np.errstate(invalid="ignore", over="ignore"):  # values that are not valid are taken out afterwards
        half = np.add(hhhh, vvvv, dtype=np.float32) / 2
        real = np.real(hhvv).astype(np.float32)
        np.subtract(half, real, out=powers[0, ...])
        np.multiply(hvhv, 2, out=powers[1, ...], dtype=np.float32)
        np.add(half, real, out=powers[2, ...])
        return np.maximum(powers, 0.0, out=powers)


# --- places -----------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def _transformer(bounds: Bounds, source: str, target: str) -> pyproj.Transformer:
    """Give what moves places from CRS to CRS near an image's ``bounds``, in degrees."""
    # The area settles which transformation between datums is taken, the same for all blocks.
    area: Any = AreaOfInterest(*bounds)
    return pyproj.Transformer.from_crs(source, target, always_xy=True, area_of_interest=area)


@dataclass(frozen=True, slots=True)
class _Lattice:
    """Boxes of some pixels of a grid, the nodes, from which those of the pixels between are interpolated."""

    scene: Scene
    target: Target
    rows: range
    """Of the grid, on which nodes are, from one rim of a cell to another; so are columns."""
    columns: range
    nodes: Boxes
    bent: npt.NDArray[np.intp]
    """(cells, 2): row and column of the cells in which interpolation will not do."""

    def boxes(self, rows: range, columns: range) -> Boxes:
        """Give the boxes of pixels between nodes."""
        boxes = _interpolate(self.nodes, _shares(rows, self.rows), _shares(columns, self.columns))
        for row, column in self.bent:
            down, across = _in_cell(rows, self.rows[2 * row]), _in_cell(columns, self.columns[2 * column])
            if down and across:
                boxes[:, *_within(down, rows, across, columns)] = _boxes(self.scene, self.target, down, across)
        return _here(boxes, self.scene.annotation.shape)


def _lattice(scene: Scene, target: Target, block: Window) -> _Lattice:
    """Give the lattice of a block. Grids that share their pixels share their nodes, counted from the CRS's origin."""
    size, (x, y) = target.resolution, target.corner
    # A quarter: corners are on whole or half pixels, or anywhere, but hardly there, where rounding would matter.
    rows = _nodes(block.row_off, block.height, math.floor(0.25 - y / size))
    columns = _nodes(block.col_off, block.width, math.floor(0.25 + x / size))
    nodes = _boxes(scene, target, rows, columns)
    return _Lattice(scene, target, rows, columns, nodes, np.argwhere(_bent(nodes)))


def _nodes(start: int, length: int, origin: int) -> range:
    """Give the nodes around pixels of an axis, which begins ``origin`` pixels from that of the CRS."""
    first = (start + origin) // _CELL * _CELL - origin
    cells = math.ceil((start + length - first) / _CELL)
    return range(first, first + cells * _CELL + 1, _SPACING)


def _in_cell(pixels: range, start: int) -> range:
    """Give those of an axis's pixels that are in the cell which begins at ``start``."""
    return range(max(pixels.start, start), min(pixels.stop, start + _CELL))


def _within(rows: range, all_rows: range, columns: range, all_columns: range) -> Part:
    """Give the place of some rows and columns among all."""
    top, left = rows.start - all_rows.start, columns.start - all_columns.start
    return slice(top, top + len(rows)), slice(left, left + len(columns))


def _boxes(scene: Scene, target: Target, rows: range, columns: range) -> Boxes:
    """Give the boxes of pixels: the centre, moved by PROJ, and the size, from the centres a step around it."""
    step, size, (left, top) = rows.step, target.resolution, target.corner
    down, across = (np.arange(axis.start - step, axis.stop + step, step) + 0.5 for axis in (rows, columns))
    xs, ys = np.meshgrid(left + across * size, top - down * size)
    longitude, latitude = _transformer(scene.bounds, target.crs, GEOGRAPHIC).transform(xs, ys)
    middle, transform = (scene.bounds.left + scene.bounds.right) / 2, scene.annotation.transform
    with np.errstate(invalid="ignore"):  # what PROJ cannot transform is infinite
        longitude = middle + (longitude - middle + 180.0) % 360.0 - 180.0
        column, width = _extent((longitude - transform.c) / transform.a, step)
        row, height = _extent((latitude - transform.f) / transform.e, step)
        return np.stack([column - width / 2, row - height / 2, width, height])


def _extent(place: Floats, step: int) -> tuple[Floats, Floats]:
    """Give centre and length of boxes along one axis of the GRD; of that length, a turned pixel keeps its area.

    From centres each ``step`` pixels, (rows + 2, columns + 2).
    """
    length = np.hypot(place[1:-1, 2:] - place[1:-1, :-2], place[2:, 1:-1] - place[:-2, 1:-1]) / (2 * step)
    return place[1:-1, 1:-1], length


def _shares(pixels: range, nodes: range) -> Shares:
    before, beyond = np.divmod(np.asarray(pixels) - nodes.start, _SPACING)
    return before, beyond / _SPACING


def _interpolate(nodes: Boxes, rows: Shares, columns: Shares) -> Boxes:
    """Give the boxes of pixels from those at nodes, bilinearly: along lines of nodes, then from line to line."""
    (row, down), (column, across) = rows, columns
    numbers = range(row[0], row[-1] + 1)
    edges = np.searchsorted(row, range(row[0], row[-1] + 2))
    boxes = np.empty((len(nodes), row.size, column.size))
    with np.errstate(invalid="ignore"):
        lines = nodes.take(column, axis=-1) + across * np.diff(nodes).take(column, axis=-1)
        for number, begin, end in zip(numbers, edges[:-1], edges[1:], strict=True):
            line, part = lines[:, number, None], boxes[:, begin:end]
            np.multiply(lines[:, number + 1, None] - line, down[begin:end, None], out=part)
            part += line
    return boxes


def _bent(nodes: Boxes) -> npt.NDArray[np.bool_]:
    """Tell in which cells (rows, columns) interpolated boxes may be off by more than ``_TOLERANCE``, or are unknown.

    A smooth function that is interpolated linearly is off by an eighth of its second difference at most.
    """
    cells = np.lib.stride_tricks.sliding_window_view(nodes, (3, 3), axis=(1, 2))[:, ::2, ::2]
    with np.errstate(invalid="ignore"):
        across, down = (abs(np.diff(cells, 2, axis)).max(axis=(0, -2, -1)) / 8 for axis in (-1, -2))
        return np.asarray(~(across + down <= _TOLERANCE))


def _here(boxes: Boxes, shape: tuple[int, int]) -> Boxes:
    """Leave what does not meet the GRD no area, so that no box around the edge of a map is large."""
    left, top, width, height = boxes
    with np.errstate(invalid="ignore"):
        here = (left + width > 0) & (left < shape[1]) & (top + height > 0) & (top < shape[0])
    if not here.all():
        boxes[:, ~here] = 0.0
    return boxes


def _window(boxes: Boxes) -> Part | None:
    """Give rows and columns of the GRD, and perhaps beyond it, on which boxes lie, or None where all lie beside it."""
    here = boxes[2] > 0
    if not here.any():
        return None
    left, top, width, height = boxes if here.all() else boxes[:, here]
    rows, columns = (
        slice(math.floor(low.min()), math.floor(low.max()) + math.ceil(length.max()) + 1)
        for low, length in ((top, height), (left, width))
    )
    return rows, columns


def _parts(boxes: Boxes) -> Iterator[tuple[Part, Part]]:
    """Cut boxes in parts whose window in the GRD is of bounded size, mostly one, and give each with its window."""
    pending = [(slice(0, boxes.shape[1]), slice(0, boxes.shape[2]))]
    while pending:
        rows, columns = pending.pop()
        window = _window(boxes[:, rows, columns])
        if window is None:
            continue
        height, width = rows.stop - rows.start, columns.stop - columns.start
        if math.prod(axis.stop - axis.start for axis in window) <= _LARGEST_WINDOW:
            yield (rows, columns), window
        elif height == width == 1:
            raise RasterError("a pixel of the output holds millions of pixels of the image; take a finer --resolution")
        elif height >= width:
            middle = rows.start + height // 2
            pending += [(slice(rows.start, middle), columns), (slice(middle, rows.stop), columns)]
        else:
            middle = columns.start + width // 2
            pending += [(rows, slice(columns.start, middle)), (rows, slice(middle, columns.stop))]


# --- averaging --------------------------------------------------------------------------------------------------------


def _average(grids: Grids, window: Part, boxes: Boxes, out: Singles) -> None:
    """Average Pauli powers over boxes in a window of the GRD into ``out``: (3, rows, columns), NaN so far.

    It stays NaN where less than ``LEAST_SHARE`` of a box is valid. Where all of a window is, no share is added up, and
    the result is the same to the bit.
    """
    powers, valid = _read(grids, window)
    if not valid.any():
        return
    planes = [plane.ravel() for plane in (powers if valid.all() else (*powers, valid.astype(np.float32)))]
    left, top, width, height = boxes.reshape(len(boxes), -1)
    column, row = np.floor(left), np.floor(top)
    length = window[1].stop - window[1].start
    index = ((row - window[0].start) * length + (column - window[1].start)).astype(np.intp)
    widths, heights = _overlaps(left - column, width), _overlaps(top - row, height)
    area, sums = np.zeros(index.size, dtype=np.float32), np.zeros((len(planes), index.size), dtype=np.float32)
    for (down, high), (across, wide) in product(enumerate(heights), enumerate(widths)):
        weight = high * wide
        area += weight
        some = _weighty(weight)
        for plane, sum_ in zip(planes, sums, strict=True):
            # Boxes without area may point anywhere: clip.
            values = plane[down * length + across :].take(index[some], mode="clip")
            values *= weight[some]
            sum_[some] += values
    known = area if valid.all() else sums[-1]
    seen = (known > 0) & (known >= (LEAST_SHARE - _ROUNDING) * area)
    out[...] = (sums[: len(powers)] / np.where(seen, known, np.nan)).reshape(out.shape)


def _weighty(weight: Singles) -> slice | npt.NDArray[np.intp]:
    """Tell where weights are not 0 where that is seldom, or else everywhere, which is quicker then."""
    some = weight > 0
    return slice(None) if 4 * np.count_nonzero(some) > some.size else np.flatnonzero(some)


def _overlaps(low: Floats, length: Floats) -> list[Singles]:
    """Give the lengths that boxes share with cells of an axis, one after the other: from that in which they begin.

    ``low`` is the distance from there, below 1.
    """
    begin = low.astype(np.float32)
    end = begin + length.astype(np.float32)
    others = (np.clip(end - cell, 0.0, 1.0) for cell in range(1, math.ceil(end.max())))
    return [np.minimum(end, 1.0) - begin, *others]
