"""`prepare srtm`: height tiles of planes, cones and noise held against pyproj and numpy; real tiles; bad input."""

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner, Result

from catalog_builder import sources, template
from catalog_builder.cli import main
from catalog_builder.grid import Bounds
from catalog_builder.prepare import dem
from catalog_builder.prepare.target import target_of
from tests.makers import small_templates, write_geotiff
from tests.oracles import Raster, whole_area

Array = npt.NDArray[Any]
Height = Callable[[Array, Array], Array]
"""Longitude, latitude -> metres."""

UTM = "EPSG:32632"
LEFT, TOP = 263000.0, 4989000.0
"""A corner of the grid in UTM, 1.1 km west of 6 east and 2 km north of 45 north, where four tiles meet."""
VOID = -32768


def command(*arguments: object, jobs: int = 1) -> Result:
    words = ["prepare", *map(str, arguments), "--jobs", str(jobs), "--quiet"]
    return CliRunner().invoke(main, words)


def grid(size: int = 400, resolution: float = 10.0, left: float = LEFT, top: float = TOP) -> list[object]:
    reach = size * resolution
    return ["--crs", UTM, "--resolution", resolution, "--bounds", left, top - reach, left + reach, top]


def posts(latitude: int, longitude: int, side: int) -> tuple[Array, Array]:
    """Longitude and latitude of the values of a tile, north first."""
    steps = np.linspace(0, 1, side)
    return tuple(np.meshgrid(longitude + steps, latitude + 1 - steps))  # type: ignore[return-value]


def tile_name(latitude: int, longitude: int) -> str:
    return f"{'N' if latitude >= 0 else 'S'}{abs(latitude):02d}{'E' if longitude >= 0 else 'W'}{abs(longitude):03d}.hgt"


def write_values(folder: Path, latitude: int, longitude: int, values: Array) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / tile_name(latitude, longitude)
    path.write_bytes(np.asarray(values).astype(">i2").tobytes())
    return path


def write_tile(folder: Path, latitude: int, longitude: int, height: Height, side: int = 1201) -> Path:
    return write_values(folder, latitude, longitude, np.rint(height(*posts(latitude, longitude, side))))


def zipped(path: Path, archive: Path) -> Path:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        packed.write(path, path.name)
        packed.writestr("README.txt", "not a tile")
    return archive


def plane(longitude: Array, latitude: Array) -> Array:
    """Whole metres on every arc second, rising 1 m each second eastward and falling 1 m each northward."""
    return np.asarray(20000 + 3600 * (longitude - 6) - 3600 * (latitude - 45), dtype=np.float64)


def gentle(longitude: Array, latitude: Array) -> Array:
    """As ``plane``, 1 m each 3 seconds."""
    return np.asarray(3000 + 1200 * (longitude - 6) - 1200 * (latitude - 45), dtype=np.float64)


def cone(longitude: Array, latitude: Array, tip: tuple[float, float]) -> Array:
    """A mountain of 25 % around a place in UTM, with flat ground 10 km away."""
    values = np.zeros(longitude.shape)
    x, y = degrees(np.array(tip[0]), np.array(tip[1]))
    near = (np.abs(longitude - x) < 0.1) & (np.abs(latitude - y) < 0.1)
    east, north = pyproj.Transformer.from_crs("EPSG:4326", UTM, always_xy=True).transform(
        longitude[near], latitude[near]
    )
    values[near] = 5000 - 0.25 * np.hypot(east - tip[0], north - tip[1])
    return values


def read(path: Path) -> tuple[Array, Affine]:
    with rasterio.open(path) as dataset:
        return dataset.read(1), dataset.transform


def centres(shape: tuple[int, ...], transform: Affine) -> tuple[Array, Array]:
    columns, rows = np.meshgrid(np.arange(shape[1]) + 0.5, np.arange(shape[0]) + 0.5)
    return transform.c + transform.a * columns, transform.f + transform.e * rows


def degrees(x: Array, y: Array, crs: str = UTM) -> tuple[Array, Array]:
    moved = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(x, y)
    return np.asarray(moved[0]), np.asarray(moved[1])


def four(folder: Path, height: Height, side: int = 1201) -> list[Path]:
    return [write_tile(folder, latitude, longitude, height, side) for latitude in (44, 45) for longitude in (5, 6)]


