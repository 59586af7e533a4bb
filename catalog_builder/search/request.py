"""What a client asks for: the parameters of STAC API item search, read and held to be sound.

Nothing that is asked is left out silently: what is not supported, or not understood, is a ``UsageError``.
"""

import json
from collections.abc import Mapping, Sequence
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
