"""The release layout: the only place that spells a path of a release.

Every function gives an href relative to the release's root, with ``/`` between the parts. Nothing here opens a file.
"""

import posixpath
import re
from collections.abc import Iterable

CATALOG = "catalog.json"
COLLECTION = "collection.json"
MANIFEST = "manifest.sha256"
THUMBNAIL = "thumbnail.png"
INDEX_FOLDER = "items"
EXPLORER_FOLDER = "explore"
EXPLORER = f"{EXPLORER_FOLDER}/index.html"
"""The page that shows a release in a browser; a release may be without it."""
EXPLORER_SUFFIXES = (".css", ".html", ".js", ".json", ".svg", ".txt")
"""Of the files that the page consists of. They have no folders of their own."""
WORK_FOLDER = ".build"
"""Where a build keeps what is not yet part of the release; gone when the build has ended well."""
LOCK = ".publishing.json"
"""What a publisher holds in a bucket while it works. No manifest lists it."""

MAX_DOCUMENT_BYTES = 1_000_000
MAX_ITEM_LINKS = 2_500
"""Items in one catalog document: with ids of 80 characters and their titles this stays under 1 MB."""

FORBIDDEN_AFTER_FOLDER = " !\"#$%&'()*+,-."
"""Characters that sort before ``/``: a folder and a sibling named folder + one of these list out of order on some
S3 servers, and ``aws s3 sync --delete`` then removes good objects."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_ITEM = re.compile(r"_x(m?\d{4,})_y(m?\d{4,})$")
_EXPLORER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_HASHED = re.compile(rf"{EXPLORER_FOLDER}/[A-Za-z0-9_.-]+-[A-Z0-9]{{8}}\.(?:css|js)")
_RESERVED = frozenset({"catalog", "collection", "manifest", "thumbnail", INDEX_FOLDER, EXPLORER_FOLDER})


def id_problem(name: str) -> str | None:
    """Say why ``name`` cannot be a collection's or an area's id, or None where it can."""
    if not _ID.fullmatch(name):
        return "an id is 1 to 64 letters, digits, '_' or '-', and starts with a letter or a digit"
    if name in _RESERVED:
        return "that name is taken by a document of the release"
    return None


def sibling_problem(names: Iterable[str]) -> tuple[str, str] | None:
    """Find a folder among ``names`` and a sibling that some S3 servers would list out of order with it."""
    known = set(names)
    for name in sorted(known):
        for end in range(1, len(name)):
            if name[end] in FORBIDDEN_AFTER_FOLDER and name[:end] in known:
                return name[:end], name
    return None


def tile_name(column: int, row: int) -> str:
    """Name a tile by its place: ``x0045_y0478``; negative indices carry ``m`` for minus."""
    return f"x{_index(column)}_y{_index(row)}"


def row_name(row: int) -> str:
    """Name the sub-catalog of one row of tiles."""
    return f"y{_index(row)}"


def _index(value: int) -> str:
    return f"m{-value:04d}" if value < 0 else f"{value:04d}"


def item_id(area: str, column: int, row: int) -> str:
    """Give the id of the item of one tile."""
    return f"{area}_{tile_name(column, row)}"


def parse_item(path: str) -> tuple[int, int, str] | None:
    """Give column, row and the path itself for the path of an item's document inside its area, else None."""
    folder, _, name = path.partition("/")
    match = _ITEM.search(folder) if name == f"{folder}.json" else None
    if match is None:
        return None
    return _parse_index(match[1]), _parse_index(match[2]), path


def _parse_index(text: str) -> int:
    return -int(text[1:]) if text.startswith("m") else int(text)


def collection(collection_id: str) -> str:
    """Give the href of a collection's document."""
    return f"{collection_id}/{COLLECTION}"


def collection_thumbnail(collection_id: str) -> str:
    """Give the href of a collection's thumbnail."""
    return f"{collection_id}/{THUMBNAIL}"


def index(collection_id: str) -> str:
    """Give the href of a collection's stac-geoparquet index."""
    return f"{INDEX_FOLDER}/{collection_id}.parquet"


def area(collection_id: str, area_id: str) -> str:
    """Give the folder of an area."""
    return f"{collection_id}/{area_id}"


