"""DREAM's catalog builder: processed rasters in, a static STAC release out, and in again by search and load."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from pystac_client import Client

__version__ = "0.1.0"


def open(
    href: "str | os.PathLike[str]",
    *,
    endpoint_url: str | None = None,
    anonymous: bool | None = None,
    cache: "Path | None" = None,
) -> "Client":
    """Open a release to search it: a folder, ``http(s)://…/catalog.json`` or ``s3://bucket/prefix``.

    Gives a pystac_client.Client whose ``search`` needs no server. ``endpoint_url`` is that of an S3-compatible server;
    ``anonymous`` tells not to sign requests to a bucket, None to sign them where boto3 finds credentials; ``cache`` is
    a folder in which what is read of indexes far away is kept for the next time. Raises ``UsageError`` or
    ``RemoteError`` of ``catalog_builder.errors``.
    """
    import os

    from catalog_builder.readers import locate
    from catalog_builder.search.client import open_release
    from catalog_builder.search.release import Release

    return open_release(Release(locate(os.fspath(href), endpoint_url, anonymous=anonymous), cache))
