"""An extract of OpenStreetMap (``.osm.pbf``, ``.osm``): its header, and its objects as streams.

Objects are read by pyosmium, filtered in C++ before Python sees them. The places of nodes lie in a file on disk, 16
bytes each, so that memory does not grow with the extract.
"""

import itertools
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import shapely

from catalog_builder.errors import BuildError, RasterError, UsageError
from catalog_builder.grid import Bounds

try:
    import osmium
except ImportError as error:
    raise UsageError("OpenStreetMap needs pyosmium: pip install 'catalog-builder[osm]'") from error

Geometries = npt.NDArray[np.object_]
Ids = npt.NDArray[np.int64]
Place = tuple[float, float]
"""Longitude, latitude."""
Item = TypeVar("Item")

RING = 4
"""Nodes of the smallest closed way."""

_FORMATS = {".osm.pbf": "pbf", ".pbf": "pbf", ".osm": "osm", ".osm.gz": "osm.gz", ".osm.bz2": "osm.bz2"}
_SNAPSHOT = "osmosis_replication_timestamp"
_BATCH = 20_000
_LITTLE = 2**24
"""Bytes of free disk with which a file of places cannot grow."""
_INDEX = "nodes.idx"
_HEAD = 2**16
"""Bytes of an XML file in which its boxes stand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extract:
    """A file that is an extract, as its header tells."""

    path: Path
    format: str
    box: Bounds | None
    """West, south, east, north in degrees; None where the file does not tell."""
    snapshot: datetime | None
    """State of the map; None where the file does not tell."""


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
    with readable(path):
        header = osmium.io.Reader(_file(path, form), osmium.osm.NOTHING).header()
        box = header.box()
    if header.has_multiple_object_versions:
        raise UsageError(f"{path}: holds the history of its objects; take an extract of one day")
    corners = None
    if box.valid() and not _has_several_boxes(path):
        corners = Bounds(box.bottom_left.lon, box.bottom_left.lat, box.top_right.lon, box.top_right.lat)
    return Extract(path=path, format=form, box=corners, snapshot=_instant(header.get(_SNAPSHOT)))


def _has_several_boxes(path: Path) -> bool:
    """Tell whether an XML file has boxes of which osmium tells the first only, as JOSM writes one for each download."""
    with path.open("rb") as stream:
        return stream.read(_HEAD).count(b"<bounds") > 1


def _instant(text: str) -> datetime | None:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    return when.replace(tzinfo=when.tzinfo or UTC)


def _file(path: Path, form: str) -> Any:
    # As an absolute path it can be no address, from which osmium would download.
    return osmium.io.File(str(path.absolute()), form)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Raise ``RasterError`` for what pyosmium says of a file while it is read."""
    try:
        yield
    except (RuntimeError, ValueError, osmium.InvalidLocationError) as error:
        raise RasterError(f"{path}: truncated or corrupt: {' '.join(str(error).split())}") from error


def edit_of_first_node(extract: Extract) -> datetime:
    """Tell when the first node was edited.

    Raises ``RasterError`` for an extract without any node, which would be read as ground where nothing is.
    """
    with osmium.io.Reader(_file(extract.path, extract.format), osmium.osm.NODE) as reader:
        nodes = osmium.OsmFileIterator(reader)  # held, since its objects end with it
        first: Any = next(nodes, None)
        if first is not None:
            edited: datetime = first.timestamp
            return edited
    raise RasterError(f"{extract.path}: holds no node; is it an extract?")


def read_relations(extract: Extract, wanted: Any) -> Iterator[Any]:
    """Give the relations that a filter lets through."""
    with osmium.io.Reader(_file(extract.path, extract.format), osmium.osm.RELATION) as reader:
        relations: Iterator[Any] = osmium.OsmFileIterator(reader, wanted)
        yield from (relation for relation in relations if relation.visible)