FULL_DISK = """
import resource, signal, sys
from catalog_builder.cli import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
main(sys.argv[2:])
"""


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_disk_that_fills_up_leaves_nothing(tmp_path: Path, share: float) -> None:
    """Also where the last blocks are lost on closing, of which rasterio does not tell."""
    tile = write_tile(tmp_path / "tiles", 45, 6, gentle)
    whole, out = tmp_path / "whole" / "srtm.tif", tmp_path / "out" / "srtm.tif"
    words = [tile, *grid(300, left=LEFT + 3000, top=TOP)]
    assert command("srtm", words[0], whole, *words[1:]).exit_code == 0
    limit = int(whole.stat().st_size * share)
    arguments = ["prepare", "srtm", words[0], out, *words[1:], "--jobs", 1, "--quiet"]
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(limit), *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert f"{out}: cannot write: " in done.stderr.splitlines()[-1]
    assert not list(out.parent.iterdir())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["EPSG:4326", 30, 6, 45, 6.1, 45.1], "are they metres?"),
        (["EPSG:4326", 0.001, 263000, 4980000, 273000, 4989000], "are they metres?"),
        (["EPSG:5773", 10, 0, 0, 100, 100], "no CRS of maps"),
        ([UTM, "1e-310", 0, 0, "1e9", "1e9"], "too small"),
    ],
)
def test_a_grid_in_other_units(tmp_path: Path, words: list[object], told: str) -> None:
    tile = write_tile(tmp_path, 45, 6, gentle)
    crs, resolution, *box = words
    result = command("srtm", tile, tmp_path / "o.tif", "--crs", crs, "--resolution", resolution, "--bounds", *box)
    assert (result.exit_code, result.output.count("\n")) == (2, 1)
    assert told in result.output


@pytest.mark.parametrize(("size", "count"), [(0.6, 1000), (0.1, 400), (1 / 3600, 720)])
def test_a_box_on_whole_pixels_is_not_made_larger(size: float, count: int) -> None:
    for start in (0, 3, 7, 809_834):
        box = Bounds(start * size, start * size, (start + count) * size, (start + count) * size)
        assert target_of("EPSG:32614", size, box).shape == (count, count)


def test_a_listing_that_cannot_be_written_is_told_first(tmp_path: Path) -> None:
    tile, listing = write_tile(tmp_path, 45, 6, gentle), tmp_path / "sources.toml"
    words = ("srtm", tile, tmp_path / "o.tif", *grid(), "--sources", listing, "--area", "here")
    assert "has no area 'here'" in command(*words).output
    listing.write_text('[[area]]\nid = "here"\nsource = [{asset = "s2", href = "x.tif"}]\n')
    before = listing.read_text()
    assert "write [[area.source]]" in command(*words).output
    assert listing.read_text() == before
    assert not (tmp_path / "o.tif").exists()


def test_a_name_with_letters_of_patterns_is_listed_as_it_is(tmp_path: Path) -> None:
    tile, out = write_tile(tmp_path, 45, 6, gentle), tmp_path / "srtm[1].tif"
    listed = ("--sources", tmp_path / "sources.toml", "--area", "here", "--collection", "france", "--title", "Here")
    assert command("srtm", tile, out, *grid(), *listed).exit_code == 0
    text = (tmp_path / "sources.toml").read_text()
    (tmp_path / "sources.toml").write_text(text.replace("[[area]]", '[[area]]\nrequired = ["srtm"]'))
    (area,) = sources.load(tmp_path / "sources.toml", template.load(template.default_folder()))
    assert area.sources[0].paths == (out.resolve(),)


def hold_plane(path: Path, height: Height) -> None:
    """Every pixel is the plane at its centre, rounded; a half may go either way."""
    pixels, transform = read(path)
    true = height(*degrees(*centres(pixels.shape, transform)))
    assert (pixels != VOID).all()
    assert np.abs(pixels - true).max() <= 0.5 + 1e-4


def only(folder: Path, *names: str) -> None:
    """Nothing else lies in the folder: no partial, no scratch."""
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)


# --- pixels -----------------------------------------------------------------------------------------------------------


