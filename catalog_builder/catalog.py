"""Collections, area catalogs and the root: documents made from values and templates. Nothing is opened here."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pystac import MediaType, RelType

from catalog_builder import layout, manifest
from catalog_builder.errors import BuildError
from catalog_builder.item import FILE, PROJECTION, SHA256_MULTIHASH, STAC_VERSION, link
from catalog_builder.plan import PlannedArea, row_title
from catalog_builder.template import Template
from catalog_builder.tile import TileResult

GEOJSON = str(MediaType.GEOJSON)
PARQUET = "application/vnd.apache.parquet"
INDEX = "geoparquet-items"
"""Key of the index among a collection's assets."""
EXPLORER_TITLE = "Explore the tiles of this release in a browser"


@dataclass(frozen=True, slots=True, kw_only=True)
class AreaSummary:
    """What a collection needs to know of an area; stands in the area's catalog as ``dream:summary``."""

    id: str
    title: str
    items: int
    size: int
    """Bytes of all COGs."""
    bbox: tuple[float, ...]
    """West, south, east, north; west is larger than east across the antimeridian."""
    start: str
    end: str
    crs: str
    assets: Mapping[str, int]
    """Items by modality."""
    thumbnail: str | None
    """href of the thumbnail of the fullest tile."""

    def document(self) -> dict[str, Any]:
        """Give the JSON form."""
        return {
            "items": self.items,
            "size": self.size,
            "bbox": list(self.bbox),
            "interval": [self.start, self.end],
            "proj:code": self.crs,
            "assets": dict(self.assets),
            "thumbnail": self.thumbnail,
        }

    @classmethod
    def from_catalog(cls, catalog: Mapping[str, Any]) -> "AreaSummary":
        """Read it back from an area's catalog. Raises ``KeyError`` or ``TypeError`` for one not written here."""
        summary = catalog["dream:summary"]
        return cls(
            id=catalog["dream:area"],
            title=catalog["title"],
            items=summary["items"],
            size=summary["size"],
            bbox=tuple(summary["bbox"]),
            start=summary["interval"][0],
            end=summary["interval"][1],
            crs=summary["proj:code"],
            assets=summary["assets"],
            thumbnail=summary["thumbnail"],
        )


def summarize(area: PlannedArea, results: Iterable[TileResult]) -> AreaSummary:
    """Sum up the tiles of an area that became items; there is at least one."""
    built = sorted((result for result in results if result.item), key=lambda result: (result.row, result.column))
    items = [result.item for result in built if result.item]
    best = max(built, key=lambda result: (result.item or {})["valid_percent"])
    drawn = best.item is not None and best.item["thumbnail"]
    keys = [key for key in area.template.modalities if any(key in item["assets"] for item in items)]
    return AreaSummary(
        id=area.area.id,
        title=area.area.title,
        items=len(items),
        size=sum(result.size for result in built),
        bbox=enclosing_box(item["bbox"] for item in items),
        start=min(item["start_datetime"] for item in items),
        end=max(item["end_datetime"] for item in items),
        crs=area.grid.crs,
        assets={key: sum(key in item["assets"] for item in items) for key in keys},
        thumbnail=layout.asset(area.template.id, area.area.id, best.item_id, layout.THUMBNAIL) if drawn else None,
    )


def enclosing_box(boxes: Iterable[Iterable[float]]) -> tuple[float, ...]:
    """Give the box around boxes; where one crosses the antimeridian, the result does."""
    west, south, east, north = (list(values) for values in zip(*boxes, strict=True))
    if any(w > e for w, e in zip(west, east, strict=True)):
        # Count all longitudes east of Greenwich, so that the crossing box is in one piece.
        west, east = [w % 360 for w in west], [e % 360 for e in east]
        return min(west), min(south), max(east) - 360, max(north)
    return min(west), min(south), max(east), max(north)


def area_documents(
    area: PlannedArea, results: Iterable[TileResult], summary: AreaSummary, inputs: str | None
) -> dict[str, dict[str, Any]]:
    """Make the catalog of an area, and one a row where it is large: href -> document.

    ``inputs`` is the digest of all that the area depends on, None where a part of it could not be built.
    """
    built = sorted((result for result in results if result.item), key=lambda result: (result.row, result.column))
    href = layout.area_catalog(area.template.id, area.area.id)
    documents: dict[str, dict[str, Any]] = {}
    if area.split_by_row:
        rows: dict[int, list[TileResult]] = {}
        for result in built:
            rows.setdefault(result.row, []).append(result)
        for row, members in rows.items():
            path = layout.row_catalog(area.template.id, area.area.id, row)
            documents[path] = _row_document(area, row, path, members)
        children = [
            link(RelType.CHILD, layout.relative(path, href), row_title(area.area.title, row))
            for row, path in zip(rows, list(documents), strict=True)
        ]
    else:
        children = _item_links(area, href, built)
    documents[href] = _area_document(area, href, summary, inputs, children)
    return documents


def _area_document(
    area: PlannedArea, href: str, summary: AreaSummary, inputs: str | None, children: list[dict[str, Any]]
) -> dict[str, Any]:
    template = area.template
    collection = layout.collection(template.id)
    return {
        "type": "Catalog",
        "stac_version": STAC_VERSION,
        "id": f"{template.id}-{area.area.id}",
        "title": area.area.title,
        "description": (
            f"{area.area.title}: {_tiles(summary.items)} of {template.document['title']}, in {summary.crs}."
        ),
        "dream:area": area.area.id,
        **({"dream:split": area.area.split} if area.area.split else {}),
        **({"dream:inputs": inputs} if inputs else {}),
        "dream:summary": summary.document(),
        "links": [
            link(RelType.ROOT, layout.relative(layout.CATALOG, href), area.root_title),
            link(RelType.PARENT, layout.relative(collection, href), str(template.document["title"])),
            *_preview(href, summary),
            *children,
        ],
    }


