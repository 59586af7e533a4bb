"""Raw products in the forms in which agencies give them out, filled with what the sensors see of one landscape.

Names and formats are those of the real products, as far as `prepare` reads them; no instrument measured the pixels, and
every file whose format has room for words says so. All writers want a folder that is there, and give what they wrote.
"""

import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.warp import Resampling, reproject, transform, transform_bounds

from catalog_builder.synthetic import Raster, sensors, write_raster
from catalog_builder.synthetic.extract import Points, features, write_extract
from catalog_builder.synthetic.landscape import Cover, Flags, Floats, Landscape, soft_fractal
from catalog_builder.synthetic.sensors import Swath

Generators = Callable[[str], np.random.Generator]
"""Gives each layer, by its name, a generator of its own."""
Box = tuple[float, float, float, float]
"""left, bottom, right, top"""

NOTE = "SYNTHETIC: made by catalog-builder, measured by nothing"
SENTINEL = 10.0
"""Side in m of the pixels of Sentinel-1 and Sentinel-2."""
GEOGRAPHIC = "EPSG:4326"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """A landscape and where it lies."""

    scene: Landscape
    crs: str
    corner: tuple[float, float]
    """x, y of the upper-left corner in m."""

    @property
    def side(self) -> float:
        """Width and height in m."""
        return len(self.scene.height) * self.scene.pixel

    def grid(self, pixel: float) -> Affine:
        """Pixel (column, row) of ``pixel`` m -> x, y."""
        return Affine(pixel, 0, self.corner[0], 0, -pixel, self.corner[1])

    def box(self, margin: float = 0.0) -> Box:
        """Box in longitude and latitude around the ground, without a rim of ``margin`` m."""
        (left, top), inner = self.corner, self.side - margin
        box = transform_bounds(self.crs, GEOGRAPHIC, left + margin, top - inner, left + inner, top - margin)
        return box[0], box[1], box[2], box[3]

    def degrees(self, pixels: Points) -> Points:
        """Longitude and latitude (n, 2) of places in pixels of the landscape."""
        x, y = self.corner[0] + self.scene.pixel * pixels[:, 0], self.corner[1] - self.scene.pixel * pixels[:, 1]
        return np.stack(transform(self.crs, GEOGRAPHIC, x, y), axis=-1)


def _every(pixels: sensors.Pixels, scene: Landscape, size: float) -> sensors.Pixels:
    """Take from what a sensor repeats on a finer grid one pixel of ``size`` m each."""
    step = round(size / scene.pixel)
    return pixels[..., ::step, ::step]


# --- Sentinel-1 -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RadarSeries:
    """The dates of a Sentinel-1A relative orbit over a year."""

    start: datetime
    """Of the first image."""
    orbit: int
    """Absolute orbit of the first image."""
    swath: Swath
    dates: int = 10
    days: int = 36
    """Between two images, a multiple of the cycle of 12 days."""
    wet: int = 3
    """Images in which some fields stand under water, from the first on."""

    def name(self, number: int) -> str:
        """Name of the product of a date; its last word, which no real product has, says what it is."""
        start, cycles = self.start + timedelta(days=number * self.days), number * self.days // 12
        stop, orbit = start + timedelta(seconds=25), self.orbit + 175 * cycles
        return f"S1A_IW_GRDH_1SDV_{start:%Y%m%dT%H%M%S}_{stop:%Y%m%dT%H%M%S}_{orbit:06d}_{8 * orbit:06X}_SYNT"


def flooded(scene: Landscape) -> Landscape:
    """The same landscape with some of its fields under water."""
    fields = (scene.cover <= Cover.GREEN_CROP) & (scene.vigour > 0.44) & (scene.vigour < 0.56)
    return replace(scene, cover=np.where(fields, np.uint8(Cover.LAKE), scene.cover))


def write_radar(folder: Path, ground: Ground, series: RadarSeries, rng: Generators) -> Iterator[Path]:
    """Write a GeoTIFF of 10 m a date: VV and VH, sigma0 in dB, NaN off the swath; its tags do not tell the unit."""
    wet = flooded(ground.scene)
    for number in range(series.dates):
        name, scene = series.name(number), wet if number < series.wet else ground.scene
        pixels = _every(sensors.sentinel1(rng(name), scene, series.swath), scene, SENTINEL)
        yield _geotiff(folder / f"{name}.tif", pixels, ("VV", "VH"), np.nan, ground.crs, ground.grid(SENTINEL))


