"""One tile in all its modalities, as one picture: what a person looks at before believing a release.

Everything shown is read from the release: colours from the collection's ``renders``, titles, dates and credits from the
item. The same release and the same Pillow give the same bytes.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from pystac.utils import str_to_datetime
from rasterio.crs import CRS

from catalog_builder import contents, layout
from catalog_builder.catalog import AreaSummary
from catalog_builder.contents import Document
from catalog_builder.drawing import (
    INK,
    MARGIN,
    PAPER,
    QUIET,
    Colour,
    Line,
    Picture,
    fitting,
    font,
    height,
    plain,
    png,
    scale_bar,
    wrapped,
    write_lines,
)
from catalog_builder.errors import ReleaseError, UsageError
from catalog_builder.thumbnail import draw

CELL = 384
"""Pixels a side of one modality in a panel."""

_CAPTION = 62
"""Height of the text above a cell."""
_CHECKS = (np.uint8(228), np.uint8(246))
"""Grey levels of the chequered ground that shows where nothing is valid."""
_CHECK_PIXELS = 8
_METRES_PER_DEGREE = 111_320.0
_BAR_SHARE = 0.3
"""Largest part of a cell's width that its scale bar takes."""
_STDDEVS = 2
"""Half-width of the stretch of a modality without a render, in standard deviations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One picture of a panel with its words."""

    title: str
    lines: tuple[str, ...]
    picture: Picture


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """All that one figure shows."""

    title: str
    subtitle: str
    cells: tuple[Cell, ...]
    notes: tuple[str, ...]
    """Credits, and what else has to be said."""
    exact: tuple[Colour, ...]
    """Colours that mean something, so that no palette may bend them."""


def write_figures(release: Path, out: Path, items: Sequence[str] = (), cell: int = CELL) -> list[Path]:
    """Draw one PNG an item into the folder ``out``; without ``items``, the fullest of each area.

    Raises ``UsageError`` for an item that is not there or a folder that is no release, ``ReleaseError`` for a file of
    the release that cannot be read or a picture that cannot be written.
    """
    areas = list(_areas(release))
    hrefs = [_find(release, areas, name) for name in items] or [href for area in areas if (href := _fullest(*area))]
    if not hrefs:
        raise UsageError(f"{release}: no area has a thumbnail to choose an item by; name items with --item")
    names = [Path(href).stem for href in hrefs]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"{release}: two items to draw are called {twice!r}, and one picture cannot show both")
    try:
        out.mkdir(parents=True, exist_ok=True)
        return [
            _write(out / f"{name}.png", figure(release, href, cell)) for name, href in zip(names, hrefs, strict=True)
        ]
    except OSError as error:
        raise ReleaseError(f"{error.filename or out}: {error.strerror or error}") from error


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def figure(release: Path, href: str, cell: int = CELL) -> bytes:
    """Draw the item at ``href`` of a release as PNG."""
    item = contents.read(release, href)
    with contents.as_written(release / href):
        collection = contents.read(release, layout.collection(item["collection"]))
        panel = describe(release / href, item, collection, cell)
    return png(compose(panel, cell), panel.exact)


# --- what is in the release -------------------------------------------------------------------------------------------


def _areas(release: Path) -> Iterator[tuple[str, AreaSummary]]:
    """Give collection and summary of every area, as the release links them."""
    for collection in contents.collections(release):
        yield from ((collection.split("/")[0], area) for area in contents.areas(release, collection))


def _find(release: Path, areas: Iterable[tuple[str, AreaSummary]], name: str) -> str:
    """Find an item by its id. Raises ``UsageError`` where there is none, or more than one."""
    found = [layout.item(collection, area.id, name) for collection, area in areas if name.startswith(f"{area.id}_x")]
    found = [href for href in found if layout.parse_item(f"{name}/{name}.json") and (release / href).is_file()]
    if len(found) != 1:
        raise UsageError(f"{release}: {len(found) or 'no'} items are called {name!r}")
    return found[0]


def _fullest(collection: str, area: AreaSummary) -> str | None:
    """Give the item whose thumbnail stands for its area."""
    item = area.thumbnail.split("/")[-2] if area.thumbnail else None
    return item and layout.item(collection, area.id, item)


