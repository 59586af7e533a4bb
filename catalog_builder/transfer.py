"""Objects of a release on their way to a bucket: what a worker of ``publish`` does.

A file is sent only when its bytes are those that the release's manifests vouch for, and with their SHA-256, so that the
server refuses what was damaged on the way.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from catalog_builder import layout, manifest
from catalog_builder.bucket import MULTIPART_BYTES, Bucket, Headers, open_bucket
from catalog_builder.errors import DamagedError, ReleaseError, RemoteError
from catalog_builder.location import S3Location
from catalog_builder.media import media_type

Job = TypeVar("Job")
Result = TypeVar("Result")

_BATCH_OBJECTS, _BATCH_BYTES = 32, 32_000_000
_LASTING = frozenset({".tif", ".png"})
"""What the documents of a version point at by its SHA-256."""
_SHORT, _HOUR = "public, max-age=60", "public, max-age=3600"
_FOR_EVER = "public, max-age=31536000, immutable"


class Progress(Protocol):
    """Hears how work on objects goes on."""

    def start(self, objects: int, size: int) -> None:
        """Tell how many objects and bytes there are."""

    def advance(self, objects: int, size: int) -> None:
        """Tell of objects that are done, and of their bytes."""

    def note(self, text: str) -> None:
        """Tell of a step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """One object to be."""

    href: str
    sha256: str
    size: int
    copied: bool = False
    """Whether the previous version has the same bytes, so that the server can copy them."""
    doubtful: bool = False
    """Whether the object may be there already, from a publisher that was stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """From where to where."""

    release: Path
    target: S3Location
    previous: S3Location | None = None
    """Where the version before this one lies."""
    thorough: bool = False
    """Whether an object is read through where the server cannot vouch for its bytes."""
    versioned: bool = False
    """Whether the target's prefix belongs to one version alone."""
    threads: int = 8
    """Requests of one worker at the same time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What became of some objects: how many, and bytes."""

    sent: int = 0
    sent_bytes: int = 0
    copied: int = 0
    skipped: int = 0
    """There already."""
    bytes: int = 0
    """Of all of them, sent or not."""

    def __add__(self, other: "Sent") -> "Sent":
        return Sent(
            sent=self.sent + other.sent,
            sent_bytes=self.sent_bytes + other.sent_bytes,
            copied=self.copied + other.copied,
            skipped=self.skipped + other.skipped,
            bytes=self.bytes + other.bytes,
        )


def batches(uploads: Iterable[Upload]) -> Iterator[tuple[Upload, ...]]:
    """Cut uploads in pieces of work that are worth sending to a worker."""
    batch: list[Upload] = []
    size = 0
    for upload in uploads:
        batch.append(upload)
        size += upload.size
        if len(batch) == _BATCH_OBJECTS or size >= _BATCH_BYTES:
            yield tuple(batch)
            batch, size = [], 0
    if batch:
        yield tuple(batch)


def transfer(uploads: Sequence[Upload], route: Route) -> Sent:
    """Bring objects to the bucket. For workers.

    Raises ``RemoteError``, or ``ReleaseError`` where a file is not what the release's manifests say.
    """
    bucket = open_bucket(route.target)
    done = in_threads(lambda upload: _transfer(upload, route, bucket), uploads, route.threads)
    return sum(done, start=Sent())


def warm(target: S3Location) -> None:
    """Make a worker ready. Whatever is wrong comes up again where it can be told."""
    with suppress(RemoteError):
        open_bucket(target)


def in_threads(function: Callable[[Job], Result], jobs: Sequence[Job], threads: int) -> list[Result]:
    """Run ``function`` over jobs, several at the same time, and give the results in order."""
    if threads == 1 or len(jobs) < 2:
        return [function(job) for job in jobs]
    with ThreadPoolExecutor(max_workers=min(threads, len(jobs))) as pool:
        futures = [pool.submit(function, job) for job in jobs]
        try:
            return [future.result() for future in futures]
        finally:
            pool.shutdown(cancel_futures=True)


def _transfer(upload: Upload, route: Route, bucket: Bucket) -> Sent:
    headers = headers_of(upload.href, versioned=route.versioned)
    if upload.doubtful and _is_there(upload, bucket, thorough=route.thorough):
        return Sent(skipped=1, bytes=upload.size)
    if upload.copied and route.previous and bucket.copy(upload.href, route.previous, upload.sha256, headers):
        return Sent(copied=1, bytes=upload.size)
    path = route.release / upload.href
    try:
        _send(upload, path, bucket, headers)
    except OSError as error:
        raise ReleaseError(f"{path}: cannot read: {error.strerror or error}") from error
    return Sent(sent=1, sent_bytes=upload.size, bytes=upload.size)


def _is_there(upload: Upload, bucket: Bucket, *, thorough: bool) -> bool:
    facts = bucket.facts(upload.href)
    if facts is None or facts.size != upload.size:
        return False
    if facts.sha256 is None and thorough:
        return bucket.hash(upload.href) == (upload.size, upload.sha256)
    # An object sent in parts appears when the server has seen all of them, each with its own checksum.
    return (facts.sha256 or facts.stated) == upload.sha256


def _send(upload: Upload, path: Path, bucket: Bucket, headers: Headers) -> None:
    if upload.size > MULTIPART_BYTES:
        _expect(path, manifest.hash_file(path)[1], upload.sha256)
        bucket.upload(upload.href, path, upload.sha256, headers)
    else:
        data = path.read_bytes()
        _expect(path, manifest.sha256(data), upload.sha256)
        bucket.put(upload.href, data, upload.sha256, headers)


def _expect(path: Path, sha256: str, listed: str) -> None:
    if sha256 != listed:
        raise DamagedError(f"{path}: its bytes are not those that the manifest vouches for; build and check again")


def headers_of(href: str, *, versioned: bool) -> Headers:
    """Say what an object is and how long it may be kept: documents shortly, for they change in place."""
    lasting = Path(href).suffix in _LASTING
    kept = (_FOR_EVER if versioned else _HOUR) if lasting else _SHORT
    if layout.is_hashed(href):
        kept = _FOR_EVER
    kind = "application/geo+json" if layout.rank(href) == layout.rank("c/a/i/i.json") else media_type(href)
    return Headers(media_type=kind, cache_control=kept)
