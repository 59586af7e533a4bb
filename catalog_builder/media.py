"""Media types, as servers and buckets give them out."""

from collections.abc import Mapping
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Final

OTHER_TYPE: Final = "application/octet-stream"
TYPES: Final[Mapping[str, str]] = MappingProxyType(
    {
        ".json": "application/json",
        ".geojson": "application/geo+json",
        ".tif": "image/tiff; application=geotiff; profile=cloud-optimized",
        ".parquet": "application/vnd.apache.parquet",
        ".png": "image/png",
        ".sha256": "text/plain; charset=utf-8",
        ".txt": "text/plain; charset=utf-8",
        ".md": "text/plain; charset=utf-8",
        ".html": "text/html; charset=utf-8",
        ".css": "text/css; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".mjs": "text/javascript; charset=utf-8",
        ".map": "application/json",
        ".svg": "image/svg+xml; charset=utf-8",
        ".ico": "image/vnd.microsoft.icon",
        ".wasm": "application/wasm",
        ".woff2": "font/woff2",
    }
)


def media_type(href: str) -> str:
    """Give the media type of a file by its name."""
    return TYPES.get(PurePosixPath(href).suffix.lower(), OTHER_TYPE)
