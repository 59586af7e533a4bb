"""Bad input: one clear line that names file and value, exit code 1 or 2, and the release as it was.

Every case goes through the real command line twice: into a folder that does not exist, which must not become a release,
and into a good release, of which no byte and no time may change.
"""

import getpass
import json
import shutil
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
from affine import Affine
from rasterio.windows import Window

from catalog_builder.errors import CatalogBuilderError
from catalog_builder.raster import read_header, read_window
from tests.bad_rasters import (
    BAD,
    corrupt,
    header_only,
    no_geotransform,
    no_tie_point,
    one_strip,
    plain_text,
    png,
    retagged,
    scaled,
    sparse_giant,
    truncated,
    vrt,
    world_file_alone,
    world_file_beside,
)
from tests.bench import DATE, GOOD, S2, SRTM, Bench, alpes, content, href, plain
from tests.makers import CORNER, TILE, area, source, texture, write_geotiff

# --- rasters --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Raster:
    """A source that cannot be taken."""

    name: str
    make: Callable[[Path], object]
    says: Sequence[str]
    asset: str = "srtm"
    file: str = BAD
    bands: Sequence[int] = ()
    required: Sequence[str] = ("s2",)
    code: int = 1


KIND = "neither a GeoTIFF nor an SRTM .hgt file; convert it"
FAR = (CORNER[0] + 500_000, CORNER[1])

