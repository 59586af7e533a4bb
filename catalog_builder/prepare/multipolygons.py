"""Multipolygons of an extract near a place: which ways they are made of, and their areas.

They are put together as https://wiki.openstreetmap.org/wiki/Relation:multipolygon says: closed rings of member ways,
nested rings in turn filled and empty, whatever the roles say. Where members are missing or a ring is open, as happens
at the rim of an extract, the rings of role ``inner`` are taken out of the other closed ones. An old relation whose tags
stand on its one outer way, closed, has these.

Member ways are read twice, first for their boxes alone, so that memory is bound to what lies near the place, and to
some 200 bytes for each multipolygon of the extract.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import osmium
import shapely
from shapely.errors import GEOSException

from catalog_builder.grid import Bounds
from catalog_builder.prepare.extract import Extract, Geometries, Ids, Ways, read_relations
from catalog_builder.prepare.osm_classes import Matcher, OsmClass

_TYPE = "type"
_KINDS = ("multipolygon", "boundary")
_IDLE_TAGS = frozenset((_TYPE, "name", "source", "created_by", "note"))
"""Tags of an old multipolygon that say nothing of what it is."""
_INNER = "inner"


@dataclass(frozen=True, slots=True)
class Multipolygon:
    """The area of a relation, in degrees."""

    id: int
    classes: tuple[OsmClass, ...]
    area: Any
    """A polygon or several; empty where nothing is left of it."""
    whole: bool
    """Whether all its members are there and all rings closed."""


@dataclass(slots=True)
class Multipolygons:
    """Relations that matter anywhere in the extract: arrays of numbers, since there may be many."""

    ids: "array[int]" = field(default_factory=lambda: array("q"))
    classes: list[tuple[OsmClass, ...]] = field(default_factory=list)
    members: "array[int]" = field(default_factory=lambda: array("q"))
    """Ids of member ways, those of a relation together."""
    inner: "array[int]" = field(default_factory=lambda: array("b"))
    """Whether their role is that of a hole."""
    starts: "array[int]" = field(default_factory=lambda: array("q"))
    """Where the members of each relation begin."""
    nameless: dict[int, int] = field(default_factory=dict)
    """The one outer way of a relation whose own tags say nothing -> number of the relation."""

    def adopts(self, way: int, classes: tuple[OsmClass, ...]) -> bool:
        """Let a relation without tags of its own take the classes of its outer way; tell whether there is one."""
        number = self.nameless.get(way)
        if number is not None:
            self.classes[number] = classes
        return number is not None

    def span(self, number: int) -> slice:
        """Tell where the members of a relation are."""
        last = number + 1 == len(self.starts)
        return slice(self.starts[number], len(self.members) if last else self.starts[number + 1])


def read_multipolygons(extract: Extract, match: Matcher, edited: Callable[[datetime], None]) -> Multipolygons:
    """Read which relations matter, and tell ``edited`` when each was edited."""
    found = Multipolygons()
    for relation in read_relations(extract, osmium.filter.TagFilter(*((_TYPE, kind) for kind in _KINDS))):
        ways = [member for member in relation.members if member.type == "w"]
        classes = match(relation.tags).areas
        outer = [way.ref for way in ways if way.role != _INNER]
        nameless = len(outer) == 1 and not classes and all(tag.k in _IDLE_TAGS for tag in relation.tags)
        if not ways or not (classes or nameless):
            continue
        edited(relation.timestamp)
        if nameless:
            found.nameless.setdefault(outer[0], len(found.ids))
        found.starts.append(len(found.members))
        found.ids.append(relation.id)
        found.classes.append(classes)
        found.members.extend(way.ref for way in ways)
        found.inner.extend(way.role == _INNER for way in ways)
    return found


def areas_near(ways: Ways, relations: Multipolygons, near: Bounds) -> Iterator[Multipolygon]:
    """Give the multipolygons whose box meets ``near`` (west, south, east, north in degrees)."""
    members = np.array(relations.members, np.int64)
    spans = {number: relations.span(number) for number in _numbers_near(ways, relations, members, near)}
    wanted = np.unique(np.concatenate([members[span] for span in spans.values()])) if spans else members[:0]
    lines = {int(way): line for ids, found in ways.lines(wanted) for way, line in zip(ids, found, strict=True)}
    for number, span in spans.items():
        roles = dict(zip(members[span].tolist(), relations.inner[span], strict=True))
        area, whole = _assemble({way: lines[way] for way in roles if way in lines}, roles)
        yield Multipolygon(relations.ids[number], relations.classes[number], area, whole)


def _numbers_near(ways: Ways, relations: Multipolygons, members: Ids, near: Bounds) -> list[int]:
    """Give the numbers of relations whose box, that of all members which are there, meets ``near``."""
    unique, place = np.unique(members, return_inverse=True)
    boxes = np.full((len(unique), 4), np.nan)
    for ids, lines in ways.lines(unique):
        boxes[np.searchsorted(unique, ids)] = shapely.bounds(lines)
    starts = np.array(relations.starts, np.int64)
    low = np.fmin.reduceat(boxes[place, :2], starts)
    high = np.fmax.reduceat(boxes[place, 2:], starts)
    here = np.flatnonzero(meets(np.hstack([low, high]), near))
    return [int(number) for number in here if relations.classes[number]]


def meets(boxes: npt.NDArray[np.float64], near: Bounds) -> npt.NDArray[np.bool_]:
    """Tell which boxes (n, 4) meet another; one without numbers does not."""
    left, bottom, right, top = boxes.T
    return np.asarray((left <= near.right) & (right >= near.left) & (bottom <= near.top) & (top >= near.bottom))


def _assemble(lines: Mapping[int, Any], roles: Mapping[int, int]) -> tuple[Any, bool]:
    """Make the area of a multipolygon, and tell whether it is whole.

    ``roles`` has all its ways, 1 for those of holes; ``lines`` has those that are there.
    """
    try:
        _, _, dangles, crossing = shapely.polygonize_full(list(lines.values()))
        if len(lines) == len(roles) and dangles.is_empty:
            area = _area(lines.values(), crossing=not crossing.is_empty)
            return area, not area.is_empty
        outer = _area(line for way, line in lines.items() if not roles[way])
        inner = _area(line for way, line in lines.items() if roles[way])
        return _without_holes(outer, shapely.get_parts(inner)), False
    except GEOSException:
        return shapely.Polygon(), False


def _without_holes(outer: Any, holes: Geometries) -> Any:
    """Take holes out of areas, but none out of an area that lies in it: an island may have lost its lake."""
    parts = shapely.get_parts(outer)
    return shapely.union_all(
        [shapely.difference(part, shapely.union_all(holes[~shapely.covers(holes, part)])) for part in parts]
    )


def _area(lines: Iterable[Any], *, crossing: bool = False) -> Any:
    """Give what rings hold. Those that touch or cross themselves are cut there first."""
    every = shapely.geometrycollections(list(lines))
    return shapely.build_area(shapely.node(every) if crossing else every)
