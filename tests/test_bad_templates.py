"""Templates that the builder cannot use are refused in one line that names file, field and value."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.bench import S2, Bench
from tests.makers import area


def without_collections(folder: Path) -> None:
    for path in folder.glob("*/collection.json"):
        path.unlink()


def in_france(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """Change the template of France."""

    def make(folder: Path) -> None:
        path = folder / "france" / "collection.json"
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))

    return make


def in_srtm(**fields: Any) -> Callable[[Path], None]:
    """Change the entry of one modality."""
    return in_france(lambda document: document["item_assets"]["srtm"].update(fields))


def in_band(key: str, band: int = 0, **fields: Any) -> Callable[[Path], None]:
    """Change one band of a modality; None takes a field out."""

    def change(document: dict[str, Any]) -> None:
        entry = document["item_assets"][key]["bands"][band]
        entry.update(fields)
        for name in [name for name, value in fields.items() if value is None]:
            del entry[name]

    return in_france(change)


def in_render(**fields: Any) -> Callable[[Path], None]:
    return in_france(lambda document: document["renders"]["s2"].update(fields))


def at_the_top(**fields: Any) -> Callable[[Path], None]:
    return in_france(lambda document: document.update(fields))


GRID = "dream:grid"

# fmt: off
TEMPLATES: dict[str, tuple[Callable[[Path], object], Sequence[str]]] = {
    "broken JSON": (lambda folder: (folder / "france" / "collection.json").write_text("{"),
                    ["france/collection.json: this template is not JSON"]),
    "binary": (lambda folder: (folder / "france" / "collection.json").write_bytes(b"\xff\xfe\0"),
               ["france/collection.json: this template is not JSON"]),
    "an Item for a Collection": (at_the_top(type="Feature"), ["france/collection.json: expected a STAC Collection"]),
    "a list": (lambda folder: (folder / "catalog.json").write_text("[]"), ["catalog.json: expected a STAC Catalog"]),
    "no catalog": (lambda folder: (folder / "catalog.json").unlink(), ["catalog.json: cannot read", "No such file"]),
    "catalog without id": (lambda folder: (folder / "catalog.json").write_text('{"type": "Catalog"}'),
                           ["catalog.json: id is missing"]),
    "no collection": (without_collections,
                      ["templates: no collection template"]),
    "the same id twice": (at_the_top(id="usa"), ["id 'usa' stands also in", "france/collection.json"]),
    "an id with a slash": (at_the_top(id="a/b"), ["france/collection.json: id 'a/b'"]),
    "no title": (in_france(lambda document: document.pop("title")), ["france/collection.json: title is missing"]),
    "unknown field of ours": (at_the_top(**{"dream:min_valid_precent": 5}),
                              ["france/collection.json", "'dream:min_valid_precent'"]),
    "no grid": (in_france(lambda document: document.pop(GRID)), ["france/collection.json: dream:grid is missing"]),
    "resolution of 0": (at_the_top(**{GRID: {"resolution": 0, "crs": "utm", "origin": "area"}}),
                        ["dream:grid: resolution 0"]),
    "unknown field of the grid": (
        at_the_top(**{GRID: {"resolution": 10, "crs": "utm", "origin": "area", "tile": [256, 256]}}),
        ["france/collection.json: dream:grid", "'tile'"]),
    "grid of strange tiles": (
        at_the_top(**{GRID: {"resolution": 10, "crs": "utm", "origin": "area", "tile_shape": [256]}}),
        ["dream:grid: tile_shape [256]"]),
    "unknown CRS of the grid": (at_the_top(**{GRID: {"resolution": 10, "crs": "EPSG:999999", "origin": "area"}}),
                                ["france/collection.json: dream:grid: unknown CRS 'EPSG:999999'"]),
    "unknown origin": (at_the_top(**{GRID: {"resolution": 10, "crs": "utm", "origin": "here"}}),
                       ["dream:grid: origin 'here'"]),
    "unknown compression": (at_the_top(**{"dream:cog": {"compress": "JPEG"}}), ["dream:cog.compress 'JPEG'"]),
    "unknown field of the COGs": (at_the_top(**{"dream:cog": {"blocksise": 512}}), ["dream:cog", "'blocksise'"]),
    "level beyond the codec": (at_the_top(**{"dream:cog": {"compress": "DEFLATE", "level": 22}}),
                               ["dream:cog.level 22"]),
    "share of more than all": (at_the_top(**{"dream:min_valid_percent": 101}), ["dream:min_valid_percent 101"]),
    "no modality": (at_the_top(item_assets={}), ["france/collection.json: item_assets is empty"]),
    "a modality that is no object": (
        in_france(lambda document: document["item_assets"].update(srtm=5)), ["item_assets.srtm"]),
    "a modality called thumbnail": (
        in_france(lambda document: document["item_assets"].update(thumbnail=document["item_assets"]["srtm"])),
        ["item_assets.thumbnail"]),
    "no bands": (in_srtm(bands=[]), ["france/collection.json: item_assets.srtm: no bands"]),
    "a band that is a word": (in_srtm(bands=["height"]), ["item_assets.srtm", "'height'"]),
    "a band without name": (in_band("srtm", name=None), ["item_assets.srtm", "name"]),
    "bands of two types": (in_band("s2", 1, data_type="uint8"), ["item_assets.s2", "uint16, uint8"]),
    "a band without type": (in_band("srtm", data_type=None), ["item_assets.srtm", "data_type None"]),
    "an unknown type": (in_band("srtm", data_type="short"), ["item_assets.srtm", "data_type 'short'"]),
    "a type that GeoTIFF lacks": (in_band("srtm", data_type="object"), ["item_assets.srtm", "data_type 'object'"]),
    "no nodata": (in_band("srtm", nodata=None), ["item_assets.srtm: nodata None"]),
    "bands of two nodata": (in_band("s2", 1, nodata=7), ["item_assets.s2", "0, 7"]),
    "nodata that does not fit": (in_band("osm", nodata=-1), ["item_assets.osm: nodata -1", "uint8"]),
    "nodata of NaN among integers": (in_band("osm", nodata="nan"), ["item_assets.osm: nodata nan", "uint8"]),
    "nodata that float32 rounds": (
        in_france(lambda document: [band.update(nodata=0.1) for band in document["item_assets"]["s1"]["bands"]]),
        ["item_assets.s1: nodata 0.1", "float32"]),
    "nodata beyond float32": (
        in_france(lambda document: [band.update(nodata=1e300) for band in document["item_assets"]["s1"]["bands"]]),
        ["item_assets.s1: nodata 1e+300", "float32"]),
    "unknown resampling": (in_srtm(**{"dream:resampling": "lanczos"}),
                           ["item_assets.srtm: dream:resampling 'lanczos' is none of nearest, mode"]),
    "required by a word": (in_srtm(**{"dream:required": "no"}), ["item_assets.srtm: dream:required 'no'"]),
    "unknown field of a modality": (in_srtm(**{"dream:requierd": False}), ["item_assets.srtm", "'dream:requierd'"]),
    "thumbnail of no render": (at_the_top(**{"dream:thumbnail": ["s3"]}), ["dream:thumbnail names no render: 's3'"]),
    "render of no modality": (in_render(assets=["s3"]), ["renders.s2 names no modality: 's3'"]),
    "render of nothing": (in_render(assets=[]), ["renders.s2", "assets []"]),
    "render of a band too many": (in_render(bidx=[1, 2, 5]), ["renders.s2", "bidx [1, 2, 5]"]),
    "render of two bands": (in_render(bidx=[1, 2]), ["renders.s2", "bidx [1, 2]"]),
    "render of no range": (in_render(rescale=[[5, 5]]), ["renders.s2", "rescale [[5, 5]]"]),
    "render of strange colours": (in_render(colormap={"300": [0, 0]}), ["renders.s2", "colormap"]),
}
# fmt: on


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_bad_template_is_refused(bench: Bench, name: str) -> None:
    make, says = TEMPLATES[name]
    folder = shutil.copytree(bench.templates, bench.folder / "templates")
    make(folder)
    # Its CRS is the template's to say.
    sources = bench.write(area("alpes", S2, required=["s2"]))
    bench.refuses(sources, says, code=2, templates=folder)
