"""An item against the one that the build would make of its files, by the functions of the build.

So every field is explained: it comes from the files, from the template or from the place of the tile.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from pystac.utils import str_to_datetime
from shapely.geometry import shape

from catalog_builder.check.cog import Problem
from catalog_builder.check.documents import Difference, compare_links, differences, quote
from catalog_builder.cog import CogAsset
from catalog_builder.errors import TemplateError
from catalog_builder.footprint import bounding_box, tile_polygons, valid_polygon
from catalog_builder.grid import Tile
from catalog_builder.item import AssetRecord, FileRecord, TilePlace, cog_from_asset, item_document
from catalog_builder.sources import OWN_FIELDS, OWN_PREFIXES
from catalog_builder.template import Modality

_OUTLINE_PIXELS = 3
"""How far an outline may lie off: it is simplified to about a pixel and a half."""

_ITEM_RULES: Mapping[str, str] = {
    "bbox": "bbox",
    "properties/dream:area": "item-id",
    "properties/dream:column": "item-id",
    "properties/dream:row": "item-id",
    "properties/dream:valid_percent": "valid-percent",
    "properties/dream:absent": "absent",
    "properties/datetime": "interval",
    "properties/start_datetime": "interval",
    "properties/end_datetime": "interval",
    "properties/grid:code": "grid",
    "properties/proj:code": "grid",
    "properties/proj:shape": "grid",
    "properties/proj:transform": "grid",
    "properties/proj:bbox": "grid",
}
"""Where an item differs from what it should be -> the rule that this breaks."""

_ASSET_RULES: Mapping[str, str] = {
    "href": "asset-href",
    "file:size": "asset-size",
    "file:checksum": "asset-checksum",
    "bands": "asset-header",
    "proj:code": "asset-header",
    "proj:shape": "asset-header",
    "proj:transform": "asset-header",
}
_JUDGED_APART = frozenset({"type", "stac_version", "id", "collection", "geometry", "links"})


def asset_record(asset: Mapping[str, Any], modality: Modality, made: CogAsset | None) -> AssetRecord:
    """Give what the build knew of a COG: of the file by its own word, or by the item's where it cannot be read.

    Raises ``ValueError`` for an asset that the build did not write.
    """
    try:
        record = AssetRecord(
            modality=modality,
            cog=made if made is not None and _is_usable(made, modality) else cog_from_asset(asset),
            start=_instant(asset["start_datetime"]),
            end=_instant(asset["end_datetime"]),
            resampling=asset["dream:resampling"],
            inputs=asset["dream:inputs"],
            properties={key: value for key, value in asset.items() if not _is_own(key)},
        )
    except (KeyError, TypeError, ValueError, IndexError, TemplateError) as error:
        raise ValueError(f"asset {modality.key!r} is not as the builder writes it: {error!r}") from error
    if not _is_usable(record.cog, modality):
        raise ValueError(f"asset {modality.key!r} does not have the bands of its modality with their statistics")
    if record.resampling not in ("none", modality.resampling):
        text = f"dream:resampling of {modality.key!r} is {quote(record.resampling)}"
        raise ValueError(f"{text}, the template says {modality.resampling!r}")
    return record


def _is_usable(made: CogAsset, modality: Modality) -> bool:
    """Whether an item can be made of what a file, or its asset, says."""
    counted = all("valid_percent" in band.statistics for band in made.bands)
    return counted and len(made.bands) == len(modality.bands)


def _instant(text: str) -> datetime:
    instant = str_to_datetime(text)
    if instant.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return instant


def _is_own(key: str) -> bool:
    """Whether the builder writes a field of an asset itself; others are the template's or the user's word."""
    return key in OWN_FIELDS or key.startswith(OWN_PREFIXES)


def compare_item(
    document: Mapping[str, Any], place: TilePlace, records: Iterable[AssetRecord], picture: FileRecord | None
) -> Iterator[Problem]:
    """Tell where an item differs from the one that the build would make; an empty title of another is not known."""
    order = list(place.template.modalities)
    records = sorted(records, key=lambda record: order.index(record.modality.key))
    should = item_document(place, records, document["geometry"], picture)
    for difference in differences(document, should):
        path, is_, should_be = difference
        if path[0] not in _JUDGED_APART and not _is_told(difference) and not _is_rounding(difference):
            yield _rule(path), f"{'/'.join(path)} is {quote(is_)}, should be {quote(should_be)}"
    untold = [rel for rel, title in (("root", place.root_title), ("parent", place.parent_title)) if not title]
    yield from (("link-title", text) for text in compare_links(document, should, untold))
    stated = [key for key in document["assets"] if key in should["assets"]]
    if stated != [key for key in should["assets"] if key in stated]:
        yield "asset-order", f"assets are {', '.join(stated)}; the template has {', '.join(order)}"


def _is_told(difference: Difference) -> bool:
    """Whether an asset is only on one side, which is said by other rules."""
    path, is_, should_be = difference
    return len(path) == 2 and path[0] == "assets" and None in (is_, should_be)


def _is_rounding(difference: Difference) -> bool:
    """Whether a place on an area's own grid is the same but for the last bits, which its origin has been through."""
    path, is_, should_be = difference
    numbers = isinstance(is_, int | float) and isinstance(should_be, int | float)
    placed = path[0] == "properties" and path[1].startswith("proj:")
    return numbers and placed and math.isclose(is_, should_be, rel_tol=1e-12, abs_tol=1e-9)


def _rule(path: tuple[str, ...]) -> str:
    if path[0] == "assets":
        return _ASSET_RULES.get(path[2], "asset-fields") if len(path) > 2 else "asset-fields"
    return _ITEM_RULES.get("/".join(path[:2]), _ITEM_RULES.get(path[0], "item-fields"))


def read_geometry(geometry: Any) -> Any:
    """Read an item's geometry. Raises ``ValueError`` for one that is no valid polygon."""
    try:
        drawn = shape(geometry)
    except Exception as error:  # shapely raises several unrelated classes here
        raise ValueError(f"is no geometry: {error!r}") from error
    if drawn.geom_type not in ("Polygon", "MultiPolygon") or drawn.is_empty or drawn.has_z:
        raise ValueError(f"is no flat polygon, but {quote(drawn.wkt)}")
    if not drawn.is_valid:
        raise ValueError(f"is no valid polygon: {shapely.is_valid_reason(drawn)}")
    return drawn


def outline_problem(drawn: Any, tile: Tile, valid: npt.NDArray[np.bool_] | None, *, full: bool) -> str | None:
    """Say why a geometry is not the outline of a tile's valid pixels, or None where it is.

    ``valid`` is None where not all pixels can be read; ``full`` where one modality has all of them.
    """
    try:
        whole = tile_polygons([tile])[0]
        outline = whole if full or valid is None else valid_polygon(valid, tile)
        pixel = _pixel_degrees(tile, bounding_box(whole))
    except Exception as error:  # rasterio raises several unrelated classes here
        return f"cannot be held against its tile: {error!r}"
    if valid is None:
        around = shape(whole).buffer(_OUTLINE_PIXELS * pixel)
        return None if around.covers(drawn) else "reaches out of its tile"
    away = drawn.hausdorff_distance(shape(outline)) / pixel
    return None if away <= _OUTLINE_PIXELS else f"lies {away:.0f} pixels off the outline of the valid pixels"


def _pixel_degrees(tile: Tile, box: list[float]) -> float:
    """Give the longer side of a pixel in degrees, roughly."""
    (west, south, east, north), (rows, columns) = box, tile.grid.tile_shape
    return max((east - west) % 360 / columns, (north - south) / rows)
