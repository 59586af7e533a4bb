"""`prepare pauli`: known scatterers and places, told by 2 x 2 matrices and by pyproj, through GRD files to pixels."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj
import pytest
import rasterio
from click.testing import CliRunner, Result
from rasterio.windows import Window

from catalog_builder.cli import main
from catalog_builder.grid import Bounds
from catalog_builder.prepare import uavsar
from catalog_builder.prepare.annotation import read_annotation
from catalog_builder.prepare.target import target_like, target_of
from tests.builds import run as build
from tests.makers import TILE, area, small_templates

Array = npt.NDArray[Any]
Products = dict[str, Array]

STEP = 5.556e-5
"""Degrees of a GRD pixel: 6.2 m north, and 5.0 m east at 36 degrees."""
CRS = "EPSG:32617"
CENTRE = (-81.05, 36.02)
"""Longitude, latitude near the middle of zone 17, so that footprints are hardly turned."""
LANGLEY = "lngley_05521_09059_000_090813_L090_CX_01"


@dataclass(frozen=True, kw_only=True)
class Flight:
    """A GRD product to be written; ``changes`` of keys in its annotation, None to leave one out."""

    products: Products
    granule: str = LANGLEY
    heading: float = 55.25
    corner: tuple[float, float] = CENTRE
    """Longitude, latitude of the centre of the upper-left pixel."""
    changes: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        return self.products["HHHH"].shape[0], self.products["HHHH"].shape[1]

    def name(self, channel: str) -> str:
        return self.granule.replace("_L090_", f"_L090{channel}_") + ".grd"

    def write(self, folder: Path) -> Path:
        """Write all files, and give the annotation."""
        folder.mkdir(parents=True, exist_ok=True)
        for channel, values in self.products.items():
            values.astype("<c8" if channel == "HHVV" else "<f4").tofile(folder / self.name(channel))
        path = folder / f"{self.granule}.ann"
        path.write_text("\n".join(self._lines()) + "\n")
        return path

    def _lines(self) -> list[str]:
        rows, columns = self.shape
        values: dict[str, str | None] = {
            "Site Description (&)": "Langley, VA",
            **{f"grd{name} (&)": self.name(name) for name in ("HHHH", "HVHV", "VVVV", "HHHV", "HHVV", "HVVV")},
            "Acquisition Mode (&)": "PolSAR",
            "Start Time of Acquisition (&)": "13-Aug-2009 15:24:50 UTC",
            "Stop Time of Acquisition (&)": "13-Aug-2009 15:31:07 UTC",
            "val_endi (&)": "LITTLE ENDIAN",
            "set_phdg (deg)": f"{self.heading}",
            "grd_pwr.val_size (bytes)": "4",
            "grd_mag.val_size (bytes)": "8",
        }
        for layer in ("grd_pwr", "grd_mag"):
            values[f"{layer}.set_rows (pixels)"] = str(rows)
            values[f"{layer}.set_cols (pixels)"] = str(columns)
            values[f"{layer}.row_addr (deg)"] = repr(self.corner[1])
            values[f"{layer}.col_addr (deg)"] = repr(self.corner[0])
            values[f"{layer}.row_mult (deg/pixel)"] = repr(-STEP)
            values[f"{layer}.col_mult (deg/pixel)"] = repr(STEP)
        short = {key.partition(" (")[0]: key for key in values}
        for key, value in self.changes.items():
            values[short.get(key, key)] = value
        lines = [f"{key:<45} = {value} ; a comment = no value" for key, value in values.items() if value is not None]
        return [f"; Parameter file for {self.granule}", "", *lines]

    def places(self) -> tuple[Array, Array]:
        """Longitude, latitude of the centres of the GRD pixels."""
        columns, rows = np.meshgrid(np.arange(self.shape[1]), np.arange(self.shape[0]))
        return self.corner[0] + columns * STEP, self.corner[1] - rows * STEP

    def size(self, path: Path, channel: str) -> int:
        return (path.parent / self.name(channel)).stat().st_size


def of_matrices(matrices: Array) -> Products:
    """Cross products of scattering matrices (..., looks, 2, 2), [[HH, HV], [VH, VV]], averaged over looks."""
    hh, hv, vv = matrices[..., 0, 0], matrices[..., 0, 1], matrices[..., 1, 1]
    pairs = {"HHHH": (hh, hh), "HVHV": (hv, hv), "VVVV": (vv, vv), "HHVV": (hh, vv)}
    means = {name: (one * other.conj()).mean(axis=-1) for name, (one, other) in pairs.items()}
    means = {name: np.where(abs(mean) < 1e-15, 0, mean) for name, mean in means.items()}  # a cosine of 45 degrees
    return {name: mean if name == "HHVV" else mean.real for name, mean in means.items()}


def turned(matrix: Array, angle: Array) -> Array:
    """Scattering matrices of a reflector turned around the line of sight by angles in radians: R S R^T."""
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.stack([np.stack([cos, -sin], axis=-1), np.stack([sin, cos], axis=-1)], axis=-2)
    return np.asarray(turn @ matrix.astype(complex) @ np.swapaxes(turn, -1, -2))


TRIHEDRAL, DIHEDRAL, DIPOLE = np.diag([1.0, 1.0]), np.diag([1.0, -1.0]), np.diag([1.0, 0.0])


def even(products: Products, shape: tuple[int, int]) -> Products:
    """The same products in every pixel."""
    return {name: np.full(shape, value) for name, value in products.items()}


def speckled(shape: tuple[int, int], seed: int = 0, looks: int = 4) -> Products:
    """Cross products of random scattering: no two pixels alike, all of them possible."""
    rng = np.random.default_rng(seed)
    parts = rng.normal(size=(2, *shape, looks, 3)) / np.sqrt(2)
    hh, hv, vv = np.moveaxis(parts[0] + 1j * parts[1], -1, 0)
    vv = 0.6 * hh + 0.8 * vv
    matrices = np.stack([np.stack([hh, 0.3 * hv], axis=-1), np.stack([0.3 * hv, vv], axis=-1)], axis=-2)
    return of_matrices(0.4 * matrices)


def powers_of(products: Products) -> Array:
    """Pauli powers by the squares of amplitudes as the template tells them: HH-VV, HV, HH+VV."""
    sum_, product = products["HHHH"] + products["VVVV"], 2 * products["HHVV"].real
    return np.stack([(sum_ - product) / 2, 2 * products["HVHV"], (sum_ + product) / 2])


def command(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["prepare", "pauli", *map(str, arguments), "--quiet"], catch_exceptions=False)


def made(flight: Flight, folder: Path, *options: object, out: str = "out.tif") -> Path:
    """Prepare a flight; by default on its own grid."""
    result = command(flight.write(folder), folder / out, "--jobs", 1, *options)
    assert result.exit_code == 0, result.stderr
    return folder / out


def read(path: Path) -> Array:
    with rasterio.open(path) as dataset:
        return np.asarray(dataset.read())


def brute_force(flight: Flight, path: Path, samples: int) -> tuple[Array, Array]:
    """Mean powers over points in each pixel of a raster, each of the GRD pixel that holds it; share of such points."""
    with rasterio.open(path) as dataset:
        transform, (rows, columns), crs = dataset.transform, dataset.shape, dataset.crs.to_string()
    steps = (np.arange(samples) + 0.5) / samples
    across, down = np.add.outer(np.arange(columns), steps).ravel(), np.add.outer(np.arange(rows), steps).ravel()
    xs, ys = np.meshgrid(transform.c + across * transform.a, transform.f + down * transform.e)
    longitude, latitude = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(xs, ys)
    column = np.rint((longitude - flight.corner[0]) / STEP).astype(int)
    row = np.rint((flight.corner[1] - latitude) / STEP).astype(int)
    inside = (column >= 0) & (column < flight.shape[1]) & (row >= 0) & (row < flight.shape[0])
    powers = powers_of({name: values[row * inside, column * inside] for name, values in flight.products.items()})
    inside &= powers.sum(axis=0) > 0
    share = inside.reshape(rows, samples, columns, samples).mean(axis=(1, 3))
    sums = (powers * inside).reshape(3, rows, samples, columns, samples).mean(axis=(2, 4))
    return sums / np.maximum(share, 1e-9), share


# --- known scatterers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("matrices", "red", "green", "blue"),
    [
        pytest.param(TRIHEDRAL[None], 0, 0, 2, id="trihedral"),
        pytest.param(DIHEDRAL[None], 2, 0, 0, id="dihedral"),
        pytest.param(turned(DIHEDRAL, np.array([np.pi / 4])), 0, 2, 0, id="dihedral-45"),
        pytest.param(turned(DIHEDRAL, np.array([np.pi / 8])), 1, 1, 0, id="dihedral-22.5"),
        # A cloud of thin dipoles, turned at random: Freeman and Durden (1998), of whose span a quarter is HV and VH.
        pytest.param(turned(DIPOLE, np.arange(360) * np.pi / 360), 1 / 4, 1 / 4, 1 / 2, id="volume"),
    ],
)
def test_known_scatterers_have_their_colours(
    matrices: Array, red: float, green: float, blue: float, tmp_path: Path
) -> None:
    products = of_matrices(matrices.astype(complex))
    path = made(Flight(products=even(products, (40, 50))), tmp_path)
    pixels = read(path).astype(np.float64)
    valid = ~np.isnan(pixels).any(axis=0)
    assert valid.sum() > 1500
    powers = (pixels[:, valid] ** 2).T
    np.testing.assert_allclose(powers, np.broadcast_to([red, green, blue], powers.shape), rtol=1e-5, atol=1e-7)
    # The span: all four elements of the matrix, HV and VH both.
    span = (abs(matrices) ** 2).sum(axis=(-2, -1)).mean()
    np.testing.assert_allclose(powers.sum(axis=1), span, rtol=1e-5)


def test_hvhv_is_the_power_of_one_channel() -> None:
    """If it were that of HV and VH together, the span of a turned dihedral would be twice what it scatters."""
    products = of_matrices(turned(DIHEDRAL, np.array([np.pi / 4])))
    assert products["HVHV"] == pytest.approx(1)  # |S_hv|^2, with S_hv = 1
    assert uavsar.pauli_powers(**{name.lower(): value for name, value in products.items()}).sum() == pytest.approx(2)


def test_rounding_makes_no_power_negative() -> None:
    powers = uavsar.pauli_powers(0.1, 0.0, np.float32(0.1), np.float32(0.1000001))
    assert powers[0] == 0
    assert not np.isnan(np.sqrt(powers)).any()


# --- averages ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("centre", "crs"), [(CENTRE, CRS), ((-83.6, 48.0), CRS), ((-83.6, 48.0), "EPSG:5070")])
@pytest.mark.parametrize("size", [5.0, 12.0, 2.0])
def test_powers_are_averaged_over_the_pixel(size: float, centre: tuple[float, float], crs: str, tmp_path: Path) -> None:
    """EPSG:5070 (Albers, not conformal) is turned by 8 degrees there, zone 17 at its rim by 2."""
    flight = Flight(products=speckled((90, 110)), corner=centre)
    x, y = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(
        centre[0] + 0.003, centre[1] - 0.0025
    )
    bounds = (x - 12 * size, y - 12 * size, x + 12 * size, y + 12 * size)
    path = made(flight, tmp_path, "--crs", crs, "--resolution", size, "--bounds", *bounds)
    powers = read(path).astype(np.float64) ** 2
    expected, share = brute_force(flight, path, samples=48)
    assert share.min() == 1
    error = np.sqrt(((powers - expected) ** 2).mean()) / expected.std()
    # What remains is that the brute force counts points, and the corners of a footprint that is turned.
    assert error < (0.01 if crs == CRS else 0.025)
    assert abs(powers.mean() / expected.mean() - 1) < 2e-3
    # Averaging amplitudes would be lower by far.
    assert abs(powers.mean() / expected.mean() - 1) < 0.1 * abs((np.sqrt(expected).mean() ** 2) / expected.mean() - 1)


def test_three_headings_on_one_grid(tmp_path: Path) -> None:
    """Point targets of flights at 10, 145 and 280 degrees are found within 0.05 pixel of where they stand."""
    to_degrees = pyproj.Transformer.from_crs(CRS, "EPSG:4326", always_xy=True)
    x, y = pyproj.Transformer.from_crs("EPSG:4326", CRS, always_xy=True).transform(*CENTRE)
    stands = [(x + 301.3, y - 211.7), (x + 148.9, y - 402.2), (x + 452.6, y - 397.4)]
    paths: list[Path] = []
    for number, heading in enumerate((10, 145, 280), start=1):
        granule = f"lngley_{heading:03d}21_09059_{number:03d}_090813_L090_CX_01"
        corner = (CENTRE[0] - 0.31 * number * STEP, CENTRE[1] + 0.77 * number * STEP)
        shape = (115 + number, 130 + number)
        trihedral = even(of_matrices(TRIHEDRAL[None].astype(complex)), shape)
        flight = Flight(products=trihedral, granule=granule, heading=heading, corner=corner)
        echo = sum(_response(flight, to_degrees.transform(*stand), heading) for stand in stands)
        flight = replace(flight, products={name: value * echo for name, value in trihedral.items()})
        grid = ["--like", paths[0]] if paths else []
        paths.append(made(flight, tmp_path / str(number), *grid, "--pass", number))
    assert len({target_like(path) for path in paths}) == 1
    for path in paths:
        for stand in stands:
            assert np.hypot(*np.subtract(_found(path, stand), stand)) < 0.05 * 5


def _response(flight: Flight, place: tuple[float, float], heading: float) -> Array:
    """The echo of a point in power, longer along the flight than across it, over a dark ground."""
    longitude, latitude = flight.places()
    east = (longitude - place[0]) * 111_320 * np.cos(np.radians(place[1]))
    north = (latitude - place[1]) * 110_950
    along = east * np.sin(np.radians(heading)) + north * np.cos(np.radians(heading))
    across = east * np.cos(np.radians(heading)) - north * np.sin(np.radians(heading))
    return np.asarray(np.exp(-((along / 12) ** 2) - (across / 9) ** 2) + 1e-7)


def _found(path: Path, near: tuple[float, float]) -> tuple[float, float]:
    """The centre of power around a place."""
    power = np.nan_to_num(read(path)[2].astype(np.float64) ** 2)
    with rasterio.open(path) as dataset:
        columns, rows = np.meshgrid(np.arange(power.shape[1]) + 0.5, np.arange(power.shape[0]) + 0.5)
        xs, ys = dataset.transform.c + 5 * columns, dataset.transform.f - 5 * rows
    power = power * (np.hypot(xs - near[0], ys - near[1]) < 60)
    return (xs * power).sum() / power.sum(), (ys * power).sum() / power.sum()


def test_off_the_swath_is_nodata(tmp_path: Path) -> None:
    """A turned strip has data; 0, NaN and negative powers are none; a pixel needs half of its area."""
    products = speckled((50, 60), seed=3)
    rows, columns = np.mgrid[:50, :60]
    strip = abs(rows - 0.7 * columns - 3) < 14
    products = {name: np.where(strip, values, 0) for name, values in products.items()}
    products["HVHV"][20, 25] = np.nan
    products["HHHH"][30, 38] = -1e-3
    products["HVHV"][34, 44] = 0  # alone, it is a power like any other
    path = made(Flight(products=products), tmp_path)
    dark = {name: np.where(strip, values, 0) for name, values in products.items()}
    for row, column in ((20, 25), (30, 38)):
        for values in dark.values():
            values[row, column] = 0
    expected, share = brute_force(Flight(products=dark), path, samples=32)
    pixels = read(path)
    valid = ~np.isnan(pixels)
    assert (valid == valid[0]).all()
    assert 0.2 < valid.mean() < 0.8
    clear = abs(share - 0.5) > 0.02  # a share of points, not quite of area
    np.testing.assert_array_equal(valid[0][clear], share[clear] > 0.5)
    whole = (share == 1) & valid[0]
    np.testing.assert_allclose(pixels[:, whole] ** 2, expected[:, whole], atol=0.1 * expected.std())


def test_a_coarse_grid_is_made_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flight = Flight(products=speckled((120, 140)))
    whole = made(flight, tmp_path / "whole", "--crs", CRS, "--resolution", 40, "--bounds", *_box(flight))
    monkeypatch.setattr(uavsar, "_LARGEST_WINDOW", 200)
    parts = made(flight, tmp_path / "parts", "--crs", CRS, "--resolution", 40, "--bounds", *_box(flight))
    assert whole.read_bytes() == parts.read_bytes()


def _box(flight: Flight) -> tuple[float, ...]:
    longitude, latitude = flight.places()
    box = (longitude.min(), latitude.min(), longitude.max(), latitude.max())
    return pyproj.Transformer.from_crs("EPSG:4326", CRS, always_xy=True).transform_bounds(*box)


@pytest.mark.parametrize(
    ("centre", "crs", "size", "bent"),
    [
        (CENTRE, CRS, 5, False),
        ((-78.2, 70.0), "EPSG:32617", 5, False),
        ((-83.6, 48.0), "EPSG:5070", 10, False),
        (CENTRE, CRS, 80, True),
        ((179.99, 71.0), "EPSG:32660", 5, False),
        ((30.0, 89.99), "EPSG:3413", 5, True),
    ],
)
def test_places_are_as_good_as_exact(
    centre: tuple[float, float], crs: str, size: float, bent: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousandth of a GRD pixel, next to a pole and across the 180th meridian, too."""
    shape = (150, 170) if centre[1] > 80 else (1500, 1700)
    flight = Flight(products=even(of_matrices(TRIHEDRAL[None].astype(complex)), shape), corner=centre)
    scene = uavsar.open_scene(flight.write(tmp_path))
    x, y = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(*centre)
    x, y = size * round(x / size), size * round(y / size)
    target = target_of(crs, size, Bounds(x - 100 * size, y - 500 * size, x + 400 * size, y + 100 * size))
    block = Window(70, 30, 420, 510)
    lattice, rows, columns = uavsar._lattice(scene, target, block), range(30, 540), range(70, 490)
    assert bool(len(lattice.bent)) == bent
    interpolated = lattice.boxes(rows, columns)
    exact = uavsar._here(uavsar._boxes(scene, target, rows, columns), shape)
    here = (exact[2] > 0) & (interpolated[2] > 0)
    assert here.any()
    assert ((exact[2] > 0) == here).mean() > 0.999
    assert abs(interpolated - exact)[:, here].max() < 1e-3
    monkeypatch.setattr(uavsar, "_TOLERANCE", -1.0)
    np.testing.assert_array_equal(uavsar._lattice(scene, target, block).boxes(rows, columns), exact)


