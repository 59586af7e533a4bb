"""The pipeline: same inputs, same bytes; a change rewrites what depends on it and no more.

The oracle of nearly every case is a build of the same inputs into an empty folder: whatever happened to a release
before, its files must be those.
"""

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pystac
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.windows import Window

from catalog_builder import jsonio, layout, template
from catalog_builder.errors import BuildError, CatalogBuilderError
from catalog_builder.executor import SerialExecutor
from catalog_builder.item import link
from catalog_builder.progress import TileProgress
from catalog_builder.survey import survey
from tests.builds import (
    CLI,
    State,
    Tree,
    command,
    dangling,
    documents,
    manifest_faults,
    place,
    plan_of,
    run,
    state,
    tree,
)
from tests.makers import CORNER, small_templates, source, texture, write_geotiff

TILE = 128
"""Pixels a side of a tile here: a release of six tiles takes a quarter of a second."""
STEP = TILE * 10.0
"""Metres a side of a tile of France."""
LATER = "datetime = 2021-07-02T10:00:00Z"

# --- inputs that change ---------------------------------------------------------------------------------------------

SRTM = source("srtm", "*.hgt.tif")
OSM = source("osm", "osm.tif")
JURA_SRTM = source("srtm", "jura.tif")
AREAS = {
    "alpes": place("alpes", SRTM, OSM),
    "jura": place("jura", JURA_SRTM),
    "line": place("line", source("srtm", "line.tif"), collection="usa"),
}
"""``alpes`` has 2 x 2 tiles, its elevation two files side by side; ``jura`` and ``line`` have one tile."""
WEST = ("x0528_y3806", "x0528_y3807")
EAST = ("x0529_y3806", "x0529_y3807")
"""Tiles of ``alpes``."""


