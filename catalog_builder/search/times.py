"""The ``datetime`` of a search: instants and intervals, open and closed."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from catalog_builder.errors import UsageError

STAMP = pa.timestamp("us", tz="UTC")
_RFC3339 = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}:\d{2})(\.\d+)?([Zz]|[+-]\d{2}:\d{2})",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A stretch of time with both its ends; None is open."""

    start: datetime | None
    end: datetime | None


def parse_instant(text: str) -> datetime:
    """Read an RFC 3339 instant, or a day, which is its first moment. Raises ``UsageError``."""
    match = _RFC3339.fullmatch(text)
    try:
        if match is None:
            return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
        day, time, fraction, zone = match.groups()
        zone = "+00:00" if zone in "Zz" else zone
        return datetime.fromisoformat(f"{day}T{time}{(fraction or '')[:7]}{zone}").astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{text!r}: not an instant such as 2019-06-18T10:36:00Z") from error


def parse_interval(text: str) -> Interval:
    """Read an instant, or ``start/end`` in which ``..`` or nothing is open. Raises ``UsageError``."""
    parts = text.split("/")
    if len(parts) > 2:
        raise UsageError(f"datetime {text!r}: an interval has two ends, start/end")
    ends = [None if part in ("", "..") else parse_instant(part) for part in parts]
    start, end = ends[0], ends[-1]
    if len(parts) == 1 and start is None:
        raise UsageError(f"datetime {text!r}: neither an instant nor an interval start/end")
    if start is not None and end is not None and start > end:
        raise UsageError(f"datetime {text!r}: the interval ends before it starts")
    return Interval(start=start, end=end)


def stamp(moment: datetime) -> pa.Scalar:
    """Give an instant as Arrow compares it."""
    return pa.scalar(moment, STAMP)


def item_ends(
    when: pa.ChunkedArray, start: pa.ChunkedArray, end: pa.ChunkedArray
) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """Give first and last moment of items: those of ``start_datetime`` and ``end_datetime``, else ``datetime``."""
    both = pc.and_(pc.is_valid(start), pc.is_valid(end))
    return pc.if_else(both, start, when), pc.if_else(both, end, when)


def meets(interval: Interval, first: pa.ChunkedArray, last: pa.ChunkedArray) -> pa.ChunkedArray:
    """Tell which stretches of time share a moment with the interval; null where there is no time."""
    found = pc.is_valid(first)
    if interval.start is not None:
        found = pc.and_kleene(found, pc.greater_equal(last, stamp(interval.start)))
    if interval.end is not None:
        found = pc.and_kleene(found, pc.less_equal(first, stamp(interval.end)))
    return found
