"""A raster of classes -> an OpenStreetMap extract (`.osm`), as a mapper would have drawn what the raster shows.

Land and water become areas that share their borders, node by node; a building is an area of its own; roads, railways
and rivers become lines along their middle. Nobody mapped any of it, and the file says so.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
import numpy.typing as npt
import rasterio.features
import shapely
import shapely.geometry

from catalog_builder.synthetic.landscape import Flags

Classes = npt.NDArray[np.uint8]
"""(rows, columns)"""
Points = npt.NDArray[np.float64]
"""(n, 2): column and row in pixels, corner (0, 0), or longitude and latitude in degrees."""
Tags = Mapping[str, str]

BUILDING = 8
LAND: dict[int, Tags] = {
    1: {"landuse": "forest"},
    2: {"landuse": "farmland"},
    3: {"landuse": "grass"},
    4: {"natural": "water"},
    5: {"natural": "water", "water": "river"},
    6: {"landuse": "residential"},
    7: {"landuse": "industrial"},
}
"""By class; what is not here is not mapped."""
LINES: dict[int, Tags] = {
    5: {"waterway": "river"},
    9: {"highway": "primary"},
    10: {"highway": "residential"},
    11: {"railway": "rail"},
}
ABOVE = (BUILDING, 9, 10, 11)
"""Classes that hide the land on which they stand."""
LEAST_PIXELS = 12
"""Of a piece of land that is mapped by itself."""
TOLERANCE = 0.75
"""Pixels by which a drawn line may leave the edges of pixels: enough to turn stairs into a slope."""
LONGEST_WAY = 2000
"""Nodes of a way, the most that OpenStreetMap allows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """A mapped object: a polygon or a line in pixels, and its tags."""

    shape: shapely.geometry.base.BaseGeometry
    tags: Tags


def features(classes: Classes) -> list[Feature]:
    """Draw all that a raster of classes shows."""
    land = rasterio.features.sieve(fill(classes, np.isin(classes, ABOVE)), LEAST_PIXELS)
    drawn = [Feature(shape=shape, tags=LAND[number]) for number, shape in partition(land) if number in LAND]
    for shape, _ in _shapes(classes, classes == BUILDING):
        drawn.append(Feature(shape=shapely.geometry.shape(shape), tags={"building": "yes"}))
    for number, tags in LINES.items():
        seen = (land if number in LAND else classes) == number
        drawn += [Feature(shape=line, tags=tags) for line in middles(seen)]
    return drawn


def fill(classes: Classes, holes: Flags) -> Classes:
    """Let what lies around holes grow into them, pixel by pixel."""
    filled, open_ = classes.copy(), holes.copy()
    while open_.any() and not open_.all():
        for axis, step in ((0, 1), (1, 1), (0, -1), (1, -1)):
            known = open_ & ~np.roll(open_, step, axis)
            filled[known] = np.roll(filled, step, axis)[known]
            open_ &= ~known
    return filled


def _shapes(classes: Classes, mask: Flags | None = None) -> Iterator[tuple[Any, float]]:
    yield from rasterio.features.shapes(classes, mask=mask, connectivity=4)


def partition(classes: Classes) -> Iterator[tuple[int, shapely.Polygon]]:
    """Give the pieces of a raster with their class. Borders are smoothed once, so that neighbours share them."""
    stairs = shapely.union_all([shapely.geometry.shape(shape).boundary for shape, _ in _shapes(classes)])
    borders = shapely.simplify(shapely.get_parts(shapely.line_merge(stairs)), TOLERANCE)
    for piece in shapely.get_parts(shapely.polygonize(shapely.get_parts(shapely.union_all(borders)))):
        inner = shapely.point_on_surface(piece)
        yield int(classes[int(inner.y), int(inner.x)]), piece


def middles(mask: Flags) -> Iterator[shapely.LineString]:
    """Give lines along the middle of what a mask shows, between the centres of pixels."""
    thin = thinned(mask)
    segments = [np.empty((0, 2, 2))]
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        joined = thin & _shifted(thin, down, right)
        if down and right:  # a diagonal is left out where two straight steps lead the same way
            joined &= ~(_shifted(thin, down, 0) | _shifted(thin, 0, right))
        rows, columns = np.nonzero(joined)
        start = np.stack([columns, rows], axis=-1) + 0.5
        segments.append(np.stack([start, start + np.array([right, down])], axis=1))
    merged = shapely.line_merge(shapely.multilinestrings(shapely.linestrings(np.concatenate(segments))))
    for line in shapely.get_parts(merged):
        if line.length >= 3:  # shorter ones are burrs
            yield shapely.simplify(line, TOLERANCE)