def test_a_plane_over_four_degree_tiles_has_no_seam(tmp_path: Path) -> None:
    tiles = four(tmp_path / "tiles", gentle)
    out = tmp_path / "out" / "srtm.tif"
    result = command("srtm", *tiles, out, *grid())
    assert result.exit_code == 0, result.output
    hold_plane(out, gentle)
    with rasterio.open(out) as dataset:
        assert (dataset.dtypes, dataset.nodata, dataset.descriptions) == (("int16",), VOID, ("elevation",))
        assert dataset.units == ("m",)
        assert dataset.crs.to_string() == UTM
        assert dataset.transform == Affine(10, 0, LEFT, 0, -10, TOP)
    only(out.parent, "srtm.tif")


@pytest.mark.parametrize(
    ("side", "tip", "corners"),
    [
        (1201, (LEFT + 2000, TOP - 2000), ((44, 5), (44, 6), (45, 5), (45, 6))),
        (3601, (LEFT + 30000, TOP + 10000), ((45, 6),)),
    ],
)
def test_the_place_of_a_cone_is_true_to_a_twentieth_of_a_pixel(
    tmp_path: Path, side: int, tip: tuple[float, float], corners: Sequence[tuple[int, int]]
) -> None:
    tiles = [write_tile(tmp_path, *corner, partial(cone, tip=tip), side) for corner in corners]
    out = tmp_path / "srtm.tif"
    assert command("srtm", *tiles, out, *grid(400, 10, tip[0] - 2000, tip[1] + 2000)).exit_code == 0
    pixels, transform = read(out)
    x, y = centres(pixels.shape, transform)
    east, north = x - tip[0], y - tip[1]
    far = np.hypot(east, north)
    # Near its tip no raster can show a cone.
    kept = (pixels != VOID) & (far > 400)
    assert kept.sum() > 20_000
    slopes = np.stack([0.25 * east[kept] / far[kept], 0.25 * north[kept] / far[kept], np.ones(kept.sum())], axis=1)
    shift = np.linalg.lstsq(slopes, (pixels - (5000 - 0.25 * far))[kept], rcond=None)[0]
    print(f"SRTM{3600 // (side - 1)}: shift {shift[0] / 10:.4f}, {shift[1] / 10:.4f} pixels, {shift[2]:.4f} m up")
    assert np.abs(shift[:2]).max() < 0.05 * 10
    # Between values 90 m apart the cone's curve is cut off.
    assert abs(shift[2]) < 0.15


def joined_noise(seed: int) -> tuple[Array, list[tuple[int, int, Array]]]:
    """Rough ground with voids over four tiles: as one array, and as what each tile holds of it."""
    rng = np.random.default_rng(seed)
    joined = np.rint(rng.uniform(-300, 3000, size=(2401, 2401)))
    joined[rng.random(joined.shape) < 0.02] = VOID
    joined[1150:1180, 1190:1230] = VOID
    parts = [(45 - row, 5 + column, row * 1200, column * 1200) for row in (0, 1) for column in (0, 1)]
    return joined, [(lat, lon, joined[top : top + 1201, left : left + 1201]) for lat, lon, top, left in parts]


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> tuple[Array, list[Path]]:
    joined, parts = joined_noise(1)
    folder = tmp_path_factory.mktemp("noise")
    return joined, [write_values(folder, lat, lon, values) for lat, lon, values in parts]


JOINED = Affine(1 / 1200, 0, 5 - 1 / 2400, 0, -1 / 1200, 46 + 1 / 2400)


@pytest.mark.parametrize("resolution", [10.0, 37.0])
def test_rough_ground_with_voids_equals_numpy(
    noise: tuple[Array, list[Path]], tmp_path: Path, resolution: float
) -> None:
    joined, tiles = noise
    out = tmp_path / "srtm.tif"
    # More than one block, and one that is not whole.
    assert command("srtm", *tiles, out, *grid(530, resolution, LEFT - 2000, TOP + 3000)).exit_code == 0
    pixels, transform = read(out)
    raster = Raster(pixels=joined[None], crs="EPSG:4326", transform=JOINED, nodata=VOID)
    expected = raster.bilinear(*raster.places(UTM, transform, pixels.shape), VOID, "int16")
    np.testing.assert_array_equal(pixels == VOID, expected[0] == VOID)
    assert np.abs(pixels.astype(int) - expected[0]).max() <= 1
    assert (pixels != expected[0]).mean() < 1e-5


