"""Row groups of a Parquet file as Arrow tables, decoded on several cores.

A row of an index has some two hundred nested columns below ``assets``, and Arrow decodes all of one top-level column on
one core. Here each group is decoded in pieces, each with some of the assets, and put together again.
"""

import os
import queue
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

_ASSETS = "assets"
_MOST_THREADS = 2


class GroupReader:
    """Reads groups of one file. ``source`` opens it anew for each thread; raises what pyarrow raises."""

    def __init__(self, source: Callable[[], Any]) -> None:
        self._source = source
        first = pq.ParquetFile(source())
        self.metadata = first.metadata
        self.schema: pa.Schema = first.schema_arrow
        self._threads = min(_MOST_THREADS, os.cpu_count() or 1)
        self._pool = ThreadPoolExecutor(max_workers=self._threads)
        self._idle: queue.SimpleQueue[pq.ParquetFile] = queue.SimpleQueue()
        self._idle.put(first)

    def read(self, groups: Sequence[int], columns: Sequence[str]) -> pa.Table:
        """Read columns of groups as one table."""
        file = self._take()
        table = file.read_row_groups(list(groups), columns=list(columns)).select(columns)
        self._idle.put(file)
        return table

    def decode(self, groups: Sequence[int], columns: Sequence[str]) -> list[pa.Table]:
        """Read columns of groups as a table each."""
        pieces = self._pieces(columns)
        if len(pieces) * len(groups) == 1:
            return [self.read(groups, columns)]
        tasks = [[self._pool.submit(self._piece, group, piece) for piece in pieces] for group in groups]
        return [_joined([task.result() for task in of_group], self.schema).select(columns) for of_group in tasks]

    def _take(self) -> pq.ParquetFile:
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return pq.ParquetFile(self._source(), metadata=self.metadata)

    def _piece(self, group: int, columns: Sequence[str]) -> pa.Table:
        file = self._take()
        table = file.read_row_group(group, columns=list(columns), use_threads=False)
        self._idle.put(file)
        return table

    def _pieces(self, columns: Sequence[str]) -> list[list[str]]:
        """Deal the assets out to as many pieces as there are threads; the first has all other columns."""
        kind = self.schema.field(_ASSETS).type if _ASSETS in columns else None
        keys = [field.name for field in kind] if kind is not None and pa.types.is_struct(kind) else []
        if len(keys) < 2 or any("." in key for key in keys):
            return [list(columns)]
        pieces: list[list[str]] = [[] for _ in range(min(self._threads, len(keys)))]
        for number, key in enumerate(keys):
            pieces[number % len(pieces)].append(f"{_ASSETS}.{key}")
        pieces[0] += [name for name in columns if name != _ASSETS]
        return pieces


def _joined(pieces: Sequence[pa.Table], schema: pa.Schema) -> pa.Table:
    if len(pieces) == 1:
        return pieces[0]
    parts = [piece.column(_ASSETS).combine_chunks() for piece in pieces]
    kind = schema.field(_ASSETS).type
    fields = {field.name: part.field(field.name) for part in parts for field in part.type}
    assets = pa.StructArray.from_arrays(
        [fields[field.name] for field in kind], fields=list(kind), mask=parts[0].is_null()
    )
    first = pieces[0]
    return first.set_column(first.column_names.index(_ASSETS), schema.field(_ASSETS), assets)