def _shifted(mask: Flags, down: int, right: int) -> Flags:
    """Give for each pixel the one so many rows below and columns to the right of it; False beyond the rim."""
    rows, columns = mask.shape
    padded = np.pad(mask, 1)
    return padded[1 + down : 1 + down + rows, 1 + right : 1 + right + columns]


def thinned(mask: Flags) -> Flags:
    """Thin what a mask shows to lines of one pixel.

    Zhang and Suen, "A fast parallel algorithm for thinning digital patterns", Communications of the ACM 27(3), 1984.
    """
    thin, removed = mask.copy(), True
    ring = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))
    while removed:
        removed = False
        for first in (0, 2):
            around = [_shifted(thin, *step) for step in ring]
            count = np.sum(around, axis=0, dtype=np.uint8)
            rises = np.sum([~one & other for one, other in zip(around, around[1:] + around[:1], strict=True)], axis=0)
            north, east, south, west = around[0], around[2], around[4], around[6]
            if first == 0:
                edge = ~(north & east & south) & ~(east & south & west)
            else:
                edge = ~(north & east & west) & ~(north & south & west)
            spare = thin & (count >= 2) & (count <= 6) & (rises == 1) & edge
            thin &= ~spare
            removed |= bool(spare.any())
    return thin


# --- the file ---------------------------------------------------------------------------------------------------------


def write_extract(
    path: Path,
    drawn: Sequence[Feature],
    degrees: Callable[[Points], Points],
    bounds: tuple[float, float, float, float],
    taken: datetime,
) -> None:
    """Write features to an `.osm` file.

    ``degrees`` moves pixels to longitude, latitude; ``bounds`` are west, south, east, north.
    """
    west, south, east, north = bounds
    ways, relations = _ways(drawn)
    places, numbers = np.unique(np.concatenate([way for way, _ in ways]), axis=0, return_inverse=True)
    lines = [
        "<?xml version='1.0' encoding='UTF-8'?>",
        "<!-- SYNTHETIC: drawn by catalog-builder, mapped by nobody; no data of OpenStreetMap -->",
        f'<osm version="0.6" generator="catalog-builder, synthetic" timestamp="{taken:%Y-%m-%dT%H:%M:%SZ}">',
        f'  <bounds minlat="{south:.7f}" minlon="{west:.7f}" maxlat="{north:.7f}" maxlon="{east:.7f}"/>',
    ]
    for number, (longitude, latitude) in enumerate(degrees(places).tolist(), start=1):
        lines.append(f'  <node id="{number}" version="1" lat="{latitude:.7f}" lon="{longitude:.7f}"/>')
    end = 0
    for number, (way, tags) in enumerate(ways, start=1):
        end, start = end + len(way), end
        lines.append(f'  <way id="{number}" version="1">')
        lines += [f'    <nd ref="{node}"/>' for node in (numbers[start:end] + 1).tolist()]
        lines += [*_tag_lines(tags), "  </way>"]
    for number, (members, tags) in enumerate(relations, start=1):
        lines.append(f'  <relation id="{number}" version="1">')
        lines += [f'    <member type="way" ref="{way}" role="{role}"/>' for way, role in members]
        lines += [*_tag_lines({"type": "multipolygon", **tags}), "  </relation>"]
    path.write_text("\n".join([*lines, "</osm>", ""]), encoding="utf-8")


def _tag_lines(tags: Tags) -> list[str]:
    return [f"    <tag k={quoteattr(key)} v={quoteattr(value)}/>" for key, value in tags.items()]


Ways = list[tuple[Points, Tags]]
Relations = list[tuple[list[tuple[int, str]], Tags]]


def _ways(drawn: Sequence[Feature]) -> tuple[Ways, Relations]:
    """Cut features in ways, and name the ways of each area that is more than one closed way."""
    ways: Ways = []
    relations: Relations = []
    for feature in drawn:
        area = isinstance(feature.shape, shapely.Polygon)
        rings = [feature.shape.exterior, *feature.shape.interiors] if area else [feature.shape]
        pieces = [
            (number, piece) for number, ring in enumerate(rings) for piece in _pieces(shapely.get_coordinates(ring))
        ]
        if area and len(pieces) > 1:
            members = [(len(ways) + at, "inner" if ring else "outer") for at, (ring, _) in enumerate(pieces, start=1)]
            relations.append((members, feature.tags))
            ways += [(piece, {}) for _, piece in pieces]
        else:
            ways += [(piece, feature.tags) for _, piece in pieces]
    return ways, relations


def _pieces(line: Points) -> list[Points]:
    """Cut a line where it is too long for one way; pieces share the node at which they meet."""
    step = LONGEST_WAY - 1
    return [line[start : start + LONGEST_WAY] for start in range(0, len(line) - 1, step)]
