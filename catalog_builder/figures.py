"""One tile in all its modalities, as one picture: what a person looks at before believing a release.

Everything shown is read from the release: colours from the collection's ``renders``, titles, dates and credits from the
item. The same release and the same Pillow give the same bytes.
"""

import math
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from pystac.utils import str_to_datetime
from rasterio.crs import CRS
from rasterio.errors import RasterioError

from catalog_builder import jsonio, layout
from catalog_builder.catalog import AreaSummary
from catalog_builder.errors import ReleaseError, UsageError
from catalog_builder.thumbnail import draw

try:
    from PIL import Image, ImageDraw, ImageFont
except ImportError as error:
    raise UsageError("pictures need Pillow: pip install 'catalog-builder[figures]'") from error

CELL = 384
"""Pixels a side of one modality in a panel."""

_MARGIN = 16
_CAPTION = 62
"""Height of the text above a cell."""
_INK, _QUIET, _PAPER = "#1a1a1a", "#5a5a5a", "#ffffff"
_CHECKS = (np.uint8(228), np.uint8(246))
"""Grey levels of the chequered ground that shows where nothing is valid."""
_CHECK_PIXELS = 8
_METRES_PER_DEGREE = 111_320.0
_BAR_SHARE = 0.3
"""Largest part of a cell's width that its scale bar takes."""
_STDDEVS = 2
"""Half-width of the stretch of a modality without a render, in standard deviations."""
_LEAST_TEXT = 5.0
_FONT_HAS = frozenset("©·°")
"""What Pillow's own font can write beyond ASCII."""
_WRITTEN_AS = str.maketrans(
    {"–": "-", "—": "-", "−": "-", "×": "x", "’": "'", "“": '"', "”": '"', "œ": "oe", "ß": "ss"}
)

_WHITE = (255, 255, 255)
_MAX_EXACT = 128
"""Colours of the palette that are given away before the pictures get theirs."""

Picture = Image.Image
Canvas = ImageDraw.ImageDraw
Colour = tuple[int, int, int]
Document = Mapping[str, Any]


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
    item = _read(release, href)
    with _as_written(release / href):
        collection = _read(release, layout.collection(item["collection"]))
        panel = describe(release / href, item, collection, cell)
    return _png(compose(panel, cell), panel.exact)


# --- what is in the release -------------------------------------------------------------------------------------------


def _read(release: Path, href: str) -> dict[str, Any]:
    try:
        return dict(jsonio.read(release / href))
    except OSError as error:
        raise UsageError(f"{release / href}: cannot read: {error.strerror}; is {release} a release?") from error
    except (ValueError, TypeError) as error:
        raise ReleaseError(f"{release / href}: not a STAC document: {error}") from error


@contextmanager
def _as_written(path: Path) -> Iterator[None]:
    """Turn what goes wrong with a document or a COG that was changed after the build into one line."""
    try:
        yield
    except RasterioError as error:
        raise ReleaseError(f"{path}: {' '.join(str(error).split())}") from error
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ReleaseError(f"{path}: not as catalog-builder writes it: {error!r}") from error


def _areas(release: Path) -> Iterator[tuple[str, AreaSummary]]:
    """Give collection and summary of every area, as the release links them."""
    for collection in _children(release, layout.CATALOG):
        for area in _children(release, collection):
            document = _read(release, area)
            with _as_written(release / area):
                summary = AreaSummary.from_catalog(document)
            yield collection.split("/")[0], summary


def _children(release: Path, href: str) -> list[str]:
    document = _read(release, href)
    with _as_written(release / href):
        targets = [layout.resolve(link["href"], href) for link in document["links"] if link["rel"] == "child"]
    return [target for target in targets if target is not None]


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
    _scale_bar(ImageDraw.Draw(picture), ground, cell)
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
    """Give each credit once, with the modalities that it is for; made-up pixels owe nobody, and say so."""
    synthetic = [key for key, asset in assets.items() if asset.get("dream:synthetic")]
    if synthetic:
        which = "All of it" if len(synthetic) == len(assets) else ", ".join(synthetic)
        yield f"SYNTHETIC: {which} was made up by a program for demonstration; no instrument measured it."
    credits: dict[str, list[str]] = {}
    for key, asset in assets.items():
        if asset.get("dream:attribution"):
            credits.setdefault(asset["dream:attribution"], []).append(key)
    if credits and synthetic:
        yield "What real data of these modalities would have to be credited with:"
    yield from (f"{', '.join(keys)}: {credit}" for credit, keys in credits.items())


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


def bar_length(metres: float) -> float:
    """Give the largest of 1, 2 or 5 times a power of ten that is no more than ``metres``."""
    power = 10.0 ** math.floor(math.log10(metres))
    return next(step * power for step in (5, 2, 1) if step * power <= metres)


def _scale_bar(canvas: Canvas, ground: float, cell: int) -> None:
    metres = bar_length(ground * _BAR_SHARE)
    length, left, bottom = round(metres / ground * cell), 12, cell - 12
    label = f"{metres / 1000:g} km" if metres >= 1000 else f"{metres:g} m"
    canvas.rectangle((left - 1, bottom - 6, left + length + 1, bottom), fill="#000000")
    canvas.rectangle((left, bottom - 5, left + length, bottom - 1), fill="#ffffff")
    canvas.text((left, bottom - 25), label, font=_font(15), fill="#ffffff", stroke_width=2, stroke_fill="#000000")