def test_any_number_of_jobs_gives_the_same_bytes(tmp_path: Path) -> None:
    """Four blocks; and each block is the same as if it were made alone."""
    flight = Flight(products=speckled((460, 570), looks=1))
    one = made(flight, tmp_path)
    assert command(tmp_path / f"{LANGLEY}.ann", tmp_path / "two.tif", "--jobs", 2).exit_code == 0
    assert one.read_bytes() == (tmp_path / "two.tif").read_bytes()
    with rasterio.open(one) as dataset:
        left, top = dataset.transform @ (300, 290)
        right, bottom = dataset.transform @ (420, 400)
        whole = dataset.read()
    part = made(flight, tmp_path, "--crs", CRS, "--resolution", 5, "--bounds", left, bottom, right, top, out="part.tif")
    np.testing.assert_array_equal(read(part), whole[:, 290:400, 300:420])


# --- what is told of it -----------------------------------------------------------------------------------------------


def test_the_annotation_is_read(tmp_path: Path) -> None:
    flight = Flight(products=even(of_matrices(TRIHEDRAL[None].astype(complex)), (3, 4)), heading=-79.5)
    told = read_annotation(flight.write(tmp_path))
    assert (told.granule, told.flight_line, told.mode) == (LANGLEY, "05521", "PolSAR")
    assert told.heading == pytest.approx(280.5)
    assert (told.start.isoformat(), told.end.isoformat()) == ("2009-08-13T15:24:50+00:00", "2009-08-13T15:31:07+00:00")
    assert told.shape == (3, 4)
    assert told.transform @ (0.5, 0.5) == pytest.approx(CENTRE, abs=1e-12)
    assert told.transform @ (1.5, 1.5) == pytest.approx((CENTRE[0] + STEP, CENTRE[1] - STEP), abs=1e-12)


