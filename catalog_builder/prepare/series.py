"""A time series of co-registered Sentinel-1 rasters: which file and band holds which date and polarisation.

Nothing is guessed. Polarisations come from options, names of bands or names of files; dates from a table, names of
bands, names of files or tags; units from an option or tags. What contradicts itself is an error that names both sides.
"""

import csv
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import partial
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rasterio.io import DatasetReader
from rasterio.windows import Window

from catalog_builder.errors import RasterError, UsageError
from catalog_builder.placement import same_crs
from catalog_builder.prepare.target import Target, target_like
from catalog_builder.raster import RasterHeader, is_valid, open_source, read_header
from catalog_builder.template import same_nodata

POLARIZATIONS = ("VV", "VH")
Values = npt.NDArray[np.float64]
"""(rows, columns), NaN where there is no measurement"""

_TOKEN = re.compile(r"(?<![A-Za-z0-9])(VV|VH)(?![A-Za-z0-9])", re.IGNORECASE)
_DATE = re.compile(r"(?<!\d)(\d{8}|\d{4}-\d\d-\d\d)(?:[Tt_]?(\d{6}))?(?![\dA-Za-z])")
_PRODUCT = re.compile(
    r"S1(?P<unit>[A-D])[-_].*?(?P<start>\d{8}T\d{6})[-_]\d{8}T\d{6}[-_](?P<orbit>\d{6})[-_]", re.IGNORECASE
)
"""Names of products (``S1A_IW_GRDH_1SDV_<start>_<stop>_<absolute orbit>_…``) and of the rasters in them."""
_DATE_TAGS = ("ACQUISITION_DATETIME", "ACQUISITION_DATE", "ACQUISITION_TIME")
_UNIT_TAGS = ("UNITS", "UNIT")
_ORBIT_TAGS = ("RELATIVE_ORBIT", "RELATIVE_ORBIT_NUMBER")
_UNITS = {"db": True, "decibel": True, "decibels": True, "linear": False, "1": False, "m2/m2": False, "power": False}
_ORBIT_SHIFT = {"A": 73, "B": 27}
_ORBITS = 175
"""Relative orbits in a cycle of 12 days."""
_SAME_PIXELS = 1e-3
"""Share of a pixel by which corners may differ: what is lost in the digits of a header."""
_DECIBELS = (-100.0, 60.0)
"""Backscatter of the Earth lies well inside; what does not is a nodata value or lacks its scale."""
_LEAST_POWER = -1.0
"""Subtracted noise leaves powers a little below 0, but none like this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """One polarisation of one date: a band of a file."""

    path: Path
    band: int
    """Counted from 1."""
    nodata: float | None
    has_mask: bool
    scale: float
    offset: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One date."""

    when: datetime
    orbit: int | None
    """Relative orbit, 1 to 175; None where nothing tells."""
    planes: tuple[Plane, Plane]
    """VV and VH."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of its files, each once."""
        return tuple(dict.fromkeys(plane.path.name for plane in self.planes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What a table says of a file, or of a band of it."""

    when: datetime
    orbit: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Images on one grid, the earliest first."""

    images: tuple[Image, ...]
    decibels: bool
    """Whether values are decibels; linear power otherwise."""
    grid: Target
    shift: tuple[int, int] = (0, 0)
    """Row and column of the series' grid at which the output begins."""

    @property
    def dates(self) -> tuple[datetime, ...]:
        """When the images were taken, in UTC."""
        return tuple(image.when for image in self.images)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all files, each once, by date."""
        return tuple(dict.fromkeys(name for image in self.images for name in image.names))

    @property
    def orbits(self) -> tuple[int, ...]:
        """The relative orbits that are known, sorted."""
        return tuple(sorted({image.orbit for image in self.images if image.orbit is not None}))

    def on(self, target: Target) -> "Series":
        """Give the series as it is read on ``target``, whose pixels are pixels of it. Raises ``UsageError``."""
        return replace(self, shift=_shift(self.grid, target))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How inputs are to be understood."""

    decibels: bool | None = None
    """None: as tags say."""
    scale: float | None = None
    """What stored values are multiplied with; None: as the file says."""
    nodata: float | None = None
    """For files that declare none."""
    bands: tuple[int, int] | None = None
    """VV and VH of files of one date."""
    table: Mapping[tuple[str, int], Row] | None = None
    """By file name and band; band 0 speaks for all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which images are wanted."""

    period: tuple[date, date] | None = None
    """First and last day, both of it."""
    orbit: int | None = None
    any_orbit: bool = False
    nearest: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A plane with what is known of it."""

    polarization: str
    when: datetime
    orbit: int | None
    decibels: bool
    plane: Plane

    @property
    def where(self) -> str:
        return f"{self.plane.path} (band {self.plane.band})"


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """What a file says of itself, read once."""

    header: RasterHeader
    descriptions: tuple[str, ...]
    units: tuple[str, ...]
    tags: Mapping[str, str]

    @property
    def path(self) -> Path:
        return self.header.path


# --- dates, tables, orbits --------------------------------------------------------------------------------------------


def parse_date(text: str, where: str) -> datetime:
    """Parse ``2018-01-15``, ``20180115T172018``, ``2018-01-15T17:20:18Z`` or TIFF's ``2018:01:15 17:20:18`` as UTC.

    Raises ``UsageError`` naming ``where`` and the text.
    """
    words = text.strip()
    if re.fullmatch(r"\d{4}:\d\d:\d\d( .*)?", words):
        words = words.replace(":", "-", 2)
    try:
        found = datetime.fromisoformat(words)
    except ValueError as error:
        raise UsageError(f"{where}: {text!r} is no date such as 2018-01-15 or 2018-01-15T17:20:18Z") from error
    try:
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except OverflowError as error:
        raise UsageError(f"{where}: {text!r} is beyond the calendar") from error


def date_in_name(name: str) -> datetime | None:
    """Find the date in the name of a file or band: the start of a Sentinel-1 product, else the one date there is.

    Raises ``UsageError`` for a name with several.
    """
    product = _PRODUCT.search(name)
    if product is not None:
        return parse_date(product["start"].upper(), name)
    found: dict[date, datetime] = {}
    for match in _DATE.finditer(name):
        day, clock = match[1].replace("-", ""), match[2] or "000000"
        try:
            when = datetime.strptime(f"{day}{clock}", "%Y%m%d%H%M%S").replace(tzinfo=UTC)
        except ValueError:
            continue
        if when.year >= 1978:  # the first radar satellite: other numbers are no dates
            found[when.date()] = max(when, found.get(when.date(), when))
    if len(found) > 1:
        raise UsageError(f"{name}: more than one date ({', '.join(map(str, found))}); say which in a table: --dates")
    return next(iter(found.values()), None)


def orbit_in_name(name: str) -> int | None:
    """Compute the relative orbit from the absolute one in the name of a Sentinel-1 product; None where it has none.

    (absolute - 73) mod 175 + 1 for Sentinel-1A, (absolute - 27) mod 175 + 1 for Sentinel-1B (ESA, Sentinel-1 product
    definition). For later satellites a table has to tell.
    """
    product = _PRODUCT.search(name)
    shift = _ORBIT_SHIFT.get(product["unit"].upper()) if product is not None else None
    if product is None or shift is None:
        return None
    return (int(product["orbit"]) - shift) % _ORBITS + 1


def read_table(path: Path) -> dict[tuple[str, int], Row]:
    """Read a CSV table with the columns ``file``, ``date`` and perhaps ``orbit`` and ``band``.

    Gives its rows by file name and band; band 0 where the row is of a whole file. Raises ``UsageError``.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, skipinitialspace=True)
            rows = list(reader)
            columns = reader.fieldnames or []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: cannot read this table: {getattr(error, 'strerror', None) or error}") from error
    unknown = set(columns) - {"file", "date", "orbit", "band"}
    if unknown or not {"file", "date"} <= set(columns):
        raise UsageError(f"{path}: columns {', '.join(columns) or 'none'}; wanted: file,date and perhaps orbit,band")
    table: dict[tuple[str, int], Row] = {}
    for number, row in enumerate(rows, start=2):
        where = f"{path}: line {number}"
        key = Path(row["file"] or "").name, _whole(row.get("band"), f"{where}: band") or 0
        if key in table:
            raise UsageError(f"{where}: {row['file']!r} stands in the table twice")
        orbit = _whole(row.get("orbit"), f"{where}: orbit")
        table[key] = Row(when=parse_date(row["date"] or "", where), orbit=orbit)
    return table


def _whole(text: str | None, where: str) -> int | None:
    if text is None or not text.strip():
        return None
    words = text.strip()
    if not words.isdecimal() or len(words) > len(str(_ORBITS)) or not 1 <= int(words) <= _ORBITS:
        raise UsageError(f"{where} {words[:40]!r} is no number from 1 to {_ORBITS}")
    return int(words)


# --- files -> images --------------------------------------------------------------------------------------------------


def read_series(inputs: Sequence[Path], vh: Sequence[Path], reading: Reading, choice: Choice) -> Series:
    """Find the images in files and choose those that are wanted.

    ``inputs`` hold both polarisations, or VV alone where ``vh`` names the files of VH. Raises ``RasterError`` for files
    that are not what they should be or do not fit together, ``UsageError`` for a choice that leaves nothing.
    """
    _check_twice([*inputs, *vh])
    files = [(_read_file(path), polarization) for path, polarization in _with_polarization(inputs, vh)]
    grid = _common_grid([file.header for file, _ in files])
    found = [one for file, polarization in files for one in _planes(file, polarization, reading)]
    decibels = _common_units(found)
    images = _choose(_pair(found), choice)
    return Series(images=images, decibels=decibels, grid=grid)


def _check_twice(paths: Sequence[Path]) -> None:
    seen: dict[Path, Path] = {}
    for path in paths:
        if path.resolve() in seen:
            raise UsageError(f"{path}: named twice")
        seen[path.resolve()] = path


def _with_polarization(inputs: Sequence[Path], vh: Sequence[Path]) -> Iterator[tuple[Path, str | None]]:
    yield from ((path, "VV" if vh else None) for path in inputs)
    yield from ((path, "VH") for path in vh)


def _read_file(path: Path) -> _File:
    header = read_header(path)
    if header.data_type.startswith("complex"):
        raise RasterError(f"{path}: {header.data_type} values; detected backscatter is wanted, in dB or linear power")
    with open_source(path) as dataset:
        return _File(
            header=header,
            descriptions=tuple(text or "" for text in dataset.descriptions),
            units=tuple(text or "" for text in dataset.units),
            tags={key.upper(): value for key, value in dataset.tags().items()},
        )


def _common_grid(headers: Sequence[RasterHeader]) -> Target:
    first = headers[0]
    for header in headers[1:]:
        difference = _difference(first, header)
        if difference:
            raise RasterError(f"{header.path}: not on the grid of {first.path}: {difference}")
    return target_like(first.path)


def _difference(one: RasterHeader, other: RasterHeader) -> str:
    """Say how the grid of ``other`` differs; nothing where it does not."""
    if not same_crs(one.crs, other.crs):
        return f"{other.crs} for {one.crs}"
    if one.shape != other.shape:
        return f"{other.shape[1]} x {other.shape[0]} pixels for {one.shape[1]} x {one.shape[0]}"
    width, height = one.resolution
    for corner, here, there in zip(("left", "bottom", "right", "top"), one.bounds, other.bounds, strict=True):
        pixel = width if corner in ("left", "right") else height
        if abs(here - there) > _SAME_PIXELS * pixel:
            return f"{corner} {there:.10g} for {here:.10g}"
    return ""


def _planes(file: _File, polarization: str | None, reading: Reading) -> Iterator[_Found]:
    for band, name, dated in _bands(file, polarization, reading):
        row = _row(file, band, reading)
        yield _Found(
            polarization=name,
            when=row.when if row is not None else _date(file, band, dated=dated),
            orbit=_orbit(file, row),
            decibels=_decibels(file, band, reading),
            plane=_plane(file, band, reading),
        )


def _bands(file: _File, polarization: str | None, reading: Reading) -> Iterator[tuple[int, str, bool]]:
    """Give the bands to be read: number, polarisation, whether each band is a date of its own."""
    count = file.header.count
    if reading.bands is not None:
        for name, band in zip(POLARIZATIONS, reading.bands, strict=True):
            if not 1 <= band <= count:
                raise UsageError(f"{file.path}: has no band {band} for {name}, only {count}")
            yield band, name, False
        return
    named = {band: tokens for band, text in enumerate(file.descriptions, start=1) if (tokens := _tokens(text))}
    if polarization is None and named:
        for band, tokens in named.items():
            yield band, _one_token(tokens, f"{file.path}: band {band}"), False
        return
    if polarization is None:
        tokens = _tokens(file.path.name)
        if not tokens:
            raise RasterError(
                f"{file.path}: neither its name nor its bands say which is VV and which VH; "
                "give --vv-band and --vh-band, or --vh for the files of VH"
            )
        polarization = _one_token(tokens, f"{file.path}")
    yield from ((band, polarization, count > 1) for band in range(1, count + 1))


def _tokens(text: str) -> set[str]:
    return {match.upper() for match in _TOKEN.findall(text)}


def _one_token(tokens: set[str], where: str) -> str:
    if len(tokens) > 1:
        raise RasterError(f"{where}: named VV and VH at once; give --vv-band and --vh-band, or --vh")
    return next(iter(tokens))


def _row(file: _File, band: int, reading: Reading) -> Row | None:
    if reading.table is None:
        return None
    row = reading.table.get((file.path.name, band)) or reading.table.get((file.path.name, 0))
    if row is None:
        raise UsageError(f"{file.path}: no date of band {band} in the table of --dates")
    return row


def _date(file: _File, band: int, *, dated: bool) -> datetime:
    where = f"{file.path}: band {band}"
    try:
        own = date_in_name(file.descriptions[band - 1])
        if own is not None:
            return own
        named = None if dated else date_in_name(file.path.name)
        tagged = {name: parse_date(file.tags[name], name) for name in _DATE_TAGS if name in file.tags and not dated}
        if named is None and not tagged and not dated and "TIFFTAG_DATETIME" in file.tags:
            # A file with a date in its name was often processed on that of this tag.
            return parse_date(file.tags["TIFFTAG_DATETIME"], "TIFFTAG_DATETIME")
    except UsageError as error:
        raise RasterError(f"{where}: {error}") from error
    for name, when in tagged.items():
        if named is not None and when.date() != named.date():
            raise RasterError(f"{where}: {name} says {when.date()}, the name {named.date()}; say which with --dates")
    known = named or next(iter(tagged.values()), None)
    if known is None:
        raise RasterError(f"{where}: no date in its name or tags; give a table: --dates")
    return known


def _orbit(file: _File, row: Row | None) -> int | None:
    if row is not None and row.orbit is not None:
        return row.orbit
    for name in _ORBIT_TAGS:
        if file.tags.get(name, "").strip().isdecimal():
            return int(file.tags[name])
    return orbit_in_name(file.path.name)


def _decibels(file: _File, band: int, reading: Reading) -> bool:
    said = [file.units[band - 1], *(file.tags.get(name, "") for name in _UNIT_TAGS)]
    known = {_UNITS[text.strip().lower()] for text in said if text.strip().lower() in _UNITS}
    if reading.decibels is not None:
        known.add(reading.decibels)
    if not known:
        raise RasterError(f"{file.path}: band {band}: no tag says whether it is in dB; give --units db or linear")
    if len(known) > 1:
        by = "" if reading.decibels is None else f", --units {'db' if reading.decibels else 'linear'}"
        raise RasterError(f"{file.path}: band {band}: dB and linear at once: tag {' '.join(filter(None, said))}{by}")
    return known.pop()


def _plane(file: _File, band: int, reading: Reading) -> Plane:
    header = file.header
    scale, offset = header.scaling
    if reading.scale is not None and header.scaling != (1.0, 0.0) and not math.isclose(scale, reading.scale):
        raise UsageError(f"--scale {reading.scale:g}: {file.path} says that its scale is {scale:g}")
    if reading.nodata is not None and header.nodata is not None and not same_nodata(header.nodata, reading.nodata):
        raise UsageError(f"--nodata {reading.nodata:g}: {file.path} says that it is {header.nodata:g}")
    return Plane(
        path=file.path,
        band=band,
        nodata=header.nodata if reading.nodata is None else reading.nodata,
        has_mask=header.has_mask,
        scale=scale if reading.scale is None else reading.scale,
        offset=offset,
    )


def _common_units(found: Sequence[_Found]) -> bool:
    first = found[0]
    for one in found:
        if one.decibels != first.decibels:
            words = {True: "dB", False: "linear"}
            raise RasterError(
                f"{one.plane.path}: in {words[one.decibels]}, but {first.plane.path} is in {words[first.decibels]}"
            )
    return first.decibels


def _pair(found: Sequence[_Found]) -> list[Image]:
    """Join VV and VH of a date: of a day, and of an orbit where that is known."""
    groups: dict[tuple[date, int], dict[str, _Found]] = {}
    for one in found:
        group = groups.setdefault((one.when.date(), one.orbit or 0), {})
        other = group.setdefault(one.polarization, one)
        if other is not one:
            raise RasterError(
                f"{one.where} and {other.where} are both {one.polarization} of {one.when.date()}; leave one out, or "
                "join them first where they are parts of one pass"
            )
    return [_image(group) for _, group in sorted(groups.items(), key=lambda pair: pair[0])]


def _image(group: Mapping[str, _Found]) -> Image:
    here = next(iter(group.values()))
    for name in POLARIZATIONS:
        if name not in group:
            raise RasterError(f"{here.where}: {here.polarization} of {here.when.date()} has no {name} beside it")
    vv, vh = (group[name] for name in POLARIZATIONS)
    return Image(when=min(vv.when, vh.when), orbit=vv.orbit, planes=(vv.plane, vh.plane))


def _choose(images: Sequence[Image], choice: Choice) -> tuple[Image, ...]:
    span = f"{images[0].when.date()} to {images[-1].when.date()}"
    if choice.period is not None:
        first, last = choice.period
        images = [image for image in images if first <= image.when.date() <= last]
        if not images:
            raise UsageError(f"--period {first} {last}: no image; there are images of {span}")
    if choice.orbit is not None:
        images = _of_orbit(images, choice.orbit)
    if choice.nearest is not None:
        wanted = choice.nearest
        images = [min(images, key=lambda image: (abs((image.when.date() - wanted).days), image.when))]
    if not choice.any_orbit:
        _check_orbits(images)
    return tuple(sorted(images, key=attrgetter("when")))


def _of_orbit(images: Sequence[Image], orbit: int) -> list[Image]:
    for image in images:
        if image.orbit is None:
            raise UsageError(f"--orbit {orbit}: nothing tells the orbit of {image.names[0]}; add it to the table")
    chosen = [image for image in images if image.orbit == orbit]
    if not chosen:
        there = ", ".join(str(number) for number in sorted({image.orbit or 0 for image in images}))
        raise UsageError(f"--orbit {orbit}: no image; there are images of orbit {there}")
    return chosen


def _check_orbits(images: Sequence[Image]) -> None:
    first = images[0]
    for image in images:
        if image.orbit != first.orbit:
            raise RasterError(
                f"{image.names[0]} is of relative orbit {image.orbit or 'unknown'}, {first.names[0]} of "
                f"{first.orbit or 'unknown'}; name one with --orbit, or allow all with --any-orbit"
            )


# --- pixels -----------------------------------------------------------------------------------------------------------


def _shift(grid: Target, target: Target) -> tuple[int, int]:
    if not same_crs(grid.crs, target.crs):
        raise UsageError(f"the output is in {target.crs}, the images in {grid.crs}; nothing is warped here")
    if not math.isclose(grid.resolution, target.resolution, rel_tol=1e-9):
        raise UsageError(
            f"the output has pixels of {target.resolution:g}, the images of {grid.resolution:g}; nothing is warped here"
        )
    column = (target.corner[0] - grid.corner[0]) / grid.resolution
    row = (grid.corner[1] - target.corner[1]) / grid.resolution
    if max(abs(column - round(column)), abs(row - round(row))) > _SAME_PIXELS:
        raise UsageError(
            f"the output's corner {target.corner[0]:.10g}, {target.corner[1]:.10g} lies between pixels of the images, "
            f"whose corner is {grid.corner[0]:.10g}, {grid.corner[1]:.10g}; nothing is warped here"
        )
    shift = round(row), round(column)
    if any(at >= size or at + out <= 0 for at, size, out in zip(shift, grid.shape, target.shape, strict=True)):
        raise UsageError("the output lies beside the images")
    return shift


def read_values(series: Series, window: Window) -> Iterator[tuple[int, int, Values]]:
    """Read a window of the output, plane by plane: number of the image, 0 for VV or 1 for VH, values.

    Each polarisation comes in the order of dates. Values are in the units of the series, NaN where there is no
    measurement: nodata, outside of the images, or a linear power that is not above 0. One plane is held at a time, and
    a file is opened once as long as its bands follow one another. Raises ``RasterError`` naming file and value.
    """
    planes = [(number, side, plane) for number, image in enumerate(series.images) for side, plane in _sides(image)]
    if any(image.planes[0].path != image.planes[1].path for image in series.images):
        planes.sort(key=lambda entry: entry[1])
    for path, group in groupby(planes, key=lambda entry: entry[2].path):
        with open_source(path) as dataset:
            read = partial(_read_plane, dataset, series, window)
            yield from ((number, side, read(plane)) for number, side, plane in group)


def _sides(image: Image) -> Iterable[tuple[int, Plane]]:
    return enumerate(image.planes)


def _read_plane(dataset: DatasetReader, series: Series, window: Window, plane: Plane) -> Values:
    values = np.full((window.height, window.width), np.nan)
    top, left = window.row_off + series.shift[0], window.col_off + series.shift[1]
    rows, columns = series.grid.shape
    first_row, last_row = max(top, 0), min(top + window.height, rows)
    first_column, last_column = max(left, 0), min(left + window.width, columns)
    if first_row >= last_row or first_column >= last_column:
        return values
    inside = Window(first_column, first_row, last_column - first_column, last_row - first_row)
    stored = dataset.read(plane.band, window=inside)
    valid = is_valid(stored, plane.nodata)
    if plane.has_mask:
        valid &= dataset.read_masks(plane.band, window=inside) != 0
    part = values[first_row - top : last_row - top, first_column - left : last_column - left]
    np.copyto(part, _scaled(stored, plane), where=valid)
    _check_values(part, plane, decibels=series.decibels)
    return values


def _scaled(stored: npt.NDArray[Any], plane: Plane) -> Values:
    if plane.scale == 1 and plane.offset == 0:
        return stored.astype(np.float64)
    return np.asarray(stored * np.float64(plane.scale) + plane.offset)


def _check_values(values: Values, plane: Plane, *, decibels: bool) -> None:
    """Refuse what is no backscatter, and make what is no measurement NaN."""
    low, high = _DECIBELS if decibels else (_LEAST_POWER, math.inf)
    if decibels and low <= np.fmin.reduce(values, axis=None) and np.fmax.reduce(values, axis=None) <= high:
        return  # as is nearly always so
    values[np.isneginf(values)] = np.nan  # decibels of no power
    wrong = (values < low) | (values > high) | np.isposinf(values)
    if wrong.any():
        value = f"{plane.path}: band {plane.band}: {values[wrong][0]:g}"
        why = "no backscatter in dB; is it nodata, or without its --scale" if decibels else "no power; is it in dB"
        raise RasterError(f"{value} is {why}?")
    if not decibels:
        values[values <= 0] = np.nan
