"""Items -> one lazy xarray.Dataset on the tiles' own grid, by odc-stac."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import pystac

from catalog_builder.errors import UsageError
from catalog_builder.item import PROJECTION
from catalog_builder.load.access import Access
from catalog_builder.load.arrays import by_asset
from catalog_builder.load.bands import BandRef, select
from catalog_builder.load.grids import common_grid
from catalog_builder.load.tiles import Grid, Items, TileAsset, TileItem, read_items

if TYPE_CHECKING:
    import xarray

INSTALL = "pip install 'catalog-builder[load]'"


def to_xarray(
    items: Items,
    assets: str | Iterable[str] | None = None,
    *,
    chunks: Mapping[str, Any] | Literal["tile"] | None = "tile",
    groupby: str | Callable[..., Any] = "time",
    endpoint_url: str | None = None,
    anonymous: bool = False,
) -> "xarray.Dataset":
    """Load items as one dataset with dimensions ``time``, ``y``, ``x`` on exactly the pixels of their tiles.

    A variable for every band: ``s2.B04``, or ``srtm`` where an asset has one band. ``assets`` picks bands by any of
    their names (``"s2"``, ``"s2.B04"``, ``"s2.red"``, ``"nir"``), and a variable is called as it was asked for.
    Coordinates are centres of pixels. Types and nodata are those of the items; where a time has no tile, or a tile
    lacks an asset that others have, there is nodata. ``chunks`` are those of dask, by default one a tile; None reads at
    once. ``groupby`` is that of ``odc.stac.load``: tiles of one moment share a plane.

    Raises ``UsageError`` for no items, unknown names, and items that share no grid, saying how to split them. Files are
    first opened when pixels are asked for; one that is missing, or is not what its item says, raises ``RasterError`` or
    ``RemoteError`` then, naming its href.
    """
    tiles = read_items(items)
    refs = select(tiles, assets)
    _check_fill(refs)
    keys = list(by_asset(refs))
    # A tile without any of the assets has nothing to say of the grid.
    tiles = [tile for tile in tiles if any(key in tile.assets for key in keys)]
    grid = common_grid(tiles, keys)
    try:
        import odc.stac

        from catalog_builder.load.odc_reader import TileDriver, geobox
    except ImportError as error:
        raise UsageError(f"to_xarray needs odc-stac, xarray and dask: {INSTALL}") from error
    return odc.stac.load(
        [_stac_item(tile, keys) for tile in tiles],
        bands=[ref.label for ref in refs],
        geobox=geobox(grid),
        chunks=_chunks(chunks, tiles, keys, grid),
        groupby=groupby,
        driver=TileDriver(refs, Access(endpoint_url=endpoint_url, anonymous=anonymous)),
    )


def _check_fill(refs: Sequence[BandRef]) -> None:
    for ref in refs:
        if ref.band.nodata is None and not ref.band.data_type.startswith(("float", "complex")):
            raise UsageError(f"{ref.label}: its items give no nodata, so gaps could not be told from pixels")


def _chunks(
    chunks: Mapping[str, Any] | str | None, tiles: Sequence[TileItem], keys: Sequence[str], grid: Grid
) -> dict[str, Any] | None:
    if chunks is None:
        return None
    if isinstance(chunks, Mapping):
        return dict(chunks)
    rows, columns = next(tile.assets[key].grid.shape for tile in tiles for key in keys if key in tile.assets)
    return {"time": 1, "y": min(rows, grid.shape[0]), "x": min(columns, grid.shape[1])}


def _stac_item(tile: TileItem, keys: Sequence[str]) -> pystac.Item:
    """Say of a tile what odc-stac asks for, without a collection: of several it would know the bands of the first."""
    document = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [PROJECTION],
        "id": tile.id,
        "geometry": tile.geometry,
        "bbox": list(tile.bbox),
        "properties": {**tile.properties, "datetime": tile.when},
        "links": [],
        "assets": {key: _stac_asset(tile.assets[key]) for key in keys if key in tile.assets},
    }
    return pystac.Item.from_dict(document, preserve_dict=False)


def _stac_asset(asset: TileAsset) -> dict[str, Any]:
    return {
        "href": asset.href,
        "type": "image/tiff",
        "proj:code": asset.grid.crs,
        "proj:shape": list(asset.grid.shape),
        "proj:transform": list(asset.grid.transform),
    }
