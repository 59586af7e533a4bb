"""An extract of OpenStreetMap -> the shapes of its classes near a place, as a stream.

The file is read several times, each time for little: relations that matter; all nodes; ways that matter; members of
multipolygons. Shapes come in no order that means anything.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import osmium
import shapely

from catalog_builder.grid import Bounds
from catalog_builder.prepare.extract import (
    RING,
    Extract,
    Geometries,
    Ids,
    Ways,
    batches,
    edit_of_first_node,
    readable,
)
from catalog_builder.prepare.multipolygons import Multipolygon, Multipolygons, areas_near, meets, read_multipolygons
from catalog_builder.prepare.osm_classes import Matcher, OsmClass, OsmClasses, matcher

Tell = Callable[[str], None]

_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shapes:
    """Objects of one kind, in degrees: longitude, latitude."""

    geometries: Geometries
    """Polygons, or lines."""
    classes: Sequence[OsmClass]
    widths: npt.NDArray[np.float64]
    """Of lines, in metres; 0 of polygons."""
    ids: Ids


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


def read_shapes(
    extract: Extract, classes: OsmClasses, near: Bounds, scratch: Path, findings: Findings, tell: Tell
) -> Iterator[Shapes]:
    """Give the shapes of all classes whose box meets ``near`` (west, south, east, north in degrees).

    An object of several classes comes several times. ``scratch`` is a folder for the places of nodes, 16 bytes each.
    Raises ``RasterError`` for a file that is truncated, corrupt or without nodes.
    """
    match = matcher(classes)
    with readable(extract.path):
        findings.edited(edit_of_first_node(extract))
        tell(f"{extract.path}: relations")
        relations = read_multipolygons(extract, match, findings.edited)
        tell(f"{extract.path}: nodes")
        ways = Ways(extract, scratch)
        tell(f"{extract.path}: ways")
        drawn = ways.matching(osmium.filter.KeyFilter(*sorted(classes.leading_keys())))
        yield from _near(_way_entries(ways, drawn, match, relations, findings), near, findings)
        if relations.ids:
            tell(f"{extract.path}: multipolygons")
            yield from _near(_area_entries(areas_near(ways, relations, near), findings), near, findings)


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
    for batch in batches(entries):
        geometries = shapely.from_wkb([entry.wkb for entry in batch])
        here = meets(shapely.bounds(geometries), near)
        chosen = [entry for entry, inside in zip(batch, here, strict=True) if inside]
        if not chosen:
            continue
        widths = np.array([entry.width for entry in chosen])
        findings.areas += int(np.count_nonzero(widths == 0))
        findings.lines += int(np.count_nonzero(widths))
        findings.cut += sum(entry.cut for entry in chosen)
        yield Shapes(
            geometries=_filled(geometries[here], widths == 0),
            classes=[entry.of for entry in chosen],
            widths=widths,
            ids=np.array([entry.id for entry in chosen], np.int64),
        )


def _filled(geometries: Geometries, areas: npt.NDArray[np.bool_]) -> Geometries:
    """Make polygons of the rings among areas; of one that goes to and fro nothing is left."""
    rings = areas & (shapely.get_type_id(geometries) == shapely.GeometryType.LINESTRING)
    flat = rings & (shapely.get_num_points(geometries) < RING)
    geometries[flat], rings = shapely.Polygon(), rings & ~flat
    if rings.any():
        points, ring = shapely.get_coordinates(geometries[rings], return_index=True)
        geometries[rings] = shapely.polygons(shapely.linearrings(points, indices=ring))
    return geometries


def _way_entries(
    ways: Ways, drawn: Iterable[Any], match: Matcher, relations: Multipolygons, findings: Findings
) -> Iterator[_Entry]:
    for way in drawn:
        found = match(way.tags)
        closed = len(way.nodes) >= RING and way.is_closed()
        filled, lines = (found.areas, found.ring_lines) if closed else ((), found.lines)
        if filled and relations.adopts(way.id, filled):
            filled = ()
        if not filled and not lines:
            continue
        findings.edited(way.timestamp)
        for group, as_ring in ((tuple((each, 0.0) for each in filled), True), (lines, False)):
            wkb, cut = ways.line(way, closed=as_ring) if group else (None, False)
            if wkb is not None:
                yield from (_Entry(wkb, each, width, way.id, cut) for each, width in group)


def _area_entries(areas: Iterable[Multipolygon], findings: Findings) -> Iterator[_Entry]:
    for found in areas:
        findings.incomplete += not found.whole
        wkb = shapely.to_wkb(found.area, hex=True)
        if not found.area.is_empty:
            yield from (_Entry(wkb, each, 0.0, -found.id, False) for each in found.classes)
