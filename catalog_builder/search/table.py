"""The items of one collection as a table: the index in parts, or all of them in memory.

Rows are numbered in the order of the index. Groups of rows are what is read at once.
"""

import bisect
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from catalog_builder.errors import DamagedError
from catalog_builder.search.blocks import Blocks
from catalog_builder.search.groups import GroupReader
from catalog_builder.search.places import Boxes, Mask, Place, may_meet
from catalog_builder.search.times import Interval

Dates = npt.NDArray[np.datetime64]

ROW = "__row__"
"""Column of row numbers in what is read."""
_DECODED = 8
"""Groups of rows that are kept as they were read: some 6 MB each."""
DATE_FIELDS = ("datetime", "start_datetime", "end_datetime")
BBOX_FIELDS = {4: ("xmin", "ymin", "xmax", "ymax"), 6: ("xmin", "ymin", "zmin", "xmax", "ymax", "zmax")}


class ItemTable(Protocol):
    """The items of one collection."""

    @property
    def schema(self) -> pa.Schema:
        """The columns: ``id``, ``bbox``, ``geometry``, …, and one for each property."""

    @property
    def rows(self) -> int:
        """Number of items."""

    def groups(self, places: Sequence[Place], interval: Interval | None, ids: Sequence[str] | None) -> list[int]:
        """Give the groups that may hold items at all places, in an interval, and with one of the ids."""

    def read(self, groups: Sequence[int], columns: Sequence[str]) -> pa.Table:
        """Read columns of all rows of groups, and their row numbers. Raises ``RemoteError``."""

    def take(self, rows: npt.NDArray[np.int64], columns: Sequence[str]) -> pa.Table:
        """Read columns of some rows, in the order given. Raises ``RemoteError``."""


class MemoryTable:
    """Items that are all in memory, as one group."""

    def __init__(self, table: pa.Table, *, read_at: float) -> None:
        self._table = table
        self.read_at = read_at
        """When the items were read (seconds of the monotonic clock)."""

    @property
    def schema(self) -> pa.Schema:
        """The columns."""
        return self._table.schema

    @property
    def rows(self) -> int:
        """Number of items."""
        return int(self._table.num_rows)

    def groups(self, places: Sequence[Place], interval: Interval | None, ids: Sequence[str] | None) -> list[int]:  # noqa: ARG002 - as all tables
        """Give the one group."""
        return [0]

    def read(self, groups: Sequence[int], columns: Sequence[str]) -> pa.Table:
        """Give columns and row numbers."""
        table = self._table if groups else self._table.slice(0, 0)
        return table.select(columns).append_column(ROW, pa.array(np.arange(table.num_rows)))

    def take(self, rows: npt.NDArray[np.int64], columns: Sequence[str]) -> pa.Table:
        """Give columns of some rows."""
        return self._table.select(columns).take(pa.array(rows))


