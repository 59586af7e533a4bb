"""The items of a collection without an index: all documents, read by their links."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pyarrow as pa
from stac_geoparquet.arrow import parse_stac_items_to_arrow

from catalog_builder import layout
from catalog_builder.errors import DamagedError
from catalog_builder.search.table import BBOX_FIELDS
from catalog_builder.transfer import in_threads

Read = Callable[[str], dict[str, Any]]
"""Reads a document of the release by its href."""

_THREADS = 8
_EMPTY = pa.schema(
    [
        ("id", pa.string()),
        ("bbox", pa.struct([(name, pa.float64()) for name in BBOX_FIELDS[4]])),
        ("geometry", pa.binary()),
        ("links", pa.list_(pa.string())),
        ("assets", pa.null()),
    ]
)


def crawl(read: Read, collection: str) -> pa.Table:
    """Read all items below a collection, in the order of its links, as one table.

    Raises ``RemoteError`` where a document is not there, ``DamagedError`` where one is no item.
    """
    hrefs = list(_items(read, collection, set()))
    documents = in_threads(partial(_read_item, read), hrefs, _THREADS)
    if not documents:
        return _EMPTY.empty_table()
    try:
        return parse_stac_items_to_arrow(documents).read_all()
    except (pa.ArrowException, ValueError, KeyError, TypeError) as error:
        said = " ".join(str(error).split())[:120]
        raise DamagedError(f"{collection}: its items do not fit in one table: {said}") from error


def _items(read: Read, document: str, seen: set[str]) -> Iterator[str]:
    seen.add(document)
    catalogs = []
    for link in read(document)["links"]:
        href = layout.resolve(str(link.get("href")), document)
        if href is None or href in seen:
            continue
        if link.get("rel") == "item":
            seen.add(href)
            yield href
        elif link.get("rel") == "child":
            catalogs.append(href)
    for href in catalogs:
        if href not in seen:
            yield from _items(read, href, seen)


def _read_item(read: Read, href: str) -> dict[str, Any]:
    item = read(href)
    if item.get("type") != "Feature":
        raise DamagedError(f"{href}: is no STAC item but {item.get('type')!r}")
    return dict(item)
