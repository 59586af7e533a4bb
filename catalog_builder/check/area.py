"""An area of a release: its files, its catalogs and links, and at last the sum of its items."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from catalog_builder import catalog, layout
from catalog_builder.check.collection import Collection
from catalog_builder.check.documents import Expected, Inspector, compare_links
from catalog_builder.check.files import Folder, compare_manifest, read_manifest, walk
from catalog_builder.check.tile import TileBatch, TileCheck, TileFolder
from catalog_builder.grid import PIXEL_TOLERANCE, TileGrid, TileRange
from catalog_builder.plan import PlannedArea, row_title
from catalog_builder.sources import Area
from catalog_builder.template import Template

_TILES_PER_JOB = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class _TileSpot:
    """The folder of a tile and its place, told by its name."""

    folder: Folder
    name: str
    column: int
    row: int

    @property
    def item(self) -> str:
        """Href of the item."""
        return self.folder.path(f"{self.name}.json")


@dataclass(slots=True, kw_only=True)
class CheckedArea:
    """An area under check."""

    collection: Collection
    id: str
    document: dict[str, Any]
    """Its catalog; empty where it cannot be read."""
    rows: dict[str, dict[str, Any]]
    """Catalogs of its rows, where it has them: href -> document."""
    listed: Mapping[str, str] | None
    """Its manifest: path -> SHA-256; None where it cannot be read."""
    tiles: list[_TileSpot]
    checks: list[TileCheck] = field(default_factory=list)

    @property
    def folder(self) -> str:
        """Href of the area's folder."""
        return layout.area(self.collection.id, self.id)

    @property
    def href(self) -> str:
        """Href of the area's catalog."""
        return layout.area_catalog(self.collection.id, self.id)

    @property
    def title(self) -> str:
        """Title of the area, by its own word; empty where that cannot be read."""
        title = self.document.get("title")
        return title if isinstance(title, str) else ""

    @property
    def split(self) -> str | None:
        """Split to which its tiles belong, by its own word."""
        split = self.document.get("dream:split")
        return split if isinstance(split, str) and split else None

    @property
    def is_done(self) -> bool:
        """Whether all tiles have been checked."""
        return len(self.checks) == len(self.tiles)

    def parent(self, tile: _TileSpot) -> str:
        """Give the catalog that is to list a tile's item."""
        return layout.row_catalog(self.collection.id, self.id, tile.row) if self.rows else self.href


@dataclass(frozen=True, slots=True, kw_only=True)
class _ReleasedArea(PlannedArea):
    """An area as its release tells it, from which the build's functions make its documents anew."""

    has_rows: bool

    @property
    def split_by_row(self) -> bool:
        """Whether each row of tiles has its own catalog."""
        return self.has_rows


def open_area(inspector: Inspector, collection: Collection, name: str) -> CheckedArea:
    """Check the files and links of an area; its tiles are for workers to check."""
    href = layout.area(collection.id, name)
    if (problem := layout.id_problem(name)) is not None:
        inspector.say(href, "area-id", problem)
    folders = list(walk(inspector.release, href))
    inspector.findings += [finding for folder in folders for finding in folder.findings]
    members = [folder for folder in folders if folder.href.count("/") == href.count("/") + 1]
    listed, found = read_manifest(inspector.release, layout.area_manifest(collection.id, name))
    inspector.findings += found
    area = CheckedArea(
        collection=collection,
        id=name,
        document=inspector.read(layout.area_catalog(collection.id, name), "Catalog"),
        rows=dict(_row_catalogs(inspector, members)),
        listed=listed,
        tiles=[spot for folder in members if (spot := _spot(folder)) is not None],
    )
    _check_files(inspector, area, folders)
    _check_links(inspector, area)
    return area


def count_tiles(names: Iterable[str]) -> int:
    """Count the folders of tiles among the names of an area's folders."""
    return sum(_place(name) is not None for name in names)


def _place(name: str) -> tuple[int, int] | None:
    found = layout.parse_item(f"{name}/{name}.json")
    return None if found is None else found[:2]


def _spot(folder: Folder) -> _TileSpot | None:
    name = folder.href.rpartition("/")[2]
    place = _place(name)
    return None if place is None else _TileSpot(folder=folder, name=name, column=place[0], row=place[1])


def _row_catalogs(inspector: Inspector, members: Iterable[Folder]) -> Iterator[tuple[str, dict[str, Any]]]:
    for folder in members:
        if layout.CATALOG in folder.files and _spot(folder) is None:
            yield folder.path(layout.CATALOG), inspector.read(folder.path(layout.CATALOG), "Catalog")


def _check_files(inspector: Inspector, area: CheckedArea, folders: Iterable[Folder]) -> None:
    """Hold an area's manifest against what is there. Bytes of tiles are for the workers to read."""
    if area.listed is None:
        return
    manifest = layout.area_manifest(area.collection.id, area.id)
    present = {folder.path(name) for folder in folders for name in folder.files} - {manifest}
    paths = (href.removeprefix(f"{area.folder}/") for href in present)
    inspector.findings += compare_manifest(inspector.release, manifest, area.listed, paths)
    tiles = {tile.folder.href for tile in area.tiles}
    others = {href for href in present if href.rpartition("/")[0] not in tiles}
    listed = {f"{area.folder}/{path}": sha256 for path, sha256 in area.listed.items()}
    inspector.files(listed, others, {area.href, *map(area.parent, area.tiles)})


