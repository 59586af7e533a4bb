"""Bad input: one clear line that names file and value, exit code 1 or 2, and the release as it was.

Every case goes through the real command line twice: into a folder that does not exist, which must not become a release,
and into a good release, of which no byte and no time may change.
"""

import getpass
import hashlib
import json
import os
import resource
import shutil
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner, Result
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window

from catalog_builder import layout, manifest
from catalog_builder.cli import main
from catalog_builder.errors import CatalogBuilderError
from catalog_builder.raster import read_header, read_window
from tests.makers import CORNER, TILE, area, small_templates, source, texture, write_geotiff

Tree = dict[str, tuple[str, int]]

SRTM = texture((1, TILE, TILE), "int16", 2)
GOOD = "GOOD"
"""Stands for the folder of good rasters in the texts below."""
BAD = "bad.tif"
S2 = source("s2", f"{GOOD}/s2.tif")
DATE = "datetime = 2020-06-01T10:00:00Z"


# --- the bench ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Good rasters, small templates and a good release of one area, ``france/alpes``."""

    folder: Path
    templates: Path
    good: Path
    release: Path

    def write(self, text: str | bytes, name: str = "sources.toml") -> Path:
        """Write a sources.toml that may speak of the good rasters."""
        path = self.folder / name
        data = text.replace(GOOD, str(self.good)).encode() if isinstance(text, str) else text
        path.write_bytes(data)
        return path

    def build(self, sources: Path, release: Path, *options: str, templates: Path | None = None) -> Result:
        """Run ``catalog-builder build`` in this process."""
        fixed = ("--jobs", "1", "--templates", str(templates or self.templates), "--quiet")
        return CliRunner().invoke(main, ["build", str(sources), str(release), *fixed, *options])

    def refuses(
        self,
        sources: Path,
        says: Sequence[str],
        *,
        code: int,
        options: Sequence[str] = (),
        templates: Path | None = None,
    ) -> None:
        """Hold that a build is refused as documented, on a new folder and on a good release."""
        new = self.folder / "new"
        assert_refused(self.build(sources, new, *options, templates=templates), says, code)
        assert not tree(new)
        before = tree(self.release)
        assert_refused(self.build(sources, self.release, *options, templates=templates), says, code)
        assert tree(self.release) == before


def assert_refused(result: Result, says: Sequence[str], code: int) -> None:
    """One line on standard error, of our own, that says what it must; nothing on standard output."""
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == code, result.output
    assert result.stderr.startswith("catalog-builder: ")
    assert result.stderr.endswith("\n")
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert "Traceback" not in result.output
    assert result.stdout == ""
    for words in says:
        assert words in result.stderr


def tree(folder: Path) -> Tree:
    """Give every file of a release with its hash and time, leaving out what a stopped build keeps aside."""
    return {
        path.relative_to(folder).as_posix(): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] != layout.WORK_FOLDER
    }


def content(folder: Path) -> dict[str, str]:
    """Give every file of a release with its hash."""
    return {href: sha256 for href, (sha256, _) in tree(folder).items()}