# --- what the panel says ----------------------------------------------------------------------------------------------


def describe(path: Path, item: Document, collection: Document, cell: int) -> Panel:
    """Tell what the panel of an item shows. ``path`` is that of the item's document."""
    assets = {key: item["assets"][key] for key in collection["item_assets"] if key in item["assets"]}
    if not assets:
        raise ValueError("no modality of its collection")
    renders = {key: _render(key, asset, collection) for key, asset in assets.items()}
    ground = _metres_across(item["properties"])
    drawn = [_modality(path, key, asset, renders[key], ground, cell) for key, asset in assets.items()]
    legends = [_legend(asset, renders[key], cell) for key, asset in assets.items()]
    return Panel(
        title=item["properties"].get("title", item["id"]),
        subtitle=_subtitle(item, collection),
        cells=(*drawn, *(legend for legend in legends if legend)),
        notes=tuple(_notes(assets)),
        exact=tuple(sorted({colour for render in renders.values() for colour in _class_colours(render).values()})),
    )


def _subtitle(item: Document, collection: Document) -> str:
    properties = item["properties"]
    rows, columns = properties["proj:shape"]
    west, south, east, north = item["bbox"]
    longitude = (west + east + (360 if west > east else 0)) / 2
    absent = properties.get("dream:absent")
    parts = (
        collection.get("title", collection["id"]),
        f"{columns} x {rows} pixels of {properties['proj:transform'][0]:g} m in {properties['proj:code']}",
        f"{_degrees((south + north) / 2, 'NS')} {_degrees((longitude + 180) % 360 - 180, 'EW')}",
        *([f"not here: {', '.join(absent)}"] if absent else []),
    )
    return " · ".join(parts)


def _degrees(value: float, letters: str) -> str:
    return f"{abs(value):.3f}° {letters[value < 0]}"


def _modality(path: Path, key: str, asset: Document, render: Document, ground: float, cell: int) -> Cell:
    picture = _on_checks(draw(path.parent / layout.asset_file(key), render, cell))
    scale_bar(ImageDraw.Draw(picture), ground / cell, _BAR_SHARE * cell, (12, cell - 12))
    return Cell(title=f"{key} · {asset.get('title', key)}", lines=(_dates(asset), render["title"]), picture=picture)


def _render(key: str, asset: Document, collection: Document) -> dict[str, Any]:
    """Give the render that the template has for a modality, else a stretch of its first band by its statistics."""
    renders = collection.get("renders", {})
    named = [renders[key]] if key in renders else []
    render = next((entry for entry in [*named, *renders.values()] if entry.get("assets") == [key]), None)
    if render is None:
        band = asset["bands"][0]
        mean, spread = band["statistics"]["mean"], _STDDEVS * band["statistics"]["stddev"] or 1.0
        return {"title": f"{band['name']}, stretched", "bidx": [1], "rescale": [[mean - spread, mean + spread]]}
    return _local_ramp({"title": "", **render}, asset)


def _local_ramp(render: dict[str, Any], asset: Document) -> dict[str, Any]:
    """Stretch a colour ramp to the values of this tile, and say so: a plain has hills too.

    The part of the ramp that is for values below zero, such as the sea, stays theirs.
    """
    if "colormap_name" not in render or "rescale" not in render:
        return render
    band = asset["bands"][render.get("bidx", [1])[0] - 1]
    least, most = band["statistics"]["minimum"], band["statistics"]["maximum"]
    low, high = render["rescale"][0]
    base = max(least, min(most, 0.0))
    below = -low / high if low < 0 < high else 0.0
    span = max(most - base, 1.0)
    unit = f" {band['unit']}" if band.get("unit") else ""
    title = f"{render['title']}, {least:g} to {most:g}{unit}"
    return {**render, "title": title, "rescale": [[min(base - below * span, base), base + span]]}


def _class_colours(render: Document) -> dict[int, Colour]:
    """Give the colour of each class of a render that shows any."""
    return {int(value): (red, green, blue) for value, (red, green, blue, *_) in render.get("colormap", {}).items()}


