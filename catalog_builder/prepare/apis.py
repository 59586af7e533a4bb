"""STAC APIs: what each calls its collections and bands, as an authored file tells, and the items that it answers with.

Answers are not trusted: an API leads to web addresses only, its pages end, and what it says is one line at most.
"""

import importlib
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from pystac import Link
from pystac_client import Client
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO
from urllib3 import BaseHTTPResponse, Retry

from catalog_builder import template, tomlio
from catalog_builder.errors import CatalogBuilderError, RemoteError, UsageError
from catalog_builder.grid import Bounds

FILE = "apis.toml"
"""Among the templates."""
MODALITIES: tuple[str, ...] = ("s2", "s1")
MAX_ITEMS = 5000
"""Items that one question may be answered with."""

Signer = Callable[[str], str]
"""Gives an address under which a file may be read, for the address that an item tells."""

_API_KEYS = frozenset({"url", "sign", *MODALITIES})
_BANDS: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "s2": (("B02", "B03", "B04", "B08"), ("SCL",)),
    "s1": (("VV", "VH"), ()),
}
"""Bands of a modality: those that must be there, and those that may."""
_KEYS: Final[Mapping[str, frozenset[str]]] = {
    "s2": frozenset({"collection", "bands", "offset", "baseline", "applied"}),
    "s1": frozenset({"collection", "bands", "units", "backscatter"}),
}
_UNITS = ("linear", "db")
_BACKSCATTER = ("sigma0", "gamma0", "beta0")
_WEB = ("http", "https")
_PAGE = 100
_AGAIN = (429, 500, 502, 503, 504)
"""Answers after which it pays to ask again."""
_RETRIES = 4
_BACKOFF = 1.0
"""Seconds before the second time that a question is asked again; twice as many each time after it."""
_LONGEST_PAUSE = 60.0
"""Seconds that are waited at most, however many the API asks for."""
_MOST_WORDS = 200
_USER = re.compile(r"(?<=//)[^/\s'\"]*@")
_QUERY = re.compile(r"(?<=[\w/])[?#][^\s'\"]*?(?=[:,;.)]*(?:[\s'\"]|$))")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiCollection:
    """A collection of an API that a modality can be made of."""

    id: str
    bands: Mapping[str, str]
    """Keys of assets by the names of bands: B02, B03, B04, B08 and perhaps SCL, or VV and VH."""
    offset: int | None = None
    """What is added to all pixels of Sentinel-2; None where ``baseline`` tells."""
    baseline: str | None = None
    """The property of an item that holds the processing baseline of Sentinel-2."""
    applied: str | None = None
    """The property of an item that is true where the offset was taken off already."""
    units: str | None = None
    """Of Sentinel-1: ``linear`` or ``db``."""
    backscatter: str | None = None
    """Of Sentinel-1: ``sigma0``, ``gamma0`` or ``beta0``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """A STAC API."""

    name: str
    url: str
    sign: str | None
    """``module:function`` of a ``Signer``; None where files can be read as they are."""
    collections: Mapping[str, ApiCollection]
    """By modality."""


# --- the authored file ------------------------------------------------------------------------------------------------


def read_api(name: str, file: Path | None = None) -> Api:
    """Read what a file, by default the one among the templates, says of an API.

    Raises ``UsageError`` naming the file, the table and the key.
    """
    file = file or template.default_folder() / FILE
    tables = tomlio.read(file, UsageError)
    if name not in tables:
        known = ", ".join(sorted(tables))
        raise UsageError(f"--api {name!r}: not in {file}, which has {known}; write a table for it: --apis FILE")
    where = f"{file}: [{name}]"
    table = _table(tables[name], _API_KEYS, where)
    url, sign = _text(table, "url", where), table.get("sign")
    if not is_web_address(url):
        raise UsageError(f"{where}: url {url!r} is no address such as https://example.com/stac")
    if sign is not None and not re.fullmatch(r"\w+(\.\w+)*:\w+", str(sign)):
        raise UsageError(f"{where}: sign {sign!r} is not written as module:function")
    collections = {key: _collection(key, table[key], f"{file}: [{name}.{key}]") for key in MODALITIES if key in table}
    if not collections:
        raise UsageError(f"{where}: has neither [{name}.s2] nor [{name}.s1]")
    return Api(name=name, url=url, sign=sign, collections=collections)


def _collection(modality: str, value: Any, where: str) -> ApiCollection:
    table = _table(value, _KEYS[modality], where)
    needed, optional = _BANDS[modality]
    bands = _table(table.get("bands"), frozenset({*needed, *optional}), f"{where}: bands")
    made = ApiCollection(
        id=_text(table, "collection", where),
        bands={name: _text(bands, name, f"{where}: bands") for name in (*needed, *optional) if name in bands},
        offset=_whole(table.get("offset"), f"{where}: offset"),
        baseline=_text(table, "baseline", where) if "baseline" in table else None,
        applied=_text(table, "applied", where) if "applied" in table else None,
        units=_one_of(table, "units", _UNITS, where) if modality == "s1" else None,
        backscatter=_one_of(table, "backscatter", _BACKSCATTER, where) if modality == "s1" else None,
    )
    missing = [name for name in needed if name not in bands]
    if missing:
        raise UsageError(f"{where}: bands: no asset named for {', '.join(missing)}")
    if modality == "s2" and (made.offset is None) == (made.baseline is None):
        raise UsageError(f"{where}: wants one of offset, for all items, and baseline, the property that tells it")
    return made


def _table(value: Any, keys: frozenset[str], where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{where}: is no table")
    unknown = sorted(set(value) - keys)
    if unknown:
        raise UsageError(f"{where}: unknown key {unknown[0]!r}; known are {', '.join(sorted(keys))}")
    return value


def _text(table: Mapping[str, Any], key: str, where: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value:
        raise UsageError(f"{where}: {key} is {'missing' if value is None else f'{value!r}, no text'}")
    return value


def _whole(value: Any, where: str) -> int | None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise UsageError(f"{where} {value!r} is no whole number")
    return value


def _one_of(table: Mapping[str, Any], key: str, choices: tuple[str, ...], where: str) -> str:
    value = _text(table, key, where)
    if value not in choices:
        raise UsageError(f"{where}: {key} {value!r} is none of {', '.join(choices)}")
    return value


# --- addresses --------------------------------------------------------------------------------------------------------


def is_web_address(href: str) -> bool:
    """Tell whether an address is one of a web server, without spaces or control characters."""
    return has_scheme(href, _WEB)


def has_scheme(href: str, schemes: tuple[str, ...]) -> bool:
    """Tell whether an address has one of some schemes and a host, and neither spaces nor control characters."""
    if not href.isprintable() or " " in href:
        return False
    try:
        parts = urlsplit(href)
        return parts.scheme in schemes and bool(parts.hostname)
    except ValueError:
        return False


def public(address: str) -> str:
    """Give a web address without what may be a token: the user, the query, the fragment."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def without_secrets(text: str) -> str:
    """Leave out of all addresses in a text, and of ends of such, what may be a token: the query, the user."""
    return _QUERY.sub("", _USER.sub("", text))


