"""STAC documents against the JSON schemas that they name, each schema compiled once.

Schemas come from a mirror, a folder that holds them by host and path, and then the network is never
touched; or else from the network, kept in a cache of the same layout.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPException
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import MappingProxyType
from typing import Any, Final
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, build_opener

import jsonschema_rs

from catalog_builder import jsonio
from catalog_builder.errors import UsageError

STAC_VERSION: Final = "1.1.0"
TIMEOUT_S: Final = 20.0
MAX_BYTES: Final = 5_000_000
MAX_MESSAGE: Final = 300

_CORE_ROOT: Final = f"https://schemas.stacspec.org/v{STAC_VERSION}"
CORE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Catalog": f"{_CORE_ROOT}/catalog-spec/json-schema/catalog.json",
        "Collection": f"{_CORE_ROOT}/collection-spec/json-schema/collection.json",
        "Feature": f"{_CORE_ROOT}/item-spec/json-schema/item.json",
    }
)

# No segment starts with a dot and nothing is encoded, so that host and path are safe names of folders.
_URI: Final = re.compile(r"https://([A-Za-z0-9][A-Za-z0-9.-]*(?:/[A-Za-z0-9_][A-Za-z0-9._~+-]*)+)")

Fetch = Callable[[str], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaError:
    """One thing that a schema holds against a document."""

    schema: str
    """URI of the schema."""
    path: str
    """JSON pointer to the place in the document; empty for the document itself."""
    message: str


class _SchemaMissingError(LookupError):
    """A schema that cannot be had; the message says why and what to do."""


class _HttpsOnly(HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if not newurl.startswith("https://"):
            raise HTTPError(newurl, code, "redirected away from https", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def fetch_https(uri: str) -> bytes:
    """The bytes behind an https URI. Raises OSError, also for more of them than a schema can need."""
    try:
        with build_opener(_HttpsOnly).open(uri, timeout=TIMEOUT_S) as response:
            content: bytes = response.read(MAX_BYTES + 1)
    except HTTPException as error:  # an answer cut short, which is no OSError of its own
        raise OSError(f"broken answer: {error!r}") from error
    if len(content) > MAX_BYTES:
        raise OSError(f"more than {MAX_BYTES} bytes")
    return content


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledSchema:
    """A schema made ready, or the reason why it is not."""

    uri: str
    """Names the schema in its errors."""
    validator: jsonschema_rs.Validator | None
    """None where the schema cannot be had."""
    missing: str = ""
    """Why there is no validator, and what to do."""

    def errors(self, document: Any) -> list[SchemaError]:
        """What the schema holds against a document; one error where it cannot be had."""
        if self.validator is None:
            return [SchemaError(schema=self.uri, path=_pointer_to(document, self.uri), message=self.missing)]
        try:
            leaves = [leaf for error in self.validator.iter_errors(document) for leaf in _leaves(error)]
        except ValueError as error:  # a value that is no JSON, so none of the document was read
            return [SchemaError(schema=self.uri, path="", message=str(error))]
        found = [
            SchemaError(schema=self.uri, path=_pointer(leaf.instance_path), message=_brief(leaf.message))
            for leaf in leaves
        ]
        return list(dict.fromkeys(found))  # two branches of a schema can say the same


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaStore:
    """The schemas of STAC and its extensions, compiled at first use.

    Raises UsageError where the mirror is no folder, or the cache is something else than one.
    """

    mirror: Path | None = None
    """Folder of schemas by host and path; where given, nothing is fetched."""
    cache: Path | None = None
    """Folder that keeps what is fetched, made when needed; without one it is kept in memory."""
    fetch: Fetch = fetch_https
    """Gives the bytes of a URI, or raises OSError."""
    _loaded: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    _compiled: dict[str, CompiledSchema] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.mirror is not None and not self.mirror.is_dir():
            raise UsageError(f"{self.mirror}: no such folder of schemas")
        if self.cache is not None and self.cache.exists() and not self.cache.is_dir():
            raise UsageError(f"{self.cache}: not a folder, so no schema can be kept in it")

    def __reduce__(self) -> tuple[Callable[..., "SchemaStore"], tuple[()]]:
        """Travel to a worker without what is compiled, which cannot; there it is compiled anew."""
        return partial(SchemaStore, mirror=self.mirror, cache=self.cache, fetch=self.fetch), ()

    def errors(self, document: Mapping[str, Any]) -> list[SchemaError]:
        """What the core schema and those of the document's extensions hold against it."""
        kind, version = document.get("type"), document.get("stac_version")
        core = CORE.get(kind) if isinstance(kind, str) and version == STAC_VERSION else None
        found: list[SchemaError] = []
        if core is None:
            path = "/stac_version" if version != STAC_VERSION else "/type"
            message = f"no core schema for {kind!r} of STAC {version!r}, only {', '.join(CORE)} of {STAC_VERSION}"
            found.append(SchemaError(schema=_CORE_ROOT, path=path, message=message))
        for uri in dict.fromkeys([*([core] if core else []), *_extensions(document)]):
            found += self._validator(uri).errors(document)
        return found

    def _validator(self, uri: str) -> CompiledSchema:
        # A schema that cannot be had is remembered too: ten thousand items ask for it once.
        if uri not in self._compiled:
            self._compiled[uri] = self._compile(uri)
        return self._compiled[uri]

    def _compile(self, uri: str) -> CompiledSchema:
        try:
            return _compile(uri, self._load(uri), self._load)
        except (_SchemaMissingError, ValueError) as error:
            # Where a $ref failed, the library wraps our message in its own.
            reason = str(error).split("\n", 1)[0].rpartition(f"{_SchemaMissingError.__name__}: ")[2]
            return CompiledSchema(uri=uri, validator=None, missing=reason)

    def _load(self, uri: str) -> Any:
        """The JSON of a schema. Raises _SchemaMissingError."""
        uri = uri.removesuffix("#")
        if uri not in self._loaded:
            self._loaded[uri] = self._read(uri, _place(uri))
        return self._loaded[uri]

    def _read(self, uri: str, place: str) -> Any:
        try:
            if self.mirror is not None:
                return jsonio.read(self.mirror / place)
            kept = self.cache / place if self.cache else None
            if kept is not None and kept.is_file():
                return jsonio.read(kept)
            content = self.fetch(uri)
            schema = jsonio.loads(content)
            if kept is not None:
                _keep(kept, content)
            return schema
        except (OSError, ValueError) as error:
            raise _SchemaMissingError(self._advice(uri, place, error)) from error

    def _advice(self, uri: str, place: str, error: Exception) -> str:
        reason = getattr(error, "strerror", None) or error
        if self.mirror is not None:
            return f"no schema {uri} in the mirror ({reason}); put it at {self.mirror / place}"
        return f"schema {uri} cannot be fetched ({reason}); check the URI and the network, or give a mirror"


