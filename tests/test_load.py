"""Loading by every path, held against what rasterio reads from the files and where the files say that it lies."""

import copy
import functools
import io
import json
import multiprocessing
import pickle
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
from rasterio.merge import merge
from rasterio.windows import Window

from catalog_builder import load, sources, template
from catalog_builder.build import build
from catalog_builder.errors import CatalogBuilderError, RasterError, RemoteError, UsageError
from catalog_builder.executor import SerialExecutor
from catalog_builder.fingerprint import Fingerprints
from catalog_builder.load.weights import inverse_frequency, median_frequency
from catalog_builder.plan import make_plan
from catalog_builder.progress import TileProgress
from catalog_builder.serve import make_server
from catalog_builder.synthetic import write_synthetic_sources
from tests.makers import TILE, small_templates, texture, write_geotiff

pytestmark = [
    # Of odc-geo, stackstac and what they stand on.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

FRANCE = ("s1", "s1_mean", "s2", "srtm", "osm")
Item = pystac.Item


def make_release(folder: Path, *, tile: int = TILE, tiles: int = 2) -> Path:
    """Build the synthetic areas with ``tiles`` x ``tiles`` tiles of ``tile`` pixels each."""
    templates = template.load(small_templates(folder / "stac", tile))
    listing = write_synthetic_sources(folder / "sources", size=tile * tiles)
    plan = make_plan(sources.load(listing, templates), templates, Fingerprints())
    build(plan, folder / "release", SerialExecutor(), TileProgress(io.StringIO(), quiet=True))
    return folder / "release"


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_release(tmp_path_factory.mktemp("load"))


@pytest.fixture(scope="module")
def items(release: Path) -> list[Item]:
    """All sixteen tiles, of four areas in three CRS."""
    return list(pystac.Catalog.from_file(str(release / "catalog.json")).get_items(recursive=True))


@pytest.fixture
def ventoux(items: list[Item]) -> list[Item]:
    """Four tiles that touch."""
    return of_area(items, "ventoux")


def of_area(items: list[Item], area: str) -> list[Item]:
    return [item for item in items if item.properties["dream:area"] == area]


def path(item: Item, asset: str) -> str:
    return str(item.assets[asset].get_absolute_href())


def file_pixels(item: Item, asset: str) -> Any:
    with rasterio.open(path(item, asset)) as dataset:
        return dataset.read()


def file_band(item: Item, asset: str, name: str) -> Any:
    """The band that the file itself calls so."""
    with rasterio.open(path(item, asset)) as dataset:
        return dataset.read(dataset.descriptions.index(name) + 1)


def same(one: Any, other: Any) -> bool:
    return bool(one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind == "f"))


def absolute(item: Item) -> dict[str, Any]:
    """An item's JSON as a search gives it, free to be spoiled."""
    document = copy.deepcopy(item.to_dict(include_self_link=True, transform_hrefs=False))
    for key, asset in document["assets"].items():
        asset["href"] = path(item, key)
    return document


def xarray_now(items: Any, *names: str, **options: Any) -> Any:
    return load.to_xarray(items, list(names) or None, **options).compute()


def stack_now(items: Any, *names: str, **options: Any) -> Any:
    stackstac = pytest.importorskip("stackstac")
    return stackstac.stack(**load.for_stackstac(items, list(names) or None, **options)).compute()


LOADERS: dict[str, Callable[..., Any]] = {
    "to_numpy": lambda item, *names: load.to_numpy(item, list(names) or None),
    "to_xarray": xarray_now,
    "TileSamples": lambda item, *names: load.TileSamples(item, list(names) or None)[0],
}
every_loader = pytest.mark.parametrize("loader", LOADERS.values(), ids=LOADERS.keys())


# --- to_numpy ---------------------------------------------------------------------------------------------------------


def test_numpy_gives_every_file_as_rasterio_reads_it(items: list[Item]) -> None:
    masked = 0
    for item in items:
        arrays = load.to_numpy(item)
        assert list(arrays) == [key for key in item.assets if key != "thumbnail"]
        for key, array in arrays.items():
            with rasterio.open(path(item, key)) as dataset:
                assert same(array.data, dataset.read())
                assert np.array_equal(array.mask, dataset.read_masks() == 0)
            masked += array.mask.sum()
    assert masked > 1000  # the radar's swath ends within the tiles


def test_numpy_gives_the_bands_and_the_window_asked_for(ventoux: list[Item]) -> None:
    arrays = load.to_numpy(ventoux[0], ["s2.nir", "s2.B02", "osm"], window=(10, 20, 30, 40))
    box = (slice(10, 40), slice(20, 60))
    assert list(arrays) == ["s2", "osm"]
    assert same(arrays["s2"].data[0], file_band(ventoux[0], "s2", "B08")[box])
    assert same(arrays["s2"].data[1], file_band(ventoux[0], "s2", "B02")[box])
    assert same(arrays["osm"].data[0], file_band(ventoux[0], "osm", "class")[box])


