"""The ``bbox`` and ``intersects`` of a search: boxes and geometries in degrees, longitude first.

A box whose west is greater than its east crosses the antimeridian, as RFC 7946 says; it is two boxes here.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from catalog_builder.errors import UsageError

Mask = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Boxes:
    """West, south, east, north of many boxes (degrees), each of shape (N,). NaN where an item has none."""

    west: Numbers
    south: Numbers
    east: Numbers
    north: Numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where items must be."""

    geometry: BaseGeometry
    boxes: tuple[tuple[float, float, float, float], ...]
    """West, south, east, north of boxes that hold the geometry; none crosses the antimeridian."""
    is_box: bool
    """Whether the geometry is no more than its boxes."""


def parse_bbox(numbers: Sequence[Any]) -> Place:
    """Read a box of 4 numbers, or of 6, of which heights are not looked at. Raises ``UsageError``."""
    try:
        values = [float(number) for number in numbers]
    except (TypeError, ValueError) as error:
        raise UsageError(f"bbox {list(numbers)}: not numbers") from error
    if len(values) not in (4, 6):
        raise UsageError(f"bbox {values}: has {len(values)} numbers; 4 are needed, west south east north, or 6")
    if not all(map(math.isfinite, values)):
        raise UsageError(f"bbox {values}: not finite")
    half = len(values) // 2
    (west, south), (east, north) = values[:2], values[half : half + 2]
    if len(values) == 6 and values[2] > values[5]:
        raise UsageError(f"bbox {values}: its lower height {values[2]:g} is above its upper, {values[5]:g}")
    if south > north:
        raise UsageError(f"bbox {values}: its south {south:g} is north of its north {north:g}; west south east north")
    if min(west, east) < -180 or max(west, east) > 180 or south < -90 or north > 90:
        raise UsageError(f"bbox {values}: outside of longitudes -180 to 180 and latitudes -90 to 90 (degrees)")
    boxes: tuple[tuple[float, float, float, float], ...] = ((west, south, east, north),)
    if west > east:
        boxes = ((west, south, 180.0, north), (-180.0, south, east, north))
    parts = [_box(box) for box in boxes]
    return Place(geometry=parts[0] if len(parts) == 1 else shapely.union_all(parts), boxes=boxes, is_box=True)


def _box(box: tuple[float, float, float, float]) -> BaseGeometry:
    """Give a box as the point or line that it is where it has no width."""
    west, south, east, north = box
    corners = sorted({(west, south), (east, north)})
    if len(corners) == 1:
        return shapely.Point(corners[0])
    return shapely.LineString(corners) if west == east or south == north else shapely.box(*box)


def parse_geometry(document: Mapping[str, Any] | str) -> Place:
    """Read a GeoJSON geometry, or a Feature with one. Raises ``UsageError``."""
    try:
        value = json.loads(document) if isinstance(document, str) else document
        if value.get("type") == "Feature":
            value = value["geometry"]
        if value.get("type") == "GeometryCollection" and not value.get("geometries"):
            raise ValueError("an empty collection")
        geometry = shapely.from_geojson(json.dumps(value))
    except (ValueError, TypeError, KeyError, AttributeError, shapely.errors.ShapelyError) as error:
        raise UsageError(f"intersects: not a GeoJSON geometry: {error}") from error
    if geometry.is_empty:
        raise UsageError("intersects: the geometry is empty")
    return geometry_place(geometry)


def geometry_place(geometry: BaseGeometry) -> Place:
    """Give a geometry as a place. Raises ``UsageError`` where it crosses itself or is not on the Earth."""
    if not geometry.is_valid:
        raise UsageError(f"intersects: not a valid geometry: {shapely.is_valid_reason(geometry)}")
    west, south, east, north = (float(number) for number in geometry.bounds)
    if not all(map(math.isfinite, (west, south, east, north))) or west < -180 or east > 180 or max(-south, north) > 90:
        raise UsageError(
            f"intersects: lies within {west:g} {south:g} {east:g} {north:g}, outside of longitudes -180 to 180 and "
            "latitudes -90 to 90 (degrees, longitude first); cut it at the antimeridian"
        )
    return Place(geometry=geometry, boxes=((west, south, east, north),), is_box=False)


def boxes_meet(place: Place, boxes: Boxes) -> Mask:
    """Tell which boxes of items touch those of a place. Item boxes may cross the antimeridian."""
    found = np.zeros(boxes.west.shape, dtype=bool)
    crossing = boxes.west > boxes.east
    for west, south, east, north in place.boxes:
        across = np.where(
            crossing, (boxes.west <= east) | (boxes.east >= west), (boxes.west <= east) & (boxes.east >= west)
        )
        found |= across & (boxes.south <= north) & (boxes.north >= south)
    return found


def boxes_inside(place: Place, boxes: Boxes) -> Mask:
    """Tell which boxes of items lie wholly in one box of a place that is a box: their geometry does, too."""
    found = np.zeros(boxes.west.shape, dtype=bool)
    if place.is_box:
        for west, south, east, north in place.boxes:
            found |= (boxes.west >= west) & (boxes.east <= east) & (boxes.south >= south) & (boxes.north <= north)
    return found & (boxes.west <= boxes.east)


def may_meet(place: Place, least: Boxes, greatest: Boxes) -> Mask:
    """Tell which groups of items may touch a place, by the least and greatest corners of their boxes.

    A group may hold boxes that cross the antimeridian, which are less than 180 degrees wide.
    """
    found = np.zeros(least.west.shape, dtype=bool)
    crossing = greatest.west - least.east > 180
    unknown = np.isnan(least.west + greatest.east + least.south + greatest.north)
    for west, south, east, north in place.boxes:
        across = crossing | ((least.west <= east) & (greatest.east >= west))
        found |= across & (least.south <= north) & (greatest.north >= south)
    return found | unknown


def intersecting(place: Place, geometries: npt.NDArray[np.object_]) -> Mask:
    """Tell which geometries, as WKB, share a point with a place; none does that is missing."""
    shapely.prepare(place.geometry)
    found: Mask = shapely.intersects(place.geometry, shapely.from_wkb(geometries))
    return found
