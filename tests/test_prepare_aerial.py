"""`prepare naip`: area averages held against numpy, seams, the order of days, collars; real photographs; bad input."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner, Result
from rasterio.warp import Resampling, reproject

from catalog_builder import sources, template
from catalog_builder.cli import main
from catalog_builder.prepare import aerial
from tests.makers import small_templates, write_geotiff
from tests.oracles import box_weights, shrunk

Array = npt.NDArray[Any]

UTM = "EPSG:26914"
LEFT, TOP = 485900.0, 5209250.0
OLD, NEW = "m_4709963_se_14_1_20090818.tif", "m_4709963_se_14_060_20190904_20191209.tif"


def command(*arguments: object, jobs: int = 1) -> Result:
    return CliRunner().invoke(main, ["prepare", *map(str, arguments), "--jobs", str(jobs), "--quiet"])


def grid(columns: int, rows: int, resolution: float = 5, left: float = LEFT, top: float = TOP) -> list[object]:
    box = left, top - rows * resolution, left + columns * resolution, top
    return ["--crs", UTM, "--resolution", resolution, "--bounds", *box]


def photograph(path: Path, pixels: Array, left: float = LEFT, top: float = TOP, size: float = 1, **more: Any) -> Path:
    return write_geotiff(path, pixels, corner=(left, top), resolution=size, crs=UTM, photometric="MINISBLACK", **more)


def noise(rows: int, columns: int, bands: int = 4, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(1, 256, size=(bands, rows, columns), dtype=np.uint8)


def read(path: Path) -> Array:
    with rasterio.open(path) as dataset:
        return np.asarray(dataset.read())


def mean_of_blocks(pixels: Array, valid: Array, factor: int) -> Array:
    """Mean of the valid pixels of each block, (bands, rows, columns); 0 where there are none."""
    bands, rows, columns = pixels.shape
    cut = (bands, rows // factor, factor, columns // factor, factor)
    total = np.where(valid, pixels, 0).reshape(cut).sum(axis=(2, 4), dtype=np.float64)
    count = np.broadcast_to(valid, pixels.shape).reshape(cut).sum(axis=(2, 4))
    return np.asarray(np.divide(total, count, out=np.zeros_like(total), where=count > 0))


def hold(actual: Array, mean: Array) -> None:
    """A rounded mean; a half may go either way."""
    assert actual.shape == mean.shape
    assert np.abs(actual - mean).max() <= 0.5 + 1e-6


# --- pixels -----------------------------------------------------------------------------------------------------------


def test_aligned_pixels_are_plain_means(tmp_path: Path) -> None:
    pixels = noise(1000, 2700)
    pixels[:, :, :103] = 0
    # One dark band is no collar.
    pixels[0, 400:500, 400:500] = 0
    path, out = photograph(tmp_path / "in" / OLD, pixels), tmp_path / "out" / "naip.tif"
    result = command("naip", path, out, *grid(540, 200))
    assert result.exit_code == 0, result.output
    valid = (pixels != 0).any(axis=0)
    mean = mean_of_blocks(pixels[:3], valid, 5)
    covered = mean_of_blocks(valid[None].astype(np.uint8), np.ones_like(valid), 5)[0] > 0
    actual = read(out)
    hold(actual[:, covered], np.where(mean < 0.5, 1, mean)[:, covered])
    assert not actual[:, ~covered].any()
    assert (actual[0, 80:100, 80:100] == 1).all()
    with rasterio.open(out) as dataset:
        assert (dataset.dtypes, dataset.nodata) == (("uint8",) * 3, 0)
        assert dataset.descriptions == ("red", "green", "blue")
        assert dataset.transform == Affine(5, 0, LEFT, 0, -5, TOP)
    assert [entry.name for entry in out.parent.iterdir()] == ["naip.tif"]


def test_pixels_of_60_cm_are_weighted_by_area(tmp_path: Path) -> None:
    pixels = noise(500, 600)
    pixels[:, 200:230, 100:140] = 0
    path, out = photograph(tmp_path / NEW, pixels, size=0.6), tmp_path / "naip.tif"
    assert command("naip", path, out, *grid(72, 60)).exit_code == 0
    valid = (pixels != 0).any(axis=0)
    ratio = 5 / 0.6
    weights = box_weights(60, 500, ratio, 0.0), box_weights(72, 600, ratio, 0.0)
    mean, covered = shrunk(pixels[:3], np.broadcast_to(valid, (3, *valid.shape)), weights)
    full = covered > 1e-6
    assert np.abs(read(out)[full] - mean[full] / covered[full]).max() <= 0.5 + 1e-3
    assert not read(out)[~full].any()


def test_quads_of_one_raster_join_without_a_seam(tmp_path: Path) -> None:
    pixels = noise(400, 803)
    # The seam stands inside a pixel of the grid.
    quads = [
        photograph(tmp_path / "m_4709963_sw_14_1_20090818.tif", pixels[:, :, :402]),
        photograph(tmp_path / "m_4709963_se_14_1_20090818.tif", pixels[:, :, 402:], left=LEFT + 402),
    ]
    outs = [tmp_path / f"{jobs}.tif" for jobs in (1, 2)]
    assert command("naip", *quads, outs[0], *grid(160, 80)).exit_code == 0
    assert command("naip", *reversed(quads), outs[1], *grid(160, 80), jobs=2).exit_code == 0
    hold(read(outs[0]), mean_of_blocks(pixels[:3, :, :800], np.ones((400, 800), dtype=bool), 5))
    assert outs[0].read_bytes() == outs[1].read_bytes()


def test_the_later_day_is_on_top_and_its_collar_is_not(tmp_path: Path) -> None:
    old, new = np.full((4, 200, 200), 50, np.uint8), np.full((4, 200, 200), 200, np.uint8)
    new[:, :, :50] = 0
    # By name alone, the newer would come first.
    later = photograph(tmp_path / "m_0000000_ne_14_1_20200101.tif", new)
    earlier = photograph(tmp_path / "m_4709963_se_14_1_20090818.tif", old)
    out = tmp_path / "naip.tif"
    result = command("naip", later, earlier, out, *grid(40, 40))
    assert result.exit_code == 0, result.output
    pixels = read(out)
    assert (pixels[:, :, :10] == 50).all()
    assert (pixels[:, :, 10:] == 200).all()
    with rasterio.open(out) as dataset:
        tags = dataset.tags()
    assert json.loads(tags["DREAM_DATES"]) == ["2009-08-18T00:00:00Z", "2020-01-01T00:00:00Z"]
    assert json.loads(tags["DREAM_INPUTS"]) == [earlier.name, later.name]
    assert tags["TIFFTAG_COPYRIGHT"] == aerial.ATTRIBUTION


@pytest.mark.parametrize("how", ["zeros", "nodata", "mask"])
def test_a_collar_has_no_part_in_a_mean(tmp_path: Path, how: str) -> None:
    pixels = np.full((3, 100, 100), 120, np.uint8)
    pixels[:, :, 52:] = 255 if how == "nodata" else 0
    path = photograph(tmp_path / OLD, pixels, nodata=255 if how == "nodata" else None)
    if how == "mask":
        valid = np.zeros((100, 100), dtype=bool)
        valid[:, :52] = True
        # Black inside the mask is black.
        pixels[:, :50, :50] = 0
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dataset:
            dataset.write(pixels)
            dataset.write_mask(valid)
    out = tmp_path / "naip.tif"
    assert command("naip", path, out, *grid(20, 20)).exit_code == 0
    actual = read(out)
    assert not actual[:, :, 11:].any()
    assert (actual[:, 10:, :11] == 120).all()
    assert (actual[:, :10, :10] == (1 if how == "mask" else 120)).all()


def test_pixels_on_the_grid_are_copied_and_black_stays_valid(tmp_path: Path) -> None:
    pixels = noise(70, 90)
    pixels[1] = np.where(pixels[1] < 30, 0, pixels[1])
    path, out = photograph(tmp_path / OLD, pixels, size=5), tmp_path / "naip.tif"
    assert command("naip", path, out, *grid(90, 70)).exit_code == 0
    np.testing.assert_array_equal(read(out), np.maximum(pixels[:3], 1))


def test_another_crs_equals_one_warp_of_the_whole(tmp_path: Path) -> None:
    rows, columns = np.mgrid[:1500, :1500]
    smooth = 128 + 100 * np.sin(columns / 90) * np.cos(rows / 70)
    pixels = np.stack([smooth, smooth[::-1], smooth.T]).astype(np.uint8)
    path, out = photograph(tmp_path / OLD, pixels, left=262000), tmp_path / "naip.tif"
    box = ["--crs", "EPSG:32613", "--resolution", 5, "--bounds", 719000, 5207000, 722000, 5210000]
    result = command("naip", path, out, *box)
    assert result.exit_code == 0, result.output
    actual = read(out)
    expected = np.zeros_like(actual)
    with rasterio.open(path) as dataset, rasterio.open(out) as made:
        place = {"src_transform": dataset.transform, "src_crs": dataset.crs, "dst_crs": made.crs}
        reproject(pixels, expected, dst_transform=made.transform, **place, resampling=Resampling.average, dst_nodata=0)
    inner = (actual != 0).all(axis=0) & (expected != 0).all(axis=0)
    assert inner.sum() > 40_000
    # The oracle moves pixels by up to an eighth.
    assert np.abs(actual.astype(int) - expected)[:, inner].mean() < 1
    assert ((actual != 0).any(axis=0) ^ (expected != 0).any(axis=0)).sum() < 0.02 * inner.sum()


# --- what build makes of it -------------------------------------------------------------------------------------------


def test_the_modality_is_that_of_the_template() -> None:
    authored = template.load(template.default_folder()).collections["usa"].modalities["naip"]
    assert (authored.data_type, authored.nodata) == (aerial.BANDS.data_type, aerial.BANDS.nodata)
    assert (authored.band_names, authored.resampling) == (aerial.BANDS.names, aerial.RESAMPLING)
    assert authored.document["dream:attribution"] == aerial.ATTRIBUTION


def test_build_copies_the_raster(tmp_path: Path) -> None:
    templates, listing, out = (
        small_templates(tmp_path / "templates", 128),
        tmp_path / "sources.toml",
        tmp_path / "n.tif",
    )
    listing.write_text(
        '[[area]]\ncollection = "usa"\nid = "nd"\ntitle = "ND"\nrequired = ["naip"]\ncrs = "EPSG:26914"\n'
    )
    quads = [
        photograph(tmp_path / "m_4709963_sw_14_1_20090818.tif", noise(700, 700)),
        photograph(tmp_path / "m_4709963_se_14_1_20100818.tif", noise(700, 700, seed=1), left=LEFT + 600),
    ]
    result = command("naip", *quads, out, *grid(256, 128), "--sources", listing, "--area", "nd")
    assert result.exit_code == 0, result.output
    (area,) = sources.load(listing, template.load(templates))
    assert [area.sources[0].start.year, area.sources[0].end.year] == [2009, 2010]
    release = tmp_path / "release"
    arguments = ["build", listing, release, "--templates", templates, "--jobs", "1", "--quiet", "--no-explorer"]
    built = CliRunner().invoke(main, [*map(str, arguments)])
    assert built.exit_code == 0, built.output
    items = sorted(release.glob("usa/nd/*/*_y*.json"))
    assert len(items) == 2
    for column, item in enumerate(items):
        asset = json.loads(item.read_text())["assets"]["naip"]
        assert asset["dream:resampling"] == "none"
        assert asset["dream:date_count"] == 2
        pixels = read(item.parent / "naip.tif")
        np.testing.assert_array_equal(pixels, read(out)[:, :, 128 * column : 128 * column + 128])


# --- bad input --------------------------------------------------------------------------------------------------------


def _bad(kind: str, folder: Path) -> Path:
    pixels = noise(50, 50, bands=2 if kind == "two bands" else 4)
    name = "undated.tif" if kind == "no day" else "m_4709963_se_14_1_20091399.tif" if kind == "no such day" else OLD
    path = folder / name
    if kind == "16 bit":
        return photograph(path, pixels.astype("uint16"))
    if kind == "elsewhere":
        return photograph(path, pixels, left=LEFT - 10000)
    if kind == "no CRS":
        return write_geotiff(path, pixels, crs=None)
    photograph(path, pixels)
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:5000])
    if kind == "no image":
        path.write_bytes(b"hello")
    return path


BAD = {
    "two bands": (1, "2 bands; NAIP has 3"),
    "16 bit": (1, "uint16; NAIP is uint8"),
    "elsewhere": (1, "does not meet the grid"),
    "no day": (2, "its name tells no day"),
    "no such day": (2, "20091399 is no date"),
    "no CRS": (1, "no CRS"),
    "truncated": (1, "truncated or corrupt GTiff"),
    "no image": (1, "neither a GeoTIFF"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_one_line(kind: str, tmp_path: Path) -> None:
    path, out = _bad(kind, tmp_path / "in"), tmp_path / "out" / "naip.tif"
    result = command("naip", path, out, *grid(10, 10))
    code, words = BAD[kind]
    assert (result.exit_code, result.stderr.count("\n")) == (code, 1), result.output
    assert str(path) in result.stderr
    assert words in result.stderr
    assert not out.parent.exists() or not list(out.parent.iterdir())


def test_bad_words_are_one_line(tmp_path: Path) -> None:
    one, two = (photograph(tmp_path / name, noise(50, 50)) for name in (OLD, NEW))
    before = two.read_bytes()
    for words, message in (
        ([one, two, *grid(9, 9)], "no `prepare` made it"),
        ([one, one, tmp_path / "x.tif", *grid(9, 9)], "was given twice"),
        ([one, tmp_path / "x.tif", *grid(9, 9), "--datetime", "yesterday"], "write it as 2009-08-18"),
    ):
        result = command("naip", *words)
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1), result.output
        assert message in result.stderr
    assert two.read_bytes() == before


def test_a_day_can_be_given(tmp_path: Path) -> None:
    path, out = photograph(tmp_path / "x_y.tif", noise(50, 50)), tmp_path / "naip.tif"
    assert command("naip", path, out, *grid(10, 10), "--datetime", "2011-07-01").exit_code == 0
    with rasterio.open(out) as dataset:
        assert json.loads(dataset.tags()["DREAM_DATES"]) == ["2011-07-01T00:00:00Z"]


# --- real photographs -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_real_photographs_are_painted_by_day(real_data: Path, tmp_path: Path) -> None:
    paths = [real_data / "usa_naip" / f"m_4709963_se_14_1_{day}.tif" for day in ("20190904", "20090818")]
    out, coarse = tmp_path / "naip.tif", tmp_path / "coarse.tif"
    assert command("naip", *paths, out, "--like", paths[1]).exit_code == 0
    with rasterio.open(paths[0]) as new, rasterio.open(out) as made:
        pixels, actual = new.read(), made.read()
        # The later photograph covers all and has no collar; it stands 1 m west and 1 m south.
        column, row = ~new.transform @ (made.transform.c, made.transform.f)
    weights = box_weights(724, 723, 1, row), box_weights(934, 934, 1, column)
    total, covered = shrunk(pixels[:3], np.ones((3, 723, 934), dtype=bool), weights)
    hold(actual[covered > 1e-6], (total / covered)[covered > 1e-6])
    assert (covered > 1e-6).mean() > 0.99
    box = grid(90, 70, 50, 485900, 5209250)
    assert command("naip", *paths, coarse, *box, jobs=2).exit_code == 0
    assert abs(read(coarse)[:, 5:60, 5:80].mean() - actual[:, 50:600, 50:800].mean()) < 1
