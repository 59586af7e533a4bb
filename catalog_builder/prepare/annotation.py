"""Annotation files of UAVSAR polarimetric products (``.ann``): lines of ``key (unit) = value ; comment``.

The format is that of JPL's "Polarimetric (PolSAR) Data Format"
(https://uavsar.jpl.nasa.gov/science/documents/polsar-format.html). An annotation says of itself: "Search for
parameters/value rather than placement in file". So keys count, whatever the case of their letters, and lines without
``=`` do not; the unit may be missing, and a comment ends the value. ``grd_pwr.row_addr`` and ``grd_pwr.col_addr`` are,
in the words of its comments, "Center Latitude" and "Center Longitude of Upper Left Pixel of GRD Image": the corner of
the image is half a pixel away. ``set_phdg`` is the heading at the middle of the flight.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from affine import Affine

from catalog_builder.errors import RasterError
from catalog_builder.raster import MAX_PIXELS

CHANNELS = ("HHHH", "HVHV", "VVVV", "HHVV")
"""The cross products of which Pauli powers are made; HHHV and HVVV are not needed."""

_LARGEST = 2**20
"""Bytes: an annotation has some tens of thousands."""
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_TIME = re.compile(r"(\d{1,2})-([a-z]{3})-(\d{4})(?:[ t]+(\d{1,2}):(\d{2}):(\d{2}(?:\.\d+)?))?(?: *(?:utc|z))?", re.I)
_NAME = re.compile(r"(?P<site>\w+?)_(?P<line>\d{5})_(?P<flight>\d{5})_(?P<take>\d{3})_(?P<date>\d{6})_\w+", re.A)


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """What is needed of an annotation, read and judged."""

    path: Path
    names: Mapping[str, str]
    """Name of the GRD file of each of ``CHANNELS``."""
    granule: str
    """The product's name, such as ``lngley_05521_09059_000_090813_L090_CX_01``."""
    flight_line: str
    """Five digits of the product's name: three of the planned heading and two of a counter."""
    mode: str
    """Acquisition mode; always ``PolSAR``."""
    heading: float
    """Of the flight, in degrees from north over east, 0 to 360."""
    start: datetime
    end: datetime
    """Equal to ``start`` where the annotation tells one time only."""
    shape: tuple[int, int]
    """Rows, columns of the GRD image."""
    transform: Affine
    """Pixel (column, row), corner (0, 0) -> longitude, latitude in degrees (WGS 84); north up."""


@dataclass(frozen=True, slots=True)
class _Fields:
    """Values by their keys; says which key of which file is at fault."""

    path: Path
    values: Mapping[str, str]

    def find(self, *keys: str) -> tuple[str, str]:
        """Give the first of the keys that is there, and its value. Raises ``RasterError`` where none is."""
        for key in keys:
            value = self.values.get(key.casefold(), "")
            if value and value.upper() != "N/A":
                return key, value
        raise RasterError(f"{self.path}: no {' or '.join(map(repr, keys))}; is it the annotation of a UAVSAR GRD?")

    def has(self, key: str) -> bool:
        """Tell whether a key is there with a value."""
        return self.values.get(key.casefold(), "").upper() not in ("", "N/A")

    def number(self, *keys: str) -> float:
        """Give a finite number."""
        key, value = self.find(*keys)
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise RasterError(f"{self.path}: {key} = {value!r} is no number")
        return number

    def count(self, key: str) -> int:
        """Give a whole number above 0."""
        number = self.number(key)
        if number < 1 or number != int(number):
            raise RasterError(f"{self.path}: {key} = {number:g} is no number of pixels")
        return int(number)

    def time(self, *keys: str) -> tuple[datetime, datetime]:
        """Give first and last second of a time, which is a whole day where no hour is told."""
        key, value = self.find(*keys)
        try:
            return _time(value)
        except ValueError:
            raise RasterError(f"{self.path}: {key} = {value!r} is no time such as 13-Aug-2009 15:24:50 UTC") from None


def read_annotation(path: Path) -> Annotation:
    """Read the annotation of a UAVSAR GRD product.

    Raises ``RasterError`` naming file, key and value: for a file that cannot be read or is none, a key that is missing
    or absurd, a product of another mode, big-endian values, and GRD files of different products.
    """
    fields = _Fields(path, _values(_text(path)))
    names = {channel: _file_name(fields, channel) for channel in CHANNELS}
    granule, line = _granule(path, names)
    start, end = _interval(fields)
    _check_order(fields)
    shape = fields.count("grd_pwr.set_rows"), fields.count("grd_pwr.set_cols")
    _check_shape(fields, shape)
    return Annotation(
        path=path,
        names=names,
        granule=granule,
        flight_line=line,
        mode=_mode(fields),
        heading=fields.number("set_phdg", "Peg Heading") % 360.0,
        start=start,
        end=end,
        shape=shape,
        transform=_transform(fields, shape),
    )


