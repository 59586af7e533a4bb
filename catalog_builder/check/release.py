"""A finished release -> findings: what it does not keep of STAC, of its templates' promises and of its own word.

The release is all that is read: a collection holds its template's promise. Areas are looked at one after the other, so
that memory holds few of them; their tiles, and the row groups of the indexes, are the workers' jobs.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, TypeVar

from catalog_builder import catalog, layout
from catalog_builder.build import Progress
from catalog_builder.check.area import CheckedArea, batches, count_tiles, end_area, open_area
from catalog_builder.check.collection import Collection, end_collection, open_collection
from catalog_builder.check.documents import Expected, Inspector, compare_links, quote
from catalog_builder.check.files import Folder, compare_manifest, read_folder, read_manifest, walk
from catalog_builder.check.findings import Finding
from catalog_builder.check.index import IndexPart, check_index_part, count_row_groups
from catalog_builder.check.tile import TileBatch, check_tiles
from catalog_builder.errors import BuildError, ReleaseError, UsageError
from catalog_builder.executor import unordered
from catalog_builder.schemas import SchemaStore

Result = TypeVar("Result")


def check_release(
    release: Path, store: SchemaStore, executor: Executor, progress: Progress, *, window: int = 16
) -> list[Finding]:
    """Hold a release against STAC, against its templates' promises and against its own bytes.

    Gives findings, sorted by href. At most ``window`` jobs are under way at once. Raises ``UsageError`` for a folder
    that is no release, ``ReleaseError`` for one that cannot be read.
    """
    if not (release / layout.CATALOG).is_file():
        what = f"has no {layout.CATALOG}, so it is no release" if release.is_dir() else "no such folder"
        raise UsageError(f"{release}: {what}")
    try:
        return sorted(set(_Checker(Inspector(release, store), executor, progress, window).run()))
    except OSError as error:
        raise ReleaseError(f"{error.filename or release}: cannot read: {error.strerror or error}") from error


class _Checker:
    """One check of a release; holds what its steps share."""

    def __init__(self, inspector: Inspector, executor: Executor, progress: Progress, window: int) -> None:
        self.inspector, self.executor, self.progress, self.window = inspector, executor, progress, window
        self.root: dict[str, Any] = {}

    @property
    def root_title(self) -> str:
        return str(self.root.get("title", self.root.get("id", "")))

    def run(self) -> list[Finding]:
        self.progress.note("checking documents and manifests")
        folder = read_folder(self.inspector.release, "")
        self.inspector.findings += folder.findings
        self.root = self.inspector.read(layout.CATALOG, "Catalog")
        collections = [open_collection(self.inspector, name) for name in self._collection_ids(folder)]
        self._check_links(folder, collections)
        self._check_files(folder, collections)
        self._check_areas(collections)
        for collection in collections:
            end_collection(self.inspector, collection, self.root_title)
        self._check_indexes(collections)
        return self.inspector.findings

    # --- the root ----------------------------------------------------------------------------------------------------

    def _collection_ids(self, root: Folder) -> Iterator[str]:
        for name in root.folders:
            if name == layout.WORK_FOLDER:
                text = "a build is under way or was interrupted: wait for it, or run the same command again"
                self.inspector.say(name, "unfinished-build", text)
            elif name.startswith("."):
                self.inspector.say(name, "file-unlisted", f"this folder is not listed in {layout.MANIFEST}")
            elif name not in (layout.INDEX_FOLDER, layout.EXPLORER_FOLDER):
                yield name

    def _check_links(self, root: Folder, collections: list[Collection]) -> None:
        documents = [collection.href for collection in collections if self.inspector.exists(collection.href)]
        expected = Expected(back={"root": layout.CATALOG}, down={"child": set(documents)})
        pages = [layout.EXPLORER] if self.inspector.exists(layout.EXPLORER) else []
        if layout.EXPLORER_FOLDER in root.folders and not pages:
            self.inspector.say(layout.EXPLORER, "document-missing", "is not there, though its folder is")
        self.inspector.links(layout.CATALOG, self.root, expected, [*documents, *pages])
        titles = {collection.id: collection.title for collection in collections if collection.title}
        should = catalog.root_document({"id": self.root_title, **self.root, "links": []}, titles, explorer=True)
        for text in compare_links(self.root, should):
            self.inspector.say(layout.CATALOG, "link-title", text)

    def _check_files(self, root: Folder, collections: list[Collection]) -> None:
        """Hold the root's manifest against all files for which no area's vouches."""
        listed, found = read_manifest(self.inspector.release, layout.MANIFEST)
        self.inspector.findings += found
        if listed is None:
            return
        areas = {
            layout.area_manifest(collection.id, name) for collection in collections for name in collection.area_ids
        }
        there = {href for href in areas if self.inspector.exists(href)}
        present = {*self._files(root, collections), *there} - {layout.MANIFEST}
        # That an area has lost its manifest is told when it is opened.
        known = {href: sha256 for href, sha256 in listed.items() if href not in areas - there}
        self.inspector.findings += compare_manifest(self.inspector.release, layout.MANIFEST, known, present)
        allowed = {
            place(collection.id)
            for collection in collections
            for place in (layout.collection, layout.collection_thumbnail, layout.index)
        }
        explorer = filter(layout.is_explorer_file, listed)
        self.inspector.files(listed, present, {layout.CATALOG, *allowed, *areas, *explorer})

    def _files(self, root: Folder, collections: list[Collection]) -> Iterator[str]:
        yield from root.files
        for collection in collections:
            yield from (collection.folder.path(name) for name in collection.folder.files)
        for name in {layout.INDEX_FOLDER, layout.EXPLORER_FOLDER}.intersection(root.folders):
            for folder in walk(self.inspector.release, name):
                self.inspector.findings += folder.findings
                yield from map(folder.path, folder.files)

    # --- areas -------------------------------------------------------------------------------------------------------

    def _check_areas(self, collections: list[Collection]) -> None:
        self.progress.start(sum(map(self._count_tiles, collections)))
        opened: dict[str, CheckedArea] = {}
        jobs = self._area_jobs(collections, opened)
        for job, future in unordered(self.executor, check_tiles, jobs, self.window):
            area = opened[layout.area(job.collection, job.area)]
            for check in _result(future):
                area.checks.append(check)
                self.inspector.findings += check.findings
                self.progress.tile(check.result)
            if area.is_done:
                end_area(self.inspector, opened.pop(area.folder), self.root_title)

    def _count_tiles(self, collection: Collection) -> int:
        folders = (read_folder(self.inspector.release, collection.folder.path(name)) for name in collection.area_ids)
        return sum(count_tiles(folder.folders) for folder in folders)

    def _area_jobs(self, collections: Iterable[Collection], opened: dict[str, CheckedArea]) -> Iterator[TileBatch]:
        """Open one area after the other, when workers are free for it, and give the work on its tiles."""
        for collection in collections:
            for name in collection.area_ids:
                area = open_area(self.inspector, collection, name)
                if area.is_done:
                    end_area(self.inspector, area, self.root_title)
                else:
                    opened[area.folder] = area
                    yield from batches(self.inspector, area, self.root_title)

    # --- indexes -----------------------------------------------------------------------------------------------------

    def _check_indexes(self, collections: list[Collection]) -> None:
        seen: dict[str, Counter[str]] = {}
        jobs = (job for collection in collections for job in self._index_jobs(collection, seen))
        for job, future in unordered(self.executor, check_index_part, jobs, self.window):
            checked = _result(future)
            self.inspector.findings += checked.findings
            seen[job.collection].update(checked.ids)
        for collection in collections:
            if collection.id in seen:
                self._end_index(collection, seen[collection.id])

    def _index_jobs(self, collection: Collection, seen: dict[str, Counter[str]]) -> Iterator[IndexPart]:
        href = layout.index(collection.id)
        if not self.inspector.exists(href):
            return  # told of as an asset of the collection
        self.progress.note(f"checking {href}")
        try:
            count = count_row_groups(self.inspector.release / href)
        except ValueError as error:
            self.inspector.say(href, "index-unreadable", str(error))
            return
        seen[collection.id] = Counter()
        for number in range(count):
            yield IndexPart(release=self.inspector.release, collection=collection.id, row_group=number)

    def _end_index(self, collection: Collection, seen: Counter[str]) -> None:
        href = layout.index(collection.id)
        for name in collection.items - seen.keys():
            self.inspector.say(href, "index-missing", f"does not hold item {name!r}")
        for name, count in seen.items():
            if count > 1:
                self.inspector.say(href, "index-twice", f"holds item {quote(name)} {count} times")


def _result(future: "Future[Result]") -> Result:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise BuildError("a worker died, perhaps for lack of memory; check again with fewer --jobs") from error
