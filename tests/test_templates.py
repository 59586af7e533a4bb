"""The authored templates of stac/: valid STAC, one contract with the builder, one meaning per modality."""

import copy
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pystac
import pytest

Document = dict[str, Any]

ROOT = Path(__file__).resolve().parents[1]
STAC = ROOT / "stac"
COLLECTIONS = ("france", "usa")
TEMPLATES = ("catalog.json", *(f"{name}/collection.json" for name in COLLECTIONS))
CORE = "https://schemas.stacspec.org/v1.1.0/{0}-spec/json-schema/{0}.json"
CLASSIFICATION = "https://stac-extensions.github.io/classification/v2.0.0/schema.json"
BUILT_ONLY = ("projection", "file", "grid")  # extensions whose fields only built documents carry
SHA256 = "0" * 64


def read(path: Path) -> Document:
    document: Document = json.loads(path.read_text(encoding="utf-8"))
    return document


def template(name: str) -> Document:
    return read(STAC / name)


def collection(name: str) -> Document:
    return template(f"{name}/collection.json")


def objects(value: Any) -> Iterator[Document]:
    """Every JSON object within a document, itself included."""
    if isinstance(value, dict):
        yield value
        for child in value.values():
            yield from objects(child)
    elif isinstance(value, list):
        for child in value:
            yield from objects(child)


Validate = Callable[[str, Any], list[str]]


@pytest.fixture(scope="module")
def published() -> Validate:
    """Errors of a value against a published schema (a URI, with or without a fragment), with no network."""
    mirror = Path(os.environ.get("STAC_SCHEMAS_DIR") or ROOT.parent / "shared" / "schemas")
    if not mirror.is_dir():
        pytest.skip(f"no mirror of the STAC schemas at {mirror}: set STAC_SCHEMAS_DIR to validate the templates")

    def retrieve(uri: str) -> Document:
        schema = read(mirror / uri.partition("#")[0].removeprefix("https://").removeprefix("http://"))
        schema.pop("$id", None)  # some end in '#', one is misspelt: the path says the address
        return schema

    def validate(uri: str, value: Any) -> list[str]:
        validator = jsonschema_rs.Draft7Validator({"$ref": uri}, retriever=retrieve, validate_formats=True)
        return [f"{error.instance_path}: {error.message}" for error in validator.iter_errors(value)]

    return validate


@pytest.fixture(scope="module")
def dream() -> jsonschema_rs.Draft7Validator:
    schema = template("dream.schema.json")
    jsonschema_rs.meta.validate(schema)
    return jsonschema_rs.Draft7Validator(schema)


# --- valid by themselves --------------------------------------------------------------------------


@pytest.mark.parametrize("name", TEMPLATES)
def test_template_is_valid_against_core_and_extensions(name: str, published: Validate) -> None:
    document = template(name)
    core = CORE.format(document["type"].lower())
    for uri in (core, *document.get("stac_extensions", [])):
        assert published(uri, document) == [], uri


@pytest.mark.parametrize("uri", [CORE.format("collection"), *collection("france")["stac_extensions"]])
def test_published_schemas_do_reject(uri: str, published: Validate) -> None:
    """A mirror wired wrongly would accept anything."""
    assert published(uri, {"type": "Collection", "stac_extensions": []})


@pytest.mark.parametrize("name", COLLECTIONS)
def test_classes_are_valid(name: str, published: Validate) -> None:
    """classification v2.0.0 reads classes on assets, not in STAC 1.1 bands: hold the bands to it too."""
    bands = [band for asset in collection(name)["item_assets"].values() for band in asset["bands"]]
    classified = [band for band in bands if "classification:classes" in band]
    assert classified
    for band in classified:
        assert published(f"{CLASSIFICATION}#/definitions/fields", band) == []


@pytest.mark.parametrize("name", COLLECTIONS)
def test_extensions_are_exactly_those_used(name: str) -> None:
    document = collection(name)
    listed = [uri.split("/")[3] for uri in document["stac_extensions"]]
    prefixes = {key.partition(":")[0] for part in objects(document) for key in part if ":" in key}
    used = {"scientific" if prefix == "sci" else prefix for prefix in prefixes - {"dream"}}
    assert sorted(listed) == sorted(used | {"render", "version"})
    assert not set(listed) & set(BUILT_ONLY)


