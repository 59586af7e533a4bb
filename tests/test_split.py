"""The split of an area: said once in sources.toml, told by each of its items, found by searches."""

import io
import json
from pathlib import Path

import pytest

import catalog_builder
from catalog_builder import template
from catalog_builder.check.release import check_release
from catalog_builder.errors import SourcesError
from catalog_builder.executor import SerialExecutor
from catalog_builder.progress import TileProgress
from catalog_builder.schemas import SchemaStore
from catalog_builder.sources import load
from tests.builds import run
from tests.makers import small_sources, small_templates


def add_split(sources: Path, split: str) -> Path:
    """Give the one area of a file a split."""
    sources.write_text(sources.read_text().replace("required =", f"split = {split}\nrequired =", 1))
    return sources


@pytest.fixture
def templates(tmp_path: Path) -> Path:
    return small_templates(tmp_path / "stac")


def test_every_item_tells_its_split_and_is_found_by_it(tmp_path: Path, templates: Path) -> None:
    sources = add_split(small_sources(tmp_path, columns=2, rows=1), '"train"')
    release = tmp_path / "release"
    run(sources, release, templates)
    items = [json.loads(path.read_text()) for path in release.glob("france/alpes/*/*.json")]
    assert [item["properties"]["dream:split"] for item in items] == ["train", "train"]
    assert json.loads((release / "france/alpes/catalog.json").read_text())["dream:split"] == "train"
    client = catalog_builder.open(str(release))
    assert client.search(filter="\"dream:split\" = 'train'").matched() == 2
    assert client.search(filter="\"dream:split\" = 'test'").matched() == 0


def test_check_holds_items_against_the_split_of_their_area(tmp_path: Path, templates: Path, schemas_dir: Path) -> None:
    sources = add_split(small_sources(tmp_path, columns=1, rows=1), '"train"')
    release = tmp_path / "release"
    run(sources, release, templates)
    progress, store = TileProgress(io.StringIO(), quiet=True), SchemaStore(mirror=schemas_dir)
    assert check_release(release, store, SerialExecutor(), progress) == []
    (item,) = release.glob("france/alpes/*/*.json")
    item.write_text(item.read_text().replace('"train"', '"test"'))
    assert "properties/dream:split" in str(check_release(release, store, SerialExecutor(), progress))


def test_another_split_rewrites_documents_and_no_pixel(tmp_path: Path, templates: Path) -> None:
    sources = add_split(small_sources(tmp_path, columns=2, rows=1), '"train"')
    release = tmp_path / "release"
    run(sources, release, templates)
    before = {path: path.stat().st_mtime_ns for path in release.rglob("*.tif")}
    sources.write_text(sources.read_text().replace('"train"', '"test"'))
    run(sources, release, templates)
    assert {path: path.stat().st_mtime_ns for path in release.rglob("*.tif")} == before
    items = [json.loads(path.read_text()) for path in release.glob("france/alpes/*/*.json")]
    assert [item["properties"]["dream:split"] for item in items] == ["test", "test"]


@pytest.mark.parametrize("split", ["3", '""', '["train"]'])
def test_a_split_is_a_text(tmp_path: Path, templates: Path, split: str) -> None:
    sources = add_split(small_sources(tmp_path), split)
    with pytest.raises(SourcesError, match="split"):
        load(sources, template.load(templates))