def test_voids_inside_the_grid_are_counted_once(noise: tuple[Array, list[Path]], tmp_path: Path) -> None:
    joined, tiles = noise
    out = tmp_path / "srtm.tif"
    result = command("srtm", *tiles, out, *grid())
    longitude, latitude = np.meshgrid(5 + np.arange(2401) / 1200, 46 - np.arange(2401) / 1200)
    x, y = pyproj.Transformer.from_crs("EPSG:4326", UTM, always_xy=True).transform(longitude, latitude)
    within = (x > LEFT) & (x < LEFT + 4000) & (y > TOP - 4000) & (y < TOP)
    voids = int((within & (joined == VOID)).sum())
    assert voids > 20
    assert f"void pixels: {voids}\n" in result.output
    with rasterio.open(out) as dataset:
        assert json.loads(dataset.tags()["DREAM_NOTES"])["void_pixels"] == voids


def test_a_value_that_one_of_two_tiles_has_is_no_void(tmp_path: Path) -> None:
    west = np.full((1201, 1201), 100)
    east = west.copy()
    west[100, 1200] = VOID
    west[101, 1200] = east[101, 0] = VOID
    tiles = [write_values(tmp_path, 45, 5, west), write_values(tmp_path, 45, 6, east)]
    out = tmp_path / "srtm.tif"
    box = ["--crs", "EPSG:4326", "--resolution", 1 / 1200, "--bounds", 5.98, 45.9, 6.02, 45.95]
    assert "void pixels: 1\n" in command("srtm", *tiles, out, *box).output


def test_ground_without_a_tile_is_no_void(tmp_path: Path) -> None:
    flat = np.full((1201, 1201), 100)
    tiles = [write_values(tmp_path, 44, 5, flat), write_values(tmp_path, 45, 6, flat)]
    out = tmp_path / "srtm.tif"
    assert "void pixels: 0\n" in command("srtm", *tiles, out, *grid()).output
    assert set(np.unique(read(out)[0])) == {VOID, 100}


def test_the_finer_tile_is_on_top(tmp_path: Path) -> None:
    tiles = [
        write_values(tmp_path, 45, 5, np.full((1201, 1201), 900)),
        write_values(tmp_path, 45, 6, np.full((3601, 3601), 100)),
    ]
    out = tmp_path / "srtm.tif"
    assert command("srtm", *tiles, out, *grid(100, 10, LEFT + 100, TOP)).exit_code == 0
    pixels, transform = read(out)
    # Its first values stand on the degree line, so their pixels begin half a second before it.
    longitude, _ = degrees(*centres(pixels.shape, transform))
    np.testing.assert_array_equal(pixels, np.where(longitude > 6 - 0.5 / 3600, 100, 900))


def test_spacings_and_archives_mix(tmp_path: Path) -> None:
    fine = write_tile(tmp_path / "tiles", 45, 6, gentle, 3601)
    tiles = [
        zipped(fine, tmp_path / "N45E006.SRTMGL1.hgt.zip"),
        *(write_tile(tmp_path / "tiles", *corner, gentle) for corner in ((44, 5), (44, 6), (45, 5))),
    ]
    out = tmp_path / "out" / "srtm.tif"
    result = command("srtm", *tiles, out, *grid())
    assert result.exit_code == 0, result.output
    assert "arc seconds: 1, 3" in result.output
    pixels, transform = read(out)
    true = gentle(*degrees(*centres(pixels.shape, transform)))
    # Values of 1 arc second are themselves rounded.
    assert np.abs(pixels - true).max() <= 1.0
    with rasterio.open(out) as dataset:
        tags = dataset.tags()
    assert "N45E006.hgt (N45E006.SRTMGL1.hgt.zip)" in json.loads(tags["DREAM_INPUTS"])
    only(out.parent, "srtm.tif")
    again = tmp_path / "again.tif"
    assert command("srtm", *reversed(tiles), again, *grid(), jobs=2).exit_code == 0
    assert again.read_bytes() == out.read_bytes()


def test_one_and_two_processes_write_the_same_bytes(noise: tuple[Array, list[Path]], tmp_path: Path) -> None:
    outs = [tmp_path / f"{jobs}.tif" for jobs in (1, 2)]
    for jobs, out in zip((1, 2), outs, strict=True):
        assert command("srtm", *noise[1], out, *grid(600), jobs=jobs).exit_code == 0
    assert outs[0].read_bytes() == outs[1].read_bytes()


