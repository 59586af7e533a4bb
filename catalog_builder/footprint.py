"""Where a tile has data, as GeoJSON in longitude and latitude (WGS 84)."""

from collections.abc import Mapping, Sequence
from typing import Any

import antimeridian
import numpy as np
import numpy.typing as npt
from rasterio.crs import CRS
from rasterio.warp import transform as transform_points

from catalog_builder.grid import Tile
from catalog_builder.raster import gdal_environment

Geometry = Mapping[str, Any]

_WGS84 = CRS.from_epsg(4326)
_POINTS_PER_SIDE = 4
"""Enough for a tile of 10 km: its rim bends by less than a centimetre between two points."""
_PRECISION = 7
"""Decimals of a degree: about a centimetre."""
_METRES_PER_DEGREE = 111_320.0
_SIMPLIFY_PIXELS = 1.5


def tile_polygons(tiles: Sequence[Tile]) -> list[Geometry]:
    """Give the whole rectangle of each of several tiles of one grid; one transformation serves them all."""
    if not tiles:
        return []
    rings = [tile.outline(_POINTS_PER_SIDE) for tile in tiles]
    xs, ys = np.array(rings).reshape(-1, 2).T
    with gdal_environment():
        lon, lat = transform_points(CRS.from_user_input(tiles[0].grid.crs), _WGS84, xs.tolist(), ys.tolist())[:2]
    points = np.stack([lon, lat], axis=1).round(_PRECISION).reshape(len(tiles), -1, 2)
    return [_polygon(ring) for ring in points.tolist()]


def _polygon(ring: list[list[float]]) -> Geometry:
    longitudes = [point[0] for point in ring]
    polygon = {"type": "Polygon", "coordinates": [ring]}
    if max(longitudes) - min(longitudes) < 180:
        return polygon
    return dict(antimeridian.fix_geojson(polygon))


def valid_polygon(valid: npt.NDArray[np.bool_], tile: Tile) -> Geometry:
    """Give the outline of the valid pixels (rows, columns) of a tile, to about a pixel.

    Several separate patches are wrapped in their convex hull, as stactools does it.
    """
    # stactools takes a second to import, and most tiles are full.
    from stactools.core.utils.raster_footprint import RasterFootprint

    with gdal_environment():
        footprint = RasterFootprint(
            valid.astype(np.uint8),
            CRS.from_user_input(tile.grid.crs),
            tile.transform,
            precision=_PRECISION,
            densification_distance=tile.grid.tile_size[0] / _POINTS_PER_SIDE,
            simplify_tolerance=_simplify_tolerance(tile),
            no_data=0,
        ).footprint()
    if not footprint or not footprint["coordinates"]:
        return tile_polygons([tile])[0]
    if footprint["type"] == "MultiPolygon":  # GDAL has cut it at the antimeridian
        parts = [[[list(point) for point in ring] for ring in part] for part in footprint["coordinates"]]
        return {"type": "MultiPolygon", "coordinates": parts}
    return _polygon([list(point) for point in footprint["coordinates"][0]])


def _simplify_tolerance(tile: Tile) -> float:
    """Degrees of latitude: the staircase of a slanted rim is no outline worth keeping."""
    crs = CRS.from_user_input(tile.grid.crs)
    if crs.is_geographic:
        return _SIMPLIFY_PIXELS * tile.grid.resolution
    metres = tile.grid.resolution * float(crs.linear_units_factor[1])
    return _SIMPLIFY_PIXELS * metres / _METRES_PER_DEGREE


def bounding_box(geometry: Geometry) -> list[float]:
    """Give west, south, east, north; west is larger than east across the antimeridian (RFC 7946)."""
    if geometry["type"] != "Polygon":
        return list(antimeridian.bbox(dict(geometry)))
    longitudes, latitudes = zip(*geometry["coordinates"][0], strict=True)
    return [min(longitudes), min(latitudes), max(longitudes), max(latitudes)]