def _tiles(count: int) -> str:
    return f"{count} tile{'s' if count != 1 else ''}"


def _preview(href: str, summary: AreaSummary) -> list[dict[str, Any]]:
    """Link an area to the picture that stands for it: a catalog has no assets."""
    if summary.thumbnail is None:
        return []
    return [
        link(RelType.PREVIEW, layout.relative(summary.thumbnail, href), "Thumbnail: the fullest tile", MediaType.PNG)
    ]


def _row_document(area: PlannedArea, row: int, href: str, members: list[TileResult]) -> dict[str, Any]:
    title = row_title(area.area.title, row)
    parent = layout.area_catalog(area.template.id, area.area.id)
    return {
        "type": "Catalog",
        "stac_version": STAC_VERSION,
        "id": f"{area.template.id}-{area.area.id}-{layout.row_name(row)}",
        "title": title,
        "description": f"{title}: {_tiles(len(members))}.",
        "dream:area": area.area.id,
        "links": [
            link(RelType.ROOT, layout.relative(layout.CATALOG, href), area.root_title),
            link(RelType.PARENT, layout.relative(parent, href), area.area.title),
            *_item_links(area, href, members),
        ],
    }


def _item_links(area: PlannedArea, document: str, results: Iterable[TileResult]) -> list[dict[str, Any]]:
    return [
        link(
            RelType.ITEM,
            layout.relative(layout.item(area.template.id, area.area.id, result.item_id), document),
            result.item_id,
            GEOJSON,
        )
        for result in results
    ]


def collection_document(
    template: Template, root_title: str, areas: Iterable[AreaSummary], assets: Mapping[str, Any]
) -> dict[str, Any]:
    """Make a collection from its template and the areas it holds; there is at least one."""
    areas = list(areas)
    href = layout.collection(template.id)
    document = dict(template.document)
    document["extent"] = {
        "spatial": {"bbox": _boxes(areas)},
        "temporal": {"interval": [[min(area.start for area in areas), max(area.end for area in areas)]]},
    }
    document["summaries"] = {
        **template.document.get("summaries", {}),
        "proj:code": sorted({area.crs for area in areas}),
        "gsd": sorted({entry["gsd"] for entry in template.document["item_assets"].values() if "gsd" in entry}),
    }
    document["links"] = [
        link(RelType.ROOT, layout.relative(layout.CATALOG, href), root_title),
        link(RelType.PARENT, layout.relative(layout.CATALOG, href), root_title),
        *template.document.get("links", ()),
        *(
            link(RelType.CHILD, layout.relative(layout.area_catalog(template.id, area.id), href), area.title)
            for area in areas
        ),
    ]
    document["assets"] = {**template.document.get("assets", {}), **assets}
    document["stac_extensions"] = sorted({*template.document.get("stac_extensions", ()), FILE, PROJECTION})
    return document


def _boxes(areas: list[AreaSummary]) -> list[list[float]]:
    """STAC: the first box is around all, the others say where within it. One area needs no second box."""
    around = list(enclosing_box(area.bbox for area in areas))
    return [around] if len(areas) == 1 else [around, *(list(area.bbox) for area in areas)]


def index_asset(collection_id: str, size: int, sha256: str, inputs: str) -> dict[str, Any]:
    """Make the asset of a collection's index."""
    return {
        "href": layout.relative(layout.index(collection_id), layout.collection(collection_id)),
        "type": PARQUET,
        "title": "All items of this collection, as stac-geoparquet",
        "roles": ["collection-mirror"],
        "file:size": size,
        "file:checksum": SHA256_MULTIHASH + sha256,
        "dream:inputs": inputs,
    }


def thumbnail_asset(data: bytes) -> dict[str, Any]:
    """Make the asset of a collection's thumbnail."""
    return {
        "href": f"./{layout.THUMBNAIL}",
        "type": str(MediaType.PNG),
        "title": "Thumbnail: map of the areas",
        "roles": ["thumbnail"],
        "file:size": len(data),
        "file:checksum": SHA256_MULTIHASH + manifest.sha256(data),
    }


def root_document(catalog: Mapping[str, Any], collections: Mapping[str, str], *, explorer: bool) -> dict[str, Any]:
    """Make the root from its template; ``collections`` are ids and titles of those that have items.

    ``explorer`` says whether the release has the explorer's page.
    """
    title = str(catalog.get("title", catalog["id"]))
    pages = [link(RelType.ALTERNATE, f"./{layout.EXPLORER}", EXPLORER_TITLE, MediaType.HTML)] if explorer else []
    return {
        **catalog,
        "links": [
            link(RelType.ROOT, f"./{layout.CATALOG}", title),
            *catalog.get("links", ()),
            *pages,
            *(
                link(RelType.CHILD, f"./{layout.collection(name)}", collection_title)
                for name, collection_title in sorted(collections.items())
            ),
        ],
    }


def check_size(href: str, data: bytes) -> bytes:
    """Give ``data`` back where a document is not too large for browsers. Raises ``BuildError``."""
    if len(data) > layout.MAX_DOCUMENT_BYTES:
        raise BuildError(
            f"{href}: {len(data):,} bytes, over the {layout.MAX_DOCUMENT_BYTES:,} that one document may have; "
            "use fewer, larger areas in one collection, or shorter titles"
        )
    return data
