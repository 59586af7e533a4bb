"""Reading a published release object by object, wherever it lies: a folder, a web server or a bucket."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Protocol, TypeVar
from urllib.parse import quote, urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from catalog_builder import layout, location, manifest
from catalog_builder.bucket import MAX_DOCUMENT_BYTES, ObjectFacts, has_credentials, open_bucket, pause
from catalog_builder.errors import ChangedError, DamagedError, RemoteError, UsageError
from catalog_builder.location import FolderLocation, Location, S3Location, WebLocation
from catalog_builder.transfer import in_threads

Result = TypeVar("Result")

_ATTEMPTS = 5
_CHUNK = 2**20
_THREADS = 8
"""Manifests that are read at the same time."""
_CHECKSUM_MODE = {"x-amz-checksum-mode": "ENABLED", "Accept-Encoding": "identity"}


class NoPartsError(RemoteError):
    """The server gives files as a whole only."""


class Reader(Protocol):
    """Reads objects of a release. Every method raises ``RemoteError``, naming the object."""

    def read(self, href: str) -> bytes | None:
        """Read an object; None where there is none."""

    def hash(self, href: str) -> tuple[int, str] | None:
        """Read an object through and give its size and SHA-256 (hex); None where there is none."""

    def range(self, href: str, start: int, length: int, tag: str | None = None) -> bytes:
        """Read some bytes of an object, at most to its end.

        Raises ``ChangedError`` where it no longer has the entity tag.
        """

    def facts(self, href: str) -> ObjectFacts | None:
        """Ask for size and SHA-256 of an object; None where there is none."""

    def list(self) -> Iterator[tuple[str, int]] | None:
        """List href and size of all objects; None where nobody can."""


class FolderReader:
    """A release in a folder."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise UsageError(f"{folder}: no such folder")
        self._folder = folder

    def read(self, href: str) -> bytes | None:
        """Read a file; None where there is none."""
        return self._unless_absent(href, Path.read_bytes)

    def hash(self, href: str) -> tuple[int, str] | None:
        """Give size and SHA-256 (hex) of a file; None where there is none."""
        return self._unless_absent(href, manifest.hash_file)

    def facts(self, href: str) -> ObjectFacts | None:
        """Give the size of a file; None where there is none."""
        return self._unless_absent(href, _file_facts)

    def range(self, href: str, start: int, length: int, tag: str | None = None) -> bytes:
        """Read some bytes of a file. Raises ``ChangedError`` where it is no longer that of the tag."""
        if tag is not None and self.facts(href) != ObjectFacts(size=int(tag.partition("-")[0]), sha256=None, tag=tag):
            raise ChangedError(f"{self._folder / href}: was replaced while it was read; try again")

        def read(path: Path) -> bytes:
            with path.open("rb") as file:
                file.seek(start)
                return file.read(length)

        data = self._unless_absent(href, read)
        if data is None:
            raise RemoteError(f"{self._folder / href}: not there")
        return data

    def list(self) -> Iterator[tuple[str, int]]:
        """List href and size of all files."""
        for path in self._folder.rglob("*"):
            if not path.is_dir():
                yield path.relative_to(self._folder).as_posix(), path.lstat().st_size

    def _unless_absent(self, href: str, function: Callable[[Path], Result]) -> Result | None:
        path = self._folder / href
        try:
            return function(path) if path.is_file() else None
        except OSError as error:
            raise RemoteError(f"{path}: cannot read: {error.strerror or error}") from error


def _file_facts(path: Path) -> ObjectFacts:
    found = path.stat()
    return ObjectFacts(size=found.st_size, sha256=None, tag=f"{found.st_size}-{found.st_mtime_ns}")


