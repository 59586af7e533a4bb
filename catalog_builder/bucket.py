"""A prefix of an S3 bucket: objects with their SHA-256, conditions, and each error of a server in one line.

boto3 does the work, with its own retries. What it does not repeat by itself, a body damaged or cut on its way, is
repeated here.
"""

import base64
import itertools
import random
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar

import boto3
from boto3.exceptions import S3UploadFailedError
from boto3.s3.transfer import TransferConfig
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ResponseStreamingError,
)
from botocore.exceptions import ConnectionError as NoConnectionError
from urllib3.exceptions import HTTPError

from catalog_builder import manifest
from catalog_builder.direct import DirectPut
from catalog_builder.errors import ChangedError, DamagedError, RemoteError
from catalog_builder.location import S3Location

Result = TypeVar("Result")

MULTIPART_BYTES = 64_000_000
"""Larger objects are sent in parts."""
MAX_DOCUMENT_BYTES = 2**28
"""Of a document or a manifest that is read whole; a server could send for ever."""
_PART_BYTES = 16 * 2**20
_ATTEMPTS = 8
_LONGEST_PAUSE = 8.0
"""Seconds between two attempts."""
_CHUNK = 2**20
_AT_ONCE = 1000
"""Objects that S3 deletes by one request."""

_ABSENT = frozenset({"404", "NoSuchKey", "NoSuchUpload", "NotFound"})
_REFUSED = frozenset({"412", "PreconditionFailed", "409", "ConditionalRequestConflict"})
_ON_THE_WAY = frozenset(
    {"BadDigest", "IncompleteBody", "InvalidDigest", "RequestTimeout", "XAmzContentSHA256Mismatch", "InternalError"}
)
"""Codes of bytes that were damaged or lost between here and the server; they are sent again."""
_AWAY = frozenset({"500", "502", "503", "504", "ServiceUnavailable", "SlowDown", "TooManyRequests", "429"})
"""Codes of a server that has no time, or is not there for a while."""
_SAID: Mapping[str, str] = {
    "NoSuchBucket": "there is no such bucket; make it first, or mend the name or --endpoint-url",
    "AccessDenied": "permission denied; needed are s3:ListBucket, s3:GetObject, s3:PutObject, s3:DeleteObject",
    "403": "permission denied, or wrong credentials; publishing needs to list, get, put and delete objects",
    "InvalidAccessKeyId": "the server does not know this access key; look at AWS_PROFILE and AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "wrong credentials: the secret does not belong to the access key",
    "ExpiredToken": "the credentials have expired; log in again",
    "PermanentRedirect": "the bucket is in another region; set AWS_REGION or --endpoint-url to that of the bucket",
    "301": "the bucket is in another region; set AWS_REGION or --endpoint-url to that of the bucket",
    "AuthorizationHeaderMalformed": "wrong region; set AWS_REGION to that of the bucket",
    "IllegalLocationConstraintException": "wrong region; set AWS_REGION to that of the bucket",
    "NotImplemented": "the server lacks what publishing needs: conditional writes (If-None-Match, If-Match)",
}
"""Error codes of S3 in the user's words. The server's own text is not shown: it may quote an access key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectFacts:
    """What a server says of an object."""

    size: int
    sha256: str | None
    """Hex, as the server computed it; None where it does not tell, or knows those of parts alone."""
    stated: str | None = None
    """What was written beside the object."""
    tag: str | None = None
    """Its entity tag, which changes with its bytes."""

    @classmethod
    def from_headers(cls, size: int, headers: Mapping[str, str]) -> "ObjectFacts":
        """Read them out of the headers of an answer. The checksum of an object in parts ends in their number."""
        checksum = headers.get("x-amz-checksum-sha256", "")
        whole = base64.b64decode(checksum).hex() if checksum and "-" not in checksum else None
        return cls(size=size, sha256=whole, stated=headers.get("x-amz-meta-sha256"), tag=headers.get("etag"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Headers:
    """What an object tells those who read it."""

    media_type: str
    cache_control: str

    def arguments(self, sha256: str) -> dict[str, Any]:
        """Give them as boto3 wants them."""
        metadata = {"sha256": sha256}
        return {"ContentType": self.media_type, "CacheControl": self.cache_control, "Metadata": metadata}

    def plain(self, sha256: str) -> dict[str, str]:
        """Give them as they go over the wire."""
        return {"Content-Type": self.media_type, "Cache-Control": self.cache_control, "x-amz-meta-sha256": sha256}


class Bucket:
    """Objects under one prefix. Every method raises ``RemoteError``, naming the place."""

    def __init__(self, location: S3Location) -> None:
        self.location = location
        with self._told():
            session = boto3.Session()
            self._client = _client(session, location)
            self._direct = None if location.anonymous else DirectPut(session, self._client, location.bucket)
        self._was_reached = False
        """Whether the server has answered before: only then it is worth to wait for it."""

    # --- reading -----------------------------------------------------------------------------------------------------

    def read(self, href: str) -> bytes | None:
        """Read an object; None where there is none."""
        found = self.read_tagged(href)
        return None if found is None else found[0]

    def read_tagged(self, href: str) -> tuple[bytes, str] | None:
        """Read an object and its entity tag, by which it can be replaced; None where there is none."""

        def get() -> tuple[bytes, str]:
            answer = self._client.get_object(**self._at(href))
            if answer["ContentLength"] > MAX_DOCUMENT_BYTES:
                raise RemoteError(f"{self.location}/{href}: larger than any document of a release")
            return answer["Body"].read(), answer["ETag"]

        return self._unless_absent(href, get)

    def range(self, href: str, start: int, length: int, tag: str | None = None) -> bytes:
        """Read some bytes of an object, at most to its end.

        Raises ``ChangedError`` where it no longer has the entity tag.
        """
        condition = {} if tag is None else {"IfMatch": tag}
        wanted = f"bytes={start}-{start + length - 1}"

        def get() -> bytes:
            data: bytes = self._client.get_object(**self._at(href), Range=wanted, **condition)["Body"].read()
            return data

        try:
            return self._persist(href, get)
        except _RefusedError as error:
            raise ChangedError(f"{self.location}/{href}: was replaced while it was read; try again") from error

    def hash(self, href: str) -> tuple[int, str] | None:
        """Read an object through and give its size and SHA-256 (hex); None where there is none."""

        def read_through() -> tuple[int, str]:
            return manifest.hash_chunks(self._client.get_object(**self._at(href))["Body"].iter_chunks(_CHUNK))

        return self._unless_absent(href, read_through)

    def facts(self, href: str) -> ObjectFacts | None:
        """Ask for size and SHA-256 of an object; None where there is none."""

        def head() -> ObjectFacts:
            answer = self._client.head_object(**self._at(href), ChecksumMode="ENABLED")
            return ObjectFacts.from_headers(answer["ContentLength"], answer["ResponseMetadata"]["HTTPHeaders"])

        return self._unless_absent(href, head)

    def list(self) -> Iterator[tuple[str, int]]:
        """List href and size of all objects under the prefix."""
        asked: dict[str, Any] = {"Bucket": self.location.bucket, "Prefix": self.location.key("")}
        while True:
            page = self._persist("", partial(self._client.list_objects_v2, **asked))
            for found in page.get("Contents", ()):
                yield self.location.href(found["Key"]), found["Size"]
            if not page.get("IsTruncated"):
                return
            asked["ContinuationToken"] = page["NextContinuationToken"]

    # --- writing -----------------------------------------------------------------------------------------------------

    def put(self, href: str, data: bytes, sha256: str, headers: Headers) -> None:
        """Write an object; the server refuses bytes that are not those of the SHA-256 (hex)."""
        if self._direct is not None and self._direct.put(self.location.key(href), data, sha256, headers.plain(sha256)):
            self._was_reached = True
        else:
            self._put(href, data, sha256, headers.arguments(sha256))

    def upload(self, href: str, path: Path, sha256: str, headers: Headers) -> None:
        """Write an object from a file in parts, each with its SHA-256. The caller has seen that the file's is right."""
        extra = headers.arguments(sha256) | {"ChecksumAlgorithm": "SHA256"}
        parts = TransferConfig(
            multipart_threshold=_PART_BYTES, multipart_chunksize=_PART_BYTES, max_concurrency=4, use_threads=True
        )
        place = self._at(href)
        self._persist(
            href,
            lambda: self._client.upload_file(str(path), place["Bucket"], place["Key"], ExtraArgs=extra, Config=parts),
        )

    def put_if(self, href: str, data: bytes, headers: Headers, *, tag: str | None) -> str | None:
        """Write an object where there is none, or in place of the one with this entity tag.

        Gives the new entity tag; None where somebody else was faster.
        """
        sha256 = manifest.sha256(data)
        condition = {"IfNoneMatch": "*"} if tag is None else {"IfMatch": tag}
        try:
            return self._put(href, data, sha256, headers.arguments(sha256) | condition)
        except (_RefusedError, _AbsentError):
            # An answer can be lost on its way, and the write then meets itself.
            found = self.read_tagged(href)
            return found[1] if found is not None and found[0] == data else None

    def copy(self, href: str, source: S3Location, sha256: str, headers: Headers) -> bool:
        """Copy an object of the same server to this prefix.

        Say whether it was there, and the server vouches for its bytes.
        """
        origin = {"Bucket": source.bucket, "Key": source.key(href)}
        extra: dict[str, Any] = {"MetadataDirective": "REPLACE", "ChecksumAlgorithm": "SHA256"}

        def copy() -> bool:
            self._client.copy_object(**self._at(href), CopySource=origin, **headers.arguments(sha256), **extra)
            facts = self.facts(href)
            return facts is not None and facts.sha256 == sha256

        return bool(self._unless_absent(href, copy))

    def delete(self, hrefs: Iterable[str]) -> None:
        """Delete objects under the prefix."""
        rest = iter(hrefs)
        while batch := list(itertools.islice(rest, _AT_ONCE)):
            listed = {"Objects": [{"Key": self.location.key(href)} for href in batch], "Quiet": True}
            request = partial(self._client.delete_objects, Bucket=self.location.bucket, Delete=listed)
            for error in self._persist("", request).get("Errors", ()):
                raise self._error(error.get("Key", ""), error.get("Code", ""))

    def abort_parts(self, hrefs: Container[str]) -> None:
        """Drop the parts of these objects that an earlier publisher did not finish."""
        asked = {"Bucket": self.location.bucket, "Prefix": self.location.key("")}
        # More than one answer holds are left to the bucket's own rules.
        listed = self._persist("", partial(self._client.list_multipart_uploads, **asked))
        for found in listed.get("Uploads", ()):
            if self.location.href(found["Key"]) not in hrefs:
                continue
            place = {"Bucket": self.location.bucket, "Key": found["Key"], "UploadId": found["UploadId"]}
            self._unless_absent("", partial(self._client.abort_multipart_upload, **place))

    # --- requests ----------------------------------------------------------------------------------------------------

    def _at(self, href: str) -> Any:
        return {"Bucket": self.location.bucket, "Key": self.location.key(href)}

    def _put(self, href: str, data: bytes, sha256: str, extra: dict[str, Any]) -> str:
        checksum = base64.b64encode(bytes.fromhex(sha256)).decode()
        answer = self._persist(
            href, lambda: self._client.put_object(**self._at(href), Body=data, ChecksumSHA256=checksum, **extra)
        )
        return str(answer["ETag"])

    def _unless_absent(self, href: str, request: Callable[[], Result]) -> Result | None:
        try:
            return self._persist(href, request)
        except _AbsentError:
            return None

    def _persist(self, href: str, request: Callable[[], Result]) -> Result:
        """Repeat a request whose bytes were damaged on their way, or that found no server where there was one."""
        for attempt in itertools.count(1):
            try:
                with self._told(href):
                    result = request()
                    self._was_reached = True
                    return result
            except (DamagedError, _AwayError) as error:
                if attempt == _ATTEMPTS or (isinstance(error, _AwayError) and not self._was_reached):
                    raise
                pause(attempt)
        raise AssertionError  # count() has no end

    @contextmanager
    def _told(self, href: str = "") -> Iterator[None]:
        """Say in one line what a server or the network did not like."""
        where = self.location if not href else f"{self.location}/{href}"
        try:
            yield
        except ClientError as error:
            raise self._error(href, _code(error)) from error
        except S3UploadFailedError as error:
            cause = error.__context__
            code = _code(cause) if isinstance(cause, ClientError) else ""
            raise self._error(href, code or "RequestTimeout") from error
        except (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError) as error:
            text = "no credentials; give them as boto3 reads them (AWS_PROFILE, AWS_ACCESS_KEY_ID, …)"
            raise RemoteError(f"{where}: {text}") from error
        except (FlexibleChecksumError, IncompleteReadError, ResponseStreamingError, HTTPError) as error:
            raise DamagedError(f"{where}: the answer arrives cut or damaged, {_ATTEMPTS} times over") from error
        except (NoConnectionError, HTTPClientError) as error:
            server = self.location.endpoint_url or "AWS"
            text = f"no answer from {server} ({type(error).__name__}); look at --endpoint-url and the network"
            raise _AwayError(f"{where}: {text}") from error
        except (BotoCoreError, RuntimeError, ValueError) as error:
            raise RemoteError(f"{where}: {error}") from error

    def _error(self, href: str, code: str) -> RemoteError:
        where = str(self.location) if not href else f"{self.location}/{href}"
        if code in _ABSENT:
            return _AbsentError(f"{where}: not there")
        if code in _REFUSED:
            return _RefusedError(f"{where}: somebody else wrote it at the same time")
        if code in _ON_THE_WAY:
            return DamagedError(f"{where}: arrives damaged at the server ({code}), {_ATTEMPTS} times over")
        if code in _AWAY:
            return _AwayError(f"{where}: the server is not available ({code}); try again later")
        return RemoteError(f"{where}: {_SAID.get(code, f'the server refuses: {code}')}")