def _check_links(inspector: Inspector, area: CheckedArea) -> None:
    items: dict[str, list[str]] = {}
    for tile in area.tiles:
        if inspector.exists(tile.item):
            items.setdefault(area.parent(tile), []).append(tile.item)
    own = items.get(area.href, [])
    expected = Expected(
        back={"root": layout.CATALOG, "parent": area.collection.href}, down={"child": set(area.rows), "item": set(own)}
    )
    inspector.links(area.href, area.document, expected, [*area.rows, *own])
    for href, document in area.rows.items():
        own = items.get(href, [])
        expected = Expected(back={"root": layout.CATALOG, "parent": area.href}, down={"item": set(own)})
        inspector.links(href, document, expected, own)


def batches(inspector: Inspector, area: CheckedArea, root_title: str) -> Iterator[TileBatch]:
    """Give the work on an area's tiles."""
    tiles = (_tile_folder(area, tile) for tile in area.tiles)
    while chunk := tuple(islice(tiles, _TILES_PER_JOB)):
        yield TileBatch(
            release=inspector.release,
            store=inspector.store,
            collection=area.collection.id,
            template=area.collection.template,
            area=area.id,
            area_title=area.title,
            split=area.split,
            root_title=root_title,
            tiles=chunk,
        )


def _tile_folder(area: CheckedArea, tile: _TileSpot) -> TileFolder:
    listed = area.listed or {}
    return TileFolder(
        item_id=tile.name,
        column=tile.column,
        row=tile.row,
        parent=area.parent(tile),
        parent_title=row_title(area.title, tile.row) if area.title and area.rows else area.title,
        files={name: listed.get(f"{tile.name}/{name}") for name in sorted(tile.folder.files)},
    )


def end_area(inspector: Inspector, area: CheckedArea, root_title: str) -> None:
    """Hold an area's catalogs against its items, when these have been checked."""
    collection = area.collection
    built = [check.result for check in area.checks if check.result.item is not None]
    collection.items |= {result.item_id for result in built}
    if not area.tiles:
        inspector.say(area.href, "area-summary", "the area has no items")
    grid = _common_grid(inspector, area.checks)
    if area.document and not area.title:
        inspector.say(area.href, "catalog-fields", "title is missing")
    if grid is None or collection.template is None or len(built) < len(area.tiles) or not area.title:
        collection.is_whole = False  # what cannot be read was told of
        return
    with inspector.applying(collection.id):
        released = _released(area, collection.template, grid, root_title)
        summary = catalog.summarize(released, built)
        collection.areas.append(summary)
        inputs = area.document.get("dream:inputs")
        for href, should in catalog.area_documents(released, built, summary, inputs).items():
            document = area.document if href == area.href else area.rows.get(href, {})
            _compare_catalog(inspector, href, document, should, root_title)


def _common_grid(inspector: Inspector, checks: list[TileCheck]) -> TileGrid | None:
    """Give the grid on which most tiles of an area stand, and tell of those that do not."""
    placed = sorted((check.href, check.grid) for check in checks if check.grid is not None)
    votes = Counter(_rounded(grid) for _, grid in placed)
    if not votes:
        return None
    common = votes.most_common(1)[0][0]
    for href, grid in placed:
        if not _same_grid(grid, common):
            text = f"stands on a grid of {grid.crs} from {grid.origin}, most tiles of the area on one of "
            inspector.say(href, "grid", f"{text}{common.crs} from {common.origin}")
    return common


def _rounded(grid: TileGrid) -> TileGrid:
    """Let grids be equal whose origins, each reckoned back from another tile, differ in their last bits."""
    x, y = (round(value / grid.resolution, 6) * grid.resolution for value in grid.origin)
    return replace(grid, origin=(x, y))


def _same_grid(one: TileGrid, other: TileGrid) -> bool:
    away = max(abs(a - b) for a, b in zip(one.origin, other.origin, strict=True))
    return (one.crs, one.rows) == (other.crs, other.rows) and away <= PIXEL_TOLERANCE * one.resolution


def _released(area: CheckedArea, promise: Template, grid: TileGrid, root_title: str) -> _ReleasedArea:
    columns, rows = [tile.column for tile in area.tiles], [tile.row for tile in area.tiles]
    return _ReleasedArea(
        area=Area(
            collection=promise.id,
            id=area.id,
            title=area.title,
            sources=(),
            required=(),
            split=area.split,
            file=Path(area.href),
        ),
        template=promise,
        root_title=root_title,
        grid=grid,
        tiles=TileRange(grid=grid, columns=range(min(columns), max(columns) + 1), rows=range(min(rows), max(rows) + 1)),
        sources=(),
        has_rows=bool(area.rows),
    )


def _compare_catalog(
    inspector: Inspector, href: str, document: dict[str, Any], should: dict[str, Any], root_title: str
) -> None:
    """Hold a catalog against the one that the build would write; where its links lead is checked apart."""
    if not document:
        return
    apart = ("type", "stac_version", "links", "dream:summary")
    fields = {key for key in (*document, *should) if key not in apart}
    stated = {key: document[key] for key in fields & document.keys()}
    inspector.compare(href, "catalog-fields", stated, {key: should[key] for key in fields & should.keys()})
    inspector.compare(href, "area-summary", document.get("dream:summary"), should.get("dream:summary"))
    for text in compare_links(document, should, () if root_title else ("root",)):
        inspector.say(href, "link-title", text)