@pytest.mark.parametrize("window", [(-1, 0, 8, 8), (0, 0, TILE + 1, 8), (0, TILE - 4, 8, 8), (0, 0, 0, 8)])
def test_a_window_outside_the_tile_is_refused(ventoux: list[Item], window: tuple[int, int, int, int]) -> None:
    with pytest.raises(UsageError, match="lies not inside a tile of 256 x 256"):
        load.to_numpy(ventoux[0], window=window)


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("area", "name", "asset", "band"),
    [
        ("ventoux", "s2.B04", "s2", "B04"),
        ("ventoux", "s2.red", "s2", "B04"),
        ("ventoux", "s2.3", "s2", "B04"),
        ("ventoux", "red", "s2", "B04"),
        ("ventoux", "B08", "s2", "B08"),
        ("ventoux", "srtm", "srtm", "elevation"),
        ("ventoux", "elevation", "srtm", "elevation"),
        ("ventoux", "srtm.elevation", "srtm", "elevation"),
        ("ventoux", "s1_mean.VH", "s1_mean", "VH"),
        ("cape_fear", "uavsar_2.HH+VV", "uavsar_2", "HH+VV"),
        ("cape_fear", "uavsar_2.blue", "uavsar_2", "HH+VV"),
        ("cape_fear", "naip.green", "naip", "green"),
        ("cape_fear", "nir", "s2", "B08"),
    ],
)
def test_a_band_has_many_names(items: list[Item], area: str, name: str, asset: str, band: str) -> None:
    item = of_area(items, area)[0]
    right = file_band(item, asset, band)
    assert same(load.to_numpy(item, name)[asset].data[0], right)
    loaded = xarray_now(item, name)
    assert list(loaded) == [name]
    assert same(loaded[name].values[0], right)
    stacked = stack_now(item, name)
    assert list(stacked.band.values) == [name]
    assert same(stacked.values[0, 0], right)


def test_an_asset_stands_for_all_its_bands(ventoux: list[Item]) -> None:
    assert list(load.to_xarray(ventoux, ["s2", "srtm"])) == ["s2.B02", "s2.B03", "s2.B04", "s2.B08", "srtm"]
    assert list(load.to_xarray(ventoux)) == [
        *("s1.VV", "s1.VH", "s1_mean.VV", "s1_mean.VH", "s2.B02", "s2.B03", "s2.B04", "s2.B08", "srtm", "osm")
    ]


@every_loader
@pytest.mark.parametrize(
    ("area", "name", "says"),
    [
        ("ventoux", "s2.B05", "the nearest is 's2.B0"),
        ("ventoux", "s3", "the nearest is 's"),
        ("ventoux", "elevatoin", "the nearest is 'elevation'"),
        ("ventoux", "s2.5", "no item has 's2.5'"),
        ("ventoux", "s2.0", "no item has 's2.0'"),
        ("ventoux", "thumbnail", "no item has 'thumbnail'"),
        ("ventoux", "VV", "may be any of s1.VV, s1_mean.VV: say which"),
        ("cape_fear", "red", "uavsar_1.HH-VV, uavsar_2.HH-VV, uavsar_3.HH-VV, naip.red, s2.B04"),
    ],
)
def test_a_name_that_is_none_is_refused(
    loader: Callable[..., Any], items: list[Item], area: str, name: str, says: str
) -> None:
    with pytest.raises(UsageError) as caught:
        loader(of_area(items, area)[0], "srtm", name)
    assert says in str(caught.value)
    assert repr(name) in str(caught.value)


# --- to_xarray --------------------------------------------------------------------------------------------------------


def test_xarray_has_every_band_on_the_pixels_of_the_files(items: list[Item]) -> None:
    for area in ("beauce", "ventoux", "cape_fear", "san_andreas"):
        tiles = of_area(items, area)
        loaded = xarray_now(tiles)
        keys = [key for key in tiles[0].assets if key != "thumbnail"]
        seen = 0
        for key in keys:
            pixels, transform = merge([path(item, key) for item in tiles])
            with rasterio.open(path(tiles[0], key)) as dataset:
                names, nodata = dataset.descriptions, dataset.nodata
            for number, name in enumerate(names):
                data = loaded[key if len(names) == 1 else f"{key}.{name}"]
                assert same(data.values[0], pixels[number])
                assert np.array_equal(data.attrs["nodata"], nodata, equal_nan=True)
                seen += 1
            columns, rows = np.arange(pixels.shape[2]), np.arange(pixels.shape[1])
            assert np.array_equal(loaded.x, [(transform @ (column + 0.5, 0.5))[0] for column in columns])
            assert np.array_equal(loaded.y, [(transform @ (0.5, row + 0.5))[1] for row in rows])
        assert seen == len(loaded.data_vars)
        assert loaded.odc.crs == tiles[0].properties["proj:code"]


def test_xarray_is_lazy_by_tiles_and_reads_no_neighbour(ventoux: list[Item]) -> None:
    documents = [absolute(item) for item in ventoux]
    for document in documents[1:]:
        document["assets"]["s2"]["href"] = "/nowhere/s2.tif"
    loaded = load.to_xarray(documents, ["s2.B04"])["s2.B04"]
    assert loaded.chunks == ((1,), (TILE, TILE), (TILE, TILE))
    there = ventoux[0].properties["proj:bbox"]
    part = loaded.sel(x=slice(there[0], there[2]), y=slice(there[3], there[1]))
    assert same(part.values[0], file_band(ventoux[0], "s2", "B04"))
    with pytest.raises(RasterError, match=r"/nowhere/s2\.tif"):
        loaded.compute()


