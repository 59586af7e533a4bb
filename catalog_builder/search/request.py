"""What a client asks for: the parameters of STAC API item search, read and held to be sound.

Nothing that is asked is left out silently: what is not supported, or not understood, is a ``UsageError``.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from catalog_builder import jsonio
from catalog_builder.errors import UsageError
from catalog_builder.search import cql
from catalog_builder.search.fields import Fields, parse_fields
from catalog_builder.search.places import Place, parse_bbox, parse_geometry
from catalog_builder.search.times import Interval, parse_interval

PAGE = 100
"""Items of a page where none is asked for: pystac_client's former choice."""
LARGEST_PAGE = 10_000
_KNOWN = frozenset(
    {
        "collections", "ids", "bbox", "intersects", "datetime", "query", "filter", "filter-lang", "filter-crs",
        "sortby", "fields", "limit", "token",
    }
)  # fmt: skip
_COMPARISON = re.compile(r"([^<>=~]+)(>=|<=|<>|=|>|<)(.*)", re.DOTALL)
_SIGNS = {">=": "gte", "<=": "lte", "<>": "neq", "=": "eq", ">": "gt", "<": "lt"}
_LONGEST_FILTER, _MOST_NESTS = 20_000, 250
_NESTS = re.compile(r"[(-]|\bnot\b", re.IGNORECASE)
"""What makes a parser of CQL2 text go one level deeper."""
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_CRS = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"


@dataclass(frozen=True, slots=True, kw_only=True)
class SortKey:
    """A property to sort by."""

    field: str
    descending: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRequest:
    """One search; None asks for nothing."""

    collections: tuple[str, ...] | None = None
    ids: tuple[str, ...] | None = None
    places: tuple[Place, ...] = ()
    """An item must be at each of them."""
    interval: Interval | None = None
    filter: Any = None
    """CQL2 JSON, of ``filter`` and ``query`` together."""
    sort: tuple[SortKey, ...] = ()
    fields: Fields | None = None
    limit: int = PAGE
    """Items of one page."""
    token: str | None = None
    """Where the page begins, as an answer before it said."""
    key: str = ""
    """The same for all pages of the same search."""


def parse_request(parameters: Mapping[str, Any]) -> SearchRequest:
    """Read the parameters of POST, or of GET whose values are text. Raises ``UsageError``."""
    given = _plain({name: value for name, value in parameters.items() if value is not None})
    if unknown := sorted(set(given) - _KNOWN):
        raise UsageError(f"search: {', '.join(unknown)}: not supported; supported are {', '.join(sorted(_KNOWN))}")
    if "bbox" in given and "intersects" in given:
        raise UsageError("search: bbox and intersects: give one of them")
    if given.get("filter-crs", _CRS) != _CRS:
        raise UsageError(f"search: filter-crs {given['filter-crs']!r}: only {_CRS} (longitude, latitude) is supported")
    places = [parse_bbox(_split(given["bbox"]))] if "bbox" in given else []
    if "intersects" in given:
        places.append(parse_geometry(given["intersects"]))
    condition = cql.both(
        cql.parse_query(_decoded("query", given["query"])) if "query" in given else None,
        cql.parse(given["filter"], given.get("filter-lang")) if "filter" in given else None,
    )
    return SearchRequest(
        collections=_names("collections", given),
        ids=_names("ids", given),
        places=(*places, *cql.places(condition)),
        interval=parse_interval(str(given["datetime"])) if "datetime" in given else None,
        filter=condition,
        sort=_sort(given["sortby"]) if "sortby" in given else (),
        fields=parse_fields(given["fields"]) if "fields" in given else None,
        limit=_limit(given.get("limit", PAGE)),
        token=None if "token" not in given else str(given["token"]),
        key=jsonio.digest({name: value for name, value in given.items() if name not in ("token", "limit")}),
    )


