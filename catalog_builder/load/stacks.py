"""Items -> what ``stackstac.stack`` reads at the exact grid.

stackstac knows STAC 1.0 alone: it reads ``proj:epsg`` only, refuses assets of several bands, snaps bounds to multiples
of the resolution, fills what it cannot find with nodata, and calls corners centres. Each of these is answered here.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from catalog_builder.errors import UsageError
from catalog_builder.load.access import Access, bucket_settings, gdal_path
from catalog_builder.load.arrays import by_asset
from catalog_builder.load.bands import BandRef, select
from catalog_builder.load.cubes import INSTALL
from catalog_builder.load.grids import common_grid
from catalog_builder.load.tiles import Grid, Items, TileItem, read_items


def for_stackstac(
    items: Items,
    assets: str | Iterable[str] | None = None,
    *,
    endpoint_url: str | None = None,
    anonymous: bool = False,
) -> dict[str, Any]:
    """Give the arguments with which ``stackstac.stack(**for_stackstac(items))`` reads pixels as they are stored.

    ``assets`` are names as ``to_xarray`` takes them; each band becomes an asset of one band. Coordinates are centres of
    pixels. Where all bands have one type and one nodata, so has the stack. Otherwise it has the smallest type of floats
    that holds every value of all of them, and NaN for nodata. stackstac gives each item a time of its own.

    Raises ``UsageError`` as ``to_xarray`` does, and for a CRS without EPSG code. A file that cannot be read makes
    stackstac raise ``RuntimeError`` when pixels are asked for.
    """
    tiles = read_items(items)
    refs = select(tiles, assets)
    keys = list(by_asset(refs))
    tiles = [tile for tile in tiles if any(key in tile.assets for key in keys)]
    grid = common_grid(tiles, keys)
    epsg = _epsg(grid)
    data_type, fill = _pixel_type(refs)
    return {
        "items": [_document(tile, refs, epsg) for tile in tiles],
        "assets": [ref.label for ref in refs],
        "epsg": epsg,
        "resolution": (grid.transform[0], -grid.transform[4]),
        "bounds": grid.bounds,
        "snap_bounds": False,
        "dtype": data_type,
        "fill_value": fill,
        "rescale": False,
        "xy_coords": "center",
        "errors_as_nodata": (),
        **_environment(tiles, keys, Access(endpoint_url=endpoint_url, anonymous=anonymous)),
    }


def _epsg(grid: Grid) -> int:
    authority, _, code = grid.crs.partition(":")
    if authority != "EPSG" or not code.isdecimal():
        raise UsageError(f"CRS {grid.crs}: stackstac knows EPSG codes alone; use to_xarray")
    return int(code)


def _pixel_type(refs: Sequence[BandRef]) -> tuple[np.dtype[Any], Any]:
    """Give type and nodata of the stack; the latter as a scalar of that type, since stackstac refuses any other."""
    kinds = {(ref.band.data_type, str(ref.band.nodata)) for ref in refs}
    first = refs[0].band
    if len(kinds) == 1 and first.nodata is not None:
        data_type = np.dtype(first.data_type)
        return data_type, data_type.type(first.nodata)
    joined = np.result_type(np.float32, *(ref.band.data_type for ref in refs))
    return joined, joined.type(np.nan)


def _document(tile: TileItem, refs: Sequence[BandRef], epsg: int) -> dict[str, Any]:
    """Write an item as stackstac reads it: STAC 1.0, with one virtual asset a band."""
    present = [ref for ref in refs if ref.asset in tile.assets]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": tile.id,
        "collection": tile.collection,
        "geometry": tile.geometry,
        "bbox": list(tile.bbox),
        "properties": {**_properties(tile), "datetime": tile.when, "proj:epsg": epsg},
        "links": [],
        "assets": {ref.label: _asset(tile, ref, epsg) for ref in present},
    }


def _properties(tile: TileItem) -> dict[str, Any]:
    """Keep what can stand on an axis of time; where a tile lies is told by its assets."""
    return {key: value for key, value in tile.properties.items() if not key.startswith("proj:")}


def _asset(tile: TileItem, ref: BandRef, epsg: int) -> dict[str, Any]:
    asset = tile.assets[ref.asset]
    names = {"name": ref.band.name, "common_name": ref.band.common_name}
    return {
        "href": _band_href(asset.href, ref.number),
        "type": "image/tiff",
        "proj:epsg": epsg,
        "proj:shape": list(asset.grid.shape),
        "proj:transform": list(asset.grid.transform),
        "eo:bands": [{key: value for key, value in names.items() if value is not None}],
    }


def _band_href(href: str, number: int) -> str:
    """Name one band of a raster as a raster of its own; GDAL tries GeoTIFF alone."""
    path = gdal_path(href)
    if "?" in path:
        raise UsageError(
            f"{href!r}: stackstac cannot be given a band of an address with a question mark; use to_xarray"
        )
    return f"vrt://{path}?bands={number}&if=GTiff"


def _environment(tiles: Sequence[TileItem], keys: Sequence[str], access: Access) -> Mapping[str, Any]:
    """Give stackstac's ``gdal_env`` where a bucket is read; its own is right for folders and web servers."""
    hrefs = (tile.assets[key].href for tile in tiles for key in keys if key in tile.assets)
    if not any(href.startswith("s3://") for href in hrefs):
        return {}
    try:
        from stackstac.rio_reader import DEFAULT_GDAL_ENV
    except ImportError as error:
        raise UsageError(f"for_stackstac needs stackstac to read a bucket: {INSTALL}") from error
    return {"gdal_env": DEFAULT_GDAL_ENV.updated(always=bucket_settings(access))}