@pytest.mark.parametrize("name", TEMPLATES)
def test_no_fields_of_older_versions(name: str) -> None:
    retired = {"eo:bands", "raster:bands", "proj:epsg", "sar:product_type"}
    for part in objects(template(name)):
        assert not retired & part.keys()
        assert not [key for key in part if key.startswith("proj:")]


@pytest.mark.parametrize("name", TEMPLATES)
def test_links_are_titled_external_and_without_children(name: str) -> None:
    for link in template(name)["links"]:
        assert link.get("title"), link
        assert link["href"].startswith("https://"), link
        assert link["rel"] in {"cite-as", "license"}, link


@pytest.mark.parametrize("name", COLLECTIONS)
def test_pystac_reads_and_keeps_the_bands(name: str) -> None:
    document = collection(name)
    read_back = pystac.Collection.from_dict(copy.deepcopy(document), migrate=False).to_dict(
        include_self_link=False, transform_hrefs=False
    )
    assert read_back["item_assets"] == document["item_assets"]
    assert read_back["renders"] == document["renders"]


# --- the dream: fields ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", TEMPLATES)
def test_template_keeps_the_dream_contract(name: str, dream: jsonschema_rs.Draft7Validator) -> None:
    assert [error.message for error in dream.iter_errors(template(name))] == []


@pytest.mark.parametrize("name", COLLECTIONS)
def test_template_leaves_nothing_to_defaults(name: str) -> None:
    document, fields = collection(name), template("dream.schema.json")["definitions"]
    for part, definition in (
        (document, "collection"),
        (document["dream:grid"], "grid"),
        (document["dream:cog"], "cog"),
        *((asset, "modality") for asset in document["item_assets"].values()),
    ):
        assert fields[definition]["properties"].keys() - {"assets"} <= part.keys(), definition


def put(*path: str, value: Any) -> Callable[[Document], None]:
    def mutate(document: Document) -> None:
        for key in path[:-1]:
            document = document[key]
        document[path[-1]] = value

    return mutate


def drop(*path: str) -> Callable[[Document], None]:
    def mutate(document: Document) -> None:
        for key in path[:-1]:
            document = document[key]
        del document[path[-1]]

    return mutate


def rejects(dream: jsonschema_rs.Draft7Validator, document: Document, word: str) -> bool:
    """Whether the document is refused with an error that names `word`."""
    errors = [f"{error.instance_path}: {error.message}" for error in dream.iter_errors(document)]
    return any(word in error for error in errors)


BAD_COLLECTIONS = [
    ("dream:unknown", put("dream:unknown", value=1)),
    ("dream:area", put("dream:area", value="toulouse")),
    ("dream:unknown", put("item_assets", "s2", "dream:unknown", value=1)),
    ("dream:grid", drop("dream:grid")),
    ("origin", put("dream:grid", "origin", value="corner")),
    ("crs", put("dream:grid", "crs", value="27700")),
    ("crs", drop("dream:grid", "crs")),
    ("resolution", put("dream:grid", "resolution", value=0)),
    ("tile_shape", put("dream:grid", "tile_shape", value=[1024])),
    ("rotation", put("dream:grid", "rotation", value=3)),
    ("min_valid_percent", put("dream:min_valid_percent", value=101)),
    ("compress", put("dream:cog", "compress", value="LZW")),
    ("level", put("dream:cog", "level", value=23)),
    ("level", put("dream:cog", value={"compress": "DEFLATE", "level": 13, "blocksize": 512})),
    ("blocksize", put("dream:cog", "blocksize", value=1024)),
    ("dream:resampling", put("item_assets", "s2", "dream:resampling", value="none")),
    ("dream:resampling", drop("item_assets", "s2", "dream:resampling")),
    ("dream:required", put("item_assets", "s2", "dream:required", value="yes")),
    ("dream:attribution", put("item_assets", "s2", "dream:attribution", value="")),
    ("bands", drop("item_assets", "s2", "bands")),
    ("data_type", put("item_assets", "s2", "bands", value=[{"name": "B02"}])),
    ("thumbnail", put("item_assets", "thumbnail", value=collection("france")["item_assets"]["s2"])),
    ("s2.l2a", put("item_assets", "s2.l2a", value=collection("france")["item_assets"]["s2"])),
    ("dream:inputs", put("assets", value={"index": {"href": "x", "dream:inputs": "abc"}})),
    ("type", put("type", value="catalogue")),
]


