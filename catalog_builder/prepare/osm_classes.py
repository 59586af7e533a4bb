"""``stac/osm-classes.toml`` -> the classes of OpenStreetMap objects: which tags they have, how wide, in which order.

The file says itself what it may hold. Pure values; no extract and no raster is opened.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from catalog_builder import template, tomlio
from catalog_builder.errors import TemplateError

FILE = "osm-classes.toml"
UNMAPPED, NODATA = 0, 255
MAX_BITS = 31
"""Classes up to this value have a bit each in 32, with all bits left for nodata."""

_ANY = "*"
_AREA = "area"
_NOT = "no"
_CLASS_KEYS = ("value", "name", "title", "description", "color", "layer", "areas", "lines")
_FILE_KEYS = ("layers", "skip", "unmapped", "nodata", "class")
_TEXT_KEYS = ("title", "description", "color")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_COLOR = re.compile(r"[0-9A-F]{6}")
_MAX_WIDTH = 1000.0
_MAX_LAYERS = 254
_REMEMBERED = 10_000

Tags = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Rule:
    """Tags that an object has to have, all of them; of several values of a key one."""

    tags: tuple[tuple[str, frozenset[str]], ...]
    """Key and values; the value ``*`` stands for any but ``no``."""

    def matches(self, tags: Tags) -> bool:
        """Tell whether an object with these tags is meant."""
        return all(_has(tags.get(key), values) for key, values in self.tags)


def _has(value: str | None, values: frozenset[str]) -> bool:
    return value in values or (_ANY in values and value is not None and value != _NOT)


@dataclass(frozen=True, slots=True, kw_only=True)
class OsmClass:
    """One class of the raster."""

    value: int
    name: str
    title: str
    description: str
    color: str
    """Hexadecimal red, green, blue."""
    layer: int
    """Place among the layers; 0 is drawn first."""
    areas: tuple[Rule, ...]
    """Rules of closed ways and multipolygons."""
    lines: tuple[tuple[Rule, float], ...]
    """Rules of ways, each with a width in metres."""

    def document(self) -> dict[str, Any]:
        """Give the class as an entry of ``classification:classes``."""
        return _entry(self.value, self.name, self)


@dataclass(frozen=True, slots=True)
class Match:
    """What the tags of an object make of it."""

    areas: tuple[OsmClass, ...] = ()
    """Classes in which it is filled, where it is closed."""
    lines: tuple[tuple[OsmClass, float], ...] = ()
    """Classes in which it is a line, where it is open, each with its width in metres."""
    ring_lines: tuple[tuple[OsmClass, float], ...] = ()
    """The same where it is closed."""


Matcher = Callable[[Iterable[Any]], Match]
"""From the tags of an object, with ``k`` and ``v``, to what they make of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backdrop:
    """What a pixel without an object is."""

    title: str
    description: str
    color: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OsmClasses:
    """All classes, in the order of their values."""

    file: str
    """Name of the file they stand in."""
    classes: tuple[OsmClass, ...]
    skip: tuple[Rule, ...]
    """Objects that are not drawn."""
    unmapped: Backdrop
    nodata: Backdrop

    def leading_keys(self) -> frozenset[str]:
        """Give keys of which every object that is drawn has one."""
        return frozenset(rule.tags[0][0] for rule in self._rules())

    def keys(self) -> frozenset[str]:
        """Give all keys on which it depends whether an object is drawn."""
        return frozenset({_AREA, *(key for rule in (*self._rules(), *self.skip) for key, _ in rule.tags)})

    def _rules(self) -> Iterator[Rule]:
        for each in self.classes:
            yield from each.areas
            yield from (rule for rule, _ in each.lines)

    def max_width(self) -> float:
        """Give the largest width of a line, in metres; 0 without any."""
        return max((width for each in self.classes for _, width in each.lines), default=0.0)

    def match(self, tags: Tags) -> Match:
        """Find the classes of an object with these tags; of several widths in one class, the first rule's.

        ``area=no`` lets nothing be filled, ``area=yes`` closed lines, too
        (https://wiki.openstreetmap.org/wiki/Key:area).
        """
        if any(rule.matches(tags) for rule in self.skip):
            return Match()
        areas = tuple(each for each in self.classes if any(rule.matches(tags) for rule in each.areas))
        widths = ((each, _first_width(each, tags)) for each in self.classes)
        lines = tuple((each, width) for each, width in widths if width is not None)
        match tags.get(_AREA):
            case "no":
                return Match((), lines, lines)
            case "yes":
                return Match(tuple(dict.fromkeys((*areas, *(each for each, _ in lines)))), lines)
        return Match(areas, lines, lines)

    def document(self) -> list[dict[str, Any]]:
        """Give ``classification:classes`` (STAC classification extension v2.0.0)."""
        return [
            _entry(UNMAPPED, "unmapped", self.unmapped),
            *(each.document() for each in self.classes),
            {**_entry(NODATA, "nodata", self.nodata), "nodata": True},
        ]


def _first_width(each: OsmClass, tags: Tags) -> float | None:
    return next((width for rule, width in each.lines if rule.matches(tags)), None)


def _entry(value: int, name: str, texts: OsmClass | Backdrop) -> dict[str, Any]:
    return {
        "value": value,
        "name": name,
        "title": texts.title,
        "description": texts.description,
        "color_hint": texts.color,
    }