@dataclass
class World:
    """Inputs of a release, which a test changes between two builds."""

    folder: Path
    areas: dict[str, str] = field(default_factory=AREAS.copy)

    @property
    def templates(self) -> Path:
        """Folder of templates."""
        return self.folder / "stac"

    @property
    def listing(self) -> Path:
        """Write and give the sources.toml."""
        path = self.folder / "sources.toml"
        path.write_text("\n".join(self.areas.values()))
        return path

    def elevation(self, name: str, seed: int, *, rows: int = 1, east: int = 0, resolution: float = 10) -> None:
        """Write a raster one tile wide, whose left edge is ``east`` tiles from the corner."""
        corner = CORNER[0] + east * STEP, CORNER[1]
        pixels = texture((1, rows * TILE, TILE), "int16", seed)
        write_geotiff(self.folder / name, pixels, corner=corner, resolution=resolution, nodata=-32768)

    def edit_template(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Change the template of France."""
        path = self.templates / "france" / layout.COLLECTION
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))

    def build(self, release: Path, **options: Any) -> None:
        """Build into a release."""
        run(self.listing, release, self.templates, **options)

    def fresh(self) -> Tree:
        """Build into an empty folder and give what stands there."""
        release = self.folder / "fresh"
        shutil.rmtree(release, ignore_errors=True)
        self.build(release)
        assert dangling(release) == []
        assert manifest_faults(release) == []
        return tree(release)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world and its release, to be copied or read."""
    folder = tmp_path_factory.mktemp("built")
    world = World(folder / "world")
    small_templates(world.templates, TILE)
    world.elevation("west.hgt.tif", 1, rows=2)
    world.elevation("east.hgt.tif", 2, rows=2, east=1)
    world.elevation("jura.tif", 4, east=20)
    world.elevation("line.tif", 5, resolution=5)
    classes = (texture((1, 2 * TILE, 2 * TILE), "uint8", 3) // 16).astype("uint8")
    write_geotiff(world.folder / "osm.tif", classes, nodata=255)
    world.build(folder / "release")
    return folder


@dataclass
class Case:
    """A world and its release before a change."""

    world: World
    release: Path
    before: State

    def build(self) -> State:
        """Build the world as it is now, and hold the release against a build into an empty folder."""
        self.world.build(self.release)
        after = state(self.release)
        again = self.before.keys() - self.changed(after)
        assert {path: self.before[path] for path in again} == {path: after[path] for path in again}
        assert tree(self.release) == self.world.fresh()
        return after

    def changed(self, after: State) -> set[str]:
        """Paths that came, went or have other bytes now."""
        before, now = ({path: stamp.sha256 for path, stamp in found.items()} for found in (self.before, after))
        return {path for path in before.keys() | now.keys() if before.get(path) != now.get(path)}


@pytest.fixture
def case(built: Path, tmp_path: Path) -> Case:
    """A world of its own for one test, and its release."""
    shutil.copytree(built, tmp_path / "case")
    release = tmp_path / "case" / "release"
    return Case(World(tmp_path / "case" / "world"), release, state(release))


def files(tiles: Iterable[str], *keys: str, folder: str = "france/alpes") -> set[str]:
    """Paths of COGs of an area; of items for the key ``item``, of thumbnails for ``thumbnail``."""
    names = {"item": "{}.json", "thumbnail": layout.THUMBNAIL}
    ids = [f"{folder.rpartition('/')[2]}_{tile}" for tile in tiles]
    return {f"{folder}/{i}/" + names.get(key, layout.asset_file(key)).format(i) for i in ids for key in keys}


def listings(*folders: str) -> set[str]:
    """Paths of all that lists the items of areas of France."""
    above = {"france/collection.json", "items/france.parquet", "manifest.sha256"}
    return above | {f"{folder}/{file}" for folder in folders for file in (layout.CATALOG, layout.MANIFEST)}


ALPES, JURA, VOSGES, LINE = "france/alpes", "france/jura", "france/vosges", "usa/line"
JURA_TILE, LINE_TILE = ("x0548_y3807",), ("x0000_y0000",)


# --- one change, and what it rewrites -------------------------------------------------------------------------------


def _new_pixels(world: World) -> None:
    world.elevation("east.hgt.tif", 20, rows=2, east=1)


def _file_on_top(world: World) -> None:
    world.elevation("z.hgt.tif", 21, east=1)


def _file_gone(world: World) -> None:
    (world.folder / "west.hgt.tif").unlink()


def _new_level(document: dict[str, Any]) -> None:
    document["dream:cog"]["level"] = 1


def _new_words(document: dict[str, Any]) -> None:
    document["item_assets"]["srtm"]["bands"][0]["description"] = "Metres above the sea"


def _new_title(world: World) -> None:
    world.areas["alpes"] = AREAS["alpes"].replace("Area alpes", "Alps")


CHANGES: dict[str, tuple[Callable[[World], Any], set[str]]] = {
    "pixels": (_new_pixels, files(EAST, "srtm", "item") | listings(ALPES)),
    "a file on top of one tile": (_file_on_top, files(EAST[1:], "srtm", "item") | listings(ALPES)),
    "a file of a mosaic gone": (_file_gone, files(WEST, "srtm", "item") | listings(ALPES)),
    "date": (
        lambda world: world.areas.update(alpes=place("alpes", source("srtm", "*.hgt.tif", LATER), OSM)),
        files(WEST + EAST, "item") | listings(ALPES),
    ),
    "property": (
        lambda world: world.areas.update(alpes=place("alpes", SRTM, OSM + 'properties = { "dream:snapshot" = "1" }')),
        files(WEST + EAST, "item") | listings(ALPES),
    ),
    "title of an area": (_new_title, files(WEST + EAST, "item") | listings(ALPES)),
    "title of a collection": (
        lambda world: world.edit_template(lambda document: document.update(title="Gaul")),
        files(WEST + EAST, "item") | files(JURA_TILE, "item", folder=JURA) | listings(ALPES, JURA) | {"catalog.json"},
    ),
    "words that no item repeats": (
        lambda world: world.edit_template(_new_words),
        listings(ALPES, JURA) - {"items/france.parquet"},
    ),
    "COG level": (
        lambda world: world.edit_template(_new_level),
        files(WEST + EAST, "srtm", "osm", "item")
        | files(JURA_TILE, "srtm", "item", folder=JURA)
        | listings(ALPES, JURA),
    ),
    "source gone": (
        lambda world: world.areas.update(alpes=place("alpes", SRTM)),
        files(WEST + EAST, "osm", "thumbnail", "item") | listings(ALPES),
    ),
    "area gone": (
        lambda world: world.areas.pop("jura"),
        files(JURA_TILE, "srtm", "thumbnail", "item", folder=JURA) | listings(JURA) | {"france/thumbnail.png"},
    ),
    "collection gone": (
        lambda world: world.areas.pop("line"),
        files(LINE_TILE, "srtm", "thumbnail", "item", folder=LINE)
        | {"usa/line/catalog.json", "usa/line/manifest.sha256", "usa/collection.json", "usa/thumbnail.png"}
        | {"items/usa.parquet", "catalog.json", "manifest.sha256"},
    ),
    "area added": (
        lambda world: world.areas.update(vosges=place("vosges", JURA_SRTM)),
        files(JURA_TILE, "srtm", "thumbnail", "item", folder=VOSGES) | listings(VOSGES) | {"france/thumbnail.png"},
    ),
    "order of areas": (lambda world: world.areas.update(alpes=world.areas.pop("alpes")), set()),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_rewrites_what_depends_on_it_and_no_more(case: Case, change: str) -> None:
    apply, expected = CHANGES[change]
    apply(case.world)
    assert case.changed(case.build()) == expected


def test_what_left_the_sources_is_mentioned_nowhere(case: Case) -> None:
    case.world.areas["alpes"] = place("alpes", SRTM)
    case.world.areas.pop("line")
    case.build()
    texts = [path.read_bytes() for path in case.release.rglob("*") if path.suffix in (".json", ".sha256")]
    assert len(texts) > 10
    assert not [text for text in texts if b"osm.tif" in text or b"usa" in text]
    items = pq.read_table(case.release / "items" / "france.parquet")
    assert items.schema.field("assets").type.get_field_index("osm") == -1
    assert sorted(os.listdir(case.release)) == ["catalog.json", "france", "items", "manifest.sha256"]


def test_a_file_of_the_user_is_left_alone(case: Case) -> None:
    notes = [case.release / name for name in ("README.txt", "france/jura/notes.txt", "usa/line/notes.txt")]
    for path in notes:
        path.write_text("mine")
    case.world.areas.pop("line")
    _new_pixels(case.world)
    case.world.build(case.release)
    assert [path.read_text() for path in notes] == ["mine"] * 3
    for path in notes:
        path.unlink()
    assert tree(case.release) == case.world.fresh()


def test_one_modality_that_is_required_now_takes_tiles_with_it(case: Case) -> None:
    _file_gone(case.world)
    case.world.areas["alpes"] = place("alpes", SRTM, OSM, required=["srtm"])
    after = case.build()
    assert {path for path in case.before if any(tile in path for tile in WEST)}.isdisjoint(after)
    case.before = after
    case.world.elevation("west.hgt.tif", 1, rows=2)
    assert files(WEST, "srtm", "osm", "thumbnail", "item") <= case.changed(case.build())


@pytest.mark.parametrize("least", [0, 60])
def test_the_least_share_of_valid_pixels_decides_on_tiles_built_before(case: Case, least: float) -> None:
    half = np.full((1, 2 * TILE, TILE), -32768, dtype="int16")
    half[:, :, 64:] = 7
    half[:, :, 126:] = np.where(np.arange(2 * TILE)[:, None] < TILE, 7, -32768)
    write_geotiff(case.world.folder / "west.hgt.tif", half, nodata=-32768)
    case.before = case.build()
    case.world.edit_template(lambda document: document.update({"dream:min_valid_percent": least}))
    gone = case.before.keys() - case.build().keys()
    assert gone == (files(WEST, "srtm") if least else set())


DAMAGES: dict[str, tuple[str, bytes | None]] = {
    "COG deleted": (f"{ALPES}/alpes_x0528_y3806/srtm.tif", None),
    "COG cut short": (f"{ALPES}/alpes_x0528_y3806/osm.tif", b"II*\0"),
    "thumbnail deleted": (f"{ALPES}/alpes_x0528_y3806/thumbnail.png", None),
    "item deleted": (f"{ALPES}/alpes_x0528_y3806/alpes_x0528_y3806.json", None),
    "area's catalog deleted": (f"{ALPES}/catalog.json", None),
    "area's catalog no JSON": (f"{ALPES}/catalog.json", b"{"),
    "area's catalog a list": (f"{ALPES}/catalog.json", b"[]"),
    "area's manifest deleted": (f"{ALPES}/manifest.sha256", None),
    "area's manifest no manifest": (f"{ALPES}/manifest.sha256", b"\xff"),
    "index deleted": ("items/france.parquet", None),
    "index cut short": ("items/france.parquet", b"PAR1"),
    "collection deleted": ("france/collection.json", None),
    "collection no JSON": ("france/collection.json", b""),
    "root no JSON": ("catalog.json", b"{"),
    "root's manifest no manifest": ("manifest.sha256", b"?"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_made_again(case: Case, damage: str) -> None:
    href, data = DAMAGES[damage]
    if data is None:
        (case.release / href).unlink()
    else:
        (case.release / href).write_bytes(data)
    whole = case.before.pop(href)
    case.world.build(case.release)
    after = state(case.release)
    assert after.pop(href).sha256 == whole.sha256
    assert after == case.before


# --- the same inputs ------------------------------------------------------------------------------------------------


def test_a_second_build_changes_nothing_and_says_so(case: Case) -> None:
    report = run(case.world.listing, case.release, case.world.templates)
    assert (report.files, report.written) == (0, 0)
    assert (report.areas, report.items, report.assets) == (3, 6, 10)
    assert state(case.release) == case.before
    said = command("build", case.world.listing, case.release, "--templates", case.world.templates)
    assert said.stdout == f"{case.release}: nothing to do: 6 items in 3 areas are up to date\n"
    assert state(case.release) == case.before


def test_place_time_zone_language_umask_and_processes_do_not_show(case: Case, tmp_path: Path) -> None:
    elsewhere = tmp_path / "else where"
    shutil.copytree(case.world.folder, elsewhere / "in")
    case.world.areas = dict(reversed(case.world.areas.items()))
    shutil.copy(case.world.listing, elsewhere / "in")
    environment = os.environ | {"TZ": "Asia/Kolkata", "LANG": "tr_TR.UTF-8", "PYTHONHASHSEED": "7", "LC_ALL": ""}
    subprocess.run(
        [*CLI, "build", "in/sources.toml", "out/release", "--templates", "in/stac", "--jobs", "2", "--no-explorer"],
        cwd=elsewhere, env=environment, umask=0o077, check=True, capture_output=True,
    )  # fmt: skip
    assert tree(elsewhere / "out" / "release") == tree(case.release)


# --- large areas ----------------------------------------------------------------------------------------------------


def test_a_large_area_gets_a_catalog_a_row(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "MAX_ITEM_LINKS", 2)
    release = case.release.with_name("split")
    case.world.build(release)
    found = {path.relative_to(release).as_posix(): document for path, document in documents(release)}
    assert _links(found["france/alpes/catalog.json"], "child") == {
        "./y3806/catalog.json": "Area alpes, row y3806",
        "./y3807/catalog.json": "Area alpes, row y3807",
    }
    row = found["france/alpes/y3806/catalog.json"]
    ids = [f"alpes_{tile}" for tile in (WEST[0], EAST[0])]
    assert _links(row, "item") == {f"../{name}/{name}.json": name for name in ids}
    assert _links(row, "parent") == {"../catalog.json": "Area alpes"}
    assert _links(row, "root") == {"../../../catalog.json": found["catalog.json"]["title"]}
    item = found[f"france/alpes/{ids[0]}/{ids[0]}.json"]
    assert _links(item, "parent") == {"../y3806/catalog.json": "Area alpes, row y3806"}
    assert not _links(found["france/jura/catalog.json"], "child")
    items = pystac.Catalog.from_file(str(release / layout.CATALOG)).get_items(recursive=True)
    assert len({item.id for item in items}) == 6
    assert dangling(release) == []
    assert manifest_faults(release) == []


def _links(document: dict[str, Any], rel: str) -> dict[str, str]:
    return {link["href"]: link["title"] for link in document["links"] if link["rel"] == rel}


def test_an_area_that_grows_large_and_small_again_is_as_if_built_at_once(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "MAX_ITEM_LINKS", 2)
    case.world.areas = {"alpes": place("alpes", source("srtm", "west.hgt.tif"))}
    case.before = case.build()
    case.world.areas = {"alpes": AREAS["alpes"]}
    case.before = case.build()
    assert "france/alpes/y3806/catalog.json" in case.before
    case.world.areas = {"alpes": place("alpes", source("srtm", "west.hgt.tif"))}
    assert not [path for path in case.build() if "/y3806/" in path]


def test_no_document_is_over_a_megabyte(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    name = layout.item_id("a" * 64, -1234, -1234)
    longest = link("item", layout.relative(layout.item("c", "a", name), layout.row_catalog("c", "a", 1)), name)
    assert len(jsonio.dumps(longest)) * layout.MAX_ITEM_LINKS < layout.MAX_DOCUMENT_BYTES - 100_000
    monkeypatch.setattr(layout, "MAX_DOCUMENT_BYTES", 1000)
    _new_title(case.world)
    with pytest.raises(BuildError, match=r"^france/alpes/catalog\.json: [\d,]+ bytes, over the 1,000 "):
        case.world.build(case.release)
    assert case.changed(state(case.release)) == {path for path in state(case.release) if path.startswith(".build/")}


# --- plan and build -------------------------------------------------------------------------------------------------

Shares = npt.NDArray[np.float64]
SHARE = st.sampled_from([0.0, 0.03, 0.4, 0.9, 1.0])
KEYS = ("srtm", "osm")
"""In the order of the template."""


@settings(max_examples=12, derandomize=True)
@given(
    shares=st.lists(st.tuples(SHARE, SHARE), min_size=4, max_size=4),
    size=st.tuples(st.integers(TILE + 1, 2 * TILE), st.integers(TILE + 1, 2 * TILE)),
    least=st.sampled_from([0, 5, 50, 100]),
    required=st.sets(st.sampled_from(KEYS)),
)
def test_the_plan_tells_what_the_build_does(
    tmp_path_factory: pytest.TempPathFactory,
    shares: list[tuple[float, float]],
    size: tuple[int, int],
    least: int,
    required: set[str],
) -> None:
    folder = tmp_path_factory.mktemp("plan")
    world = World(folder, {"alpes": place("alpes", SRTM, OSM, required=sorted(required))})
    small_templates(world.templates, TILE)
    world.edit_template(lambda document: document.update({"dream:min_valid_percent": least}))
    valid = np.zeros((2, 2 * TILE, 2 * TILE), dtype=bool)
    for number, pair in enumerate(shares):
        top, left = number // 2 * TILE, number % 2 * TILE
        for band, share in enumerate(pair):
            valid[band, top : top + round(TILE * share), left : left + TILE] = True
    valid[:, size[0] :] = valid[:, :, size[1] :] = False
    inside = (slice(size[0]), slice(size[1]))
    write_geotiff(folder / "a.hgt.tif", np.where(valid[0], 7, -32768).astype("int16")[inside][None], nodata=-32768)
    write_geotiff(folder / "osm.tif", np.where(valid[1], 3, 255).astype("uint8")[inside][None], nodata=255)

    percent = valid.reshape(2, 2, TILE, 2, TILE).mean(axis=(2, 4)) * 100
    enough = (percent > 0) & (percent >= least)
    kept = enough.any(axis=0) & np.all([enough[KEYS.index(key)] | (key not in required) for key in KEYS], axis=0)
    plan = plan_of(world.listing, world.templates)
    report = survey(plan, SerialExecutor(), TileProgress(io.StringIO(), quiet=True), window=1)[0].document()
    assert report["items"] == kept.sum()
    assert {entry["key"]: entry["tiles"] for entry in report["modalities"]} == {
        key: (enough[band] & kept).sum() for band, key in enumerate(KEYS)
    }
    coverage = [entry["coverage"] for entry in report["modalities"]]
    assert coverage == pytest.approx(percent.mean(axis=(1, 2)).tolist())
    release = folder / "release"
    if _cannot_be_built(percent, enough, required):
        with pytest.raises(CatalogBuilderError, match=r"no valid pixel for|no tile could be built"):
            run(world.listing, release, world.templates)
        return
    built = run(world.listing, release, world.templates)
    assert built.items == report["items"]
    assert [{"item": name, "why": why} for name, why in built.left_out] == report["left_out"]
    catalog = jsonio.read(release / "france" / "alpes" / layout.CATALOG)
    tiles = {entry["key"]: entry["tiles"] for entry in report["modalities"] if entry["tiles"]}
    assert catalog["dream:summary"]["assets"] == tiles


def _cannot_be_built(percent: Shares, enough: npt.NDArray[np.bool_], required: set[str]) -> bool:
    """Whether no tile is left, or a source has no pixel where it is looked at: not behind a required one that lacks."""
    seen: dict[int, list[float]] = {0: [], 1: []}
    left = 0
    for row, column in np.ndindex(2, 2):
        for band in sorted(seen, key=lambda band: KEYS[band] not in required):
            seen[band].append(percent[band, row, column])
            if KEYS[band] in required and not enough[band, row, column]:
                break
        else:
            left += bool(enough[:, row, column].any())
    return not left or any(shares and not any(shares) for shares in seen.values())


def test_the_two_commands_agree(case: Case) -> None:
    planned = json.loads(command("plan", case.world.listing, "--templates", case.world.templates, "--json").stdout)
    arguments = ("build", case.world.listing, case.release, "--templates", case.world.templates, "--json")
    done = json.loads(command(*arguments).stdout)
    assert sum(report["items"] for report in planned) == done["items"] == 6
    assert sum(entry["tiles"] for report in planned for entry in report["modalities"]) == done["assets"] == 10


# --- memory ---------------------------------------------------------------------------------------------------------

PEAK = """
import sys
from pathlib import Path
from catalog_builder.cli import main
main(sys.argv[1:], standalone_mode=False)
# Not getrusage: what a process inherits from the one that started it counts there too.
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(int(status["VmHWM"].split()[0]) * 1024)
"""
"""Runs the command line and prints the most memory that it took, in bytes."""


def _sparse(path: Path, size: int, resolution: float, corners: Iterable[tuple[int, int]]) -> None:
    """Write a raster of ``size`` x ``size`` pixels of which only blocks of 1024 at (column, row) are there."""
    corner = (CORNER[0] // 10240 * 10240, CORNER[1] // 10240 * 10240)
    transform = Affine(resolution, 0, corner[0], 0, -resolution, corner[1])
    shape = {"width": size, "height": size, "count": 1, "dtype": "int16", "nodata": -32768}
    options = {"tiled": True, "sparse_ok": True, "compress": "ZSTD", "crs": "EPSG:32631", "transform": transform}
    block = texture((1, 1024, 1024), "int16", 1)
    with rasterio.open(path, "w", driver="GTiff", **shape, **options) as dataset:
        for column, row in corners:
            dataset.write(block, window=Window(column, row, 1024, 1024))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "resolution", "corners", "items"),
    [
        # A tile for each block that is on the grid; the fourth spreads over four tiles.
        pytest.param(40_000, 10, [(0, 0), (2048, 0), (38_912, 38_912), (20_000, 20_000)], 7, id="wide"),
        # Ten source pixels a pixel: a tile's window has 105 million.
        pytest.param(20_480, 1, [(1024 * n % 10240, n // 10 * 1024) for n in range(30)], 1, id="fine"),
    ],
)
def test_memory_stays_flat_whatever_the_size_of_a_source(
    tmp_path: Path, size: int, resolution: float, corners: list[tuple[int, int]], items: int
) -> None:
    _sparse(tmp_path / "srtm.tif", size, resolution, corners)
    listing, release = tmp_path / "sources.toml", tmp_path / "release"
    listing.write_text(place("wide", source("srtm", "srtm.tif")))
    arguments = ["build", str(listing), str(release), "--jobs", "1", "--quiet", "--no-explorer"]
    said = subprocess.run(
        [sys.executable, "-W", "error", "-c", PEAK, *arguments], check=True, capture_output=True, text=True
    )
    assert int(said.stdout.splitlines()[-1]) < 600e6
    assert pq.read_metadata(release / "items" / "france.parquet").num_rows == items
    assert manifest_faults(release) == []


# --- readers --------------------------------------------------------------------------------------------------------


def test_pystac_reads_the_tree(built: Path) -> None:
    root = pystac.Catalog.from_file(str(built / "release" / layout.CATALOG))
    assert {collection.id for collection in root.get_collections()} == {"france", "usa"}
    items = list(root.get_items(recursive=True))
    ids = {f"alpes_{tile}" for tile in WEST + EAST} | {f"jura_{JURA_TILE[0]}", f"line_{LINE_TILE[0]}"}
    assert len(items) == len(ids)
    assert {item.id for item in items} == ids
    for item in items:
        assert item.get_root() is root
        assert item.get_parent().id == f"{item.collection_id}-{item.properties['dream:area']}"  # type: ignore[union-attr]
        collection = item.get_collection()
        assert collection is not None
        assert set(item.assets) - {"thumbnail"} <= set(collection.item_assets)
        for asset in item.assets.values():
            assert Path(asset.get_absolute_href() or "").stat().st_size == asset.extra_fields["file:size"]
    for owner, _, _ in root.walk():
        for found in owner.links:
            href = found.get_absolute_href() or ""
            assert href.startswith("https://") or Path(href).is_file()
    shipped = jsonio.read(template.default_folder() / "france" / layout.COLLECTION)
    france = root.get_child("france")
    assert isinstance(france, pystac.Collection)
    assert list(france.item_assets) == list(shipped["item_assets"])