class IndexTable:
    """A stac-geoparquet file. Of one far away only what is needed is fetched."""

    def __init__(self, where: str, source: Callable[[], Any], blocks: Blocks | None = None) -> None:
        """Read the footer of what ``source`` opens, anew for each thread; ``blocks`` fetches what lies far away.

        Raises ``DamagedError`` where it is no index.
        """
        self._where, self._blocks = where, blocks
        with self._told():
            self._file = GroupReader(source)
        self._metadata, self._schema = self._file.metadata, self._file.schema
        if missing := {"id", "bbox", "geometry", "assets", "links"} - set(self._schema.names):
            raise DamagedError(f"{where}: no index of items: it has no {', '.join(sorted(missing))}")
        sizes = [self._metadata.row_group(group).num_rows for group in range(self._metadata.num_row_groups)]
        self._starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        self._leaves = [self._metadata.schema.column(leaf).path for leaf in range(self._metadata.num_columns)]
        self._decoded: dict[tuple[int, tuple[str, ...]], pa.Table] = {}
        """The groups read last, in that order."""
        self._lock = threading.Lock()

    @property
    def schema(self) -> pa.Schema:
        """The columns."""
        return self._schema

    @property
    def rows(self) -> int:
        """Number of items."""
        return int(self._metadata.num_rows)

    def groups(self, places: Sequence[Place], interval: Interval | None, ids: Sequence[str] | None) -> list[int]:
        """Give the groups that may hold what is asked for, by the statistics in the footer."""
        found: Mask = np.ones(len(self._starts) - 1, dtype=bool)
        if places:
            least, greatest = self._corners
            for place in places:
                found &= may_meet(place, least, greatest)
        if interval is not None:
            found &= self._may_be_in(interval)
        if ids is not None:
            found &= self._may_have(sorted(ids))
        return [int(group) for group in np.flatnonzero(found)]

    def read(self, groups: Sequence[int], columns: Sequence[str]) -> pa.Table:
        """Read columns of all rows of groups."""
        rows = [np.arange(self._starts[group], self._starts[group + 1]) for group in groups]
        numbers = pa.array(np.concatenate(rows) if rows else np.arange(0))
        if not columns:
            return pa.table({ROW: numbers})
        if not groups:
            return self._schema.empty_table().select(columns).append_column(ROW, numbers)
        self._fetch(groups, columns)
        with self._told():
            return self._file.read(groups, columns).append_column(ROW, numbers)

    def take(self, rows: npt.NDArray[np.int64], columns: Sequence[str]) -> pa.Table:
        """Read columns of some rows, in the order given, a group at a time."""
        group_of = np.searchsorted(self._starts, rows, side="right") - 1
        groups = [int(group) for group in np.unique(group_of)]
        parts, order = [], []
        # Items of one page, sorted by something else than their place, may lie in a thousand groups.
        for start in range(0, len(groups), _DECODED):
            some = groups[start : start + _DECODED]
            for group, table in zip(some, self._decoded_groups(some, tuple(columns)), strict=True):
                mine = np.flatnonzero(group_of == group)
                parts.append(table.take(pa.array(rows[mine] - self._starts[group])))
                order.append(mine)
        if not parts:
            return self._schema.empty_table().select(columns)
        table, places = pa.concat_tables(parts), np.concatenate(order)
        # To put rows of so many columns in another order takes longer than to find that they are in order.
        return table if (np.diff(places) > 0).all() else table.take(pa.array(np.argsort(places)))

    def _decoded_groups(self, groups: Sequence[int], columns: tuple[str, ...]) -> list[pa.Table]:
        """Read columns of groups, and keep some for the next page or the next look at the same place."""
        with self._lock:
            known = {group: self._decoded[group, columns] for group in groups if (group, columns) in self._decoded}
        missing = [group for group in groups if group not in known]
        self._fetch(missing, columns)
        with self._told():
            known |= zip(missing, self._file.decode(missing, columns), strict=True)
        with self._lock:
            for group, table in known.items():
                self._decoded.pop((group, columns), None)
                self._decoded[group, columns] = table
            for key in list(self._decoded)[:-_DECODED]:
                del self._decoded[key]
        return [known[group] for group in groups]

    def _fetch(self, groups: Sequence[int], columns: Sequence[str]) -> None:
        """Fetch all that will be read at once, instead of one piece after the other."""
        if self._blocks is None:
            return
        wanted = set(columns)
        leaves = [number for number, path in enumerate(self._leaves) if path.partition(".")[0] in wanted]
        spans = []
        for group in map(self._metadata.row_group, groups):
            for chunk in map(group.column, leaves):
                start = chunk.dictionary_page_offset or chunk.data_page_offset
                spans.append((min(start, chunk.data_page_offset), chunk.total_compressed_size))
        self._blocks.fetch(spans)

    # --- statistics ---------------------------------------------------------------------------------------------------

    def _statistics(self, leaf: str) -> tuple[list[Any], list[Any]]:
        """Give the least and the greatest value of a column in each group; None where nobody knows."""
        number = self._leaves.index(leaf)
        found: tuple[list[Any], list[Any]] = ([], [])
        for group in range(self._metadata.num_row_groups):
            statistics = self._metadata.row_group(group).column(number).statistics
            known = statistics is not None and statistics.has_min_max
            found[0].append(statistics.min if known else None)
            found[1].append(statistics.max if known else None)
        return found

    @cached_property
    def _corners(self) -> tuple[Boxes, Boxes]:
        """Least and greatest corners of the boxes of each group; NaN where nobody knows."""
        pairs = [self._statistics(f"bbox.{name}") for name in BBOX_FIELDS[4]]
        sides = [[np.array(pair[side], dtype=np.float64) for pair in pairs] for side in (0, 1)]
        least, greatest = (Boxes(west=west, south=south, east=east, north=north) for west, south, east, north in sides)
        return least, greatest

    @cached_property
    def _dates(self) -> tuple[Dates, Dates]:
        """First and last date of each group, of all the dates that items have; NaT where nobody knows."""
        pairs = [self._statistics(name) for name in DATE_FIELDS if name in self._leaves]
        empty = np.full(len(self._starts) - 1, "NaT", dtype="datetime64[us]")
        first, last = ([_dates(pair[side]) for pair in pairs] for side in (0, 1))
        return np.fmin.reduce([*first, empty]), np.fmax.reduce([*last, empty])

    @cached_property
    def _ids(self) -> tuple[list[Any], list[Any]]:
        """First and last id of each group."""
        return self._statistics("id")

    def _may_be_in(self, interval: Interval) -> Mask:
        """An item's time begins no earlier than its earliest date, and ends no later than its latest."""
        first, last = self._dates
        found: Mask = np.ones(len(first), dtype=bool)
        if interval.start is not None:
            found &= ~(last < np.datetime64(interval.start.replace(tzinfo=None)))
        if interval.end is not None:
            found &= ~(first > np.datetime64(interval.end.replace(tzinfo=None)))
        return found

    def _may_have(self, ids: Sequence[str]) -> Mask:
        """Sorted ids may lie in the stretch of those of a group."""
        least, greatest = self._ids
        found = np.zeros(len(least), dtype=bool)
        for group, (first, last) in enumerate(zip(least, greatest, strict=True)):
            # The first of the sorted ids that is not before the group must not be behind it.
            place = 0 if first is None else bisect.bisect_left(ids, first)
            found[group] = first is None or (place < len(ids) and ids[place] <= last)
        return found

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            said = " ".join(str(error).split())[:120]
            raise DamagedError(f"{self._where}: cut or damaged, or no Parquet file at all: {said}") from error


def _dates(moments: Sequence[datetime | None]) -> Dates:
    plain = [None if moment is None else moment.replace(tzinfo=None) for moment in moments]
    return np.array(plain, dtype="datetime64[us]")


def column(table: pa.Table, name: str, kind: pa.DataType) -> Any:
    """Give a column, or nulls where there is none."""
    if name in table.column_names:
        found = table.column(name)
        return found.cast(kind) if pa.types.is_null(found.type) else found
    return pa.chunked_array([pa.nulls(table.num_rows, kind)])


def boxes_of(table: pa.Table) -> Boxes:
    """Give the boxes of rows; NaN where there is none."""
    corners = table.column("bbox").combine_chunks()
    west, south, east, north = (
        corners.field(name).to_numpy(zero_copy_only=False).astype(np.float64) for name in BBOX_FIELDS[4]
    )
    return Boxes(west=west, south=south, east=east, north=north)
