"""Pictures of tiles: every modality is there, in its true colours and place, and the bytes are the same each time."""

import json
import re
import shutil
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from click.testing import CliRunner, Result
from PIL import Image

from catalog_builder import drawing, figures
from catalog_builder.cli import main
from catalog_builder.errors import ReleaseError, UsageError
from catalog_builder.thumbnail import draw
from tests.small_demo import small_demo

CELL = 96
VENTOUX = "ventoux_x0264_y1915"
CAPE_FEAR = "cape_fear_x0000_y0000"
ALL = {"beauce_x0160_y2087", VENTOUX, CAPE_FEAR, "san_andreas_x0000_y0000"}


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_demo(tmp_path_factory.mktemp("figures"))


@pytest.fixture
def copy(release: Path, tmp_path: Path) -> Path:
    """A release that a test may break."""
    return shutil.copytree(release, tmp_path / "copy")


def run(*args: object) -> Result:
    return CliRunner().invoke(main, ["figures", *map(str, args)])


def picture(data: bytes) -> npt.NDArray[np.uint8]:
    return np.asarray(Image.open(BytesIO(data)).convert("RGB"))


def item_path(release: Path, item: str) -> Path:
    (path,) = release.glob(f"*/*/{item}/{item}.json")
    return path


def describe(release: Path, item: str, cell: int = CELL) -> figures.Panel:
    path = item_path(release, item)
    document = json.loads(path.read_text())
    collection = json.loads((release / document["collection"] / "collection.json").read_text())
    return figures.describe(path, document, collection, cell)


def change(path: Path, **replaced: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | replaced))


# --- which items, and where to --------------------------------------------------------------------------------------


def test_fullest_item_of_each_area_is_drawn(release: Path, tmp_path: Path) -> None:
    result = run(release, tmp_path / "out", "--size", CELL)
    assert result.exit_code == 0, result.output
    drawn = [Path(line) for line in result.output.splitlines() if not Path(line).name.startswith("map_")]
    assert {path.stem for path in drawn} == ALL
    assert [path.stem for path in drawn] == [path.stem for path in _by_area(release)]
    assert set(drawn) <= set((tmp_path / "out").iterdir())


def _by_area(release: Path) -> list[Path]:
    return sorted(release.glob("*/*/*/*.json"))


def test_named_items_are_drawn_and_no_others(release: Path, tmp_path: Path) -> None:
    assert run(release, tmp_path, "--size", CELL, "--item", VENTOUX, "--item", CAPE_FEAR).exit_code == 0
    assert {path.name for path in tmp_path.iterdir()} == {f"{VENTOUX}.png", f"{CAPE_FEAR}.png"}


@pytest.mark.parametrize("item", ["nowhere_x0000_y0000", "ventoux_x0000_y0000", "ventoux", f"../{VENTOUX}", ""])
def test_item_that_is_not_there_is_a_usage_error(item: str, release: Path, tmp_path: Path) -> None:
    result = run(release, tmp_path / "out", "--item", item)
    assert result.exit_code == 2
    assert f"no items are called {item!r}" in result.output
    assert not (tmp_path / "out").exists()


def test_same_item_twice_is_a_usage_error(release: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"two items to draw are called '{VENTOUX}'"):
        figures.write_figures(release, tmp_path, [VENTOUX, VENTOUX], CELL)


def test_folder_that_is_no_release_is_a_usage_error(tmp_path: Path) -> None:
    result = run(tmp_path, tmp_path / "out")
    assert result.exit_code == 2
    assert f"is {tmp_path} a release?" in result.output


def test_release_without_thumbnails_asks_for_items(copy: Path, tmp_path: Path) -> None:
    for path in copy.glob("*/*/catalog.json"):
        summary = json.loads(path.read_text())["dream:summary"]
        change(path, **{"dream:summary": summary | {"thumbnail": None}})
    with pytest.raises(UsageError, match="--item"):
        figures.write_figures(copy, tmp_path / "out", cell=CELL)
    assert figures.write_figures(copy, tmp_path / "out", [VENTOUX], CELL)


