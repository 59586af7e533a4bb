"""CQL2 filters over a table of items: OGC 21-065r2, basic and advanced comparison, arithmetic, arrays, space and time.

The text is parsed by cql2; what is left to do here is to compute its JSON form over columns. A comparison with what an
item lacks is unknown, and an item is found where the whole is true (three-valued logic, as in SQL).
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import cql2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from catalog_builder.errors import UsageError
from catalog_builder.search.places import Place, parse_bbox, parse_geometry
from catalog_builder.search.times import STAMP, parse_instant, stamp

Values = Any
"""A pa.ChunkedArray with one value an item, or a pa.Scalar."""
Ends = tuple[Values, Values]
"""First and last moment."""

GEOMETRY = "geometry"
LANGUAGES = ("cql2-text", "cql2-json")
_DEEPEST = 100
"""Levels of nesting; each level of operators is two of them."""
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)

_COMPARE: Mapping[str, Callable[..., Values]] = {
    "=": pc.equal, "<>": pc.not_equal, "<": pc.less, "<=": pc.less_equal, ">": pc.greater, ">=": pc.greater_equal,
}  # fmt: skip
_COMPUTE: Mapping[str, Callable[..., Values]] = {
    "+": pc.add, "-": pc.subtract, "*": pc.multiply, "/": pc.divide, "^": pc.power,
}  # fmt: skip
_SPACE: Mapping[str, Callable[..., Any]] = {
    "s_intersects": shapely.intersects, "s_equals": shapely.equals, "s_disjoint": shapely.disjoint,
    "s_touches": shapely.touches, "s_within": shapely.within, "s_overlaps": shapely.overlaps,
    "s_crosses": shapely.crosses, "s_contains": shapely.contains,
}  # fmt: skip
_ARRAYS: Mapping[str, Callable[[set[Any], set[Any]], Any]] = {
    "a_equals": lambda one, other: one == other, "a_contains": set.issuperset, "a_containedby": set.issubset,
    "a_overlaps": lambda one, other: not one.isdisjoint(other),
}  # fmt: skip
_TIME: Mapping[str, tuple[tuple[int, str, int], ...]] = {
    "t_after": ((0, ">", 1),), "t_before": ((1, "<", 0),), "t_meets": ((1, "=", 0),), "t_metby": ((0, "=", 1),),
    "t_contains": ((0, "<", 0), (1, ">", 1)), "t_during": ((0, ">", 0), (1, "<", 1)),
    "t_equals": ((0, "=", 0), (1, "=", 1)), "t_intersects": ((0, "<=", 1), (1, ">=", 0)),
    "t_starts": ((0, "=", 0), (1, "<", 1)), "t_startedby": ((0, "=", 0), (1, ">", 1)),
    "t_finishes": ((0, ">", 0), (1, "=", 1)), "t_finishedby": ((0, "<", 0), (1, "=", 1)),
    "t_overlaps": ((0, "<", 0), (1, ">", 0), (1, "<", 1)), "t_overlappedby": ((0, ">", 0), (0, "<", 1), (1, ">", 1)),
}  # fmt: skip
"""Which end (0 first, 1 last) of the one is how to which end of the other; all of it must hold."""
_OTHERS = ("and", "or", "not", "between", "in", "like", "isNull", "casei", "t_disjoint")


# --- reading ----------------------------------------------------------------------------------------------------------


def parse(value: Mapping[str, Any] | str, language: str | None = None) -> Any:
    """Read a filter, as text or JSON, and give its JSON form. Raises ``UsageError``."""
    if language not in (None, *LANGUAGES):
        raise UsageError(f"filter-lang {language!r}: not one of {', '.join(LANGUAGES)}")
    if language == "cql2-text" and not isinstance(value, str):
        raise UsageError("filter: cql2-text is a string")
    text = value if isinstance(value, str) else json.dumps(value)
    is_json = language == "cql2-json" or text is not value or text.lstrip().startswith("{")
    try:
        return (cql2.parse_json(text) if is_json else cql2.parse_text(text)).to_json()
    except (cql2.ParseError, cql2.ValidationError, TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"filter: not CQL2 {'JSON' if is_json else 'text'}: {_short(error)}") from error


def _short(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines)[:200]


def parse_query(query: Mapping[str, Any]) -> Any:
    """Read the ``query`` of the STAC API's Query extension and give the same as CQL2 JSON. Raises ``UsageError``."""
    if not isinstance(query, Mapping) or not query:
        raise UsageError(f"query: not a mapping of properties to comparisons: {query!r}")
    parts = []
    for name, comparisons in query.items():
        if not isinstance(comparisons, Mapping) or not comparisons:
            raise UsageError(f"query: {name}: not a comparison such as {{'gte': 5}}: {comparisons!r}")
        parts += [_query_part(name, word, value) for word, value in comparisons.items()]
    return parts[0] if len(parts) == 1 else {"op": "and", "args": parts}


