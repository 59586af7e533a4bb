"""Where an extract of OpenStreetMap ends: a box, a polygon file (``.poly``) or GeoJSON, in degrees of WGS 84."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import shapely
from shapely.errors import GEOSException
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry

from catalog_builder.errors import UsageError
from catalog_builder.grid import Bounds

_POLY, _GEOJSON = (".poly",), (".geojson", ".json")
_END, _HOLE = "END", "!"
_MAX_BYTES = 2**26
_WORLD = shapely.box(-180, -90, 180, 90)


def box_outline(box: Bounds, where: str) -> BaseGeometry:
    """Give a box (west, south, east, north) as an outline. Raises ``UsageError`` naming ``where``."""
    if not box.left < box.right or not box.bottom < box.top or not _WORLD.contains(shapely.box(*box)):
        raise UsageError(f"{where} {' '.join(f'{value:g}' for value in box)}: west south east north, in degrees")
    return shapely.box(*box)


def choose_outline(
    file: Path | None, extent: tuple[float, ...] | None, box: Bounds | None, extract: Path
) -> BaseGeometry:
    """Give the outline that was named, or the box of the extract's own header. Raises ``UsageError`` without any."""
    if file is not None and extent is not None:
        raise UsageError("--outline and --extent exclude each other")
    if file is not None:
        return read_outline(file)
    if extent is not None:
        return box_outline(Bounds(*extent), "--extent")
    if box is None:
        raise UsageError(
            f"{extract}: does not tell where it ends; name its --outline FILE, or its --extent WEST SOUTH EAST NORTH"
        )
    return box_outline(box, f"{extract}: box")


def read_outline(path: Path) -> BaseGeometry:
    """Read a polygon file or GeoJSON with polygons, longitude first. Raises ``UsageError`` naming the file."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise UsageError(f"{path}: more than {_MAX_BYTES:,} bytes is no outline")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"{path}: cannot read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not text: {error}") from error
    if path.suffix.lower() in _GEOJSON:
        outline = _geojson(text, path)
    elif path.suffix.lower() in _POLY:
        outline = _poly(text, path)
    else:
        raise UsageError(f"{path}: an outline is a {', '.join((*_POLY, *_GEOJSON))} file")
    if outline.is_empty or not _WORLD.contains(outline):
        raise UsageError(f"{path}: no polygon in degrees, longitude from -180 to 180 first, then latitude")
    return outline


def _geojson(text: str, path: Path) -> BaseGeometry:
    try:
        found = shapely.get_parts(shapely.get_parts(shapely.from_geojson(text)))
    except GEOSException as error:
        raise UsageError(f"{path}: not GeoJSON: {' '.join(str(error).split())}") from error
    return _joined([each for each in found if each.geom_type.endswith("Polygon")])


def _joined(areas: Sequence[BaseGeometry]) -> BaseGeometry:
    return shapely.union_all(shapely.make_valid(np.array(areas, object)))


def _poly(text: str, path: Path) -> BaseGeometry:
    """Read the polygon filter format of Osmosis: a title, then rings by name, ``!`` before holes, each up to END."""
    lines = iter([line.strip() for line in text.splitlines() if line.strip()][1:])
    rings: list[BaseGeometry] = []
    holes: list[BaseGeometry] = []
    for name in lines:
        if name == _END:
            break
        (holes if name.startswith(_HOLE) else rings).append(_ring(lines, f"{path}: ring {name!r}"))
    return shapely.difference(_joined(rings), _joined(holes))


def _ring(lines: Iterator[str], where: str) -> BaseGeometry:
    points = []
    for line in lines:
        if line == _END:
            break
        try:
            x, y = map(float, line.split())
            points.append(_checked(x, y))
        except ValueError as error:
            raise UsageError(f"{where}: {line!r} is no longitude and latitude") from error
    else:
        raise UsageError(f"{where}: has no {_END}; truncated?")
    if len(points) < 3:
        raise UsageError(f"{where}: has {len(points)} points")
    return Polygon(points)


def _checked(x: float, y: float) -> tuple[float, float]:
    if not (math.isfinite(x) and math.isfinite(y)):
        raise ValueError("not finite")
    return x, y
