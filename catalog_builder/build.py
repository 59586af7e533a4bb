"""The pipeline: a plan -> a release.

Tiles are built by workers and staged; when the last tile of an area is done its catalog and its manifest are made; then
the index, the collections, the root and the root's manifest; at last all of it moves into place. An area of which
nothing changed is not looked at tile by tile.
"""

import time
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from catalog_builder import catalog, index, jsonio, layout, manifest, maps
from catalog_builder.catalog import AreaSummary
from catalog_builder.errors import BuildError, CatalogBuilderError, RasterError
from catalog_builder.executor import in_batches, unordered
from catalog_builder.explorer import Page
from catalog_builder.item import sha256_of
from catalog_builder.manifest import hash_file
from catalog_builder.plan import Plan, PlannedArea, TileJob
from catalog_builder.template import Template
from catalog_builder.tile import TileResult, build_tile, kept_tile
from catalog_builder.workspace import Overlay, Workspace, open_workspace

_ITEMS_PER_PART = 500
_INDEX_PARTS = "index"


class TileBuilder(Protocol):
    """Builds one tile; a module's function, so that it can be sent to a worker."""

    def __call__(self, job: TileJob, overlay: Overlay) -> TileResult:
        """Stage the files of a tile and tell what became of it."""


class Progress(Protocol):
    """Hears how a build goes on."""

    def start(self, tiles: int) -> None:
        """Tell how many tiles there are to look at."""

    def tile(self, result: TileResult) -> None:
        """Tell of a finished tile."""

    def note(self, text: str) -> None:
        """Tell of a step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildReport:
    """What a build did."""

    areas: int
    items: int
    assets: int
    size: int
    """Bytes of all COGs of the release."""
    written: int
    """Bytes of COGs written by this build."""
    files: int
    """Files that this build put into the release or took away."""
    left_out: tuple[tuple[str, str], ...]
    """Tiles without item, and why."""
    failures: tuple[tuple[str, str], ...]
    """Areas and tiles that could not be built, and why."""
    explorer: bool
    """Whether the release has the explorer's page."""
    seconds: float


@dataclass(slots=True)
class _AreaState:
    """An area under way."""

    area: PlannedArea
    waiting: int
    """Tiles that have not ended."""
    results: list[TileResult] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class _DoneArea:
    """An area whose documents are ready."""

    collection: str
    summary: AreaSummary
    manifest: str
    """SHA-256 of the area's manifest, which vouches for every file of the area."""

    @property
    def folder(self) -> str:
        """Href of the area's folder."""
        return layout.area(self.collection, self.summary.id)


def build(
    plan: Plan,
    release: Path,
    executor: Executor,
    progress: Progress,
    *,
    window: int = 8,
    keep_going: bool = False,
    make_tile: TileBuilder = build_tile,
    page: Page | None = None,
) -> BuildReport:
    """Build a plan into a release folder. At most ``window`` tiles, or batches of quick ones, are under way at once.

    ``page`` becomes the explorer of the release; without one it keeps the explorer that it has, if any.
    ``explorer.NO_PAGE`` takes it away.

    Raises ``CatalogBuilderError``; the release is then as it was. With ``keep_going``, what cannot be built is reported
    instead, and the release keeps the last good version of it where it has one.
    """
    started = time.monotonic()
    with open_workspace(release) as workspace:
        builder = _Builder(plan, workspace, executor, progress, window, keep_going, make_tile, page)
        return builder.run(started)


