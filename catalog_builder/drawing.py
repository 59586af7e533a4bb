"""Words of drawing that all pictures share: letters, lines of text, scale bars, and PNG with exact colours.

The same picture and the same Pillow give the same bytes, whatever fonts a machine has.
"""

import math
import unicodedata
from collections.abc import Iterable, Sequence
from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw, ImageFont

INK, QUIET, PAPER = "#1a1a1a", "#5a5a5a", "#ffffff"
"""Colours of titles, of all other words, and of the ground."""
MARGIN = 16
"""Pixels between the parts of a picture, and around them."""

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
Line = tuple[str, float, str]
"""Text, size and colour."""


# --- letters ----------------------------------------------------------------------------------------------------------


def font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Give the font that comes with Pillow, so that no machine's fonts show."""
    return ImageFont.load_default(size)


def plain(text: str) -> str:
    """Write text with the letters that the font has: accents are dropped rather than boxes drawn."""
    letters = unicodedata.normalize("NFC", text.translate(_WRITTEN_AS))
    return "".join(letter if letter.isascii() or letter in _FONT_HAS else _bare(letter) for letter in letters)


def _bare(letter: str) -> str:
    bare = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
    return bare or "?"


def text_width(text: str, size: float) -> float:
    """Give the pixels that a text takes from left to right."""
    return font(size).getlength(plain(text))


def fitting(text: str, size: float, width: float) -> float:
    """Shrink until it fits: the length of hinted letters is not in proportion to their size."""
    while size > _LEAST_TEXT and text_width(text, size) > width:
        size -= 0.5
    return size


def wrapped(lines: Iterable[Line], width: float) -> list[Line]:
    """Break lines at spaces so that each is at most ``width`` pixels long."""
    broken: list[Line] = []
    for text, size, colour in lines:
        line = ""
        for word in plain(text).split(" "):
            longer = f"{line} {word}" if line else word
            if line and font(size).getlength(longer) > width:
                broken.append((line, size, colour))
                longer = word
            line = longer
        broken.append((line, size, colour))
    return broken


def height(lines: Iterable[Line]) -> int:
    """Give the pixels that lines take from top to bottom."""
    return sum(line_height(size) for _, size, _ in lines)


def line_height(size: float) -> int:
    """Give the pixels from one line to the next."""
    return math.ceil(1.3 * size)


def write_lines(canvas: Canvas, lines: Iterable[Line], left: float, top: float) -> None:
    """Write lines below each other from a corner."""
    for text, size, colour in lines:
        canvas.text((left, top), plain(text), font=font(size), fill=colour)
        top += line_height(size)


# --- scale ------------------------------------------------------------------------------------------------------------


def bar_length(metres: float) -> float:
    """Give the largest of 1, 2 or 5 times a power of ten that is no more than ``metres``."""
    power = 10.0 ** math.floor(math.log10(metres))
    return next(step * power for step in (5, 2, 1) if step * power <= metres)


def scale_bar(
    canvas: Canvas,
    metres_per_pixel: float,
    longest: float,
    corner: tuple[int, int],
    ink: str = "#ffffff",
    halo: str = "#000000",
) -> None:
    """Draw a bar of a round length, at most ``longest`` pixels, with its lower left at ``corner`` (x, y)."""
    metres = bar_length(longest * metres_per_pixel)
    length, (left, bottom) = round(metres / metres_per_pixel), corner
    label = f"{metres / 1000:g} km" if metres >= 1000 else f"{metres:g} m"
    canvas.rectangle((left - 1, bottom - 6, left + length + 1, bottom), fill="#000000")
    canvas.rectangle((left, bottom - 5, left + length, bottom - 1), fill="#ffffff")
    canvas.text((left, bottom - 25), label, font=font(15), fill=ink, stroke_width=2, stroke_fill=halo)


# --- files ------------------------------------------------------------------------------------------------------------


def png(picture: Picture, exact: Sequence[Colour]) -> bytes:
    """Pack with a palette of 256 colours, which speckle does not show and which takes a third of the bytes.

    White and the colours in ``exact`` stay what they are.
    """
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