def test_tiles_that_do_not_matter_are_left_out(noise: tuple[Array, list[Path]], tmp_path: Path) -> None:
    far = write_tile(tmp_path / "far", 10, 10, gentle)
    outs = [tmp_path / "a.tif", tmp_path / "b.tif"]
    box = grid(50, left=LEFT - 20000)
    assert "1 input\n" in command("srtm", *noise[1][:1], outs[0], *box).output
    assert "1 input\n" in command("srtm", noise[1][1], noise[1][0], far, outs[1], *box).output
    assert outs[0].read_bytes() == outs[1].read_bytes()


def test_the_grid_of_an_image_is_taken(noise: tuple[Array, list[Path]], tmp_path: Path) -> None:
    like = write_geotiff(tmp_path / "like.tif", np.ones((1, 40, 30), "uint8"), corner=(LEFT + 3, TOP - 7), crs=UTM)
    out = tmp_path / "srtm.tif"
    assert command("srtm", *noise[1], out, "--like", like).exit_code == 0
    pixels, transform = read(out)
    assert (pixels.shape, transform) == ((40, 30), Affine(10, 0, LEFT + 3, 0, -10, TOP - 7))


# --- what build makes of it -------------------------------------------------------------------------------------------


def test_the_modality_is_that_of_the_templates() -> None:
    for collection in template.load(template.default_folder()).collections.values():
        authored = collection.modalities["srtm"]
        assert (authored.data_type, authored.nodata) == (dem.BANDS.data_type, dem.BANDS.nodata)
        assert (authored.band_names, authored.resampling) == (dem.BANDS.names, dem.RESAMPLING)
        assert authored.document["dream:attribution"] == dem.ATTRIBUTION
        assert authored.bands[0]["unit"] == dem.BANDS.unit


def test_build_copies_the_raster(noise: tuple[Array, list[Path]], tmp_path: Path) -> None:
    templates, listing, out = (
        small_templates(tmp_path / "templates", 128),
        tmp_path / "sources.toml",
        tmp_path / "d.tif",
    )
    listing.write_text(
        '# mine\n[[area]]\ncollection = "france"\nid = "alps"\ntitle = "Alps"\n'
        'required = ["srtm"]\ncrs = "EPSG:32632"\n'
    )
    left, top = 206 * 1280, 3898 * 1280
    result = command("srtm", *noise[1], out, *grid(256, 10, left, top), "--sources", listing, "--area", "alps")
    assert result.exit_code == 0, result.output
    (area,) = sources.load(listing, template.load(templates))
    assert (area.sources[0].start, area.sources[0].end) == dem.FLIGHT
    release = tmp_path / "release"
    arguments = ["build", listing, release, "--templates", templates, "--jobs", "1", "--quiet", "--no-explorer"]
    assert CliRunner().invoke(main, [*map(str, arguments)]).exit_code == 0
    items = sorted(release.glob("france/alps/*/*_y*.json"))
    assert len(items) == 4
    whole, transform = read(out)
    for item in items:
        asset = json.loads(item.read_text())["assets"]["srtm"]
        assert asset["dream:resampling"] == "none"
        assert asset["dream:attribution"] == dem.ATTRIBUTION
        assert asset["dream:void_pixels"] > 0
        assert "N45E005.hgt" in asset["processing:lineage"]
        pixels, place = read(item.parent / "srtm.tif")
        column, row = ~transform @ (place.c, place.f)
        part = whole[round(row) : round(row) + 128, round(column) : round(column) + 128]
        np.testing.assert_array_equal(pixels, part)


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_values(tmp_path_factory.mktemp("flat"), 45, 6, np.zeros((1201, 1201)))


