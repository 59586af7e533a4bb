"""STAC items of any make -> the few facts that loading needs, judged once at the door."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pystac
from pystac.utils import is_absolute_href, make_absolute_href

from catalog_builder.errors import TemplateError, UsageError
from catalog_builder.template import parse_nodata, same_nodata

Items: TypeAlias = Any
"""One item or many: a ``pystac.Item`` or its JSON, an iterable of these, a ``pystac.ItemCollection`` or its JSON, or a
``pystac_client.ItemSearch``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Where pixels lie."""

    crs: str
    """As ``proj:code`` has it."""
    transform: tuple[float, ...]
    """Affine (a, b, c, d, e, f): pixel (column, row) -> CRS (x, y)."""
    shape: tuple[int, int]
    """Rows, columns."""

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top in the CRS; for a grid that is north up."""
        a, _, left, _, e, top = self.transform
        return left, top + e * self.shape[0], left + a * self.shape[1], top


@dataclass(frozen=True, slots=True, kw_only=True)
class TileBand:
    """One band as its item tells of it."""

    name: str | None
    common_name: str | None
    data_type: str
    nodata: float | None
    classes: tuple[int, ...] = ()
    """Values that are classes of the ground, without nodata; empty where the band holds no classes."""

    def same_pixels(self, other: "TileBand") -> bool:
        """Whether pixels of both can stand in one array under one name."""
        mine, others = (self.name, self.data_type), (other.name, other.data_type)
        return mine == others and same_nodata(self.nodata, other.nodata)


@dataclass(frozen=True, slots=True, kw_only=True)
class TileAsset:
    """One raster of an item."""

    key: str
    href: str
    """Absolute."""
    grid: Grid
    bands: tuple[TileBand, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TileItem:
    """One item with its rasters."""

    id: str
    collection: str | None
    geometry: Mapping[str, Any] | None
    bbox: tuple[float, ...]
    properties: Mapping[str, Any]
    assets: Mapping[str, TileAsset]
    """Rasters by key, in the item's order; pictures such as the thumbnail are left out."""

    @property
    def when(self) -> str:
        """The date under which the item stands: ``datetime``, else ``start_datetime``."""
        return str(self.properties.get("datetime") or self.properties.get("start_datetime"))


def read_items(items: Items) -> list[TileItem]:
    """Read items of any make. Raises ``UsageError`` for none at all, and for one that says too little of its files."""
    found = [read_item(item) for item in _each(items)]
    if not found:
        raise UsageError("no items to load: the search found nothing")
    return found


def _each(items: Items) -> Iterable[Any]:
    if isinstance(items, TileItem | pystac.Item):
        return (items,)
    if isinstance(items, Mapping):
        return items["features"] if items.get("type") == "FeatureCollection" else (items,)
    search = getattr(items, "items_as_dicts", None)
    if callable(search):
        return search()  # type: ignore[no-any-return]
    if isinstance(items, Iterable) and not isinstance(items, str | bytes):
        return items
    raise UsageError(f"{type(items).__name__} {items!r}: neither STAC items nor a search for them")


def read_item(item: Any) -> TileItem:
    """Read one item: a ``pystac.Item``, its JSON, or what this function gave. Raises ``UsageError``."""
    if isinstance(item, TileItem):
        return item
    if isinstance(item, pystac.Item):
        return _from_document(item.to_dict(include_self_link=True, transform_hrefs=False), item.get_self_href())
    if isinstance(item, Mapping) and item.get("type") == "Feature":
        return _from_document(item, _self_href(item))
    raise UsageError(f"{type(item).__name__} {str(item)[:60]!r}: not a STAC item")


def _self_href(document: Mapping[str, Any]) -> str | None:
    return next((link["href"] for link in document.get("links", ()) if link.get("rel") == "self"), None)


def _from_document(document: Mapping[str, Any], base: str | None) -> TileItem:
    name, assets = str(document.get("id")), document.get("assets", {})
    properties = document.get("properties", {})
    rasters = {key: asset for key, asset in assets.items() if _is_raster(asset)}
    return TileItem(
        id=name,
        collection=document.get("collection"),
        geometry=document.get("geometry"),
        bbox=tuple(document.get("bbox") or ()),
        properties=properties,
        assets={key: _asset(name, key, asset, properties, base) for key, asset in rasters.items()},
    )


def _is_raster(asset: Mapping[str, Any]) -> bool:
    return str(asset.get("type", "")).startswith("image/tiff") and "bands" in asset


def _asset(item: str, key: str, asset: Mapping[str, Any], properties: Mapping[str, Any], base: str | None) -> TileAsset:
    where = f"item {item}, asset {key}"
    return TileAsset(
        key=key,
        href=_absolute(where, str(asset.get("href", "")), base),
        grid=_grid(where, {**properties, **asset}),
        bands=tuple(_band(where, band) for band in asset["bands"]),
    )


def _absolute(where: str, href: str, base: str | None) -> str:
    if is_absolute_href(href):
        return href
    if not href or base is None:
        raise UsageError(f"{where}: href {href!r} is relative, and the item does not say where it lies (no self link)")
    return make_absolute_href(href, base, start_is_dir=False)


def _grid(where: str, fields: Mapping[str, Any]) -> Grid:
    try:
        rows, columns = (int(value) for value in fields["proj:shape"])
        transform = tuple(float(value) for value in fields["proj:transform"][:6])
        code = str(fields["proj:code"])
    except KeyError as error:
        raise UsageError(f"{where}: no {error.args[0]}, without which its pixels have no place") from error
    except (TypeError, ValueError) as error:
        raise UsageError(f"{where}: proj:shape or proj:transform is not made of numbers: {error}") from error
    if len(transform) != 6 or transform[1] or transform[3] or transform[0] <= 0 or transform[4] >= 0:
        # GDAL's order of the six numbers looks just so.
        raise UsageError(f"{where}: proj:transform {list(transform)} is not [width, 0, left, 0, -height, top]")
    return Grid(crs=code, transform=transform, shape=(rows, columns))


def _band(where: str, band: Mapping[str, Any]) -> TileBand:
    try:
        data_type = np.dtype(band["data_type"])
        nodata = parse_nodata(band["nodata"], where) if band.get("nodata") is not None else None
    except (KeyError, TypeError, TemplateError) as error:
        raise UsageError(f"{where}, band {band.get('name')}: data_type or nodata is missing or unknown") from error
    if nodata is not None and not _fits(nodata, data_type):
        raise UsageError(f"{where}, band {band.get('name')}: nodata {nodata:g} is no {data_type}")
    classes = band.get("classification:classes", ())
    return TileBand(
        name=band.get("name"),
        common_name=band.get("eo:common_name"),
        data_type=str(data_type),
        nodata=nodata,
        classes=tuple(int(one["value"]) for one in classes if not one.get("nodata", False)),
    )


def _fits(value: float, data_type: np.dtype[Any]) -> bool:
    if not np.issubdtype(data_type, np.integer):
        return True
    info = np.iinfo(data_type)
    return math.isfinite(value) and value == int(value) and info.min <= value <= info.max
