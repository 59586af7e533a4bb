"""A search request, answered from the tables of the collections.

Groups of rows that cannot hold what is asked are left out by the footer's statistics; of the others only the columns
that the request speaks of are read; whole rows are read for the items of one page.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Collection as Names
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from catalog_builder import jsonio
from catalog_builder.errors import UsageError
from catalog_builder.search import cql, rows
from catalog_builder.search.fields import Fields
from catalog_builder.search.places import Mask, Place, boxes_inside, boxes_meet, intersecting
from catalog_builder.search.request import SearchRequest
from catalog_builder.search.table import DATE_FIELDS, ROW, ItemTable, boxes_of, column
from catalog_builder.search.times import STAMP, Interval, item_ends, meets

_ASKED_OF_TOP = frozenset({"id", "collection", "geometry", "bbox"})
_PREFIX = "properties."


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection to search."""

    id: str
    version: str
    """Changes with its items."""
    table: ItemTable


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the items found."""

    items: tuple[dict[str, Any], ...]
    matched: int
    """Number of all items found."""
    next: str | None
    """Token of the page after this one."""


@dataclass(frozen=True, slots=True)
class Found:
    """All items found, as rows of collections, in order."""

    key: str
    collections: npt.NDArray[np.int64]
    """Number of the collection of each item."""
    rows: npt.NDArray[np.int64]


def find(request: SearchRequest, collections: Sequence[Collection]) -> Found:
    """Find the rows that a request asks for. Raises ``UsageError`` or ``RemoteError``."""
    names = resolve(request, collections)
    tables, numbers = [], []
    for number, collection in enumerate(collections):
        try:
            table = _search(request, collection, names)
        except (pa.ArrowException, OverflowError) as error:
            raise UsageError(f"search: cannot be computed: {' '.join(str(error).split())[:120]}") from error
        tables.append(table)
        numbers.append(np.full(table.num_rows, number, dtype=np.int64))
    which = np.concatenate(numbers) if numbers else np.arange(0)
    row_numbers = [table.column(ROW).to_numpy() for table in tables]
    at = np.concatenate(row_numbers).astype(np.int64) if row_numbers else np.arange(0)
    if request.sort and len(at):
        order = _order(request, tables, names)
        which, at = which[order], at[order]
    return Found(key=_key(request, collections), collections=which, rows=at)


def _key(request: SearchRequest, collections: Sequence[Collection]) -> str:
    return "/".join([request.key, *(collection.version for collection in collections)])


def is_found(found: Found, request: SearchRequest, collections: Sequence[Collection]) -> bool:
    """Tell whether these are still the items that a request asks for."""
    return found.key == _key(request, collections)


def page(
    found: Found, request: SearchRequest, collections: Sequence[Collection], absolute: Callable[[str], str]
) -> Page:
    """Give the items of one page. Raises ``UsageError`` for a token that is none, or of a release that has changed."""
    start = _start(request.token, found.key)
    stop = min(start + request.limit, len(found.rows))
    items: list[dict[str, Any] | None] = [None] * (stop - start)
    which, at = found.collections[start:stop], found.rows[start:stop]
    for number in np.unique(which):
        collection = collections[number]
        mine = np.flatnonzero(which == number)
        table = collection.table.take(at[mine], rows.columns_for(collection.table.schema, request.fields))
        documents = rows.items(table, collection.id, absolute, request.fields)
        for place, document in zip(mine, documents, strict=True):
            items[place] = document
    following = None if stop == len(found.rows) else f"{stop}:{_stamp(found.key)}"
    return Page(items=tuple(item for item in items if item is not None), matched=len(found.rows), next=following)


def _stamp(key: str) -> str:
    return jsonio.digest(key)[:16]


def _start(token: str | None, key: str) -> int:
    if token is None:
        return 0
    number, _, stamp = token.partition(":")
    if not number.isdecimal():
        raise UsageError(f"token {token!r}: not one that a page of a search gave")
    if stamp != _stamp(key):
        raise UsageError("the release, or the search, changed between two pages; search again")
    return int(number)


# --- names ------------------------------------------------------------------------------------------------------------


def resolve(request: SearchRequest, collections: Sequence[Collection]) -> Mapping[str, str]:
    """Give the column of each property that a request filters or sorts by.

    Raises ``UsageError`` for one that no item has, and names the nearest.
    """
    if not collections:
        return {}
    known = {name for collection in collections for name in rows.property_names(collection.table.schema)}
    filtered = {name: _resolve(name, known | _ASKED_OF_TOP) for name in cql.properties(request.filter)}
    sorted_by = {key.field: _resolve(key.field, known | {"id", "collection"}) for key in request.sort}
    if request.fields is not None:
        _check_fields(request.fields, known, collections)
    return filtered | sorted_by


def _resolve(name: str, known: Names[str]) -> str:
    plain = name.removeprefix(_PREFIX)
    if plain in known and not (plain in _ASKED_OF_TOP and plain != name):
        return plain
    raise UsageError(f"no item has a property {plain!r}; the nearest is {_nearest(plain, known)!r}")


def _nearest(name: str, known: Names[str]) -> str:
    """Give the name that is most alike; one that was begun rightly and not ended is near, too."""
    text, end = name.casefold(), len(name) + 2
    return max(sorted(known), key=lambda one: difflib.SequenceMatcher(None, text, one.casefold()[:end]).ratio())


def _check_fields(fields: Fields, properties: Names[str], collections: Sequence[Collection]) -> None:
    assets = {key for collection in collections for key in _asset_keys(collection.table.schema)}
    within = {"properties": properties, "assets": assets}
    for path in (*fields.include, *fields.exclude):
        top, _, rest = path.partition(".")
        if top not in (*rows.TOP, "properties"):
            near = _nearest(path, {*rows.TOP, *(_PREFIX + name for name in properties)})
            raise UsageError(f"fields: no item has {path!r}; the nearest is {near!r}")
        if rest and not any(rest == name or rest.startswith(f"{name}.") for name in within.get(top, (rest,))):
            raise UsageError(f"fields: no item has {path!r}; the nearest is '{top}.{_nearest(rest, within[top])}'")


def _asset_keys(schema: pa.Schema) -> list[str]:
    kind = schema.field("assets").type
    return [field.name for field in kind] if pa.types.is_struct(kind) else []


def queryables(collections: Sequence[Collection]) -> dict[str, Any]:
    """Give the JSON schema of each property that items can be filtered by."""
    found: dict[str, Any] = {"id": {"type": "string"}, "collection": {"type": "string"}, "geometry": {"type": "object"}}
    for collection in collections:
        schema = collection.table.schema
        found |= {name: _json_type(schema.field(name).type) for name in rows.property_names(schema)}
    return found


def _json_type(kind: pa.DataType) -> dict[str, str]:
    if pa.types.is_timestamp(kind):
        return {"type": "string", "format": "date-time"}
    tests = {"boolean": pa.types.is_boolean, "integer": pa.types.is_integer, "number": pa.types.is_floating,
             "string": pa.types.is_string, "array": pa.types.is_list, "object": pa.types.is_struct}  # fmt: skip
    return next(({"type": name} for name, test in tests.items() if test(kind)), {})


# --- one collection ---------------------------------------------------------------------------------------------------


def _search(request: SearchRequest, collection: Collection, names: Mapping[str, str]) -> pa.Table:
    """Give row numbers and sort columns of the items of a collection that are asked for."""
    table = collection.table
    groups = table.groups(request.places, request.interval, request.ids)
    columns = _needed(request, names)
    read = table.read(groups, [name for name in table.schema.names if name in columns and name != "collection"])
    read = read.append_column("collection", pa.repeat(pa.scalar(collection.id), read.num_rows))
    kept = _plain_conditions(request, read)
    if not kept.all():
        read = read.filter(pa.array(kept))
    if request.filter is not None:
        read = read.filter(cql.matches(request.filter, _frame(read, names)))
    read = _at_places(request.places, read, table)
    return read.select([ROW, *(name for name in _sort_columns(request, names) if name in read.column_names)])


def _sort_columns(request: SearchRequest, names: Mapping[str, str]) -> list[str]:
    return list(dict.fromkeys(names[key.field] for key in request.sort))


def _needed(request: SearchRequest, names: Mapping[str, str]) -> set[str]:
    columns = set(names.values())
    if request.places:
        columns.add("bbox")
    if request.interval is not None:
        columns |= set(DATE_FIELDS)
    if request.ids is not None:
        columns.add("id")
    return columns


def _plain_conditions(request: SearchRequest, read: pa.Table) -> Mask:
    """Tell which rows have the ids, the time and a box at all places."""
    kept: Mask = np.ones(read.num_rows, dtype=bool)
    if request.ids is not None:
        kept &= _truth(pc.is_in(read.column("id"), value_set=pa.array(request.ids, pa.string())))
    if request.interval is not None:
        kept &= _truth(_in_time(request.interval, read))
    if request.places and read.num_rows:
        boxes = boxes_of(read)
        for place in request.places:
            kept &= boxes_meet(place, boxes)
    return kept


def _truth(values: Any) -> Mask:
    found: Mask = pc.fill_null(values, False).to_numpy()
    return found


def _in_time(interval: Interval, read: pa.Table) -> Any:
    when, start, end = (column(read, name, STAMP) for name in DATE_FIELDS)
    return meets(interval, *item_ends(when, start, end))


def _frame(read: pa.Table, names: Mapping[str, str]) -> pa.Table:
    """Give the columns of a filter under the names that it uses; what this collection lacks is null."""
    return pa.table({name: column(read, names[name], pa.null()) for name in names} | {ROW: read.column(ROW)})


def _at_places(places: Sequence[Place], read: pa.Table, table: ItemTable) -> pa.Table:
    """Keep the rows whose geometry is at all places; it is read only where the box does not already tell."""
    for place in places:
        if not read.num_rows:
            return read
        kept = boxes_inside(place, boxes_of(read))
        doubtful = np.flatnonzero(~kept)
        if len(doubtful):
            numbers = read.column(ROW).to_numpy()[doubtful]
            geometries = table.take(numbers.astype(np.int64), ["geometry"]).column("geometry").to_numpy()
            kept[doubtful] = intersecting(place, geometries)
        read = read.filter(pa.array(kept))
    return read


# --- order ------------------------------------------------------------------------------------------------------------


def _order(request: SearchRequest, tables: Sequence[pa.Table], names: Mapping[str, str]) -> npt.NDArray[np.int64]:
    """Give the order of all rows; what lacks a property comes last, equals stay in the order of the index."""
    wanted = _sort_columns(request, names)
    try:
        sorted_by = pa.concat_tables(
            [pa.table({name: column(table, name, pa.null()) for name in wanted}) for table in tables],
            promote_options="permissive",
        )
        number = pa.array(np.arange(sorted_by.num_rows))
        order = pc.sort_indices(
            sorted_by.append_column(ROW, number),
            sort_keys=[
                *((names[key.field], "descending" if key.descending else "ascending") for key in request.sort),
                (ROW, "ascending"),
            ],
        )
    except pa.ArrowException as error:
        raise UsageError(f"sortby: cannot sort by {', '.join(wanted)}: {' '.join(str(error).split())[:100]}") from error
    ordered: npt.NDArray[np.int64] = order.to_numpy().astype(np.int64)
    return ordered
