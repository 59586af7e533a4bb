"""`prepare s2`: SAFE folders, folders of bands, exports; offsets, clouds, the order of times; real bands; bad input."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj
import pytest
import rasterio
from click.testing import CliRunner, Result

from catalog_builder import sources, template
from catalog_builder.cli import main
from catalog_builder.prepare import optical
from tests.makers import small_templates, write_geotiff
from tests.oracles import Raster

Array = npt.NDArray[Any]

UTM = "EPSG:32631"
LEFT, TOP = 660480.0, 4919040.0
SHAPE = 256, 256
NAMES = ("B02", "B03", "B04", "B08")
OLD = "S2A_MSIL2A_20200601T103031_N0214_R108_T31TGJ_20200601T170000.SAFE"
NEW = "S2B_MSIL2A_20230601T103031_N0509_R108_T31TGJ_20230601T170000.SAFE"
GRID = ["--crs", UTM, "--resolution", 10, "--bounds", LEFT, TOP - 2560, LEFT + 2560, TOP]


def command(*arguments: object, jobs: int = 1) -> Result:
    return CliRunner().invoke(main, ["prepare", *map(str, arguments), "--jobs", str(jobs), "--quiet"])


def stored(seed: int = 0) -> Array:
    """DN of four bands, with a rim without data and some pixels under the offset."""
    pixels = np.random.default_rng(seed).integers(1, 9000, size=(4, *SHAPE), dtype=np.uint16)
    pixels[:, :, :20] = 0
    pixels[:, 30:40, 30:40] = 700
    # A single band without data.
    pixels[2, 50, 60] = 0
    return pixels


def reflectance(pixels: Array, offset: int) -> Array:
    """What a pixel of the modality should be."""
    valid = (pixels != 0).all(axis=0)
    return np.where(valid, np.maximum(pixels.astype(int) + offset, 1), 0).astype(np.uint16)


def classes(seed: int = 1) -> Array:
    values = np.random.default_rng(seed).choice([0, 3, 4, 5, 8, 9, 10], size=(128, 128)).astype(np.uint8)
    return values[None]


def write(path: Path, pixels: Array, size: float = 10, **more: Any) -> Path:
    return write_geotiff(path, pixels, corner=(LEFT, TOP), resolution=size, crs=UTM, **more)


def write_jp2(path: Path, pixels: Array, size: float = 10) -> None:
    plain = write(path.with_suffix(".tif"), pixels, size)
    with rasterio.open(plain) as dataset:
        profile = {**dataset.profile, "driver": "JP2OpenJPEG", "QUALITY": "100", "REVERSIBLE": "YES"}
        for key in ("interleave", "tiled", "nodata", "compress"):
            profile.pop(key, None)
        profile |= {"blockxsize": 64, "blockysize": 64}
        with rasterio.open(path, "w", **profile) as packed:
            packed.write(pixels)
    plain.unlink()


def safe(folder: Path, name: str, pixels: Array, scl: Array | None = None, offsets: str | None = None) -> Path:
    """Write a SAFE folder: bands of 10 m in JPEG 2000, one of them also of 20 m, the classification of 20 m."""
    images = folder / name / "GRANULE" / "L2A_T31TGJ" / "IMG_DATA"
    stem = f"T31TGJ_{name[11:26]}"
    for band, values in zip(NAMES, pixels, strict=True):
        write_jp2(images / "R10m" / f"{stem}_{band}_10m.jp2", values[None])
    write_jp2(images / "R20m" / f"{stem}_B02_20m.jp2", pixels[:1, ::2, ::2], 20)
    if scl is not None:
        write_jp2(images / "R20m" / f"{stem}_SCL_20m.jp2", scl, 20)
    if offsets is not None:
        (folder / name / "MTD_MSIL2A.xml").write_text(f"<?xml version='1.0'?><n1:Product>{offsets}</n1:Product>\n")
    return folder / name


def read(path: Path) -> Array:
    with rasterio.open(path) as dataset:
        return np.asarray(dataset.read())


def notes(path: Path) -> dict[str, Any]:
    with rasterio.open(path) as dataset:
        tags = dataset.tags()
    return {**json.loads(tags["DREAM_PARAMETERS"]), **json.loads(tags["DREAM_NOTES"])}


# --- offsets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "offset"), [(OLD, 0), (NEW, -1000)])
def test_the_baseline_in_the_name_tells_the_offset(tmp_path: Path, name: str, offset: int) -> None:
    pixels, out = stored(), tmp_path / "out" / "s2.tif"
    result = command("s2", safe(tmp_path, name, pixels), out, *GRID)
    assert result.exit_code == 0, result.output
    np.testing.assert_array_equal(read(out), reflectance(pixels, offset))
    assert notes(out)["offsets"] == [offset]
    with rasterio.open(out) as dataset:
        assert (dataset.descriptions, dataset.dtypes, dataset.nodata) == (NAMES, ("uint16",) * 4, 0)
        assert json.loads(dataset.tags()["DREAM_DATES"]) == [f"{name[11:15]}-06-01T10:30:31Z"]
    assert [entry.name for entry in out.parent.iterdir()] == ["s2.tif"]


def test_the_metadata_tell_the_offset_of_each_band(tmp_path: Path) -> None:
    values = {0: -1, 1: -1000, 2: -900, 3: -800, 7: -700, 8: -2}
    xml = "<BOA_QUANTIFICATION_VALUE unit='none'>10000</BOA_QUANTIFICATION_VALUE>" + "".join(
        f'<BOA_ADD_OFFSET band_id="{number}">{value}</BOA_ADD_OFFSET>' for number, value in values.items()
    )
    pixels, out = stored(), tmp_path / "s2.tif"
    assert command("s2", safe(tmp_path, OLD, pixels, offsets=xml), out, *GRID).exit_code == 0
    expected = np.where((pixels != 0).all(axis=0), 1, 0) * np.maximum(
        pixels.astype(int) + np.array([-1000, -900, -800, -700])[:, None, None], 1
    )
    np.testing.assert_array_equal(read(out), expected)


def test_an_offset_can_be_said(tmp_path: Path) -> None:
    pixels, out = stored(), tmp_path / "s2.tif"
    assert command("s2", safe(tmp_path, NEW, pixels), out, *GRID, "--offset", 0).exit_code == 0
    np.testing.assert_array_equal(read(out), reflectance(pixels, 0))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("</", "", "truncated"),
        (">-1000<", ">-1000.5<", "'-1000.5' is no whole number"),
        (">10000<", ">1.0.0<", "'1.0.0' is no whole number"),
        ("BOA_ADD_OFFSET", "OTHER", "no BOA_ADD_OFFSET of B02"),
    ],
)
def test_metadata_that_cannot_be_trusted(tmp_path: Path, old: str, new: str, told: str) -> None:
    pixels = stored()
    offsets = "<BOA_QUANTIFICATION_VALUE unit='none'>10000</BOA_QUANTIFICATION_VALUE>" + "".join(
        f'<BOA_ADD_OFFSET band_id="{band}">-1000</BOA_ADD_OFFSET>' for band in range(13)
    )
    folder = safe(tmp_path, NEW, pixels, offsets=f"<Product>{offsets}</Product>")
    whole = (folder / "MTD_MSIL2A.xml").read_text()
    (folder / "MTD_MSIL2A.xml").write_text(whole[: len(whole) // 2] if not new else whole.replace(old, new))
    result = command("s2", folder, tmp_path / "s2.tif", *GRID)
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    assert told in result.output


def test_an_offset_as_a_decimal(tmp_path: Path) -> None:
    offsets = "".join(f'<BOA_ADD_OFFSET band_id="{band}">-1000.0</BOA_ADD_OFFSET>' for band in range(13))
    pixels, out = stored(), tmp_path / "s2.tif"
    folder = safe(tmp_path, NEW, pixels, offsets=f"<Product>{offsets}</Product>")
    assert command("s2", folder, out, *GRID).exit_code == 0
    np.testing.assert_array_equal(read(out), reflectance(pixels, -1000))


# --- forms ------------------------------------------------------------------------------------------------------------


def test_an_export_with_named_bands(tmp_path: Path) -> None:
    pixels, out = stored(), tmp_path / "s2.tif"
    # In another order, with bands that are not asked for.
    order = [3, 0, 0, 2, 1]
    path = write(tmp_path / "export_20200601T103031.tif", pixels[order])
    with rasterio.open(path, "r+") as dataset:
        dataset.descriptions = ("B8", "B8A", "B2", "B4", "B3")
    result = command("s2", path, out, *GRID, "--offset", 0)
    assert result.exit_code == 0, result.output
    np.testing.assert_array_equal(read(out), reflectance(pixels, 0))


def test_a_folder_of_bands_warped_equals_numpy(tmp_path: Path) -> None:
    pixels, out = stored(), tmp_path / "s2.tif"
    for band, values in zip(NAMES, pixels, strict=True):
        write(tmp_path / "scene" / f"{band}.tif", values[None])
    x, y = (round(value) for value in pyproj.Transformer.from_crs(UTM, "EPSG:32632").transform(LEFT, TOP))
    box = ["--crs", "EPSG:32632", "--resolution", 8, "--bounds", x, y - 2500, x + 3000, y + 500]
    words = ["--offset", -1000, "--datetime", "2023-06-01"]
    result = command("s2", tmp_path / "scene", out, *box, *words)
    assert result.exit_code == 0, result.output
    raster = Raster.read(tmp_path / "scene" / "B02.tif")
    whole = Raster(pixels=reflectance(pixels, -1000), crs=raster.crs, transform=raster.transform, nodata=0)
    with rasterio.open(out) as dataset:
        actual, transform = dataset.read(), dataset.transform
    expected = whole.bilinear(*whole.places("EPSG:32632", transform, actual.shape[1:]), 0, "uint16")
    inner = (expected != 0).all(axis=0) & (actual != 0).all(axis=0)
    assert inner.sum() > 30_000
    gap = np.abs(actual.astype(int) - expected)[:, inner]
    assert gap.max() <= 1
    assert (gap > 0).mean() < 1e-4
    np.testing.assert_array_equal((expected != 0).all(axis=0), (actual != 0).all(axis=0))


# --- clouds and order -------------------------------------------------------------------------------------------------


def test_cloud_and_shadow_are_told_and_masked(tmp_path: Path) -> None:
    pixels, scl = stored(), classes()
    folder = safe(tmp_path, OLD, pixels, scl)
    plain, masked = tmp_path / "plain.tif", tmp_path / "masked.tif"
    # Half of the classes lie in the grid.
    half = ["--crs", UTM, "--resolution", 10, "--bounds", LEFT, TOP - 2560, LEFT + 1280, TOP]
    assert "cloud percent" in command("s2", folder, plain, *half).output
    seen = scl[0, :, :64]
    known = (seen != 0).sum()
    assert notes(plain)["cloud_percent"] == round(100 * np.isin(seen, (8, 9, 10)).sum() / known, 2)
    assert notes(plain)["shadow_percent"] == round(100 * (seen == 3).sum() / known, 2)
    assert notes(plain)["clouds_masked"] is False
    np.testing.assert_array_equal(read(plain), reflectance(pixels, 0)[:, :, :128])
    assert command("s2", folder, masked, *half, "--mask-clouds", jobs=2).exit_code == 0
    hidden = np.isin(np.kron(seen, np.ones((2, 2), dtype=np.uint8)), (3, 8, 9, 10))
    np.testing.assert_array_equal(read(masked), np.where(hidden, 0, reflectance(pixels, 0)[:, :, :128]))


def test_the_later_image_is_on_top_and_clouds_let_the_earlier_through(tmp_path: Path) -> None:
    old, new, scl = stored(1), stored(2), classes()
    early, late = safe(tmp_path, OLD, old), safe(tmp_path, NEW, new, scl)
    outs = [tmp_path / name for name in ("a.tif", "b.tif")]
    assert command("s2", late, early, outs[0], *GRID).exit_code == 0
    assert command("s2", early, late, outs[1], *GRID, jobs=2).exit_code == 0
    assert outs[0].read_bytes() == outs[1].read_bytes()
    first, second = reflectance(old, 0), reflectance(new, -1000)
    np.testing.assert_array_equal(read(outs[0]), np.where(second != 0, second, first))
    assert notes(outs[0])["offsets"] == [-1000, 0]
    assert notes(outs[0])["attribution"] == "Contains modified Copernicus Sentinel data 2020, 2023"
    assert "cloud_percent" not in notes(outs[0])


# --- what build makes of it -------------------------------------------------------------------------------------------


def test_the_modality_is_that_of_the_templates() -> None:
    for collection in template.load(template.default_folder()).collections.values():
        authored = collection.modalities["s2"]
        assert (authored.data_type, authored.nodata) == (optical.BANDS.data_type, optical.BANDS.nodata)
        assert (authored.band_names, authored.resampling) == (optical.BANDS.names, optical.RESAMPLING)
        assert authored.document["dream:attribution"] == optical.ATTRIBUTION


def test_build_copies_the_raster(tmp_path: Path) -> None:
    templates, listing, out = small_templates(tmp_path / "templates", 128), tmp_path / "s.toml", tmp_path / "s2.tif"
    listing.write_text('[[area]]\ncollection = "france"\nid = "p"\ntitle = "P"\nrequired = ["s2"]\n')
    words = ["--sources", listing, "--area", "p"]
    assert command("s2", safe(tmp_path, NEW, stored(), classes()), out, *GRID, *words).exit_code == 0
    (area,) = sources.load(listing, template.load(templates))
    assert area.sources[0].start.isoformat() == "2023-06-01T10:30:31+00:00"
    release = tmp_path / "release"
    arguments = ["build", listing, release, "--templates", templates, "--jobs", "1", "--quiet", "--no-explorer"]
    built = CliRunner().invoke(main, [*map(str, arguments)])
    assert built.exit_code == 0, built.output
    items = sorted(release.glob("france/p/*/*_y*.json"))
    assert items
    whole = read(out)
    for item in items:
        asset = json.loads(item.read_text())["assets"]["s2"]
        assert asset["dream:resampling"] == "none"
        assert asset["dream:attribution"] == "Contains modified Copernicus Sentinel data 2023"
        with rasterio.open(item.parent / "s2.tif") as dataset:
            pixels, place = dataset.read(), dataset.transform
        column, row = round((place.c - LEFT) / 10), round((TOP - place.f) / 10)
        part = whole[:, max(row, 0) : row + 128, max(column, 0) : column + 128]
        inside = pixels[:, max(-row, 0) :, max(-column, 0) :][:, : part.shape[1], : part.shape[2]]
        np.testing.assert_array_equal(inside, part)


# --- bad input --------------------------------------------------------------------------------------------------------


def _bad(kind: str, folder: Path) -> tuple[Path, list[object]]:
    pixels = stored()
    if kind in ("no bands named", "no baseline", "no time"):
        path = write(folder / ("x.tif" if kind == "no time" else "x_20200601.tif"), pixels)
        if kind != "no bands named":
            with rasterio.open(path, "r+") as dataset:
                dataset.descriptions = NAMES
        return path, [] if kind == "no baseline" else ["--offset", 0]
    if kind == "level 1C":
        (folder / OLD.replace("L2A", "L1C")).mkdir(parents=True)
        return folder / OLD.replace("L2A", "L1C"), []
    path = safe(folder, OLD, pixels, offsets="<BOA_QUANTIFICATION_VALUE>1000<" if kind == "scale" else None)
    files = sorted((path / "GRANULE").rglob("*_10m.jp2"))
    if kind == "a band missing":
        files[3].unlink()
    if kind == "truncated":
        files[1].write_bytes(files[1].read_bytes()[:20000])
    if kind == "another grid":
        write_jp2(files[2], pixels[:1, :100, :100])
    if kind == "two files":
        files[0].with_name("copy_B02_10m.jp2").write_bytes(files[0].read_bytes())
    return path, ["--mask-clouds"] if kind == "no classes" else []


BAD = {
    "no bands named": (1, "no band B02, B03, B04, B08; it has none by name"),
    "no baseline": (2, "give --offset -1000"),
    "no time": (2, "give --datetime"),
    "level 1C": (2, "level 1C"),
    "a band missing": (1, "no band B08"),
    "truncated": (1, "truncated or corrupt JPEG 2000"),
    "another grid": (1, "100 x 100 pixels of 10, not on the grid of"),
    "two files": (2, "two files of band B02"),
    "no classes": (2, "no band SCL"),
    "scale": (1, "BOA_QUANTIFICATION_VALUE is 1000"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_one_line(kind: str, tmp_path: Path) -> None:
    path, words = _bad(kind, tmp_path / "in")
    out = tmp_path / "out" / "s2.tif"
    result = command("s2", path, out, *GRID, *words)
    code, message = BAD[kind]
    assert (result.exit_code, result.stderr.count("\n")) == (code, 1), (result.output, result.exception)
    assert str(path) in result.stderr
    assert message in result.stderr
    assert not out.parent.exists() or not list(out.parent.iterdir())


# --- real bands -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_real_bands_are_copied(real_data: Path, tmp_path: Path) -> None:
    folder, out = real_data / "laos_sentinel2", tmp_path / "s2.tif"
    like = folder / "199U_1099R_B02.tif"
    result = command("s2", folder, out, "--like", like, "--offset", 0, "--datetime", "2020-02-23", jobs=2)
    assert result.exit_code == 0, result.output
    np.testing.assert_array_equal(
        read(out), np.concatenate([read(folder / f"199U_1099R_{band}.tif") for band in NAMES])
    )


@pytest.mark.slow
def test_real_export_of_another_scale_is_brought_to_that_of_the_modality(real_data: Path, tmp_path: Path) -> None:
    """Ten named bands of Wales, reflectance x 1000, of which four are taken, x 10000."""
    (path,), out = (real_data / "wales_sentinel2").glob("*.tif"), tmp_path / "s2.tif"
    words = ("--offset", 0, "--datetime", "2021-05-27", "--quantification", 1000)
    result = command("s2", path, out, "--like", path, *words, jobs=2)
    assert result.exit_code == 0, result.output
    with rasterio.open(path) as dataset:
        given = dataset.read([dataset.descriptions.index(name) + 1 for name in NAMES])
    np.testing.assert_array_equal(read(out), 10 * given)


def test_quantification_is_rounded_and_told(tmp_path: Path) -> None:
    pixels = stored()
    path, out = write(tmp_path / "S2_20200601.tif", pixels), tmp_path / "s2.tif"
    with rasterio.open(path, "r+") as dataset:
        dataset.descriptions = NAMES
    result = command("s2", path, out, *GRID, "--offset", -30, "--quantification", 3000)
    assert result.exit_code == 0, result.output
    valid = (pixels != 0).all(axis=0)
    true = np.clip(np.rint((pixels.astype(int) - 30) * 10000 / 3000), 1, 65535)
    np.testing.assert_array_equal(read(out), np.where(valid, true, 0).astype(np.uint16))
    with rasterio.open(out) as dataset:
        assert json.loads(dataset.tags()["DREAM_PARAMETERS"])["quantification"] == 3000
