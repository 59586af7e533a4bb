"""The sheet of a map: land, graticule, tiles and marks, drawn into a frame; and how an area is called on it.

Shapes are drawn three times as large and reduced, so that their edges are smooth; letters are drawn after that.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely
from PIL import Image, ImageDraw

from catalog_builder.coast import SCALE, World
from catalog_builder.drawing import (
    INK,
    PAPER,
    Canvas,
    Colour,
    Picture,
    fitting,
    font,
    line_height,
    plain,
    text_width,
    wrapped,
)
from catalog_builder.projection import Frame, Positions, graticule, outline

COLOURS: tuple[Colour, ...] = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (230, 159, 0),
    (86, 180, 233),
)
"""Of areas, one after the other: those of Okabe and Ito (2008) that show on a pale ground; told apart by all eyes."""
LAND, SEA, NOWHERE = (244, 241, 234), (226, 234, 241), (250, 250, 250)
"""Colours of land, of sea, and of ground of which nothing is known."""
EXACT: tuple[Colour, ...] = (*COLOURS, LAND, SEA, NOWHERE)

_COAST, _BORDER, _GRID, _EDGE = (142, 158, 172), (178, 168, 150), (206, 214, 220), (120, 120, 120)
_OVER = 3
"""How much larger shapes are drawn."""
_FINEST = SCALE * 1e-5
"""Metres a pixel below which the coast would show its own coarseness: a hundredth of a millimetre of its scale."""
_OUTLINED = 8.0
"""Pixels from which on a tile has a seam."""
_NAME, _NAME_WIDTH = 14.0, 190
_LARGE = 150.0
"""Pixels from which on names may lie over an area."""
_TILE_NAME = 10.0, 13.0
"""Least and greatest size of the names of tiles."""
_GAP = 5
_DOT = 3.0
"""Radius of the dot where an area is whose mark stands aside."""

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One area as a map shows it."""

    number: int
    """Counted from 1."""
    title: str
    words: str
    """What stands below its title."""
    boxes: npt.NDArray[np.float64]
    """West, south, east, north of its tiles, (n, 4); west is larger than east across the antimeridian."""
    outlines: tuple[Positions, ...] = ()
    """Outlines of its tiles in degrees, where they are known better than by boxes."""
    labels: tuple[str, ...] = ()
    """Names of the outlines."""

    @property
    def colour(self) -> Colour:
        """Its colour, on every map of its collection."""
        return COLOURS[(self.number - 1) % len(COLOURS)]

    def around(self) -> Positions:
        """Give points around its tiles: those of the outlines, else those around the box of all boxes."""
        if self.outlines:
            return np.concatenate(self.outlines)
        west, south, east, north = self.boxes.T
        east = np.where(west > east, east + 360, east)
        if west.max() - west.min() > 180:
            west, east = west % 360, west % 360 + (east - west)
        return outline((float(west.min()), float(south.min()), float(east.max()), float(north.max())))


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Where an area is marked in a frame; pixels."""

    shape: Shape
    place: tuple[float, float]
    """Its middle."""
    spot: tuple[float, float]
    """Where its mark and its number stand: aside, where others are too near."""
    radius: float
    """Of its disc; 0 for one that is large enough by itself."""
    size: float
    """Longer side of the area."""

    def box(self, size: float) -> Box:
        """Give the ground that it takes, with a number of that size."""
        reach = max(self.radius, size / 2) + 2
        if self.size < _LARGE:
            reach = max(reach, self.size / 2)
        return self.spot[0] - reach, self.spot[1] - reach, self.spot[0] + reach, self.spot[1] + reach


# --- shapes -----------------------------------------------------------------------------------------------------------


def sheet(
    frame: Frame, world: World | None, shapes: Sequence[Shape], marks: Iterable[Mark] = (), grid: bool = True
) -> Picture:
    """Draw land, graticule, tiles and marks."""
    size = frame.width * _OVER, frame.height * _OVER
    land = world if shows_land(frame, world) else None
    picture = Image.new("RGB", size, SEA if land else NOWHERE)
    canvas = ImageDraw.Draw(picture)
    if land:
        for ring in _seen(frame, [ring for country in land.countries for ring in country], closed=True):
            canvas.polygon(_points(ring), fill=LAND)
    for line in graticule(frame)[0] if grid else ():
        for part in _finite(line):
            canvas.line(_points(part), fill=_GRID, width=2)
    for shape in shapes:
        _draw_tiles(canvas, frame, shape)
    if land:
        for lines, colour in ((land.borders, _BORDER), (land.coasts, _COAST)):
            for line in _seen(frame, lines, closed=False):
                canvas.line(_points(line), fill=colour, width=3)
    if frame.is_world:
        _blank_beyond_poles(canvas, frame)
    marks = [mark for mark in marks if mark.radius]
    for mark in marks:
        if mark.spot != mark.place:
            canvas.line(_points(np.array([mark.place, mark.spot])), fill=(90, 90, 90), width=_OVER)
            _disc(canvas, mark.place, _DOT, mark.shape.colour)
    for mark in marks:
        _disc(canvas, mark.spot, mark.radius, mark.shape.colour)
    picture = picture.reduce(_OVER)
    ImageDraw.Draw(picture).rectangle((0, 0, frame.width - 1, frame.height - 1), outline=_EDGE)
    return picture


def _blank_beyond_poles(canvas: Canvas, frame: Frame) -> None:
    (_, north), (_, south) = frame.pixels(np.array([[frame.longitude, 90.0], [frame.longitude, -90.0]])) * _OVER
    for top, bottom in ((-1.0, north), (south, frame.height * _OVER)):
        if top < bottom:
            canvas.rectangle((-1, top, frame.width * _OVER, bottom), fill=NOWHERE)


def shows_land(frame: Frame, world: World | None) -> bool:
    """Whether a frame is wide enough for the coasts that there are."""
    return world is not None and frame.metres >= _FINEST


def _points(pixels: Positions) -> list[tuple[float, float]]:
    """Turn pixels of the picture into those of the larger one; Pillow's are named by their middle."""
    return [(x, y) for x, y in (pixels * _OVER - 0.5).tolist()]