def matcher(classes: OsmClasses) -> Matcher:
    """Give ``classes.match`` for tags as pyosmium has them; combinations of tags are remembered."""
    keys = classes.keys()

    @lru_cache(maxsize=_REMEMBERED)
    def match(held: tuple[tuple[str, str], ...]) -> Match:
        return classes.match(dict(held))

    return lambda tags: match(tuple((tag.k, tag.v) for tag in tags if tag.k in keys))


def default_file() -> Path:
    """Give the file that comes with this program."""
    return template.default_folder() / FILE


# --- reading ----------------------------------------------------------------------------------------------------------


def read_classes(path: Path) -> OsmClasses:
    """Read a file of classes. Raises ``TemplateError`` naming the file, the class and the value."""
    document = tomlio.read(path, TemplateError)
    _check_keys(document, _FILE_KEYS, f"{path}")
    layers = _texts(document.get("layers"), f"{path}: layers")
    if len(layers) > _MAX_LAYERS:
        raise TemplateError(f"{path}: layers: {len(layers):,}; there may be {_MAX_LAYERS}")
    tables = document.get("class")
    if not isinstance(tables, list) or not tables:
        raise TemplateError(f"{path}: no table [[class]]")
    classes = [_class(table, layers, f"{path}: class {number}") for number, table in enumerate(tables, start=1)]
    for field in ("value", "name"):
        _check_once([getattr(each, field) for each in classes], f"{path}: {field}")
    return OsmClasses(
        file=path.name,
        classes=tuple(sorted(classes, key=lambda each: each.value)),
        skip=_rules(document.get("skip", []), f"{path}: skip"),
        unmapped=_backdrop(document.get("unmapped"), f"{path}: unmapped"),
        nodata=_backdrop(document.get("nodata"), f"{path}: nodata"),
    )


def _class(table: Any, layers: Sequence[str], where: str) -> OsmClass:
    _check_keys(table, _CLASS_KEYS, where)
    name = _text(table, "name", where)
    where = f"{where} {name!r}"
    value = table.get("value")
    if type(value) is not int or not UNMAPPED < value < NODATA:
        raise TemplateError(f"{where}: value {value!r}: a whole number from {UNMAPPED + 1} to {NODATA - 1}")
    if not _NAME.fullmatch(name):
        raise TemplateError(f"{where}: name: small letters, digits and _")
    layer = _text(table, "layer", where)
    if layer not in layers:
        raise TemplateError(f"{where}: layer {layer!r} is none of {', '.join(layers)}")
    areas, lines = _rules(table.get("areas", []), f"{where}: areas"), _lines(table.get("lines", []), f"{where}: lines")
    if not areas and not lines:
        raise TemplateError(f"{where}: neither areas nor lines, so nothing is drawn")
    texts = _backdrop({key: table.get(key) for key in _TEXT_KEYS}, where)
    return OsmClass(
        value=value,
        name=name,
        title=texts.title,
        description=texts.description,
        color=texts.color,
        layer=layers.index(layer),
        areas=areas,
        lines=lines,
    )


def _backdrop(table: Any, where: str) -> Backdrop:
    _check_keys(table, _TEXT_KEYS, where)
    color = _text(table, "color", where)
    if not _COLOR.fullmatch(color):
        raise TemplateError(f"{where}: color {color!r}: six hexadecimal digits, such as 1B7837")
    return Backdrop(title=_text(table, "title", where), description=_text(table, "description", where), color=color)


def _lines(tables: Any, where: str) -> tuple[tuple[Rule, float], ...]:
    if not isinstance(tables, list):
        raise TemplateError(f"{where}: a list of {{ tags = {{ … }}, width = … }}")
    found = []
    for table in tables:
        _check_keys(table, ("tags", "width"), where)
        width = table.get("width")
        if type(width) not in (int, float) or not 0 < width <= _MAX_WIDTH:
            raise TemplateError(f"{where}: width {width!r}: metres, above 0 and up to {_MAX_WIDTH:g}")
        found.append((_rule(table.get("tags"), where), float(width)))
    return tuple(found)


def _rules(tables: Any, where: str) -> tuple[Rule, ...]:
    if not isinstance(tables, list):
        raise TemplateError(f'{where}: a list of tables of tags, such as {{ natural = "water" }}')
    return tuple(_rule(table, where) for table in tables)


def _rule(table: Any, where: str) -> Rule:
    if not isinstance(table, dict) or not table:
        raise TemplateError(f'{where}: {table!r} is no table of tags, such as {{ natural = "water" }}')
    return Rule(tuple((key, frozenset(_texts(value, f"{where}: {key}"))) for key, value in table.items()))


def _texts(value: Any, where: str) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(each, str) and each for each in values):
        raise TemplateError(f"{where}: {value!r} is no text, and no list of texts")
    _check_once(values, where)
    return tuple(values)


def _text(table: Mapping[str, Any], key: str, where: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value:
        raise TemplateError(f"{where}: {key} {value!r} is no text")
    return value


def _check_keys(table: Any, known: Iterable[str], where: str) -> None:
    if not isinstance(table, dict):
        raise TemplateError(f"{where}: a table with {', '.join(known)}")
    unknown = sorted(set(table) - set(known))
    if unknown:
        raise TemplateError(f"{where}: unknown key {unknown[0]!r}; known are {', '.join(known)}")


def _check_once(values: Sequence[object], where: str) -> None:
    twice = next((value for number, value in enumerate(values) if value in values[:number]), None)
    if twice is not None:
        raise TemplateError(f"{where}: {twice!r} stands there twice")