@pytest.mark.parametrize(
    ("changes", "start", "end"),
    [
        ({"Stop Time of Acquisition": "N/A"}, "2009-08-13T15:24:50", "2009-08-13T15:24:50"),
        (
            {
                "Start Time of Acquisition": None,
                "Stop Time of Acquisition": None,
                "Date of Acquisition": "13-Aug-2009",
            },
            "2009-08-13T00:00:00",
            "2009-08-13T23:59:59",
        ),
    ],
)
def test_older_annotations_tell_less_of_the_time(
    changes: dict[str, str | None], start: str, end: str, tmp_path: Path
) -> None:
    told = read_annotation(Flight(products=speckled((3, 3)), changes=changes).write(tmp_path))
    assert (told.start.isoformat(), told.end.isoformat()) == (f"{start}+00:00", f"{end}+00:00")


def test_provenance_is_in_tags_and_in_the_item(tmp_path: Path) -> None:
    """And `build` copies the raster bit for bit."""
    flight = Flight(products=speckled((300, 380), looks=1), granule=LANGLEY)
    listing = tmp_path / "sources.toml"
    listing.write_text(area("langley", collection="usa", required=["uavsar_2"], crs=CRS))
    path = made(flight, tmp_path, "--sources", listing, "--area", "langley", "--pass", 2)
    with rasterio.open(path) as dataset:
        tags, pixels = dataset.tags(), dataset.read()
        assert dataset.descriptions == ("HH-VV", "HV", "HH+VV")
        assert dataset.dtypes == ("float32",) * 3
        assert np.isnan(dataset.nodata)
        assert (dataset.crs.to_string(), dataset.res) == (CRS, (5, 5))
    assert tags["DREAM_STEP"] == "pauli"
    inputs = [f"{LANGLEY}.ann", *(flight.name(name) for name in ("HHHH", "HVHV", "VVVV", "HHVV"))]
    assert json.loads(tags["DREAM_INPUTS"]) == inputs
    notes = {"flight_line": "05521", "granule": LANGLEY, "heading": 55.25, "mode": "PolSAR"}
    assert json.loads(tags["DREAM_NOTES"]) == notes
    release = tmp_path / "release"
    build(listing, release, small_templates(tmp_path / "templates"))
    items = [json.loads(file.read_bytes()) for file in release.glob("usa/langley/*/*.json")]
    assert items
    for item in items:
        asset = item["assets"]["uavsar_2"]
        assert {f"dream:{name}": value for name, value in notes.items()}.items() <= asset.items()
        assert asset["dream:resampling"] == "none"
        assert item["properties"]["start_datetime"] == "2009-08-13T15:24:50Z"
        assert item["properties"]["end_datetime"] == "2009-08-13T15:31:07Z"
        _is_copy(release / f"usa/langley/{item['id']}/uavsar_2.tif", path, pixels)


