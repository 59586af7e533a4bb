"""What a release tells of itself, read for pictures: its documents, its areas, and whom they are owed to.

Whatever a release was changed to after the build, an error is one line.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
from rasterio.errors import RasterioError
from shapely.errors import ShapelyError

from catalog_builder import jsonio, layout
from catalog_builder.catalog import AreaSummary
from catalog_builder.errors import ReleaseError, UsageError

Document = Mapping[str, Any]


def read(release: Path, href: str) -> dict[str, Any]:
    """Read a document. Raises ``UsageError`` where there is none, ``ReleaseError`` where it is no JSON object."""
    try:
        return dict(jsonio.read(release / href))
    except OSError as error:
        raise UsageError(f"{release / href}: cannot read: {error.strerror}; is {release} a release?") from error
    except (ValueError, TypeError) as error:
        raise ReleaseError(f"{release / href}: not a STAC document: {error}") from error


@contextmanager
def as_written(path: Path) -> Iterator[None]:
    """Turn what goes wrong with a file that was changed after the build into one line."""
    try:
        yield
    except RasterioError as error:
        raise ReleaseError(f"{path}: {' '.join(str(error).split())}") from error
    except (pa.ArrowException, ShapelyError) as error:
        raise ReleaseError(f"{path}: cannot read: {' '.join(str(error).split())}") from error
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise ReleaseError(f"{path}: not as catalog-builder writes it: {error!r}") from error


def collections(release: Path) -> list[str]:
    """Give the hrefs of the collections, as the root links them."""
    return _children(release, layout.CATALOG)


def areas(release: Path, collection: str) -> list[AreaSummary]:
    """Give the summary of every area that the collection at an href links."""
    found = []
    for href in _children(release, collection):
        document = read(release, href)
        with as_written(release / href):
            found.append(AreaSummary.from_catalog(document))
    return found


def _children(release: Path, href: str) -> list[str]:
    document = read(release, href)
    with as_written(release / href):
        targets = [layout.resolve(link["href"], href) for link in document["links"] if link["rel"] == "child"]
    return [target for target in targets if target is not None]


def notes(synthetic: Sequence[str], attributions: Mapping[str, str | None]) -> Iterator[str]:
    """Give each credit once, with the modalities that it is for; made-up pixels owe nobody, and say so.

    ``synthetic`` are the modalities that were made up, ``attributions`` the credit of every modality that is shown.
    """
    if synthetic:
        which = "All of it" if len(synthetic) == len(attributions) else ", ".join(synthetic)
        yield f"SYNTHETIC: {which} was made up by a program for demonstration; no instrument measured it."
    credits: dict[str, list[str]] = {}
    for key, credit in attributions.items():
        if credit:
            credits.setdefault(credit, []).append(key)
    if credits and synthetic:
        yield "What real data of these modalities would have to be credited with:"
    yield from (f"{', '.join(keys)}: {credit}" for credit, keys in credits.items())