def _finite(line: Positions) -> Iterator[Positions]:
    """Give the parts of a line that the projection has, and of those the ones with a length."""
    known = np.isfinite(line).all(axis=1)
    for part in np.split(line, np.flatnonzero(~known)):
        part = part[np.isfinite(part).all(axis=1)]
        if len(part) > 1:
            yield part


def _seen(frame: Frame, lines: Sequence[Positions], closed: bool) -> Iterator[Positions]:
    """Cut lines or rings (degrees) to what a frame may show, and project them to pixels."""
    window = west, south, east, north = frame.window()
    make = shapely.polygons if closed else shapely.linestrings
    bounds = np.array([[*line.min(axis=0), *line.max(axis=0)] for line in lines]).reshape(-1, 4)
    for turn in (-360.0, 0.0, 360.0):
        low, high = bounds[:, :2] + [turn, 0], bounds[:, 2:] + [turn, 0]
        near = ((low <= (east, north)) & (high >= (west, south))).all(axis=1)
        whole = [make(lines[number] + [turn, 0]) for number in np.flatnonzero(near).tolist()]
        parts = shapely.get_parts(shapely.clip_by_rect(np.array(whole, dtype=object), *window))
        # Long straight lines, such as that between the USA and Canada, are curves on the map.
        parts = shapely.segmentize(parts, max((north - south) / 60, 1e-6))
        for part in parts:
            if part.geom_type == "Polygon":
                part = part.exterior
            elif part.geom_type != "LineString":
                continue
            yield from _finite(frame.pixels(shapely.get_coordinates(part)))


