"""Items found -> a folder: their documents and files, under the paths that they have in the release.

A file appears by rename when all its bytes have the SHA-256 that its item states. What was stopped goes on where it
was.
"""

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from catalog_builder import layout, manifest
from catalog_builder.bucket import ObjectFacts
from catalog_builder.errors import DamagedError, ReleaseError, RemoteError, UsageError
from catalog_builder.item import SHA256_MULTIHASH
from catalog_builder.location import FolderLocation, Location
from catalog_builder.readers import NoPartsError, Reader, open_reader
from catalog_builder.transfer import Progress, in_threads

_CHUNK = 4 * 2**20
_THREADS = 8
_AT_ONCE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A file to be."""

    href: str
    size: int | None = None
    sha256: str | None = None
    """Hex; None where the item states none, as of itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadReport:
    """What a download did."""

    files: int
    """Files that were fetched."""
    size: int
    """Bytes of them."""
    present: int
    """Files that were there already, and whole."""
    absent: tuple[str, ...]
    """Files that the release does not hold, as a mirror of some modalities."""


def wanted_files(
    items: Iterable[Mapping[str, Any]], relative: Callable[[str], str | None], assets: Sequence[str] = ()
) -> Iterator[Wanted]:
    """Give the documents of items and their files; of ``assets`` only, where some are named.

    Raises ``UsageError`` for an asset that no item has.
    """
    seen: set[str] = set()
    for item in items:
        yield Wanted(href=_inside(next(link["href"] for link in item["links"] if link["rel"] == "self"), relative))
        for key, asset in item["assets"].items():
            seen.add(key)
            if not assets or key in assets:
                checksum = str(asset.get("file:checksum", ""))
                sha256 = checksum.removeprefix(SHA256_MULTIHASH) if checksum.startswith(SHA256_MULTIHASH) else None
                yield Wanted(href=_inside(asset["href"], relative), size=asset.get("file:size"), sha256=sha256)
    if seen and (unknown := sorted(set(assets) - seen)):
        raise UsageError(f"no item found has an asset {', '.join(unknown)}; there are {', '.join(sorted(seen))}")


def _inside(address: str, relative: Callable[[str], str | None]) -> str:
    href = relative(address)
    if href is None or layout.resolve(href, layout.CATALOG) != href:
        raise DamagedError(f"{address}: lies outside of the release")
    return href


def download(location: Location, wanted: Sequence[Wanted], folder: Path, progress: Progress) -> DownloadReport:
    """Bring files of a release to a folder.

    Raises ``DamagedError`` where bytes are not those of the SHA-256, ``RemoteError`` where the release cannot be read,
    ``ReleaseError`` where the folder cannot be written, ``UsageError`` where it is the release itself.
    """
    if isinstance(location, FolderLocation) and folder.resolve().is_relative_to(location.path.resolve()):
        raise UsageError(f"{folder}: is the release itself, or lies in it; name another folder")
    wanted = list({one.href: one for one in wanted}.values())
    reader = open_reader(location)
    progress.start(len(wanted), sum(one.size or 0 for one in wanted))
    results: list[tuple[str, int]] = []
    for start in range(0, len(wanted), _AT_ONCE):
        batch = wanted[start : start + _AT_ONCE]
        done = in_threads(partial(_bring, reader, folder), batch, _THREADS)
        results += done
        progress.advance(len(batch), sum(one.size or 0 for one in batch))
    fetched = [size for how, size in results if how == "fetched"]
    return DownloadReport(
        files=len(fetched),
        size=sum(fetched),
        present=sum(how == "present" for how, _ in results),
        absent=tuple(one.href for one, (how, _) in zip(wanted, results, strict=True) if how == "absent"),
    )


def _bring(reader: Reader, folder: Path, wanted: Wanted) -> tuple[str, int]:
    target = folder / wanted.href
    try:
        if wanted.sha256 is not None and _is_whole(target, wanted):
            return "present", 0
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{target.name}.part")
        size = _fetch(reader, wanted, part)
        if size is None:
            return "absent", 0
        part.replace(target)
    except OSError as error:
        raise ReleaseError(f"{target}: cannot write: {error.strerror or error}") from error
    return "fetched", size


def _is_whole(path: Path, wanted: Wanted) -> bool:
    if not path.is_file() or (wanted.size is not None and path.stat().st_size != wanted.size):
        return False
    return manifest.hash_file(path)[1] == wanted.sha256


@contextmanager
def _alone(part: Path) -> Iterator[BinaryIO]:
    """Open a part to go on with. Raises ``ReleaseError`` where another download is at work on it."""
    with part.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ReleaseError(f"{part}: another download is at work on it; wait for it") from error
        yield file


def _go_on(reader: Reader, href: str, facts: ObjectFacts, file: BinaryIO) -> None:
    """Fetch what a part lacks."""
    file.seek(0, os.SEEK_END)
    while (at := file.tell()) < facts.size:
        data = reader.range(href, at, min(_CHUNK, facts.size - at), facts.tag)
        if not data:
            raise RemoteError(f"{href}: ends after {at:,} bytes of {facts.size:,}")
        file.write(data)


def _fetch(reader: Reader, wanted: Wanted, part: Path) -> int | None:
    """Fetch a file to ``part``, from where it ends if it is there; None where the release has no such file."""
    facts = reader.facts(wanted.href)
    if facts is None:
        return None
    if wanted.size is not None and facts.size != wanted.size:
        raise DamagedError(f"{wanted.href}: has {facts.size:,} bytes, its item says {wanted.size:,}")
    with _alone(part) as file:
        if wanted.sha256 is None:  # nobody could tell whether what is there is a part of it
            file.truncate(0)
        try:
            _go_on(reader, wanted.href, facts, file)
        except NoPartsError:
            file.truncate(0)
            file.write(reader.read(wanted.href) or b"")
    size, sha256 = manifest.hash_file(part)
    if wanted.sha256 is not None and sha256 != wanted.sha256:
        part.unlink()
        raise DamagedError(f"{wanted.href}: its bytes are not those that its item states; run the same command again")
    return size
