"""An extract of OpenStreetMap (``.osm.pbf``, ``.osm``) -> the shapes of its classes near a place, as a stream.

The file is read several times, each time for little: relations that matter; all nodes, whose places go to a file on
disk; ways that matter; members of multipolygons, first their boxes and then, of those near the place, their lines. So
memory is bound to what lies near the place, and to some 200 bytes for each multipolygon of the extract.

Multipolygons are put together as https://wiki.openstreetmap.org/wiki/Relation:multipolygon says: closed rings of member
ways, nested rings in turn filled and empty, whatever the roles say. Where members are missing or a ring is open, as
happens at the rim of an extract, the rings of role ``inner`` are taken out of the other closed ones. Tags of old
relations that stand on their outer ways count, too.
"""

import itertools
import shutil
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import shapely
from shapely.errors import GEOSException

from catalog_builder.errors import BuildError, RasterError, UsageError
from catalog_builder.grid import Bounds
from catalog_builder.prepare.osm_classes import Match, OsmClass, OsmClasses

try:
    import osmium
except ImportError as error:
    raise UsageError("OpenStreetMap needs pyosmium: pip install 'catalog-builder[osm]'") from error

Geometries = npt.NDArray[np.object_]
Tell = Callable[[str], None]
Item = TypeVar("Item")