def _draw_tiles(canvas: Canvas, frame: Frame, shape: Shape) -> None:
    """Fill the tiles of an area, with a light seam where they are large enough for one."""
    for tile in _tiles(frame, shape):
        if np.isfinite(tile).all():
            seam = np.ptp(tile, axis=0).max() >= _OUTLINED
            points = _points(tile)
            canvas.polygon(points, fill=shape.colour)
            if seam:
                canvas.line([*points, points[0]], fill="#ffffff", width=_OVER)


def _tiles(frame: Frame, shape: Shape) -> Iterable[Positions]:
    """Give the tiles of an area in pixels: outlines where they are known, else boxes; large ones have curved sides."""
    boxes = shape.boxes
    if shape.outlines:
        return [frame.pixels(ring) for ring in shape.outlines]
    if (boxes[:, 3] - boxes[:, 1]).max() > 1 or ((boxes[:, 2] - boxes[:, 0]) % 360).max() > 1:
        return [frame.pixels(outline(box)) for box in boxes.tolist()]
    corners = frame.pixels(boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 2)).reshape(-1, 4, 2)
    return list(corners)


def place_of(frame: Frame, shape: Shape) -> tuple[float, float]:
    """Give the middle of an area in pixels."""
    seen = frame.pixels(shape.around())
    x, y = (seen.min(axis=0) + seen.max(axis=0)) / 2
    return float(x), float(y)


def size_of(frame: Frame, shape: Shape) -> tuple[float, float]:
    """Give the shorter and the longer side of an area in pixels."""
    short, long = sorted(np.ptp(frame.pixels(shape.around()), axis=0).tolist())
    return short, long


def marks_of(frame: Frame, shapes: Sequence[Shape], radius: float, spread: bool) -> list[Mark]:
    """Choose where each area is marked: in its middle, or where that is taken, as near as there is room.

    An area that is larger than its mark needs no disc.
    """
    marks: list[Mark] = []
    for shape in shapes:
        place = spot = place_of(frame, shape)
        short, long = size_of(frame, shape)
        large = short >= 2 * radius
        if spread and not large:
            spot = next((free for free in _around(place, radius) if _is_free(free, frame, marks, radius)), place)
        marks.append(Mark(shape=shape, place=place, spot=spot, radius=0.0 if large else radius, size=long))
    return marks


def _around(place: tuple[float, float], radius: float) -> Iterator[tuple[float, float]]:
    yield place
    for ring in range(2, 13):
        for turn in range(16):
            angle, reach = math.tau * turn / 16, ring * 1.1 * radius
            yield place[0] + reach * math.cos(angle), place[1] - reach * math.sin(angle)


def _is_free(spot: tuple[float, float], frame: Frame, marks: Iterable[Mark], radius: float) -> bool:
    x, y = spot
    apart = 2 * radius + 3
    return (
        radius <= x <= frame.width - radius
        and radius <= y <= frame.height - radius
        and all(math.dist(spot, other.spot) >= apart for other in marks)
    )


def draw_discs(size: tuple[int, int], marks: Iterable[Mark]) -> Picture:
    """Draw marks alone on paper of a width and a height, for a legend."""
    picture = Image.new("RGB", (size[0] * _OVER, size[1] * _OVER), PAPER)
    canvas = ImageDraw.Draw(picture)
    for mark in marks:
        _disc(canvas, mark.spot, mark.radius, mark.shape.colour)
    return picture.reduce(_OVER)


def _disc(canvas: Canvas, place: tuple[float, float], radius: float, colour: Colour) -> None:
    x, y = (value * _OVER - 0.5 for value in place)
    for more, fill in ((1.5, (255, 255, 255)), (0.0, colour)):
        reach = (radius + more) * _OVER
        canvas.ellipse((x - reach, y - reach, x + reach, y + reach), fill=fill)


# --- letters ----------------------------------------------------------------------------------------------------------


