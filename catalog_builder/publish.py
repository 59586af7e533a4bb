"""A release -> a bucket, in an order in which no reader ever meets a link that leads nowhere.

What differs is found from the manifests, local and published. Objects go in the order of ``layout.rank``: what is
pointed at before what points at it, the root's manifest last. A lock in the bucket, written under a condition, lets one
publisher through; the object that it leaves when it is stopped says that the published manifests cannot be relied upon,
and the next one asks the server for what is there already.
"""

import itertools
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from catalog_builder import jsonio, layout, manifest
from catalog_builder.bucket import Bucket, Headers, open_bucket
from catalog_builder.check.structure import Skeleton, read_skeleton
from catalog_builder.errors import DamagedError, RemoteError, UsageError
from catalog_builder.executor import unordered
from catalog_builder.location import S3Location
from catalog_builder.progress import duration, size
from catalog_builder.readers import read_area_manifests, read_manifest
from catalog_builder.transfer import Progress, Route, Sent, Upload, batches, transfer, warm

_LOCK_HEADERS = Headers(media_type="application/json", cache_control="no-store")
_CONFIRM_SECONDS = 2.0
"""Time after which a publisher at work looks whether its lock is still its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishPlan:
    """What publishing would do."""

    uploads: tuple[Upload, ...] = ()
    """In the order in which they go."""
    unchanged: int = 0
    """Objects that are there as they should be."""
    obsolete: tuple[str, ...] = ()
    """Objects under the prefix that the release does not list, where that was asked for."""

    @property
    def size(self) -> int:
        """Bytes of all uploads."""
        return sum(upload.size for upload in self.uploads)

    def document(self) -> dict[str, Any]:
        """Give the JSON form."""
        return {
            "uploads": [{"href": upload.href, "bytes": upload.size, "copy": upload.copied} for upload in self.uploads],
            "bytes": self.size,
            "unchanged": self.unchanged,
            "delete": list(self.obsolete),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishReport:
    """What publishing did."""

    target: S3Location
    sent: Sent
    unchanged: int
    deleted: int
    seconds: float

    def document(self) -> dict[str, Any]:
        """Give the JSON form."""
        return {
            "target": str(self.target),
            "objects_sent": self.sent.sent,
            "bytes_sent": self.sent.sent_bytes,
            "objects_copied": self.sent.copied,
            "objects_unchanged": self.unchanged,
            "objects_deleted": self.deleted,
            "seconds": round(self.seconds, 3),
        }

    def line(self) -> str:
        """Give the summary for people."""
        if not self.sent.sent + self.sent.copied + self.deleted:
            return f"{self.target}: nothing to do: {self.unchanged:,} objects are up to date"
        return (
            f"{self.target}: {self.sent.sent:,} objects sent, {size(self.sent.sent_bytes)}; "
            f"{self.sent.copied:,} copied, {self.unchanged:,} unchanged, {self.deleted:,} deleted, "
            f"in {duration(self.seconds)}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishOptions:
    """What a publisher may choose."""

    previous: S3Location | None = None
    """Where the version before this one lies: what did not change is copied from there by the server."""
    delete: bool = False
    replace: bool = False
    """Whether another version may be overwritten."""
    repair: bool = False
    """Whether the server is asked for every object, whatever the published manifests say."""
    take_over: bool = False
    """Whether a lock that another publisher left is taken over."""


def plan_publish(release: Path, target: S3Location, options: PublishOptions) -> PublishPlan:
    """Tell what ``publish`` would do; nothing is written. Raises what ``publish`` raises."""
    bucket = Bucket(target)
    lock = bucket.read(layout.LOCK)
    if lock is None and not (options.delete or options.repair) and _is_published(release, bucket):
        return PublishPlan(unchanged=len(read_skeleton(release).files))
    return _make_plan(release, read_skeleton(release), bucket, options, trusted=lock is None and not options.repair)


def publish(
    release: Path,
    target: S3Location,
    options: PublishOptions,
    executor: Executor,
    progress: Progress,
    *,
    workers: int = 2,
) -> PublishReport:
    """Publish a release under a prefix of a bucket.

    Raises ``UsageError`` or ``ReleaseError`` for a folder that is no whole release, ``RemoteError`` where the bucket
    cannot be used, holds another version, or another publisher is at work on it.
    """
    started = time.monotonic()
    open_bucket.cache_clear()  # credentials may be others than before
    bucket = open_bucket(target)
    executor.submit(warm, target)  # before there is a connection, so that workers may be copies of this process
    looks = options.delete or options.repair
    if not looks and _is_published(release, bucket) and bucket.read(layout.LOCK) is None:
        return PublishReport(
            target=target, sent=Sent(), unchanged=_count(release), deleted=0, seconds=time.monotonic() - started
        )
    progress.note(f"reading {release}")
    skeleton = read_skeleton(release)
    with _locked(bucket, take_over=options.take_over) as lock:
        progress.note(f"comparing with {target}")
        plan = _make_plan(release, skeleton, bucket, options, trusted=not (lock.inherited or options.repair))
        if lock.inherited:
            with suppress(RemoteError):  # it costs a little space, and not everybody has this right
                bucket.abort_parts(skeleton.files)
        route = Route(
            release=release.absolute(),
            target=target,
            previous=options.previous,
            thorough=options.repair,
            versioned=_is_versioned(target, skeleton),
        )
        sent = _send(plan, route, lock, executor, progress, workers)
        if lock.is_taken_over:
            # One that was not dead after all may have written until it found its lock gone.
            progress.note(f"looking at {target} once more")
            again = _make_plan(release, skeleton, bucket, replace(options, replace=True), trusted=False)
            sent += replace(_send(again, route, lock, executor, progress, workers), skipped=0)
            plan = replace(plan, obsolete=again.obsolete)
        if plan.obsolete:
            lock.confirm()
            lock.is_needed = True
            for _, hrefs in itertools.groupby(plan.obsolete, key=layout.rank):
                _delete(list(hrefs), bucket, progress)
    return PublishReport(
        target=target,
        sent=sent,
        unchanged=plan.unchanged + sent.skipped,
        deleted=len(plan.obsolete),
        seconds=time.monotonic() - started,
    )


# --- what there is to do ----------------------------------------------------------------------------------------------


def _is_published(release: Path, bucket: Bucket) -> bool:
    """Whether the bucket has the release's own root manifest, which goes last and vouches for all."""
    try:
        local = (release / layout.MANIFEST).read_bytes()
    except OSError as error:
        raise UsageError(f"{release}: no release to publish: {layout.MANIFEST}: {error.strerror}") from error
    return bucket.read(layout.MANIFEST) == local


