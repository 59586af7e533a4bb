"""Time the documents of a release, without any pixel, against pystac.

N items in areas of 500 go through the whole build: item documents, area catalogs, manifests, collection, index, and
the move into place. Only the worker that would encode COGs is another one: it makes up what a COG would have told of
itself. pystac normalises and saves the same items, in the same tree, at 20,000 at most: it is quadratic.

Each size runs in a process of its own, so that its peak of memory is its own. With --items above 20,000 that size is
run as well, to compare the time per item.
"""

import argparse
import hashlib
import importlib.metadata
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pystac

from catalog_builder import jsonio, layout, manifest, template
from catalog_builder.build import build
from catalog_builder.cog import CogAsset, CogBand
from catalog_builder.executor import default_jobs, open_executor
from catalog_builder.grid import TileGrid, TileRange
from catalog_builder.item import AssetRecord, FileRecord, item_document
from catalog_builder.mosaic import place_source
from catalog_builder.plan import Plan, PlannedArea, PlannedSource, TileJob
from catalog_builder.raster import RasterHeader
from catalog_builder.sources import Area, Source
from catalog_builder.template import Modality, Template, TemplateSet
from catalog_builder.tile import TileResult, tile_result
from catalog_builder.workspace import Overlay

COLLECTION = "france"
COLUMNS, ROWS = 25, 20
ITEMS_PER_AREA = COLUMNS * ROWS
AREAS_PER_ZONE = 80
REFERENCE = 20_000
WHEN = datetime(2021, 6, 18, 10, 36, tzinfo=UTC)
PEAK_LIMIT = 1e9

EXAMPLES = """\
examples:
  tools/bench_catalog.py                                 20,000 items against pystac: a minute
  tools/bench_catalog.py --items 200000                  200,000 and 20,000 items, and pystac at 20,000
  tools/bench_catalog.py --items 2000 --no-pystac        a quick look
"""


# --- made-up areas, without rasters -----------------------------------------------------------------------------------


def planned_area(number: int, collection: Template, root_title: str) -> PlannedArea:
    """Lay an area of 500 tiles somewhere on the northern half of the Earth; no two overlap."""
    zone, place = divmod(number, AREAS_PER_ZONE)
    shape = collection.grid.tile_shape
    grid = TileGrid(
        crs=f"EPSG:{32631 + zone}",
        resolution=collection.grid.resolution,
        origin=(0.0, shape[0] * collection.grid.resolution),
        tile_shape=shape,
        rows="north",
    )
    column, row = COLUMNS * (1 + place % 2), ROWS * (place // 2)
    tiles = TileRange(grid=grid, columns=range(column, column + COLUMNS), rows=range(row, row + ROWS))
    name = f"area_{number:04d}"
    sources = tuple(planned_source(modality, name, tiles) for modality in collection.modalities.values())
    area = Area(
        collection=collection.id,
        id=name,
        title=f"Area {number}",
        sources=tuple(planned.source for planned in sources),
        required=("s2",),
        file=Path("sources.toml"),
    )
    return PlannedArea(
        area=area, template=collection, root_title=root_title, grid=grid, tiles=tiles, sources=sources
    )


def planned_source(modality: Modality, area: str, tiles: TileRange) -> PlannedSource:
    """Make up one raster that covers an area."""
    path = Path(area) / f"{modality.key}.tif"
    rows, columns = tiles.grid.tile_shape
    header = RasterHeader(
        path=path,
        driver="GTiff",
        crs=tiles.grid.crs,
        transform=tiles.grid.tile(tiles.columns[0], tiles.rows[-1]).transform,
        shape=(rows * len(tiles.rows), columns * len(tiles.columns)),
        count=len(modality.bands),
        data_type=modality.data_type,
        nodata=modality.nodata,
        has_mask=False,
        scaling=(1.0, 0.0),
    )
    bands = tuple(range(1, header.count + 1))
    placed = place_source(modality, bands, [(header, made_up_sha256(str(path)))], tiles.grid)
    source = Source(asset=modality.key, paths=(path,), start=WHEN, end=WHEN, properties={"dream:synthetic": True})
    return PlannedSource(source=source, placed=placed)


def make_plan(items: int) -> Plan:
    templates: TemplateSet = template.load(template.default_folder())
    root_title = str(templates.catalog["title"])
    areas = [
        planned_area(number, templates.collections[COLLECTION], root_title)
        for number in range(items // ITEMS_PER_AREA)
    ]
    return Plan(templates=templates, areas=tuple(areas))


# --- made-up tiles ----------------------------------------------------------------------------------------------------


def made_up_sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def made_up_record(job: TileJob, planned: PlannedSource) -> AssetRecord:
    """Make up what the COG of a modality would have told of itself."""
    modality, tile = planned.modality, job.place.tile
    sha256 = made_up_sha256(f"{job.place.item_id}/{modality.key}")
    level = int(sha256[:4], 16) / 7
    statistics = {"minimum": 1.0, "maximum": level + 2, "mean": level / 3 + 1, "stddev": level / 11, "valid_percent": 100.0}
    cog = CogAsset(
        crs=tile.grid.crs,
        transform=tuple(tile.transform)[:6],
        shape=tile.grid.tile_shape,
        bands=tuple(
            CogBand(name=name, data_type=modality.data_type, nodata=modality.nodata, statistics=statistics)
            for name in modality.band_names
        ),
        size=1_000_000 + int(sha256[:5], 16),
        sha256=sha256,
    )
    return AssetRecord(
        modality=modality,
        cog=cog,
        start=planned.source.start,
        end=planned.source.end,
        resampling=planned.placed.resampling,
        inputs=sha256[::-1],
        properties=planned.source.properties,
    )


def make_item(job: TileJob) -> tuple[dict[str, Any], list[AssetRecord], FileRecord]:
    records = [made_up_record(job, planned) for planned in job.sources]
    sha256 = made_up_sha256(job.place.item_id)
    picture = FileRecord(size=100_000, sha256=sha256, inputs=sha256[::-1])
    return item_document(job.place, records, job.outline, picture), records, picture


def make_tile(job: TileJob, overlay: Overlay) -> TileResult:
    """Stage the item of a tile, and no other file; stands in for ``build_tile``."""
    document, records, picture = make_item(job)
    return tile_result(job, document, records, picture, overlay)
