"""Frames of maps: degrees <-> pixels, by an equal-area projection around the middle of what is shown.

Up to 60 degrees around its middle a map is Lambert's azimuthal equal-area projection, true to scale in the middle in
every direction; beyond, it is the whole world in the cylindrical equal-area projection (Snyder, Map Projections - A
Working Manual, USGS 1987, chapters 24 and 10). PROJ computes both on the ellipsoid of WGS 84.

Positions are arrays (n, 2): longitude and latitude in degrees, or x to the right and y down in pixels from the upper
left corner of the frame.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
from pyproj import Geod, Proj

Positions = npt.NDArray[np.float64]

_WIDEST = 60.0
"""Degrees from the middle to the farthest point of a map that is not the world's."""
_PARALLELS = (30.0, 45.0)
"""Between which the parallel of a world map lies that is true to scale."""
_WORLD_SOUTH, _WORLD_NORTH = -58.0, 84.0
_HALF = 179.9999
"""Degrees to both sides of the middle that are the whole world; at 180 the one side would be taken for the other."""
_EDGE = 24
"""Points along each edge by which boxes and frames are drawn and judged."""
_STEPS = (30.0, 20.0, 10.0, 5.0, 2.0, 1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
"""Degrees between lines of a graticule."""
_BASE = 40
"""Pixels over which the scale is taken."""


@lru_cache(maxsize=32)
def _proj(definition: str) -> Proj:
    return Proj(definition)


def loosened(ground: "Extent", share: float) -> "Extent":
    """Give an extent with a share of its sides more at each of them."""
    if ground.is_world:
        return ground
    across, high = share * (ground.right - ground.left), share * (ground.top - ground.bottom)
    return replace(
        ground,
        left=ground.left - across,
        bottom=ground.bottom - high,
        right=ground.right + across,
        top=ground.top + high,
    )


def _is_world(definition: str) -> bool:
    return "+proj=cea" in definition


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """Ground that a map has to show, in the map's projection; metres."""

    definition: str
    """As PROJ reads it."""
    longitude: float
    """Of the middle."""
    left: float
    bottom: float
    right: float
    top: float

    @property
    def aspect(self) -> float:
        """Width by height."""
        return (self.right - self.left) / (self.top - self.bottom)

    @property
    def is_world(self) -> bool:
        """Whether the whole world is shown."""
        return _is_world(self.definition)

    @property
    def span(self) -> float:
        """The longer side."""
        return max(self.right - self.left, self.top - self.bottom)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A round longitude or latitude at the edge of a frame."""

    text: str
    edge: Literal["bottom", "left"]
    place: float
    """Pixels from the left, or from the top."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A rectangle of ground as pixels."""

    definition: str
    longitude: float
    width: int
    height: int
    left: float
    """Metres of the left edge, in the projection."""
    top: float
    metres: float
    """Metres a pixel, in the projection."""

    def pixels(self, degrees: Positions) -> Positions:
        """Project positions; infinite where the projection ends."""
        x, y = _proj(self.definition)(degrees[:, 0], degrees[:, 1])
        return np.stack([(x - self.left) / self.metres, (self.top - y) / self.metres], axis=1)

    def degrees(self, pixels: Positions) -> Positions:
        """Undo ``pixels``; longitudes are within 180 degrees of the middle's."""
        x, y = self.left + pixels[:, 0] * self.metres, self.top - pixels[:, 1] * self.metres
        longitude, latitude = _proj(self.definition)(x, y, inverse=True)
        return np.stack([self.near(np.asarray(longitude)), latitude], axis=1)

    def near(self, longitude: Positions) -> Positions:
        """Turn longitudes so that they are within 180 degrees of the middle's."""
        return np.asarray((longitude - self.longitude + 180) % 360 - 180 + self.longitude)

    @property
    def name(self) -> str:
        """What the projection is called."""
        return f"{'Cylindrical' if self.is_world else 'Lambert azimuthal'} equal-area projection"

    @property
    def is_world(self) -> bool:
        """Whether the whole world is shown."""
        return _is_world(self.definition)

    @property
    def ground(self) -> float:
        """Metres on the ground that a pixel in the middle takes from west to east."""
        x, y = self.width / 2, self.height / 2
        (west, south), (east, north) = self.degrees(np.array([[x - _BASE / 2, y], [x + _BASE / 2, y]]))
        return float(Geod(ellps="WGS84").inv(west, south, east, north)[2]) / _BASE

    def window(self) -> tuple[float, float, float, float]:
        """Give west, south, east, north of a box in degrees that holds all that is seen."""
        along = np.linspace(0, 1, _EDGE + 1)
        x, y = (values.ravel() for values in np.meshgrid(along * self.width, along * self.height))
        seen = self.degrees(np.stack([x, y], axis=1))
        seen = seen[np.isfinite(seen).all(axis=1)]
        (west, south), (east, north) = seen.min(axis=0), seen.max(axis=0)
        poles = self.pixels(np.array([[self.longitude, -90.0], [self.longitude, 90.0]]))
        at_pole = [0 <= x <= self.width and 0 <= y <= self.height for x, y in poles]
        slack = 0.02 * (north - south) + 1e-6
        if any(at_pole) or east - west > 2 * 178:
            west, east = self.longitude - _HALF + slack, self.longitude + _HALF - slack
        south, north = -90.0 if at_pole[0] else south - slack, 90.0 if at_pole[1] else north + slack
        return float(west - slack), float(south), float(east + slack), float(north)


def outline(box: Sequence[float]) -> Positions:
    """Give points around a box (west, south, east, north), closed; past 180 degrees across the antimeridian."""
    west, south, east, north = box
    east += 360 if west > east else 0
    x, y = np.linspace(west, east, _EDGE + 1), np.linspace(south, north, _EDGE + 1)
    sides = [(x, np.full_like(x, south)), (np.full_like(y, east), y)]
    sides += [(x[::-1], np.full_like(x, north)), (np.full_like(y, west), y[::-1])]
    return np.concatenate([np.stack(side, axis=1) for side in sides])


def middle(longitudes: Positions) -> float:
    """Give the middle of the shortest arc that holds all longitudes, within -180 and 180 degrees."""
    around = np.unique(longitudes % 360)
    gaps = np.diff(around, append=around[0] + 360)
    widest = int(np.argmax(gaps))
    centre = around[widest] + gaps[widest] + (360 - gaps[widest]) / 2
    return float((centre + 180) % 360 - 180)


def extent(degrees: Positions) -> Extent:
    """Choose the projection for a map of positions, and find the ground that it has to show."""
    longitude = middle(degrees[:, 0])
    latitude = float(degrees[:, 1].min() + degrees[:, 1].max()) / 2
    if _radius(degrees, longitude, latitude) > _WIDEST:
        return _world(degrees, longitude, latitude)
    for last in (False, False, True):
        definition = f"+proj=laea +lat_0={latitude!r} +lon_0={longitude!r} +ellps=WGS84"
        x, y = _proj(definition)(degrees[:, 0], degrees[:, 1])
        left, bottom, right, top = (float(value) for value in (x.min(), y.min(), x.max(), y.max()))
        if not last:
            # The middle of the picture becomes that of the projection, where the scale is true.
            there = _proj(definition)((left + right) / 2, (bottom + top) / 2, inverse=True)
            longitude, latitude = round(float(there[0]), 6), round(float(there[1]), 6)
    return Extent(
        definition=definition, longitude=longitude, left=left, bottom=bottom, right=right, top=max(top, bottom + 1)
    )


def _radius(degrees: Positions, longitude: float, latitude: float) -> float:
    """Give the angle from a centre to the farthest position, in degrees, on a sphere."""
    lon, lat = np.radians(degrees[:, 0] - longitude), np.radians(degrees[:, 1])
    here = math.radians(latitude)
    cosine = math.sin(here) * np.sin(lat) + math.cos(here) * np.cos(lat) * np.cos(lon)
    return float(np.degrees(np.arccos(np.clip(cosine.min(), -1, 1))))


def _world(degrees: Positions, longitude: float, latitude: float) -> Extent:
    parallel = min(max(abs(latitude), _PARALLELS[0]), _PARALLELS[1])
    definition = f"+proj=cea +lat_ts={parallel!r} +lon_0={longitude!r} +ellps=WGS84"
    south, north = min(_WORLD_SOUTH, degrees[:, 1].min()), max(_WORLD_NORTH, degrees[:, 1].max())
    x, y = _proj(definition)([longitude - 179.999, longitude + 179.999], [south, north])
    return Extent(definition=definition, longitude=longitude, left=x[0], bottom=y[0], right=x[1], top=y[1])


def fit(ground: Extent, width: int, height: int, margin: float) -> Frame:
    """Fit an extent into a frame of pixels, with ``margin`` (a share of the frame's sides) left around it."""
    across, high = ground.right - ground.left, ground.top - ground.bottom
    if ground.is_world:
        margin = 0.0
    metres = max(across / width, high / height, 1e-3) / (1 - 2 * margin)
    left = (ground.left + ground.right - width * metres) / 2
    top = (ground.bottom + ground.top + height * metres) / 2
    return Frame(
        definition=ground.definition,
        longitude=ground.longitude,
        width=width,
        height=height,
        left=left,
        top=top,
        metres=metres,
    )


# --- graticule --------------------------------------------------------------------------------------------------------


def graticule(frame: Frame) -> tuple[list[Positions], list[Tick]]:
    """Give lines of round longitudes and latitudes in pixels, and where they meet the left and the bottom edge."""
    west, south, east, north = frame.window()
    shape = frame.width / frame.height
    down, across = _step(north - south, 3 if shape > 1.6 else 4), _step(east - west, 6 if shape > 1.6 else 4)
    meridians, parallels = _multiples(west, east, across), _multiples(max(south, -90), min(north, 90), down)
    lines = [np.stack([np.full(101, value), np.linspace(south, north, 101)], axis=1) for value in meridians]
    lines += [np.stack([np.linspace(west, east, 201), np.full(201, value)], axis=1) for value in parallels]
    along = np.linspace(0, frame.width, 401)
    bottom = frame.degrees(np.stack([along, np.full_like(along, frame.height)], axis=1))[:, 0]
    ticks = [
        Tick(text=_label(value, across, "EW"), edge="bottom", place=place)
        for value in meridians
        for place in _crossings(along, bottom, value)
    ]
    along = np.linspace(0, frame.height, 401)
    left = frame.degrees(np.stack([np.zeros_like(along), along], axis=1))[:, 1]
    ticks += [
        Tick(text=_label(value, down, "NS"), edge="left", place=place)
        for value in parallels
        for place in _crossings(along, left, value)
    ]
    return [frame.pixels(np.clip(line, [-np.inf, -90], [np.inf, 90])) for line in lines], ticks


def _step(span: float, least: int) -> float:
    """Give the widest step of which ``least`` or more fit into a span."""
    return next((step for step in _STEPS if span / step >= least), _STEPS[-1])


def _multiples(low: float, high: float, step: float) -> list[float]:
    return [round(number * step, 6) for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _crossings(places: Positions, values: Positions, value: float) -> Iterator[float]:
    """Find where a quantity known at places has a value; not where it jumps from one end of the world to the other."""
    with np.errstate(invalid="ignore"):
        before, after = values[:-1] - value, values[1:] - value
        found = np.flatnonzero((before * after <= 0) & (before != after) & (np.abs(before - after) < 90))
    seen = -np.inf
    for index in found:
        place = float(
            places[index] + (places[index + 1] - places[index]) * before[index] / (before[index] - after[index])
        )
        if place - seen > 1:
            yield place
            seen = place


def _label(value: float, step: float, letters: str) -> str:
    """Write degrees with as many decimals as the step has: ``5.25° E``, ``0°``."""
    value = (value + 180) % 360 - 180 if letters == "EW" else value
    decimals = 0 if step >= 1 else len(f"{step:g}".split(".")[1])
    if round(abs(value), decimals) in (0, 180 if letters == "EW" else None):
        return f"{abs(value):.{decimals}f}°"
    return f"{abs(value):.{decimals}f}° {letters[value < 0]}"