def signed(href: str, sign: str | None) -> str:
    """Give the address under which a file may be read. Raises as ``load_signer`` does, and ``RemoteError``."""
    if sign is None:
        return href
    signer = load_signer(sign)
    try:
        return str(signer(href))
    except Exception as error:  # whatever it raises that somebody else wrote
        why = one_line(without_secrets(f"{type(error).__name__}: {error}"))
        raise RemoteError(f"{public(href)}: not signed by {sign}: {why}") from None


def load_signer(name: str) -> Signer:
    """Import a signer, ``module:function``. Raises ``UsageError``."""
    module, _, function = name.partition(":")
    try:
        signer: Signer = getattr(importlib.import_module(module), function)
    except ImportError as error:
        package = module.split(".")[0].replace("_", "-")
        raise UsageError(f"sign {name}: cannot be imported: {error}; pip install {package}") from error
    except AttributeError as error:
        raise UsageError(f"sign {name}: {module} has no {function}") from error
    return signer


# --- questions --------------------------------------------------------------------------------------------------------


def find_items(
    url: str, collection: str, box: Bounds, period: tuple[date, date], timeout: float
) -> list[dict[str, Any]]:
    """Ask an API for the items of a collection that meet a box (degrees) in a period of days, both of it.

    An API that is busy is asked again a few times. Raises ``RemoteError`` for one that gives no answer within
    ``timeout`` seconds, an error, no STAC, or more than ``MAX_ITEMS`` items.
    """
    where = public(url)
    found: list[dict[str, Any]] = []
    with _told(where, timeout), warnings.catch_warnings(action="ignore"):  # what it lacks shows when it is asked
        client = Client.open(url, stac_io=_WebIO(max_retries=_patience()), timeout=timeout)
        search = client.search(
            collections=[collection],
            bbox=list(box),
            datetime=f"{period[0]}T00:00:00Z/{period[1]}T23:59:59Z",
            limit=_PAGE,
        )
        for item in search.items_as_dicts():
            if len(found) == MAX_ITEMS:
                raise RemoteError(
                    f"{where}: more than {MAX_ITEMS:,} items of {collection}, or its pages never end; shorten --period"
                )
            found.append(item)
    return found


class _WebIO(StacApiIO):
    """Follows web addresses only: pystac_client opens any other as a local file."""

    def read_text(self, source: Any, *args: Any, **kwargs: Any) -> str:
        href = str(source.to_dict()["href"] if isinstance(source, Link) else source)
        if not is_web_address(href):
            raise APIError(f"leads to {href!r}, which is no web address")
        return str(super().read_text(source, *args, **kwargs))


class _Patience(Retry):
    """Asks again when the API wishes, but does not wait for ever."""

    def get_retry_after(self, response: BaseHTTPResponse) -> float | None:
        """Give the seconds that the API asks for, or as many as are waited at most."""
        seconds = super().get_retry_after(response)
        return None if seconds is None else min(seconds, _LONGEST_PAUSE)


def _patience() -> Retry:
    """Give the patience for a request. The last answer is handed on, whatever it is."""
    return _Patience(
        total=_RETRIES,
        connect=1,
        read=1,
        status_forcelist=_AGAIN,
        allowed_methods=None,
        backoff_factor=_BACKOFF,
        raise_on_status=False,
    )


@contextmanager
def _told(where: str, timeout: float) -> Iterator[None]:
    """Say in one line what went wrong: pystac_client has no errors of its own for what it cannot read."""
    try:
        yield
    except CatalogBuilderError:
        raise
    except Exception as error:
        text = without_secrets(str(error))
        if "timed out" in text:
            raise RemoteError(f"{where}: no answer within {timeout:g} s") from None
        status = getattr(error, "status_code", None)
        why = f"answers {status}" if status else f"gives no STAC API's answer: {type(error).__name__}"
        raise RemoteError(f"{where}: {why}: {one_line(text)}") from None


def one_line(text: str) -> str:
    """Give the beginning of a text that somebody else wrote, fit to be printed."""
    words = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return words if len(words) <= _MOST_WORDS else f"{words[:_MOST_WORDS]}…"