def _dates(asset: Document) -> str:
    start, end = (str_to_datetime(asset[name]) for name in ("start_datetime", "end_datetime"))
    return f"{start:%Y-%m-%d %H:%M} UTC" if start == end else f"{start:%Y-%m-%d} to {end:%Y-%m-%d}"


def _notes(assets: Mapping[str, Document]) -> Iterator[str]:
    synthetic = [key for key, asset in assets.items() if asset.get("dream:synthetic")]
    return contents.notes(synthetic, {key: asset.get("dream:attribution") for key, asset in assets.items()})


# --- drawing ----------------------------------------------------------------------------------------------------------


def _on_checks(colours: np.ndarray[Any, np.dtype[np.uint8]]) -> Picture:
    """Lay an image (4, rows, columns) with its alpha on a chequered ground."""
    rows, columns = np.indices(colours.shape[1:]) // _CHECK_PIXELS
    ground = np.where((rows + columns) % 2, *_CHECKS)
    picture = np.where(colours[3] > 0, colours[:3], ground)
    return Image.fromarray(np.ascontiguousarray(np.moveaxis(picture, 0, -1)))


def _metres_across(properties: Document) -> float:
    """Ground that a tile covers from west to east, in metres."""
    crs, (a, _, _, _, _, f) = CRS.from_user_input(properties["proj:code"]), properties["proj:transform"][:6]
    across = float(properties["proj:shape"][1] * a)
    if crs.is_projected:
        return across * float(crs.linear_units_factor[1])
    return across * _METRES_PER_DEGREE * math.cos(math.radians(f))


def _legend(asset: Document, render: Document, cell: int) -> Cell | None:
    """Give the meaning of class colours, or None for a modality without classes."""
    classes = asset["bands"][0].get("classification:classes", ())
    colours = _class_colours(render)
    shown = [entry for entry in classes if not entry.get("nodata") and entry["value"] in colours]
    if not shown:
        return None
    picture = Image.new("RGB", (cell, cell), PAPER)
    canvas = ImageDraw.Draw(picture)
    step = min(30, cell / len(shown))
    for number, entry in enumerate(shown):
        top = number * step
        box = (0, top + 0.1 * step, 1.6 * step, top + 0.85 * step)
        canvas.rectangle(box, fill=colours[entry["value"]], outline="#808080")
        label = plain(str(entry.get("title", entry.get("name", entry["value"]))))
        canvas.text((2 * step, top + step / 2), label, font=font(step / 2), fill=INK, anchor="lm")
    return Cell(title="Legend", lines=(str(render["title"]),), picture=picture)


def compose(panel: Panel, cell: int) -> Picture:
    """Lay a panel out: words above, cells in rows, notes below."""
    columns = _columns(len(panel.cells))
    rows = math.ceil(len(panel.cells) / columns)
    width = MARGIN + columns * (cell + MARGIN)
    head = wrapped([(panel.title, 24, INK), (panel.subtitle, 15, QUIET)], width - 2 * MARGIN)
    foot = wrapped([(note, 14, QUIET) for note in panel.notes], width - 2 * MARGIN)
    top = MARGIN + height(head) + MARGIN // 2
    bottom = top + rows * (_CAPTION + cell + MARGIN)
    picture = Image.new("RGB", (width, bottom + height(foot) + MARGIN), PAPER)
    canvas = ImageDraw.Draw(picture)
    write_lines(canvas, head, MARGIN, MARGIN)
    for number, content in enumerate(panel.cells):
        row, column = divmod(number, columns)
        left, upper = MARGIN + column * (cell + MARGIN), top + row * (_CAPTION + cell + MARGIN)
        write_lines(canvas, _caption(content, cell), left, upper)
        picture.paste(content.picture, (left, upper + _CAPTION))
    write_lines(canvas, foot, MARGIN, bottom)
    return picture


def _columns(cells: int) -> int:
    """Give the number of columns, at most four, that leaves the fewest places empty."""
    return cells if cells <= 3 else min((4, 3), key=lambda columns: -cells % columns)


def _caption(content: Cell, width: int) -> list[Line]:
    """Give the three lines above a cell, each shrunk until it fits."""
    lines = [(content.title, 16, INK), *((text, 13, QUIET) for text in content.lines)]
    return [(text, fitting(text, size, width), colour) for text, size, colour in lines]