def _count(release: Path) -> int:
    """Count the files of a release by its manifests."""
    root = manifest.loads((release / layout.MANIFEST).read_bytes())
    areas = layout.area_manifests(root)
    return 1 + len(root) + sum(len(manifest.loads((release / href).read_bytes())) for href in areas)


def _make_plan(
    release: Path, skeleton: Skeleton, bucket: Bucket, options: PublishOptions, *, trusted: bool
) -> PublishPlan:
    """Compare manifests, and the sizes that the server lists.

    Not ``trusted`` are published manifests beside which a stopped publisher may have left other objects.
    """
    try:
        published = _published_files(bucket, skeleton)
    except DamagedError:
        if trusted:
            raise
        published = None
    if published is not None and not options.replace:
        _check_versions(bucket, skeleton)
    known = published if published is not None and trusted else {}
    before = _previous_files(bucket.location, options.previous)
    there = {href: size for href, size in bucket.list() if href != layout.LOCK}
    uploads = []
    for href in sorted(skeleton.files, key=layout.order):
        sha256, size = skeleton.files[href], (release / href).stat().st_size
        if known.get(href) == sha256 and there.get(href) == size:
            continue
        doubtful, copied = not known and there.get(href) == size, before.get(href) == sha256
        uploads.append(Upload(href=href, sha256=sha256, size=size, copied=copied, doubtful=doubtful))
    obsolete = sorted(there.keys() - skeleton.files.keys(), key=layout.order, reverse=True) if options.delete else ()
    return PublishPlan(uploads=tuple(uploads), unchanged=len(skeleton.files) - len(uploads), obsolete=tuple(obsolete))


def _published_files(bucket: Bucket, skeleton: Skeleton) -> dict[str, str] | None:
    """Read the published manifests: href -> SHA-256; None where there is no root's.

    The manifest of an area is read only where it is not that of the release.
    """
    listed = read_manifest(bucket, bucket.location, layout.MANIFEST)
    if listed is None:
        return None
    areas = layout.area_manifests(listed)
    same = {layout.area_of(href) for href in areas if listed[href] == skeleton.files.get(href)}
    files = {href: sha256 for href, sha256 in skeleton.files.items() if layout.area_of(href) in same}
    files |= _area_files(bucket, [href for href in areas if layout.area_of(href) not in same])
    return {**files, **listed, layout.MANIFEST: manifest.sha256(manifest.dumps(listed))}


def _area_files(bucket: Bucket, hrefs: Sequence[str]) -> dict[str, str]:
    """Read the manifests of areas: href -> SHA-256 of all their files."""
    read = read_area_manifests(bucket, bucket.location, hrefs)
    return {path: sha256 for _, listed in read for path, sha256 in (listed or {}).items()}


def _previous_files(target: S3Location, previous: S3Location | None) -> Mapping[str, str]:
    if previous is None:
        return {}
    if previous == target:
        raise UsageError(f"--previous {previous}: is where the release goes; name the version before it")
    bucket = Bucket(previous)
    listed = read_manifest(bucket, previous, layout.MANIFEST)
    if listed is None:
        raise RemoteError(f"--previous {previous}: holds no release ({layout.MANIFEST} is not there)")
    return {**listed, **_area_files(bucket, layout.area_manifests(listed))}