def test_xarray_reads_at_once_and_in_other_chunks(ventoux: list[Item]) -> None:
    lazy = xarray_now(ventoux, "s2", "osm")
    now = load.to_xarray(ventoux, ["s2", "osm"], chunks=None)
    assert not now.chunks
    other = load.to_xarray(ventoux, ["s2", "osm"], chunks={"x": 100, "y": 77})
    assert other.identical(now)
    assert lazy.identical(now)


def test_tiles_of_other_times_have_planes_of_their_own(ventoux: list[Item]) -> None:
    documents = [absolute(item) for item in ventoux[:2]]
    documents[1]["properties"]["datetime"] = "2020-01-01T00:00:00Z"
    loaded = xarray_now(documents, "srtm").srtm
    assert list(loaded.time.values) == [np.datetime64("2020-01-01"), np.datetime64("2021-06-14T17:39:12")]
    box = dict(zip(("left", "bottom", "right", "top"), ventoux[0].properties["proj:bbox"], strict=True))
    part = loaded.sel(x=slice(box["left"], box["right"]), y=slice(box["top"], box["bottom"]))
    assert same(part.values[1], file_band(ventoux[0], "srtm", "elevation"))
    assert (part.values[0] == -32768).all()


def test_a_date_may_be_an_interval(ventoux: list[Item]) -> None:
    document = absolute(ventoux[0])
    document["properties"]["datetime"] = None
    assert xarray_now(document, "srtm").time.values == np.datetime64("2000-02-11")
    assert stack_now(document, "srtm").time.values == np.datetime64("2000-02-11")


@pytest.mark.parametrize("bare", [0, 1, 3])
def test_what_a_tile_lacks_is_nodata(ventoux: list[Item], bare: int) -> None:
    """The first item counts most: odc-stac alone would not know of assets that it lacks."""
    documents = [absolute(item) for item in ventoux]
    del documents[bare]["assets"]["osm"]
    loaded = xarray_now(documents, "osm", "srtm")
    stacked = stack_now(documents, "osm")
    pixels, _ = merge(
        [path(item, "osm") for number, item in enumerate(ventoux) if number != bare], bounds=bounds(ventoux)
    )
    assert same(loaded.osm.values[0], pixels[0])
    assert (loaded.osm == 255).sum() >= TILE * TILE
    assert same(loaded.srtm.values[0], merge([path(item, "srtm") for item in ventoux])[0][0])
    assert ventoux[bare].id not in stacked.id.values
    sample = load.TileSamples(documents, ["srtm", "osm"])[bare]
    assert (sample["pixels"]["osm"] == 255).all()
    assert not sample["valid"]["osm"].any()
    with pytest.raises(UsageError, match="no item has 'osm'"):
        load.to_numpy(documents[bare], "osm")


def bounds(items: list[Item]) -> tuple[float, ...]:
    boxes = np.array([item.properties["proj:bbox"] for item in items])
    return (*boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0))


