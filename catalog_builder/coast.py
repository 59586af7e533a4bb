"""Land, coasts and borders of the world from a TopoJSON file: Natural Earth's, which is in the public domain.

The file comes with the explorer's page (npm's ``world-atlas``, countries at 1:50 million). A checkout where that page
was not built has none, and maps are drawn without land then.

TopoJSON (https://github.com/topojson/topojson-specification) holds each line between two countries once, as an arc.
Positions are integers, each but the first of an arc told as the step from the one before; ``transform`` makes degrees
of them. A ring is a list of arcs; ``~i`` (negative) is arc ``i`` backwards.
"""

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from catalog_builder import jsonio
from catalog_builder.errors import ReleaseError

WORLD = Path(__file__).with_name("explorer_page") / "world.json"
CREDIT = "Made with Natural Earth"
SCALE = 50e6
"""Denominator of the scale for which the lines were drawn."""

_POLE = -89.9
"""Degrees of latitude; a line south of it is the edge of a world map, and no coast."""
_NEAR = 3.0
"""Degrees over which an island belongs to the picture of its country."""
_MOST_COUNTRIES = 4

Positions = npt.NDArray[np.float64]
"""Longitude and latitude in degrees, (n, 2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The land, for maps of 1:50 million and smaller."""

    countries: tuple[tuple[Positions, ...], ...]
    """Outer rings of each country; closed. Across the antimeridian they go on past 180 degrees."""
    coasts: tuple[Positions, ...]
    """Lines with land at one side."""
    borders: tuple[Positions, ...]
    """Lines between two countries, each once."""


def read(path: Path = WORLD) -> World | None:
    """Read the world; None where there is no file. Raises ``ReleaseError`` for a file that is no such TopoJSON."""
    if not path.is_file():
        return None
    try:
        return _decoded(path, path.stat().st_mtime_ns)
    except (OSError, KeyError, IndexError, TypeError, ValueError) as error:
        raise ReleaseError(f"{path}: no TopoJSON of countries: {error!r}") from error


@lru_cache(maxsize=1)
def _decoded(path: Path, changed: int) -> World:  # noqa: ARG001 - another version of the file is another world
    """Decode a file once for all the maps that are drawn on it."""
    return decode(jsonio.read(path))


def decode(topology: Mapping[str, Any]) -> World:
    """Make lines and rings of the object ``countries`` of a TopoJSON document.

    Raises ``KeyError``, ``IndexError``, ``TypeError`` or ``ValueError`` for a document that is none.
    """
    arcs = _arcs(topology)
    countries = [_polygons(country) for country in topology["objects"]["countries"]["geometries"]]
    used = Counter(arc if arc >= 0 else ~arc for country in countries for ring in _flat(country) for arc in ring)
    lines = {number: _whole(arcs[number]) for number in sorted(used) if (arcs[number][:, 1] > _POLE).any()}
    return World(
        countries=tuple(tuple(ring for polygon in country for ring in _outer(arcs, polygon)) for country in countries),
        coasts=tuple(line for number, line in lines.items() if used[number] == 1),
        borders=tuple(line for number, line in lines.items() if used[number] > 1),
    )


def home(world: World, places: Positions) -> list[list[Positions]]:
    """Give the land around places, country by country: rings that hold one, and all from island to island near those.

    Places that are all in the sea belong to the land beside them. None where there is none, or so many countries that a
    map shows by itself where they are.
    """
    owners = [number for number, country in enumerate(world.countries) for _ in country]
    rings = [ring for country in world.countries for ring in country]
    polygons = shapely.polygons([shapely.linearrings(ring) for ring in rings])
    points = shapely.points(np.concatenate([np.add(places, (turn, 0)) for turn in (-360, 0, 360)]))
    tree = shapely.STRtree(polygons)
    found = set(tree.query(points, predicate="within")[1].tolist())
    found = found or set(tree.query_nearest(points, max_distance=_NEAR)[1].tolist())
    countries = sorted({owners[number] for number in found})
    if len(countries) > _MOST_COUNTRIES:
        return []
    land = []
    for country in countries:
        own = np.flatnonzero(np.array(owners) == country)
        tree, chosen = shapely.STRtree(polygons[own]), found & set(own.tolist())
        reached = chosen
        while reached:
            near = tree.query(polygons[sorted(reached)], predicate="dwithin", distance=_NEAR)[1]
            reached = set(own[near].tolist()) - chosen
            chosen = chosen | reached
        land.append([rings[number] for number in sorted(chosen)])
    return land


def _arcs(topology: Mapping[str, Any]) -> list[Positions]:
    """Sum up the steps of all arcs, and make degrees of them."""
    scale, translate = (np.array(topology["transform"][name], dtype=np.float64) for name in ("scale", "translate"))
    return [np.cumsum(np.array(arc, dtype=np.int64), axis=0) * scale + translate for arc in topology["arcs"]]


def _polygons(geometry: Mapping[str, Any]) -> Sequence[Sequence[Sequence[int]]]:
    """Give the polygons of a geometry; each is a list of rings, the outer one first."""
    if geometry["type"] == "Polygon":
        return [geometry["arcs"]]
    return list(geometry["arcs"]) if geometry["type"] == "MultiPolygon" else []


def _flat(polygons: Sequence[Sequence[Sequence[int]]]) -> Iterator[Sequence[int]]:
    return itertools.chain.from_iterable(polygons)


def _outer(arcs: Sequence[Positions], polygon: Sequence[Sequence[int]]) -> Iterator[Positions]:
    """Give what a polygon has around it: its first ring, and any that goes around the world; no holes."""
    for number, ring in enumerate(polygon):
        line = _whole(_join(arcs, ring))
        first, last = line[0], line[-1]
        if abs(last[0] - first[0]) > 180:
            # Such a ring, as that of Antarctica, is closed along its pole.
            pole = math.copysign(90, last[1])
            yield np.concatenate([line, [(last[0], pole), (first[0], pole), first]])
        elif number == 0:
            yield line


def _join(arcs: Sequence[Positions], ring: Sequence[int]) -> Positions:
    """Lay the arcs of a ring one after the other; each begins where the one before ended."""
    parts = [arcs[arc] if arc >= 0 else arcs[~arc][::-1] for arc in ring]
    return np.concatenate([parts[0], *(part[1:] for part in parts[1:])])


def _whole(line: Positions) -> Positions:
    """Go on past 180 degrees where a line crosses the antimeridian, and do not jump to the other end of the world."""
    if np.ptp(line[:, 0]) < 180:
        return line
    return np.stack([np.unwrap(line[:, 0], period=360), line[:, 1]], axis=1)