def _query_part(name: str, word: str, value: Any) -> Any:
    asked = {"property": name}
    simple = {"eq": "=", "neq": "<>", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
    if word in simple:
        return {"op": simple[word], "args": [asked, {"loose": value}]}
    if word == "in" and isinstance(value, list):
        return {"op": "in", "args": [asked, [{"loose": one} for one in value]]}
    likes = {"startsWith": "{}%", "endsWith": "%{}", "contains": "%{}%"}
    if word in likes and isinstance(value, str):
        return {"op": "like", "args": [asked, likes[word].format(re.sub(r"([\\%_])", r"\\\1", value))]}
    known = ", ".join((*simple, "in", *likes))
    raise UsageError(f"query: {name}: {word!r} with {value!r} is none of the comparisons {known}")


def both(one: Any, other: Any) -> Any:
    """Join two filters; None asks for nothing."""
    if one is None or other is None:
        return other if one is None else one
    return {"op": "and", "args": [one, other]}


def properties(node: Any, depth: int = 0) -> set[str]:
    """Name all properties that a filter asks for. Raises ``UsageError`` for one that is too deep."""
    if depth > _DEEPEST:
        raise UsageError(f"filter: nested deeper than {_DEEPEST} levels")
    if isinstance(node, list):
        return set().union(*(properties(one, depth + 1) for one in node))
    if not isinstance(node, Mapping):
        return set()
    if "property" in node:
        return {str(node["property"])}
    return set().union(*(properties(one, depth + 1) for one in node.values()))


def places(node: Any) -> Iterator[Place]:
    """Give the places in which items must be by a filter, as far as they can be told before it is computed."""
    match node:
        case {"op": "and", "args": [*parts]}:
            for part in parts:
                yield from places(part)
        case {"op": "s_intersects" | "s_within", "args": [{"property": "geometry"}, dict(literal)]}:
            yield _place(literal)


# --- computing --------------------------------------------------------------------------------------------------------


def matches(node: Any, items: pa.Table) -> pa.ChunkedArray:
    """Compute a filter over items: true, false or null for each. Raises ``UsageError``."""
    found = _value(node, items)
    if not pa.types.is_boolean(found.type):
        raise UsageError(f"filter: gives no truth but {_kind(found)}")
    return _spread(found, items)


def _spread(value: Values, items: pa.Table) -> pa.ChunkedArray:
    if isinstance(value, pa.Scalar):
        return pa.chunked_array([pa.repeat(value, items.num_rows)])
    return value


def _value(node: Any, items: pa.Table) -> Values:
    match node:
        case None | bool() | int() | float() | str():
            return pa.scalar(node)
        case {"property": str(name)}:
            return items.column(name)
        case {"timestamp": str(text)} | {"date": str(text)}:
            return stamp(parse_instant(text))
        case {"loose": value}:
            return _value(value, items)
        case {"op": str(name), "args": [*arguments]}:
            return _operation(name, arguments, items)
    raise UsageError(f"filter: cannot compute {json.dumps(node)[:100]}")


def _operation(name: str, arguments: Sequence[Any], items: pa.Table) -> Values:
    match name, arguments:
        case (("and" | "or"), [first, *rest]):
            join = pc.and_kleene if name == "and" else pc.or_kleene
            found = matches(first, items)
            for part in rest:
                found = join(found, matches(part, items))
            return found
        case "not", [part]:
            return pc.invert(matches(part, items))
        case _, [one, other] if name in _COMPARE:
            return _compare(name, one, other, items)
        case "between", [value, least, greatest]:
            return pc.and_kleene(_compare(">=", value, least, items), _compare("<=", value, greatest, items))
        case "in", [value, [*options]]:
            found = pa.chunked_array([pa.repeat(pa.scalar(False), items.num_rows)])
            for option in options:
                found = pc.or_kleene(found, _compare("=", value, option, items))
            return found
        case "like", [value, pattern]:
            return _like(value, pattern, items)
        case "isNull", [value]:
            return pc.is_null(_spread(_value(value, items), items), nan_is_null=False)
        case "casei", [value]:
            return pc.utf8_lower(_expect(_value(value, items), pa.types.is_string, name, "text"))
        case _, [one, other] if name in _COMPUTE:
            left, right = (_expect(_value(part, items), _is_number, name, "numbers") for part in (one, other))
            left, right = pc.cast(left, pa.float64()), pc.cast(right, pa.float64())
            found = _COMPUTE[name](left, right)
            # What has no value is unknown, as all else that is.
            return pc.if_else(pc.is_finite(found), found, pa.scalar(None, pa.float64()))
        case _, [one, other] if name in _SPACE:
            return _space(name, one, other, items)
        case _, [one, other] if name.lower() in (*_TIME, "t_disjoint"):
            return _time(name.lower(), _ends(one, items), _ends(other, items))
        case _, [one, other] if name.lower() in _ARRAYS:
            return _array(name.lower(), one, other, items)
    known = ", ".join((*_OTHERS, *_COMPARE, *_COMPUTE, *_SPACE, *_TIME, *_ARRAYS))
    raise UsageError(f"filter: {name!r} with {len(arguments)} arguments is not supported; supported are {known}")


def _compare(name: str, one: Any, other: Any, items: pa.Table) -> Values:
    left, right = _value(one, items), _value(other, items)
    left, right = _as(left, right.type, loose=_is_loose(one)), _as(right, left.type, loose=_is_loose(other))
    kinds = {_kind(left), _kind(right)}
    if len(kinds) > 1 and "nothing" not in kinds:
        said = f"{_name(one)} is {_kind(left)}, {_name(other)} is {_kind(right)}"
        raise UsageError(f"filter: {said}: they do not compare")
    if "list" in kinds:
        raise UsageError(f"filter: {_name(one)} is a list; ask for its members with a_contains")
    if "nothing" in kinds:
        return pa.chunked_array([pa.nulls(items.num_rows, pa.bool_())])
    return _COMPARE[name](left, right)


def _as(value: Values, kind: pa.DataType, *, loose: bool) -> Values:
    """Give a literal text as the time that it is compared with.

    A ``loose`` one, of the Query extension, becomes a number too: clients write ``gsd=10`` and send text.
    """
    if not isinstance(value, pa.Scalar) or not pa.types.is_string(value.type) or not value.is_valid:
        return value
    text = value.as_py()
    if pa.types.is_timestamp(kind):
        return stamp(parse_instant(text))
    if loose and _is_number(kind):
        try:
            return pa.scalar(float(text))
        except ValueError:
            return value
    if loose and pa.types.is_boolean(kind) and text in ("true", "false"):
        return pa.scalar(text == "true")
    return value


def _is_loose(node: Any) -> bool:
    return isinstance(node, Mapping) and "loose" in node


def _name(node: Any) -> str:
    match node:
        case {"property": str(name)}:
            return name
        case {"loose": value}:
            return repr(value)
        case {"op": _}:
            return "what is computed"
    return json.dumps(node)[:80]


def _kind(value: Values) -> str:
    kind = value.type
    if pa.types.is_null(kind):
        return "nothing"
    if _is_number(kind):
        return "a number"
    if pa.types.is_timestamp(kind):
        return "a time"
    if pa.types.is_boolean(kind):
        return "true or false"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "text"
    return "list" if pa.types.is_list(kind) or pa.types.is_large_list(kind) else str(kind)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _expect(value: Values, test: Callable[[pa.DataType], bool], name: str, wanted: str) -> Values:
    if pa.types.is_null(value.type):
        return value.cast(pa.string() if wanted == "text" else pa.float64())
    if not test(value.type):
        raise UsageError(f"filter: {name} wants {wanted}, not {_kind(value)}")
    return value


def _like(value: Any, pattern: Any, items: pa.Table) -> Values:
    wanted = _value(pattern, items)
    if not isinstance(wanted, pa.Scalar) or not pa.types.is_string(wanted.type):
        raise UsageError(f"filter: like wants a pattern in quotes, not {_name(pattern)}")
    text = _expect(_value(value, items), pa.types.is_string, "like", "text")
    return pc.match_like(text, wanted.as_py())


# --- space, time, lists -----------------------------------------------------------------------------------------------


def _place(node: Mapping[str, Any]) -> Place:
    return parse_bbox(node["bbox"]) if "bbox" in node else parse_geometry(node)


def _space(name: str, one: Any, other: Any, items: pa.Table) -> Values:
    left, right = (_shapes(node, items) for node in (one, other))
    # Where an item has no geometry, nothing is known.
    missing = shapely.is_missing(left) | shapely.is_missing(right)
    found = np.broadcast_to(_SPACE[name](left, right), items.num_rows)
    return pa.chunked_array([pa.array(found, mask=np.broadcast_to(missing, items.num_rows))])


def _shapes(node: Any, items: pa.Table) -> Any:
    if isinstance(node, Mapping):
        if node == {"property": GEOMETRY}:
            return shapely.from_wkb(items.column(GEOMETRY).to_numpy())
        if "bbox" in node or "coordinates" in node or "geometries" in node:
            geometry = _place(node).geometry
            shapely.prepare(geometry)
            return geometry
    raise UsageError(f"filter: {_name(node)} is no geometry")


def _ends(node: Any, items: pa.Table) -> Ends:
    if isinstance(node, Mapping) and isinstance(node.get("interval"), list) and len(node["interval"]) == 2:
        start, end = node["interval"]
        return _moment(start, _FIRST, items), _moment(end, _LAST, items)
    moment = _moment(node, None, items)
    return moment, moment


def _moment(node: Any, opened: datetime | None, items: pa.Table) -> Values:
    if node == ".." and opened is not None:
        return stamp(opened)
    value = stamp(parse_instant(node)) if isinstance(node, str) else _value(node, items)
    if pa.types.is_null(value.type):
        return value.cast(STAMP)
    if not pa.types.is_timestamp(value.type):
        raise UsageError(f"filter: {_name(node)} is {_kind(value)}, no time")
    return value


def _time(name: str, one: Ends, other: Ends) -> Values:
    if name == "t_disjoint":
        return pc.invert(_time("t_intersects", one, other))
    parts = [_COMPARE[how](one[mine], other[theirs]) for mine, how, theirs in _TIME[name]]
    found = parts[0]
    for part in parts[1:]:
        found = pc.and_kleene(found, part)
    return found


def _array(name: str, one: Any, other: Any, items: pa.Table) -> Values:
    left, right = (_lists(node, items) for node in (one, other))
    found = [
        None if mine is None or theirs is None else _ARRAYS[name](set(mine), set(theirs))
        for mine, theirs in zip(left, right, strict=True)
    ]
    return pa.chunked_array([pa.array(found, pa.bool_())])


def _lists(node: Any, items: pa.Table) -> list[Any]:
    if isinstance(node, list):
        return [node] * items.num_rows
    value = _value(node, items)
    if isinstance(value, pa.Scalar) or not (pa.types.is_list(value.type) or pa.types.is_null(value.type)):
        raise UsageError(f"filter: {_name(node)} is no list")
    listed: list[Any] = value.to_pylist()
    return listed
