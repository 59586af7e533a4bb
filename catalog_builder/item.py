"""What is known of a tile's files -> its STAC item, and back. Made from values; nothing is opened here."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from pystac import MediaType, RelType
from pystac.utils import datetime_to_str

from catalog_builder import layout
from catalog_builder.cog import CogAsset, CogBand
from catalog_builder.footprint import Geometry, bounding_box
from catalog_builder.grid import Tile
from catalog_builder.template import Modality, Template, nodata_document, parse_nodata

STAC_VERSION = "1.1.0"
THUMBNAIL = "thumbnail"
SHA256_MULTIHASH = "1220"
"""Multihash prefix: sha2-256, 32 bytes."""

PROJECTION = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"
FILE = "https://stac-extensions.github.io/file/v2.1.0/schema.json"
GRID = "https://stac-extensions.github.io/grid/v1.1.0/schema.json"
_OWN_EXTENSIONS = (PROJECTION, FILE, GRID)

_NOT_COPIED = frozenset({"bands", "description", "dream:required", "dream:resampling"})
"""Fields of a template's modality that an item's asset does not repeat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetRecord:
    """One COG of a tile with what its file cannot tell."""

    modality: Modality
    cog: CogAsset
    start: datetime
    end: datetime
    resampling: str
    """``none`` where pixels were copied bit for bit."""
    inputs: str
    """Digest of all that the pixels depend on."""
    properties: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRecord:
    """A file of a tile that is no COG, such as its thumbnail."""

    size: int
    sha256: str
    inputs: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TilePlace:
    """A tile with its place in the catalog."""

    tile: Tile
    template: Template
    area: str
    area_title: str
    split: str | None = None
    root_title: str
    parent: str
    """Href of the catalog that lists the item."""
    parent_title: str

    @property
    def item_id(self) -> str:
        """Id of the item."""
        return layout.item_id(self.area, self.tile.column, self.tile.row)

    @property
    def href(self) -> str:
        """Href of the item's document."""
        return layout.item(self.template.id, self.area, self.item_id)

    def file(self, name: str) -> str:
        """Href of a file of the item."""
        return layout.asset(self.template.id, self.area, self.item_id, name)


def item_document(
    place: TilePlace, records: Iterable[AssetRecord], geometry: Geometry, thumbnail: FileRecord | None
) -> dict[str, Any]:
    """Make the STAC item of a tile. ``records`` come in the order of the template; there is at least one."""
    records = list(records)
    assets: dict[str, Any] = {record.modality.key: asset_document(record) for record in records}
    if thumbnail is not None:
        assets[THUMBNAIL] = thumbnail_document(thumbnail)
    properties = _properties(place, records)
    return {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": _extensions(place.template, assets.values()),
        "id": place.item_id,
        "geometry": geometry,
        "bbox": bounding_box(geometry),
        "properties": properties,
        "links": _links(place),
        "assets": assets,
        "collection": place.template.id,
    }


def _properties(place: TilePlace, records: list[AssetRecord]) -> dict[str, Any]:
    tile, template = place.tile, place.template
    present = {record.modality.key for record in records}
    absent = [key for key in template.modalities if key not in present]
    return {
        "title": f"{place.area_title}, tile {tile.name}",
        **_times(records),
        "gsd": template.document["item_assets"][records[0].modality.key].get("gsd", tile.grid.resolution),
        "proj:code": tile.grid.crs,
        "proj:shape": list(tile.grid.tile_shape),
        "proj:transform": list(tile.transform)[:6],
        "proj:bbox": list(tile.bounds),
        "grid:code": _grid_code(place),
        "dream:area": place.area,
        "dream:column": tile.column,
        "dream:row": tile.row,
        **({"dream:split": place.split} if place.split else {}),
        "dream:valid_percent": min(record.cog.valid_percent for record in records),
        **({"dream:absent": absent} if absent else {}),
    }


@lru_cache
def _timestamp(when: datetime) -> str:
    """Write a date as STAC has it. Remembered, since the tiles of an area share a few."""
    return datetime_to_str(when)


def _times(records: list[AssetRecord]) -> dict[str, Any]:
    """Give start and end over all assets, and as ``datetime`` the date of the first asset that has one.

    The start alone would mislead: that of SRTM lies in 2000, whatever the images beside it. STAC allows null only where
    there is an interval, and an item without any instant has one.
    """
    nominal = next((record.start for record in records if record.start == record.end), None)
    return {
        "datetime": None if nominal is None else _timestamp(nominal),
        "start_datetime": _timestamp(min(record.start for record in records)),
        "end_datetime": _timestamp(max(record.end for record in records)),
    }