def _bad(kind: str, flat: Path, folder: Path) -> Path:
    folder.mkdir()
    content = flat.read_bytes()
    if kind in ("truncated.zip", "empty.zip", "folder.zip", "short.zip", "damaged.zip"):
        path = folder / kind
        name = "a/../N45E006.hgt" if kind == "folder.zip" else "N45E006.hgt"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            if kind != "empty.zip":
                archive.writestr(name, content[:1000] if kind == "short.zip" else content)
        data = bytearray(path.read_bytes())
        if kind == "truncated.zip":
            del data[len(data) // 2 :]
        if kind == "damaged.zip":
            data[5000] ^= 0xFF
        path.write_bytes(data)
        return path
    path = folder / kind
    if kind == "N45E006.hgt":
        path.write_bytes(content[:-100])
    elif kind == "N01E001.hgt" or kind.endswith((".hgt", ".tif")):
        path.write_bytes(content)
    return path


BAD = {
    "srtm.hgt": (2, "no name of an SRTM tile"),
    "N95E006.hgt": (2, "off the Earth"),
    "N45E006.hgt": (1, "2,884,702 bytes; a tile has 2,884,802 (SRTM3) or 25,934,402 (SRTM1)"),
    "N01E001.hgt": (1, "does not meet the grid"),
    "image.tif": (2, "no name of an SRTM tile"),
    "missing": (2, "no such file"),
    "truncated.zip": (1, "truncated or corrupt archive"),
    "damaged.zip": (1, "truncated or corrupt archive: Bad CRC-32"),
    "empty.zip": (1, "holds no tile such as N44E005.hgt at its top, but nothing"),
    "folder.zip": (1, "but a/../N45E006.hgt"),
    "short.zip": (1, "N45E006.hgt: 1,000 bytes"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_one_line(kind: str, flat: Path, tmp_path: Path) -> None:
    path = _bad(kind, flat, tmp_path / "in")
    out = tmp_path / "out" / "srtm.tif"
    result = command("srtm", path, out, *grid())
    code, words = BAD[kind]
    assert result.exit_code == code, result.output
    assert result.stderr.count("\n") == 1
    assert str(path) in result.stderr
    assert words in result.stderr
    assert not list(tmp_path.rglob("*.partial"))
    assert not out.parent.exists() or not list(out.parent.iterdir())


def test_bad_words_are_one_line(flat: Path, tmp_path: Path) -> None:
    out = tmp_path / "srtm.tif"
    other = write_values(tmp_path / "other", 45, 6, np.zeros((1201, 1201)))
    foreign = write_geotiff(tmp_path / "foreign.tif", np.ones((1, 4, 4), "uint8"))
    before = foreign.read_bytes()
    cases: list[tuple[list[object], str]] = [
        ([flat, out], "name the grid of the output"),
        ([flat, other, out, *grid()], "was given twice"),
        ([flat, flat, *grid()], "let its name end in .tif"),
        ([flat, foreign, *grid()], "no `prepare` made it"),
        ([flat, out, *grid(), "--area", "alps"], "--sources and --area go together"),
    ]
    for words, message in cases:
        result = command("srtm", *words)
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1), result.output
        assert message in result.stderr
    assert foreign.read_bytes() == before
    only(tmp_path, "foreign.tif", "other")


def test_both_sides_of_the_antimeridian_are_refused(tmp_path: Path) -> None:
    zero = np.zeros((1201, 1201))
    tiles = [write_values(tmp_path / "in", -17, longitude, zero) for longitude in (179, -180)]
    box = ["--crs", "EPSG:32701", "--resolution", 30, "--bounds", 160000, 8190000, 200000, 8200000]
    assert "both sides of 180 degrees" in command("srtm", *tiles, tmp_path / "x.tif", *box).stderr


# --- real tiles -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "crs", "box", "voids_in_box"),
    [
        ("N44E005", "EPSG:32631", (680000, 4890000, 690000, 4900000), 0),
        ("N42E001", "EPSG:32631", (370000, 4690000, 400000, 4720000), None),
    ],
)
def test_real_tiles_equal_numpy(
    real_data: Path, tmp_path: Path, name: str, crs: str, box: tuple[int, ...], voids_in_box: int | None
) -> None:
    path, out = real_data / "france_dem" / f"{name}.hgt", tmp_path / "srtm.tif"
    result = command("srtm", path, out, "--crs", crs, "--resolution", 10, "--bounds", *box)
    assert result.exit_code == 0, result.output
    pixels, transform = read(out)
    raster = Raster.read(path)
    expected = raster.bilinear(*raster.places(crs, transform, pixels.shape), VOID, "int16")[0]
    np.testing.assert_array_equal(pixels == VOID, expected == VOID)
    assert (pixels != expected).mean() < 1e-5
    modality = template.load(template.default_folder()).collections["france"].modalities["srtm"]
    with whole_area(path, modality, crs, transform, pixels.shape) as warped:
        np.testing.assert_array_equal(pixels, warped.read(1))
    if voids_in_box is not None:
        assert f"void pixels: {voids_in_box}\n" in result.output
