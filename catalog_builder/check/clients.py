"""Whether the clients that people use read what the files hold: sampled tiles, every asset and band, five ways.

The judge is ``rasterio.open(path).read()``, its bands told apart by the names inside the file, and the centres of
pixels by ``proj:transform``. Held against it are GDAL without rasterio's reading (the raw bytes that ``gdal_translate
-of ENVI`` writes, and the place that GDAL writes into a VRT), odc-stac as its users call it, ``load.to_xarray``, and
stackstac through ``load.for_stackstac``.
"""

import random
import re
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pystac
import rasterio
from affine import Affine
from rasterio.shutil import copy as copy_raster

from catalog_builder import jsonio, layout
from catalog_builder.check.findings import Finding
from catalog_builder.errors import CatalogBuilderError, UsageError
from catalog_builder.load.bands import select
from catalog_builder.load.tiles import Grid, TileAsset, TileItem, read_item
from catalog_builder.raster import crs_name
from catalog_builder.template import same_nodata

Floats = npt.NDArray[np.floating[Any]]

_MORE = 200
"""Further items of a collection that are looked at for an asset which the sampled ones lack."""
_PART_OF_A_PIXEL = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one client says of one band."""

    pixels: npt.NDArray[Any]
    """(rows, columns)."""
    x: Floats
    y: Floats
    """Centres of columns and of rows in the CRS."""
    nodata: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One asset of one item, and all that clients need to find it."""

    item: pystac.Item
    tile: TileItem
    asset: TileAsset
    href: str
    """Of the asset's file, relative to the release's root."""


Client = Callable[[Subject], Sequence[Reading]]
"""Reads every band of an asset, in the order of the item."""


def check_clients(release: Path, *, sample: int = 3, seed: int = 0) -> list[Finding]:
    """Read ``sample`` tiles of every collection with every client, and give a finding for each difference.

    Which tiles is drawn by ``seed``; tiles of other areas go first, and where those drawn lack an asset that the
    collection promises, one more that has it. Raises ``UsageError`` for a folder that is no release, and where the
    clients are not installed.
    """
    if not (release / layout.CATALOG).is_file():
        raise UsageError(f"{release}: has no {layout.CATALOG}, so it is no release")
    _check_installed()
    draw = random.Random(seed)  # noqa: S311  # which tiles are looked at is no secret
    found: list[Finding] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what clients say of libraries of theirs is no finding
        for path in sorted(release.glob(f"*/{layout.COLLECTION}")):
            chosen = _sample(path, sample, draw)
            if not chosen:
                href = path.relative_to(release).as_posix()
                found.append(Finding(href=href, rule="client-fails", message="has no item that a client could read"))
            for item in chosen:
                found += _check_item(release.resolve(), item)
    return sorted(found)


def _check_installed() -> None:
    try:
        import odc.stac  # noqa: F401
        import stackstac  # noqa: F401
    except ImportError as error:
        raise UsageError(f"{error.name or 'a client'} is not installed: pip install 'catalog-builder[load]'") from error


# --- which tiles ------------------------------------------------------------------------------------------------------


def _sample(collection: Path, count: int, draw: random.Random) -> list[Path]:
    """Draw items, one area after the other, then such as have what is still missing."""
    areas = [_shuffled(draw, _items(area)) for area in sorted(collection.parent.iterdir()) if area.is_dir()]
    # One of each area, then a second of each, and so on.
    rounds = zip_longest(*_shuffled(draw, areas))
    paths = [path for path in chain.from_iterable(rounds) if path is not None]
    chosen, rest = paths[:count], paths[count : count + _MORE]
    missing = set(_document(collection).get("item_assets", ())) - {key for path in chosen for key in _assets(path)}
    for path in rest:
        if not missing:
            break
        if found := missing & _assets(path):
            chosen.append(path)
            missing -= found
    return chosen


def _items(area: Path) -> list[Path]:
    found = (folder / f"{folder.name}.json" for folder in sorted(area.iterdir()) if folder.is_dir())
    return [path for path in found if layout.parse_item(f"{path.parent.name}/{path.name}") and path.is_file()]


def _shuffled(draw: random.Random, values: Iterable[Any]) -> list[Any]:
    listed = list(values)
    draw.shuffle(listed)
    return listed


def _document(path: Path) -> Mapping[str, Any]:
    """Read a document; nothing where it is no JSON object, which is a finding of other rules."""
    try:
        document = jsonio.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, Mapping) else {}


def _assets(path: Path) -> set[str]:
    return set(_document(path).get("assets", ()))