def area_of(href: str) -> str | None:
    """Give the folder of the area to which a file belongs, None for the files of the root and of collections."""
    parts = href.split("/")
    return "/".join(parts[:2]) if len(parts) > 2 else None


def area_manifests(hrefs: Iterable[str]) -> list[str]:
    """Pick the manifests of areas out of what the root's manifest lists."""
    return [href for href in hrefs if (folder := area_of(href)) is not None and href == f"{folder}/{MANIFEST}"]


def area_catalog(collection_id: str, area_id: str) -> str:
    """Give the href of an area's catalog."""
    return f"{area(collection_id, area_id)}/{CATALOG}"


def row_catalog(collection_id: str, area_id: str, row: int) -> str:
    """Give the href of the sub-catalog of one row of a large area."""
    return f"{area(collection_id, area_id)}/{row_name(row)}/{CATALOG}"


def area_manifest(collection_id: str, area_id: str) -> str:
    """Give the href of an area's manifest."""
    return f"{area(collection_id, area_id)}/{MANIFEST}"


def item(collection_id: str, area_id: str, item: str) -> str:
    """Give the href of an item's document."""
    return f"{area(collection_id, area_id)}/{item}/{item}.json"


def item_href(collection_id: str, item_id: str) -> str | None:
    """Give the href of an item's document by its id alone; None where no item of a release has such an id."""
    match = _ITEM.search(item_id)
    if match is None or id_problem(area_id := item_id[: match.start()]) or not _ID.fullmatch(collection_id):
        return None
    return item(collection_id, area_id, item_id)


def asset(collection_id: str, area_id: str, item: str, file: str) -> str:
    """Give the href of a file of an item."""
    return f"{area(collection_id, area_id)}/{item}/{file}"


def asset_file(modality: str) -> str:
    """Name the COG of a modality inside an item's folder."""
    return f"{modality}.tif"


def explorer_file(name: str) -> str:
    """Give the href of a file of the explorer."""
    return f"{EXPLORER_FOLDER}/{name}"


def is_explorer_file(href: str) -> bool:
    """Tell whether a file is of the explorer, by its place and its name."""
    folder, _, name = href.partition("/")
    is_named = _EXPLORER_NAME.fullmatch(name) is not None and name.endswith(EXPLORER_SUFFIXES)
    return folder == EXPLORER_FOLDER and is_named


def is_hashed(href: str) -> bool:
    """Tell whether the name of a file of the explorer carries a hash of its bytes: other bytes, another name."""
    return _HASHED.fullmatch(href) is not None


def rank(href: str) -> int:
    """Give the step in which a file is published: what is pointed at goes before what points at it.

    0 COGs, pictures and what the explorer's page loads, 1 items, 2 indexes, 3 catalogs of rows, 4 of areas, 5 manifests
    of areas, 6 collections and the explorer's page, 7 the root, 8 its manifest. A manifest points at all that it lists.
    """
    depth, (folder, _, _), name = href.count("/"), href.partition("/"), href.rpartition("/")[2]
    if folder == EXPLORER_FOLDER:
        return 6 if href == EXPLORER else 0
    if name == MANIFEST:
        return 5 if depth else 8
    if name == CATALOG:
        return {0: 7, 2: 4}.get(depth, 3)
    if name == COLLECTION:
        return 6
    if folder == INDEX_FOLDER:
        return 2
    return 1 if name.endswith(".json") else 0


def order(href: str) -> tuple[int, str]:
    """Sort hrefs in the order in which they are published; a good order to take them away is the reverse."""
    return rank(href), href


def relative(target: str, document: str) -> str:
    """Give ``target`` as seen from ``document``, both hrefs of the release: ``./x`` or ``../x``."""
    folder, parts = document.split("/")[:-1], target.split("/")
    common = 0
    while common < len(folder) and common < len(parts) - 1 and folder[common] == parts[common]:
        common += 1
    up = "../" * (len(folder) - common)
    return (up or "./") + "/".join(parts[common:])


def resolve(href: str, document: str) -> str | None:
    """Resolve a relative href against the document that holds it; None where it leaves the release."""
    if "://" in href or href.startswith(("/", "\\")) or "\\" in href:
        return None
    path = posixpath.normpath(posixpath.join(posixpath.dirname(document), href))
    return None if path in (".", "..") or path.startswith(("../", "/")) else path