@pytest.mark.parametrize(("word", "mutate"), BAD_COLLECTIONS)
def test_bad_collection_is_rejected(
    word: str, mutate: Callable[[Document], None], dream: jsonschema_rs.Draft7Validator
) -> None:
    document = collection("france")
    mutate(document)
    assert rejects(dream, document, word)


@pytest.mark.parametrize(
    "mutate",
    [
        put("dream:grid", "crs", value="EPSG:27700"),
        put("dream:thumbnail", value=[]),
        put("dream:cog", value={"level": 19}),
        drop("dream:cog"),
        drop("item_assets", "s2", "dream:required"),
        put("dream:cog", value={"compress": "DEFLATE", "level": 12, "blocksize": 128}),
        put("assets", value={"index": {"href": "x", "dream:inputs": SHA256}}),
    ],
)
def test_other_good_collection_is_accepted(
    mutate: Callable[[Document], None], dream: jsonschema_rs.Draft7Validator
) -> None:
    document = collection("france")
    mutate(document)
    assert [error.message for error in dream.iter_errors(document)] == []


def an_item() -> Document:
    return {
        "type": "Feature",
        "properties": {
            "dream:area": "toulouse",
            "dream:column": 45,
            "dream:row": -3,
            "dream:valid_percent": 99.5,
            "dream:absent": ["s1_mean"],
            "dream:synthetic": True,
            "dream:granule": "a field of the user's own",
        },
        "assets": {
            "s2": {
                "href": "./s2.tif",
                "dream:resampling": "none",
                "dream:inputs": SHA256,
                "dream:attribution": "Contains modified Copernicus Sentinel data",
                "dream:granule": "a field of the user's own",
            },
            "thumbnail": {"href": "./thumbnail.png"},
        },
    }


def an_area() -> Document:
    return {
        "type": "Catalog",
        "dream:area": "toulouse",
        "dream:inputs": SHA256,
        "dream:summary": {"items": 4},
    }


@pytest.mark.parametrize("document", [an_item(), an_area(), {"type": "Catalog"}])
def test_built_document_is_accepted(document: Document, dream: jsonschema_rs.Draft7Validator) -> None:
    assert [error.message for error in dream.iter_errors(document)] == []


BAD_DOCUMENTS = [
    (an_item, "dream:area", drop("properties", "dream:area")),
    (an_item, "dream:area", put("properties", "dream:area", value="a/b")),
    (an_item, "dream:column", put("properties", "dream:column", value=1.5)),
    (an_item, "dream:row", put("properties", "dream:row", value="3")),
    (an_item, "dream:valid_percent", put("properties", "dream:valid_percent", value=-1)),
    (an_item, "dream:absent", put("properties", "dream:absent", value="s1")),
    (an_item, "dream:synthetic", put("properties", "dream:synthetic", value="yes")),
    (an_item, "dream:resampling", put("assets", "s2", "dream:resampling", value="lanczos")),
    (an_item, "dream:inputs", put("assets", "s2", "dream:inputs", value="abc")),
    (an_item, "dream:attribution", put("assets", "s2", "dream:attribution", value="")),
    (an_area, "dream:area", put("dream:area", value=3)),
    (an_area, "dream:inputs", put("dream:inputs", value="abc")),
    (an_area, "dream:summary", put("dream:summary", value=[])),
]


@pytest.mark.parametrize(("make", "word", "mutate"), BAD_DOCUMENTS)
def test_bad_built_document_is_rejected(
    make: Callable[[], Document],
    word: str,
    mutate: Callable[[Document], None],
    dream: jsonschema_rs.Draft7Validator,
) -> None:
    document = make()
    mutate(document)
    assert rejects(dream, document, word)


# --- the modalities -------------------------------------------------------------------------------


