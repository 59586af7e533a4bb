"""Where a release lies: a folder, a web server or a bucket. Words only; nothing is opened here."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from catalog_builder.errors import UsageError

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX = re.compile(r"[A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*")
_WEB = ("http", "https")


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Location:
    """A prefix of a bucket. A plain value, so that workers have it too; credentials are never part of it."""

    bucket: str
    prefix: str = ""
    """Without slashes at its ends; empty for the whole bucket."""
    endpoint_url: str | None = None
    """Of an S3-compatible server; None for AWS, or what boto3's own configuration says."""
    anonymous: bool = False
    """Whether requests are not signed."""

    def key(self, href: str) -> str:
        """Give the key of an href of the release."""
        return f"{self.prefix}/{href}" if self.prefix else href

    def href(self, key: str) -> str:
        """Give the href of a key under the prefix."""
        return key.removeprefix(f"{self.prefix}/") if self.prefix else key

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class WebLocation:
    """A folder of a web server."""

    url: str
    """Without a slash at its end."""

    def __str__(self) -> str:
        return self.url


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderLocation:
    """A folder of this machine."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


Location = S3Location | WebLocation | FolderLocation


def parse_s3(text: str, endpoint_url: str | None = None, *, anonymous: bool = False) -> S3Location:
    """Read ``s3://bucket/prefix``. Raises ``UsageError`` saying what such a URL looks like."""
    _check_no_user(text)
    scheme, separator, rest = text.partition("://")
    bucket, _, prefix = rest.partition("/")
    prefix = prefix.rstrip("/")
    if scheme != "s3" or not separator:
        raise UsageError(f"{text!r}: not a place in a bucket; write s3://bucket/prefix")
    if not _BUCKET.fullmatch(bucket):
        raise UsageError(f"{text!r}: {bucket!r} is no name of a bucket (3 to 63 lower-case letters, digits, '-', '.')")
    if prefix and (not _PREFIX.fullmatch(prefix) or {".", ".."} & set(prefix.split("/"))):
        raise UsageError(f"{text!r}: a prefix is names of letters, digits, '.', '_', '~' or '-' between single slashes")
    if endpoint_url is not None:
        _check_endpoint(endpoint_url)
    return S3Location(bucket=bucket, prefix=prefix, endpoint_url=endpoint_url, anonymous=anonymous)


def parse(text: str, endpoint_url: str | None = None, *, anonymous: bool = False) -> Location:
    """Read a folder's path, ``http(s)://…`` or ``s3://…``; the name of a ``catalog.json`` may follow.

    Raises ``UsageError``.
    """
    text = text.removesuffix("/catalog.json") if "://" in text else text
    if text.startswith("s3://"):
        return parse_s3(text, endpoint_url, anonymous=anonymous)
    _check_no_user(text)
    if "://" not in text:
        path = Path(text)
        return FolderLocation(path=path.parent if path.name == "catalog.json" else path)
    parts = _split(text)
    if parts.scheme not in _WEB or not parts.hostname:
        raise UsageError(f"{text!r}: neither a folder nor http://…, https://… or s3://…")
    if parts.query or parts.fragment:
        raise UsageError(f"{parts.scheme}://{parts.hostname}: an address of a release has no query and no fragment")
    return WebLocation(url=text.rstrip("/"))


def _check_endpoint(url: str) -> None:
    _check_no_user(url)
    parts = _split(url)
    if parts.scheme not in _WEB or not parts.hostname:
        raise UsageError(f"--endpoint-url {url!r}: not the address of a server, such as http://127.0.0.1:8333")


def _check_no_user(text: str) -> None:
    """Refuse an address with credentials in it, and quote nothing of it."""
    if "@" in text and ("://" in text or ":" in text.partition("@")[0]):
        raise UsageError("an address holds a user or a password; give credentials as boto3 reads them")


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError as error:
        raise UsageError(f"{url!r}: not an address: {error}") from error
