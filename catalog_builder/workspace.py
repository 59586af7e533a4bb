"""A release folder while a build works on it: what is new stands aside until all of it is ready.

New files are written under ``.build/<run>/tree`` in the layout of the release, and read through an overlay: staged
first, released otherwise. ``commit`` moves them into place by renames, what is pointed at before what points at it, and
then takes away what the new manifests no longer list. A build that was killed finds its staged files again; one that
was killed in the middle of its commit is committed to the end before another begins; one that fails leaves the release
as it was.

A staged document vouches for the files it tells of. While those are being changed an empty one stands in its place, so
that no later build, of other sources perhaps, takes half of one version and half of another for a whole.
"""

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from catalog_builder import jsonio, layout
from catalog_builder.errors import ReleaseError, UsageError

_TREE, _PARTIAL = "tree", "partial"
_OBSOLETE = "obsolete.json"
"""What a commit takes away. It stands from the moment when all is staged until all is in place."""
_EMPTY = b"{}\n"


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
                # Called for every document: pathlib would take longer than the file system does.
                with open(f"{root}/{href}", "rb") as stream:  # noqa: PTH123
                    return stream.read()
            except (FileNotFoundError, NotADirectoryError):
                continue
        return None

    def files(self, folder: str) -> Iterator[tuple[str, "os.DirEntry[str]"]]:
        """Walk the files under a folder, staged or released, with their paths in it."""
        staged = dict(_walk(f"{self.tree}/{folder}"))
        released = _walk(f"{self.release}/{folder}")
        return chain(staged.items(), (file for file in released if file[0] not in staged)) if staged else released

    def size(self, href: str) -> int | None:
        """Give the bytes of a file, staged or released; None where there is none."""
        for root in (self.tree, self.release):
            try:
                return (root / href).stat().st_size
            except (FileNotFoundError, NotADirectoryError):
                continue
        return None

    def document(self, href: str) -> dict[str, Any]:
        """Read a JSON object, staged or released; an empty one where there is none."""
        try:
            document = jsonio.loads(self.read(href) or _EMPTY)
        except ValueError:
            return {}
        return document if isinstance(document, dict) else {}

    def stage(self, href: str, data: bytes) -> Path:
        """Write a staged file; it appears whole or not at all."""
        path, partial = self.tree / href, f"{self.tree.parent}/{_PARTIAL}/{secrets.token_hex(8)}"
        try:
            with open(partial, "wb") as stream:  # noqa: PTH123
                stream.write(data)
        except FileNotFoundError as error:
            raise ReleaseError(f"{self.release}: another build has taken over this release") from error
        try:
            os.replace(partial, path)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(partial, path)
        return path

    def doubt(self, href: str) -> None:
        """Take back a document's word, staged or released, until a new one is staged."""
        if self.find(href) is not None:
            self.put(href, _EMPTY)

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
        # Absolute, because workers on a cluster stand in other folders.
        self.release = release.absolute()
        self._work = self.release / layout.WORK_FOLDER
        if (self._work / _OBSOLETE).exists():
            self._finish_commit(self._work / str(max(_runs(self._work), default=0)) / _TREE)
        self.folder = _take_over(self._work)
        self.overlay = Overlay(release=self.release, tree=self.folder / _TREE)
        shutil.rmtree(self.folder / _PARTIAL, ignore_errors=True)
        for name in (_TREE, _PARTIAL):
            (self.folder / name).mkdir(exist_ok=True)

    def prune(self, folder: str, keep: Iterable[str]) -> None:
        """Drop staged files under ``folder`` (an href, or "" for all) that are not among the hrefs to keep."""
        kept = set(keep)
        for href in list(_files(self.overlay.tree, folder)):
            if href not in kept:
                (self.overlay.tree / href).unlink()

    def commit(self, obsolete: Iterable[str]) -> int:
        """Move all that is staged into the release, then take away ``obsolete`` hrefs.

        Gives the number of files that changed. The list of what is obsolete is kept until done, because a new manifest
        no longer knows of it.
        """
        partial = self.folder / _OBSOLETE
        partial.write_bytes(jsonio.dumps(sorted(obsolete)))
        os.replace(partial, self._work / _OBSOLETE)
        return self._finish_commit(self.overlay.tree)

    def _finish_commit(self, tree: Path) -> int:
        """Begin a commit, or go on with one that was killed."""
        changed = self._move_new_areas(tree)
        staged = sorted(_files(tree, ""), key=layout.order)
        changed += sum(_move(tree / href, self.release / href) for href in staged)
        gone = sorted(jsonio.read(self._work / _OBSOLETE), key=layout.order, reverse=True)
        for href in gone:
            _remove(self.release, href)
        shutil.rmtree(self._work)
        return changed + len(gone)

    def _move_new_areas(self, tree: Path) -> int:
        """Move areas that the release does not have yet as a whole: one rename each, whatever its size.

        Gives the number of their files.
        """
        files = 0
        for folder in sorted(tree.glob("*/*/")):
            target, count = self.release / folder.relative_to(tree), sum(1 for _ in _files(folder, ""))
            if count and not target.exists():
                files += count
                target.parent.mkdir(exist_ok=True)
                os.rename(folder, target)
        return files


