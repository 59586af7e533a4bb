"""Made-up indexes of any size: a release of documents and an index, without items and without pixels.

20,000 items are made as a build makes them. Larger indexes repeat their areas at other places, and at other times: what
a search looks at differs from item to item, and within a row group no two items are the same.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from stac_geoparquet.arrow import parse_stac_items_to_arrow

from catalog_builder import index, jsonio, layout, manifest, template
from catalog_builder.search.table import BBOX_FIELDS
from tools.bench_catalog import AREAS_PER_ZONE, COLLECTION, ITEMS_PER_AREA, REFERENCE, make_item, make_plan

_ZONES, _ZONE_WIDTH = 60, 6.0
_YEAR = 365 * 86_400 * 10**6
"""Microseconds."""


def make_index_release(folder: Path, items: int) -> Path:
    """Make the root catalog, one collection and its index of about so many items, in areas of 500."""
    plan = make_plan(min(items, REFERENCE))
    parts = folder / "parts"
    parts.mkdir(parents=True)
    made = [
        (place, path)
        for number, area in enumerate(plan.areas)
        for place, path in _copies(_table(area.jobs()), number, items // ITEMS_PER_AREA, len(plan.areas), parts)
    ]
    target = folder / layout.index(COLLECTION)
    target.parent.mkdir()
    index.join_parts([path for _, path in sorted(made)], target)
    for path in parts.iterdir():
        path.unlink()
    parts.rmdir()
    _write_documents(folder, target)
    return folder


def _table(jobs: Any) -> pa.Table:
    return parse_stac_items_to_arrow(make_item(job)[0] for job in jobs).read_all()


def _copies(area: pa.Table, first: int, areas: int, step: int, folder: Path) -> Iterator[tuple[int, Path]]:
    """Write an area and its copies, each with its place along the index's order."""
    for number in range(first, areas, step):
        zones = number // AREAS_PER_ZONE - first // AREAS_PER_ZONE
        table = area if number == first else _moved(area, number, zones * _ZONE_WIDTH)
        corners = table.column("bbox")[0].as_py()
        path = folder / f"{number:06d}.arrow"
        with pa.OSFile(str(path), "wb") as target, pa.ipc.new_file(target, table.schema) as part:
            part.write_table(table)
        yield index.place_order([corners[name] for name in BBOX_FIELDS[4]]), path


def _moved(area: pa.Table, number: int, degrees: float) -> pa.Table:
    """Move an area to the east, by whole UTM zones and around the Earth, and to another year."""
    boxes = area.column("bbox").combine_chunks()
    west = boxes.field("xmin").to_numpy()
    shift = degrees - 360 * ((west + degrees + 180) // 360)
    shapes = shapely.from_wkb(area.column("geometry").to_numpy())
    coordinates = shapely.get_coordinates(shapes)
    coordinates[:, 0] += np.repeat(shift, shapely.get_num_coordinates(shapes))
    moved = pa.StructArray.from_arrays(
        [boxes.field(name).to_numpy() + (shift if name[0] == "x" else 0) for name in BBOX_FIELDS[4]],
        names=BBOX_FIELDS[4],
    )
    name = f"area_{number:04d}"
    ids = [f"{name}{one[one.index('_x') :]}" for one in area.column("id").to_pylist()]
    later = (number * 37 % 8) * _YEAR // 8
    columns = {
        "id": pa.array(ids),
        "bbox": moved,
        "geometry": pa.array(shapely.to_wkb(shapely.set_coordinates(shapes, coordinates))),
        "dream:area": pa.array([name] * len(ids)),
    }
    for date in ("datetime", "start_datetime", "end_datetime"):
        if date in area.column_names:
            column = area.column(date)
            columns[date] = pa.array(column.cast(pa.int64()).to_numpy() + later, pa.int64()).cast(column.type)
    for column, values in columns.items():
        place = area.column_names.index(column)
        area = area.set_column(place, area.schema.field(column), values.cast(area.schema.field(column).type))
    return area


def _write_documents(folder: Path, target: Path) -> None:
    templates = template.load(template.default_folder())
    href, root = layout.collection(COLLECTION), dict(templates.catalog)
    link = {"rel": "child", "href": f"./{href}", "type": "application/json"}
    jsonio_write(folder / layout.CATALOG, {**root, "links": [link]})
    size, sha256 = manifest.hash_file(target)
    asset = {
        "href": layout.relative(layout.index(COLLECTION), href),
        "type": "application/vnd.apache.parquet",
        "roles": ["collection-mirror"],
        "file:size": size,
        "file:checksum": f"1220{sha256}",
    }
    document = dict(templates.collections[COLLECTION].document)
    extent = {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [["2015-01-01T00:00:00Z", None]]}}
    jsonio_write(folder / href, {**document, "extent": extent, "links": [], "assets": {"geoparquet-items": asset}})


def jsonio_write(path: Path, document: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(jsonio.dumps(document))