# fmt: off
RASTERS = (
    # not readable
    Raster(name="truncated", make=truncated, says=[BAD, "truncated or corrupt GTiff file"]),
    Raster(name="truncated, required", make=truncated, says=[BAD, "truncated or corrupt"], required=("srtm",)),
    Raster(name="corrupt block", make=corrupt, says=[BAD, "truncated or corrupt GTiff file"]),
    Raster(name="eight bytes of a TIFF", make=header_only, says=[BAD, "truncated or corrupt GTiff file"]),
    Raster(name="zero bytes", make=lambda path: path.touch(), says=[BAD, KIND]),
    Raster(name="text named tif", make=plain_text, says=[BAD, KIND]),
    Raster(name="text named hgt", make=plain_text, file="N44E005.hgt", says=["N44E005.hgt", "corrupt SRTMHGT"]),
    Raster(name="VRT", make=vrt, file="bad.vrt", says=["bad.vrt", KIND]),
    Raster(name="VRT named tif", make=vrt, says=[BAD, KIND]),
    Raster(name="VRT named hgt", make=vrt, file="N44E005.hgt", says=["N44E005.hgt", "truncated or corrupt SRTMHGT"]),
    Raster(name="PNG", make=png, file="bad.png", says=["bad.png", KIND]),
    Raster(name="PNG named tif", make=png, says=[BAD, KIND]),
    # where it lies
    Raster(name="no CRS", make=lambda path: plain(path, crs=None), says=[BAD, "no CRS", "gdal_edit.py -a_srs"]),
    Raster(name="rotated", make=lambda path: plain(path, transform=Affine(10, 1, CORNER[0], 1, -10, CORNER[1])),
           says=[BAD, "rotated transform (10.0, 1.0,", "gdalwarp"]),
    Raster(name="south-up", make=lambda path: plain(path, transform=Affine(10, 0, CORNER[0], 0, 10, CORNER[1])),
           says=[BAD, "(10.0, 0.0, ", "not north-up"]),
    Raster(name="no geotransform", make=no_geotransform, says=[BAD, "no geotransform", "gdal_edit.py -a_ullr"]),
    Raster(name="world file alone", make=world_file_alone, says=[BAD, "no geotransform", "gdal_edit.py -a_ullr"]),
    Raster(name="pixel size without a corner", make=no_tie_point, says=[BAD, "no geotransform"]),
    Raster(name="outside its area", make=lambda path: plain(path, corner=FAR),
           says=["'alpes'", "'srtm'", BAD, "outside the area"], code=2),
    Raster(name="outside, required", make=lambda path: plain(path, corner=FAR), required=("s2", "srtm"),
           says=["'alpes'", "no ground in common"], code=2),
    Raster(name="off the Earth", make=lambda path: plain(path, crs="EPSG:4326", corner=(5000.0, 4000.0)),
           says=[BAD, "off the Earth in EPSG:4326", "gdal_edit.py -a_srs"]),
    # what it holds
    Raster(name="too many bands", make=lambda path: plain(path, texture((2, TILE, TILE), "int16")),
           says=[BAD, "2 bands, but 'srtm' has 1", "bands = [...]"]),
    Raster(name="too few bands", asset="s1", make=lambda path: plain(path, texture((1, TILE, TILE), "float32"), None),
           says=[BAD, "1 bands, but 's1' has 2 (VV, VH)"]),
    Raster(name="band beyond the file", make=plain, bands=[3], says=[BAD, "bands = [3]", "the file has 1"]),
    Raster(name="float32 to int16", make=lambda path: plain(path, SRTM.astype("float32"), None),
           says=[BAD, "float32 does not fit in int16 of 'srtm'"]),
    Raster(name="uint16 to int16", make=lambda path: plain(path, SRTM.astype("uint16"), None),
           says=[BAD, "uint16 does not fit in int16 of 'srtm'"]),
    Raster(name="uint16 to uint8", asset="osm", make=lambda path: plain(path, SRTM.astype("uint16"), 255),
           says=[BAD, "uint16 does not fit in uint8 of 'osm'"]),
    Raster(name="complex", asset="s1", make=lambda path: plain(path, texture((2, TILE, TILE), "complex64"), None),
           says=[BAD, "complex64 does not fit in float32 of 's1'"]),
    Raster(name="complex integers", asset="s1", says=[BAD, "does not fit in float32 of 's1'"],
           make=lambda path: plain(path, texture((2, TILE, TILE), "complex64"), None, dtype="complex_int16")),
    Raster(name="different nodata", make=lambda path: plain(path, nodata=-9999),
           says=[BAD, "nodata is -9999, but 'srtm' has -32768", "gdalwarp -dstnodata"]),
    Raster(name="scale and offset", make=scaled, says=[BAD, "scale and offset (0.1, -100.0)", "'srtm' has (1.0, 0.0)"]),
    Raster(name="NaN only", asset="s1", make=lambda path: plain(path, np.full((2, TILE, TILE), np.nan, "f4"), None),
           says=[BAD, "no valid pixel for 's1' in area france/alpes"]),
    Raster(name="NaN only, required", asset="s1", required=("s2", "s1"),
           make=lambda path: plain(path, np.full((2, TILE, TILE), np.nan, "f4"), None),
           says=[BAD, "no valid pixel for 's1' in area france/alpes"]),
    Raster(name="nodata only", make=lambda path: plain(path, np.full_like(SRTM, -32768)),
           says=[BAD, "no valid pixel for 'srtm' in area france/alpes"]),
    Raster(name="nodata only, required", make=lambda path: plain(path, np.full_like(SRTM, -32768)),
           required=("srtm",), says=[BAD, "no valid pixel for 'srtm' in area france/alpes"]),
    # sizes that cannot be
    Raster(name="10^6 x 10^6 pixels", make=sparse_giant, says=[BAD, "claims 1000000 x 1000000 pixels", "1e+11"]),
    Raster(name="forged 10^6 x 10^6 pixels", make=lambda path: retagged(path, {256: 10**6, 257: 10**6, 278: 10**6}),
           says=[BAD, "1000000 x 1000000 pixels"]),
    Raster(name="forged width of 0", make=lambda path: retagged(path, {256: 0}), says=[BAD, "truncated or corrupt"]),
    Raster(name="one huge strip", make=one_strip, says=[BAD, "20000 x 20000", "gdal_translate -co TILED=YES"]),
)
# fmt: on


@pytest.mark.parametrize("case", RASTERS, ids=lambda case: case.name)
def test_a_bad_raster_is_refused(bench: Bench, case: Raster, capfd: pytest.CaptureFixture[str]) -> None:
    case.make(bench.folder / case.file)
    good = [source(key, f"{GOOD}/{key}.tif") for key in ("s2", "srtm", "osm") if key != case.asset]
    bad = source(case.asset, case.file, bands=case.bands) if case.bands else source(case.asset, case.file)
    sources = bench.write(area("alpes", *good, bad, required=case.required, crs="EPSG:32631"))
    bench.refuses(sources, case.says, code=case.code)
    assert capfd.readouterr().err == "", "GDAL wrote to standard error by itself"


