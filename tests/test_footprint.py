"""Footprints in longitude and latitude."""

import numpy as np
import pytest
from pyproj import Transformer
from shapely import Point
from shapely.geometry import shape

from catalog_builder.footprint import bounding_box, tile_polygons, valid_polygon
from catalog_builder.grid import Tile, TileGrid

GRID = TileGrid(crs="EPSG:32631", resolution=10.0, origin=(660_000.0, 4_900_000.0))


def test_outlines_of_tiles_are_where_pyproj_puts_them() -> None:
    tiles = [GRID.tile(0, 0), GRID.tile(3, -2)]
    to_degrees = Transformer.from_crs("EPSG:32631", "EPSG:4326", always_xy=True)
    for tile, polygon in zip(tiles, tile_polygons(tiles), strict=True):
        corners = [(tile.bounds[x], tile.bounds[y]) for x, y in ((0, 3), (0, 1), (2, 1), (2, 3))]
        expected = np.array([to_degrees.transform(*corner) for corner in corners])
        assert np.allclose(np.array(polygon["coordinates"][0])[:-1:4], expected, atol=1e-6)
        assert shape(polygon).exterior.is_ccw


def test_no_tiles_no_outlines() -> None:
    assert tile_polygons([]) == []


def test_outline_of_valid_pixels_holds_them_and_little_more() -> None:
    tile = GRID.tile(0, 0)
    rows, columns = np.mgrid[:1024, :1024]
    valid = columns + 0.3 * rows > 700
    polygon = shape(valid_polygon(valid, tile))
    to_degrees = Transformer.from_crs("EPSG:32631", "EPSG:4326", always_xy=True)
    rng = np.random.default_rng(0)
    for row, column in rng.integers(0, 1024, size=(300, 2)):
        x, y = tile.transform @ (column + 0.5, row + 0.5)
        # Two pixels of slack: a staircase is not kept.
        if abs(column + 0.3 * row - 700) > 3:
            assert polygon.contains(Point(to_degrees.transform(x, y))) == valid[row, column]
    assert len(polygon.exterior.coords) < 50


def test_a_speck_still_has_an_outline() -> None:
    valid = np.zeros((1024, 1024), dtype=np.bool_)
    valid[500, 500] = True
    assert shape(valid_polygon(valid, GRID.tile(0, 0))).area > 0


def test_a_tile_across_the_antimeridian_is_cut() -> None:
    grid = TileGrid(crs="EPSG:32660", resolution=10.0, origin=(829_000.0, 1_000_000.0))
    (polygon,) = tile_polygons([grid.tile(0, 0)])
    assert polygon["type"] == "MultiPolygon"
    west, south, east, north = bounding_box(polygon)
    assert west > 179
    assert east < -179
    assert south < north


def test_valid_pixels_across_the_antimeridian_are_cut() -> None:
    tile = TileGrid(crs="EPSG:32660", resolution=10.0, origin=(829_000.0, 1_000_000.0)).tile(0, 0)
    valid = np.zeros((1024, 1024), dtype=np.bool_)
    valid[:512] = True
    polygon, whole = valid_polygon(valid, tile), tile_polygons([tile])[0]
    assert polygon["type"] == "MultiPolygon"
    assert shape(polygon).is_valid
    assert shape(polygon).area == pytest.approx(shape(whole).area / 2, rel=1e-3)
    assert np.allclose(bounding_box(polygon)[::2], bounding_box(whole)[::2], atol=1e-3)


@pytest.mark.parametrize("crs", ["EPSG:27700", "EPSG:4326"])
def test_other_crs_have_outlines_too(crs: str) -> None:
    size = 10.0 if crs == "EPSG:27700" else 1e-4
    corner = (257_000.0, 285_000.0) if crs == "EPSG:27700" else (-4.0, 52.0)
    tile: Tile = TileGrid(crs=crs, resolution=size, origin=corner).tile(0, 0)
    valid = np.ones((1024, 1024), dtype=np.bool_)
    valid[:200] = False
    whole, part = shape(tile_polygons([tile])[0]), shape(valid_polygon(valid, tile))
    assert part.area == pytest.approx(whole.area * 824 / 1024, rel=0.01)