def _is_copy(tile: Path, prepared: Path, pixels: Array) -> None:
    with rasterio.open(tile) as dataset, rasterio.open(prepared) as whole:
        column, row = (round(value) for value in ~whole.transform @ (dataset.transform.c, dataset.transform.f))
        padded = np.full((3, pixels.shape[1] + 2 * TILE, pixels.shape[2] + 2 * TILE), np.nan, dtype="float32")
        padded[:, TILE:-TILE, TILE:-TILE] = pixels
        expected = padded[:, TILE + row : 2 * TILE + row, TILE + column : 2 * TILE + column]
        np.testing.assert_array_equal(dataset.read(), expected)


# --- bad input --------------------------------------------------------------------------------------------------------


def _refused(result: Result, folder: Path, *words: str) -> None:
    """One line that names what is wrong, exit code 1, and nothing left behind."""
    assert result.exit_code == 1, result.output
    assert result.stderr.count("\n") == 1
    for word in words:
        assert word in result.stderr
    assert not [path.name for path in folder.rglob("*") if "out.tif" in path.name or path.name == "sources.toml"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        *(
            ({key: None}, (key,))
            for key in (
                "grd_pwr.set_rows",
                "grd_pwr.set_cols",
                "grd_pwr.row_addr",
                "grd_pwr.col_addr",
                "grd_pwr.row_mult",
                "grd_pwr.col_mult",
                "grdHHHH",
                "grdHVHV",
                "grdVVVV",
                "grdHHVV",
                "set_phdg",
                "Start Time of Acquisition",
                "Acquisition Mode",
            )
        ),
        ({"grd_pwr.set_rows": "twelve"}, ("grd_pwr.set_rows", "'twelve'")),
        ({"grd_pwr.set_rows": "-5"}, ("grd_pwr.set_rows", "-5")),
        ({"grd_pwr.set_cols": "1e12"}, ("grd_pwr", "1000000000000")),
        ({"grd_pwr.set_cols": "21"}, ("grd_mag.set_cols = 20", "grd_pwr.set_cols = 21")),
        ({"grd_pwr.set_cols": "21", "grd_mag.set_cols": "21"}, ("HHHH_CX_01.grd", "truncated", "1,200", "15 x 21")),
        ({"grd_pwr.set_rows": "14", "grd_mag.set_rows": "14"}, ("HHHH_CX_01.grd", "too large", "1,200", "14 x 20")),
        ({"grd_pwr.val_size": "8"}, ("grd_pwr.val_size = 8",)),
        ({"grd_pwr.row_addr": "nan"}, ("grd_pwr.row_addr", "'nan'")),
        ({"grd_pwr.row_addr": "3602000"}, ("off the Earth",)),
        ({"grd_pwr.row_mult": "5.556e-5"}, ("row_mult = 5.556e-05",)),
        ({"val_endi": "BIG ENDIAN"}, ("val_endi = 'BIG ENDIAN'",)),
        ({"Acquisition Mode": "RPI"}, ("Acquisition Mode = 'RPI'",)),
        ({"Start Time of Acquisition": "yesterday"}, ("Start Time of Acquisition", "'yesterday'")),
        ({"Start Time of Acquisition": "31-Feb-2009 10:00:00 UTC"}, ("'31-Feb-2009",)),
        ({"Start Time of Acquisition": "13-Aug-2009 25:00:00 UTC"}, ("25:00:00",)),
        ({"Stop Time of Acquisition": "12-Aug-2009 15:00:00 UTC"}, ("before its start",)),
        ({"grdHVHV": "lngley_23521_09059_003_090813_L090HVHV_CX_01.grd"}, ("different products", "lngley_23521")),
        ({"grdHVHV": "../secret_L090HVHV.grd"}, ("grdHVHV = '../secret_L090HVHV.grd'",)),
        (
            {"grdHVHV": "lngley_05521_09059_000_090813_L090VVVV_CX_01.grd"},
            ("grdHVHV", "no name of a .grd file of HVHV"),
        ),
    ],
)
def test_bad_annotations_are_refused(changes: dict[str, str | None], words: tuple[str, ...], tmp_path: Path) -> None:
    path = Flight(products=speckled((15, 20)), changes=changes).write(tmp_path)
    options = ("--sources", tmp_path / "sources.toml", "--area", "a", "--collection", "usa", "--title", "A")
    _refused(command(path, tmp_path / "out.tif", "--jobs", 1, *options), tmp_path, *words)


