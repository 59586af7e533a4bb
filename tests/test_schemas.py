"""STAC documents against the mirrored schemas; the network is never touched here."""

import json
import os
import socket
from collections.abc import Callable
from http.client import IncompleteRead
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import OpenerDirector

import jsonschema_rs
import pytest

from catalog_builder import schemas
from catalog_builder.errors import UsageError
from catalog_builder.schemas import CORE, SchemaError, SchemaStore, fetch_https, local_validator

EXTENSIONS = "https://stac-extensions.github.io"
PROJECTION = f"{EXTENSIONS}/projection/v2.0.0/schema.json"
EO = f"{EXTENSIONS}/eo/v2.0.0/schema.json"
FILE = f"{EXTENSIONS}/file/v2.1.0/schema.json"

Document = dict[str, Any]


@pytest.fixture(scope="module")
def mirror() -> Path:
    shared = Path(__file__).parents[2] / "shared" / "schemas"
    folder = Path(os.environ.get("STAC_SCHEMAS_DIR", shared))
    if not folder.is_dir():
        pytest.skip(f"no mirror of the STAC schemas: set STAC_SCHEMAS_DIR, or put one at {shared}")
    return folder


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(scope="module")
def store(mirror: Path) -> SchemaStore:
    return SchemaStore(mirror=mirror, fetch=no_fetch)


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The base URI of each schema that is compiled while the test runs."""
    seen: list[str] = []
    compile_schema = jsonschema_rs.validator_for

    def counting(schema: Any, **options: Any) -> jsonschema_rs.Validator:
        seen.append(options["base_uri"])
        return compile_schema(schema, **options)

    monkeypatch.setattr(jsonschema_rs, "validator_for", counting)
    return seen


def no_fetch(uri: str) -> bytes:
    raise AssertionError(f"fetched {uri}")


def an_item() -> Document:
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [PROJECTION, EO, FILE],
        "id": "toulouse_x0001_y0002",
        "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]]},
        "bbox": [0, 0, 1, 1],
        "properties": {"datetime": "2020-06-01T00:00:00Z", "proj:code": "EPSG:32631"},
        "links": [{"rel": "root", "href": "../catalog.json", "title": "DREAM"}],
        "assets": {"s2": an_asset()},
    }


def an_asset() -> Document:
    return {
        "href": "./s2.tif",
        "roles": ["data"],
        "proj:shape": [1024, 1024],
        "proj:transform": [10, 0, 300_000, 0, -10, 4_900_000],
        "file:size": 12,
        "file:checksum": "1220" + "ab" * 32,
        "bands": [{"name": "B04", "data_type": "uint16", "nodata": 0, "eo:common_name": "red"}],
    }


def a_catalog() -> Document:
    return {"type": "Catalog", "stac_version": "1.1.0", "id": "c", "description": "d", "links": []}


def a_collection() -> Document:
    spatial, temporal = {"bbox": [[0, 0, 1, 1]]}, {"interval": [["2020-01-01T00:00:00Z", None]]}
    return {
        **a_catalog(),
        "type": "Collection",
        "stac_extensions": [EO, FILE, PROJECTION],
        "license": "CC-BY-4.0",
        "extent": {"spatial": spatial, "temporal": temporal},
        "item_assets": {"s2": {"title": "Sentinel-2", "bands": [{"name": "B04", "eo:common_name": "red"}]}},
    }


@pytest.mark.parametrize("make", [an_item, a_catalog, a_collection])
def test_a_right_document_passes(store: SchemaStore, make: Callable[[], Document]) -> None:
    assert store.errors(make()) == []


@pytest.mark.parametrize(
    ("place", "value", "schema", "path", "message"),
    [
        (("properties", "proj:epsg"), 32631, PROJECTION, "/properties", "'proj:epsg' was unexpected"),
        (("assets", "s2", "proj:epsg"), 32631, PROJECTION, "/assets/s2", "'proj:epsg' was unexpected"),
        (("assets", "s2", "eo:bands"), [], EO, "/assets/s2", "'eo:bands' was unexpected"),
        (("assets", "s2", "file:checksum"), "zz", FILE, "/assets/s2/file:checksum", '"zz" does not match'),
        (("links", 0), {"rel": "x"}, CORE["Feature"], "/links/0", '"href" is a required property'),
        (("links", 0, "href"), "a b", CORE["Feature"], "/links/0/href", 'not a "iri-reference"'),
        (
            ("properties", "datetime"),
            "2020-13-01T00:00:00Z",
            CORE["Feature"],
            "/properties/datetime",
            "date-time",
        ),
        (("geometry", "type"), "Poly", CORE["Feature"], "/geometry/type", '"Poly" is not one of'),
        (("id",), 7, CORE["Feature"], "/id", '7 is not of type "string"'),
        (("stac_extensions",), "eo", CORE["Feature"], "/stac_extensions", 'not of type "array"'),
    ],
)
def test_what_is_wrong_is_found_and_placed(
    store: SchemaStore, place: tuple[str | int, ...], value: object, schema: str, path: str, message: str
) -> None:
    document = an_item()
    parent: Any = document
    for step in place[:-1]:
        parent = parent[step]
    parent[place[-1]] = value
    (error,) = store.errors(document)
    assert (error.schema, error.path) == (schema, path)
    assert message in error.message


def test_the_reason_is_given_and_not_the_branch_that_was_not_meant(store: SchemaStore) -> None:
    document = an_item()
    del document["bbox"]
    expected = SchemaError(schema=CORE["Feature"], path="", message='"bbox" is a required property')
    assert store.errors(document) == [expected]


def test_a_collection_is_held_to_the_collection_schema(store: SchemaStore) -> None:
    document = a_collection() | {"extent": {}}
    document["item_assets"]["s2"]["eo:bands"] = []
    found = [(error.schema, error.path) for error in store.errors(document)]
    assert set(found) == {(CORE["Collection"], "/extent"), (EO, "/item_assets/s2")}


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"stac_version": "1.0.0"}, "/stac_version"),
        ({"type": "Thing"}, "/type"),
        ({"type": ["Catalog"]}, "/type"),
    ],
)
def test_only_the_documents_of_stac_1_1_are_known(store: SchemaStore, change: Document, path: str) -> None:
    (error,) = store.errors(a_catalog() | change)
    assert error.path == path
    assert "1.1.0" in error.message


@pytest.mark.parametrize(
    "uri",
    [
        "http://stac-extensions.github.io/eo/v2.0.0/schema.json",
        "file:///etc/passwd",
        "https://../../secret.json",
        "https://x.org/../../secret.json",
        "https://x.org/%2e%2e/secret.json",
        "https://x.org/.hidden.json",
        "https://x.org//a.json",
        "https://x.org/a.json?b",
        "https://user@x.org/a.json",
        "https://x.org/a\\b.json",
        "https://x.org/a.json\n",
        "https://x.org",
        "",
    ],
)
def test_an_unsafe_uri_is_an_error_value(store: SchemaStore, uri: str) -> None:
    errors = [e for e in store.errors(a_catalog() | {"stac_extensions": [uri]}) if e.schema == uri]
    assert [error.path for error in errors] == ["/stac_extensions/0"]
    assert "no plain https:// address" in errors[0].message


def test_a_missing_extension_is_an_error_that_says_what_to_do(store: SchemaStore) -> None:
    uri = f"{EXTENSIONS}/nowhere/v1.0.0/schema.json"
    document = an_item()
    document["stac_extensions"].append(uri)
    (error,) = store.errors(document)
    assert (error.schema, error.path) == (uri, "/stac_extensions/3")
    assert error.message.startswith(f"no schema {uri} in the mirror")
    assert "put it at" in error.message


def test_a_missing_reference_names_what_is_missing(tmp_path: Path) -> None:
    put(tmp_path, "x.org/a.json", {"$ref": "b.json"})
    (error,) = extension_errors(SchemaStore(mirror=tmp_path), "https://x.org/a.json")
    assert error.message.startswith("no schema https://x.org/b.json in the mirror")


def test_a_broken_schema_is_an_error_value(tmp_path: Path) -> None:
    put(tmp_path, "x.org/a.json", {"type": "nonsense"})
    put(tmp_path, "x.org/b.json", {}).write_text("<html>")
    store = SchemaStore(mirror=tmp_path)
    for name in "ab":
        assert len(extension_errors(store, f"https://x.org/{name}.json")) == 1


def test_pointers_are_escaped_and_messages_are_short(tmp_path: Path) -> None:
    put(tmp_path, "x.org/a.json", {"properties": {"a/b~c": {"type": "integer"}}})
    document = {"stac_extensions": ["https://x.org/a.json"], "a/b~c": "long" * 9999}
    error = SchemaStore(mirror=tmp_path).errors(document)[-1]
    assert error.path == "/a~1b~0c"
    assert len(error.message) < 400
    assert error.message.endswith('is not of type "integer"')


def test_a_document_that_cannot_be_read_is_an_error_value(store: SchemaStore) -> None:
    (error,) = store.errors(a_catalog() | {"id": object()})
    assert "Unsupported type" in error.message


def test_each_schema_is_compiled_once(mirror: Path, compiled: list[str]) -> None:
    store = SchemaStore(mirror=mirror)
    for _ in range(3):
        assert store.errors(an_item()) == store.errors(a_collection()) == []
    assert sorted(compiled) == sorted([CORE["Feature"], CORE["Collection"], PROJECTION, EO, FILE])


def test_a_thousand_items(store: SchemaStore, compiled: list[str]) -> None:
    store.errors(an_item())
    compiled.clear()
    assert not any(store.errors(an_item() | {"id": f"a_x{i:04}_y0000"}) for i in range(1000))
    assert compiled == []


def test_fetched_schemas_are_kept(tmp_path: Path, mirror: Path) -> None:
    cache, fetched = tmp_path / "made" / "when needed", list[str]()

    def fetch(uri: str) -> bytes:
        fetched.append(uri)
        return (mirror / uri.removeprefix("https://")).read_bytes()

    store = SchemaStore(cache=cache, fetch=fetch)
    assert store.errors(an_item()) == store.errors(a_collection()) == []
    assert len(fetched) == len(set(fetched)) > 5
    kept = {path.relative_to(cache).as_posix() for path in cache.rglob("*") if path.is_file()}
    assert kept == {uri.removeprefix("https://") for uri in fetched}
    for again in (SchemaStore(cache=cache, fetch=no_fetch), SchemaStore(mirror=cache)):
        assert again.errors(an_item()) == []


def test_without_a_cache_a_schema_is_fetched_once() -> None:
    fetched: list[str] = []

    def fetch(uri: str) -> bytes:
        fetched.append(uri)
        return b'{"required": ["x"]}'

    store = SchemaStore(fetch=fetch)
    for _ in range(2):
        assert len(extension_errors(store, "https://x.org/a.json")) == 1
    assert fetched == ["https://x.org/a.json"]


@pytest.mark.parametrize("failure", [OSError("no route"), HTTPError("u", 404, "Not Found", None, BytesIO())])  # type: ignore[arg-type]
def test_a_failed_fetch_is_asked_once_and_not_kept(tmp_path: Path, failure: OSError) -> None:
    fetched: list[str] = []

    def fetch(uri: str) -> bytes:
        fetched.append(uri)
        raise failure

    store = SchemaStore(cache=tmp_path, fetch=fetch)
    for _ in range(2):
        (error,) = extension_errors(store, "https://x.org/a.json")
        assert str(failure) in error.message
    assert fetched == ["https://x.org/a.json"]
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_json_is_not_kept(tmp_path: Path) -> None:
    store = SchemaStore(cache=tmp_path, fetch=lambda _: b"<html>")
    assert len(extension_errors(store, "https://x.org/a.json")) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_fetch_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    body = BytesIO(b"0" * (schemas.MAX_BYTES + 1))
    monkeypatch.setattr(OpenerDirector, "open", lambda *_, **__: body)
    with pytest.raises(OSError, match="more than 5000000 bytes"):
        fetch_https("https://x.org/a.json")


def test_an_answer_cut_short_is_an_os_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(*_: object, **__: object) -> None:
        raise IncompleteRead(b"{")

    monkeypatch.setattr(OpenerDirector, "open", cut)
    with pytest.raises(OSError, match="broken answer"):
        fetch_https("https://x.org/a.json")


def test_a_redirect_away_from_https_is_refused() -> None:
    with pytest.raises(HTTPError, match="away from https") as caught:
        schemas._HttpsOnly().redirect_request(None, BytesIO(), 302, "", {}, "http://x.org/a.json")
    caught.value.close()


def test_folders_are_looked_at_first(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        SchemaStore(mirror=tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="not a folder"):
        SchemaStore(cache=tmp_path / "file")


def test_a_local_schema() -> None:
    ours = {
        "$id": "https://dream.example/dream.schema.json#",
        "properties": {"when": {"format": "date-time"}},
    }
    validator = local_validator(ours)
    assert validator.errors({"when": "2020-01-01T00:00:00Z"}) == []
    (error,) = validator.errors({"when": "then"})
    assert (error.schema, error.path) == (ours["$id"], "/when")


@pytest.mark.parametrize("schema", [{"$ref": "https://x.org/a.json"}, {"type": "nonsense"}])
def test_a_local_schema_stands_alone(schema: Document) -> None:
    with pytest.raises(ValueError, match=r"x\.org|nonsense"):
        local_validator(schema)


def put(mirror: Path, place: str, schema: Document) -> Path:
    path = mirror / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(schema))
    return path


def extension_errors(store: SchemaStore, uri: str) -> list[SchemaError]:
    """The errors of one extension; these stores hold no core schemas."""
    return [error for error in store.errors({"stac_extensions": [uri]}) if error.schema == uri]