def _legend(asset: Document, render: Document, cell: int) -> Cell | None:
    """Give the meaning of class colours, or None for a modality without classes."""
    classes = asset["bands"][0].get("classification:classes", ())
    colours = _class_colours(render)
    shown = [entry for entry in classes if not entry.get("nodata") and entry["value"] in colours]
    if not shown:
        return None
    picture = Image.new("RGB", (cell, cell), _PAPER)
    canvas = ImageDraw.Draw(picture)
    step = min(30, cell / len(shown))
    for number, entry in enumerate(shown):
        top = number * step
        box = (0, top + 0.1 * step, 1.6 * step, top + 0.85 * step)
        canvas.rectangle(box, fill=colours[entry["value"]], outline="#808080")
        label = _plain(str(entry.get("title", entry.get("name", entry["value"]))))
        canvas.text((2 * step, top + step / 2), label, font=_font(step / 2), fill=_INK, anchor="lm")
    return Cell(title="Legend", lines=(str(render["title"]),), picture=picture)


def compose(panel: Panel, cell: int) -> Picture:
    """Lay a panel out: words above, cells in rows, notes below."""
    columns = _columns(len(panel.cells))
    rows = math.ceil(len(panel.cells) / columns)
    width = _MARGIN + columns * (cell + _MARGIN)
    head = _wrapped([(panel.title, 24, _INK), (panel.subtitle, 15, _QUIET)], width - 2 * _MARGIN)
    foot = _wrapped([(note, 14, _QUIET) for note in panel.notes], width - 2 * _MARGIN)
    top = _MARGIN + _height(head) + _MARGIN // 2
    bottom = top + rows * (_CAPTION + cell + _MARGIN)
    picture = Image.new("RGB", (width, bottom + _height(foot) + _MARGIN), _PAPER)
    canvas = ImageDraw.Draw(picture)
    _write_lines(canvas, head, _MARGIN, _MARGIN)
    for number, content in enumerate(panel.cells):
        row, column = divmod(number, columns)
        left, upper = _MARGIN + column * (cell + _MARGIN), top + row * (_CAPTION + cell + _MARGIN)
        _write_lines(canvas, _caption(content, cell), left, upper)
        picture.paste(content.picture, (left, upper + _CAPTION))
    _write_lines(canvas, foot, _MARGIN, bottom)
    return picture


def _columns(cells: int) -> int:
    """Give the number of columns, at most four, that leaves the fewest places empty."""
    return cells if cells <= 3 else min((4, 3), key=lambda columns: -cells % columns)


Line = tuple[str, float, str]
"""Text, size and colour."""


def _caption(content: Cell, width: int) -> list[Line]:
    """Give the three lines above a cell, each shrunk until it fits."""
    lines = [(content.title, 16, _INK), *((text, 13, _QUIET) for text in content.lines)]
    return [(text, _fitting(text, size, width), colour) for text, size, colour in lines]


def _fitting(text: str, size: float, width: int) -> float:
    """Shrink until it fits: the length of hinted letters is not in proportion to their size."""
    while size > _LEAST_TEXT and _font(size).getlength(_plain(text)) > width:
        size -= 0.5
    return size


def _wrapped(lines: Iterable[Line], width: int) -> list[Line]:
    """Break lines at spaces so that each is at most ``width`` pixels long."""
    broken: list[Line] = []
    for text, size, colour in lines:
        line = ""
        for word in _plain(text).split(" "):
            longer = f"{line} {word}" if line else word
            if line and _font(size).getlength(longer) > width:
                broken.append((line, size, colour))
                longer = word
            line = longer
        broken.append((line, size, colour))
    return broken


def _height(lines: Iterable[Line]) -> int:
    return sum(_line_height(size) for _, size, _ in lines)


def _line_height(size: float) -> int:
    return math.ceil(1.3 * size)


def _write_lines(canvas: Canvas, lines: Iterable[Line], left: int, top: int) -> None:
    for text, size, colour in lines:
        canvas.text((left, top), _plain(text), font=_font(size), fill=colour)
        top += _line_height(size)


def _font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Give the font that comes with Pillow, so that no machine's fonts show."""
    return ImageFont.load_default(size)


def _plain(text: str) -> str:
    """Write text with the letters that the font has: accents are dropped rather than boxes drawn."""
    letters = unicodedata.normalize("NFC", text.translate(_WRITTEN_AS))
    return "".join(letter if letter.isascii() or letter in _FONT_HAS else _bare(letter) for letter in letters)


def _bare(letter: str) -> str:
    plain = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
    return plain or "?"


def _png(picture: Picture, exact: Sequence[Colour]) -> bytes:
    """Pack with a palette of 256 colours, which speckle does not show and which takes a third of the bytes."""
    kept = [_WHITE, *exact[:_MAX_EXACT]]
    free = 256 - len(kept)
    # Without k-means the error is half as large again, and seen in the fields.
    chosen = picture.quantize(free, method=Image.Quantize.MEDIANCUT, kmeans=1)
    places, pixels = np.array(chosen), np.asarray(picture)
    for number, colour in enumerate(kept, start=free):
        places[(pixels == colour).all(axis=-1)] = number
    palette = (chosen.getpalette() or [])[: 3 * free]
    packed = Image.fromarray(places)
    packed.putpalette([*palette, *[0] * (3 * free - len(palette)), *(level for colour in kept for level in colour)])
    target = BytesIO()
    packed.save(target, format="PNG", optimize=True)
    return target.getvalue()