_FORMATS = {".osm.pbf": "pbf", ".pbf": "pbf", ".osm": "osm", ".osm.gz": "osm.gz", ".osm.bz2": "osm.bz2"}
_SNAPSHOT = "osmosis_replication_timestamp"
_AREA, _YES, _NO = "area", "yes", "no"
_MULTIPOLYGONS = ("multipolygon", "boundary")
_TYPE = "type"
_IDLE_TAGS = frozenset(("type", "source", "created_by", "note"))
"""Tags of an old multipolygon that say nothing of what it is."""
_INNER = "inner"
_RING = 4
"""Nodes of the smallest closed way."""
_BATCH = 20_000
_MEMORY = 10_000
"""Combinations of tags that are remembered."""
_LITTLE = 2**24
"""Bytes of free disk with which a file of places cannot grow."""
_INDEX = "nodes.idx"
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Extract:
    """A file that is an extract, as its header tells."""

    path: Path
    format: str
    box: Bounds | None
    """West, south, east, north in degrees; None where the file does not tell."""
    snapshot: datetime | None
    """State of the map; None where the file does not tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shapes:
    """Objects of one kind, in degrees: longitude, latitude."""

    geometries: Geometries
    """Polygons, or lines."""
    classes: Sequence[OsmClass]
    widths: npt.NDArray[np.float64]
    """Of lines, in metres; 0 of polygons."""
    ids: npt.NDArray[np.int64]


@dataclass(slots=True)
class Findings:
    """What was found on the way; it is complete when the stream of shapes ends."""

    areas: int = 0
    lines: int = 0
    incomplete: int = 0
    """Multipolygons near the place without some of their members, or with an open ring."""
    cut: int = 0
    """Ways near the place without some of their nodes."""
    newest: datetime | None = None
    """When the youngest of the objects that matter, anywhere in the extract, was edited; None where none tells."""

    def edited(self, when: datetime) -> None:
        """Count an edit; one of 1970 stands for none."""
        if when > _NEVER:
            self.newest = max(self.newest or when, when)


def open_extract(path: Path) -> Extract:
    """Read the header of an extract. Raises ``UsageError`` or ``RasterError`` naming the file."""
    form = next((form for suffix, form in _FORMATS.items() if path.name.lower().endswith(suffix)), None)
    if form is None:
        raise UsageError(f"{path}: no extract of OpenStreetMap; its name ends in {', '.join(_FORMATS)}")
    try:
        if path.stat().st_size == 0:
            raise RasterError(f"{path}: is empty")
    except OSError as error:
        raise UsageError(f"{path}: cannot read: {error.strerror}") from error
    with _readable(path):
        header = osmium.io.Reader(_file(path, form), osmium.osm.NOTHING).header()
    if header.has_multiple_object_versions:
        raise UsageError(f"{path}: holds the history of its objects; take an extract of one day")
    box, corners = header.box(), None
    if box.valid():
        corners = Bounds(box.bottom_left.lon, box.bottom_left.lat, box.top_right.lon, box.top_right.lat)
    return Extract(path=path, format=form, box=corners, snapshot=_instant(header.get(_SNAPSHOT)))


def _instant(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        return None


def _file(path: Path, form: str) -> Any:
    # As an absolute path it can be no address, from which osmium would download.
    return osmium.io.File(str(path.absolute()), form)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise RasterError(f"{path}: truncated or corrupt: {' '.join(str(error).split())}") from error


# --- the stream -------------------------------------------------------------------------------------------------------


def read_shapes(
    extract: Extract, classes: OsmClasses, near: Bounds, scratch: Path, findings: Findings, tell: Tell
) -> Iterator[Shapes]:
    """Give the shapes of all classes whose box meets ``near`` (west, south, east, north in degrees).

    An object of several classes comes several times. ``scratch`` is a folder for the places of nodes, 16 bytes each.
    Raises ``RasterError`` for a file that is truncated, corrupt or without nodes.
    """
    match = _matcher(classes)
    with _readable(extract.path):
        findings.edited(_edit_of_first_node(extract))
        tell(f"{extract.path}: relations")
        relations = _read_relations(extract, match, findings)
        tell(f"{extract.path}: nodes")
        ways = _Ways(extract, scratch)
        tell(f"{extract.path}: ways")
        drawn = ways.matching(osmium.filter.KeyFilter(*sorted(classes.leading_keys())))
        yield from _near(_way_entries(drawn, match, relations, findings), near, findings)
        if relations.ids:
            tell(f"{extract.path}: multipolygons")
            yield from _near(_relation_entries(ways, relations, near, findings), near, findings)


def _edit_of_first_node(extract: Extract) -> datetime:
    """Refuse an extract without any node, which would be read as ground where nothing is."""
    with osmium.io.Reader(_file(extract.path, extract.format), osmium.osm.NODE) as reader:
        nodes = osmium.OsmFileIterator(reader)  # held, since its objects end with it
        first: Any = next(nodes, None)
        if first is not None:
            edited: datetime = first.timestamp
            return edited
    raise RasterError(f"{extract.path}: holds no node; is it an extract?")


@dataclass(frozen=True, slots=True)
class _Entry:
    """A shape on its way."""

    wkb: str
    """Hexadecimal; a polygon, its ring, or lines."""
    of: OsmClass
    width: float
    """Of a line in metres; 0 of an area."""
    id: int
    """That of a relation is negative."""
    cut: bool


def _near(entries: Iterable[_Entry], near: Bounds, findings: Findings) -> Iterator[Shapes]:
    """Gather entries, and give those whose box meets ``near``."""
    for batch in _batches(entries):
        geometries = shapely.from_wkb([entry.wkb for entry in batch])
        meets = _meets(shapely.bounds(geometries), near)
        chosen = [entry for entry, here in zip(batch, meets, strict=True) if here]
        if not chosen:
            continue
        widths = np.array([entry.width for entry in chosen])
        findings.areas += int(np.count_nonzero(widths == 0))
        findings.lines += int(np.count_nonzero(widths))
        findings.cut += sum(entry.cut for entry in chosen)
        yield Shapes(
            geometries=_filled(geometries[meets], widths == 0),
            classes=[entry.of for entry in chosen],
            widths=widths,
            ids=np.array([entry.id for entry in chosen], np.int64),
        )


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    rest = iter(items)
    while batch := list(itertools.islice(rest, _BATCH)):
        yield batch


def _meets(boxes: npt.NDArray[np.float64], near: Bounds) -> npt.NDArray[np.bool_]:
    """Tell which boxes (n, 4) meet another; one without numbers does not."""
    left, bottom, right, top = boxes.T
    return np.asarray((left <= near.right) & (right >= near.left) & (bottom <= near.top) & (top >= near.bottom))


def _filled(geometries: Geometries, areas: npt.NDArray[np.bool_]) -> Geometries:
    """Make polygons of the rings among areas."""
    rings = areas & (shapely.get_type_id(geometries) == shapely.GeometryType.LINESTRING)
    if rings.any():
        points, ring = shapely.get_coordinates(geometries[rings], return_index=True)
        geometries[rings] = shapely.polygons(shapely.linearrings(points, indices=ring))
    return geometries


def _matcher(classes: OsmClasses) -> Callable[[Any], tuple[Match, str | None]]:
    """Give a function from the tags of an object to what they make of it, and to the value of its tag ``area``."""
    keys = classes.keys() | {_AREA}

    @lru_cache(maxsize=_MEMORY)
    def match(held: tuple[tuple[str, str], ...]) -> tuple[Match, str | None]:
        tags = dict(held)
        return classes.match(tags), tags.get(_AREA)

    return lambda tags: match(tuple((tag.k, tag.v) for tag in tags if tag.k in keys))


# --- ways -------------------------------------------------------------------------------------------------------------


class _Ways:
    """The ways of an extract with the places of their nodes, which are read once and then lie on disk."""

    def __init__(self, extract: Extract, scratch: Path) -> None:
        index = scratch / _INDEX
        try:
            self._places = osmium.NodeLocationsForWays(osmium.index.create_map(f"sparse_file_array,{index}"))
            self._places.ignore_errors()
            self._file = _file(extract.path, extract.format)
            with osmium.io.Reader(self._file, osmium.osm.NODE) as reader:
                osmium.apply(reader, self._places)
        except RuntimeError as error:
            if shutil.disk_usage(scratch).free < _LITTLE:
                raise BuildError(f"{scratch.parent}: no room for the places of nodes: {error}") from error
            raise

    def matching(self, wanted: Any) -> Iterator[Any]:
        """Give the ways that a filter lets through."""
        with osmium.io.Reader(self._file, osmium.osm.WAY) as reader:
            yield from osmium.OsmFileIterator(reader, self._places, wanted)

    def lines(self, ids: npt.NDArray[np.int64]) -> Iterator[tuple[npt.NDArray[np.int64], Geometries]]:
        """Give ids and lines of the ways of these ids, many at a time."""
        for batch in _batches(self._wkb_of(ids)):
            yield np.array([way for way, _ in batch], np.int64), shapely.from_wkb([wkb for _, wkb in batch])

    def _wkb_of(self, ids: npt.NDArray[np.int64]) -> Iterator[tuple[int, str]]:
        factory = osmium.geom.WKBFactory()
        for way in self.matching(osmium.filter.IdFilter(ids.tolist())):
            wkb, _ = _line(factory, way, closed=False)
            if wkb is not None:
                yield way.id, wkb


def _way_entries(
    ways: Iterable[Any], match: Callable[[Any], tuple[Match, str | None]], relations: "_Relations", findings: Findings
) -> Iterator[_Entry]:
    factory = osmium.geom.WKBFactory()
    for way in ways:
        found, area = match(way.tags)
        filled, lines = _parts(found, area) if _is_ring(way) else ((), found.lines)
        if filled and relations.adopts(way.id, filled):
            filled = ()
        if not filled and not lines:
            continue
        findings.edited(way.timestamp)
        for group, closed in ((((each, 0.0) for each in filled), True), (lines, False)):
            wkb, cut = _line(factory, way, closed=closed)
            if wkb is not None:
                yield from (_Entry(wkb, each, width, way.id, cut) for each, width in group)


def _is_ring(way: Any) -> bool:
    return len(way.nodes) >= _RING and way.is_closed()


def _parts(found: Match, area: str | None) -> tuple[tuple[OsmClass, ...], tuple[tuple[OsmClass, float], ...]]:
    """Tell in which classes a closed way is filled, and in which it is a line."""
    if area == _NO:
        return (), found.lines
    if area == _YES:
        return tuple(dict.fromkeys((*found.areas, *(each for each, _ in found.lines)))), ()
    return found.areas, found.lines


def _line(factory: Any, way: Any, *, closed: bool) -> tuple[str | None, bool]:
    """Give a way as hexadecimal WKB, and whether it was cut because nodes are missing.

    Of a way that was cut there are the pieces, or with ``closed`` the ring of the nodes that are there. None where
    nothing is left.
    """
    places = None
    try:
        return factory.create_linestring(way), False
    except osmium.InvalidLocationError:
        places = [(node.lon, node.lat) if node.location.valid() else None for node in way.nodes]
    except RuntimeError:  # one node, or all at one place
        return None, False
    return _pieces(places, closed=closed), True


def _pieces(places: Sequence[tuple[float, float] | None], *, closed: bool) -> str | None:
    if closed:
        ring = [place for place in places if place is not None]
        return shapely.to_wkb(shapely.linestrings([*ring, ring[0]]), hex=True) if len(ring) >= _RING - 1 else None
    groups = itertools.groupby(places, key=lambda place: place is not None)
    runs = [run for there, group in groups if there and len(run := list(group)) > 1]
    return (
        shapely.to_wkb(shapely.multilinestrings([shapely.linestrings(run) for run in runs]), hex=True) if runs else None
    )


# --- multipolygons ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Relations:
    """Multipolygons that matter anywhere in the extract: arrays of numbers, since there may be many."""

    ids: "array[int]" = field(default_factory=lambda: array("q"))
    classes: list[tuple[OsmClass, ...]] = field(default_factory=list)
    members: "array[int]" = field(default_factory=lambda: array("q"))
    """Ids of member ways, those of a relation together."""
    inner: "array[int]" = field(default_factory=lambda: array("b"))
    """Whether their role is that of a hole."""
    starts: "array[int]" = field(default_factory=lambda: array("q"))
    """Where the members of each relation begin."""
    nameless: dict[int, int] = field(default_factory=dict)
    """Outer ways of relations whose own tags say nothing -> number of the relation."""

    def adopts(self, way: int, classes: tuple[OsmClass, ...]) -> bool:
        """Let a relation without tags of its own take the classes of an outer way; tell whether there is one."""
        number = self.nameless.get(way)
        if number is not None:
            self.classes[number] = tuple(dict.fromkeys((*self.classes[number], *classes)))
        return number is not None


def _read_relations(
    extract: Extract, match: Callable[[Any], tuple[Match, str | None]], findings: Findings
) -> _Relations:
    found = _Relations()
    kinds = osmium.filter.TagFilter(*((_TYPE, kind) for kind in _MULTIPOLYGONS))
    with osmium.io.Reader(_file(extract.path, extract.format), osmium.osm.RELATION) as reader:
        relations: Iterator[Any] = osmium.OsmFileIterator(reader, kinds)
        for relation in relations:
            ways = [member for member in relation.members if member.type == "w"]
            classes = match(relation.tags)[0].areas
            nameless = not classes and all(tag.k in _IDLE_TAGS for tag in relation.tags)
            if not ways or not (classes or nameless):
                continue
            if nameless:
                found.nameless.update((way.ref, len(found.ids)) for way in ways if way.role != _INNER)
            findings.edited(relation.timestamp)
            found.starts.append(len(found.members))
            found.ids.append(relation.id)
            found.classes.append(classes)
            found.members.extend(way.ref for way in ways)
            found.inner.extend(way.role == _INNER for way in ways)
    return found


def _relation_entries(ways: _Ways, relations: _Relations, near: Bounds, findings: Findings) -> Iterator[_Entry]:
    members = np.array(relations.members, np.int64)
    numbers = _near_relations(ways, relations, members, near)
    ends = [*relations.starts[1:], len(members)]
    spans = {number: slice(relations.starts[number], ends[number]) for number in numbers}
    wanted = np.unique(np.concatenate([members[span] for span in spans.values()])) if spans else members[:0]
    lines = {int(way): line for ids, found in ways.lines(wanted) for way, line in zip(ids, found, strict=True)}
    for number, span in spans.items():
        roles = dict(zip(members[span].tolist(), relations.inner[span], strict=True))
        area, whole = _assemble({way: lines[way] for way in roles if way in lines}, roles)
        findings.incomplete += not whole
        wkb = shapely.to_wkb(area, hex=True)
        for each in relations.classes[number] if not area.is_empty else ():
            yield _Entry(wkb, each, 0.0, -relations.ids[number], False)


def _near_relations(ways: _Ways, relations: _Relations, members: npt.NDArray[np.int64], near: Bounds) -> list[int]:
    """Give the numbers of relations whose box, that of all members which are there, meets ``near``."""
    unique, place = np.unique(members, return_inverse=True)
    boxes = np.full((len(unique), 4), np.nan)
    for ids, lines in ways.lines(unique):
        boxes[np.searchsorted(unique, ids)] = shapely.bounds(lines)
    starts = np.array(relations.starts, np.int64)
    low = np.fmin.reduceat(boxes[place, :2], starts)
    high = np.fmax.reduceat(boxes[place, 2:], starts)
    meets = np.flatnonzero(_meets(np.hstack([low, high]), near))
    return [int(number) for number in meets if relations.classes[number]]


def _assemble(lines: Mapping[int, Any], roles: Mapping[int, int]) -> tuple[Any, bool]:
    """Make the area of a multipolygon, and tell whether it is whole.

    ``roles`` has all its ways, 1 for those of holes; ``lines`` has those that are there.
    """
    try:
        dangles = shapely.polygonize_full(list(lines.values()))[2]
        if len(lines) == len(roles) and dangles.is_empty:
            return _area(lines.values()), True
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


def _area(lines: Iterable[Any]) -> Any:
    return shapely.build_area(shapely.geometrycollections(list(lines)))