class _AbsentError(RemoteError):
    """There is no such object."""


class _AwayError(RemoteError):
    """The server does not answer, or has no time."""


class _RefusedError(RemoteError):
    """A condition did not hold."""


@lru_cache(maxsize=4)
def open_bucket(location: S3Location) -> Bucket:
    """Open a prefix of a bucket, in one process once: its connections are shared by all threads."""
    return Bucket(location)


def has_credentials() -> bool:
    """Tell whether boto3's own chain finds any credentials."""
    try:
        return boto3.Session().get_credentials() is not None
    except BotoCoreError as error:
        raise RemoteError(f"credentials: {error}") from error


def pause(attempt: int) -> None:
    """Wait before the next attempt, longer each time, and not all at the same time."""
    time.sleep(min(_LONGEST_PAUSE, 0.1 * 2**attempt) * random.uniform(0.5, 1))  # noqa: S311 - no secret


def _client(session: boto3.Session, location: S3Location) -> Any:
    config = Config(
        signature_version=UNSIGNED if location.anonymous else None,
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
        connect_timeout=10,
        read_timeout=60,
        max_pool_connections=32,
        # Every write says its own SHA-256, and what is read is held against the manifests.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        # Servers other than AWS often know no bucket.host names.
        s3={"addressing_style": "path"} if location.endpoint_url else None,
    )
    region = None if session.region_name else "us-east-1"
    return session.client("s3", endpoint_url=location.endpoint_url, region_name=region, config=config)


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