# --- one item ---------------------------------------------------------------------------------------------------------


def _check_item(release: Path, path: Path) -> Iterator[Finding]:
    path = path.resolve()
    href = path.relative_to(release).as_posix()
    try:
        item = pystac.Item.from_dict({**_document(path)}, href=str(path), preserve_dict=False)
        tile = read_item(item)
    except (
        CatalogBuilderError,
        pystac.STACError,
        pystac.STACTypeError,
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
    ) as error:
        yield Finding(href=href, rule="client-fails", message=f"not an item that clients could read: {_words(error)}")
        return
    if not tile.assets:
        yield Finding(href=href, rule="client-fails", message="has no raster that a client could read")
    for asset in tile.assets.values():
        file = Path(asset.href).resolve()
        inside = file.relative_to(release).as_posix() if file.is_relative_to(release) else href
        yield from _check_asset(Subject(item=item, tile=tile, asset=asset, href=inside))


def _check_asset(subject: Subject) -> Iterator[Finding]:
    clients: Mapping[str, Client] = {
        "rasterio": read_rasterio,
        "GDAL": read_gdal,
        "odc-stac": read_odc,
        "to_xarray": read_xarray,
        "stackstac": read_stackstac,
    }
    judge: Sequence[Reading] | None = None
    for name, client in clients.items():
        try:
            readings = client(subject)
        except Exception as error:  # clients raise whatever they like
            yield Finding(href=subject.href, rule="client-fails", message=f"{name}: {_words(error)}")
            if judge is None:
                return
            continue
        judge = judge or readings
        for number, (reading, right) in enumerate(zip(readings, judge, strict=True), 1):
            for rule, text in _differences(reading, right, subject.asset.grid):
                message = f"{name}: band {number} ({subject.asset.bands[number - 1].name}): {text}"
                yield Finding(href=subject.href, rule=rule, message=message)


def _differences(reading: Reading, right: Reading, grid: Grid) -> Iterator[tuple[str, str]]:
    """Compare with the file's pixels and with the place that the item gives; the file's own place too is compared."""
    place = _place_difference(reading, grid)
    if place is not None:
        yield "client-place", place
    if reading.pixels.dtype != right.pixels.dtype:
        yield "client-pixels", f"{reading.pixels.dtype}, but the file holds {right.pixels.dtype}"
    elif reading.pixels.shape != right.pixels.shape:
        yield "client-pixels", f"{_size(reading.pixels.shape)} pixels, but the file has {_size(right.pixels.shape)}"
    else:
        count = _count_differing(reading.pixels, right.pixels)
        if count:
            yield "client-pixels", f"{count} of {right.pixels.size} pixels are not those of the file"
    if not same_nodata(reading.nodata, right.nodata):
        yield "client-pixels", f"nodata {reading.nodata}, but the file has {right.nodata}"


