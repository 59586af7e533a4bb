"""The synthetic rasters: the same every time, honest in their headers, and all of one landscape."""

import hashlib
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import rasterio.warp

from catalog_builder.synthetic import AREAS, sources_toml, write_synthetic_sources
from catalog_builder.synthetic.sensors import LOOKS_S1, LOOKS_UAVSAR

SIZE = 256
PROMISED = {
    "s1": ("float32", ("VV", "VH"), np.nan),
    "s1_mean": ("float32", ("VV", "VH"), np.nan),
    "s2": ("uint16", ("B02", "B03", "B04", "B08"), 0),
    "srtm": ("int16", ("elevation",), -32768),
    "osm": ("uint8", ("class",), 255),
    "uavsar_1": ("float32", ("HH-VV", "HV", "HH+VV"), np.nan),
    "uavsar_2": ("float32", ("HH-VV", "HV", "HH+VV"), np.nan),
    "uavsar_3": ("float32", ("HH-VV", "HV", "HH+VV"), np.nan),
    "naip": ("uint8", ("red", "green", "blue"), 0),
}
FOREST, WATER, RESIDENTIAL = (1,), (4, 5), (6, 8)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic_sources(tmp_path_factory.mktemp("synthetic"), size=SIZE)


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def pixels(sources: Path, area: str, asset: str) -> npt.NDArray[Any]:
    with rasterio.open(sources.parent / area / f"{asset}.tif") as file:
        return np.asarray(file.read())