class _Builder:
    """One run of the pipeline; holds what its steps share."""

    def __init__(
        self,
        plan: Plan,
        workspace: Workspace,
        executor: Executor,
        progress: Progress,
        window: int,
        keep_going: bool,
        make_tile: TileBuilder,
        page: Page | None,
    ) -> None:
        self.plan, self.workspace, self.executor, self.progress = plan, workspace, executor, progress
        self.overlay, self.page = workspace.overlay, page
        self.window, self.keep_going, self.make_tile = window, keep_going, make_tile
        self.failures = [(name, str(error)) for name, error in plan.failures]
        self.left_out: list[tuple[str, str]] = []
        self.written = 0

    def run(self, started: float) -> BuildReport:
        done = self._build_areas()
        done += self._carry_failed({area.folder for area in done})
        if not done:
            raise BuildError(f"{self.workspace.release}: nothing could be built: {self.failures[0][1]}")
        done.sort(key=lambda area: area.folder)
        explorer = self._write_explorer()
        files = self._finish_release(done, explorer)
        return BuildReport(
            areas=len(done),
            items=sum(area.summary.items for area in done),
            assets=sum(sum(area.summary.assets.values()) for area in done),
            size=sum(area.summary.size for area in done),
            written=self.written,
            files=files,
            left_out=tuple(sorted(self.left_out)),
            failures=tuple(self.failures),
            explorer=layout.EXPLORER in explorer,
            seconds=time.monotonic() - started,
        )

    # --- tiles ------------------------------------------------------------------------------------------------------

    def _build_areas(self) -> list[_DoneArea]:
        known = {area.area.name: _unchanged(area, self.overlay) for area in self.plan.areas}
        done = [area for area in known.values() if area is not None]
        changed = [area for area in self.plan.areas if known[area.area.name] is None]
        for area in changed:
            self.overlay.doubt(layout.area_catalog(area.template.id, area.area.id))
        self.progress.start(sum(len(area.tiles) for area in changed))
        states = {area.area.name: _AreaState(area, waiting=len(area.tiles)) for area in changed}
        jobs = (job for area in changed for job in area.jobs())
        work = partial(self.make_tile, overlay=self.overlay)
        for job, outcome in in_batches(self.executor, work, jobs, self.window):
            state = states[f"{job.place.template.id}/{job.place.area}"]
            self._take(state, job, outcome)
            state.waiting -= 1
            if not state.waiting:
                done += self._end_area(states.pop(state.area.area.name))
        return done

    def _take(self, state: _AreaState, job: TileJob, outcome: TileResult | CatalogBuilderError) -> None:
        result: TileResult | None
        if isinstance(outcome, CatalogBuilderError):
            if not self.keep_going:
                raise outcome
            state.failures.append((job.place.item_id, str(outcome)))
            self.overlay.unstage(job.place.file(""))
            result = kept_tile(job, self.overlay)
        else:
            result = outcome
        if result is None:
            return
        state.results.append(result)
        self.written += result.written
        self.progress.tile(result)

    # --- areas ------------------------------------------------------------------------------------------------------

    def _end_area(self, state: _AreaState) -> list[_DoneArea]:
        self.failures += state.failures
        try:
            _check_sources(state)
        except CatalogBuilderError as error:
            if not self.keep_going:
                raise
            self.failures.append((state.area.area.name, str(error)))
            self.overlay.unstage(layout.area(state.area.template.id, state.area.area.id))
            return []
        self.left_out += [(result.item_id, result.left_out) for result in state.results if result.left_out]
        return [self._write_area(state)]

    def _write_area(self, state: _AreaState) -> _DoneArea:
        area = state.area
        collection, name = area.template.id, area.area.id
        summary = catalog.summarize(area, state.results)
        # An area with failures has no digest, so that the next build looks at its tiles again.
        inputs = None if state.failures else area.inputs
        files = {f"{result.item_id}/{name}": sha for result in state.results for name, sha in result.files.items()}
        folder = layout.area(collection, name)
        documents = catalog.area_documents(area, state.results, summary, inputs)
        texts = {href: catalog.check_size(href, jsonio.dumps(document)) for href, document in documents.items()}
        files |= {href.removeprefix(f"{folder}/"): manifest.sha256(data) for href, data in texts.items()}
        listing = manifest.dumps(files)
        self.workspace.prune(folder, (f"{folder}/{name}" for name in [*files, layout.MANIFEST]))
        self.overlay.put(layout.area_manifest(collection, name), listing)
        # The area's catalog comes last: it vouches for all that it tells of.
        for href, data in texts.items():
            self.overlay.put(href, data)
        return _DoneArea(collection=collection, summary=summary, manifest=manifest.sha256(listing))

    def _carry_failed(self, folders: set[str]) -> list[_DoneArea]:
        """Keep the last good version of areas that cannot be built now."""
        names = [area.area.name for area in self.plan.areas] + [name for name, _ in self.plan.failures]
        failed = [name for name in names if name not in folders]
        for name in failed:
            self.overlay.unstage(name)
        carried = [_released_area(name, self.overlay) for name in failed]
        return [area for area in carried if area is not None]

    # --- the release as a whole -------------------------------------------------------------------------------------

    def _finish_release(self, done: list[_DoneArea], explorer: dict[str, str]) -> int:
        files: dict[str, str] = {layout.area_manifest(area.collection, area.summary.id): area.manifest for area in done}
        titles: dict[str, str] = {}
        for collection in sorted({area.collection for area in done}):
            template = self.plan.templates.collections[collection]
            members = [area for area in done if area.collection == collection]
            files |= self._write_collection(template, members)
            titles[collection] = str(template.document["title"])
        root = catalog.root_document(self.plan.templates.catalog, titles, explorer=layout.EXPLORER in explorer)
        files |= explorer | self._put(layout.CATALOG, jsonio.dumps(root))
        self._put(layout.MANIFEST, manifest.dumps(files))
        self._prune(files, {area.folder for area in done})
        self.progress.note("moving what is new into place")
        return self.workspace.commit(self._obsolete(files))

    def _obsolete(self, files: dict[str, str]) -> set[str]:
        """Find what the released manifests list and the new ones do not. ``files`` are those of the root's."""
        released = _listed(self.workspace.release / layout.MANIFEST)
        gone = released.keys() - files.keys()
        for href in [href for href in released if released[href] != files.get(href)]:
            folder, _, name = href.rpartition("/")
            if folder and name == layout.MANIFEST:
                old, new = _listed(self.workspace.release / href), _listed(self.overlay.tree / href)
                gone |= {f"{folder}/{path}" for path in old.keys() - new.keys()}
        return gone

    def _prune(self, files: dict[str, str], folders: set[str]) -> None:
        """Drop what an earlier, interrupted build staged and this one does not want."""
        tree = self.overlay.tree
        for path in [*tree.glob("*/*"), *tree.glob("*")]:
            href = path.relative_to(tree).as_posix()
            if path.is_dir() and href.count("/") == 1 and href not in folders:
                self.overlay.unstage(href)
            elif path.is_file() and href != layout.MANIFEST and href not in files:
                path.unlink()

    def _write_explorer(self) -> dict[str, str]:
        """Stage the page, or keep the one that is there; what is not in it any more is obsolete."""
        files: dict[str, str] = {}
        if self.page is None:
            self.overlay.unstage(layout.EXPLORER_FOLDER)  # of another page, perhaps
            return _released_explorer(self.workspace.release)
        for href, data in self.page.files.items():
            files |= self._put(href, data)
        return files

    def _write_collection(self, template: Template, areas: list[_DoneArea]) -> dict[str, str]:
        self.progress.note(f"writing collection {template.id}")
        href = layout.collection(template.id)
        old = self.overlay.document(href).get("assets", {})
        index_asset = self._write_index(template.id, areas, old.get(catalog.INDEX, {}))
        assets: dict[str, Any] = {catalog.INDEX: index_asset}
        files = {layout.index(template.id): sha256_of(index_asset)}
        picture = self._collection_thumbnail(areas)
        files |= self._put(layout.collection_thumbnail(template.id), picture)
        assets["thumbnail"] = catalog.thumbnail_asset(picture)
        root_title = str(self.plan.templates.catalog.get("title", self.plan.templates.catalog["id"]))
        summaries = [area.summary for area in areas]
        document = catalog.collection_document(template, root_title, summaries, assets)
        return files | self._put(href, catalog.check_size(href, jsonio.dumps(document)))

    def _collection_thumbnail(self, areas: list[_DoneArea]) -> bytes:
        return maps.thumbnail([area.summary for area in areas])

    def _put(self, href: str, data: bytes) -> dict[str, str]:
        self.overlay.put(href, data)
        return {href: manifest.sha256(data)}

    # --- the index --------------------------------------------------------------------------------------------------

    def _write_index(self, collection: str, areas: list[_DoneArea], old: dict[str, Any]) -> dict[str, Any]:
        """Write the index of a collection, unless it was made from these very areas."""
        inputs = jsonio.digest([{area.summary.id: area.manifest for area in areas}, index.versions()])
        href = layout.index(collection)
        if old.get("dream:inputs") == inputs and self.overlay.size(href) == old.get("file:size"):
            return old
        self.overlay.doubt(layout.collection(collection))
        parts = self._write_parts(collection, areas)
        target = self.overlay.tree / href
        target.parent.mkdir(parents=True, exist_ok=True)
        joined = target.with_name(f".{target.name}.partial")
        index.join_parts(parts, joined)
        joined.replace(target)
        for part in parts:
            part.unlink()
        return catalog.index_asset(collection, *hash_file(target), inputs)

    def _write_parts(self, collection: str, areas: list[_DoneArea]) -> list[Path]:
        self.progress.note(f"writing {layout.index(collection)}")
        folder = self.workspace.folder / _INDEX_PARTS / collection
        ordered = sorted(areas, key=lambda area: index.place_order(area.summary.bbox))
        jobs = [
            index.PartJob(items=items, target=folder / f"{area.summary.id}_{number:04d}.arrow")
            for area in ordered
            for number, items in enumerate(self._item_batches(area))
        ]
        for _, future in unordered(self.executor, index.write_part, jobs, self.window):
            future.result()
        return [job.target for job in jobs]

    def _item_batches(self, area: _DoneArea) -> Iterator[tuple[Path, ...]]:
        listed = manifest.loads(self.overlay.read(f"{area.folder}/{layout.MANIFEST}") or b"")
        tiles = sorted(tile for name in listed if (tile := layout.parse_item(name)) is not None)
        first = min(tile[0] for tile in tiles), min(tile[1] for tile in tiles)
        tiles.sort(key=lambda tile: index.z_order(tile[0] - first[0], tile[1] - first[1]))
        for start in range(0, len(tiles), _ITEMS_PER_PART):
            batch = tiles[start : start + _ITEMS_PER_PART]
            yield tuple(self._existing(f"{area.folder}/{name}") for _, _, name in batch)

    def _existing(self, href: str) -> Path:
        path = self.overlay.find(href)
        if path is None:
            raise BuildError(f"{href}: went away during the build; run the same command again")
        return path