@contextmanager
def open_workspace(release: Path) -> Iterator[Workspace]:
    """Take a release folder for one build. It is made where there is none.

    Raises ``UsageError`` where the folder holds something that is no release, ``ReleaseError`` where another build
    works on it or it cannot be written.
    """
    check_target(release)
    with _locked(release):
        try:
            yield Workspace(release)
        except OSError as error:
            raise ReleaseError(_os_message(release, error)) from error
        finally:
            _remove_if_empty(release)


@contextmanager
def _locked(release: Path) -> Iterator[None]:
    try:
        release.mkdir(parents=True, exist_ok=True)
        handle = os.open(release, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise ReleaseError(f"{release}: cannot make or open this folder: {error.strerror}") from error
    try:
        _lock(release, handle)
        yield
    finally:
        os.close(handle)


def _lock(release: Path, handle: int) -> None:
    try:
        # The kernel lets go of the lock when this process ends, however it ends.
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ReleaseError(f"{release}: another build is at work on this release; wait until it has ended") from error


def _take_over(work: Path) -> Path:
    """Give a run's folder: that of a build that was killed, under a new name, or a new one.

    A worker of that build that is still at work, as can be on a cluster, then loses its way and disturbs nobody.
    """
    work.mkdir(exist_ok=True)
    last = max(_runs(work), default=0)
    folder = work / str(last + 1)
    if last:
        os.rename(work / str(last), folder)
    else:
        folder.mkdir()
    return folder


def _runs(work: Path) -> list[int]:
    return [int(name) for name in os.listdir(work) if name.isdecimal()]


def _os_message(release: Path, error: OSError) -> str:
    where = error.filename or release
    return f"{where}: cannot write: {error.strerror}; what was released is as it was, run the same command to go on"


def check_target(release: Path) -> None:
    """Refuse a folder that holds something that is no release. Raises ``UsageError``."""
    try:
        names = set(os.listdir(release)) if release.exists() else set()
    except NotADirectoryError as error:
        raise UsageError(f"{release}: not a folder; name a new or empty one, or a release") from error
    except OSError as error:
        raise UsageError(f"{release}: cannot read this folder: {error.strerror}") from error
    if names and not _is_work(release / layout.WORK_FOLDER) and not {layout.CATALOG, layout.MANIFEST} <= names:
        raise UsageError(f"{release}: holds something that is no release ({min(names)}); name a new or empty folder")


def _is_work(folder: Path) -> bool:
    """Whether a folder is what a build leaves when it is stopped; others, too, call a folder of theirs ``.build``."""
    return folder.is_dir() and all(name.isdecimal() or name == _OBSOLETE for name in os.listdir(folder))


def _move(source: Path, target: Path) -> bool:
    """Move a staged file into place and say whether that changed anything."""
    if target.is_file() and _same_bytes(source, target):
        source.unlink()
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(source, target)
    return True


def _same_bytes(one: Path, other: Path) -> bool:
    return one.stat().st_size == other.stat().st_size and one.read_bytes() == other.read_bytes()


def _files(root: Path, folder: str) -> Iterator[str]:
    """Walk the files under a folder, as hrefs."""
    base = f"{folder}/" if folder else ""
    return (base + path for path, _ in _walk(f"{root}/{folder}"))


def _walk(folder: str) -> Iterator[tuple[str, "os.DirEntry[str]"]]:
    """Walk the files under a folder, with their paths in it; none where there is no such folder."""
    waiting = [""]
    while waiting:
        base = waiting.pop()
        try:
            entries = os.scandir(f"{folder}/{base}")
        except (FileNotFoundError, NotADirectoryError):
            continue
        with entries:
            for entry in entries:
                if entry.is_dir():
                    waiting.append(f"{base}{entry.name}/")
                else:
                    yield base + entry.name, entry


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
        for run in _runs(work):
            for name in (_TREE, _PARTIAL, ""):
                (work / str(run) / name).rmdir()
        work.rmdir()
        release.rmdir()
    except OSError:
        return