def _text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            data = stream.read(_LARGEST + 1)
    except OSError as error:
        raise RasterError(f"{path}: cannot read: {error.strerror}") from error
    if len(data) > _LARGEST or b"\0" in data:
        raise RasterError(f"{path}: no annotation of UAVSAR, which is a text of some kilobytes; name the .ann file")
    return data.decode("utf-8", errors="replace")


def _values(text: str) -> dict[str, str]:
    """Give values by their keys in lower case, without units and comments."""
    values = {}
    for line in text.splitlines():
        key, sign, value = line.partition(";")[0].partition("=")
        if sign:
            values[" ".join(key.partition("(")[0].split()).casefold()] = value.strip()
    return values


def _time(text: str) -> tuple[datetime, datetime]:
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise ValueError(text)
    day, month, year, hour, minute, second = match.groups()
    date = datetime(int(year), _MONTHS.index(month.lower()) + 1, int(day), tzinfo=UTC)
    if hour is None:
        return date, date + timedelta(days=1, seconds=-1)
    if int(hour) > 23 or int(minute) > 59 or float(second) >= 61:
        raise ValueError(text)
    time = date + timedelta(hours=int(hour), minutes=int(minute), seconds=float(second))
    return time, time


def _interval(fields: _Fields) -> tuple[datetime, datetime]:
    start, end = fields.time("Start Time of Acquisition", "Date of Acquisition")
    if fields.has("Stop Time of Acquisition"):
        end = fields.time("Stop Time of Acquisition")[1]
    if end < start:
        raise RasterError(f"{fields.path}: Stop Time of Acquisition {end} lies before its start {start}")
    return start, end


def _file_name(fields: _Fields, channel: str) -> str:
    key, name = fields.find(f"grd{channel}")
    if Path(name).name != name or channel not in name or not name.endswith(".grd"):
        raise RasterError(f"{fields.path}: {key} = {name!r} is no name of a .grd file of {channel}")
    return name


def _granule(path: Path, names: Mapping[str, str]) -> tuple[str, str]:
    """Give the name of the product to which all files belong, and its flight line."""
    stems = {name.removesuffix(".grd").replace(channel, "", 1): name for channel, name in names.items()}
    if len(stems) > 1:
        raise RasterError(f"{path}: files of different products: {', '.join(stems.values())}")
    stem = next(iter(stems))
    match = _NAME.fullmatch(stem)
    if match is None:
        raise RasterError(f"{path}: {stem!r} does not name a flight line as site_line_flight_take_date_… does")
    return stem, match["line"]


def _mode(fields: _Fields) -> str:
    key, mode = fields.find("Acquisition Mode")
    if mode.casefold() != "polsar":
        raise RasterError(f"{fields.path}: {key} = {mode!r}; Pauli components need PolSAR, all polarisations of a pass")
    return "PolSAR"


def _check_order(fields: _Fields) -> None:
    for key in ("val_endi", "grd_pwr.val_endi", "grd_mag.val_endi"):
        order = fields.values.get(key, "")
        if "BIG" in order.upper():
            raise RasterError(f"{fields.path}: {key} = {order!r}; GRD files are little-endian, swap their bytes")


def _check_shape(fields: _Fields, shape: tuple[int, int]) -> None:
    rows, columns = shape
    if rows * columns > MAX_PIXELS:
        raise RasterError(
            f"{fields.path}: grd_pwr claims {columns} x {rows} pixels; at most {MAX_PIXELS:.0e} are accepted"
        )
    for key, expected in (("grd_mag.set_rows", rows), ("grd_mag.set_cols", columns)):
        if fields.has(key) and fields.count(key) != expected:
            power = key.replace("grd_mag", "grd_pwr")
            raise RasterError(f"{fields.path}: {key} = {fields.count(key)}, but {power} = {expected}")
    for key, size in (("grd_pwr.val_size", 4), ("grd_mag.val_size", 8)):
        if fields.has(key) and fields.number(key) != size:
            raise RasterError(
                f"{fields.path}: {key} = {fields.number(key):g} bytes a pixel; it is {size} in a GRD file"
            )


def _transform(fields: _Fields, shape: tuple[int, int]) -> Affine:
    latitude, longitude = fields.number("grd_pwr.row_addr"), fields.number("grd_pwr.col_addr")
    down, right = fields.number("grd_pwr.row_mult"), fields.number("grd_pwr.col_mult")
    if down >= 0 or right <= 0:
        raise RasterError(f"{fields.path}: grd_pwr.row_mult = {down:g}, col_mult = {right:g}; rows of a GRD go south")
    transform = Affine(right, 0.0, longitude - right / 2, 0.0, down, latitude - down / 2)
    west, north = transform @ (0, 0)
    east, south = transform @ (shape[1], shape[0])
    if max(north, -south) > 90 or max(east, -west) > 360:
        raise RasterError(
            f"{fields.path}: {west:g}, {south:g}, {east:g}, {north:g} is off the Earth; see grd_pwr.*_addr"
        )
    return transform