def local_validator(schema: Mapping[str, Any]) -> CompiledSchema:
    """Compile a schema that needs no other; its `$id` names it in the errors.

    Raises ValueError where it is no valid schema or refers outside of itself.
    """
    return _compile(schema.get("$id", "#"), dict(schema), _refuse)


def _compile(uri: str, schema: Any, load: Callable[[str], Any]) -> CompiledSchema:
    # The retriever stands in for the library's own, which would go to the network.
    base = uri if uri.startswith("https://") else None
    validator = jsonschema_rs.validator_for(schema, validate_formats=True, retriever=load, base_uri=base)
    return CompiledSchema(uri=uri, validator=validator)


def _refuse(uri: str) -> Any:
    raise _SchemaMissingError(f"a local schema may not refer to {uri}")


def _extensions(document: Mapping[str, Any]) -> list[str]:
    """The extension URIs; what else stands there is the core schema's to find."""
    named = document.get("stac_extensions")
    return [uri for uri in named if isinstance(uri, str)] if isinstance(named, list) else []


def _place(uri: str) -> str:
    """Where a schema lies under a mirror: `host/path`. Raises _SchemaMissingError for an unsafe URI."""
    match = _URI.fullmatch(uri)
    if match is None:
        raise _SchemaMissingError(f"{uri!r} is no plain https:// address of a schema; correct it or leave it out")
    return match[1]


def _keep(path: Path, content: bytes) -> None:
    """Write by rename, so that a reader sees all of a schema or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
    Path(file.name).replace(path)


def _leaves(error: jsonschema_rs.ValidationError) -> Iterator[jsonschema_rs.ValidationError]:
    """The errors worth reading: those of the likeliest branch, where all branches of a choice failed.

    Extension schemas begin with `oneOf: [item, collection]`, whose own message is the whole document.
    """
    branches = getattr(error.kind, "context", None)
    if error.kind.name not in ("oneOf", "anyOf") or not branches or not all(branches):
        yield error
        return
    for inner in min(branches, key=_unlikeliness):
        yield from _leaves(inner)


def _unlikeliness(branch: list[jsonschema_rs.ValidationError]) -> tuple[bool, int, int]:
    """Last comes a branch that wants another constant or type; first one with few errors, deep down."""
    other_kind = any(error.kind.name in ("const", "enum", "type") for error in branch)
    return other_kind, len(branch), -max(len(error.instance_path) for error in branch)


def _pointer(path: list[str | int]) -> str:
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)


def _pointer_to(document: Any, uri: str) -> str:
    """Where the document names an extension; empty for a core schema, which it does not name."""
    named = document.get("stac_extensions")
    return f"/stac_extensions/{named.index(uri)}" if isinstance(named, list) and uri in named else ""


def _brief(message: str) -> str:
    """Messages quote the instance, however large: keep both ends, where the name and the reason stand."""
    half = MAX_MESSAGE // 2
    return message if len(message) <= MAX_MESSAGE else f"{message[:half]} … {message[-half:]}"
