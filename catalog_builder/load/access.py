"""How the rasters of items are reached: an href -> a path for GDAL, and the settings under which GDAL opens it.

Items may come from anywhere, so nothing but GeoTIFF is tried, no sidecar file is looked at, and an href leads to a
file, to a web server or to a bucket, never to one of GDAL's other file systems.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import url2pathname

import rasterio
from botocore.exceptions import BotoCoreError
from rasterio.errors import CRSError, RasterioError
from rasterio.io import DatasetReader
from rasterio.session import AWSSession, DummySession, Session

from catalog_builder.errors import CatalogBuilderError, RasterError, RemoteError, UsageError
from catalog_builder.location import parse_s3

GDAL_OPTIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        # An empty directory listing: GDAL looks for no sidecar file.
        "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
        "GDAL_PAM_ENABLED": "NO",
        "GDAL_HTTP_MAX_RETRY": "5",
        "GDAL_HTTP_RETRY_DELAY": "0.5",
        "GDAL_HTTP_CONNECTTIMEOUT": "10",
        "GDAL_HTTP_TIMEOUT": "120",
    }
)
_REMOTE = ("http", "https", "s3")
_AWS = (".amazonaws.com", ".amazonaws.com.cn")


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How buckets are spoken to. A plain value, so that workers have it too; it holds no credentials."""

    endpoint_url: str | None = None
    """Of an S3-compatible server; None for AWS, or what boto3's own configuration says."""
    anonymous: bool = False
    """Whether requests are not signed."""

    def __post_init__(self) -> None:
        if self.endpoint_url is not None:
            parse_s3("s3://any-bucket", self.endpoint_url)


class BucketSession(Session):  # type: ignore[misc]  # rasterio has no types
    """What GDAL needs to know of a bucket's server, asked of boto3 where and when a raster is opened.

    Pickled it carries no credentials: another process finds its own.
    """

    def __init__(self, access: Access) -> None:
        self.access = access

    @classmethod
    def hascreds(cls, config: Mapping[str, Any]) -> bool:
        """Tell whether a configuration of GDAL holds credentials."""
        return bool(AWSSession.hascreds(config))

    @property
    def credentials(self) -> Mapping[str, str]:
        """Options of GDAL by their names in small letters."""
        return {key.lower(): value for key, value in self.get_credential_options().items()}

    def get_credential_options(self) -> Mapping[str, str]:
        """Give options of GDAL. Credentials that expire are renewed by boto3."""
        return dict(_aws_session(self.access).get_credential_options())


@lru_cache(maxsize=4)
def _aws_session(access: Access) -> AWSSession:
    """Make a session, in one process once: reading the configuration takes longer than reading a small raster."""
    endpoint = _endpoint(access)
    return AWSSession(aws_unsigned=access.anonymous, endpoint_url=urlsplit(endpoint).netloc if endpoint else None)


@lru_cache(maxsize=4)
def _endpoint(access: Access) -> str | None:
    """Find the address of a server that is not AWS itself: as asked for, else as boto3 is configured."""
    if access.endpoint_url is not None:
        return access.endpoint_url
    import boto3

    configured = str(boto3.Session().client("s3").meta.endpoint_url)
    return None if (urlsplit(configured).hostname or "").endswith(_AWS) else configured


def bucket_settings(access: Access) -> dict[str, Any]:
    """Give the keyword arguments with which ``rasterio.Env`` reaches a bucket: ``session`` and options of GDAL.

    Raises ``RemoteError`` where boto3's configuration cannot be used.
    """
    try:
        endpoint = _endpoint(access)
    except BotoCoreError as error:
        raise RemoteError(f"the configuration of boto3 cannot be used: {error}") from error
    settings: dict[str, Any] = {"session": BucketSession(access)}
    if endpoint is not None:
        # Servers other than AWS seldom have a host name for each bucket.
        settings["AWS_HTTPS"] = "YES" if urlsplit(endpoint).scheme == "https" else "NO"
        settings["AWS_VIRTUAL_HOSTING"] = "FALSE"
    return settings


def environment(href: str, access: Access) -> rasterio.Env:
    """Give the GDAL settings under which an href is opened; use as a context manager."""
    if href.startswith("s3://"):
        return rasterio.Env(**GDAL_OPTIONS, **bucket_settings(access))
    # Without a session of its own, rasterio would ask boto3 each time where the environment holds AWS credentials.
    return rasterio.Env(session=DummySession(), **GDAL_OPTIONS)


def gdal_path(href: str) -> str:
    """Give the path by which GDAL opens an href. Raises ``UsageError`` for what is no path, ``http(s)://`` or ``s3://``."""
    scheme, separator, rest = href.partition("://")
    if not separator:
        if href.replace("\\", "/").lstrip("/").startswith("vsi"):
            raise UsageError(f"{href!r}: a path into a file system of GDAL; give http(s)://, s3:// or a plain path")
        return href
    match scheme.lower():
        case "http" | "https":
            return f"/vsicurl/{href}"
        case "s3":
            return f"/vsis3/{rest}"
        case "file":
            return gdal_path(url2pathname(urlsplit(href).path))
    raise UsageError(f"{href!r}: neither a path nor http(s)://, s3:// or file://")


@contextmanager
def open_href(href: str, access: Access) -> Iterator[DatasetReader]:
    """Open a GeoTIFF for reading.

    Raises ``RasterError`` for a local file and ``RemoteError`` for any other, naming the href; so too where reading in
    the block fails.
    """
    path = gdal_path(href)
    try:
        with environment(href, access), rasterio.open(_as_given(path), driver="GTiff", sharing=False) as dataset:
            yield dataset
    except (RasterioError, CRSError, UnicodeDecodeError, BotoCoreError) as error:
        raise unreadable(href, path, error) from error


def _as_given(path: str) -> str | Path:
    """Keep rasterio from looking for a scheme or an archive in the name of a local file."""
    return path if path.startswith("/vsi") else Path(path)


def unreadable(href: str, path: str, error: Exception) -> CatalogBuilderError:
    """Say in one line why an href cannot be read."""
    words = " ".join(str(error.__cause__ or error).split())
    if href.partition("://")[0].lower() in _REMOTE:
        return RemoteError(f"{href}: cannot be read: {words}")
    if not Path(path).exists():
        return RasterError(f"{href}: no such file; an item tells of it, so this mirror is not whole")
    return RasterError(f"{href}: truncated or corrupt GeoTIFF: {words}")