class WebReader:
    """A release on a web server. Nothing is listed there."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._retries = urllib3.Retry(
            total=8, backoff_factor=0.2, status_forcelist=(429, 500, 502, 503, 504), raise_on_status=False
        )
        self._was_reached = False
        """Whether the server has answered before: only then it is worth to wait for it."""
        timeout = urllib3.Timeout(connect=10, read=60)
        self._pool = urllib3.PoolManager(maxsize=32, timeout=timeout)

    def read(self, href: str) -> bytes | None:
        """Read an object; None where there is none."""
        return self._get(href, lambda chunks: b"".join(chunks), limit=MAX_DOCUMENT_BYTES)

    def hash(self, href: str) -> tuple[int, str] | None:
        """Read an object through and give its size and SHA-256 (hex); None where there is none."""
        return self._get(href, manifest.hash_chunks)

    def range(self, href: str, start: int, length: int, tag: str | None = None) -> bytes:
        """Read some bytes of an object, at most to its end.

        Raises ``ChangedError`` where it no longer has the entity tag, ``NoPartsError`` where the server gives no parts.
        """
        where = f"{self._url}/{href}"

        def take(answer: urllib3.BaseHTTPResponse) -> bytes:
            if tag is not None and answer.headers.get("ETag", tag) != tag:
                raise ChangedError(f"{where}: was replaced while it was read; try again")
            size, given = answer.headers.get("Content-Length", ""), answer.headers.get("Content-Range", "")
            if answer.status == 200 and not (start == 0 and size.isdecimal() and int(size) <= length):
                raise NoPartsError(f"{where}: the server gives no parts of a file (Range); use another server")
            if answer.status not in (200, 206):
                raise RemoteError(f"{where}: the server answers {answer.status}")
            if answer.status == 206 and not given.startswith(f"bytes {start}-"):
                raise RemoteError(f"{where}: the server gives other bytes than it was asked for")
            return b"".join(_limited(answer.stream(_CHUNK, decode_content=False), length, where))

        return self._persist(href, take, {"Range": f"bytes={start}-{start + length - 1}"})

    def facts(self, href: str) -> ObjectFacts | None:
        """Ask for size, and the SHA-256 where the server is a bucket; None where there is none."""
        answer = self._request("HEAD", href)
        if not self._is_there(href, answer.status):
            return None
        length = answer.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise RemoteError(f"{self._url}/{href}: the server does not tell its size; use --deep")
        return ObjectFacts.from_headers(int(length), answer.headers)

    def list(self) -> None:
        """Tell that nothing is listed."""
        return

    def _get(self, href: str, take: Callable[[Iterator[bytes]], Result], limit: int | None = None) -> Result | None:
        def take_all(answer: urllib3.BaseHTTPResponse) -> Result | None:
            if not self._is_there(href, answer.status):
                return None
            return take(_limited(answer.stream(_CHUNK, decode_content=False), limit, f"{self._url}/{href}"))

        return self._persist(href, take_all)

    def _persist(
        self, href: str, take: Callable[[urllib3.BaseHTTPResponse], Result], more: Mapping[str, str] | None = None
    ) -> Result:
        """Ask for an object, and ask again where the answer arrives cut."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with self._request("GET", href, more) as answer:
                    return take(answer)
            except HTTPError:
                if attempt < _ATTEMPTS:
                    pause(attempt)
        raise DamagedError(f"{self._url}/{href}: the answer arrives cut, {_ATTEMPTS} times over")

    def _request(self, method: str, href: str, more: Mapping[str, str] | None = None) -> urllib3.BaseHTTPResponse:
        try:
            url = f"{self._url}/{quote(href)}"
            # An answer to HEAD has no body whose end would give its connection back.
            headers = {**_CHECKSUM_MODE, **(more or {})}
            retries = self._retries if self._was_reached else self._retries.new(connect=1, read=1)
            answer = self._pool.request(method, url, headers=headers, retries=retries, preload_content=method == "HEAD")
            self._was_reached = True
            return answer
        except HTTPError as error:
            server = urlsplit(self._url).netloc
            raise RemoteError(f"{self._url}/{href}: no answer from {server} ({type(error).__name__})") from error

    def _is_there(self, href: str, status: int) -> bool:
        if status not in (200, 404, 410):
            raise RemoteError(f"{self._url}/{href}: the server answers {status}")
        return status == 200


def _limited(chunks: Iterator[bytes], limit: int | None, where: str) -> Iterator[bytes]:
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if limit is not None and size > limit:
            raise RemoteError(f"{where}: larger than any document of a release")
        yield chunk


def locate(text: str, endpoint_url: str | None = None, *, anonymous: bool | None = None) -> Location:
    """Say where a release lies. Without ``anonymous``, requests to a bucket are signed where there are credentials.

    Raises ``UsageError``.
    """
    if anonymous is None:
        anonymous = text.startswith("s3://") and not has_credentials()
    return location.parse(text, endpoint_url, anonymous=anonymous)


@lru_cache(maxsize=4)
def open_reader(location: Location) -> Reader:
    """Open a place, in one process once: its connections are shared by all threads. Raises ``UsageError``."""
    match location:
        case S3Location():
            return open_bucket(location)
        case WebLocation():
            return WebReader(location.url)
        case FolderLocation():
            return FolderReader(location.path)


def read_manifest(reader: Reader, location: Location, href: str) -> Mapping[str, str] | None:
    """Read a manifest: path -> SHA-256 (hex); None where there is none. Raises ``DamagedError`` where it is none."""
    data = reader.read(href)
    if data is None:
        return None
    try:
        listed = manifest.loads(data)
    except ValueError as error:
        raise DamagedError(f"{location}/{href}: not a manifest: {error}") from error
    for path in listed:
        if layout.resolve(path, layout.MANIFEST) != path:
            raise DamagedError(f"{location}/{href}: lists {path!r}, which is no plain path below it")
    return listed


def read_area_manifests(
    reader: Reader, location: Location, hrefs: Sequence[str]
) -> Iterator[tuple[str, Mapping[str, str] | None]]:
    """Read manifests of areas: each href with the hrefs that it lists -> SHA-256 (hex), None where there is none.

    Raises ``DamagedError`` as ``read_manifest`` does.
    """
    for href, listed in zip(hrefs, in_threads(partial(read_manifest, reader, location), hrefs, _THREADS), strict=True):
        folder = layout.area_of(href)
        yield href, None if listed is None else {f"{folder}/{path}": sha256 for path, sha256 in listed.items()}