def test_bad_files_are_refused(tmp_path: Path) -> None:
    flight = Flight(products=speckled((15, 20)))
    out = tmp_path / "out.tif"
    path = flight.write(tmp_path)
    _refused(command(tmp_path / "none.ann", out), tmp_path, "none.ann", "cannot read")
    _refused(command(tmp_path / flight.name("HHHH"), out), tmp_path, flight.name("HHHH"), "name the .ann")
    _refused(command(tmp_path, out), tmp_path, "cannot read")
    file = tmp_path / flight.name("VVVV")
    file.write_bytes(file.read_bytes()[:-5])
    _refused(command(path, out), tmp_path, file.name, "truncated", "1,195", "1,200")
    file.unlink()
    _refused(command(path, out), tmp_path, file.name, "no such file", "--folder")
    file.mkdir()
    _refused(command(path, out), tmp_path, file.name, "no such file")


@pytest.mark.parametrize("channel", ["HHHH", "HVHV", "VVVV", "HHVV"])
def test_big_endian_values_are_refused(channel: str, tmp_path: Path) -> None:
    flight = Flight(products=speckled((60, 70)))
    path = flight.write(tmp_path)
    file = tmp_path / flight.name(channel)
    np.fromfile(file, dtype="<f4").astype(">f4").tofile(file)
    _refused(command(path, tmp_path / "out.tif"), tmp_path, file.name, "values such as", "big-endian")