def _count_differing(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> int:
    differ = one != other
    if np.issubdtype(one.dtype, np.inexact):
        differ &= ~(np.isnan(one) & np.isnan(other))
    return int(np.count_nonzero(differ))


def _place_difference(reading: Reading, grid: Grid) -> str | None:
    x, y = centres(Affine(*grid.transform), grid.shape)
    for axis, found, right, size in (("x", reading.x, x, grid.transform[0]), ("y", reading.y, y, -grid.transform[4])):
        if found.shape != right.shape:
            return f"{found.size} coordinates {axis}, but proj:shape says {right.size}"
        off = float(np.max(np.abs(found - right))) / size
        if not off <= _PART_OF_A_PIXEL:
            return f"coordinates {axis} are up to {off:.6g} pixels off the centres by proj:transform"
    return None


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _words(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, CatalogBuilderError) else f"{type(error).__name__}: {text}"


def centres(transform: Affine, shape: tuple[int, int]) -> tuple[Floats, Floats]:
    """Give x of the centres of columns and y of those of rows; the transform is north up."""
    rows, columns = shape
    return transform.c + transform.a * (np.arange(columns) + 0.5), transform.f + transform.e * (np.arange(rows) + 0.5)


# --- the clients ------------------------------------------------------------------------------------------------------


def read_rasterio(subject: Subject) -> list[Reading]:
    """Read as everybody does. Raises ``ValueError`` where the file's CRS or bands are not those of the item."""
    with rasterio.open(subject.asset.href) as dataset:
        crs = None if dataset.crs is None else crs_name(dataset.crs)
        if crs != subject.asset.grid.crs:
            raise ValueError(f"the file is in {crs}, but its item says {subject.asset.grid.crs}")
        x, y = centres(dataset.transform, dataset.shape)
        numbers = _numbers(subject.asset, dataset.count, dataset.descriptions)
        pixels = dataset.read(numbers)
        nodata = [dataset.nodatavals[number - 1] for number in numbers]
    return [Reading(pixels=band, x=x, y=y, nodata=fill) for band, fill in zip(pixels, nodata, strict=True)]


def _numbers(asset: TileAsset, count: int, names: Sequence[str | None]) -> list[int]:
    """Find the bands of the item in the file, by the names that the file gives them."""
    if count != len(asset.bands):
        raise ValueError(f"the file has {count} bands, but its item tells of {len(asset.bands)}")
    if None in names or len(set(names)) < count:
        return list(range(1, count + 1))
    try:
        return [names.index(band.name) + 1 for band in asset.bands]
    except ValueError as error:
        told = [band.name for band in asset.bands]
        raise ValueError(f"the file has bands {list(names)}, but its item tells of {told}") from error


def read_gdal(subject: Subject) -> list[Reading]:
    """Let GDAL write the pixels as they are in memory, and the place as text."""
    asset = subject.asset
    # stackstac leaves options of GDAL behind, under one of which ENVI does not find its own header.
    options = rasterio.Env(GDAL_PAM_ENABLED="NO", GDAL_DISABLE_READDIR_ON_OPEN="FALSE")
    with tempfile.TemporaryDirectory(prefix="check_clients_") as folder, options:
        raw, text = Path(folder) / "raw", Path(folder) / "place.vrt"
        copy_raster(asset.href, str(raw), driver="ENVI", INTERLEAVE="BSQ")
        copy_raster(asset.href, str(text), driver="VRT")
        words = text.read_text(encoding="utf-8")
        values = np.frombuffer(raw.read_bytes(), dtype=_numpy_type(words))
    columns, rows = (int(_first(rf'{axis}="(\d+)"', words)) for axis in ("rasterXSize", "rasterYSize"))
    transform = Affine.from_gdal(*(float(part) for part in _first("<GeoTransform>([^<]*)<", words).split(",")))
    x, y = centres(transform, (rows, columns))
    nodata = re.search("<NoDataValue>([^<]*)<", words)
    fill = None if nodata is None else float(nodata[1])
    return [Reading(pixels=band, x=x, y=y, nodata=fill) for band in values.reshape(-1, rows, columns)]


def _numpy_type(words: str) -> np.dtype[Any]:
    name = _first('dataType="([A-Za-z0-9]+)"', words)
    return np.dtype({"Byte": "uint8", "CFloat32": "complex64", "CFloat64": "complex128"}.get(name, name.lower()))


def _first(pattern: str, words: str) -> str:
    match = re.search(pattern, words)
    if match is None:
        raise ValueError(f"GDAL writes nothing like {pattern}")
    return match[1]


def read_odc(subject: Subject) -> list[Reading]:
    """Read with odc-stac alone, as its users do: bands by number, on the grid that the item gives."""
    import odc.stac
    from odc.geo.geobox import GeoBox

    grid, key = subject.asset.grid, subject.asset.key
    bands = [f"{key}.{number}" for number in range(1, len(subject.asset.bands) + 1)]
    box = GeoBox(grid.shape, Affine(*grid.transform), grid.crs)
    return _from_dataset(odc.stac.load([subject.item], bands=bands, geobox=box), bands)


def read_xarray(subject: Subject) -> list[Reading]:
    """Read with ``load.to_xarray``, on the grid that it finds."""
    from catalog_builder.load.cubes import to_xarray

    labels = [ref.label for ref in select([subject.tile], [subject.asset.key])]
    return _from_dataset(to_xarray(subject.tile, [subject.asset.key], chunks=None), labels)


def _from_dataset(data: Any, names: Sequence[str]) -> list[Reading]:
    x, y = data.x.values, data.y.values
    return [Reading(pixels=data[name].values[0], x=x, y=y, nodata=data[name].attrs.get("nodata")) for name in names]


def read_stackstac(subject: Subject) -> list[Reading]:
    """Read with stackstac, as ``load.for_stackstac`` tells it to."""
    import stackstac

    from catalog_builder.load.stacks import for_stackstac

    arguments = for_stackstac(subject.tile, [subject.asset.key])
    stack = stackstac.stack(**arguments)
    x, y, fill = stack.x.values, stack.y.values, float(arguments["fill_value"])
    pixels = stack.compute(scheduler="synchronous").values[0]
    return [Reading(pixels=band, x=x, y=y, nodata=fill) for band in pixels]
