"""A published release as a search sees it: its documents, the addresses of what it holds, the tables of its items.

Documents are read once and asked for again when they may have changed: at once in a folder, by entity tag and after a
minute elsewhere, which is as long as a published release lets them be kept.
"""

import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pyarrow as pa

from catalog_builder import jsonio, layout
from catalog_builder.errors import DamagedError, RemoteError
from catalog_builder.location import FolderLocation, Location, S3Location, WebLocation
from catalog_builder.readers import NoPartsError, open_reader
from catalog_builder.search.blocks import BlockCache, BlockFile, Blocks, FolderCache, MemoryCache
from catalog_builder.search.crawl import crawl
from catalog_builder.search.engine import Collection
from catalog_builder.search.table import IndexTable, ItemTable, MemoryTable

_KEPT_SECONDS = 60.0
_INDEX_ROLE = "collection-mirror"


class NoIndexWarning(UserWarning):
    """A collection has no index, so all its items are read."""


@dataclass(slots=True)
class _Kept:
    """A document, and when it was last known to be that of the release."""

    document: dict[str, Any]
    tag: str | None
    seen: float


class Release:
    """A release in a folder, on a web server or in a bucket. Every method raises ``RemoteError``."""

    def __init__(self, location: Location, cache: Path | None = None) -> None:
        """Open a release. ``cache`` is a folder for what is read of indexes far away; without one it is in memory."""
        self.location = location
        self._reader = open_reader(location)
        self._cache = cache
        self._base = _base(location)
        self._max_age = 0.0 if isinstance(location, FolderLocation) else _KEPT_SECONDS
        self._documents: dict[str, _Kept] = {}
        self._tables: dict[str, tuple[str, Collection]] = {}
        """Of each collection what its document says of the index, and its items."""
        self._files: dict[str, Blocks] = {}
        self._fetched = 0

    @property
    def fetched(self) -> int:
        """Bytes of indexes that were fetched from afar."""
        return self._fetched + sum(file.fetched for file in self._files.values())

    # --- addresses ---------------------------------------------------------------------------------------------------

    def absolute(self, href: str) -> str:
        """Give the address of an href of the release, usable anywhere."""
        return self._base + (quote(href, safe="/~") if "://" in self._base else href)

    def relative(self, address: str) -> str | None:
        """Give the href of an address inside the release, else None."""
        if not address.startswith(self._base):
            return None
        href = address.removeprefix(self._base)
        return unquote(href) if "://" in self._base else href

    # --- documents ---------------------------------------------------------------------------------------------------

    def document(self, href: str) -> dict[str, Any]:
        """Read a document."""
        kept = self._documents.get(href)
        moment = time.monotonic()
        if kept is not None and self._max_age and moment - kept.seen < self._max_age:
            return kept.document
        tag = None
        if kept is not None or not self._max_age:
            facts = self._reader.facts(href)
            tag = None if facts is None else facts.tag
            if kept is not None and tag is not None and tag == kept.tag:
                kept.seen = moment
                return kept.document
        kept = _Kept(document=self._read(href), tag=tag, seen=moment)
        self._documents[href] = kept
        return kept.document

    def _read(self, href: str) -> dict[str, Any]:
        data = self._reader.read(href)
        if data is None:
            raise RemoteError(f"{self.absolute(href)}: not there; is it the address of a release?")
        return _parse(data, self.absolute(href))

    def collections(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Give href and document of all collections."""
        root = self.document(layout.CATALOG)
        if root.get("type") != "Catalog":
            raise DamagedError(f"{self.absolute(layout.CATALOG)}: no STAC catalog but {root.get('type')!r}")
        for link in root.get("links", ()):
            href = layout.resolve(str(link.get("href")), layout.CATALOG) if link.get("rel") == "child" else None
            if href is not None and href.endswith(f"/{layout.COLLECTION}"):
                document = self.document(href)
                if document.get("type") != "Collection" or not isinstance(document.get("id"), str):
                    raise DamagedError(f"{self.absolute(href)}: no STAC collection with an id")
                yield href, document

    # --- tables ------------------------------------------------------------------------------------------------------

    def table(self, href: str, document: Mapping[str, Any]) -> Collection:
        """Open the items of a collection: its index, or where there is none all its items, which takes its time."""
        name = str(document.get("id"))
        asset = _index_asset(document)
        described = f"{name}:{jsonio.digest(asset if asset is not None else document)}"
        known = self._tables.get(name)
        if known is not None and known[0] == described and not self._is_old(known[1].table):
            return known[1]
        index = None if asset is None else layout.resolve(str(asset.get("href")), href)
        table: ItemTable | None = None if index is None or asset is None else self._open_index(index, asset)
        version = described
        if table is None:
            table, version = self._crawl(href, name), f"{described}:{time.monotonic()}"
        self._tables[name] = described, Collection(name, version, table)
        return self._tables[name][1]

    @staticmethod
    def _is_old(table: ItemTable) -> bool:
        return isinstance(table, MemoryTable) and time.monotonic() - table.read_at > _KEPT_SECONDS

    def _open_index(self, index: str, asset: Mapping[str, Any]) -> IndexTable | None:
        facts = self._reader.facts(index)
        if facts is None:
            return None
        where, described = self.absolute(index), asset.get("file:size")
        if isinstance(described, int) and described != facts.size:
            raise DamagedError(
                f"{where}: has {facts.size:,} bytes, its collection says {described:,}: cut, older or newer than the "
                "catalog, or of another release; bring both up to date"
            )
        if isinstance(self.location, FolderLocation):
            return IndexTable(where, _opened(self.location.path / index, where))
        tag = facts.tag or str(asset.get("file:checksum", ""))
        cache: BlockCache = MemoryCache() if self._cache is None or not tag else FolderCache(self._cache, where, tag)
        blocks = Blocks(self._reader, index, facts.size, facts.tag, cache)
        try:
            blocks.fetch([(max(0, facts.size - 2**16), 2**16)])
        except NoPartsError:
            return IndexTable(where, partial(pa.BufferReader, self._reader.read(index) or b""))
        if (before := self._files.get(index)) is not None:
            self._fetched += before.fetched
        self._files[index] = blocks
        return IndexTable(where, lambda: pa.PythonFile(BlockFile(blocks), mode="r"), blocks)

    def _crawl(self, href: str, name: str) -> MemoryTable:
        text = f"{self.absolute(href)}: the collection has no index ({layout.index(name)}): reading all its items"
        warnings.warn(text, NoIndexWarning, stacklevel=2)
        return MemoryTable(crawl(self._read, href), read_at=time.monotonic())


def _opened(path: Path, where: str) -> Callable[[], Any]:
    """Open a file once for all threads, so that another one put in its place is not mixed with it.

    It is read, not mapped: a mapped file that is cut meanwhile ends the process.
    """
    try:
        file = pa.OSFile(str(path))
    except OSError as error:
        raise RemoteError(f"{where}: cannot read: {error}") from error
    return lambda: file


def _base(location: Location) -> str:
    match location:
        case FolderLocation():
            return f"{location.path.absolute()}/"
        case WebLocation():
            return f"{location.url}/"
        case S3Location(endpoint_url=str(endpoint), anonymous=True):
            # Any client reads it so, without a word on buckets.
            return f"{endpoint.rstrip('/')}/{location.bucket}/{location.key('')}"
    return f"s3://{location.bucket}/{location.key('')}"


def _index_asset(document: Mapping[str, Any]) -> dict[str, Any] | None:
    assets = document.get("assets")
    for asset in assets.values() if isinstance(assets, Mapping) else ():
        roles = asset.get("roles") if isinstance(asset, dict) else None
        if isinstance(asset, dict) and isinstance(roles, list) and _INDEX_ROLE in roles:
            return asset
    return None


def _parse(data: bytes, where: str) -> dict[str, Any]:
    try:
        document = jsonio.loads(data)
    except ValueError as error:
        said = "a web page" if data.lstrip()[:1] == b"<" else "no JSON"
        raise DamagedError(f"{where}: is {said}, not a document of a release") from error
    if not isinstance(document, dict) or not _are_links(document.get("links")):
        raise DamagedError(f"{where}: is JSON, but no STAC document with links")
    return document


def _are_links(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(link, dict) for link in value)
