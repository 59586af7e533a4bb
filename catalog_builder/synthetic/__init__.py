"""Synthetic processed rasters: four small areas for `catalog-builder demo` and for the tests.

No instrument measured any of it, and every file and every source says so. The places are real so that
maps and grids are; what is drawn there is not. Same library versions give the same bytes.
"""

import math
import os
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.warp import Resampling, reproject, transform_bounds

from catalog_builder.synthetic import sensors
from catalog_builder.synthetic.areas import AREAS, S1_DATES, SyntheticArea, SyntheticSource
from catalog_builder.synthetic.landscape import Floats, Landscape, make_landscape
from catalog_builder.synthetic.sensors import Pixels, Swath

__all__ = ["AREAS", "SIZE", "sources_toml", "write_synthetic_sources"]

SIZE = 2048
"""Pixels of the side of an area: two tiles by two."""
SOURCES = "sources.toml"
ARC_SECOND = 1 / 3600
SRTM_MARGIN = 16
"""Pixels of the area by which the ground goes on beyond its rim, for the rim of the elevation model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Raster:
    """Pixels of shape (bands, rows, cols) and where they lie."""

    pixels: Pixels
    bands: tuple[str, ...]
    nodata: float
    crs: CRS
    transform: Affine


def write_synthetic_sources(
    directory: Path, progress: Callable[[str], None] = lambda _: None, *, size: int = SIZE
) -> Path:
    """Write the rasters of all areas and, last of all, the `sources.toml` that lists them; return its path.

    A directory that already holds the set of this `size` (pixels of a side, a multiple of 128)
    is left as it is.
    """
    listing, text = directory / SOURCES, sources_toml(size)
    if _is_complete(directory, text):
        progress(f"{listing}: there already, nothing to do")
        return listing
    listing.unlink(missing_ok=True)
    with ThreadPoolExecutor(max_workers=2) as pool:
        for area, scene in zip(AREAS, pool.map(partial(make_scene, size=size), AREAS), strict=True):
            (directory / area.id).mkdir(parents=True, exist_ok=True)
            rasters = pool.map(partial(make_raster, area, scene), area.sources)
            for source, raster in zip(area.sources, rasters, strict=True):
                write_raster(directory / _href(area, source), raster)
                progress(f"{area.collection}/{area.id}: {source.asset}")
    part = listing.with_name(f".{SOURCES}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(listing)
    return listing


def _is_complete(directory: Path, text: str) -> bool:
    listing = directory / SOURCES
    if not listing.is_file() or listing.read_text(encoding="utf-8") != text:
        return False
    return all((directory / _href(area, source)).is_file() for area in AREAS for source in area.sources)


def _href(area: SyntheticArea, source: SyntheticSource) -> str:
    return f"{area.id}/{source.asset}.tif"


def sources_toml(size: int) -> str:
    """Give the text of `sources.toml`."""
    lines = [
        "# SYNTHETIC data, made by catalog-builder for demonstration: no instrument measured any of it.",
        f"# {len(AREAS)} areas of {size} x {size} pixels.",
    ]
    for area in AREAS:
        lines += ["", "[[area]]", f'collection = "{area.collection}"', f'id = "{area.id}"']
        lines += [f'title = "{area.title}"', f'crs = "{area.crs}"']
        for source in area.sources:
            lines += ["", "[[area.source]]", f'asset = "{source.asset}"', f'href = "{_href(area, source)}"']
            lines += [source.dates, f'properties = {{ "dream:synthetic" = true{source.extra} }}']
    return "\n".join(lines) + "\n"


def make_scene(area: SyntheticArea, size: int) -> Landscape:
    """Make the landscape of an area, `size` pixels wide and high."""
    return make_landscape(generator(area, "landscape"), area.terrain, size, area.pixel)


def generator(area: SyntheticArea, layer: str) -> np.random.Generator:
    """Give a generator of its own to each layer, so that a new layer changes no other."""
    return np.random.default_rng(zlib.crc32(f"{area.id}/{layer}".encode()))


def make_raster(area: SyntheticArea, scene: Landscape, source: SyntheticSource) -> Raster:
    """Look at the landscape of an area as one of its sources does."""
    rng = generator(area, source.asset)
    crs = CRS.from_user_input(area.crs)
    transform = Affine(area.pixel, 0, area.corner[0], 0, -area.pixel, area.corner[1])
    pixels: Pixels
    bands: tuple[str, ...]
    nodata: float
    match source.asset, source.swath:
        case "s1" | "s1_mean", Swath() as swath:
            dates = S1_DATES if source.asset == "s1_mean" else 1
            pixels, bands, nodata = sensors.sentinel1(rng, scene, swath, dates), ("VV", "VH"), math.nan
        case _, Swath() as swath:
            pixels, bands, nodata = sensors.uavsar(rng, scene, swath), ("HH-VV", "HV", "HH+VV"), math.nan
        case "s2", None:
            pixels, bands, nodata = sensors.sentinel2(rng, scene), ("B02", "B03", "B04", "B08"), 0
        case "naip", None:
            pixels, bands, nodata = sensors.naip(rng, scene), ("red", "green", "blue"), 0
        case "osm", None:
            pixels, bands, nodata = sensors.openstreetmap(scene), ("class",), 255
        case "srtm", None:
            return elevation_model(scene.height, crs, transform)
        case _:
            raise ValueError(f"no sensor makes {source.asset!r}")
    return Raster(pixels=pixels, bands=bands, nodata=nodata, crs=crs, transform=transform)


def elevation_model(height: Floats, crs: CRS, transform: Affine) -> Raster:
    """Average `height` to whole metres in cells of one arc-second, on no grid of DREAM: it has to be warped.

    The ground is mirrored at the rim, so that the cells there are whole. Beyond is nodata.
    """
    ground = np.pad(height, SRTM_MARGIN, mode="symmetric")
    origin = transform @ Affine.translation(-SRTM_MARGIN, -SRTM_MARGIN)
    west, north = origin @ (0, 0)
    east, south = origin @ ground.shape[::-1]
    left, bottom, right, top = transform_bounds(crs, "EPSG:4326", west, south, east, north)
    left, top = math.floor(left / ARC_SECOND), math.ceil(top / ARC_SECOND)
    shape = (top - math.floor(bottom / ARC_SECOND), math.ceil(right / ARC_SECOND) - left)
    cells = Affine(ARC_SECOND, 0, left * ARC_SECOND, 0, -ARC_SECOND, top * ARC_SECOND)
    metres = np.full(shape, np.nan, np.float32)
    reproject(
        ground, metres, src_transform=origin, src_crs=crs, dst_transform=cells, dst_crs="EPSG:4326",
        dst_nodata=math.nan, resampling=Resampling.average,
    )  # fmt: skip
    pixels = np.where(np.isnan(metres), -32768, np.rint(metres)).astype(np.int16)[None]
    return Raster(pixels=pixels, bands=("elevation",), nodata=-32768, crs=CRS.from_epsg(4326), transform=cells)


def write_raster(path: Path, raster: Raster) -> None:
    """Write a tiled GeoTIFF under another name and rename it, so that no half of one is ever seen."""
    part = path.with_name(f".{path.name}.part")
    count, height, width = raster.pixels.shape
    floating = raster.pixels.dtype == np.float32
    profile = {
        "driver": "GTiff", "dtype": raster.pixels.dtype, "count": count, "height": height, "width": width,
        "crs": raster.crs, "transform": raster.transform, "nodata": raster.nodata,
        "tiled": True, "blockxsize": 512, "blockysize": 512, "interleave": "band",
        "compress": "zstd", "zstd_level": 1, "predictor": 3 if floating else 2,
        "photometric": "rgb" if raster.bands[0] == "red" else "minisblack",
    }  # fmt: skip
    with rasterio.open(part, "w", **profile) as file:
        file.write(raster.pixels)
        file.descriptions = raster.bands
        file.update_tags(TIFFTAG_IMAGEDESCRIPTION="Synthetic: made by catalog-builder, measured by nothing")
    os.replace(part, path)
