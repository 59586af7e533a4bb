"""One tile of a release against everything that is known of it: what a worker of ``check`` does.

An item is made anew from its files by the functions of the build, and held against the item that is there. Where it
stands (area, column, row) is told by its folder.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from pystac.utils import str_to_datetime
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from shapely.geometry import shape

from catalog_builder import layout
from catalog_builder.check_cog import CogCheck, check_cog, png_problem
from catalog_builder.check_documents import Difference, Expected, Judge, check_links, differences, quote
from catalog_builder.check_files import compare_hash
from catalog_builder.cog import CogAsset, hash_file
from catalog_builder.errors import TemplateError
from catalog_builder.findings import Finding
from catalog_builder.footprint import bounding_box, tile_polygons, valid_polygon
from catalog_builder.grid import Tile, TileGrid
from catalog_builder.item import THUMBNAIL, AssetRecord, FileRecord, TilePlace, cog_from_asset, item_document
from catalog_builder.plan import global_grid
from catalog_builder.schemas import SchemaStore
from catalog_builder.sources import OWN_FIELDS, OWN_PREFIXES
from catalog_builder.template import Modality, Template
from catalog_builder.tile import TileResult, item_summary

_OUTLINE_PIXELS = 3
"""How far an outline may lie off: it is simplified to about a pixel and a half."""

_ITEM_RULES: Mapping[str, str] = {
    "bbox": "bbox",
    "properties/dream:area": "item-id",
    "properties/dream:column": "item-id",
    "properties/dream:row": "item-id",
    "properties/dream:valid_percent": "valid-percent",
    "properties/dream:absent": "absent",
    "properties/datetime": "interval",
    "properties/start_datetime": "interval",
    "properties/end_datetime": "interval",
    "properties/grid:code": "grid",
    "properties/proj:code": "grid",
    "properties/proj:shape": "grid",
    "properties/proj:transform": "grid",
    "properties/proj:bbox": "grid",
}
"""Where an item differs from what it should be -> the rule that this breaks."""

_ASSET_RULES: Mapping[str, str] = {
    "href": "asset-href",
    "file:size": "asset-size",
    "file:checksum": "asset-checksum",
    "bands": "asset-header",
    "proj:code": "asset-header",
    "proj:shape": "asset-header",
    "proj:transform": "asset-header",
}
_JUDGED_APART = frozenset({"type", "stac_version", "id", "collection", "geometry", "links"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TileFolder:
    """The folder of an item, as it lies in the release."""

    item_id: str
    column: int
    row: int
    parent: str
    """Href of the catalog that is to list the item."""
    parent_title: str
    files: Mapping[str, str | None]
    """Names in the folder -> SHA-256 as the area's manifest lists it, None where it does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TileBatch:
    """Some tiles of one area; a job, for whose sake schemas are compiled once."""

    release: Path
    store: SchemaStore
    collection: str
    template: Template | None
    """What the collection promises; None where that cannot be read, and then only documents are checked."""
    area: str
    area_title: str
    root_title: str
    tiles: tuple[TileFolder, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TileCheck:
    """What became of one tile."""

    href: str
    result: TileResult
    """As a build would tell of the item; without item where that cannot be read."""
    grid: TileGrid | None
    """The grid on which the item says that it stands."""
    findings: tuple[Finding, ...]


def check_tiles(batch: TileBatch) -> list[TileCheck]:
    """Check some tiles. Raises ``OSError`` where the release cannot be read."""
    judge = Judge(batch.release, batch.store)
    return [_Tile(batch, tile, judge).check() for tile in batch.tiles]


class _Tile:
    """One tile under check; collects findings."""

    def __init__(self, batch: TileBatch, folder: TileFolder, judge: Judge) -> None:
        self.batch, self.folder, self.judge = batch, folder, judge
        self.href = layout.item(batch.collection, batch.area, folder.item_id)
        self.findings: list[Finding] = []
        self.pixels = 0

    def check(self) -> TileCheck:
        for name, listed in self.folder.files.items():
            self.findings += compare_hash(self.batch.release, self.file(name), listed)
        document = self._read()
        tile = self._tile(document) if document is not None else None
        if document is not None:
            self._place(document)
            if self.batch.template is not None:
                self._names(document)
                self._contents(document, self.batch.template, tile)
        return TileCheck(
            href=self.href,
            result=self._result(document),
            grid=tile.grid if tile is not None else None,
            findings=tuple(self.findings),
        )

    def say(self, rule: str, message: str, href: str | None = None) -> None:
        self.findings.append(Finding(href=self.href if href is None else href, rule=rule, message=message))

    def file(self, name: str) -> str:
        return layout.asset(self.batch.collection, self.batch.area, self.folder.item_id, name)

    def path(self, name: str) -> Path:
        return self.batch.release / self.file(name)

    # --- the document and its place ----------------------------------------------------------------------------------

    def _read(self) -> dict[str, Any] | None:
        if f"{self.folder.item_id}.json" not in self.folder.files:
            self.say("document-missing", "the folder has no item")
            return None
        document, found = self.judge.read(self.href, "Feature")
        self.findings += found
        return document

    def _place(self, document: dict[str, Any]) -> None:
        folder, batch = self.folder, self.batch
        should = layout.item_id(batch.area, folder.column, folder.row)
        if folder.item_id != should:
            self.say("item-id", f"the folder of this tile is named {should!r} in area {batch.area!r}")
        if document.get("id") != folder.item_id:
            self.say("item-id", f"id is {quote(document.get('id'))}, the folder says {folder.item_id!r}")
        if document.get("collection") != batch.collection:
            text = f"collection is {quote(document.get('collection'))}, the folder says {batch.collection!r}"
            self.say("item-id", text)
        collection = layout.collection(batch.collection)
        back = {"root": layout.CATALOG, "parent": folder.parent, "collection": collection}
        self.findings += check_links(batch.release, self.href, document, Expected(back=back, down={}))[1]

    def _names(self, document: dict[str, Any]) -> None:
        """Hold the names of the folder's files against the assets; those that no manifest lists are told elsewhere."""
        known = {f"{self.folder.item_id}.json"}
        known |= {layout.THUMBNAIL if key == THUMBNAIL else layout.asset_file(key) for key in _assets(document)}
        for name, listed in self.folder.files.items():
            if listed is not None and name not in known:
                self.say("file-name", "is no file of an asset of the item beside it", self.file(name))

    def _tile(self, document: dict[str, Any]) -> Tile | None:
        """Give the tile on the grid where the item says that it stands: the collection's, or the area's own."""
        template, folder = self.batch.template, self.folder
        if template is None:
            return None
        properties = document.get("properties", {})
        try:
            crs, code = str(properties["proj:code"]), str(properties["grid:code"])
            CRS.from_user_input(crs)
            if template.grid.origin == "global" and not code.endswith(f"-{folder.item_id}"):
                return global_grid(template.grid, crs).tile(folder.column, folder.row)
            left, top = (float(properties["proj:transform"][place]) for place in (2, 5))
        except (KeyError, TypeError, ValueError, IndexError, RasterioError) as error:
            self.say("grid", f"does not say where it stands: {error!r}")
            return None
        grid = partial(TileGrid, crs=crs, resolution=template.grid.resolution, tile_shape=template.grid.tile_shape)
        width, height = grid(origin=(0.0, 0.0)).tile_size
        return grid(origin=(left - folder.column * width, top + folder.row * height)).tile(folder.column, folder.row)

    def _result(self, document: dict[str, Any] | None) -> TileResult:
        """Tell of the item as a build would, so that the same functions sum up the area."""
        item, size = None, 0
        if document is not None:
            try:
                item = item_summary(document)
                size = sum(asset["file:size"] for key, asset in document["assets"].items() if key != THUMBNAIL)
            except (KeyError, TypeError):
                item = None
        return TileResult(
            item_id=self.folder.item_id,
            column=self.folder.column,
            row=self.folder.row,
            valid_percent={},
            size=size,
            pixels=self.pixels,
            item=item,
        )

    # --- what is in it -----------------------------------------------------------------------------------------------

    def _contents(self, document: dict[str, Any], template: Template, tile: Tile | None) -> None:
        """Hold the item against the one that the build would make of its files."""
        assets = _assets(document)
        for key in assets:
            if key != THUMBNAIL and key not in template.modalities:
                self.say("asset-unknown", f"the collection's item_assets have no {key!r}")
        known = [(template.modalities[key], asset) for key, asset in assets.items() if key in template.modalities]
        if not known:
            self.say("asset-missing", "the item has no asset of the collection's item_assets")
        checks = [self._cog(modality, template, tile) for modality, _ in known]
        pairs = [(*pair, check.made) for pair, check in zip(known, checks, strict=True)]
        records = [self._record(*pair) for pair in pairs]
        kept = [record for record in records if record is not None]
        picture = self._thumbnail(assets, template)
        if tile is not None and self._geometry(document, tile, checks) and kept == records and kept:
            self._compare(document, kept, picture, self._tile_place(template, tile))

    def _cog(self, modality: Modality, template: Template, tile: Tile | None) -> CogCheck:
        name = layout.asset_file(modality.key)
        if name not in self.folder.files:
            self.say("asset-missing", f"{name}, the file of asset {modality.key!r}, is not there")
            return CogCheck(problems=())
        checked = check_cog(self.path(name), modality, template, tile)
        for rule, text in checked.problems:
            self.say(rule, text, self.file(name))
        self.pixels += checked.size
        return checked

    def _record(self, modality: Modality, asset: Mapping[str, Any], made: CogAsset | None) -> AssetRecord | None:
        """Give what the build knew of a COG: of the file by its own word, or by the item's where there is none."""
        try:
            record = AssetRecord(
                modality=modality,
                cog=made if made is not None and _usable(made, modality) else cog_from_asset(asset),
                start=_instant(asset["start_datetime"]),
                end=_instant(asset["end_datetime"]),
                resampling=asset["dream:resampling"],
                inputs=asset["dream:inputs"],
                properties={key: value for key, value in asset.items() if not _is_own(key)},
            )
        except (KeyError, TypeError, ValueError, IndexError, TemplateError) as error:
            self.say("asset-fields", f"asset {modality.key!r} is not as the builder writes it: {error!r}")
            return None
        if record.resampling not in ("none", modality.resampling):
            text = f"dream:resampling of {modality.key!r} is {quote(record.resampling)}, not {modality.resampling!r}"
            self.say("asset-fields", text)
        return record if _usable(record.cog, modality) else None

    def _thumbnail(self, assets: Mapping[str, Mapping[str, Any]], template: Template) -> FileRecord | None:
        asset = assets.get(THUMBNAIL)
        if asset is None:
            drawn = [key for name in template.thumbnail for key in template.render(name)["assets"][:1] if key in assets]
            if drawn:
                self.say("thumbnail", f"the item has none, though it has {drawn[0]!r} to draw")
            return None
        if layout.THUMBNAIL not in self.folder.files:
            self.say("asset-missing", f"{layout.THUMBNAIL}, the file of asset {THUMBNAIL!r}, is not there")
            return None
        if (problem := png_problem(self.path(layout.THUMBNAIL))) is not None:
            self.say("thumbnail", problem, self.file(layout.THUMBNAIL))
        size, sha256 = hash_file(self.path(layout.THUMBNAIL))
        return FileRecord(size=size, sha256=sha256, inputs=asset.get("dream:inputs", ""))

    def _geometry(self, document: dict[str, Any], tile: Tile, checks: list[CogCheck]) -> bool:
        """Hold the geometry against the valid pixels; say whether a box can be drawn around it."""
        try:
            drawn = shape(document["geometry"])
            sound = drawn.is_valid and not drawn.is_empty and drawn.geom_type in ("Polygon", "MultiPolygon")
            away = _away(drawn, tile, checks) if sound else 0.0
        except Exception as error:  # rasterio and shapely raise several unrelated classes here
            self.say("geometry", f"is no outline of a tile: {error!r}")
            return False
        if not sound:
            self.say("geometry", f"is no valid polygon: {shapely.is_valid_reason(drawn)}")
        elif away > _OUTLINE_PIXELS:
            self.say("geometry", f"lies {away:.0f} pixels off the outline of the valid pixels")
        return bool(sound)

    def _tile_place(self, template: Template, tile: Tile) -> TilePlace:
        return TilePlace(
            tile=tile,
            template=template,
            area=self.batch.area,
            area_title=self.batch.area_title,
            root_title=self.batch.root_title,
            parent=self.folder.parent,
            parent_title=self.folder.parent_title,
        )

    def _compare(
        self, document: dict[str, Any], records: list[AssetRecord], picture: FileRecord | None, place: TilePlace
    ) -> None:
        order = list(place.template.modalities)
        records = sorted(records, key=lambda record: order.index(record.modality.key))
        should = item_document(place, records, document["geometry"], picture)
        for difference in differences(document, should):
            path, is_, should_be = difference
            if path[0] not in _JUDGED_APART and not _is_told(difference) and not _is_rounding(difference):
                self.say(_rule(path), f"{'/'.join(path)} is {quote(is_)}, should be {quote(should_be)}")
        stated = [key for key in document["assets"] if key in should["assets"]]
        if stated != [key for key in should["assets"] if key in stated]:
            self.say("asset-order", f"assets are {', '.join(stated)}; the template has {', '.join(should['assets'])}")


def _assets(document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Give the assets of an item; what is none is for the schema to find."""
    assets = document.get("assets")
    return {key: asset for key, asset in assets.items() if isinstance(asset, dict)} if isinstance(assets, dict) else {}


def _usable(made: CogAsset, modality: Modality) -> bool:
    """Whether an item can be made of what a file, or its asset, says."""
    counted = all("valid_percent" in band.statistics for band in made.bands)
    return counted and len(made.bands) == len(modality.bands)


def _instant(text: str) -> datetime:
    instant = str_to_datetime(text)
    if instant.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return instant


def _is_own(key: str) -> bool:
    """Whether the builder writes a field of an asset itself; others are the template's or the user's word."""
    return key in OWN_FIELDS or key.startswith(OWN_PREFIXES)


def _away(drawn: Any, tile: Tile, checks: list[CogCheck]) -> float:
    """Give the distance in pixels between an outline and that of the pixels; 0 where not all can be read."""
    masks = [check.valid for check in checks]
    valid: npt.NDArray[np.bool_] = np.zeros(tile.grid.tile_shape, dtype=np.bool_)
    for mask in masks:
        if mask is None or mask.shape != valid.shape:
            return 0.0
        valid |= mask
    whole = tile_polygons([tile])[0]
    full = any(_is_full(check) for check in checks)
    outline = shape(whole if full else valid_polygon(valid, tile))
    west, south, east, north = bounding_box(whole)
    pixel = max((east - west) % 360 / valid.shape[1], (north - south) / valid.shape[0])
    return float(drawn.hausdorff_distance(outline) / pixel)


def _is_full(check: CogCheck) -> bool:
    return check.made is not None and any(band.statistics.get("valid_percent") == 100 for band in check.made.bands)


def _is_told(difference: Difference) -> bool:
    """Whether an asset is only on one side, which was said before."""
    path, is_, should_be = difference
    return len(path) == 2 and path[0] == "assets" and None in (is_, should_be)


def _is_rounding(difference: Difference) -> bool:
    """Whether a place on an area's own grid is the same but for the last bits, which its origin has been through."""
    path, is_, should_be = difference
    numbers = isinstance(is_, int | float) and isinstance(should_be, int | float)
    placed = path[0] == "properties" and path[1].startswith("proj:")
    return numbers and placed and math.isclose(is_, should_be, rel_tol=1e-12, abs_tol=1e-9)


def _rule(path: tuple[str, ...]) -> str:
    if path[0] == "assets":
        return _ASSET_RULES.get(path[2], "asset-fields") if len(path) > 2 else "asset-fields"
    return _ITEM_RULES.get("/".join(path[:2]), _ITEM_RULES.get(path[0], "item-fields"))
