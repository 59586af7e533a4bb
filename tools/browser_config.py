"""The settings with which STAC Browser shows a release: where its catalog is, its projections, its contrast.

Run by tools/browser, which prints this to the config.js of a built STAC Browser.
"""

import argparse
import json
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urljoin

import pyproj
from pyproj.exceptions import CRSError

from catalog_builder.errors import CatalogBuilderError, UsageError
from catalog_builder.location import FolderLocation, S3Location
from catalog_builder.readers import Reader, locate, open_reader

BESIDE: Final = "../catalog.json"
"""Where `catalog-builder serve --browser` has the catalog, seen from the page."""
TEMPLATE: Final = Path(__file__).parent / "stac-browser" / "config.js"
_MARK: Final = "RELEASE;"


def settings(text: str, catalog: str | None = None) -> str:
    """Give the text of config.js for a release in a folder or on a web server.

    Raises UsageError where there is no release, or where browsers cannot read it.
    """
    location = locate(text)
    if isinstance(location, S3Location):
        raise UsageError(f"{text}: browsers read no s3:// addresses; give the https:// address of the same prefix")
    reader = open_reader(location)
    root = _read(reader, text, "catalog.json")
    collections = [_read(reader, text, href) for href in _children(root)]
    beside = BESIDE if isinstance(location, FolderLocation) else f"{str(location).rstrip('/')}/catalog.json"
    release = {
        "catalog": catalog or beside,
        "title": root.get("title") or root.get("id"),
        "crs": {code: proj4(code) for code in _codes(collections)},
        "renders": {collection.get("id"): _renders(collection) for collection in collections},
    }
    template = TEMPLATE.read_text(encoding="utf-8")
    return template.replace(_MARK, json.dumps(release, indent=2, ensure_ascii=False, allow_nan=False) + ";", 1)


def proj4(code: str) -> str:
    """A CRS in the words of proj4js, which knows two by itself. Raises UsageError."""
    try:
        with warnings.catch_warnings():
            # It says that PROJ strings lose something: names and areas of use, which a map does not need.
            warnings.simplefilter("ignore", UserWarning)
            return str(pyproj.CRS.from_user_input(code).to_proj4())
    except CRSError as error:
        raise UsageError(f"{code}: not a CRS that PROJ knows ({error})") from error


def _read(reader: Reader, release: str, href: str) -> dict[str, Any]:
    content = reader.read(href)
    if content is None:
        raise UsageError(f"{release}: no {href}, so there is no release to browse")
    try:
        document = json.loads(content)
    except ValueError as error:
        raise UsageError(f"{release}: {href} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise UsageError(f"{release}: {href} is not a JSON object")
    return document


def _children(root: Mapping[str, Any]) -> list[str]:
    links = [link["href"] for link in root.get("links", ()) if link.get("rel") == "child"]
    return [urljoin("catalog.json", href).removeprefix("./") for href in links]


def _codes(collections: Sequence[Mapping[str, Any]]) -> list[str]:
    return sorted({code for collection in collections for code in collection.get("summaries", {}).get("proj:code", ())})


def _renders(collection: Mapping[str, Any]) -> dict[str, Any]:
    """Bands and ranges by asset, of the renders that the map can draw.

    It knows no colour maps: over the range of one, the heights of a tile would all be the same grey.
    """
    found: dict[str, Any] = {}
    for render in collection.get("renders", {}).values():
        bands, ranges = render.get("bidx"), render.get("rescale")
        coloured = "colormap_name" in render or "colormap" in render
        if bands and ranges and len(bands) == len(ranges) and not coloured:
            for asset in render.get("assets", ()):
                found.setdefault(asset, {"bidx": bands, "rescale": ranges})
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("release", metavar="RELEASE|URL")
    parser.add_argument("--catalog", metavar="HREF", help=f"address of the catalog (a folder's: {BESIDE})")
    args = parser.parse_args()
    try:
        sys.stdout.write(settings(args.release, args.catalog))
    except CatalogBuilderError as error:
        print(f"tools/browser: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