def _check_versions(bucket: Bucket, skeleton: Skeleton) -> None:
    """Refuse to overwrite another version: what was published under its name stays what it is."""
    for name, version in skeleton.collections.items():
        data = bucket.read(layout.collection(name))
        try:
            published = jsonio.loads(data).get("version") if data is not None else version
        except (ValueError, AttributeError):
            continue  # of no release that has a version
        if published != version:
            raise RemoteError(
                f"{bucket.location}: holds version {published} of {name!r}, this release is {version}; give it a "
                "prefix of its own (--previous copies what did not change), or overwrite with --replace"
            )


# --- doing it ---------------------------------------------------------------------------------------------------------


def _send(plan: PublishPlan, route: Route, lock: "_Lock", executor: Executor, progress: Progress, workers: int) -> Sent:
    """Bring all objects to the bucket, one step after the other."""
    progress.start(len(plan.uploads), plan.size)
    total = Sent()
    for _, uploads in itertools.groupby(plan.uploads, key=lambda upload: layout.rank(upload.href)):
        # A publisher that was thought dead, and is not, finds out here.
        lock.confirm()
        lock.is_needed = True
        for batch, future in unordered(executor, partial(transfer, route=route), batches(uploads), 2 * workers):
            done = future.result()
            lock.confirm_sometimes()
            total += done
            progress.advance(len(batch), done.bytes)
    return total


def _is_versioned(target: S3Location, skeleton: Skeleton) -> bool:
    """Whether the prefix is named by the version, and so stays what it is."""
    name, versions = target.prefix.rpartition("/")[2], set(skeleton.collections.values())
    return all(version and name in (version, f"v{version}") for version in versions)


def _delete(hrefs: list[str], bucket: Bucket, progress: Progress) -> None:
    """Delete objects, and name each of them first."""
    for href in hrefs:
        progress.note(f"deleting {href}")
    bucket.delete(hrefs)


class _Lock:
    """The right to publish, as an object in the bucket."""

    def __init__(self, bucket: Bucket, *, take_over: bool) -> None:
        self._bucket = bucket
        found = bucket.read_tagged(layout.LOCK)
        self.inherited = found is not None
        """Whether a publisher before this one was stopped, and may have left objects that no manifest tells of."""
        since = None if found is None else _at_work_since(found[0])
        self.is_taken_over = since is not None
        """Whether the publisher before this one may be at work still, for all that anybody knows."""
        if since is not None and not take_over:
            raise RemoteError(
                f"{bucket.location}: another publisher has been at work here since {since}; wait until it has ended "
                "or, if it was killed, go on with --take-over"
            )
        self.is_needed = self.inherited
        """Whether the next publisher has to know that the work was not done to its end."""
        self._confirmed = 0.0
        self._since = datetime.now(UTC).isoformat(timespec="seconds")
        self._publisher = secrets.token_hex(8)
        self._tag = self._write("at work", None if found is None else found[1])
        if self._tag is None:
            raise RemoteError(f"{bucket.location}: another publisher was faster; wait until it has ended")

    def _write(self, state: str, tag: str | None) -> str | None:
        document = {"publisher": self._publisher, "since": self._since, "state": state}
        return self._bucket.put_if(layout.LOCK, jsonio.dumps(document), _LOCK_HEADERS, tag=tag)

    def confirm(self) -> None:
        """Make sure that nobody has taken over. Raises ``RemoteError``."""
        found = self._bucket.read_tagged(layout.LOCK)
        if found is None or found[1] != self._tag:
            raise RemoteError(f"{self._bucket.location}: another publisher has taken over; this one stops")
        self._confirmed = time.monotonic()

    def confirm_sometimes(self) -> None:
        """Do so when the last time is some seconds ago."""
        if time.monotonic() - self._confirmed > _CONFIRM_SECONDS:
            self.confirm()

    def stop(self) -> None:
        """Leave word that the work is not done, where any was begun."""
        if not self.is_needed:
            self.release()
        elif self._write("stopped", self._tag) is None:
            self._write("stopped", None)  # somebody took the lock away; where another holds it, this changes nothing

    def release(self) -> None:
        """Let others publish."""
        self.confirm()
        self._bucket.delete([layout.LOCK])


def _at_work_since(data: bytes) -> str | None:
    """Read out of a lock since when its publisher is at work; None where it was stopped."""
    try:
        document: dict[str, Any] = jsonio.loads(data)
        return None if document["state"] == "stopped" else str(document["since"])[:25]
    except (ValueError, KeyError, TypeError):
        return "some time"


@contextmanager
def _locked(bucket: Bucket, *, take_over: bool) -> Iterator[_Lock]:
    lock = _Lock(bucket, take_over=take_over)
    try:
        yield lock
        lock.release()
    except BaseException:
        with suppress(RemoteError):  # the first error is the one to tell
            lock.stop()
        raise
