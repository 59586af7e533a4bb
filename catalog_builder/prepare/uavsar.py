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
Each GRD pixel counts by the area that it shares with the box. Centres are transformed exactly, by PROJ. A target pixel
is valid where at least half of its box lies on valid GRD pixels, and is the mean over that part. A GRD pixel is valid
where all channels are finite, no power is negative and the powers are not all 0, as they are off the swath.
"""

import math
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
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

_LARGEST_WINDOW = 2**22
"""GRD pixels read at once; a target much coarser than the GRD is made in parts, so that memory stays flat."""
_PROBED_ROWS = 64
_PLAUSIBLE = 1e-9, 1e9
"""Powers that can be: noise is near 1e-6, the strongest reflectors near 1e5. Of swapped bytes, most are outside."""
_OUTSIDE = -1e6
"""Place in the GRD of a target pixel that is nowhere in it."""
_ROUNDING = 1e-9
"""Share of a pixel that is not there but by rounding."""

Floats = npt.NDArray[np.float64]


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
    box = _transformer(scene, GEOGRAPHIC, crs).transform_bounds(*scene.bounds)
    return target_of(crs, RESOLUTION, Bounds(*box))


def block_maker(scene: Scene, target: Target) -> BlockMaker:
    """Give what makes the blocks of the Pauli image on a grid; see ``make_block``.

    Raises ``RasterError`` where the image does not meet the grid.
    """
    try:
        box = _transformer(scene, GEOGRAPHIC, target.crs).transform_bounds(*scene.bounds)
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
    places = _places(scene, target, block)
    powers = np.full((len(BANDS.names), *places.shape), np.nan)
    for part in _parts(places, scene.annotation.shape):
        powers[:, *part] = _average(scene, places.part(*part))
    return np.asarray(np.sqrt(powers), dtype=np.float32)


def prepare_pauli(scene: Scene, path: Path, target: Target, executor: Executor, progress: Blocks) -> Provenance:
    """Write the Pauli image of a pass on a grid, and tell what it is made of.

    Raises ``RasterError`` where the image does not meet the grid or cannot be read, ``BuildError`` where the output
    cannot be written.
    """
    made = provenance(scene)
    write_raster(path, target, BANDS, block_maker(scene, target), made.tags(), executor, progress)
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
        return np.memmap(file, dtype=_data_type(channel), mode="r", shape=shape)
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


def _read(scene: Scene, window: tuple[slice, slice]) -> tuple[Floats, Floats]:
    """Read rows and columns of the GRD: Pauli powers (3, rows, columns), and 1 where valid; 0 where not, in both."""
    files = zip(CHANNELS, scene.files, strict=True)
    hhhh, hvhv, vvvv, hhvv = (np.array(_open(file, name, scene.annotation.shape)[window]) for name, file in files)
    powers = np.stack([hhhh, hvhv, vvvv])
    valid = np.isfinite(powers).all(axis=0) & np.isfinite(hhvv) & (powers >= 0).all(axis=0) & (powers > 0).any(axis=0)
    return np.where(valid, pauli_powers(hhhh, hvhv, vvvv, hhvv), 0.0), valid.astype(np.float64)


def pauli_powers(
    hhhh: npt.ArrayLike, hvhv: npt.ArrayLike, vvvv: npt.ArrayLike, hhvv: npt.ArrayLike
) -> npt.NDArray[np.float64]:
    """Give the powers of HH-VV, HV, HH+VV, one array of them for arrays of cross products of any one shape.

    Linear, as the products are; no power is below 0, as rounding in the products could make it. See the module for what
    the products are.
    """
    with np.errstate(invalid="ignore", over="ignore"):  # values that are not valid are taken out afterwards
        copolar = np.asarray(hhhh, dtype=np.float64) + np.asarray(vvvv, dtype=np.float64)
        product = 2 * np.real(np.asarray(hhvv, dtype=np.complex128))
        powers = np.stack([(copolar - product) / 2, 2 * np.asarray(hvhv, dtype=np.float64), (copolar + product) / 2])
        return np.maximum(powers, 0.0)


# --- places -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Boxes:
    """Boxes of target pixels in the GRD: left and right edge in columns, top and bottom in rows, corner (0, 0)."""

    left: Floats
    right: Floats
    top: Floats
    bottom: Floats

    @property
    def shape(self) -> tuple[int, ...]:
        return self.left.shape

    def part(self, rows: slice, columns: slice) -> "_Boxes":
        part = np.s_[rows, columns]
        return _Boxes(self.left[part], self.right[part], self.top[part], self.bottom[part])


def _transformer(scene: Scene, source: str, target: str) -> pyproj.Transformer:
    # The area settles which transformation between datums is taken, the same for all blocks.
    area: Any = AreaOfInterest(*scene.bounds)
    return pyproj.Transformer.from_crs(source, target, always_xy=True, area_of_interest=area)


def _places(scene: Scene, target: Target, block: Window) -> _Boxes:
    """Give the box of each pixel of a block: its centre, moved exactly, and its size, from the centres around it."""
    columns = np.arange(block.col_off - 1, block.col_off + block.width + 1) + 0.5
    rows = np.arange(block.row_off - 1, block.row_off + block.height + 1) + 0.5
    (left, top), size = target.corner, target.resolution
    xs, ys = np.meshgrid(left + columns * size, top - rows * size)
    longitude, latitude = _transformer(scene, target.crs, GEOGRAPHIC).transform(xs, ys)
    middle = (scene.bounds.left + scene.bounds.right) / 2
    transform, shape = scene.annotation.transform, scene.annotation.shape
    with np.errstate(invalid="ignore"):  # what PROJ cannot transform is infinite
        longitude = middle + (longitude - middle + 180.0) % 360.0 - 180.0
        boxes = _boxes((longitude - transform.c) / transform.a, (latitude - transform.f) / transform.e)
        here = (boxes.right > 0) & (boxes.left < shape[1]) & (boxes.bottom > 0) & (boxes.top < shape[0])
    # What is not there has no area, so that no box around the edge of a map is large.
    return _Boxes(*(np.where(here, side, _OUTSIDE) for side in (boxes.left, boxes.right, boxes.top, boxes.bottom)))


def _boxes(column: Floats, row: Floats) -> _Boxes:
    """Give the boxes around the inner ones of centres, (rows + 2, columns + 2), in columns and rows of the GRD."""
    (left, right), (top, bottom) = _sides(column), _sides(row)
    return _Boxes(left, right, top, bottom)


def _sides(place: Floats) -> tuple[Floats, Floats]:
    """Give both sides of boxes along one axis of the GRD, of the length at which a turned pixel keeps its area."""
    length = np.hypot(place[1:-1, 2:] - place[1:-1, :-2], place[2:, 1:-1] - place[:-2, 1:-1]) / 2
    centre = place[1:-1, 1:-1]
    return centre - length / 2, centre + length / 2


def _window(boxes: _Boxes, shape: tuple[int, int]) -> tuple[slice, slice] | None:
    """Give rows and columns of the GRD on which boxes lie, or None where all lie beside it."""
    here = boxes.right > boxes.left
    if not here.any():
        return None
    top, left = max(math.floor(boxes.top[here].min()), 0), max(math.floor(boxes.left[here].min()), 0)
    bottom = min(math.ceil(boxes.bottom[here].max()), shape[0])
    right = min(math.ceil(boxes.right[here].max()), shape[1])
    return slice(top, bottom), slice(left, right)


def _parts(boxes: _Boxes, shape: tuple[int, int]) -> Iterator[tuple[slice, slice]]:
    """Cut a block in parts (rows, columns) whose window in the GRD is of bounded size; mostly one."""
    pending = [(slice(0, boxes.shape[0]), slice(0, boxes.shape[1]))]
    while pending:
        rows, columns = pending.pop()
        window = _window(boxes.part(rows, columns), shape)
        if window is None:
            continue
        height, width = rows.stop - rows.start, columns.stop - columns.start
        if math.prod(part.stop - part.start for part in window) <= _LARGEST_WINDOW or height == width == 1:
            yield rows, columns
        elif height >= width:
            middle = rows.start + height // 2
            pending += [(slice(rows.start, middle), columns), (slice(middle, rows.stop), columns)]
        else:
            middle = columns.start + width // 2
            pending += [(rows, slice(columns.start, middle)), (rows, slice(middle, columns.stop))]


# --- averaging --------------------------------------------------------------------------------------------------------


def _average(scene: Scene, boxes: _Boxes) -> Floats:
    """Average Pauli powers over boxes: (3, rows, columns), NaN where less than ``LEAST_SHARE`` of a box is valid."""
    window = _window(boxes, scene.annotation.shape)
    if window is None:
        return np.full((len(BANDS.names), *boxes.shape), np.nan)
    powers, valid = _read(scene, window)
    sums, area = np.zeros((len(powers), *boxes.shape)), np.zeros(boxes.shape)
    for row, height in _overlaps(boxes.top, boxes.bottom, window[0]):
        for column, width in _overlaps(boxes.left, boxes.right, window[1]):
            weight = height * width * valid[row, column]
            area += weight
            sums += weight * powers[:, row, column]
    whole = (boxes.right - boxes.left) * (boxes.bottom - boxes.top)
    seen = (area > 0) & (area >= (LEAST_SHARE - _ROUNDING) * whole)
    return np.divide(sums, area, out=np.full_like(sums, np.nan), where=np.broadcast_to(seen, sums.shape))


def _overlaps(low: Floats, high: Floats, window: slice) -> Iterator[tuple[npt.NDArray[np.intp], Floats]]:
    """Give the cells of an axis that boxes meet, one after the other: index in the window, length shared, 0 outside."""
    first = np.floor(low)
    for step in range(math.ceil((high - low).max()) + 1):
        cell = first + step
        length = np.clip(np.minimum(high, cell + 1) - np.maximum(low, cell), 0.0, None)
        inside = (cell >= window.start) & (cell < window.stop)
        index = np.where(inside, cell - window.start, 0).astype(np.intp)
        yield index, np.where(inside, length, 0.0)