@pytest.mark.parametrize("seed", range(4))
def test_damage_anywhere_in_a_file_is_told_of_the_file(tmp_path: Path, seed: int) -> None:
    """Whatever bytes of a GeoTIFF change, reading it gives pixels or our own error in one line, nothing else."""
    rng = np.random.default_rng(seed)
    packing = {"compress": "deflate", "predictor": 2} if seed % 2 else {"bigtiff": "YES" if seed % 4 else "NO"}
    path = plain(tmp_path / BAD, SRTM[:, :64, :64], tiled=True, blockxsize=16, blockysize=16, **packing)
    good = path.read_bytes()
    told = []
    for _ in range(60):
        data = bytearray(good)
        place = int(rng.integers(4, 400))
        data[place : place + 4] = rng.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x40\x42\x0f\0", rng.bytes(4)])
        path.write_bytes(data)
        try:
            header = read_header(path)
            read_window(header, (1,), Window(0, 0, min(64, header.shape[1]), min(64, header.shape[0])))
        except CatalogBuilderError as error:
            told.append(str(error))
    assert len(told) >= 10
    assert [message for message in told if str(path) not in message or len(message.splitlines()) != 1] == []


# --- the network, and files beside a source -------------------------------------------------------------------------


@pytest.fixture
def loopback(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, list[bytes]]]:
    """A server on this machine that notes what it is asked; give its port and its notes."""
    # rasterio may hold the interpreter's lock while GDAL waits for an answer.
    monkeypatch.setenv("GDAL_HTTP_TIMEOUT", "1")
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    heard.append(connection.recv(1024))

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        yield server.getsockname()[1], heard
        server.shutdown(socket.SHUT_RDWR)
    thread.join(timeout=5)


def test_the_loopback_server_hears(loopback: tuple[int, list[bytes]]) -> None:
    """The server of these tests would know: GDAL, asked outright, reaches it."""
    port, heard = loopback
    with pytest.raises(rasterio.errors.RasterioIOError):
        rasterio.open(f"/vsicurl/http://127.0.0.1:{port}/srtm.tif")
    assert heard


@pytest.mark.parametrize("name", ["bad.vrt", BAD, "N44E005.hgt"])
def test_a_vrt_that_points_to_the_network_asks_nobody(
    bench: Bench, loopback: tuple[int, list[bytes]], name: str
) -> None:
    port, heard = loopback
    vrt(bench.folder / name, f"/vsicurl/http://127.0.0.1:{port}/srtm.tif")
    sources = bench.write(area("alpes", S2, source("srtm", name), required=["s2"]))
    bench.refuses(sources, [name], code=1)
    assert not heard


@pytest.mark.parametrize("place", ["in the file", "beside the file"])
def test_a_geotiff_that_points_to_the_network_asks_nobody(
    bench: Bench, loopback: tuple[int, list[bytes]], place: str
) -> None:
    """GDAL, asked for overviews, looks for them where the metadata says, in the file or beside it."""
    port, heard = loopback
    path, href = plain(bench.folder / "srtm.tif"), f"/vsicurl/http://127.0.0.1:{port}/srtm.tif"
    if place == "in the file":
        with rasterio.open(path, "r+") as dataset:
            dataset.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=href)
    else:
        path.with_suffix(".tif.aux.xml").write_text(
            f'<PAMDataset><Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">{href}</MDI></Metadata></PAMDataset>'
        )
    sources = bench.write(area("alpes", S2, source("srtm", "srtm.tif"), required=["s2"]))
    assert bench.build(sources, bench.folder / "new").exit_code == 0
    assert not heard