def test_an_input_is_not_written_over(tmp_path: Path) -> None:
    flight = Flight(products=speckled((20, 20)))
    path = flight.write(tmp_path)
    grd = tmp_path / flight.name("VVVV")
    before = grd.read_bytes()
    result = command(path, grd, "--jobs", 1)
    assert (result.exit_code, result.output.count("\n")) == (2, 1)
    assert grd.read_bytes() == before


def test_decibels_are_refused(tmp_path: Path) -> None:
    flight = Flight(products={name: 10 * np.log10(abs(value)) for name, value in speckled((30, 30)).items()})
    _refused(command(flight.write(tmp_path), tmp_path / "out.tif"), tmp_path, "HHHH", "dB")


def test_a_grid_elsewhere_is_refused(tmp_path: Path) -> None:
    path = Flight(products=speckled((30, 30))).write(tmp_path)
    grid = ("--crs", CRS, "--resolution", 5, "--bounds", 500000, 0, 501000, 1000)
    _refused(command(path, tmp_path / "out.tif", *grid), tmp_path, path.name, "does not meet the grid", CRS)


def test_a_pole_has_no_zone(tmp_path: Path) -> None:
    path = Flight(products=speckled((30, 30)), corner=(0.0, 88.0)).write(tmp_path)
    _refused(command(path, tmp_path / "out.tif"), tmp_path, path.name, "name the grid")


def test_half_a_grid_is_a_mistake_of_the_command(tmp_path: Path) -> None:
    path = Flight(products=speckled((30, 30))).write(tmp_path)
    for options in (("--crs", CRS), ("--sources", tmp_path / "sources.toml"), ("--pass", 4)):
        assert command(path, tmp_path / "out.tif", *options).exit_code == 2
    assert not (tmp_path / "out.tif").exists()


def test_a_file_cut_off_meanwhile_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Flight(products=speckled((30, 30))).write(tmp_path)
    checked = uavsar.open_scene(path)
    checked.files[1].write_bytes(b"")
    monkeypatch.setattr(uavsar, "open_scene", lambda *_: checked)
    _refused(command(path, tmp_path / "out.tif", "--jobs", 1), tmp_path, checked.files[1].name, "cannot read")


def test_files_may_lie_in_another_folder(tmp_path: Path) -> None:
    flight = Flight(products=speckled((30, 30)))
    path = flight.write(tmp_path / "grd")
    moved = path.replace(tmp_path / "other.ann")
    assert command(moved, tmp_path / "out.tif", "--folder", tmp_path / "grd", "--jobs", 1).exit_code == 0