def write_number(canvas: Canvas, number: int, colour: Colour, place: tuple[float, float], size: float) -> None:
    """Write the number of an area on its colour."""
    # The stroke hides seams and coasts below.
    letters, fill = font(size), readable_on(colour)
    canvas.text(place, str(number), font=letters, fill=fill, anchor="mm", stroke_width=3, stroke_fill=colour)


def readable_on(colour: Colour) -> str:
    """Choose dark or light letters by the luminance of what is below (ITU-R BT.601)."""
    return INK if np.dot(colour, (0.299, 0.587, 0.114)) > 140 else "#ffffff"


def write_names(canvas: Canvas, frame: Frame, marks: Iterable[Mark], taken: list[Box]) -> None:
    """Write titles beside their marks, where there is room; ``taken`` grows by the ground that they take."""
    for mark in marks:
        lines = wrapped([(mark.shape.title, _NAME, INK)], _NAME_WIDTH)
        width, step = max(text_width(text, size) for text, size, _ in lines), line_height(_NAME)
        gap = mark.radius or mark.size / 2
        spot = _free(mark.spot, gap, width, step * len(lines), frame, taken)
        if spot is None:
            continue
        taken.append(spot)
        left, top, right, _ = spot
        x, anchor = (left, "la") if mark.spot[0] < left else (right, "ra") if mark.spot[0] > right else (0.0, "ma")
        for number, (text, size, colour) in enumerate(lines):
            place = x or (left + right) / 2, top + number * step
            canvas.text(place, text, font=font(size), fill=colour, anchor=anchor, stroke_width=2, stroke_fill="#ffffff")


def _free(
    place: tuple[float, float], gap: float, width: float, high: float, frame: Frame, taken: Iterable[Box]
) -> Box | None:
    """Find a box beside a place that lies in the frame and meets nothing: right, left, above, below, then aslant."""
    x, y = place
    reach = gap + _GAP
    aslant = reach * math.sqrt(0.5)
    spots = [
        (x + reach, y - high / 2),
        (x - reach - width, y - high / 2),
        (x - width / 2, y - reach - high),
        (x - width / 2, y + reach),
        (x + aslant, y - aslant - high),
        (x + aslant, y + aslant),
        (x - aslant - width, y - aslant - high),
        (x - aslant - width, y + aslant),
    ]
    taken = list(taken)
    for left, top in spots:
        box = left, top, left + width, top + high
        inside = left >= _GAP and top >= _GAP and box[2] <= frame.width - _GAP and box[3] <= frame.height - _GAP
        if inside and not any(_meet(box, other) for other in taken):
            return box
    return None


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def free_corner(frame: Frame, width: float, high: float, taken: Iterable[Box]) -> Box:
    """Give the corner of a frame, lower left at first, where a box of that size covers nothing that is taken."""
    gap = 12.0
    right, bottom = frame.width - gap - width, frame.height - gap - high
    corners = [(gap, bottom), (right, bottom), (gap, gap), (right, gap)]
    boxes = [(x, y, x + width, y + high) for x, y in corners]
    taken = list(taken)
    return next((box for box in boxes if not any(_meet(box, other) for other in taken)), boxes[0])


def write_labels(canvas: Canvas, frame: Frame, shape: Shape) -> None:
    """Write the names of tiles into their outlines, where all of them fit."""
    drawn = [frame.pixels(ring) for ring in shape.outlines]
    sizes = [
        fitting(label, _TILE_NAME[1], 0.9 * float(np.ptp(ring[:, 0])))
        for label, ring in zip(shape.labels, drawn, strict=True)
    ]
    size = min(sizes, default=0.0)
    if size < _TILE_NAME[0] or any(2 * size > np.ptp(ring[:, 1]) for ring in drawn):
        return
    for label, ring in zip(shape.labels, drawn, strict=True):
        x, y = (ring.min(axis=0) + ring.max(axis=0)) / 2
        canvas.text((x, y), plain(label), font=font(size), fill=readable_on(shape.colour), anchor="mm")