class Ways:
    """The ways of an extract with the places of their nodes, which are read once and then lie on disk."""

    def __init__(self, extract: Extract, scratch: Path) -> None:
        index = scratch / _INDEX
        self._file, self._path = _file(extract.path, extract.format), extract.path
        self._factory = osmium.geom.WKBFactory()
        try:
            self._places = osmium.NodeLocationsForWays(osmium.index.create_map(f"sparse_file_array,{index}"))
            self._places.ignore_errors()
            with osmium.io.Reader(self._file, osmium.osm.NODE) as reader:
                osmium.apply(reader, self._places)
        except RuntimeError as error:
            if shutil.disk_usage(scratch).free < _LITTLE:
                raise BuildError(f"{scratch.parent}: no room for the places of nodes: {error}") from error
            raise

    def matching(self, wanted: Any) -> Iterator[Any]:
        """Give the ways that a filter lets through. Raises ``RasterError`` for a way that is there more than once."""
        last = None
        with osmium.io.Reader(self._file, osmium.osm.WAY) as reader:
            ways: Iterator[Any] = osmium.OsmFileIterator(reader, self._places, wanted)
            for way in ways:
                if way.id == last:
                    raise RasterError(f"{self._path}: way {last} is there twice; take an extract without history")
                last = way.id
                if way.visible:
                    yield way

    def lines(self, ids: Ids) -> Iterator[tuple[Ids, Geometries]]:
        """Give ids and lines of the ways of these ids, many at a time."""
        for batch in batches(self._wkb_of(ids)):
            yield np.array([way for way, _ in batch], np.int64), shapely.from_wkb([wkb for _, wkb in batch])

    def _wkb_of(self, ids: Ids) -> Iterator[tuple[int, str]]:
        for way in self._of(ids):
            wkb, _ = self.line(way, closed=False)
            if wkb is not None:
                yield way.id, wkb

    def _of(self, ids: Ids) -> Iterator[Any]:
        if ids.size and ids.min() > 0:
            return self.matching(osmium.filter.IdFilter(ids.tolist()))
        # Editors give what they have not uploaded ids below 0, for which osmium has no filter.
        wanted = set(ids.tolist())
        return (way for way in self.matching(osmium.filter.EntityFilter(osmium.osm.WAY)) if way.id in wanted)

    def line(self, way: Any, *, closed: bool) -> tuple[str | None, bool]:
        """Give a way as hexadecimal WKB, and whether it was cut because nodes are missing.

        Of a way that was cut there are the pieces, or with ``closed`` the ring of the nodes that are there. None where
        nothing is left.
        """
        try:
            return self._factory.create_linestring(way), False
        except (osmium.InvalidLocationError, RuntimeError):  # nodes are missing, or all at one place
            places = [self._place(node) for node in way.nodes]
        return _pieces(places, closed=closed), None in places

    def _place(self, node: Any) -> Place | None:
        return (node.lon, node.lat) if node.location.valid() else self._not_uploaded.get(node.ref)

    @cached_property
    def _not_uploaded(self) -> dict[int, Place]:
        """Places of nodes with ids below 0, which osmium's index does not hold; an editor's file has few."""
        with osmium.io.Reader(self._file, osmium.osm.NODE) as reader:
            nodes: Iterator[Any] = osmium.OsmFileIterator(reader)
            return {node.id: (node.lon, node.lat) for node in nodes if node.id < 0 and node.location.valid()}


def _pieces(places: Sequence[Place | None], *, closed: bool) -> str | None:
    """Join the places of nodes that are there, None for others, to a ring or to lines."""
    if len(set(places) - {None}) < 2:
        return None
    if closed:
        ring = [place for place in places if place is not None]
        return shapely.to_wkb(shapely.linestrings([*ring, ring[0]]), hex=True) if len(ring) >= RING - 1 else None
    groups = itertools.groupby(places, key=lambda place: place is not None)
    runs = [shapely.linestrings(run) for there, group in groups if there and len(run := list(group)) > 1]
    return shapely.to_wkb(shapely.multilinestrings(runs), hex=True) if runs else None


def batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Gather items, many at a time."""
    rest = iter(items)
    while batch := list(itertools.islice(rest, _BATCH)):
        yield batch
