"""One tile of a release against everything that is known of it: what a worker of ``check`` does.

Where an item stands (area, column, row) is told by its folder.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rasterio.crs import CRS
from rasterio.errors import RasterioError

from catalog_builder import layout
from catalog_builder.check.cog import CogCheck, check_cog, png_problem
from catalog_builder.check.documents import UNFIT, Expected, Judge, check_links, quote, unfit
from catalog_builder.check.files import compare_hash
from catalog_builder.check.findings import Finding
from catalog_builder.check.item import asset_record, compare_item, outline_problem, read_geometry
from catalog_builder.cog import CogAsset
from catalog_builder.grid import Tile, TileGrid
from catalog_builder.item import THUMBNAIL, AssetRecord, FileRecord, TilePlace
from catalog_builder.manifest import hash_file
from catalog_builder.plan import global_grid
from catalog_builder.schemas import SchemaStore
from catalog_builder.template import Modality, Template
from catalog_builder.tile import TileResult, item_summary


@dataclass(frozen=True, slots=True, kw_only=True)
class TileFolder:
    """The folder of an item, as it lies in the release."""

    item_id: str
    column: int
    row: int
    parent: str
    """Href of the catalog that is to list the item."""
    parent_title: str
    """Empty where it is not known."""
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
    """Empty where the area's catalog cannot be read."""
    split: str | None
    root_title: str
    """Empty where the root cannot be read."""
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
                self._apply(document, self.batch.template, tile)
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
        item, size, template = None, 0, self.batch.template
        if document is not None and template is not None:
            with suppress(KeyError, TypeError):
                size = sum(asset["file:size"] for key, asset in _assets(document).items() if key in template.modalities)
                item = _summable(item_summary(document))
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

    def _apply(self, document: dict[str, Any], template: Template, tile: Tile | None) -> None:
        try:
            self._contents(document, template, tile)
        except UNFIT as error:
            self.findings.append(unfit(self.batch.collection, error))

    def _contents(self, document: dict[str, Any], template: Template, tile: Tile | None) -> None:
        """Hold the item against the one that the build would make of its files."""
        assets = _assets(document)
        for key in assets:
            if key != THUMBNAIL and key not in template.modalities:
                self.say("asset-unknown", f"the collection's item_assets have no {key!r}")
        known = {key: asset for key, asset in assets.items() if key in template.modalities}
        if not known:
            self.say("asset-missing", "the item has no asset of the collection's item_assets")
        checks = {key: self._cog(template.modalities[key], template, tile) for key in known}
        records = [self._record(template.modalities[key], asset, checks[key].made) for key, asset in known.items()]
        picture = self._thumbnail(assets, template)
        if tile is not None and self._outline(document, tile, list(checks.values())):
            kept = [record for record in records if record is not None]
            if kept and len(kept) == len(records):
                self._compare(document, self._tile_place(template, tile), kept, picture)

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
        try:
            return asset_record(asset, modality, made)
        except ValueError as error:
            self.say("asset-fields", str(error))
            return None

    def _thumbnail(self, assets: Mapping[str, Mapping[str, Any]], template: Template) -> FileRecord | None:
        asset = assets.get(THUMBNAIL)
        if asset is None:
            renders = [template.render(name) for name in template.thumbnail]
            drawn = [key for render in renders for key in render.get("assets", ())[:1] if key in assets]
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

    def _outline(self, document: dict[str, Any], tile: Tile, checks: list[CogCheck]) -> bool:
        """Hold the geometry against the valid pixels; say whether it is one at all."""
        try:
            drawn = read_geometry(document.get("geometry"))
        except ValueError as error:
            self.say("geometry", str(error))
            return False
        full = any(check.made is not None and _is_full(check.made) for check in checks)
        problem = outline_problem(drawn, tile, _all_valid(checks, tile.grid.tile_shape), full=full)
        if problem is not None:
            self.say("geometry", problem)
        return True

    def _tile_place(self, template: Template, tile: Tile) -> TilePlace:
        return TilePlace(
            tile=tile,
            template=template,
            area=self.batch.area,
            area_title=self.batch.area_title,
            split=self.batch.split,
            root_title=self.batch.root_title,
            parent=self.folder.parent,
            parent_title=self.folder.parent_title,
        )

    def _compare(
        self, document: dict[str, Any], place: TilePlace, records: list[AssetRecord], picture: FileRecord | None
    ) -> None:
        if not place.area_title:  # the item repeats it
            own = document["properties"]
            place = replace(
                place, area_title=str(own.get("title")).rpartition(", tile ")[0], split=own.get("dream:split")
            )
        for rule, text in compare_item(document, place, records, picture):
            self.say(rule, text)


def _assets(document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Give the assets of an item; what is none is for the schema to find."""
    assets = document.get("assets")
    return {key: asset for key, asset in assets.items() if isinstance(asset, dict)} if isinstance(assets, dict) else {}


def _summable(item: dict[str, Any]) -> dict[str, Any]:
    """Give what an item says of itself, of the types that sums need. Raises ``TypeError`` for others."""
    numbers = [*item["bbox"], item["valid_percent"]]
    dates = item["start_datetime"], item["end_datetime"]
    if len(numbers) != 5 or not all(isinstance(number, int | float) for number in numbers):
        raise TypeError("a bbox has four numbers")
    if not all(isinstance(text, str) for text in dates):
        raise TypeError("a date is text")
    return item


def _is_full(made: CogAsset) -> bool:
    return any(band.statistics.get("valid_percent") == 100 for band in made.bands)


def _all_valid(checks: list[CogCheck], shape: tuple[int, int]) -> npt.NDArray[np.bool_] | None:
    """Tell where any file has a valid pixel; None where not all can be read."""
    masks = [check.valid for check in checks if check.valid is not None and check.valid.shape == shape]
    return np.any(masks, axis=0) if masks and len(masks) == len(checks) else None