def _geotiff(path: Path, pixels: sensors.Pixels, bands: tuple[str, ...], nodata: float, crs: str, grid: Affine) -> Path:
    name = CRS.from_user_input(crs)
    write_raster(path, Raster(pixels=pixels, bands=bands, nodata=nodata, crs=name, transform=grid))
    return path


# --- Sentinel-2 -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class OpticalImage:
    """A Sentinel-2 product of level 2A."""

    name: str
    """Of its SAFE folder."""
    cloudy: bool = False

    @property
    def offset(self) -> int:
        """Added to pixels by the user, as the baseline in the name says."""
        return -1000 if int(self.name.split("_")[3][1:3]) >= 4 else 0


VEGETATION, BARE, WATER, SHADOW, CLOUD = 4, 5, 6, 3, 9
"""Classes of the scene classification."""
_BARE = (Cover.SOIL, Cover.RIPE_CROP, Cover.YARD, Cover.BUILDING, Cover.MAJOR_ROAD, Cover.MINOR_ROAD, Cover.RAILWAY)
_QUANTUM = 20.0
"""Side in m of a pixel of the scene classification."""


def write_optical(folder: Path, ground: Ground, image: OpticalImage, rng: Generators) -> Iterator[Path]:
    """Write a SAFE folder: four bands of 10 m and the scene classification in JPEG 2000, lossless, and metadata."""
    mission, _, taken, _, _, tile, _ = image.name.split("_")
    granule = folder / image.name / "GRANULE" / f"L2A_{tile}_A000000_{taken}" / "IMG_DATA"
    pixels = _every(sensors.sentinel2(rng("s2"), ground.scene), ground.scene, SENTINEL).astype(np.uint16)
    classes = scene_classes(ground.scene)
    if image.cloudy:
        pixels, classes = _overcast(pixels, classes, rng(image.name))
    for band, values in zip(("B02", "B03", "B04", "B08"), pixels + np.uint16(-image.offset), strict=True):
        yield _jpeg2000(granule / "R10m" / f"{tile}_{taken}_{band}_10m.jp2", values, ground, SENTINEL)
    yield _jpeg2000(granule / "R20m" / f"{tile}_{taken}_SCL_20m.jp2", classes, ground, _QUANTUM)
    metadata = folder / image.name / "MTD_MSIL2A.xml"
    metadata.write_text(_metadata(image, mission), encoding="utf-8")
    yield metadata


def scene_classes(scene: Landscape) -> npt.NDArray[np.uint8]:
    """Classes of 20 m of a landscape without clouds: (rows, cols)."""
    cover = _every(scene.cover, scene, _QUANTUM)
    classes = np.where(np.isin(cover, _BARE), BARE, VEGETATION)
    return np.where(np.isin(cover, (Cover.LAKE, Cover.RIVER)), WATER, classes).astype(np.uint8)