def check_arguments(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Hold the arguments of ``pystac_client.Client.search`` to be sound, before it leaves some out silently.

    Gives them as it understands them. Raises ``UsageError``.
    """
    given = {name: value for name, value in asked.items() if value is not None}
    if given.get("ids") == ():  # so Client.get_items asks for all
        del given["ids"]
    for name in ("ids", "collections"):
        if name in given and not isinstance(given[name], str) and isinstance(given[name], Iterable):
            given[name] = list(given[name])
        if name in given and not given[name]:
            raise UsageError(f"{name}: asks for none; leave it out to ask for all")
    for name in ("limit", "max_items"):
        if name in given and (not isinstance(given[name], int) or given[name] < 1):
            raise UsageError(f"{name} {given[name]!r}: not a number from 1")
    if isinstance(given.get("query"), list):
        given["query"] = parse_comparisons(given["query"])
    where = given.get("intersects")
    if isinstance(where, Mapping) and where.get("type") == "Feature" and not where.get("geometry"):
        raise UsageError("intersects: the feature has no geometry")
    if "filter" in given:
        _check_filter(given["filter"])
    return given


def _check_filter(condition: Any) -> None:
    """Refuse a filter that says nothing, and one so long that parsers of it would end the process."""
    if not isinstance(condition, str | Mapping) or not condition or condition in ("", " "):
        raise UsageError(f"filter {condition!r}: neither CQL2 text nor JSON")
    if isinstance(condition, str) and len(condition) > _LONGEST_FILTER:
        raise UsageError(f"filter: longer than {_LONGEST_FILTER:,} characters; write a shorter one, or use ids")
    if isinstance(condition, str) and len(_NESTS.findall(_QUOTED.sub("", condition))) > _MOST_NESTS:
        raise UsageError(f"filter: more than {_MOST_NESTS} parentheses, 'not' and '-'; write it as CQL2 JSON")


def parse_comparisons(texts: Sequence[Any]) -> dict[str, dict[str, Any]]:
    """Read comparisons such as ``gsd=10``, or JSON of them.

    Raises ``UsageError`` where pystac_client would leave out what it does not understand, or keep the last of two.
    """
    query: dict[str, dict[str, Any]] = {}
    for text in texts:
        for name, comparisons in _comparisons(text).items():
            known = query.setdefault(name, {})
            if twice := known.keys() & comparisons.keys():
                raise UsageError(f"query {text!r}: {name} {', '.join(twice)} is asked twice; use a filter with 'and'")
            known |= comparisons
    return query


def _comparisons(text: Any) -> Mapping[str, Mapping[str, Any]]:
    if isinstance(text, str) and text.lstrip().startswith("{"):
        query = _decoded("query", text)
        if isinstance(query, Mapping) and all(isinstance(inner, Mapping) for inner in query.values()):
            return query
    match = _COMPARISON.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise UsageError(f"query {text!r}: no comparison such as gsd=10 or 'dream:valid_percent>=99'")
    name, sign, value = (part.strip() for part in match.groups())
    return {name: {_SIGNS[sign]: value}}


def _plain(given: dict[str, Any]) -> dict[str, Any]:
    """Give the parameters as they would come over the wire: numbers of numpy become plain ones, too."""
    try:
        plain: dict[str, Any] = orjson.loads(orjson.dumps(given, option=orjson.OPT_SERIALIZE_NUMPY))
    except TypeError as error:
        raise UsageError(f"search: a value is no JSON: {error}") from error
    return plain


def _split(value: Any) -> Sequence[Any]:
    if isinstance(value, str):
        return value.split(",")
    if isinstance(value, Sequence):
        return value
    raise UsageError(f"bbox {value!r}: not a list of numbers")


def _names(name: str, given: Mapping[str, Any]) -> tuple[str, ...] | None:
    if name not in given:
        return None
    value = given[name]
    names = tuple(value.split(",") if isinstance(value, str) else value)
    if not all(isinstance(one, str) for one in names):
        raise UsageError(f"{name}: not a list of names: {value!r}")
    return names


def _decoded(name: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise UsageError(f"{name}: not JSON: {value!r}") from error


def _limit(value: Any) -> int:
    try:
        limit = int(value)
    except (TypeError, ValueError) as error:
        raise UsageError(f"limit {value!r}: not a number") from error
    if not 1 <= limit <= LARGEST_PAGE:
        raise UsageError(f"limit {limit}: not from 1 to {LARGEST_PAGE:,}")
    return limit


def _sort(value: Any) -> tuple[SortKey, ...]:
    """Read ``-datetime,+id`` or a list of field and direction."""
    listed = value.split(",") if isinstance(value, str) else value
    if not isinstance(listed, Sequence):
        raise UsageError(f"sortby: not a list of fields: {value!r}")
    return tuple(map(_sort_key, listed))


def _sort_key(part: Any) -> SortKey:
    match part:
        case str(text) if text.strip("+- "):
            return SortKey(field=text.strip().lstrip("+-"), descending=text.strip().startswith("-"))
        case {"field": str(field), **more} if set(more) <= {"direction"}:
            direction = str(more.get("direction", "asc")).lower()
            if direction in ("asc", "desc"):
                return SortKey(field=field, descending=direction == "desc")
    raise UsageError(f"sortby: not a field with the direction asc or desc: {part!r}")