def _check_sources(state: _AreaState) -> None:
    """Refuse a source without any valid pixel, and an area without any tile."""
    for planned in state.area.sources:
        key = planned.modality.key
        seen = [result.valid_percent[key] for result in state.results if key in result.valid_percent]
        if seen and not any(seen):
            files = ", ".join(path.name for path in planned.source.paths[:3])
            raise RasterError(
                f"{planned.source.paths[0].parent / files}: no valid pixel for {key!r} in area {state.area.area.name}"
            )
    if not any(result.item for result in state.results):
        why = state.failures[0][1] if state.failures else (state.results[0].left_out or "no tiles")
        raise BuildError(f"area {state.area.area.name}: no tile could be built: {why}")


def _unchanged(area: PlannedArea, overlay: Overlay) -> _DoneArea | None:
    """Give an area whose documents say that they were made from the same inputs, and whose files are all there."""
    found = _released_area(area.area.name, overlay)
    document = overlay.document(layout.area_catalog(area.template.id, area.area.id))
    if found is None or document.get("dream:inputs") != area.inputs or not _complete(found, overlay):
        return None
    return found


def _released_area(name: str, overlay: Overlay) -> _DoneArea | None:
    collection, _, area = name.partition("/")
    try:
        summary = AreaSummary.from_catalog(overlay.document(layout.area_catalog(collection, area)))
    except (KeyError, TypeError):
        return None
    listed = overlay.read(layout.area_manifest(collection, area))
    if listed is None:
        return None
    return _DoneArea(collection=collection, summary=summary, manifest=manifest.sha256(listed))


def _complete(area: _DoneArea, overlay: Overlay) -> bool:
    """Whether every file that an area's manifest lists is there, and no COG was cut short."""
    try:
        listed = manifest.loads(overlay.read(f"{area.folder}/{layout.MANIFEST}") or b"")
    except ValueError:
        return False
    cog, found, size = layout.asset_file(""), 0, 0
    for path, file in overlay.files(area.folder):
        if path in listed:
            found += 1
            size += file.stat().st_size if path.endswith(cog) else 0
    return found == len(listed) and size == area.summary.size


def _released_explorer(release: Path) -> dict[str, str]:
    """Give the files of the released explorer with their SHA-256; none where it is not whole."""
    listed = _listed(release / layout.MANIFEST)
    files = {href: sha256 for href, sha256 in listed.items() if layout.is_explorer_file(href)}
    is_whole = layout.EXPLORER in files and all((release / href).is_file() for href in files)
    return files if is_whole else {}


def _listed(path: Path) -> dict[str, str]:
    """Read a manifest; an empty one where there is none."""
    try:
        return manifest.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
