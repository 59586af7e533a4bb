"""Makers of small data: templates with small tiles, seeded rasters, sources.toml."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine

from catalog_builder import template

TILE = 256
"""Pixels a side of a tile in tests: a sixteenth of a real one, so that a whole build takes a second."""
CORNER = (TILE * 10 * 264.0, TILE * 10 * 1904.0)
"""x, y (EPSG:32631) of an upper-left corner on the global grid of small tiles, in Provence."""


def small_templates(folder: Path, tile: int = TILE) -> Path:
    """Copy the shipped templates, with tiles of ``tile`` pixels."""
    shutil.copytree(template.default_folder(), folder, dirs_exist_ok=True)
    for path in folder.glob("*/collection.json"):
        document = json.loads(path.read_text())
        document["dream:grid"]["tile_shape"] = [tile, tile]
        document["dream:cog"]["blocksize"] = 128
        path.write_text(json.dumps(document))
    return folder


def write_geotiff(
    path: Path,
    pixels: npt.NDArray[Any],
    *,
    corner: tuple[float, float] = CORNER,
    resolution: float = 10.0,
    crs: str | None = "EPSG:32631",
    nodata: float | None = None,
    transform: Affine | None = None,
    **profile: Any,
) -> Path:
    """Write pixels (bands, rows, columns) as a GeoTIFF."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count, rows, columns = pixels.shape
    affine = transform or Affine(resolution, 0, corner[0], 0, -resolution, corner[1])
    options = {"count": count, "height": rows, "width": columns, "dtype": pixels.dtype, **profile}
    with rasterio.open(path, "w", driver="GTiff", crs=crs, transform=affine, nodata=nodata, **options) as dataset:
        dataset.write(pixels)
    return path


def texture(shape: Sequence[int], data_type: str, seed: int = 0) -> npt.NDArray[Any]:
    """Give smooth, seeded values between 100 and 200, never nodata of any template."""
    rng = np.random.default_rng(seed)
    count, rows, columns = shape
    y, x = np.mgrid[:rows, :columns]
    waves = [np.sin(x / rng.uniform(9, 30) + band) + np.cos(y / rng.uniform(9, 30)) for band in range(count)]
    noise = rng.uniform(-2, 2, size=(count, rows, columns))
    return np.asarray(150 + 20 * np.stack(waves) + noise).astype(data_type)


def source(asset: str, href: str, when: str = "datetime = 2020-06-01T10:00:00Z", **more: Any) -> str:
    """Write one [[area.source]]."""
    extra = "".join(f"{key} = {json.dumps(value)}\n" for key, value in more.items())
    return f'[[area.source]]\nasset = "{asset}"\nhref = {json.dumps(href)}\n{when}\n{extra}'


def area(name: str, *sources: str, collection: str = "france", required: Sequence[str] = (), **more: Any) -> str:
    """Write one [[area]] with its sources."""
    extra = "".join(f"{key} = {json.dumps(value)}\n" for key, value in more.items())
    head = f'[[area]]\ncollection = "{collection}"\nid = "{name}"\ntitle = "Area {name}"\n'
    return f"{head}required = {json.dumps(list(required))}\n{extra}\n" + "\n".join(sources)


def small_sources(folder: Path, *, columns: int = 2, rows: int = 2, name: str = "alpes") -> Path:
    """Write a France area of ``columns`` x ``rows`` small tiles on the grid: ``s2`` (required), ``srtm``, ``osm``."""
    shape = rows * TILE, columns * TILE
    write_geotiff(folder / f"{name}_s2.tif", texture((4, *shape), "uint16", 1), nodata=0, tiled=True)
    write_geotiff(folder / f"{name}_srtm.tif", texture((1, *shape), "int16", 2), nodata=-32768)
    classes = (texture((1, *shape), "uint8", 3) // 16).astype("uint8")
    write_geotiff(folder / f"{name}_osm.tif", classes, nodata=255)
    path = folder / "sources.toml"
    sources = [source(key, f"{name}_{key}.tif") for key in ("s2", "srtm", "osm")]
    path.write_text(area(name, *sources, required=["s2"]))
    return path


def modality(data_type: str, nodata: float | str, resampling: str, bands: int = 1, **band: Any) -> template.Modality:
    """Make a modality of its own, outside any template."""
    entries = [{"name": f"band{n}", "data_type": data_type, "nodata": nodata, **band} for n in range(1, bands + 1)]
    return template.modality("modality", {"bands": entries, "dream:resampling": resampling}, Path("template.json"))
