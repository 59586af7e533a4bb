"""A collection of a release against its areas and its own files."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from catalog_builder import catalog, layout, template
from catalog_builder.catalog import AreaSummary
from catalog_builder.check.cog import png_problem
from catalog_builder.check.documents import Expected, Inspector, compare_links, quote
from catalog_builder.check.files import Folder, read_folder
from catalog_builder.errors import TemplateError
from catalog_builder.item import SHA256_MULTIHASH, THUMBNAIL
from catalog_builder.manifest import hash_file
from catalog_builder.template import Template
from catalog_builder.thumbnail import COLLECTION_SIZE

_SUMMED_UP = ("extent", "summaries", "stac_extensions")
"""Fields that the build makes; the others are the template's, which the collection itself now is."""


@dataclass(slots=True, kw_only=True)
class Collection:
    """A collection under check."""

    folder: Folder
    document: dict[str, Any]
    """Empty where it cannot be read."""
    template: Template | None = None
    """What it promises; None where that cannot be read."""
    items: set[str] = field(default_factory=set)
    """Ids of the items that its index must hold."""
    areas: list[AreaSummary] = field(default_factory=list)
    """Sums of its areas as their items tell."""
    is_whole: bool = True
    """Whether all items of all its areas can be read."""

    @property
    def id(self) -> str:
        """Its id, by the name of its folder."""
        return self.folder.href

    @property
    def href(self) -> str:
        """Href of its document."""
        return layout.collection(self.id)

    @property
    def title(self) -> str:
        """Its title, by its own word; empty where that cannot be read."""
        title = self.document.get("title")
        return title if isinstance(title, str) else ""

    @property
    def area_ids(self) -> list[str]:
        """Ids of its areas, by the names of their folders."""
        return [name for name in self.folder.folders if not name.startswith(".")]


def open_collection(inspector: Inspector, name: str) -> Collection:
    """Read a collection, and what it promises of its items."""
    folder = read_folder(inspector.release, name)
    inspector.findings += folder.findings
    collection = Collection(folder=folder, document=inspector.read(layout.collection(name), "Collection"))
    href, document = collection.href, collection.document
    for hidden in sorted(set(folder.folders) - set(collection.area_ids)):
        inspector.say(folder.path(hidden), "file-unlisted", "this folder is not listed in any manifest")
    if not document:
        return collection
    try:
        if not collection.title:
            raise TemplateError(f"{href}: title is missing")
        with inspector.applying(name):
            collection.template = template.parse({**document, "id": name}, Path(href))
    except TemplateError as error:
        inspector.say(href, "template", str(error).removeprefix(f"{href}: "))
    if document.get("id") != name:
        inspector.say(href, "collection-id", f"id is {quote(document.get('id'))}, its folder is {name!r}")
    return collection


def end_collection(inspector: Inspector, collection: Collection, root_title: str) -> None:
    """Hold a collection against its areas, when these have been checked, and against its files."""
    if not collection.document:
        return
    areas = [layout.area_catalog(collection.id, name) for name in collection.area_ids]
    areas = [href for href in areas if inspector.exists(href)]
    expected = Expected(back={"root": layout.CATALOG, "parent": layout.CATALOG}, down={"child": set(areas)})
    inspector.links(collection.href, collection.document, expected, areas)
    for key, href in _assets(collection):
        _check_asset(inspector, collection, key, href)
    if collection.is_whole and collection.areas and collection.template is not None:
        with inspector.applying(collection.id):
            _compare(inspector, collection, collection.template, root_title)


def _compare(inspector: Inspector, collection: Collection, template: Template, root_title: str) -> None:
    """Hold a collection against the one that the build would make of its areas."""
    areas = sorted(collection.areas, key=lambda area: area.id)
    should = catalog.collection_document(template, root_title, areas, {})
    stated = {key: collection.document.get(key) for key in _SUMMED_UP}
    inspector.compare(collection.href, "collection-fields", stated, {key: should[key] for key in _SUMMED_UP})
    for text in compare_links(collection.document, should, () if root_title else ("root", "parent")):
        inspector.say(collection.href, "link-title", text)


def _assets(collection: Collection) -> Iterator[tuple[str, str]]:
    """Give key and href of the assets that a collection must have."""
    yield catalog.INDEX, layout.index(collection.id)
    if layout.THUMBNAIL in collection.folder.files or any(area.thumbnail for area in collection.areas):
        yield THUMBNAIL, layout.collection_thumbnail(collection.id)


def _check_asset(inspector: Inspector, collection: Collection, key: str, href: str) -> None:
    assets = collection.document.get("assets")
    asset = assets.get(key) if isinstance(assets, dict) else None
    if not isinstance(asset, dict):
        inspector.say(collection.href, "asset-missing", f"there is no asset {key!r} for {href}")
    elif layout.resolve(str(asset.get("href")), collection.href) != href:
        inspector.say(
            collection.href, "asset-href", f"asset {key!r} leads to {quote(asset.get('href'))}, not to {href}"
        )
    elif not inspector.exists(href):
        inspector.say(collection.href, "asset-missing", f"{href}, the file of asset {key!r}, is not there")
    else:
        _check_file(inspector, collection, key, asset, href)


def _check_file(inspector: Inspector, collection: Collection, key: str, asset: dict[str, Any], href: str) -> None:
    path = inspector.release / href
    size, sha256 = hash_file(path)
    if asset.get("file:size") != size:
        text = f"file:size of {key!r} is {quote(asset.get('file:size'))}, the file has {size}"
        inspector.say(collection.href, "asset-size", text)
    if asset.get("file:checksum") != SHA256_MULTIHASH + sha256:
        inspector.say(collection.href, "asset-checksum", f"file:checksum of {key!r} is not that of {href}")
    if key == THUMBNAIL and (problem := png_problem(path, COLLECTION_SIZE)) is not None:
        inspector.say(href, "thumbnail", problem)
