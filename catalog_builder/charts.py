"""Maps as pictures: the sheet with its title, names, scale bar, degrees, insets or a legend, and credits.

Where there are few areas, each that is small on the map has an inset with its tiles; where there are more, a legend
tells their names by number.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from catalog_builder import coast
from catalog_builder.cartography import (
    EXACT,
    Mark,
    Shape,
    draw_discs,
    free_corner,
    marks_of,
    sheet,
    shows_land,
    size_of,
    write_labels,
    write_names,
    write_number,
)
from catalog_builder.coast import World
from catalog_builder.drawing import (
    INK,
    MARGIN,
    PAPER,
    QUIET,
    Canvas,
    Line,
    Picture,
    fitting,
    font,
    height,
    plain,
    png,
    scale_bar,
    text_width,
    wrapped,
    write_lines,
)
from catalog_builder.projection import Extent, Frame, extent, fit, graticule, loosened

WIDTH = 1024
"""Pixels of a map from left to right."""
MOST_INSETS = 6
"""Areas up to which each may have an inset."""

_MOST_NAMES = 36
"""Areas up to which they are numbered and named."""
_EDGE, _FOOT = 46, 22
"""Room for degrees at the left of the map, and below it."""
_LOW, _HIGH = 460, 720
"""Least and greatest height of the map itself."""
_INSET = 300
_SMALL = 150.0
"""Pixels below which an area has an inset."""
_WIDE = 1.25
"""Width by height from which on insets stand below a map, not beside it."""
_RADIUS, _NUMBER, _LEGEND = 11.0, 13.0, 14.0
"""Radius of a mark, and sizes of letters: of the number in it, and of a name in the legend."""
_CROWD_RADIUS = 4.0
_CLOSE = 0.3
"""Of the span of several countries: where areas take less of it, the map shows the countries."""
_LOOSE = 0.08
"""Of the span of areas, to each side, where they alone make the map."""
_MAP_MARGIN, _INSET_MARGIN = 0.06, 0.13


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """All that one map shows."""

    title: str
    subtitle: str
    shapes: tuple[Shape, ...]
    notes: tuple[str, ...]
    """Credits, and what else has to be said."""


def ground_of(shapes: Sequence[Shape], world: World | None) -> Extent:
    """Choose the ground of a map: all areas, and the countries in which they lie."""
    areas = np.concatenate([shape.around() for shape in shapes])
    land = [] if world is None else coast.home(world, np.array([_middle(shape) for shape in shapes]))
    alone = loosened(extent(areas), _LOOSE)
    if not land:
        return alone
    together = extent(np.concatenate([areas, *(ring for country in land for ring in country)]))
    # Of several countries the areas show by themselves which part is meant, unless they lie close together.
    return together if len(land) == 1 or alone.span < _CLOSE * together.span else alone


def _middle(shape: Shape) -> tuple[float, float]:
    around = shape.around()
    return float(around[:, 0].min() + around[:, 0].max()) / 2, float(around[:, 1].min() + around[:, 1].max()) / 2


def draw_small(shapes: Sequence[Shape], world: World | None, width: int, height: int) -> bytes:
    """Draw a map without a word as PNG."""
    frame = fit(ground_of(shapes, world), width, height, _MAP_MARGIN)
    radius = 14.0 if len(shapes) <= MOST_INSETS else 7.0 if len(shapes) <= _MOST_NAMES else _CROWD_RADIUS
    marks = marks_of(frame, shapes, radius, spread=False)
    return png(sheet(frame, world, shapes, marks, grid=not shows_land(frame, world)), EXACT)


def draw(chart: Chart, world: World | None) -> bytes:
    """Draw a map with all its words as PNG."""
    return png(compose(chart, world), EXACT)


def compose(chart: Chart, world: World | None) -> Picture:
    """Lay a map out: words above, the map, its insets beside or below it, the legend, notes."""
    ground = ground_of(chart.shapes, world)
    inner = WIDTH - 2 * MARGIN - _EDGE
    insets = _insets(chart.shapes, _frame(ground, inner))
    beside = 0 < len(insets) <= 2 and ground.aspect < _WIDE
    frame = _frame(ground, inner - (_INSET + MARGIN if beside else 0))
    head = wrapped([(chart.title, 24, INK), (chart.subtitle, 15, QUIET)], WIDTH - 2 * MARGIN)
    top = MARGIN + height(head) + MARGIN // 2
    below = top + frame.height + _FOOT
    cells = _cells(insets, world, frame.height if beside else None, numbered=len(chart.shapes) > 1)
    drawn = {shape.number for shape in insets}
    legend = _legend([shape for shape in chart.shapes if shape.number not in drawn], len(chart.shapes))
    credit = f"{frame.name} · {coast.CREDIT}" if shows_land(frame, world) else frame.name
    foot = wrapped([(note, 14, QUIET) for note in (*chart.notes, credit)], WIDTH - 2 * MARGIN)
    rows = [] if beside else [cells[start : start + 3] for start in range(0, len(cells), 3)]
    deep = [max(cell.height for cell in row) + MARGIN for row in rows]
    middle = below + MARGIN // 2 + sum(deep) + (legend.height + MARGIN if legend else 0)
    picture = Image.new("RGB", (WIDTH, middle + height(foot) + MARGIN), PAPER)
    canvas = ImageDraw.Draw(picture)
    write_lines(canvas, head, MARGIN, MARGIN)
    left = MARGIN + _EDGE
    picture.paste(_map(frame, chart.shapes, world), (left, top))
    _degrees(canvas, frame, left, top)
    if beside:
        for number, cell in enumerate(cells):
            upper = top + number * (cells[0].height + MARGIN)
            picture.paste(cell, (left + frame.width + MARGIN, upper))
    upper = below + MARGIN // 2
    for row, step in zip(rows, deep, strict=True):
        for number, cell in enumerate(row):
            picture.paste(cell, (MARGIN + number * (_cell_width(len(insets)) + MARGIN), upper))
        upper += step
    if legend:
        picture.paste(legend, (MARGIN, upper))
    write_lines(canvas, foot, MARGIN, middle)
    return picture


def _frame(ground: Extent, width: int) -> Frame:
    high = round(width / ground.aspect)
    if not ground.is_world:
        high = min(max(high, _LOW), _HIGH)
    return fit(ground, width, high, _MAP_MARGIN)


# --- the map ----------------------------------------------------------------------------------------------------------


def _map(frame: Frame, shapes: Sequence[Shape], world: World | None) -> Picture:
    """Draw the sheet with numbers, names and a scale bar."""
    named = len(shapes) <= _MOST_NAMES
    marks = marks_of(frame, shapes, _RADIUS if named else _CROWD_RADIUS, spread=named)
    picture = sheet(frame, world, shapes, marks)
    canvas = ImageDraw.Draw(picture)
    taken = [mark.box(_NUMBER) for mark in marks]
    if named and len(shapes) > 1:
        for mark in marks:
            write_number(canvas, mark.shape.number, mark.shape.colour, mark.spot, _NUMBER)
    longest = 0.25 * frame.width
    bar = free_corner(frame, longest, 28, taken)
    taken.append(bar)
    if len(shapes) <= MOST_INSETS:
        write_names(canvas, frame, [mark for mark in marks if mark.size < _SMALL], taken)
    scale_bar(canvas, frame.ground, longest, (round(bar[0]), round(bar[3])), INK, "#ffffff")
    return picture


def _degrees(canvas: Canvas, frame: Frame, left: int, top: int) -> None:
    """Write degrees along the left and the bottom edge of a frame."""
    ends = {"bottom": -math.inf, "left": -math.inf}
    for tick in sorted(graticule(frame)[1], key=lambda tick: tick.place):
        across = text_width(tick.text, 12) if tick.edge == "bottom" else 14.0
        size = frame.width if tick.edge == "bottom" else frame.height
        if tick.place - across / 2 < max(ends[tick.edge], -4) or tick.place + across / 2 > size + 4:
            continue
        ends[tick.edge] = tick.place + across / 2 + 6
        low = top + frame.height
        if tick.edge == "bottom":
            canvas.line((left + tick.place, low, left + tick.place, low + 4), fill=QUIET)
            canvas.text((left + tick.place, low + 7), tick.text, font=font(12), fill=QUIET, anchor="ma")
        else:
            canvas.line((left - 5, top + tick.place, left - 1, top + tick.place), fill=QUIET)
            canvas.text((left - 8, top + tick.place), tick.text, font=font(12), fill=QUIET, anchor="rm")


# --- insets and legend ------------------------------------------------------------------------------------------------


def _insets(shapes: Sequence[Shape], frame: Frame) -> list[Shape]:
    """Choose the areas whose tiles the map is too small for."""
    return [shape for shape in shapes if len(shapes) <= MOST_INSETS and size_of(frame, shape)[1] < _SMALL]


def _cell_width(insets: int) -> int:
    return _INSET if insets < 3 else _column(3)


def _cells(insets: Sequence[Shape], world: World | None, room: int | None, *, numbered: bool) -> list[Picture]:
    """Draw the insets, with words above; as high as each other, and ``room`` in all where that is given."""
    width = _cell_width(len(insets))
    captions = [_caption(shape, width, numbered) for shape in insets]
    words = max((height(caption) for caption in captions), default=0) + 4
    high = width
    if room is not None:
        high = min(width, (room - (len(insets) - 1) * MARGIN) // len(insets) - words)
    cells = []
    for shape, caption in zip(insets, captions, strict=True):
        cell = Image.new("RGB", (width, words + high), PAPER)
        write_lines(ImageDraw.Draw(cell), caption, 0, words - 4 - height(caption))
        cell.paste(_inset(shape, world, width, high), (0, words))
        cells.append(cell)
    return cells


def _caption(shape: Shape, width: int, numbered: bool) -> list[Line]:
    title = wrapped([(f"{shape.number} · {shape.title}" if numbered else shape.title, 16, INK)], width)
    return [*title, (shape.words, fitting(shape.words, 13, width), QUIET)]


def _inset(shape: Shape, world: World | None, width: int, high: int) -> Picture:
    frame = fit(extent(shape.around()), width, high, _INSET_MARGIN)
    picture = sheet(frame, world, [shape], grid=False)
    canvas = ImageDraw.Draw(picture)
    write_labels(canvas, frame, shape)
    scale_bar(canvas, frame.ground, 0.3 * width, (12, high - 10), INK, "#ffffff")
    canvas.rectangle((0, 0, width - 1, high - 1), outline=shape.colour, width=2)
    return picture


def _legend(shapes: Sequence[Shape], areas: int) -> Picture | None:
    """Tell the names of areas by number, in columns from top to bottom; None where they are none or too many."""
    if not shapes or areas > _MOST_NAMES:
        return None
    texts = [plain(f"{shape.title} · {shape.words.split(' · ')[0]}") for shape in shapes]
    longest = max(text_width(text, _LEGEND) for text in texts) + 3 * _RADIUS
    columns = next((count for count in (3, 2) if longest <= _column(count)), 1)
    rows, width, step = math.ceil(len(shapes) / columns), _column(columns), 26
    places = [divmod(number, rows) for number in range(len(shapes))]
    spots = [(column * (width + MARGIN) + _RADIUS, (row + 0.5) * step) for column, row in places]
    discs = [
        Mark(shape=shape, place=at, spot=at, radius=_RADIUS, size=0) for shape, at in zip(shapes, spots, strict=True)
    ]
    picture = draw_discs((WIDTH - 2 * MARGIN, rows * step), discs)
    canvas = ImageDraw.Draw(picture)
    for shape, text, (x, y) in zip(shapes, texts, spots, strict=True):
        if areas > 1:
            write_number(canvas, shape.number, shape.colour, (x, y), _NUMBER)
        size = fitting(text, _LEGEND, width - 3 * _RADIUS)
        canvas.text((x + 2 * _RADIUS, y), text, font=font(size), fill=INK, anchor="lm")
    return picture


def _column(columns: int) -> int:
    """Give the width of each of some columns."""
    return (WIDTH - (columns + 1) * MARGIN) // columns
