"""The index: parts of different shape joined to one stac-geoparquet, sorted by place."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stac_geoparquet.arrow import stac_table_to_items

from catalog_builder import index


def item(number: int, **assets: Any) -> dict[str, Any]:
    """Make a small item; its assets and properties may differ from its neighbour's."""
    west = float(number)
    ring = [[west, 0.0], [west + 1, 0.0], [west + 1, 1.0], [west, 1.0], [west, 0.0]]
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": ["https://stac-extensions.github.io/file/v2.1.0/schema.json"],
        "id": f"item_{number}",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [west, 0.0, west + 1, 1.0],
        "properties": {
            "datetime": None,
            "start_datetime": "2020-01-01T00:00:00Z",
            "end_datetime": "2020-12-31T00:00:00Z",
            **({"dream:absent": ["s1"]} if number % 2 else {}),
        },
        "links": [],
        "assets": {key: {"href": f"./{key}.tif", "bands": bands} for key, bands in assets.items()},
        "collection": "france",
    }


def write_parts(folder: Path, parts: list[list[dict[str, Any]]]) -> list[Path]:
    """Write items and their parts as a build does."""
    paths = []
    for number, documents in enumerate(parts):
        items = []
        for document in documents:
            items.append(folder / f"{document['id']}.json")
            items[-1].write_text(json.dumps(document))
        job = index.PartJob(items=tuple(items), target=folder / "parts" / f"{number}.parquet")
        index.write_part(job)
        paths.append(job.target)
    return paths


def drop_nulls(value: Any) -> Any:
    """Parquet has one schema for all rows: what an item lacks comes back as null, and times with microseconds."""
    if isinstance(value, str):
        return value.replace(".000000Z", "Z")
    if isinstance(value, dict):
        return {key: drop_nulls(inner) for key, inner in value.items() if inner is not None}
    return [drop_nulls(inner) for inner in value] if isinstance(value, list) else value


def test_items_of_different_shape_come_back_in_order(tmp_path: Path) -> None:
    parts = [
        [item(0, s2=[{"name": "B02", "nodata": 0}]), item(1, s2=[{"name": "B02", "nodata": 0}])],
        [item(2, s2=[{"name": "B02", "nodata": 0}], s1=[{"name": "VV", "nodata": "nan", "unit": "dB"}])],
        [item(3, osm=[{"name": "class", "nodata": 255}])],
    ]
    target = tmp_path / "france.parquet"
    index.join_parts(write_parts(tmp_path, parts), target)
    found = [drop_nulls(document) for document in stac_table_to_items(pq.read_table(target))]
    assert found == [drop_nulls(document) for part in parts for document in part]
    assert b"geo" in pq.read_schema(target).metadata


def test_same_items_same_bytes_and_even_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "ROWS_PER_GROUP", 4)
    documents = [item(number, s2=[{"name": "B02", "nodata": 0}]) for number in range(11)]
    targets = []
    for cut in (3, 8):
        folder = tmp_path / str(cut)
        folder.mkdir()
        targets.append(folder / "france.parquet")
        index.join_parts(write_parts(folder, [documents[:cut], documents[cut:]]), targets[-1])
    assert targets[0].read_bytes() == targets[1].read_bytes()
    metadata = pq.read_metadata(targets[0])
    assert [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)] == [4, 4, 3]


@given(st.integers(0, 2**20), st.integers(0, 2**20))
def test_z_order_interleaves(x: int, y: int) -> None:
    code = index.z_order(x, y)
    assert int(f"{code:b}"[::-1][0::2][::-1] or "0", 2) == x
    assert int(f"{code:b}"[::-1][1::2][::-1] or "0", 2) == y


@given(st.floats(-179, 178), st.floats(-89, 88))
def test_near_boxes_get_near_places(west: float, south: float) -> None:
    box = [west, south, west + 1e-6, south + 1e-6]
    assert index.place_order(box) == index.place_order(list(box))
    assert 0 <= index.place_order(box) < 2**34
