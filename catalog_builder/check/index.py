"""A row group of an index against the items that it tells of: what a worker of ``check`` does."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pystac.utils import datetime_to_str, str_to_datetime
from stac_geoparquet.arrow import stac_table_to_items

from catalog_builder import jsonio, layout
from catalog_builder.check.documents import differences, quote
from catalog_builder.check.findings import Finding

_ROWS_AT_ONCE = 256
_INSTANTS = ("datetime", "start_datetime", "end_datetime")
_BROKEN = (pa.ArrowException, ValueError, KeyError, TypeError, AttributeError)
"""What comes of a file that is no stac-geoparquet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexPart:
    """One row group of the index of a collection; a job."""

    release: Path
    collection: str
    row_group: int

    @property
    def href(self) -> str:
        """Href of the index."""
        return layout.index(self.collection)


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexCheck:
    """What became of one row group."""

    ids: tuple[str, ...]
    """Of its items, in order."""
    findings: tuple[Finding, ...]


def count_row_groups(path: Path) -> int:
    """Count the row groups of an index. Raises ``ValueError`` where it is no stac-geoparquet file."""
    try:
        with pq.ParquetFile(path) as file:
            if b"geo" not in (file.schema_arrow.metadata or {}):
                raise ValueError("it is Parquet, but has no geo metadata")
            return int(file.num_row_groups)
    except pa.ArrowException as error:
        raise ValueError(" ".join(str(error).split())) from error


def check_index_part(part: IndexPart) -> IndexCheck:
    """Hold a row group against the items of the release. Raises ``OSError`` where these cannot be read."""
    ids: list[str] = []
    findings: list[Finding] = []
    try:
        for item in _items(part):
            ids.append(str(item["id"]))
            findings += _compare(part, item)
    except _BROKEN as error:
        text = f"row group {part.row_group} cannot be read as STAC items: {error!r}"
        findings.append(Finding(href=part.href, rule="index-unreadable", message=text))
    return IndexCheck(ids=tuple(ids), findings=tuple(findings))


def _items(part: IndexPart) -> Iterator[dict[str, Any]]:
    """Read the items of a row group, some at a time, so that memory stays flat."""
    with pq.ParquetFile(part.release / part.href) as file:
        for batch in file.iter_batches(_ROWS_AT_ONCE, row_groups=[part.row_group]):
            yield from stac_table_to_items(pa.Table.from_batches([batch]))


def _compare(part: IndexPart, item: dict[str, Any]) -> Iterator[Finding]:
    href = _item_href(part, item)
    path = part.release / href if href is not None else None
    if path is None or not path.is_file():
        text = f"holds {quote(item['id'])}, which the collection does not have"
        yield Finding(href=part.href, rule="index-extra", message=text)
        return
    try:
        document = jsonio.read(path)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        return  # said of the item itself
    found = list(differences(_plain(item), _plain(document)))
    if found:
        where, indexed, stated = found[0]
        text = f"item {item['id']}: {'/'.join(where)} is {quote(indexed)} in the index, {quote(stated)} in the item"
        more = f", and {len(found) - 1} more such fields" if len(found) > 1 else ""
        yield Finding(href=part.href, rule="index-differs", message=text + more)


def _item_href(part: IndexPart, item: dict[str, Any]) -> str | None:
    """Tell where the item of a row should be; None where a row's words cannot be those of an item."""
    name, area = str(item["id"]), str(item["properties"].get("dream:area"))
    if layout.parse_item(f"{name}/{name}.json") is None or layout.id_problem(area) is not None:
        return None
    return layout.item(part.collection, area, name)


def _plain(document: Any) -> Any:
    """Bring an item to what it and its row have in common.

    Arrow keeps no difference between null, an empty object and nothing, and writes instants to the microsecond.
    """
    if not isinstance(document, dict) or not isinstance(document.get("properties"), dict):
        return document
    properties = dict(document["properties"])
    for key in _INSTANTS:
        properties[key] = _plain_instant(properties.get(key))
    return _without_nothing({**document, "properties": properties})


def _plain_instant(value: Any) -> Any:
    try:
        return datetime_to_str(str_to_datetime(value)) if isinstance(value, str) else value
    except ValueError:
        return value


def _without_nothing(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {key: _without_nothing(inner) for key, inner in value.items()}
        return {key: inner for key, inner in kept.items() if inner is not None and inner != {}}
    if isinstance(value, list | tuple):
        return [_without_nothing(inner) for inner in value]
    return value
