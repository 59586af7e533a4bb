"""What ``check`` can hold against a release: every rule by its name, and findings that name a rule.

The names are part of the command's output: scripts may rely on them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

RULES: Final[Mapping[str, str]] = MappingProxyType(
    {
        # Files and manifests.
        "unfinished-build": "a build is under way, or was interrupted",
        "manifest-missing": "a folder that needs a manifest has none",
        "manifest-syntax": "a manifest is not what sha256sum -c reads, sorted by path",
        "manifest-path": "a manifest lists a path that leaves its folder or belongs in another manifest",
        "file-missing": "a manifest lists a file that is not there",
        "file-unlisted": "a file is there that no manifest lists",
        "file-hash": "the bytes of a file are not those that its manifest vouches for",
        "file-name": "a manifest lists a file for which the layout has no place",
        "file-kind": "neither a plain file nor a folder, or a symbolic link that leaves the release",
        "sibling": "a folder stands beside a name with which some S3 servers list it out of order",
        # Documents.
        "document-missing": "a folder lacks the document that describes it",
        "json": "a document is no JSON object",
        "document-size": "a document is larger than browsers like",
        "document-type": "a document is of another STAC type than its place says",
        "stac-version": "a document is of another version of STAC",
        "schema": "a document breaks the schema of STAC or of one of its extensions",
        "dream-schema": "a document breaks the schema of the dream: fields",
        "template": "a collection does not say what its items promise",
        "collection-id": "a collection's id is not the name of its folder",
        "area-id": "an area's folder has a name that is no id",
        "catalog-fields": "an area's catalog is not what its items make of it",
        "area-summary": "the dream:summary of an area is not the sum of its items",
        "collection-fields": "a collection's extent or summaries are not those of its areas",
        # Links.
        "link-title": "a link has no title, or another title or type than the build gives it",
        "link-leaves": "a link is absolute, or leaves the release",
        "link-target": "a link leads to no file, or to none that this document lists",
        "link-back": "a root, parent, collection or self link is missing, doubled or leads elsewhere",
        "document-unreached": "no link leads from its catalog to a document",
        "document-twice": "a catalog lists a document more than once",
        # Items.
        "item-id": "an item's id, area, column or row are not those of its folder",
        "item-fields": "an item's fields are not what its files and its template make of it",
        "grid": "an item's place is not that of its tile, or not on the grid of its area",
        "interval": "an item's dates are not those of its assets",
        "valid-percent": "dream:valid_percent is not that of the emptiest asset",
        "absent": "dream:absent is not what the item lacks",
        "geometry": "an item's geometry is broken, or not the outline of its valid pixels",
        "bbox": "an item's bbox is not the box of its geometry",
        "thumbnail": "a thumbnail is missing or no PNG of its size: 256 x 256 pixels, a collection's 512 x 384",
        # Assets.
        "asset-unknown": "an asset's key is not in the collection's item_assets",
        "asset-order": "assets stand in another order than in item_assets",
        "asset-href": "an asset's href does not lead to the file named by its key",
        "asset-missing": "the file of an asset is not there, or an asset that must be there is not",
        "asset-size": "file:size is not the number of bytes of the file",
        "asset-checksum": "file:checksum is not the SHA-256 of the file",
        "asset-header": "an asset says other things of its file than the file's header",
        "asset-fields": "an asset's other fields are not those of its template",
        # Pixels.
        "cog-unreadable": "a file is no GeoTIFF that can be read to its end",
        "cog-invalid": "a GeoTIFF is not cloud-optimized",
        "cog-template": "a file is not what its template and its tile promise",
        "cog-options": "a file is packed otherwise than dream:cog promises",
        "cog-alpha": "a band or a mask of a file makes pixels transparent",
        "cog-overview": "an overview of classes holds a value that the image does not",
        "statistics": "the statistics in a file are not those of its pixels",
        "valid-share": "a file has fewer valid pixels than dream:min_valid_percent",
        # The index.
        "index-unreadable": "an index is no stac-geoparquet file",
        "index-missing": "an index lacks an item",
        "index-extra": "an index holds an item that the collection does not have",
        "index-twice": "an index holds an item more than once",
        "index-differs": "an index tells other things of an item than its document",
        # With --clients.
        "client-fails": "a client that users have cannot read an asset",
        "client-pixels": "a client reads other pixels, another type or another nodata than the file holds",
        "client-place": "a client puts pixels elsewhere than proj:transform says",
    }
)
"""Name of each rule -> what it means when the rule is broken."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Finding:
    """One thing that ``check`` holds against a release."""

    href: str
    """What is at fault, relative to the release's root."""
    rule: str
    """One of RULES."""
    message: str

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ValueError(f"{self.rule!r} is no rule")

    def __str__(self) -> str:
        return f"{_printable(self.href)}: {self.rule}: {_printable(self.message)}"

    def document(self) -> dict[str, str]:
        """Give the JSON form."""
        return {"href": _printable(self.href), "rule": self.rule, "message": _printable(self.message)}


def _printable(text: str) -> str:
    """Spell out what would break a line, or could not be written at all: file names may hold any bytes."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