def assert_vouched(release: Path) -> None:
    """Every file listed is there with that hash, nothing unlisted is there, and no work is left over."""
    listed = {layout.MANIFEST}
    queue = [layout.MANIFEST]
    while queue:
        href = queue.pop()
        folder = Path(href).parent
        for name, sha256 in manifest.loads((release / href).read_bytes()).items():
            child = (folder / name).as_posix()
            assert hashlib.sha256((release / child).read_bytes()).hexdigest() == sha256, child
            listed.add(child)
            if child.endswith(layout.MANIFEST):
                queue.append(child)
    assert listed == {path.relative_to(release).as_posix() for path in release.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Make the good rasters and the good release, once."""
    folder = tmp_path_factory.mktemp("world")
    good = folder / "good"
    shape = TILE, TILE
    write_geotiff(good / "s2.tif", texture((4, *shape), "uint16", 1), nodata=0, tiled=True)
    write_geotiff(good / "srtm.tif", SRTM, nodata=-32768)
    write_geotiff(good / "osm.tif", (texture((1, *shape), "uint8", 3) // 16).astype("uint8"), nodata=255)
    bench = Bench(folder=folder, templates=small_templates(folder / "templates"), good=good, release=folder / "release")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        assert bench.build(bench.write(alpes()), bench.release).exit_code == 0
    return bench


@pytest.fixture
def bench(world: Bench, tmp_path: Path) -> Bench:
    """The good rasters and the good release, and a folder of one's own."""
    return Bench(folder=tmp_path, templates=world.templates, good=world.good, release=world.release)


def alpes(*more: str, keys: Sequence[str] = ("srtm", "osm"), **area_keys: Any) -> str:
    """Write the good area, with further sources."""
    others = [source(key, f"{GOOD}/{key}.tif") for key in keys]
    return area("alpes", S2, *others, *more, required=["s2"], **area_keys)


# --- rasters --------------------------------------------------------------------------------------------------------


def truncated(path: Path) -> None:
    """The header is whole, half of the blocks are missing: found only while pixels are read."""
    write_geotiff(path, SRTM, nodata=-32768, tiled=True, blockxsize=64, blockysize=64)
    os.truncate(path, path.stat().st_size // 2)


def corrupt(path: Path) -> None:
    """Garbage inside compressed blocks."""
    write_geotiff(path, SRTM, nodata=-32768, tiled=True, blockxsize=64, blockysize=64, compress="deflate")
    middle = path.stat().st_size // 2
    with path.open("r+b") as stream:
        stream.seek(middle)
        stream.write(b"\xff" * 2000)


def header_only(path: Path) -> None:
    path.write_bytes(b"II*\x00\x08\x00\x00\x00")


def text(path: Path) -> None:
    path.write_text("no raster at all\n")


def vrt(path: Path, source_filename: str = "srtm.tif") -> None:
    path.write_text(
        f'<VRTDataset rasterXSize="{TILE}" rasterYSize="{TILE}"><SRS>EPSG:32631</SRS>'
        f"<GeoTransform>{CORNER[0]}, 10, 0, {CORNER[1]}, 0, -10</GeoTransform>"
        '<VRTRasterBand dataType="Int16" band="1"><NoDataValue>-32768</NoDataValue><SimpleSource>'
        f'<SourceFilename relativeToVRT="0">{source_filename}</SourceFilename><SourceBand>1</SourceBand>'
        "</SimpleSource></VRTRasterBand></VRTDataset>"
    )


def png(path: Path) -> None:
    profile = {"width": TILE, "height": TILE, "count": 1, "dtype": "uint8", "transform": Affine.scale(2, -2)}
    with rasterio.open(path, "w", driver="PNG", **profile) as dataset:
        dataset.write(SRTM.astype("uint8"))
    path.with_suffix(".png.aux.xml").unlink(missing_ok=True)


def plain(path: Path, pixels: Any = SRTM, nodata: float | None = -32768, **profile: Any) -> Path:
    return write_geotiff(path, pixels, nodata=nodata, **profile)


def no_geotransform(path: Path) -> None:
    profile = {"width": TILE, "height": TILE, "count": 1, "dtype": "int16", "crs": "EPSG:32631", "nodata": -32768}
    with (
        pytest.warns(NotGeoreferencedWarning),
        rasterio.open(path, "w", driver="GTiff", **profile) as dataset,
    ):
        dataset.write(SRTM)


def world_file_alone(path: Path) -> None:
    no_geotransform(path)
    world_file_beside(path)
    with rasterio.open(path) as dataset:
        assert dataset.transform.a == 10, "GDAL does look there"


def retagged(path: Path, tags: dict[int, int]) -> None:
    """Write a good file, then forge some of its TIFF tags."""
    plain(path)
    data = bytearray(path.read_bytes())
    (directory,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, directory)
    forged = set()
    for entry in range(directory + 2, directory + 2 + 12 * count, 12):
        tag = struct.unpack_from("<H", data, entry)[0]
        if tag in tags:
            struct.pack_into("<HII", data, entry + 2, 4, 1, tags[tag])
            forged.add(tag)
    assert forged == set(tags)
    path.write_bytes(data)


def no_tie_point(path: Path) -> None:
    """Pixels have a size and no place; GDAL would put them at (0, 0)."""
    plain(path)
    data = path.read_bytes()
    assert data.count(struct.pack("<H", 33922)) == 1
    path.write_bytes(data.replace(struct.pack("<H", 33922), struct.pack("<H", 33921)))


def sparse_giant(path: Path) -> None:
    """A real BigTIFF of 10^6 x 10^6 pixels, all of them left out of the file."""
    profile = {"tiled": True, "blockxsize": 16384, "blockysize": 16384, "compress": "deflate"}
    transform = Affine(10, 0, CORNER[0], 0, -10, CORNER[1])
    size = {"width": 10**6, "height": 10**6, "count": 1, "dtype": "int16"}
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        crs="EPSG:32631",
        transform=transform,
        bigtiff="YES",
        sparse_ok=True,
        **size,
        **profile,
    ):
        pass


def one_strip(path: Path) -> None:
    """One strip that would not fit in memory, and no pixels in the file."""
    transform = Affine(10, 0, CORNER[0], 0, -10, CORNER[1])
    size = {
        "width": 20_000,
        "height": 20_000,
        "count": 1,
        "dtype": "int16",
        "blockysize": 20_000,
        "compress": "deflate",
    }
    with rasterio.open(path, "w", driver="GTiff", crs="EPSG:32631", transform=transform, sparse_ok=True, **size):
        pass


def scaled(path: Path) -> None:
    plain(path)
    with rasterio.open(path, "r+") as dataset:
        dataset.scales, dataset.offsets = (0.1,), (-100.0,)


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
    Raster(name="text named tif", make=text, says=[BAD, KIND]),
    Raster(name="text named hgt", make=text, file="N44E005.hgt", says=["N44E005.hgt", "truncated or corrupt SRTMHGT"]),
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
    more = {"bands": case.bands} if case.bands else {}
    keys = [key for key in ("srtm", "osm") if key != case.asset]
    sources = bench.write(
        area(
            "alpes",
            S2,
            *(source(key, f"{GOOD}/{key}.tif") for key in keys),
            source(case.asset, case.file, **more),
            required=case.required,
        )
    )
    bench.refuses(sources, case.says, code=case.code)
    assert capfd.readouterr().err == "", "GDAL wrote to standard error by itself"


@pytest.mark.parametrize("seed", range(8))
def test_damage_anywhere_in_a_file_is_told_of_the_file(tmp_path: Path, seed: int) -> None:
    """Whatever bytes of a GeoTIFF change, reading it gives pixels or our own error in one line: nothing else gets out."""
    rng = np.random.default_rng(seed)
    packing = {"compress": "deflate", "predictor": 2} if seed % 2 else {"bigtiff": "YES" if seed % 4 else "NO"}
    path = plain(tmp_path / BAD, SRTM[:, :64, :64], tiled=True, blockxsize=16, blockysize=16, **packing)
    good = path.read_bytes()
    refused = 0
    for _ in range(60):
        data = bytearray(good)
        place = int(rng.integers(4, 400))
        data[place : place + 4] = rng.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x40\x42\x0f\0", rng.bytes(4)])
        path.write_bytes(data)
        try:
            header = read_header(path)
            read_window(header, (1,), Window(0, 0, min(64, header.shape[1]), min(64, header.shape[0])))
        except CatalogBuilderError as error:
            assert str(path) in str(error)
            assert len(str(error).splitlines()) == 1
            refused += 1
    assert refused >= 10


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


def world_file_beside(path: Path) -> None:
    for suffix in (".tfw", ".tifw", ".wld"):
        path.with_suffix(suffix).write_text(f"10\n0\n0\n-10\n{CORNER[0] + 12345}\n{CORNER[1]}\n")


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


def href(value: Any) -> str:
    """The good area with another href for its source."""
    return f'{area("alpes", required=["s2"])}\n[[area.source]]\nasset = "s2"\nhref = {json.dumps(value)}\n{DATE}\n'


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
    Text(name="property that is no table", text=area("alpes", S2 + "properties = 5\n"), says=["source 's2': properties"]),
    Text(name="property of mixed types", text=area("alpes", S2 + 'properties = {x = [1, "a"]}\n'),
         says=["source 's2': properties.x: [1, 'a'] is not of one type"]),
    Text(name="property without fields", text=area("alpes", S2 + "properties = {x = {}}\n"),
         says=["source 's2': properties.x: an empty table"]),
    Text(name="property of another type than the template's", says=["source 's2': properties.instruments: 'msi' is not of", "['msi']"],
         text=area("alpes", S2 + 'properties = {instruments = "msi"}\n')),
    Text(name="property of another type elsewhere", says=["area 'bresse': source 's2': properties.x: 'one' is not of one type", "with 1"],
         text=area("alpes", S2 + "properties = {x = 1}\n") + area("bresse", S2 + 'properties = {x = "one"}\n')),
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
