"""Rows of an index -> STAC items, as they were published, but with hrefs that work from anywhere."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

import pyarrow as pa
import shapely

from catalog_builder import layout
from catalog_builder.errors import DamagedError
from catalog_builder.search.fields import Fields
from catalog_builder.search.table import BBOX_FIELDS

TOP = ("type", "stac_version", "stac_extensions", "id", "geometry", "bbox", "links", "assets", "collection")
"""Columns that are no properties."""
_DEEP = frozenset({dict, list, datetime})
"""Types of values that are not yet as JSON has them."""

Absolute = Callable[[str], str]
"""Gives the address of an href of the release."""


def property_names(schema: pa.Schema) -> list[str]:
    """Name the properties of items."""
    return [name for name in schema.names if name not in TOP]


def columns_for(schema: pa.Schema, fields: Fields | None) -> list[str]:
    """Name the columns that are needed for the wanted parts of items."""
    if fields is None:
        return list(schema.names)
    wanted = {"id"} | {name for name in TOP if fields.wants(name)}
    wanted |= {name for name in property_names(schema) if fields.wants(f"properties.{name}")}
    return [name for name in schema.names if name in wanted]


def items(table: pa.Table, collection: str, absolute: Absolute, fields: Fields | None) -> Iterator[dict[str, Any]]:
    """Give rows as items. Raises ``DamagedError`` for a row that is no item of this collection."""
    for row in table.to_pylist():
        item = _item(row, collection, absolute)
        yield item if fields is None else fields.pick(item)


def _item(row: Mapping[str, Any], collection: str, absolute: Absolute) -> dict[str, Any]:
    if row.get("collection", collection) != collection:
        raise DamagedError(f"{layout.index(collection)}: is the index of {row['collection']!r}, not of {collection!r}")
    href = layout.item_href(collection, str(row["id"]))
    if href is None:
        raise DamagedError(f"{layout.index(collection)}: {row['id']!r} is no item of a release")
    item: dict[str, Any] = {"type": "Feature"}
    for name in ("stac_version", "stac_extensions", "id"):
        if name in row:
            item[name] = row[name]
    if "geometry" in row:
        item["geometry"] = _geometry(row["geometry"])
    if row.get("bbox") is not None:
        item["bbox"] = _bbox(row["bbox"])
    properties = {name: _plain(value) for name, value in row.items() if name not in TOP and value is not None}
    if "datetime" in row:
        properties = {"datetime": None, **properties}
    item["properties"] = properties
    if "links" in row:
        item["links"] = list(_links(row["links"] or (), href, absolute))
    if "assets" in row:
        item["assets"] = dict(_assets(row["assets"] or {}, href, absolute))
    item["collection"] = collection
    return item


def _geometry(wkb: bytes | None) -> dict[str, Any] | None:
    if wkb is None:
        return None
    try:
        geometry: dict[str, Any] = _lists(shapely.geometry.mapping(shapely.from_wkb(wkb)))
    except shapely.errors.ShapelyError as error:
        raise DamagedError(f"the index holds a geometry that is none: {error}") from error
    return geometry


def _lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lists(inner) for key, inner in value.items()}
    return [_lists(inner) for inner in value] if isinstance(value, tuple | list) else value


def _bbox(corners: Mapping[str, float]) -> list[float]:
    return [corners[name] for name in BBOX_FIELDS[len(corners)]]


def _plain(value: Any) -> Any:
    """Give a value as JSON has it; what an item lacks came as null."""
    kind = type(value)
    if kind is dict:
        return {
            key: _plain(inner) if type(inner) in _DEEP else inner for key, inner in value.items() if inner is not None
        }
    if kind is list:
        return [_plain(inner) if type(inner) in _DEEP else inner for inner in value]
    return _stamp(value) if kind is datetime else value


def _stamp(moment: datetime) -> str:
    return f"{moment.replace(tzinfo=None).isoformat()}Z"


def _links(links: Iterable[Mapping[str, Any]], item: str, absolute: Absolute) -> Iterator[dict[str, Any]]:
    yield {"rel": "self", "href": absolute(item), "type": "application/geo+json"}
    for link in map(_plain, links):
        if link.get("rel") != "self":
            yield {**link, "href": _address(str(link.get("href")), item, absolute, may_leave=True)}


def _assets(assets: Mapping[str, Any], item: str, absolute: Absolute) -> Iterator[tuple[str, dict[str, Any]]]:
    for key, asset in _plain(assets).items():
        yield key, {**asset, "href": _address(str(asset.get("href")), item, absolute, may_leave=False)}


def _address(href: str, item: str, absolute: Absolute, *, may_leave: bool) -> str:
    if may_leave and href.startswith(("https://", "http://")):
        return href
    path = layout.resolve(href, item)
    if path is None:
        raise DamagedError(f"the index has the href {href!r} in {item}, which leaves the release")
    return absolute(path)
