"""Items -> the index of a collection: stac-geoparquet, sorted by place.

Areas follow each other along a Z-order curve, and so do the tiles within an area, so that a small box meets few row
groups. What a search asks for stands in the first columns, side by side, and they alone have statistics: a reader far
away gets them by one request a row group, and the footer stays small. It is made in two steps: workers turn the items
of one area into Arrow, the build joins the parts to one schema; memory holds one row group, not the collection.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from stac_geoparquet.arrow import parse_stac_items_to_arrow, to_parquet

from catalog_builder import jsonio
from catalog_builder.errors import BuildError

ROWS_PER_GROUP = 1024
_LEVELS = 16
_FIRST = ("id", "bbox", "datetime", "start_datetime", "end_datetime")
_LAST = ("geometry", "type", "stac_version", "stac_extensions", "links", "assets")
_FORMAT = "2"
"""Changes when the same items would give other bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartJob:
    """Items that become one part of an index."""

    items: tuple[Path, ...]
    target: Path


class _OwnItem(dict[str, Any]):
    """An item that nobody else holds: stac-geoparquet may change it in place, and need not copy all of it first."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "_OwnItem":
        return self


def versions() -> dict[str, str]:
    """Name the software on which the bytes of an index depend."""
    from importlib.metadata import version

    return {"format": _FORMAT, **{name: version(name) for name in ("pyarrow", "stac-geoparquet")}}


def z_order(x: int, y: int) -> int:
    """Interleave the bits of two non-negative integers: neighbours in the plane come near each other (Morton 1966)."""
    code = 0
    for bit in range(max(x.bit_length(), y.bit_length())):
        code |= (x >> bit & 1) << 2 * bit | (y >> bit & 1) << 2 * bit + 1
    return code


def place_order(bbox: Sequence[float]) -> int:
    """Give the place of a box's centre (degrees) along a Z-order curve over the world."""
    west, south, east, north = bbox
    longitude = (west + east + (360 if west > east else 0)) / 2
    steps = 2**_LEVELS - 1
    return z_order(round((longitude + 180) % 360 / 360 * steps), round(((south + north) / 2 + 90) / 180 * steps))


@contextmanager
def _one_schema(target: Path) -> Iterator[None]:
    try:
        yield
    except pa.ArrowException as error:
        raise BuildError(f"{target.name}: the items do not fit in one table: {error}") from error


def write_part(job: PartJob) -> None:
    """Read items and write them as one part, in the order given. For workers.

    Raises ``BuildError`` where a field has several types.
    """
    documents = (_OwnItem(jsonio.read(path)) for path in job.items)
    job.target.parent.mkdir(parents=True, exist_ok=True)
    with _one_schema(job.target):
        table = parse_stac_items_to_arrow(documents).read_all()
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with pa.OSFile(str(job.target), "wb") as target, pa.ipc.new_file(target, table.schema, options=options) as part:
            part.write_table(table)


def join_parts(parts: Sequence[Path], target: Path) -> None:
    """Write parts, in the order given, as one stac-geoparquet file with even row groups.

    Raises ``BuildError`` where a field has several types.
    """
    with _one_schema(target):
        schema = _in_order(pa.unify_schemas([_open_part(part).schema for part in parts], promote_options="permissive"))
        reader = pa.RecordBatchReader.from_batches(schema, _row_groups(parts, schema))
        # Of two hundred small columns dictionaries cost more than they save. A group is decoded for a few rows: LZ4
        # takes two thirds of Zstandard's time, for twice the bytes, which are few beside those of images.
        options: dict[str, Any] = {"use_dictionary": False, "write_statistics": list(_searched(schema))}
        to_parquet(reader, target, compression="lz4", **options)


def _in_order(schema: pa.Schema) -> pa.Schema:
    """Put first what a search asks for, last what only a found item needs."""
    between = [name for name in schema.names if name not in (*_FIRST, *_LAST)]
    names = [name for name in (*_FIRST, *between, *_LAST) if name in schema.names]
    return pa.schema([schema.field(name) for name in names], metadata=schema.metadata)


def _searched(schema: pa.Schema) -> Iterator[str]:
    """Name the leaves of which a search can use the least and the greatest value."""
    for field in schema:
        if field.name == "bbox":
            yield from (f"bbox.{inner.name}" for inner in field.type)
        elif field.name not in _LAST and not pa.types.is_nested(field.type):
            yield field.name


def _open_part(path: Path) -> pa.ipc.RecordBatchFileReader:
    return pa.ipc.open_file(pa.memory_map(str(path)))


def _row_groups(parts: Iterable[Path], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Cut the rows of all parts in groups of ROWS_PER_GROUP."""
    rows = schema.empty_table()
    for part in parts:
        rows = pa.concat_tables([rows, _conform(_open_part(part).read_all(), schema)])
        while rows.num_rows >= ROWS_PER_GROUP:
            yield _batch(rows.slice(0, ROWS_PER_GROUP))
            rows = rows.slice(ROWS_PER_GROUP)
    if rows.num_rows:
        yield _batch(rows)


def _conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Give a table the joined schema; fields that it lacks, nested ones too, become null."""
    columns = [
        table.column(field.name).cast(field.type)
        if field.name in table.column_names
        else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _batch(table: pa.Table) -> pa.RecordBatch:
    return table.combine_chunks().to_batches()[0]