def test_shared_modalities_mean_the_same() -> None:
    france, usa = (collection(name)["item_assets"] for name in COLLECTIONS)
    shared = france.keys() & usa.keys()
    assert shared == {"s1", "s1_activity", "s2", "srtm", "osm"}
    differ_by_collection = {"gsd", "dream:required"}
    for key in shared:
        one, other = (
            {field: value for field, value in assets[key].items() if field not in differ_by_collection}
            for assets in (france, usa)
        )
        assert one == other, key


def test_passes_of_uavsar_have_equal_bands() -> None:
    assets = collection("usa")["item_assets"]
    assert assets["uavsar_1"]["bands"] == assets["uavsar_2"]["bands"] == assets["uavsar_3"]["bands"]


@pytest.mark.parametrize("name", COLLECTIONS)
def test_modalities_state_what_users_need(name: str) -> None:
    document = collection(name)
    for key, asset in document["item_assets"].items():
        assert {"title", "description", "type", "roles", "gsd", "license", "bands"} <= asset.keys(), key
        assert asset["gsd"] == document["dream:grid"]["resolution"], key
        assert asset["roles"][0] == "data", key
        names = [band["name"] for band in asset["bands"]]
        assert len(set(names)) == len(names), key
        assert len({(band["data_type"], band["nodata"]) for band in asset["bands"]}) == 1, key


@pytest.mark.parametrize("name", COLLECTIONS)
def test_every_modality_has_its_licence_link(name: str) -> None:
    document = collection(name)
    licences = [link["title"] for link in document["links"] if link["rel"] == "license"]
    covered = [key for title in licences for key in title.partition(":")[0].split(", ")]
    assert sorted(covered) == sorted(document["item_assets"])


@pytest.mark.parametrize("name", COLLECTIONS)
def test_class_rasters_keep_their_classes_when_warped(name: str) -> None:
    for key, asset in collection(name)["item_assets"].items():
        classified = any("classification:classes" in band for band in asset["bands"])
        dated = any(band.get("unit") == "d" for band in asset["bands"])
        assert (asset["dream:resampling"] in {"nearest", "mode"}) == (classified or dated), key


@pytest.mark.parametrize("name", COLLECTIONS)
def test_classes_are_distinct_and_agree_with_nodata(name: str) -> None:
    (band,) = collection(name)["item_assets"]["osm"]["bands"]
    classes = band["classification:classes"]
    for field in ("value", "name", "title", "description", "color_hint"):
        assert len({each[field] for each in classes}) == len(classes), field
    assert [each["value"] for each in classes if each.get("nodata")] == [band["nodata"]]


# --- the renders ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COLLECTIONS)
def test_renders_refer_to_bands_that_exist(name: str) -> None:
    document = collection(name)
    assert document["renders"].keys() == document["item_assets"].keys()
    for key, render in document["renders"].items():
        assert render["assets"] == [key]
        assert render["title"], key
        count = len(document["item_assets"][key]["bands"])
        assert len(render["bidx"]) in {1, 3}, key
        assert all(1 <= index <= count for index in render["bidx"]), key


@pytest.mark.parametrize("name", COLLECTIONS)
def test_renders_say_how_values_become_colours(name: str) -> None:
    for key, render in collection(name)["renders"].items():
        assert ("rescale" in render) != ("colormap" in render), key
        assert "colormap_name" not in render or len(render["bidx"]) == 1, key
        if "rescale" in render:
            assert len(render["rescale"]) == len(render["bidx"]), key
            assert all(low < high for low, high in render["rescale"]), key


@pytest.mark.parametrize("name", COLLECTIONS)
def test_thumbnails_name_renders(name: str) -> None:
    document = collection(name)
    assert document["dream:thumbnail"]
    assert set(document["dream:thumbnail"]) <= document["renders"].keys()


@pytest.mark.parametrize("name", COLLECTIONS)
def test_colormap_of_osm_is_that_of_its_classes(name: str) -> None:
    document = collection(name)
    (band,) = document["item_assets"]["osm"]["bands"]
    expected = {
        str(each["value"]): [*bytes.fromhex(each["color_hint"]), 0 if each.get("nodata") else 255]
        for each in band["classification:classes"]
    }
    assert document["renders"]["osm"]["colormap"] == expected
