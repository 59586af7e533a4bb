"""A release folder while a build works on it: what is new stands aside until all of it is ready.

New files are written under ``.build/tree`` in the layout of the release, and read through an overlay: staged first,
released otherwise. ``commit`` moves them into place by renames, what is pointed at before what points at it, and then
takes away what the new manifests no longer list. A build that was killed finds its staged files again; one that fails
leaves the release as it was.
"""

import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from catalog_builder import jsonio, layout
from catalog_builder.errors import ReleaseError, UsageError

_TREE = "tree"
_OBSOLETE = "obsolete.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlay:
    """The staged files laid over the released ones. A plain value, so that workers have it too."""

    release: Path
    tree: Path

    def find(self, href: str) -> Path | None:
        """Find a file, staged or released."""
        for root in (self.tree, self.release):
            path = root / href
            if path.is_file():
                return path
        return None

    def read(self, href: str) -> bytes | None:
        """Read a file, staged or released; None where there is none."""
        for root in (self.tree, self.release):
            try:
                return (root / href).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                continue
        return None

    def names(self, folder: str) -> set[str]:
        """Give the names in a folder, staged or released."""
        found: set[str] = set()
        for root in (self.tree, self.release):
            try:
                found.update(os.listdir(root / folder))
            except (FileNotFoundError, NotADirectoryError):
                continue
        return found

    def stage(self, href: str, data: bytes) -> Path:
        """Write a staged file; it appears whole or not at all."""
        path = self.tree / href
        partial = path.with_name(f".{path.name}.partial")
        try:
            partial.write_bytes(data)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(data)
        os.replace(partial, path)
        return path

    def put(self, href: str, data: bytes) -> bool:
        """Stage a file unless its bytes are there already; say whether anything was written."""
        if self.read(href) == data:
            return False
        self.stage(href, data)
        return True

    def unstage(self, folder: str) -> None:
        """Forget what was staged under a folder."""
        shutil.rmtree(self.tree / folder, ignore_errors=True)


class Workspace:
    """The one build that may write to a release."""

    def __init__(self, release: Path) -> None:
        self.overlay = Overlay(release=release, tree=release / layout.WORK_FOLDER / _TREE)

    @property
    def release(self) -> Path:
        """The release folder."""
        return self.overlay.release

    def prune(self, folder: str, keep: Iterable[str]) -> None:
        """Drop staged files under ``folder`` (an href, or "" for all) that are not among the hrefs to keep."""
        kept = set(keep)
        for href in list(_files(self.overlay.tree, folder)):
            if href not in kept:
                (self.overlay.tree / href).unlink()

    def commit(self, obsolete: Iterable[str]) -> int:
        """Move all that is staged into the release, then take away ``obsolete`` hrefs. Gives the number of files moved.

        The list of what is obsolete is kept until done, because a new manifest no longer knows of it.
        """
        work = self.release / layout.WORK_FOLDER
        gone = sorted({*obsolete, *self._left_obsolete()})
        work.mkdir(exist_ok=True)
        (work / _OBSOLETE).write_bytes(jsonio.dumps(gone))
        staged = sorted(_files(self.overlay.tree, ""), key=lambda href: (_rank(href), href))
        self._move_new_areas(staged)
        for href in staged:
            source, target = self.overlay.tree / href, self.release / href
            if source.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(source, target)
        for href in gone:
            if href not in staged:
                _remove(self.release, href)
        shutil.rmtree(work)
        return len(staged)

    def _left_obsolete(self) -> list[str]:
        try:
            return list(jsonio.read(self.release / layout.WORK_FOLDER / _OBSOLETE))
        except (OSError, ValueError):
            return []

    def _move_new_areas(self, staged: list[str]) -> None:
        """An area that the release does not have yet moves as a whole: one rename, whatever its size."""
        areas = {"/".join(href.split("/")[:2]) for href in staged if href.count("/") >= 2}
        for area in sorted(areas):
            if not (self.release / area).exists():
                (self.release / area).parent.mkdir(exist_ok=True)
                os.rename(self.overlay.tree / area, self.release / area)


@contextmanager
def open_workspace(release: Path) -> Iterator[Workspace]:
    """Take a release folder for one build. It is made where there is none.

    Raises ``UsageError`` where the folder holds something that is no release, ``ReleaseError`` where another build
    works on it or it cannot be written.
    """
    check_target(release)
    try:
        release.mkdir(parents=True, exist_ok=True)
        handle = os.open(release, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise ReleaseError(f"{release}: cannot make or open this folder: {error.strerror}") from error
    try:
        # The kernel lets go of the lock when this process ends, however it ends.
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise ReleaseError(f"{release}: another build is at work on this release; wait until it has ended") from error
    try:
        workspace = Workspace(release)
        workspace.overlay.tree.mkdir(parents=True, exist_ok=True)
        yield workspace
    except OSError as error:
        raise ReleaseError(_os_message(release, error)) from error
    finally:
        _remove_if_empty(release)
        os.close(handle)


def _os_message(release: Path, error: OSError) -> str:
    where = error.filename or release
    return f"{where}: cannot write: {error.strerror}; what was released is as it was, run the same command to go on"


def check_target(release: Path) -> None:
    """Refuse a folder that holds something that is no release. Raises ``UsageError``."""
    if not release.exists():
        return
    if not release.is_dir():
        raise UsageError(f"{release}: not a folder; name a new or empty one, or a release")
    names = set(os.listdir(release))
    if names and layout.WORK_FOLDER not in names and not {layout.CATALOG, layout.MANIFEST} <= names:
        raise UsageError(f"{release}: holds something that is no release ({min(names)}); name a new or empty folder")


def _rank(href: str) -> int:
    """What is pointed at goes before what points at it."""
    parts = href.split("/")
    if href == layout.MANIFEST:
        return 6
    if href == layout.CATALOG:
        return 5
    if len(parts) == 2:
        return 2 if parts[0] == layout.INDEX_FOLDER else 4
    if parts[-1] in (layout.CATALOG, layout.MANIFEST):
        return 3
    return 1 if href.endswith(".json") else 0


def _files(root: Path, folder: str) -> Iterator[str]:
    """Walk the files under a folder, as hrefs."""
    for path, _, names in os.walk(root / folder):
        base = Path(path).relative_to(root).as_posix()
        for name in names:
            yield name if base == "." else f"{base}/{name}"


def _remove(root: Path, href: str) -> None:
    path = root / href
    path.unlink(missing_ok=True)
    for parent in path.parents:
        if parent == root:
            return
        try:
            parent.rmdir()
        except OSError:  # not empty
            return


def _remove_if_empty(release: Path) -> None:
    """Leave no trace of a build that staged nothing."""
    work = release / layout.WORK_FOLDER
    try:
        (work / _TREE).rmdir()
        work.rmdir()
        release.rmdir()
    except OSError:
        return