def test_folder_that_cannot_be_made_is_one_line(release: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = run(release, tmp_path / "file" / "out", "--item", VENTOUX, "--size", CELL)
    assert result.exit_code == 1
    assert result.output.startswith("catalog-builder: ")
    assert result.output.count("\n") == 1


# --- files that were changed after the build ------------------------------------------------------------------------


def test_cog_that_cannot_be_read_is_one_line(copy: Path, tmp_path: Path) -> None:
    cog = item_path(copy, VENTOUX).with_name("s2.tif")
    cog.write_bytes(b"no tiff")
    with pytest.raises(ReleaseError, match=r"s2\.tif"):
        figures.write_figures(copy, tmp_path, [VENTOUX], CELL)


@pytest.mark.parametrize("name", ["assets", "properties"])
def test_item_without_its_fields_is_one_line(name: str, copy: Path, tmp_path: Path) -> None:
    path = item_path(copy, VENTOUX)
    change(path, **{name: {}})
    with pytest.raises(ReleaseError, match=path.name.removesuffix(".json")):
        figures.write_figures(copy, tmp_path, [VENTOUX], CELL)


def test_catalog_without_its_fields_is_one_line(copy: Path, tmp_path: Path) -> None:
    change(copy / "france" / "ventoux" / "catalog.json", **{"dream:summary": {}})
    with pytest.raises(ReleaseError, match=r"ventoux/catalog\.json"):
        figures.write_figures(copy, tmp_path, cell=CELL)


# --- what is drawn --------------------------------------------------------------------------------------------------


def test_same_bytes_twice(release: Path, tmp_path: Path) -> None:
    first = figures.write_figures(release, tmp_path / "a", [CAPE_FEAR], CELL)
    second = figures.write_figures(release, tmp_path / "b", [CAPE_FEAR], CELL)
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


@pytest.mark.parametrize("item", [VENTOUX, CAPE_FEAR])
def test_every_modality_has_its_cell_in_the_order_of_the_template(item: str, release: Path) -> None:
    path = item_path(release, item)
    document = json.loads(path.read_text())
    collection = json.loads((release / document["collection"] / "collection.json").read_text())
    keys = [key for key in collection["item_assets"] if key in document["assets"]]
    cells = describe(release, item).cells
    assert [cell.title.split(" · ")[0] for cell in cells] == [*keys, "Legend"]
    for key, cell in zip(keys, cells, strict=False):
        assert document["assets"][key]["start_datetime"][:10] in cell.lines[0]
        assert collection["renders"][key]["title"] in cell.lines[1]


def test_cells_show_what_thumbnails_show(release: Path) -> None:
    """All but the corner of the scale bar is what ``thumbnail.draw`` makes, on the chequered ground."""
    collection = json.loads((release / "usa" / "collection.json").read_text())
    cells = {cell.title.split(" ")[0]: np.asarray(cell.picture) for cell in describe(release, CAPE_FEAR).cells}
    for key in ("uavsar_1", "naip", "osm"):
        colours = draw(item_path(release, CAPE_FEAR).with_name(f"{key}.tif"), collection["renders"][key], CELL)
        expected = np.moveaxis(colours[:3], 0, -1)[: CELL // 2]
        seen = colours[3, : CELL // 2] > 0
        assert np.array_equal(cells[key][: CELL // 2][seen], expected[seen]), key


def test_nothing_valid_is_chequered_grey(copy: Path) -> None:
    path = item_path(copy, VENTOUX).with_name("s2.tif")
    with rasterio.open(path) as dataset:
        profile = {**dataset.profile, "driver": "GTiff"}
        pixels = dataset.read()
    pixels[:, : TOP * 4, :] = 0
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(pixels)
    cell = next(cell for cell in describe(copy, VENTOUX, 64).cells if cell.title.startswith("s2 "))
    top = np.asarray(cell.picture)[: TOP // 2]
    assert {tuple(colour) for colour in top.reshape(-1, 3)} == {(228, 228, 228), (246, 246, 246)}


TOP = 16
"""Rows of a cell of 64 pixels; four rows of the tile each."""


def test_legend_and_classes_have_their_very_colours(release: Path) -> None:
    """The palette may bend any colour but those that mean something."""
    data = figures.figure(release, item_path(release, VENTOUX).relative_to(release).as_posix(), CELL)
    shown = {tuple(colour) for colour in picture(data).reshape(-1, 3)}
    collection = json.loads((release / "france" / "collection.json").read_text())
    (band,) = collection["item_assets"]["osm"]["bands"]
    for entry in band["classification:classes"]:
        if not entry.get("nodata"):
            assert tuple(bytes.fromhex(entry["color_hint"])) in shown, entry["name"]
    assert (picture(data)[0] == 255).all()


def test_panel_is_as_wide_as_its_columns_and_as_high_as_its_rows(release: Path) -> None:
    panel = describe(release, CAPE_FEAR)
    image = figures.compose(panel, CELL)
    assert len(panel.cells) == 9
    assert image.width == 3 * CELL + 4 * 16
    assert image.height > 3 * CELL


@pytest.mark.parametrize(("cells", "columns"), [(1, 1), (2, 2), (3, 3), (4, 4), (5, 3), (6, 3), (7, 4), (8, 4), (9, 3)])
def test_columns_leave_few_places_empty(cells: int, columns: int) -> None:
    assert figures._columns(cells) == columns


def test_absent_modalities_are_named(release: Path) -> None:
    assert "not here: uavsar_3" in describe(release, "san_andreas_x0000_y0000").subtitle
    assert describe(release, VENTOUX).subtitle.endswith("not here: s1_activity")


def test_place_is_that_of_the_item(release: Path) -> None:
    west, south, east, north = json.loads(item_path(release, CAPE_FEAR).read_text())["bbox"]
    found = re.search(r"([\d.]+)° N ([\d.]+)° W", describe(release, CAPE_FEAR).subtitle)
    assert found
    assert south < float(found[1]) < north
    assert west < -float(found[2]) < east


def test_synthetic_pixels_say_so_and_are_credited_to_nobody(release: Path) -> None:
    notes = describe(release, VENTOUX).notes
    assert notes[0].startswith("SYNTHETIC: All of it")
    assert notes[1] == "What real data of these modalities would have to be credited with:"


def test_measured_pixels_are_credited_once_for_all_their_modalities(copy: Path) -> None:
    path = item_path(copy, VENTOUX)
    assets = json.loads(path.read_text())["assets"]
    change(
        path, assets={key: {k: v for k, v in asset.items() if k != "dream:synthetic"} for key, asset in assets.items()}
    )
    notes = describe(copy, VENTOUX).notes
    assert notes[0] == "s1, s1_mean, s2: Contains modified Copernicus Sentinel data"
    assert [note.split(":")[0] for note in notes] == ["s1, s1_mean, s2", "srtm", "osm"]


def test_modality_without_render_is_stretched_by_its_statistics(copy: Path) -> None:
    path = copy / "france" / "collection.json"
    renders = json.loads(path.read_text())["renders"]
    change(path, renders={key: render for key, render in renders.items() if key != "s2"})
    cell = next(cell for cell in describe(copy, VENTOUX).cells if cell.title.startswith("s2 "))
    assert cell.lines[1] == "B02, stretched"
    grey = np.asarray(cell.picture)[: CELL // 2]
    assert np.array_equal(grey[..., 0], grey[..., 1])
    assert grey.std() > 20


# --- elevation: a ramp stretched to the tile ------------------------------------------------------------------------

RAMP = {"title": "Elevation", "bidx": [1], "rescale": [[-1000, 3000]], "colormap_name": "terrain"}


def ramp(least: float, most: float) -> tuple[float, float]:
    asset = {"bands": [{"unit": "m", "statistics": {"minimum": least, "maximum": most}}]}
    (low, high), *_ = figures._local_ramp(RAMP, asset)["rescale"]
    return low, high


@pytest.mark.parametrize("least", [0.0, 3.0, 500.0])
def test_land_alone_takes_the_land_part_of_the_ramp(least: float) -> None:
    low, high = ramp(least, least + 30)
    assert high == least + 30
    assert (least - low) / (high - low) == pytest.approx(0.25)


def test_zero_stays_the_shore_where_there_is_sea() -> None:
    low, high = ramp(-20, 300)
    assert high == 300
    assert -low / (high - low) == pytest.approx(0.25)
    assert low < -20


@pytest.mark.parametrize("value", [-5.0, 0.0, 7.0])
def test_flat_ground_has_a_range_too(value: float) -> None:
    low, high = ramp(value, value)
    assert low <= value < high


def test_range_of_the_ramp_is_said(release: Path) -> None:
    statistics = json.loads(item_path(release, VENTOUX).read_text())["assets"]["srtm"]["bands"][0]["statistics"]
    cell = next(cell for cell in describe(release, VENTOUX).cells if cell.title.startswith("srtm "))
    assert cell.lines[1] == f"Elevation, {statistics['minimum']:g} to {statistics['maximum']:g} m"


# --- words and scale ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metres", "length"),
    [(1, 1), (1.99, 1), (2, 2), (4.9, 2), (5, 5), (99, 50), (1536, 1000), (3072, 2000), (0.3, 0.2)],
)
def test_scale_bar_is_a_round_length(metres: float, length: float) -> None:
    assert drawing.bar_length(metres) == pytest.approx(length)


@pytest.mark.parametrize(
    ("code", "transform", "metres"),
    [
        ("EPSG:32631", [10.0, 0, 675840.0, 0, -10.0, 4894720.0], 10240),
        ("EPSG:2263", [10.0, 0, 980000.0, 0, -10.0, 200000.0], 10240 * 0.3048006),  # feet
        ("EPSG:4326", [0.0001, 0, 5.0, 0, -0.0001, 60.0], 1024 * 0.0001 * 111_320 / 2),  # degrees, at 60 north
    ],
)
def test_scale_is_in_metres_whatever_the_unit(code: str, transform: list[float], metres: float) -> None:
    properties = {"proj:code": code, "proj:shape": [1024, 1024], "proj:transform": transform}
    assert figures._metres_across(properties) == pytest.approx(metres, rel=1e-6)


def test_scale_bar_has_its_length_in_pixels(release: Path) -> None:
    """256 pixels of 10 m on 96: the bar of 500 m is 18.75 pixels long."""
    s1 = np.asarray(describe(release, VENTOUX).cells[0].picture)
    row = s1[CELL - 12 - 3, 11:]
    assert (row[0] == 0).all()
    white = (row[1:] == 255).all(axis=-1)
    assert int(np.argmin(white)) == pytest.approx(18.75 + 1, abs=1)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Ariège – Pyrénées", "Ariege - Pyrenees"),
        ("1024 × 1024", "1024 x 1024"),
        ("© 12° · ok", "© 12° · ok"),
        ("山", "?"),
    ],
)
def test_letters_that_the_font_lacks_are_replaced(text: str, plain: str) -> None:
    assert drawing.plain(text) == plain


def test_long_titles_are_broken_or_shrunk(copy: Path) -> None:
    path = item_path(copy, VENTOUX)
    document = json.loads(path.read_text())
    change(path, properties=document["properties"] | {"title": "a long title " * 20})
    image = figures.compose(describe(copy, VENTOUX), CELL)
    usual = figures.compose(describe(copy, "beauce_x0160_y2087"), CELL)
    assert image.width == usual.width
    assert image.height > usual.height
    assert (np.asarray(image)[:, -14:] == 255).all()
