"""The map of a collection: where its areas and tiles lie; large with words for papers, small as its thumbnail.

Tiles are read from the collection's index, words from its document. The same release, the same Pillow and the same
coasts give the same bytes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely
from pyproj import CRS

from catalog_builder import coast, contents, layout
from catalog_builder.cartography import Shape
from catalog_builder.catalog import AreaSummary
from catalog_builder.charts import MOST_INSETS, Chart, draw, draw_small
from catalog_builder.contents import Document
from catalog_builder.errors import ReleaseError
from catalog_builder.thumbnail import COLLECTION_SIZE

_MOST_OUTLINES = 4_000
"""Tiles up to which their outlines are read; boxes serve for more."""
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tiles:
    """What the index tells of tiles, row by row."""

    areas: npt.NDArray[np.str_]
    boxes: npt.NDArray[np.float64]
    """West, south, east, north in degrees, (n, 4)."""
    outlines: tuple[tuple[npt.NDArray[np.float64], ...], ...]
    """Outer rings of each tile in degrees; empty where they were not read."""
    names: tuple[str, ...]
    synthetic: Mapping[str, int]
    """Tiles with made-up pixels by modality."""
    attributions: Mapping[str, str | None]


def write_maps(release: Path, out: Path) -> list[Path]:
    """Draw one PNG a collection into the folder ``out``: ``map_<collection>.png``.

    Raises ``UsageError`` for a folder that is no release, ``ReleaseError`` for a file of the release that cannot be
    read or a picture that cannot be written.
    """
    world = coast.read()
    pictures = {}
    for href in contents.collections(release):
        chart = describe(release, href)
        pictures[out / f"map_{href.split('/')[0]}.png"] = draw(chart, world)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for path, data in pictures.items():
            path.write_bytes(data)
    except OSError as error:
        raise ReleaseError(f"{error.filename or out}: {error.strerror or error}") from error
    return list(pictures)


def thumbnail(areas: Sequence[AreaSummary]) -> bytes:
    """Draw the thumbnail of a collection from the boxes of its areas; there is at least one."""
    shapes = [
        Shape(number=number, title=area.title, words="", boxes=np.array([area.bbox], dtype=np.float64))
        for number, area in enumerate(areas, start=1)
    ]
    return draw_small(shapes, coast.read(), *COLLECTION_SIZE)


def describe(release: Path, href: str) -> Chart:
    """Tell what the map of the collection at ``href`` shows."""
    collection = contents.read(release, href)
    areas = contents.areas(release, href)
    index = release / layout.index(href.split("/")[0])
    with contents.as_written(index):
        tiles = _read_tiles(index, len(areas), list(collection.get("item_assets", ())))
        shapes = tuple(_shapes(areas, tiles))
    with contents.as_written(release / href):
        present = {key: tiles.attributions.get(key) for key in collection["item_assets"] if _count(areas, key)}
        return Chart(
            title=str(collection.get("title", collection["id"])),
            subtitle=_subtitle(collection, areas, len(tiles.areas)),
            shapes=shapes,
            notes=tuple(contents.notes(list(_made_up(areas, tiles, present)), present)),
        )


def _count(areas: Sequence[AreaSummary], key: str) -> int:
    return sum(area.assets.get(key, 0) for area in areas)


def _made_up(areas: Sequence[AreaSummary], tiles: _Tiles, present: Mapping[str, str | None]) -> Iterator[str]:
    """Name the modalities with made-up pixels; and of how many tiles, where not of all."""
    for key in present:
        count, total = tiles.synthetic.get(key, 0), _count(areas, key)
        if count:
            yield key if count == total else f"{key} ({count:,} of {total:,} tiles)"


def _subtitle(collection: Document, areas: Sequence[AreaSummary], tiles: int) -> str:
    grid = collection["dream:grid"]
    resolution, (rows, columns) = float(grid["resolution"]), grid["tile_shape"]
    units = {CRS(area.crs).axis_info[0].unit_name for area in areas}
    unit = units.pop() if len(units) == 1 else ""
    size = f"{columns} x {rows} pixels of {resolution:g} {'m' if unit == 'metre' else unit}".rstrip()
    ground = f", {columns * resolution / 1000:g} x {rows * resolution / 1000:g} km" if unit == "metre" else ""
    counted = f"{_counted(len(areas), 'area')} · {_counted(tiles, 'tile')}"
    return f"{counted} of {size}{ground}"


def _counted(number: int, word: str) -> str:
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


# --- tiles ------------------------------------------------------------------------------------------------------------


def _read_tiles(path: Path, areas: int, modalities: Sequence[str]) -> _Tiles:
    """Read an index: of large collections boxes and areas alone."""
    leaves = [f"assets.{key}.dream:{name}" for key in modalities for name in ("synthetic", "attribution")]
    try:
        with pq.ParquetFile(path) as file:
            detailed = areas <= MOST_INSETS and file.metadata.num_rows <= _MOST_OUTLINES
            wanted = ["bbox", "dream:area", *(["id", "geometry"] if detailed else []), *leaves]
            table = file.read(columns=wanted)
    except OSError as error:
        raise ReleaseError(f"{path}: cannot read: {error.strerror or error}") from error
    boxes = table["bbox"].combine_chunks()
    corners = np.stack([pc.struct_field(boxes, name).to_numpy(zero_copy_only=False) for name in _CORNERS], axis=1)
    if not len(corners) or not (np.abs(corners) <= (180, 90, 180, 90)).all():
        raise ValueError("bbox holds what is no box in degrees")
    geometries = shapely.from_wkb(table["geometry"].to_numpy()) if detailed else []
    assets = table["assets"].combine_chunks() if "assets" in table.column_names else pa.array([], pa.struct([]))
    return _Tiles(
        areas=np.array(table["dream:area"].to_pylist(), dtype=np.str_),
        boxes=corners,
        outlines=tuple(tuple(_rings(geometry)) for geometry in geometries),
        names=tuple(table["id"].to_pylist()) if detailed else (),
        synthetic={key: int(pc.sum(found).as_py() or 0) for key, found in _leaf(assets, modalities, "synthetic")},
        attributions={key: _first(found) for key, found in _leaf(assets, modalities, "attribution")},
    )


def _leaf(assets: pa.StructArray, modalities: Sequence[str], name: str) -> Iterator[tuple[str, pa.Array]]:
    """Give one field of each modality that has it."""
    for key in modalities:
        place = assets.type.get_field_index(key)
        if place >= 0 and assets.type[place].type.get_field_index(f"dream:{name}") >= 0:
            yield key, pc.struct_field(assets, [key, f"dream:{name}"])


def _first(credits: pa.Array) -> str | None:
    """Join the different credits of a modality, in the order in which tiles tell them."""
    return "; ".join(str(credit) for credit in pc.unique(credits).to_pylist() if credit) or None


def _rings(geometry: shapely.Geometry) -> Iterator[npt.NDArray[np.float64]]:
    for part in shapely.get_parts(geometry):
        yield shapely.get_coordinates(shapely.get_exterior_ring(part))


def _shapes(areas: Sequence[AreaSummary], tiles: _Tiles) -> Iterator[Shape]:
    order = np.argsort(tiles.areas, kind="stable")
    names, starts = np.unique(tiles.areas[order], return_index=True)
    rows = dict(zip(names.tolist(), np.split(order, starts[1:]), strict=True))
    if strange := sorted(rows.keys() - {area.id for area in areas}):
        raise ValueError(f"tiles of an area that the collection does not link: {strange[0]!r}")
    for number, area in enumerate(areas, start=1):
        if area.id not in rows:
            raise ValueError(f"no tile of area {area.id!r}")
        own = rows[area.id].tolist()
        rings = [(ring, tiles.names[row]) for row in own if tiles.outlines for ring in tiles.outlines[row]]
        yield Shape(
            number=number,
            title=area.title,
            words=_words(area, len(own)),
            boxes=tiles.boxes[own],
            outlines=tuple(ring for ring, _ in rings),
            labels=tuple(name.removeprefix(f"{area.id}_") for _, name in rings),
        )


def _words(area: AreaSummary, tiles: int) -> str:
    west, south, east, north = area.bbox
    longitude = ((west + east + (360 if west > east else 0)) / 2 + 180) % 360 - 180
    latitude = (south + north) / 2
    place = f"{abs(latitude):.2f}° {'NS'[latitude < 0]} {abs(longitude):.2f}° {'EW'[longitude < 0]}"
    return f"{_counted(tiles, 'tile')} · {place} · {area.crs}"
