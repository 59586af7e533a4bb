"""Sentinel-2 level 2A -> the four bands of 10 m of a grid, reflectance x 10000.

Pixels of level 2A hold DN = 10000 x reflectance - offset, and 0 where there is no data; the offset is -1000 from
processing baseline 04.00 (2022-01-25) on, whatever the day on which the image was taken, and 0 before. The baseline
stands in the product's name (``N0400``), the offset in ``MTD_MSIL2A.xml`` as ``BOA_ADD_OFFSET`` of each band. (ESA,
Sentinel-2 Products Specification Document, S2-PDGS-TAS-DI-PSD, issue 14.9, L2A.) The scene classification SCL, 20 m,
tells cloud shadow (3), cloud of medium and high probability (8, 9) and thin cirrus (10).
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.errors import CRSError, RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window

from catalog_builder.errors import RasterError, UsageError
from catalog_builder.executor import ordered
from catalog_builder.placement import PlacedSource
from catalog_builder.prepare.mosaic_step import (
    Valid,
    check_output,
    check_twice,
    chosen,
    day,
    inside,
    is_file,
    modality_of,
    place,
    read_block,
    scratch_folder,
    span_of,
    window_around,
    windows_of,
)
from catalog_builder.prepare.output import Bands, Blocks, Pixels, check_written, write_raster, writing_scratch
from catalog_builder.prepare.provenance import Provenance
from catalog_builder.prepare.target import BLOCK, Target
from catalog_builder.raster import RasterHeader, crs_name, gdal_environment, open_source, read_header

ASSET = "s2"
BANDS = Bands(names=("B02", "B03", "B04", "B08"), data_type="uint16", nodata=0)
RESAMPLING = "bilinear"
ATTRIBUTION = "Contains modified Copernicus Sentinel data"
QUANTIFICATION = 10000
OFFSET = -1000
"""Of baseline 04.00 and later."""
SHADOW = (3,)
CLOUD = (8, 9, 10)

_SCL = "SCL"
_JP2 = b"\x00\x00\x00\x0cjP  "
_BAND_NUMBERS = {"B02": 1, "B03": 2, "B04": 3, "B08": 7}
"""``band_id`` of the metadata: places in the list B01, B02, … B08, B8A, …"""
_BAND = re.compile(r"(?:^|[_.-])(?:B0?([2348])|(SCL))(?=$|[_.-])")
_BASELINE = re.compile(r"_N(\d\d)(\d\d)(?:_|$)")
_TIME = re.compile(r"(?:^|_)(20\d{6}(?:T\d{6})?)(?=_|$|\.)")
_METADATA = "MTD_MSIL2A.xml"
_MAX_METADATA = 2**24
_WINDOW = 8
"""Windows under way at a time."""
_MARGIN = 16
"""Pixels around what a target reaches that are unpacked with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """Where a band of a product is stored."""

    path: Path
    number: int
    """In its file, counted from 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """One image of level 2A with its place, its time and what is to be taken off."""

    path: Path
    """What was given: a folder, or a file with all bands."""
    taken: datetime
    offsets: tuple[int, ...]
    """Added to each band, in the order of ``BANDS``."""
    quantification: int
    """What reflectance was multiplied by in the file."""
    bands: tuple[Band, ...]
    """In the order of ``BANDS``."""
    classes: Band | None
    """The scene classification, where there is one."""
    header: RasterHeader
    """Of its bands; ``path`` is the product's."""
    classes_header: RasterHeader | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the user has said of products."""

    offset: int | None = None
    """For all products, in place of what they tell."""
    taken: datetime | None = None
    """For products that tell no time."""
    quantification: int = QUANTIFICATION
    """What reflectance was multiplied by in all products."""
    mask_clouds: bool = False


def prepare_s2(
    inputs: Sequence[Path], out: Path, target: Target, executor: Executor, progress: Blocks, settings: Settings
) -> Provenance:
    """Write B02, B03, B04, B08 of a target, uint16 reflectance x 10000 without offset, nodata 0, bilinear.

    Products are painted in the order of their times, a later one over those before it, where all four bands have data.
    What is 0 or less without the offset becomes 1. Where all products have a scene classification, the shares of cloud
    and shadow inside the target are told, as percent of its classified pixels; ``mask_clouds`` leaves those out.

    Raises ``UsageError`` or ``RasterError`` naming the file and what is wrong with it, ``BuildError`` where the output
    cannot be written.
    """
    check_output(out, inputs)
    check_twice(inputs)
    products = sorted(
        (open_product(path, settings) for path in inputs), key=lambda one: (one.taken, one.path.name, one.path)
    )
    source = place(modality_of(ASSET, BANDS, RESAMPLING), [product.header for product in products], target)
    with scratch_folder(out) as scratch:
        used = unpacked(chosen(products, lambda product: product.path, source), source, target, scratch, executor)
        made = _provenance(used, cloud_shares(used, target, executor), settings)
        readers = {product.path: partial(read_product, product, mask=settings.mask_clouds) for product in used}
        tags = {**made.tags(), "TIFFTAG_COPYRIGHT": str(made.notes["attribution"])}
        make = partial(read_block, source, readers, target, scratch)
        write_raster(out, target, BANDS, make, tags, executor, progress)
    return made


def _provenance(products: Sequence[Product], shares: Mapping[str, float], settings: Settings) -> Provenance:
    dates = sorted({product.taken for product in products})
    return Provenance(
        step=ASSET,
        inputs=[product.path.absolute().name for product in products],
        parameters={
            "kernel": RESAMPLING,
            "offsets": sorted({offset for product in products for offset in product.offsets}),
            "clouds_masked": settings.mask_clouds,
            **({"quantification": settings.quantification} if settings.quantification != QUANTIFICATION else {}),
        },
        dates=dates,
        # The years belong to the credit that Copernicus asks for.
        notes={**shares, "attribution": f"{ATTRIBUTION} {', '.join(sorted({str(date.year) for date in dates}))}"},
    )


# --- products ---------------------------------------------------------------------------------------------------------


def open_product(path: Path, settings: Settings) -> Product:
    """Find the bands of a product, its time and its offset, and judge its headers.

    A product is a SAFE folder, another folder with one GeoTIFF or JPEG 2000 file a band, or one GeoTIFF whose bands are
    named. Raises ``UsageError`` for what cannot be found, ``RasterError`` for rasters that do not go together.
    """
    if "MSIL1C" in path.name or (path / "MTD_MSIL1C.xml").exists():
        raise UsageError(f"{path}: a product of level 1C; reflectance of the surface is level 2A")
    found = _bands_of_file(path) if is_file(path) else _bands_of_folder(path)
    missing = [name for name in BANDS.names if name not in found]
    if missing:
        raise RasterError(f"{path}: no band {', '.join(missing)}; it has {', '.join(sorted(found)) or 'none by name'}")
    classes = found.get(_SCL)
    if classes is None and settings.mask_clouds:
        raise UsageError(f"{path}: no band SCL, which --mask-clouds needs")
    bands = tuple(found[name] for name in BANDS.names)
    return Product(
        path=path,
        taken=_time(path, bands[0].path, settings),
        offsets=_offsets(path, bands[0].path, settings),
        quantification=settings.quantification,
        bands=bands,
        classes=classes,
        header=_common_header(path, bands),
        classes_header=_classes_header(classes, bands[0]) if classes is not None else None,
    )


def _bands_of_file(path: Path) -> dict[str, Band]:
    with _open(path) as dataset:
        names = [_band_name(description or "") for description in dataset.descriptions]
    if len([name for name in names if name]) != len({name for name in names if name}):
        raise RasterError(f"{path}: two bands of one name: {', '.join(name for name in names if name)}")
    return {name: Band(path=path, number=number) for number, name in enumerate(names, start=1) if name}


def _bands_of_folder(path: Path) -> dict[str, Band]:
    """Find one file a band. Of several resolutions, that of 10 m is taken; of the classification, that of 20 m."""
    by_name: dict[str, list[Path]] = {}
    for file in sorted(path.rglob("*")):
        if file.suffix.lower() in (".jp2", ".tif", ".tiff") and not {"QI_DATA", "AUX_DATA"} & set(
            file.relative_to(path).parts
        ):
            name = _band_name(file.stem)
            if name is not None:
                by_name.setdefault(name, []).append(file)
    found = {}
    for name, files in by_name.items():
        size = "_20m" if name == _SCL else "_10m"
        best = [file for file in files if file.stem.endswith(size)] or files
        if len(best) > 1:
            raise UsageError(
                f"{path}: two files of band {name}: {best[0].name}, {best[1].name}; name one product a time"
            )
        found[name] = Band(path=best[0], number=1)
    return found


def _band_name(text: str) -> str | None:
    matches = list(_BAND.finditer(text))
    if not matches:
        return None
    return _SCL if matches[-1][2] else f"B0{matches[-1][1]}"


def _time(path: Path, band: Path, settings: Settings) -> datetime:
    """Take the first time in the name of the product, which is that of the image, else in that of a band."""
    for name in (path.absolute().name, band.name):
        if match := _TIME.search(name):
            return day(match[1], f"{path}")
    if settings.taken is None:
        raise UsageError(f"{path}: no name of its tells a time, such as 20200601T103031; give --datetime")
    return settings.taken


def _offsets(path: Path, band: Path, settings: Settings) -> tuple[int, ...]:
    if settings.offset is not None:
        return (settings.offset,) * len(BANDS.names)
    if path.is_dir() and (path / _METADATA).is_file():
        return _metadata_offsets(path / _METADATA, settings.quantification)
    match = _BASELINE.search(path.absolute().stem) or _BASELINE.search(band.stem)
    if match is None:
        raise UsageError(
            f"{path}: neither its name nor {_METADATA} tells the processing baseline; give --offset {OFFSET} for "
            "pixels as ESA delivers them since 04.00, --offset 0 for older ones and where it is already taken off"
        )
    return (OFFSET if int(match[1]) >= 4 else 0,) * len(BANDS.names)


def _metadata_offsets(path: Path, quantification: int) -> tuple[int, ...]:
    try:
        with path.open("rb") as stream:
            text = stream.read(_MAX_METADATA)
    except OSError as error:
        raise RasterError(f"{path}: cannot read: {error.strerror}") from error
    root = re.search(rb"<([A-Za-z][\w:.-]*)", text)
    if root is None or not text.rstrip().endswith(b"</" + root[1] + b">"):
        raise RasterError(f"{path}: truncated")
    scale = re.search(rb"<BOA_QUANTIFICATION_VALUE[^>]*>([^<]*)<", text)
    if scale is not None and _number(scale[1], path) != quantification:
        raise RasterError(f"{path}: BOA_QUANTIFICATION_VALUE is {_number(scale[1], path)}, not {quantification}")
    pairs = re.findall(rb'<BOA_ADD_OFFSET band_id="(\d+)"[^>]*>([^<]*)<', text)
    offsets = {int(number): _number(value, path) for number, value in pairs}
    missing = [name for name, number in _BAND_NUMBERS.items() if number not in offsets]
    if missing and (offsets or _has_offset(path.parent)):
        raise RasterError(f"{path}: no BOA_ADD_OFFSET of {', '.join(missing)}")
    return tuple(offsets.get(number, 0) for number in _BAND_NUMBERS.values())


def _number(text: bytes, path: Path) -> int:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not value.is_integer():
        raise RasterError(f"{path}: {text[:40].decode(errors='replace').strip()!r} is no whole number")
    return int(value)


def _has_offset(path: Path) -> bool:
    """Tell whether the name of a product says that its pixels hold an offset."""
    match = _BASELINE.search(path.absolute().stem)
    return match is not None and int(match[1]) >= 4


# --- rasters ----------------------------------------------------------------------------------------------------------


@contextmanager
def _open(path: Path) -> Iterator[DatasetReader]:
    """Open a GeoTIFF or a JPEG 2000 file, which ``raster`` does not take. Raises ``RasterError`` naming the file."""
    if not _is_jp2(path):
        with open_source(path) as dataset:
            yield dataset
        return
    try:
        with gdal_environment(), rasterio.open(path, driver="JP2OpenJPEG") as dataset:
            yield dataset
    except (RasterioError, CRSError) as error:
        why = " ".join(str(error.__cause__ or error).split())
        raise RasterError(f"{path}: truncated or corrupt JPEG 2000 file: {why}") from error


def _is_jp2(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(len(_JP2)) == _JP2
    except OSError as error:
        raise RasterError(f"{path}: cannot read: {error.strerror}") from error


def _header(band: Band) -> RasterHeader:
    with _open(band.path) as dataset:
        if dataset.driver == "GTiff":
            return read_header(band.path)
        transform = dataset.transform
        if dataset.crs is None or transform.is_identity or transform.b or transform.d or transform.e >= 0:
            raise RasterError(f"{band.path}: no CRS, or not north-up; convert it with gdal_translate")
        return RasterHeader(
            path=band.path,
            driver=dataset.driver,
            crs=crs_name(dataset.crs),
            transform=transform,
            shape=dataset.shape,
            count=dataset.count,
            data_type=dataset.dtypes[0],
            nodata=None,
            has_mask=False,
            scaling=(1.0, 0.0),
        )


def _common_header(path: Path, bands: tuple[Band, ...]) -> RasterHeader:
    """Give the header that all bands of a product share. Raises ``RasterError`` where they do not."""
    headers = {band.path: _header(band) for band in bands}
    first = headers[bands[0].path]
    for header in headers.values():
        if header.data_type not in ("uint16", "int16", "uint8"):
            raise RasterError(f"{header.path}: {header.data_type}; reflectance x {QUANTIFICATION} is uint16")
        if header.nodata not in (None, 0) or header.has_mask:
            raise RasterError(f"{header.path}: nodata {header.nodata}, or a mask; level 2A has nodata 0 and no mask")
        if (header.crs, header.shape) != (first.crs, first.shape) or not header.transform.almost_equals(
            first.transform, 1e-6
        ):
            raise RasterError(
                f"{header.path}: {header.shape[1]} x {header.shape[0]} pixels of {header.resolution[0]:g}, not on the "
                f"grid of {first.path.name}: {first.shape[1]} x {first.shape[0]} of {first.resolution[0]:g}"
            )
    return RasterHeader(
        path=path,
        driver=first.driver,
        crs=first.crs,
        transform=first.transform,
        shape=first.shape,
        count=len(bands),
        data_type=BANDS.data_type,
        nodata=None,
        has_mask=False,
        scaling=(1.0, 0.0),
    )


def _classes_header(classes: Band, band: Band) -> RasterHeader:
    header, other = _header(classes), _header(band)
    if header.crs != other.crs:
        raise RasterError(f"{classes.path}: {header.crs}, but {band.path.name} is in {other.crs}")
    return header


def read_product(product: Product, window: Window, *, mask: bool) -> tuple[Pixels, Valid]:
    """Read a window: reflectance x 10000 (4, rows, columns), and where all four bands have data (rows, columns).

    With ``mask`` cloud and shadow have none. Raises ``RasterError`` for a corrupt file.
    """
    stored = np.stack([_read(band, window) for band in product.bands]).astype(np.int32)
    valid = (stored != 0).all(axis=0)
    offsets = np.array(product.offsets, dtype=np.int32)[:, None, None]
    scaled = np.rint((stored + offsets) * (QUANTIFICATION / product.quantification))
    pixels = np.where(stored != 0, np.clip(scaled, 1, np.iinfo(np.uint16).max), 0).astype(np.uint16)
    if mask:
        valid &= ~np.isin(_classes_at(product, window), SHADOW + CLOUD)
    return pixels, valid


def _read(band: Band, window: Window) -> npt.NDArray[Any]:
    with _open(band.path) as dataset:
        return np.asarray(dataset.read(band.number, window=window))


def _classes_at(product: Product, window: Window) -> npt.NDArray[Any]:
    """Give the class of each pixel of a window, (rows, columns), by its centre; 0, no data, beyond the classes."""
    header = product.classes_header
    if product.classes is None or header is None:
        return np.zeros((window.height, window.width), dtype=np.uint8)
    place = ~header.transform @ product.header.transform
    columns = np.floor(place.a * (window.col_off + np.arange(window.width) + 0.5) + place.c).astype(int)
    rows = np.floor(place.e * (window.row_off + np.arange(window.height) + 0.5) + place.f).astype(int)
    left, right = max(columns[0], 0), min(columns[-1] + 1, header.shape[1])
    top, bottom = max(rows[0], 0), min(rows[-1] + 1, header.shape[0])
    found = np.zeros((window.height, window.width), dtype=np.uint8)
    if left < right and top < bottom:
        classes = _read(product.classes, Window(left, top, right - left, bottom - top))
        down, along = (rows >= top) & (rows < bottom), (columns >= left) & (columns < right)
        found[np.ix_(down, along)] = classes[np.ix_(rows[down] - top, columns[along] - left)]
    return found


# --- JPEG 2000 --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Unpacking:
    """A JPEG 2000 file, what is wanted of it, and where it goes."""

    origin: Path
    window: Window
    path: Path


def unpacked(
    products: Sequence[Product], source: PlacedSource, target: Target, scratch: Path, executor: Executor
) -> list[Product]:
    """Bring what a target needs of JPEG 2000 files to GeoTIFF, whose windows are cheap to read.

    Gives the products with their new files; GeoTIFF is left where it is. Raises ``RasterError`` for a corrupt file.
    """
    reaches = {raster.header.path: raster.reach for raster in source.rasters}
    jobs: dict[Path, _Unpacking] = {}
    for product in products:
        box = target.bounds.padded(reaches[product.path])
        wanted = [(band, product.header) for band in product.bands]
        if product.classes is not None and product.classes_header is not None:
            wanted.append((product.classes, product.classes_header))
        for band, header in wanted:
            window = window_around(header, box, target.crs, _MARGIN)
            if window is not None and _is_jp2(band.path):
                path = scratch / f"{len(jobs)}.tif"
                jobs.setdefault(band.path, _Unpacking(origin=band.path, window=window, path=path))
    for _ in ordered(executor, _unpack, jobs.values(), _WINDOW):
        pass
    return [_moved(product, {origin: job.path for origin, job in jobs.items()}) for product in products]


def _unpack(job: _Unpacking) -> None:
    """Copy a window to the same place in a GeoTIFF; beyond it there is nothing, and nothing is stored."""
    with _open(job.origin) as packed:
        step = packed.block_shapes[0][0]
        rows, columns = packed.shape
        layout = {"tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK, "compress": "ZSTD", "zstd_level": 1}
        size = {"count": packed.count, "height": rows, "width": columns, "dtype": packed.dtypes[0]}
        place = {"crs": packed.crs, "transform": packed.transform}
        profile = {**size, **layout, **place, "predictor": 2, "bigtiff": "IF_SAFER"}
        with writing_scratch(job.path):
            plain = rasterio.open(job.path, "w", driver="GTiff", **profile)
        with plain:
            left, width = job.window.col_off, job.window.width
            bottom = job.window.row_off + job.window.height
            for top in range(job.window.row_off // step * step, bottom, step):
                strip = Window(left, top, width, min(step, rows - top))
                pixels = packed.read(window=strip)
                with writing_scratch(job.path):
                    plain.write(pixels, window=strip)
        with writing_scratch(job.path):
            check_written(job.path)


def _moved(product: Product, paths: Mapping[Path, Path]) -> Product:
    bands = tuple(replace(band, path=paths.get(band.path, band.path)) for band in product.bands)
    classes = product.classes
    if classes is not None:
        classes = replace(classes, path=paths.get(classes.path, classes.path))
    return replace(product, bands=bands, classes=classes)


# --- clouds -----------------------------------------------------------------------------------------------------------


def cloud_shares(products: Sequence[Product], target: Target, executor: Executor) -> Mapping[str, float]:
    """Give percent of cloud and of shadow among the classified pixels of products whose centre is in a target.

    Nothing where a product has no classification. Where products overlap, each counts. Raises ``RasterError``.
    """
    counts = np.zeros(3, dtype=np.int64)
    for product in products:
        if product.classes_header is None:
            return {}
        span = span_of(product.classes_header, target)
        if span is not None:
            count = partial(_count_classes, product, target)
            counts += sum(found for _, found in ordered(executor, count, windows_of(span), _WINDOW))
    known, cloud, shadow = (int(value) for value in counts)
    if not known:
        return {}
    return {"cloud_percent": round(100 * cloud / known, 2), "shadow_percent": round(100 * shadow / known, 2)}


def _count_classes(product: Product, target: Target, window: Window) -> npt.NDArray[np.int64]:
    """Count classified pixels, cloud and shadow of a window of the classification."""
    header, band = product.classes_header, product.classes
    if header is None or band is None:
        return np.zeros(3, dtype=np.int64)
    rows, columns = np.mgrid[
        window.row_off : window.row_off + window.height, window.col_off : window.col_off + window.width
    ]
    classes = _read(band, window)[inside(header.transform, header.crs, rows, columns, target)]
    groups = classes != 0, np.isin(classes, CLOUD), np.isin(classes, SHADOW)
    return np.array([np.count_nonzero(group) for group in groups], dtype=np.int64)
