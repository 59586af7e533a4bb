"""A search as the command line asks it, and what it tells people of what was found."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pystac_client import Client, ItemSearch

from catalog_builder.errors import UsageError
from catalog_builder.location import Location
from catalog_builder.search.client import open_release
from catalog_builder.search.release import Release

_HEADER = ("id", "collection", "time", "valid %", "assets")
_LOOKED_AT = 100
"""Rows by which the widths of columns are chosen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked, as ``pystac_client.Client.search`` takes it; nothing where it is empty or None."""

    collections: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    bbox: tuple[float, float, float, float] | None = None
    intersects: str | None = None
    datetime: str | None = None
    query: tuple[str, ...] = ()
    filter: str | None = None
    sortby: str | None = None
    limit: int | None = None
    """No more items than this."""


class FoundItems:
    """The answer to a question. Its items are read anew each time they are asked for."""

    def __init__(self, release: Release, client: Client, search: ItemSearch, limit: int | None) -> None:
        self.release = release
        self._client, self._search, self._limit = client, search, limit
        self.matched: int = search.matched() or 0

    def items(self) -> Iterator[dict[str, Any]]:
        """Give the items found, page by page."""
        return self._search.items_as_dicts()

    def hrefs(self, asset: str) -> Iterator[str]:
        """Give the addresses of one asset. Raises ``UsageError`` where items were found and none has it."""
        others: set[str] = set()
        any_has = False
        for item in self.items():
            others |= set(item["assets"])
            if asset in item["assets"]:
                any_has = True
                yield item["assets"][asset]["href"]
        if others and not any_has:
            raise UsageError(f"no item found has an asset {asset!r}; there are {', '.join(sorted(others))}")

    def document(self) -> dict[str, Any]:
        """Give the JSON form: how many items were found, and of each what it is and where."""
        return {"matched": self.matched, "items": list(map(_short, self.items()))}

    def lines(self) -> Iterator[str]:
        """Give a table for people."""
        rows = map(_row, self.items())
        first = list(itertools.islice(rows, _LOOKED_AT))
        if not first:
            return
        widths = [max(map(len, column)) for column in zip(_HEADER, *first, strict=True)]
        for row in itertools.chain([_HEADER], first, rows):
            yield "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()

    def summary(self) -> str:
        """Say how many items were found; where there are none, where the collections lie."""
        if self.matched:
            shown = min(self.matched, self._limit or self.matched)
            return f"{self.matched:,} items" if shown == self.matched else f"{shown:,} of {self.matched:,} items"
        extents = "; ".join(map(_extent, self._client.get_collections()))
        return f"no item found; {extents}"


def find_items(location: Location, question: Question, cache: Path | None = None) -> FoundItems:
    """Ask a release. Raises ``UsageError`` or ``RemoteError``."""
    release = Release(location, cache)
    client = open_release(release)
    search = client.search(
        collections=list(question.collections) or None,
        ids=list(question.ids) or None,
        bbox=question.bbox,
        intersects=question.intersects,
        datetime=question.datetime,
        query=list(question.query) or None,
        filter=question.filter,
        sortby=question.sortby,
        max_items=question.limit,
        limit=None if question.limit is None else min(question.limit, 1000),
    )
    return FoundItems(release, client, search, question.limit)


def _short(item: dict[str, Any]) -> dict[str, Any]:
    properties = item["properties"]
    dates = {name: properties[name] for name in ("datetime", "start_datetime", "end_datetime") if name in properties}
    return {
        "id": item["id"],
        "collection": item["collection"],
        "bbox": item.get("bbox"),
        **dates,
        "href": item["links"][0]["href"],
        "assets": {key: asset["href"] for key, asset in item["assets"].items()},
    }


def _row(item: dict[str, Any]) -> tuple[str, ...]:
    properties = item["properties"]
    ends = (properties.get(name) or properties.get("datetime") for name in ("start_datetime", "end_datetime"))
    start, end = (str(one or "")[:10] for one in ends)
    valid = properties.get("dream:valid_percent")
    return (
        item["id"],
        item["collection"],
        start if start == end else f"{start}/{end}",
        "" if valid is None else f"{valid:g}",
        " ".join(key for key in item["assets"] if key != "thumbnail"),
    )


def _extent(collection: Any) -> str:
    box = collection.extent.spatial.bboxes[0]
    (west, south), (east, north) = box[:2], box[len(box) // 2 :][:2]
    times: Sequence[Any] = collection.extent.temporal.intervals[0]
    start, end = ("" if one is None else f"{one:%Y-%m-%d}" for one in times)
    return f"{collection.id} lies within {west:.4g} {south:.4g} {east:.4g} {north:.4g}, {start} to {end}"
