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
Item = TypeVar("Item")

RING = 4
"""Nodes of the smallest closed way."""

_FORMATS = {".osm.pbf": "pbf", ".pbf": "pbf", ".osm": "osm", ".osm.gz": "osm.gz", ".osm.bz2": "osm.bz2"}
_SNAPSHOT = "osmosis_replication_timestamp"
_BATCH = 20_000
_LITTLE = 2**24
"""Bytes of free disk with which a file of places cannot grow."""
_INDEX = "nodes.idx"


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
def readable(path: Path) -> Iterator[None]:
    """Raise ``RasterError`` for what pyosmium says of a file while it is read."""
    try:
        yield
    except RuntimeError as error:
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
        yield from osmium.OsmFileIterator(reader, wanted)


class Ways:
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

    def lines(self, ids: Ids) -> Iterator[tuple[Ids, Geometries]]:
        """Give ids and lines of the ways of these ids, many at a time."""
        for batch in batches(self._wkb_of(ids)):
            yield np.array([way for way, _ in batch], np.int64), shapely.from_wkb([wkb for _, wkb in batch])

    def _wkb_of(self, ids: Ids) -> Iterator[tuple[int, str]]:
        factory = osmium.geom.WKBFactory()
        for way in self.matching(osmium.filter.IdFilter(ids.tolist())):
            wkb, _ = line_of(factory, way, closed=False)
            if wkb is not None:
                yield way.id, wkb


def line_of(factory: Any, way: Any, *, closed: bool) -> tuple[str | None, bool]:
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
        return shapely.to_wkb(shapely.linestrings([*ring, ring[0]]), hex=True) if len(ring) >= RING - 1 else None
    groups = itertools.groupby(places, key=lambda place: place is not None)
    runs = [run for there, group in groups if there and len(run := list(group)) > 1]
    return (
        shapely.to_wkb(shapely.multilinestrings([shapely.linestrings(run) for run in runs]), hex=True) if runs else None
    )


def batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Gather items, many at a time."""
    rest = iter(items)
    while batch := list(itertools.islice(rest, _BATCH)):
        yield batch