def _overcast(
    pixels: npt.NDArray[np.uint16], classes: npt.NDArray[np.uint8], rng: np.random.Generator
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]]:
    """Hang clouds over a tenth of the image, and their shadows to the north-west of them."""
    size = len(classes)
    thickness = soft_fractal(rng, size, 3.5, cutoff=2.0)
    cloud: Flags = thickness > np.quantile(thickness, 0.9)
    shadow = np.roll(cloud, (-size // 20, -size // 40), (0, 1)) & ~cloud
    bright, dark = (np.kron(mask, np.ones((2, 2), bool)) for mask in (cloud, shadow))
    seen = np.where(dark, pixels // 3 + 1, np.where(bright, pixels // 8 + 6500, pixels))
    return seen.astype(np.uint16), np.where(cloud, CLOUD, np.where(shadow, SHADOW, classes)).astype(np.uint8)


def _jpeg2000(path: Path, pixels: npt.NDArray[np.uint16] | npt.NDArray[np.uint8], ground: Ground, size: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows, columns = pixels.shape
    profile = {
        "driver": "JP2OpenJPEG", "dtype": pixels.dtype, "count": 1, "height": rows, "width": columns,
        "crs": ground.crs, "transform": ground.grid(size), "QUALITY": "100", "REVERSIBLE": "YES",
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        file.write(pixels, 1)
    return path


def _metadata(image: OpticalImage, mission: str) -> str:
    offsets = "".join(f'  <BOA_ADD_OFFSET band_id="{band}">{image.offset}</BOA_ADD_OFFSET>\n' for band in range(13))
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<!-- {NOTE} -->\n"
        '<n1:Level-2A_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-2A.xsd">\n'
        f"  <PRODUCT_URI>{image.name}</PRODUCT_URI>\n  <SPACECRAFT_NAME>{mission}, synthetic</SPACECRAFT_NAME>\n"
        '  <BOA_QUANTIFICATION_VALUE unit="none">10000</BOA_QUANTIFICATION_VALUE>\n'
        f"{offsets if image.offset else ''}"
        "</n1:Level-2A_User_Product>\n"
    )


# --- SRTM -------------------------------------------------------------------------------------------------------------

VOID = -32768
_POSTS = 3601
"""Values a side of a tile of one degree, one arc second apart."""


def write_heights(folder: Path, ground: Ground, names: Sequence[str]) -> Iterator[Path]:
    """Write tiles of 1 arc second by their names: `N44E005.hgt`, or in an archive `N44E005.SRTMGL1.hgt.zip`.

    Big-endian whole metres. Void are what lies beyond the ground, and a few values in its north-west.
    """
    for name in names:
        latitude = int(name[1:3]) * (-1 if name[0] == "S" else 1)
        longitude = int(name[4:7]) * (-1 if name[3] == "W" else 1)
        values = _posts(ground, latitude, longitude).astype(">i2").tobytes()
        if name.endswith(".zip"):
            _zip(folder / name, f"{name[:7]}.hgt", values)
        else:
            (folder / name).write_bytes(values)
        yield folder / name


def _posts(ground: Ground, latitude: int, longitude: int) -> npt.NDArray[np.int16]:
    """Average the ground around each value of a tile."""
    step = 1 / (_POSTS - 1)
    cells = Affine(step, 0, longitude - step / 2, 0, -step, latitude + 1 + step / 2)
    metres = np.full((_POSTS, _POSTS), np.nan, np.float32)
    reproject(
        ground.scene.height, metres, src_transform=ground.grid(ground.scene.pixel), src_crs=ground.crs,
        dst_transform=cells, dst_crs=GEOGRAPHIC, dst_nodata=np.nan, resampling=Resampling.average,
    )  # fmt: skip
    posts = np.where(np.isnan(metres), VOID, np.rint(metres)).astype(np.int16)
    west, south, east, north = ground.box()
    column, row = (int(place) for place in ~cells @ (west + 0.3 * (east - west), north - 0.3 * (north - south)))
    posts[max(row, 0) : max(row + 6, 0), max(column, 0) : max(column + 9, 0)] = VOID
    return posts


def _zip(path: Path, name: str, values: bytes) -> None:
    """Write an archive of one file, dated by nothing."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.comment = NOTE.encode()
        archive.writestr(zipfile.ZipInfo(name), values, zipfile.ZIP_DEFLATED)


# --- OpenStreetMap ----------------------------------------------------------------------------------------------------


def write_map(folder: Path, ground: Ground, name: str, taken: datetime, margin: float) -> Iterator[Path]:
    """Write an `.osm` extract; its box leaves out a rim of ``margin`` m, over which objects reach as they do in one."""
    drawn = features(sensors.openstreetmap(ground.scene)[0])
    write_extract(folder / f"{name}.osm", drawn, ground.degrees, ground.box(margin), taken)
    yield folder / f"{name}.osm"


# --- UAVSAR -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Flight:
    """A UAVSAR pass."""

    granule: str
    start: datetime
    swath: Swath

    @property
    def heading(self) -> float:
        """Of the flight, in degrees from north over east: the antenna looks to the left."""
        return (self.swath.look + 90) % 360

    def file(self, channel: str) -> str:
        """Name of the GRD file of a cross product."""
        return f"{self.granule.replace('_L090_', f'_L090{channel}_')}.grd"


CHANNELS = ("HHHH", "HVHV", "VVVV", "HHVV")
GRD_STEP = 5.556e-5
"""Degrees of a pixel of a GRD file."""


def write_flight(folder: Path, ground: Ground, flight: Flight, rng: Generators) -> Iterator[Path]:
    """Write the GRD files of four cross products and the annotation that names them; little-endian, 0 off the swath."""
    west, south, east, north = ground.box()
    shape = int((north - south) / GRD_STEP) + 1, int((east - west) / GRD_STEP) + 1
    grid = Affine(GRD_STEP, 0, west, 0, -GRD_STEP, north)
    powers = np.zeros((3, *shape), np.float32)
    reproject(
        sensors.uavsar(rng(flight.granule), ground.scene, flight.swath) ** 2, powers, src_crs=ground.crs,
        src_transform=ground.grid(ground.scene.pixel), src_nodata=np.nan, dst_transform=grid, dst_crs=GEOGRAPHIC,
        dst_nodata=0, resampling=Resampling.bilinear,
    )  # fmt: skip
    for channel, values in zip(CHANNELS, cross_products(powers), strict=True):
        values.astype("<c8" if channel == "HHVV" else "<f4").tofile(folder / flight.file(channel))
        yield folder / flight.file(channel)
    annotation = folder / f"{flight.granule}.ann"
    annotation.write_text(_annotation(flight, shape, grid), encoding="utf-8")
    yield annotation


def cross_products(powers: Floats) -> Sequence[npt.NDArray[np.float32] | npt.NDArray[np.complex64]]:
    """Cross products of ``CHANNELS`` whose Pauli powers, |HH-VV|²/2, 2|HV|², |HH+VV|²/2, are these: (rows, cols) each.

    HH and VV get the same power, and no imaginary part: Pauli powers tell nothing of either.
    """
    double, volume, surface = powers
    copolar = (double + surface) / 2
    return copolar, volume / 2, copolar, ((surface - double) / 2).astype(np.complex64)


def _annotation(flight: Flight, shape: tuple[int, int], grid: Affine) -> str:
    """Keys as in the products of JPL; places are those of the centre of the upper-left pixel."""
    rows, columns = shape
    west, north = grid @ (0.5, 0.5)
    stop = flight.start + timedelta(minutes=6)
    values = {
        "Site Description (&)": "synthetic landscape",
        **{f"grd{channel} (&)": flight.file(channel) for channel in CHANNELS},
        "Acquisition Mode (&)": "PolSAR",
        "Start Time of Acquisition (&)": f"{flight.start:%d-%b-%Y %H:%M:%S} UTC",
        "Stop Time of Acquisition (&)": f"{stop:%d-%b-%Y %H:%M:%S} UTC",
        "val_endi (&)": "LITTLE ENDIAN",
        "set_phdg (deg)": f"{flight.heading:.6f}",
    }
    for layer, size in (("grd_pwr", 4), ("grd_mag", 8)):
        values |= {
            f"{layer}.val_size (bytes)": f"{size}",
            f"{layer}.set_rows (pixels)": f"{rows}",
            f"{layer}.set_cols (pixels)": f"{columns}",
            f"{layer}.row_addr (deg)": f"{north:.12f}",
            f"{layer}.col_addr (deg)": f"{west:.12f}",
            f"{layer}.row_mult (deg/pixel)": f"{-GRD_STEP}",
            f"{layer}.col_mult (deg/pixel)": f"{GRD_STEP}",
        }
    lines = [f"{key:<40} = {value}" for key, value in values.items()]
    return "\n".join([f"; {NOTE}", "", *lines, ""])


# --- NAIP -------------------------------------------------------------------------------------------------------------

PHOTO_CRS = "EPSG:26917"
PHOTO_FACTOR = 2
"""Photographs are so many times finer than the landscape: 2.5 m, where real ones have 0.6 m to 2 m."""
_OVERLAP = 300.0
"""Metres by which a quarter-quad reaches over its neighbour."""


def write_photographs(folder: Path, ground: Ground, names: tuple[str, str], rng: Generators) -> Iterator[Path]:
    """Write a western and an eastern quarter-quad; they meet on the meridian of the middle.

    8 bit; the collar beyond the meridian and the overlap is 0. The second was taken in a brighter light.
    """
    pixels = sensors.naip(rng("naip"), ground.scene).repeat(PHOTO_FACTOR, axis=1).repeat(PHOTO_FACTOR, axis=2)
    size, pixel = pixels.shape[1], ground.scene.pixel / PHOTO_FACTOR
    west, south, east, north = ground.box()
    x, y = transform(GEOGRAPHIC, ground.crs, [(west + east) / 2] * 9, np.linspace(south, north, 9))
    seam = (np.interp(ground.corner[1] - (np.arange(size) + 0.5) * pixel, y, x) - ground.corner[0]) / pixel
    columns, reach = np.arange(size) + 0.5, _OVERLAP / pixel
    sides = columns < seam[:, None] + reach, columns > seam[:, None] - reach
    bright = np.minimum(pixels * 1.06, 255).astype(np.uint8)
    for name, photograph, seen in zip(names, (pixels, bright), sides, strict=True):
        there = np.flatnonzero(seen.any(axis=0))
        part = slice(there[0], there[-1] + 1)
        grid = ground.grid(pixel) @ Affine.translation(part.start, 0)
        photo = np.where(seen, photograph, 0)[:, :, part].astype(np.uint8)
        yield _geotiff(folder / f"{name}.tif", photo, ("red", "green", "blue"), 0, PHOTO_CRS, grid)