def _grid_code(place: TilePlace) -> str:
    """A cell of a whole CRS is named by the CRS, one of an area's own grid by the area."""
    designation = "".join(letter for letter in place.template.id.upper() if letter.isalnum())
    scope = place.tile.grid.crs.replace(":", "") if place.tile.grid.rows == "north" else place.area
    return f"{designation}-{scope}_{place.tile.name}"


def _links(place: TilePlace) -> list[dict[str, Any]]:
    template = place.template
    targets = (
        (RelType.ROOT, layout.CATALOG, place.root_title),
        (RelType.PARENT, place.parent, place.parent_title),
        (RelType.COLLECTION, layout.collection(template.id), str(template.document["title"])),
    )
    return [link(rel, layout.relative(target, place.href), title) for rel, target, title in targets]


def link(rel: str, href: str, title: str, media_type: str = MediaType.JSON) -> dict[str, Any]:
    """Make a link; STAC Browser shows its title without opening the target."""
    return {"rel": str(rel), "href": href, "type": str(media_type), "title": title}


def _extensions(template: Template, assets: Collection[Mapping[str, Any]]) -> list[str]:
    """List the extensions used: the builder's own, and those of the template whose prefix stands in an asset."""
    keys: set[str] = set().union(*assets, *(band for asset in assets for band in asset.get("bands", ())))
    prefixes = tuple({key.partition(":")[0] for key in keys if ":" in key})
    listed = template.document.get("stac_extensions", ())
    return sorted({*_OWN_EXTENSIONS, *(uri for uri in listed if extension_name(uri).startswith(prefixes))})


def extension_name(uri: str) -> str:
    """Give the name of an extension from its schema's URI: ``eo`` of ``https://…/eo/v2.0.0/schema.json``."""
    parts = uri.split("/")
    return parts[-3] if len(parts) > 3 else uri


def asset_document(record: AssetRecord) -> dict[str, Any]:
    """Make the asset of one COG: the template's words, the file's facts."""
    modality, cog = record.modality, record.cog
    first, last = _timestamp(record.start), _timestamp(record.end)
    return {
        "href": f"./{layout.asset_file(modality.key)}",
        "type": str(MediaType.COG),
        **{key: value for key, value in modality.document.items() if key not in _NOT_COPIED},
        "bands": [_band_document(authored, band) for authored, band in zip(modality.bands, cog.bands, strict=True)],
        "start_datetime": first,
        "end_datetime": last,
        "proj:code": cog.crs,
        "proj:shape": list(cog.shape),
        "proj:transform": list(cog.transform),
        "file:size": cog.size,
        "file:checksum": SHA256_MULTIHASH + cog.sha256,
        **record.properties,
        "dream:resampling": record.resampling,
        "dream:inputs": record.inputs,
    }


def _band_document(authored: Mapping[str, Any], band: CogBand) -> dict[str, Any]:
    document = {**authored, "data_type": band.data_type}
    document.pop("description", None)
    if band.nodata is not None:
        document["nodata"] = nodata_document(band.nodata)
    document["statistics"] = dict(band.statistics)
    return document


def thumbnail_document(record: FileRecord) -> dict[str, Any]:
    """Make the asset of a tile's thumbnail."""
    return {
        "href": f"./{layout.THUMBNAIL}",
        "type": str(MediaType.PNG),
        "title": "Thumbnail",
        "roles": ["thumbnail"],
        "file:size": record.size,
        "file:checksum": SHA256_MULTIHASH + record.sha256,
        "dream:inputs": record.inputs,
    }


def cog_from_asset(asset: Mapping[str, Any]) -> CogAsset:
    """Read a COG's facts back from its asset, as ``asset_document`` wrote them.

    Raises ``KeyError``, ``TypeError`` or ``ValueError`` for an asset that the builder did not write.
    """
    return CogAsset(
        crs=asset["proj:code"],
        transform=tuple(float(value) for value in asset["proj:transform"]),
        shape=(asset["proj:shape"][0], asset["proj:shape"][1]),
        bands=tuple(_band_from(band) for band in asset["bands"]),
        size=asset["file:size"],
        sha256=sha256_of(asset),
    )


def _band_from(band: Mapping[str, Any]) -> CogBand:
    nodata = band.get("nodata")
    return CogBand(
        name=band["name"],
        data_type=band["data_type"],
        nodata=None if nodata is None else parse_nodata(nodata, "nodata"),
        statistics={name: float(value) for name, value in band["statistics"].items()},
    )


def sha256_of(asset: Mapping[str, Any]) -> str:
    """Give the SHA-256 (hex) of an asset's ``file:checksum``. Raises ``ValueError`` for another kind of hash."""
    checksum = str(asset["file:checksum"])
    if not checksum.startswith(SHA256_MULTIHASH) or len(checksum) != len(SHA256_MULTIHASH) + 64:
        raise ValueError(f"file:checksum {checksum!r} is no sha2-256 multihash")
    return checksum.removeprefix(SHA256_MULTIHASH)