def test_a_loaded_dataset_can_be_pickled_and_holds_no_secret(
    ventoux: list[Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "an-access-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-key")
    lazy = load.to_xarray(ventoux, ["srtm"])
    data = pickle.dumps(lazy)
    assert b"a-secret-key" not in data
    assert pickle.loads(data).compute().identical(lazy.compute())


# --- one grid ---------------------------------------------------------------------------------------------------------


def grid_loaders() -> list[Callable[..., Any]]:
    return [load.to_xarray, load.for_stackstac]


@pytest.mark.parametrize("loader", grid_loaders())
def test_items_of_several_crs_are_refused_with_the_way_to_split(loader: Callable[..., Any], items: list[Item]) -> None:
    with pytest.raises(UsageError) as caught:
        loader(items)
    says = str(caught.value)
    assert says.startswith("items of 3 CRS: EPSG:32631 (8), ")
    assert "EPSG:32617 (4)" in says
    assert "group them by item.properties['proj:code'] and load each group by itself" in says
    for code in {item.properties["proj:code"] for item in items}:
        loader([item for item in items if item.properties["proj:code"] == code and "beauce" not in item.id])


def regrid(item: Item, change: Callable[[list[float]], None]) -> dict[str, Any]:
    document = absolute(item)
    for asset in document["assets"].values():
        if "proj:transform" in asset:
            change(asset["proj:transform"])
    return document


@pytest.mark.parametrize("loader", grid_loaders())
def test_items_of_several_resolutions_are_refused(loader: Callable[..., Any], ventoux: list[Item]) -> None:
    def finer(transform: list[float]) -> None:
        transform[0], transform[4] = 5.0, -5.0

    with pytest.raises(UsageError, match=r"items of 2 sizes of pixels: 10 x 10 \(3\), 5 x 5 \(1\); group them by"):
        loader([*ventoux[:3], regrid(ventoux[3], finer)])


@pytest.mark.parametrize("loader", grid_loaders())
def test_tiles_that_are_shifted_by_part_of_a_pixel_are_refused(loader: Callable[..., Any], ventoux: list[Item]) -> None:
    def shifted(transform: list[float]) -> None:
        transform[2] += 2.5

    with pytest.raises(UsageError, match=r"items of 2 grids: .*shifted by 0.250, 0.000 pixels \(1\); .*dream:area"):
        loader([*ventoux[:3], regrid(ventoux[3], shifted)])


@pytest.mark.parametrize("loader", grid_loaders())
def test_gdals_order_of_a_transform_is_refused(loader: Callable[..., Any], ventoux: list[Item]) -> None:
    def gdal(transform: list[float]) -> None:
        a, b, c, d, e, f = transform
        transform[:] = [c, a, b, f, d, e]

    with pytest.raises(UsageError, match=r"proj:transform .* is not \[width, 0, left, 0, -height, top\]"):
        loader(regrid(ventoux[0], gdal))


# --- items of any make ------------------------------------------------------------------------------------------------


def makes(items: list[Item]) -> dict[str, Any]:
    documents = [absolute(item) for item in items]
    return {
        "pystac items": items,
        "a generator": (item for item in items),
        "a pystac.ItemCollection": pystac.ItemCollection(items),
        "documents": documents,
        "documents with a self link": [item.to_dict(transform_hrefs=False) for item in items],
        "a FeatureCollection": {"type": "FeatureCollection", "features": documents},
        "a search": SimpleNamespace(items_as_dicts=lambda: iter(documents)),
    }


@pytest.mark.parametrize("make", [*makes([])])
def test_items_come_in_any_make(ventoux: list[Item], make: str) -> None:
    right = xarray_now(ventoux, "srtm")
    assert xarray_now(makes(ventoux)[make], "srtm").identical(right)
    assert len(load.TileSamples(makes(ventoux)[make], "srtm")) == 4


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda _: {"type": "Catalog"}, "not a STAC item"),
        (lambda one: {**one, "links": [], "assets": relative(one)}, "is relative, and the item does not say where"),
        (lambda one: without(one, "proj:transform"), "no proj:transform"),
        (lambda one: without(one, "proj:code"), "no proj:code"),
        (lambda one: banded(one, "data_type", "uint17"), "band B02: data_type or nodata is missing or unknown"),
        (lambda one: banded(one, "nodata", -1), "nodata -1 is no uint16"),
        (lambda one: banded(one, "nodata", 0.5), "nodata 0.5 is no uint16"),
    ],
)  # fmt: skip
@every_loader
def test_items_that_say_too_little_are_refused(
    loader: Callable[..., Any], ventoux: list[Item], spoil: Callable[[Any], Any], says: str
) -> None:
    with pytest.raises(UsageError) as caught:
        loader(spoil(absolute(ventoux[0])))
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("items", "says"),
    [
        ([], "no items to load"),
        (7, "int 7: neither STAC items nor a search"),
        ("catalog.json", "neither STAC items nor a search"),
        ([7], "int '7': not a STAC item"),
    ],
)
@pytest.mark.parametrize("loader", [load.to_xarray, load.for_stackstac, load.class_weights, load.TileSamples])
def test_what_are_no_items_is_refused(loader: Callable[..., Any], items: Any, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        loader(items)
    assert says in str(caught.value)


def relative(document: dict[str, Any]) -> dict[str, Any]:
    return {key: {**asset, "href": f"./{key}.tif"} for key, asset in document["assets"].items()}


def without(document: dict[str, Any], field: str) -> dict[str, Any]:
    for fields in (document["properties"], *document["assets"].values()):
        fields.pop(field, None)
    return document


def banded(document: dict[str, Any], field: str, value: Any) -> dict[str, Any]:
    document["assets"]["s2"]["bands"][0][field] = value
    return document


def test_items_that_do_not_agree_are_refused(ventoux: list[Item]) -> None:
    other = banded(absolute(ventoux[1]), "name", "B01")
    with pytest.raises(UsageError, match=f"asset s2: items {ventoux[0].id} and {ventoux[1].id} differ"):
        load.to_xarray([ventoux[0], other])
    # NaN is NaN, and no difference.
    assert len(load.to_xarray(ventoux[:2], ["s1"])) == 2


# --- files that are not what items say --------------------------------------------------------------------------------


@every_loader
def test_a_file_that_a_partial_mirror_lacks_is_an_error(loader: Callable[..., Any], ventoux: list[Item]) -> None:
    document = absolute(ventoux[0])
    document["assets"]["s2"]["href"] = "/nowhere/s2.tif"
    with pytest.raises(RasterError, match=r"^/nowhere/s2\.tif: no such file"):
        loader(document, "srtm", "s2")
    loader(document, "srtm", "s1")


def test_stackstac_raises_for_a_file_that_is_not_there(ventoux: list[Item]) -> None:
    document = absolute(ventoux[0])
    document["assets"]["s2"]["href"] = "/nowhere/s2.tif"
    with pytest.raises(RuntimeError, match=r"/nowhere/s2\.tif"):
        stack_now(document, "s2")


@pytest.mark.parametrize(
    "href", ["/vsicurl/http://127.0.0.1:9/a.tif", "vrt:///etc/passwd", "ftp://a.b/c.tif", "vsizip/a.tif"]
)
@pytest.mark.parametrize("loader", [*LOADERS.values(), stack_now], ids=[*LOADERS, "stackstac"])
def test_an_href_leads_to_files_web_servers_and_buckets_only(
    loader: Callable[..., Any], ventoux: list[Item], href: str
) -> None:
    document = absolute(ventoux[0])
    document["links"] = [{"rel": "self", "href": "/"}]
    document["assets"]["srtm"]["href"] = href if "vsizip" not in href else f"/{href}"
    with pytest.raises(UsageError, match=r"a path into a file system of GDAL|neither a path nor http"):
        loader(document, "srtm")


@every_loader
def test_a_file_of_another_kind_is_not_opened(loader: Callable[..., Any], ventoux: list[Item], tmp_path: Path) -> None:
    """A VRT under the name of a COG would read whatever it likes."""
    hostile = tmp_path / "srtm.tif"
    rasterio.shutil.copy(path(ventoux[0], "srtm"), hostile, driver="VRT")
    document = absolute(ventoux[0])
    document["assets"]["srtm"]["href"] = str(hostile)
    with pytest.raises(RasterError, match=str(hostile)):
        loader(document, "srtm")
    with pytest.raises(RuntimeError, match=str(hostile)):
        stack_now(document, "srtm")


@every_loader
def test_a_truncated_file_is_an_error(loader: Callable[..., Any], ventoux: list[Item], tmp_path: Path) -> None:
    short = tmp_path / "s2.tif"
    data = Path(path(ventoux[0], "s2")).read_bytes()
    short.write_bytes(data[: len(data) // 2])
    document = absolute(ventoux[0])
    document["assets"]["s2"]["href"] = str(short)
    with pytest.raises(RasterError) as caught:
        loader(document, "s2")
    assert str(caught.value).startswith(f"{short}: truncated or corrupt GeoTIFF: ")
    assert "\n" not in str(caught.value)


@every_loader
@pytest.mark.parametrize(
    "spoil",
    [
        {"proj:transform": [10.0, 0.0, 0.0, 0.0, -10.0, 0.0]},
        {"proj:shape": [TILE, TILE // 2]},
        {"bands": [{"name": "elevation", "data_type": "int16", "nodata": 0}]},
        {"bands": [{"name": "elevation", "data_type": "int32", "nodata": -32768}]},
        {"bands": [{"name": f"b{n}", "data_type": "int16", "nodata": -32768} for n in range(2)]},
    ],
    ids=["transform", "shape", "nodata", "type", "bands"],
)
def test_a_file_that_is_not_what_its_item_says_is_an_error(
    loader: Callable[..., Any], ventoux: list[Item], spoil: dict[str, Any]
) -> None:
    document = absolute(ventoux[0])
    document["assets"]["srtm"] |= spoil
    with pytest.raises(RasterError, match="but its item says") as caught:
        loader(document, "srtm")
    assert path(ventoux[0], "srtm") in str(caught.value)


# --- stackstac --------------------------------------------------------------------------------------------------------


def test_stackstac_reads_every_band_as_the_file_holds_it(items: list[Item]) -> None:
    for area in ("ventoux", "cape_fear"):
        item = of_area(items, area)[1]
        loaded = xarray_now(item)
        for key in [key for key in item.assets if key != "thumbnail"]:
            stacked = stack_now(item, key)
            assert same(stacked.values[0], file_pixels(item, key))
            for axis in ("x", "y", "time"):
                assert np.array_equal(stacked[axis], loaded[axis])
            assert stacked.epsg == int(item.properties["proj:code"].removeprefix("EPSG:"))


def test_stackstac_stacks_bands_of_several_types_as_floats(ventoux: list[Item]) -> None:
    item = ventoux[3]
    stacked, arrays = stack_now(item), load.to_numpy(item)
    assert stacked.dtype == np.float32
    rows = np.concatenate([np.ma.filled(array.astype("float32"), np.nan) for array in arrays.values()])
    assert same(stacked.values[0], rows)
    assert np.isnan(rows).any()


def test_stackstac_mosaics_tiles_on_their_own_grid(ventoux: list[Item]) -> None:
    import stackstac

    stacked = stack_now(ventoux, "s2")
    pixels, _ = merge([path(item, "s2") for item in ventoux])
    mosaic = stackstac.mosaic(stacked, nodata=np.uint16(0))
    assert same(mosaic.values, pixels)
    loaded = xarray_now(ventoux, "s2")
    assert np.array_equal(stacked.x, loaded.x)
    assert np.array_equal(stacked.y, loaded.y)


def test_a_grid_need_not_lie_on_multiples_of_its_resolution(ventoux: list[Item], tmp_path: Path) -> None:
    """Left to themselves, stackstac snaps to such multiples, and odc-stac too."""
    file = write_geotiff(
        tmp_path / "odd.tif", texture((1, 40, 50), "int16"), corner=(675_843.25, 4_904_966.5), nodata=-1
    )
    document = absolute(ventoux[0])
    with rasterio.open(file) as dataset:
        document["assets"]["srtm"] |= {
            "href": str(file),
            "bands": [{"name": "elevation", "data_type": "int16", "nodata": -1}],
            "proj:shape": list(dataset.shape),
            "proj:transform": list(dataset.transform)[:6],
        }
        pixels = dataset.read()
    loaded, stacked = xarray_now(document, "srtm").srtm, stack_now(document, "srtm")
    assert same(load.to_numpy(document, "srtm")["srtm"].data, pixels)
    assert same(loaded.values, pixels)
    assert same(stacked.values[0], pixels)
    for found in (loaded, stacked):
        assert (found.x[0], found.x[-1], found.y[0]) == (675_848.25, 676_338.25, 4_904_961.5)


def test_stackstac_tells_common_names(ventoux: list[Item]) -> None:
    assert list(stack_now(ventoux[0], "s2").common_name.values) == ["blue", "green", "red", "nir"]


def test_stackstac_needs_an_epsg_code(ventoux: list[Item]) -> None:
    document = absolute(ventoux[0])
    document["assets"]["srtm"]["proj:code"] = "IAU_2015:30100"
    with pytest.raises(UsageError, match="stackstac knows EPSG codes alone"):
        load.for_stackstac(document, "srtm")


# --- over HTTP --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(release: Path) -> Iterator[str]:
    made = make_server(release)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()
    made.server_close()


def moved(item: Item, release: Path, base: str) -> dict[str, Any]:
    """An item as a search of a release elsewhere gives it."""
    document = absolute(item)
    for asset in document["assets"].values():
        asset["href"] = f"{base}/{Path(asset['href']).relative_to(release.resolve()).as_posix()}"
    return document


def test_a_web_server_gives_the_same_pixels(server: str, release: Path, ventoux: list[Item]) -> None:
    document = moved(ventoux[0], release, server)
    near, far = load.to_numpy(ventoux[0]), load.to_numpy(document)
    assert all(same(far[key].data, near[key].data) and same(far[key].mask, near[key].mask) for key in FRANCE)
    assert xarray_now(document).identical(xarray_now(ventoux[0]))
    assert np.array_equal(stack_now(document, "s2"), stack_now(ventoux[0], "s2"))


@every_loader
def test_a_file_that_a_web_server_lacks_is_an_error(
    loader: Callable[..., Any], server: str, release: Path, ventoux: list[Item]
) -> None:
    document = moved(ventoux[0], release, server)
    document["assets"]["s2"]["href"] = f"{server}/france/none.tif"
    with pytest.raises(RemoteError) as caught:
        loader(document, "s2")
    assert str(caught.value) == f"{server}/france/none.tif: cannot be read: HTTP response code: 404"
    with pytest.raises(RuntimeError, match="404"):
        stack_now(document, "s2")


@every_loader
def test_a_server_that_is_not_there_is_an_error(loader: Callable[..., Any], ventoux: list[Item]) -> None:
    document = absolute(ventoux[0])
    document["assets"]["s2"]["href"] = "http://127.0.0.1:9/s2.tif"
    with pytest.raises(RemoteError, match=r"^http://127\.0\.0\.1:9/s2\.tif: cannot be read: "):
        loader(document, "s2")


# --- weights of classes -----------------------------------------------------------------------------------------------


def test_weights_follow_their_formulas() -> None:
    # Two tiles, four classes: 0 in both, 1 in the first, 3 in the second, 2 in none.
    counts = np.array([[60, 40, 0, 0], [90, 0, 0, 10]])
    # Frequencies: 150/200, 40/100, 10/100; their median is 0.4.
    assert median_frequency(counts) == pytest.approx([0.4 / 0.75, 1.0, 0.0, 4.0])
    assert inverse_frequency(counts) == pytest.approx([200 / (3 * 150), 200 / (3 * 40), 0, 200 / (3 * 10)])


def test_weights_come_from_the_rasters_without_nodata(ventoux: list[Item]) -> None:
    tiles = [file_pixels(item, "osm") for item in ventoux]
    counts = np.array([np.bincount(tile.ravel(), minlength=256) for tile in tiles])
    counts[:, 255] = 0
    weights = load.class_weights(ventoux)
    assert weights.shape == (12,)  # classes 0 to 11
    assert weights == pytest.approx(median_frequency(counts)[:12])
    there = counts[:, :12].sum(axis=0) > 0
    assert ((weights > 0) == there).all()
    inverse = load.class_weights(ventoux, method="inverse_frequency")
    assert (inverse * counts.sum(axis=0)[:12]).sum() == pytest.approx(counts.sum())


def spoiled_classes(item: Item, target: Path, change: Callable[[Any], None]) -> dict[str, Any]:
    shutil.copy(path(item, "osm"), target)
    with rasterio.open(target) as dataset:
        pixels, profile = dataset.read(), dataset.profile
    change(pixels)
    with rasterio.open(target, "w", **profile) as dataset:
        dataset.write(pixels)
    document = absolute(item)
    document["assets"]["osm"]["href"] = str(target)
    return document


def test_nodata_weighs_nothing(ventoux: list[Item], tmp_path: Path) -> None:
    def half(pixels: Any) -> None:
        pixels[:, : TILE // 2], pixels[:, TILE // 2 :, :10] = 255, 4

    document = spoiled_classes(ventoux[0], tmp_path / "osm.tif", half)
    valid = load.to_numpy(document, "osm")["osm"].compressed()
    assert valid.size == TILE * TILE // 2
    right = np.bincount(valid, minlength=12)
    assert load.class_weights(document) == pytest.approx(median_frequency(right[np.newaxis]))


def test_what_cannot_be_weighed_is_refused(ventoux: list[Item], tmp_path: Path) -> None:
    def strange(pixels: Any) -> None:
        pixels[0, 5, 5] = 77

    def empty(pixels: Any) -> None:
        pixels[:] = 255

    with pytest.raises(RasterError, match="holds 77, which is no class of its item"):
        load.class_weights(spoiled_classes(ventoux[0], tmp_path / "strange.tif", strange))
    with pytest.raises(RasterError, match="no valid pixel in 1 items"):
        load.class_weights(spoiled_classes(ventoux[0], tmp_path / "empty.tif", empty))
    with pytest.raises(UsageError, match="'srtm': not one band of classes"):
        load.class_weights(ventoux, "srtm")
    with pytest.raises(UsageError, match="method 'best'"):
        load.class_weights(ventoux, method="best")  # type: ignore[arg-type]


# --- samples ----------------------------------------------------------------------------------------------------------


def test_chips_cover_every_tile_once_in_order(ventoux: list[Item]) -> None:
    samples = load.TileSamples(ventoux, ["s2.red", "s2.nir", "s1"], chip=64)
    assert len(samples) == 4 * 16
    whole = {key: np.zeros((4, 2, TILE, TILE), dtype=kind) for key, kind in (("s2", "uint16"), ("s1", "float32"))}
    valid = {key: np.zeros(array.shape, dtype=bool) for key, array in whole.items()}
    for number in range(len(samples)):
        sample = samples[number]
        row, column, height, width = sample["window"]
        assert sample["item"] == ventoux[number // 16].id
        assert (height, width) == (64, 64)
        for key, array in whole.items():
            box = (number // 16, slice(None), slice(row, row + 64), slice(column, column + 64))
            array[box], valid[key][box] = sample["pixels"][key], sample["valid"][key]
    for number, item in enumerate(ventoux):
        assert same(whole["s2"][number], np.stack([file_band(item, "s2", name) for name in ("B04", "B08")]))
        assert same(whole["s1"][number], file_pixels(item, "s1"))
        with rasterio.open(path(item, "s1")) as dataset:
            assert np.array_equal(valid["s1"][number], dataset.read_masks() != 0)
    first = [tuple(samples[number]["window"][:2]) for number in range(5)]
    assert first == [(0, 0), (0, 64), (0, 128), (0, 192), (64, 0)]


def test_samples_are_a_sequence_of_whole_tiles_by_default(ventoux: list[Item]) -> None:
    samples = load.TileSamples(ventoux, "srtm", transform=lambda sample: sample["item"])
    assert list(samples) == [item.id for item in ventoux]  # type: ignore[call-overload]
    assert samples[-1] == ventoux[3].id
    with pytest.raises(IndexError):
        samples[4]


@pytest.mark.parametrize("chip", [0, -1, 100, 512])
def test_a_chip_that_does_not_divide_the_tile_is_refused(ventoux: list[Item], chip: int) -> None:
    with pytest.raises(UsageError, match=f"chip {chip}: does not divide tiles of 256 x 256 pixels"):
        load.TileSamples(ventoux, chip=chip)


def test_samples_open_nothing_before_use_and_pickle_small(ventoux: list[Item]) -> None:
    document = absolute(ventoux[0])
    for asset in document["assets"].values():
        asset["href"] = "/nowhere/x.tif"
    samples = pickle.loads(pickle.dumps(load.TileSamples([document], chip=128)))
    assert len(samples) == 4
    with pytest.raises(RasterError, match=r"/nowhere/x\.tif"):
        samples[0]


def take(samples: load.TileSamples, number: int) -> Any:
    return samples[number]["pixels"]["s2"]


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_samples_are_read_in_processes(ventoux: list[Item], method: str) -> None:
    samples = load.TileSamples(ventoux, ["s2"])
    with multiprocessing.get_context(method).Pool(2) as pool:
        found = pool.map(functools.partial(take, samples), range(4))
    assert all(same(pixels, file_pixels(item, "s2")) for pixels, item in zip(found, ventoux, strict=True))


def test_tiles_of_several_shapes_make_no_batch(ventoux: list[Item]) -> None:
    document = absolute(ventoux[0])
    for asset in document["assets"].values():
        asset["proj:shape"] = [TILE, TILE // 2]
    with pytest.raises(UsageError, match=r"different shapes \(256 x 128, 256 x 256\)"):
        load.TileSamples([document, ventoux[1]])


# --- PyTorch ----------------------------------------------------------------------------------------------------------


def scaled(sample: dict[str, Any]) -> tuple[Any, Any]:
    """What a training loop might make of a sample; of a module, so that spawned workers find it."""
    return sample["pixels"]["s2"].astype("float32") / 1e4, sample["pixels"]["osm"][0].astype("int64")


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore")
def test_torch_loads_batches_in_worker_processes(ventoux: list[Item], method: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'catalog-builder[torch]'")
    from torch.utils.data import DataLoader

    chips = load.TileDataset(ventoux, ["s2", "osm"], chip=128, transform=scaled)
    batches = list(DataLoader(chips, batch_size=4, num_workers=2, multiprocessing_context=method))
    assert len(batches) == 4
    for (pixels, classes), item in zip(batches, ventoux, strict=True):
        assert pixels.shape == (4, 4, 128, 128)
        assert pixels.dtype == torch.float32
        quarters = file_pixels(item, "osm")[0].reshape(2, 128, 2, 128).swapaxes(1, 2).reshape(4, 128, 128)
        assert np.array_equal(classes.numpy(), quarters)
    plain = next(iter(DataLoader(load.TileDataset(ventoux, ["s2"]), batch_size=4)))
    assert plain["pixels"]["s2"].dtype == torch.uint16
    assert plain["valid"]["s2"].dtype == torch.bool
    weights = torch.as_tensor(load.class_weights(ventoux), dtype=torch.float32)
    loss = torch.nn.CrossEntropyLoss(weight=weights, ignore_index=255)
    assert torch.isfinite(loss(torch.zeros(4, 12, 128, 128), batches[0][1]))


def test_without_torch_the_extra_is_named() -> None:
    code = "import sys; sys.modules['torch'] = None\nfrom catalog_builder.load import TileDataset"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'catalog-builder[torch]'" in done.stderr


# --- the package ------------------------------------------------------------------------------------------------------


def test_importing_the_package_imports_no_client() -> None:
    heavy = ["rasterio", "numpy", "xarray", "odc", "stackstac", "dask", "torch", "boto3", "pystac"]
    code = f"import catalog_builder.load, sys, json; print(json.dumps([n for n in {heavy} if n in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_without_its_clients_the_extra_is_named(ventoux: list[Item], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "odc.stac", None)
    with pytest.raises(UsageError, match=r"pip install 'catalog-builder\[load\]'"):
        load.to_xarray(ventoux)


def test_errors_are_of_the_tree_and_one_line(ventoux: list[Item]) -> None:
    for call in (lambda: load.to_numpy(ventoux[0], "s\n2"), lambda: load.to_xarray([])):
        with pytest.raises(CatalogBuilderError) as caught:
            call()
        assert len(str(caught.value).splitlines()) == 1


@pytest.mark.slow
def test_tiles_of_full_size(tmp_path: Path) -> None:
    release = make_release(tmp_path, tile=1024, tiles=1)
    for item in pystac.Catalog.from_file(str(release / "catalog.json")).get_items(recursive=True):
        arrays, loaded = load.to_numpy(item), xarray_now(item)
        for key, array in arrays.items():
            assert array.shape == (len(item.assets[key].extra_fields["bands"]), 1024, 1024)
            assert same(array.data, file_pixels(item, key))
            assert same(stack_now(item, key).values[0], array.data)
            names = [name for name in loaded if str(name).split(".")[0] == key]
            assert same(np.stack([loaded[name].values[0] for name in names]), array.data)
        chips = load.TileSamples(item, chip=256)
        with rasterio.open(path(item, "s2")) as dataset:
            assert same(chips[6]["pixels"]["s2"], dataset.read(window=Window(512, 256, 256, 256)))


@pytest.mark.parametrize("window", [(0.5, 0.5, 4, 4), (0, 0, 4), (0, 0, "4", 4)], ids=str)
def test_a_window_is_four_whole_numbers(items: list[Item], window: Any) -> None:
    with pytest.raises(UsageError, match="not four whole numbers"):
        load.to_numpy(items[0], window=window)


def test_items_of_one_id_are_two_items(ventoux: list[Item], items: list[Item]) -> None:
    """Ids are unique in a collection alone."""
    first, second = absolute(ventoux[0]), absolute(ventoux[1])
    wanted = load.to_xarray([first, second], ["srtm"]).sizes
    assert load.to_xarray([first, {**second, "id": first["id"]}], ["srtm"]).sizes == wanted
    other = absolute(of_area(items, "cape_fear")[0])
    with pytest.raises(UsageError, match="items of 2 CRS"):
        load.to_xarray([first, {**other, "id": first["id"]}], ["s2"])


def test_a_file_in_another_crs_or_with_other_bands_is_refused(ventoux: list[Item]) -> None:
    document = absolute(ventoux[0])
    document["properties"]["proj:code"] = document["assets"]["srtm"]["proj:code"] = "EPSG:32630"
    with pytest.raises(RasterError, match="CRS EPSG:32631, but its item says EPSG:32630"):
        load.to_numpy(document, ["srtm"])
    document = absolute(ventoux[0])
    document["assets"]["s2"]["bands"].reverse()
    with pytest.raises(RasterError, match="bands"):
        load.to_numpy(document, ["s2.B04"])