def statistics_and_nodata_beside(path: Path) -> None:
    path.with_suffix(".tif.aux.xml").write_text(
        "<PAMDataset><SRS>EPSG:4326</SRS><GeoTransform>0, 1, 0, 0, 0, -1</GeoTransform><PAMRasterBand band='1'>"
        "<NoDataValue>150</NoDataValue><Scale>7</Scale><Metadata><MDI key='STATISTICS_MEAN'>-5</MDI></Metadata>"
        "</PAMRasterBand></PAMDataset>"
    )
    with rasterio.open(path) as dataset:
        assert dataset.nodata == 150, "GDAL does look there"


def mask_beside(path: Path) -> None:
    nothing = np.zeros((1, TILE, TILE), dtype="uint8")
    mask = write_geotiff(path.with_suffix(".mask"), nothing)
    with rasterio.open(mask, "r+") as dataset:
        dataset.update_tags(INTERNAL_MASK_FLAGS_1="2")
    mask.rename(path.with_suffix(".tif.msk"))
    with rasterio.open(path) as dataset:
        assert "nodata" not in str(dataset.mask_flag_enums), "GDAL does look there"


def overview_beside(path: Path) -> None:
    other = plain(path.with_suffix(".other"), np.full_like(SRTM, 7)[:, : TILE // 2, : TILE // 2])
    other.rename(path.with_suffix(".tif.ovr"))
    with rasterio.open(path) as dataset:
        assert dataset.overviews(1) == [2], "GDAL does look there"


def garbage_beside(path: Path) -> None:
    for suffix in (".tif.aux.xml", ".tif.ovr", ".tif.msk", ".aux", ".tfw", ".tab", ".imd", ".rpb", ".prj"):
        path.with_suffix(suffix).write_bytes(b"\x00garbage\xff")


@pytest.mark.parametrize(
    "beside", [statistics_and_nodata_beside, mask_beside, overview_beside, world_file_beside, garbage_beside]
)
def test_a_file_beside_a_source_is_ignored(bench: Bench, beside: Callable[[Path], None]) -> None:
    """A GeoTIFF speaks for itself: the release is the same whatever lies beside its sources."""
    folder = bench.folder / "good"
    shutil.copytree(bench.good, folder)
    beside(folder / "srtm.tif")
    sources = bench.write(alpes().replace(GOOD, str(folder)))
    assert bench.build(sources, bench.folder / "new").exit_code == 0
    assert content(bench.folder / "new") == content(bench.release)


# --- sources.toml ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Text:
    """A sources.toml that cannot be taken."""

    name: str
    text: str | bytes
    says: Sequence[str]
    code: int = 2


def dated(dates: str) -> str:
    """The good area, but for the dates of its source."""
    return area("alpes", source("s2", f"{GOOD}/s2.tif", dates), required=["s2"])


def named(name: str) -> str:
    """The good area under another id."""
    return area(json.dumps(name)[1:-1], S2, required=["s2"])


def without(key: str) -> str:
    """The good area, without the lines that give a key."""
    return "\n".join(line for line in alpes().splitlines() if not line.startswith(f"{key} ="))


NO_ZONE = "no time zone; write it as 2009-08-13T00:00:00Z"
LETTERS = "an id is 1 to 64 letters, digits, '_' or '-'"
TAKEN = "that name is taken by a document of the release"
DOWNLOAD = "is not a local file; download it first"

# fmt: off
TEXTS = (
    # not TOML
    Text(name="broken TOML", text="[[area]\n", says=["sources.toml: not TOML", "line 1"]),
    Text(name="binary garbage", text=bytes(range(256)), says=["sources.toml: not TOML"]),
    Text(name="a raster", text=b"II*\0\x08\0\0\0\xff\xfe", says=["sources.toml: not TOML"]),
    Text(name="latin-1", text='[[area]]\ntitle = "Forêt"'.encode("latin-1"), says=["sources.toml: not TOML", "utf-8"]),
    Text(name="utf-16", text=alpes().encode("utf-16"), says=["sources.toml: not TOML"]),
    Text(name="a key twice", text='[[area]]\nid = "a"\nid = "b"\n', says=["sources.toml: not TOML", "line 3"]),
    Text(name="nested without end", text=f"area = {'[' * 5000}", says=["sources.toml: not TOML"]),
    Text(name="empty", text="", says=["sources.toml: no [[area]]"]),
    Text(name="area is a number", text="area = 5\n", says=["sources.toml: no [[area]]"]),
    Text(name="area is a list of words", text='area = ["alpes"]\n', says=["sources.toml: [[area]]", "id is missing"]),
    Text(name="[area] for [[area]]", text=alpes().replace("[[area]]", "[area]"), says=["sources.toml: no [[area]]"]),
    Text(name="no source", text=area("alpes"), says=["area 'alpes'", "no [[area.source]]"]),
    Text(name="source is a word", text=area("alpes", 'source = ["s2"]'), says=["area 'alpes': [[area.source]]"]),
    # keys
    Text(name="unknown key at the top", text="areas = 1\n", says=["unknown key 'areas'; did you mean 'area'?"]),
    Text(name="unknown key of an area", text=alpes(titel="x"),
         says=["area 'alpes': unknown key 'titel'; did you mean 'title'?"]),
    Text(name="unknown key of a source", text=area("alpes", source("s2", f"{GOOD}/s2.tif", band=[1])),
         says=["source 's2': unknown key 'band'; did you mean 'bands'?"]),
    Text(name="unknown key like no other", text=alpes(zzz=1), says=["unknown key 'zzz'; known: collection, id,"]),
    Text(name="no id", text=without("id"), says=["[[area]]: id is missing"]),
    Text(name="no title", text=without("title"), says=["area 'alpes': title is missing"]),
    Text(name="no collection", text=without("collection"), says=["area 'alpes': collection is missing"]),
    Text(name="no asset", text=without("asset"), says=["area 'alpes': [[area.source]]: asset is missing"]),
    Text(name="no href", text=without("href"), says=["source 's2': href is missing"]),
    Text(name="title is a number", text=without("title").replace("[[area]]", "[[area]]\ntitle = 5", 1),
         says=["area 'alpes': title is"]),
    Text(name="unknown collection", text=area("alpes", S2, collection="frnace"),
         says=["area 'alpes': unknown collection 'frnace'", "france"]),
    Text(name="unknown modality", text=area("alpes", source("s22", f"{GOOD}/s2.tif")),
         says=["area 'alpes'", "source 's22'", "did you mean 's2'?"]),
    Text(name="unknown required", text=area("alpes", S2, required=["strm"]),
         says=["area 'alpes'", "'strm'", "did you mean 'srtm'?"]),
    Text(name="required is a word", text=area("alpes", S2).replace("required = []", 'required = "s2"'),
         says=["area 'alpes': required 's2' is not a list"]),
    Text(name="required without source", text=area("alpes", S2, required=["s2", "osm"]),
         says=["area 'alpes'", "no source for the required osm", 'required = ["s2"]']),
    Text(name="bands of words", text=area("alpes", source("s2", f"{GOOD}/s2.tif", bands=["red"])),
         says=["source 's2': bands ['red']", "counted from 1"]),
    Text(name="band 0", text=area("alpes", source("s2", f"{GOOD}/s2.tif", bands=[0, 1, 2, 3])),
         says=["source 's2': bands [0, 1, 2, 3]", "counted from 1"]),
    Text(name="unknown CRS", text=alpes(crs="EPSG:999999"), says=["area 'alpes'", "'EPSG:999999'"]),
    Text(name="empty CRS", text=alpes(crs=" "), says=["area 'alpes'", "crs is"]),
    Text(name="CRS without code", text=alpes(crs="+proj=laea +lat_0=45 +lon_0=6"), says=["area 'alpes'", "EPSG:32631"]),
    Text(name="CRS of heights", text=alpes(crs="EPSG:5773"), says=["area 'alpes'", "EPSG:5773"]),
    Text(name="origin of one number", text=alpes(origin=[5]), says=["area 'alpes': origin [5] is not [x, y]"]),
    Text(name="origin out of this world", text=alpes().replace("required", f"origin = [1{'0' * 400}, 0]\nrequired", 1),
         says=["area 'alpes': origin [1000", "is not [x, y]"]),
    Text(name="origin that is no number", text=alpes().replace("required", "origin = [nan, 0.0]\nrequired", 1),
         says=["area 'alpes': origin [nan, 0.0]"]),
    Text(name="property of the builder's own", text=area("alpes", S2 + 'properties = {"proj:code" = "x"}\n'),
         says=["source 's2': properties.proj:code"]),
    Text(name="property that is no table", text=area("alpes", S2 + "properties = 5\n"),
         says=["source 's2': properties is not a table"]),
    Text(name="property of mixed types", text=area("alpes", S2 + 'properties = {x = [1, "a"]}\n'),
         says=["source 's2': properties.x: [1, 'a'] is not of one type"]),
    Text(name="property without fields", text=area("alpes", S2 + "properties = {x = {}}\n"),
         says=["source 's2': properties.x: an empty table"]),
    Text(name="property of another type than the template's",
         text=area("alpes", S2 + 'properties = {instruments = "msi"}\n'),
         says=["source 's2': properties.instruments: 'msi' is not of one type", "['msi']"]),
    Text(name="property of another type elsewhere",
         text=area("alpes", S2 + "properties = {x = 1}\n") + area("bresse", S2 + 'properties = {x = "one"}\n'),
         says=["area 'bresse': source 's2': properties.x: 'one' is not of one type", "with 1"]),
    Text(name="property that JSON cannot hold", text=area("alpes", S2 + "properties = {x = nan}\n"),
         says=["source 's2': properties.x", "nan"]),
    Text(name="property beyond 64 bits", text=area("alpes", S2 + "properties = {x = [99999999999999999999]}\n"),
         says=["source 's2': properties.x", "99999999999999999999"]),
    # dates
    Text(name="no date", text=dated(""), says=["source 's2': give either datetime, or", "found none"]),
    Text(name="naive date", text=dated("datetime = 2020-06-01T10:00:00"), says=["2020-06-01 10:00:00", NO_ZONE]),
    Text(name="a day alone", text=dated("datetime = 2020-06-01"), says=["datetime 2020-06-01 has", NO_ZONE]),
    Text(name="a date as a string", text=dated('datetime = "2020-06-01T10:00:00Z"'),
         says=["'2020-06-01T10:00:00Z'", "without quotes"]),
    Text(name="start without end", text=dated("start_datetime = 2020-06-01T10:00:00Z"),
         says=["source 's2'", "found ['start_datetime']"]),
    Text(name="an instant and a start", text=dated(f"{DATE}\nstart_datetime = 2020-06-01T10:00:00Z"),
         says=["source 's2'", "found ['datetime', 'start_datetime']"]),
    Text(name="start after end",
         text=dated("start_datetime = 2021-01-01T00:00:00Z\nend_datetime = 2020-01-01T00:00:00Z"),
         says=["source 's2': start_datetime 2021-01-01", "is after end_datetime 2020-01-01"]),
    # names
    *(Text(name=f"area id {name!r}", text=named(name), says=[repr(name), LETTERS])
      for name in ("..", ".", "a/b", "/etc", "..\\up", "a\nb", "tab\t", "bell\a", ".hidden", "two words", "-dash",
                   "é", "a" * 65, "a.b", "a\u2028b")),
    Text(name="empty area id", text=named(""), says=["[[area]]: id is missing or empty"]),
    *(Text(name=f"area id {name!r}", text=named(name), says=[repr(name), TAKEN])
      for name in ("catalog", "collection", "items", "manifest", "thumbnail")),
    Text(name="forbidden sibling", text=area("toulouse-2", S2) + area("toulouse", S2),
         says=["'toulouse' and 'toulouse-2' cannot stand side by side", "rename one"]),
    Text(name="an area twice", text=alpes() + alpes(), says=["area 'france/alpes' stands also in", "sources.toml"]),
    Text(name="an asset twice", text=area("alpes", S2, S2), says=["area 'alpes': two sources for 's2'", "a list"]),
    Text(name="a file twice", text=href([f"{GOOD}/s2.tif", f"{GOOD}/../good/s2.tif"]),
         says=["source 's2': href names", "s2.tif twice"]),
    Text(name="a file twice, by glob", text=href([f"{GOOD}/s2.tif", f"{GOOD}/s[2].tif"]), says=["s2.tif twice"]),
    # hrefs
    Text(name="missing file", text=href("gone.tif"), says=["source 's2': no such file", "gone.tif"]),
    Text(name="missing file in a list", text=href([f"{GOOD}/s2.tif", "gone.tif"]), says=["no such file", "gone.tif"]),
    Text(name="folder", text=href(GOOD), says=["source 's2'", "good", "is a folder", "*.tif"]),
    Text(name="device", text=href("/dev/zero"), says=["source 's2'", "/dev/zero"]),
    Text(name="empty glob", text=href("none_*.tif"), says=["source 's2': no file matches 'none_*.tif'"]),
    Text(name="glob that is none", text=href("***.tif"), says=["source 's2'", "'***.tif'"]),
    Text(name="empty href", text=href(""), says=["source 's2': href is missing"]),
    Text(name="empty list", text=href([]), says=["source 's2': href is missing"]),
    Text(name="href is a number", text=href(5), says=["source 's2': href is missing"]),
    *(Text(name=f"href {value.split('/')[0]} {value.split('/')[1]}", text=href(value), says=[repr(value), DOWNLOAD])
      for value in ("http://127.0.0.1:9/s2.tif", "s3://bucket/s2.tif", "file:///s2.tif", "/vsis3/bucket/s2.tif",
                    "/vsicurl/http://127.0.0.1:9/s2.tif", "zip://x.zip!s2.tif")),
    Text(name="href with a control character", text=href("s2\n.tif"), says=["'s2\\n.tif'", DOWNLOAD]),
    Text(name="href with a null", text=href("s2\0.tif"), says=["'s2\\x00.tif'", DOWNLOAD]),
    Text(name="href too long", text=href("s2" * 3000), says=["source 's2'", "s2s2s2"]),
    Text(name="href of a GDAL subdataset", text=href(f"GTIFF_DIR:1:{GOOD}/s2.tif"), says=["no such file", "GTIFF_DIR"]),
)
# fmt: on


@pytest.mark.parametrize("case", TEXTS, ids=lambda case: case.name.encode("unicode_escape").decode())
def test_a_bad_sources_file_is_refused(bench: Bench, case: Text) -> None:
    bench.refuses(bench.write(case.text), ["sources.toml", *case.says], code=case.code)


# --- what is published ----------------------------------------------------------------------------------------------


def test_no_path_of_this_machine_is_published(world: Bench) -> None:
    """No folder, user or host is named in any document, in the index or in a tag of a COG."""
    words = {str(world.folder), str(world.good), "sources.toml", "/tmp", str(Path.home()), "file://"}
    # A user called root or a host called vm would be found in any file.
    words |= {name for name in (socket.gethostname(), getpass.getuser()) if len(name) > 5}
    texts = {path: published_text(path) for path in world.release.rglob("*") if path.is_file()}
    assert [path.name for path, text in texts.items() if "STATISTICS_MEAN" in text] != []
    assert [path for path, text in texts.items() if path.suffix == ".parquet" and "alpes_x0264_y1903" in text]
    for path, published in texts.items():
        assert not [word for word in words if word in published], path


def published_text(path: Path) -> str:
    """All that can be read in a file: its bytes, and what is packed in a table."""
    text = path.read_bytes().decode("latin-1")
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        text += f"{table.to_pylist()}{table.schema}{table.schema.metadata}{pq.read_metadata(path)}"
    return text


def test_the_same_sources_elsewhere_give_the_same_release(world: Bench, tmp_path: Path) -> None:
    """Where sources, templates and the release lie leaves no trace."""
    good = shutil.copytree(world.good, tmp_path / "elsewhere" / "rasters")
    templates = shutil.copytree(world.templates, tmp_path / "other templates")
    bench = Bench(folder=tmp_path, templates=templates, good=good, release=tmp_path / "here")
    assert bench.build(bench.write(alpes(), "named otherwise.toml"), bench.release).exit_code == 0
    assert content(bench.release) == content(world.release)
