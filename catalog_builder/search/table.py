"""The items of one collection as a table: the index in parts, or all of them in memory.

Rows are numbered in the order of the index. Groups of rows are what is read at once.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from catalog_builder.errors import DamagedError
from catalog_builder.search.blocks import BlockFile
from catalog_builder.search.places import Boxes, Mask, Place, may_meet
from catalog_builder.search.times import Interval

ROW = "__row__"
"""Column of row numbers in what is read."""
_DECODED = 8
"""Groups of rows that are kept as they were read: some 6 MB each."""
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

    def __init__(self, table: pa.Table) -> None:
        self._table = table

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

    def __init__(self, where: str, source: pa.NativeFile | BlockFile) -> None:
        """Read the footer. Raises ``DamagedError`` where it is no index."""
        self._where = where
        self._blocks = source if isinstance(source, BlockFile) else None
        with self._told():
            self._file = pq.ParquetFile(pa.PythonFile(source, mode="r") if self._blocks else source)
            self._metadata = self._file.metadata
            self._schema = self._file.schema_arrow
        if missing := {"id", "bbox", "geometry", "assets", "links"} - set(self._schema.names):
            raise DamagedError(f"{where}: no index of items: it has no {', '.join(sorted(missing))}")
        sizes = [self._metadata.row_group(group).num_rows for group in range(self._metadata.num_row_groups)]
        self._starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        self._leaves = [self._metadata.schema.column(leaf).path for leaf in range(self._metadata.num_columns)]
        self._ranges: dict[str, tuple[list[Any], list[Any]]] = {}
        self._decoded: dict[tuple[int, tuple[str, ...]], pa.Table] = {}
        """The groups read last, in that order."""

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
            least, greatest = (self._corners(side) for side in (0, 1))
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
        if not columns or not groups:
            return (
                self._schema.empty_table().select(columns).append_column(ROW, numbers[:0])
                if columns
                else pa.table({ROW: numbers})
            )
        self._fetch(groups, columns)
        with self._told():
            table = self._file.read_row_groups(list(groups), columns=list(columns))
            return table.select(columns).append_column(ROW, numbers)

    def take(self, rows: npt.NDArray[np.int64], columns: Sequence[str]) -> pa.Table:
        """Read columns of some rows, in the order given, a group at a time."""
        group_of = np.searchsorted(self._starts, rows, side="right") - 1
        groups = [int(group) for group in np.unique(group_of)]
        self._fetch([group for group in groups if (group, tuple(columns)) not in self._decoded], columns)
        parts, order = [], []
        for group in groups:
            mine = np.flatnonzero(group_of == group)
            parts.append(self._decode(group, tuple(columns)).take(pa.array(rows[mine] - self._starts[group])))
            order.append(mine)
        if not parts:
            return self._schema.empty_table().select(columns)
        return pa.concat_tables(parts).take(pa.array(np.argsort(np.concatenate(order))))

    def _decode(self, group: int, columns: tuple[str, ...]) -> pa.Table:
        """Read columns of a group, and keep them for the next page or the next look at the same place."""
        table = self._decoded.pop((group, columns), None)
        if table is None:
            with self._told():
                table = self._file.read_row_group(group, columns=list(columns)).select(columns)
        self._decoded[group, columns] = table
        if len(self._decoded) > _DECODED:
            del self._decoded[next(iter(self._decoded))]
        return table

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

    def _range(self, leaf: str) -> tuple[list[Any], list[Any]]:
        """Give the least and the greatest value of a column in each group; None where nobody knows."""
        if leaf not in self._ranges:
            number = self._leaves.index(leaf)
            pairs = [
                self._bounds(self._metadata.row_group(group).column(number).statistics)
                for group in range(self._metadata.num_row_groups)
            ]
            self._ranges[leaf] = ([least for least, _ in pairs], [greatest for _, greatest in pairs])
        return self._ranges[leaf]

    @staticmethod
    def _bounds(statistics: Any) -> tuple[Any, Any]:
        if statistics is None or not statistics.has_min_max:
            return None, None
        return statistics.min, statistics.max

    def _corners(self, side: int) -> Boxes:
        numbers = {
            name: np.array(self._range(f"bbox.{name}")[side], dtype=np.float64)
            for name in ("xmin", "ymin", "xmax", "ymax")
        }
        return Boxes(west=numbers["xmin"], south=numbers["ymin"], east=numbers["xmax"], north=numbers["ymax"])

    def _may_be_in(self, interval: Interval) -> Mask:
        """An item's time begins no earlier than its earliest date, and ends no later than its latest."""
        dates = [name for name in ("datetime", "start_datetime", "end_datetime") if name in self._leaves]
        found = np.zeros(len(self._starts) - 1, dtype=bool)
        for group in range(len(found)):
            known = [(self._range(name)[0][group], self._range(name)[1][group]) for name in dates]
            least = [first for first, _ in known if first is not None]
            greatest = [last for _, last in known if last is not None]
            found[group] = not least or _overlaps(interval, min(least), max(greatest))
        return found

    def _may_have(self, ids: Sequence[str]) -> Mask:
        """Ids may lie in the stretch of those of a group."""
        least, greatest = self._range("id")
        pairs = zip(least, greatest, strict=True)
        return np.array(
            [first is None or any(first <= one <= last for one in ids) for first, last in pairs], dtype=bool
        )

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            said = " ".join(str(error).split())[:120]
            raise DamagedError(f"{self._where}: cut or damaged, or no Parquet file at all: {said}") from error


def _overlaps(interval: Interval, first: datetime, last: datetime) -> bool:
    return (interval.end is None or first <= interval.end) and (interval.start is None or last >= interval.start)


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