def where(sources: Path, area: str, classes: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    found = np.isin(pixels(sources, area, "osm")[0], classes)
    assert found.sum() > 100, f"{area} has too little of {classes}"
    return found


def test_same_bytes_again(sources: Path, tmp_path: Path) -> None:
    write_synthetic_sources(tmp_path, size=SIZE)
    assert digests(tmp_path) == digests(sources.parent)


def test_only_the_promised_files(sources: Path) -> None:
    expected = {f"{area.id}/{source.asset}.tif" for area in AREAS for source in area.sources}
    assert set(digests(sources.parent)) == expected | {"sources.toml"}


def test_second_run_finds_nothing_to_do(sources: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in sources.parent.rglob("*")}
    lines: list[str] = []
    assert write_synthetic_sources(sources.parent, lines.append, size=SIZE) == sources
    assert {path: path.stat().st_mtime_ns for path in sources.parent.rglob("*")} == before
    assert len(lines) == 1


def test_interrupted_set_is_made_anew(tmp_path: Path) -> None:
    listing = write_synthetic_sources(tmp_path, size=128)
    before = digests(tmp_path)
    (tmp_path / "beauce" / "s2.tif").unlink()
    assert write_synthetic_sources(tmp_path, size=128) == listing
    assert digests(tmp_path) == before


def test_sources_toml_names_every_raster(sources: Path) -> None:
    text = sources.read_text(encoding="utf-8")
    assert text.startswith("# SYNTHETIC")
    assert text == sources_toml(SIZE)
    areas = tomllib.loads(text)["area"]
    assert [area["collection"] for area in areas] == ["france", "france", "usa", "usa"]
    for area in areas:
        assert area["title"].startswith("Synthetic")
        for source in area["source"]:
            assert (sources.parent / source["href"]).is_file()
            assert source["properties"]["dream:synthetic"] is True
            first, last = source.get("datetime"), source.get("end_datetime")
            assert (first or source["start_datetime"]).tzinfo is not None
            assert last is None or source["start_datetime"] < last


@pytest.mark.parametrize("area", AREAS, ids=lambda area: area.id)
def test_headers(sources: Path, area: Any) -> None:
    for source in area.sources:
        dtype, bands, nodata = PROMISED[source.asset]
        with rasterio.open(sources.parent / area.id / f"{source.asset}.tif") as file:
            assert (file.dtypes, file.descriptions) == ((dtype,) * len(bands), bands)
            np.testing.assert_equal(file.nodata, nodata)
            assert "Synthetic" in file.tags()["TIFFTAG_IMAGEDESCRIPTION"]
            if source.asset == "srtm":
                assert file.crs.to_epsg() == 4326
            else:
                assert file.crs.to_string() == area.crs
                assert file.shape == (SIZE, SIZE)
                assert (file.transform.c, file.transform.f) == area.corner


def test_france_lies_on_the_global_grid() -> None:
    for area in AREAS:
        if area.collection == "france":
            assert [value % 10240 for value in area.corner] == [0, 0]


@pytest.mark.parametrize("area", AREAS, ids=lambda area: area.id)
def test_required_modalities_are_valid_in_every_tile(sources: Path, area: Any) -> None:
    half = SIZE // 2
    for asset in {source.asset for source in area.sources} - {"srtm", "uavsar_2", "uavsar_3"}:
        with rasterio.open(sources.parent / area.id / f"{asset}.tif") as file:
            valid = file.read_masks(1) > 0
        tiles = valid.reshape(2, half, 2, half).mean(axis=(1, 3))
        assert tiles.min() > 0.4, asset


def test_swaths_have_edges(sources: Path) -> None:
    for area, asset in (("ventoux", "s1"), ("cape_fear", "uavsar_2"), ("cape_fear", "uavsar_3")):
        assert 0.01 < np.isnan(pixels(sources, area, asset)).mean() < 0.6


def test_elevation_covers_the_area(sources: Path) -> None:
    for area in AREAS:
        with rasterio.open(sources.parent / area.id / "srtm.tif") as srtm:
            side = SIZE * area.pixel
            steps = np.linspace(0, 1, 9)
            xs, ys = np.meshgrid(area.corner[0] + side * steps, area.corner[1] - side * steps)
            lon, lat = rasterio.warp.transform(area.crs, "EPSG:4326", xs.ravel(), ys.ravel())
            heights = np.array(list(srtm.sample(zip(lon, lat, strict=True))))
        assert heights.min() > -100


@pytest.mark.parametrize("area", [area.id for area in AREAS])
def test_all_modalities_see_one_landscape(sources: Path, area: str) -> None:
    water, town = where(sources, area, WATER), where(sources, area, RESIDENTIAL)
    forest = where(sources, area, FOREST)
    s2 = pixels(sources, area, "s2").astype(float)
    ndvi = (s2[3] - s2[2]) / (s2[3] + s2[2])
    assert np.median(ndvi[forest]) > 0.5 > 0 > np.median(ndvi[water])
    vv = pixels(sources, area, "s1")[0]
    assert np.nanmedian(vv[water]) + 8 < np.nanmedian(vv[town])
    if (sources.parent / area / "uavsar_1.tif").exists():
        hv = pixels(sources, area, "uavsar_1")[1]
        assert np.nanmedian(hv[water]) * 5 < np.nanmedian(hv[forest])
        naip = pixels(sources, area, "naip").mean(axis=0)
        assert np.median(naip[forest]) < np.median(naip[town])


def looks(power: npt.NDArray[Any]) -> float:
    """Equivalent number of looks: mean squared over variance of the linear power of even ground."""
    power = power[np.isfinite(power)].astype(np.float64)
    return float(power.mean() ** 2 / power.var())


def test_speckle_has_its_number_of_looks(sources: Path) -> None:
    river = where(sources, "beauce", (5,))  # level and without texture: all that varies is the speckle
    assert looks(10 ** (pixels(sources, "beauce", "s1")[0][river] / 10)) == pytest.approx(LOOKS_S1, rel=0.2)
    mean = looks(10 ** (pixels(sources, "beauce", "s1_mean")[0][river] / 10))
    assert mean == pytest.approx(30 * LOOKS_S1, rel=0.3)
    river = where(sources, "cape_fear", (5,))
    amplitude = pixels(sources, "cape_fear", "uavsar_3")[2][river]
    assert looks(amplitude**2) == pytest.approx(LOOKS_UAVSAR, rel=0.4)
