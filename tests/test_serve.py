"""The loopback server over real sockets: against slicing of bytes, and against GDAL."""

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import example, given
from hypothesis import strategies as st

from catalog_builder.errors import UsageError
from catalog_builder.serve import ReleaseServer, byte_range, links, locate, make_server

DATA = bytes(range(256)) * 40
LAST = len(DATA) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    connection: HTTPConnection

    def __call__(self, path: str, method: str = "GET", **headers: str) -> Reply:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.connection.request(method, path, headers=named)
        response = self.connection.getresponse()
        return Reply(status=response.status, headers=dict(response.getheaders()), body=response.read())


@contextmanager
def serving(server: ReleaseServer) -> Iterator[ReleaseServer]:
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def connected(server: ReleaseServer) -> Iterator[Client]:
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    try:
        yield Client(connection=connection)
    finally:
        connection.close()


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release with everything that must not be served beside what must."""
    base = tmp_path_factory.mktemp("served")
    (base / "secret.json").write_text("outside")
    root = base / "release"
    (root / "france").mkdir(parents=True)
    (root / ".work").mkdir()
    (root / "catalog.json").write_text("{}")
    (root / "data.bin").write_bytes(DATA)
    (root / "empty.txt").touch()
    (root / "france" / "a b+é.json").write_text("[]")
    (root / ".hidden.json").write_text("hidden")
    (root / ".work" / "state.json").write_text("hidden")
    for link, goal in {"out.json": "../secret.json", "hid.json": ".hidden.json", "up": ".."}.items():
        (root / link).symlink_to(goal)
    (root / "loop").symlink_to("loop")
    (root / "alias.json").symlink_to("catalog.json")
    for name in ("x.tif", "x.parquet", "x.png", "x.sha256", "x.svg", "x.wasm", "x.woff2", "x.ico", "x.js.map"):
        (root / name).write_bytes(b"x")
    return root


@pytest.fixture(scope="module")
def server(release: Path) -> Iterator[ReleaseServer]:
    with serving(make_server(release)) as running:
        yield running


@pytest.fixture
def client(server: ReleaseServer) -> Iterator[Client]:
    with connected(server) as client:
        yield client


def test_binds_the_loopback_alone_and_links_to_the_catalog(server: ReleaseServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    assert links(server) == (f"http://127.0.0.1:{server.server_port}/catalog.json",)


def test_one_connection_serves_many_requests(client: Client) -> None:
    client("/catalog.json")
    first = client.connection.sock
    assert [client(path).status for path in ("/missing", "/", "/data.bin", "/")] == [404, 302, 200, 302]
    assert client.connection.sock is first


def test_root_leads_to_the_catalog(client: Client) -> None:
    reply = client("/?x=1")
    assert (reply.status, reply.headers["Location"], reply.body) == (302, "/catalog.json", b"")


@pytest.mark.parametrize("path", ["/catalog.json", "/catalog.json?v=1#x", "/alias.json"])
def test_files_are_served(client: Client, path: str) -> None:
    reply = client(path)
    assert (reply.status, reply.body) == (200, b"{}")
    assert reply.headers["Accept-Ranges"] == "bytes"
    assert reply.headers["Access-Control-Allow-Origin"] == "*"
    assert "Content-Range" in reply.headers["Access-Control-Expose-Headers"]


def test_names_are_decoded(client: Client) -> None:
    assert client("/france/a%20b+%C3%A9.json").body == b"[]"


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/catalog.json", "application/json"),
        ("/x.tif", "image/tiff; application=geotiff; profile=cloud-optimized"),
        ("/x.parquet", "application/vnd.apache.parquet"),
        ("/x.png", "image/png"),
        ("/x.sha256", "text/plain; charset=utf-8"),
        ("/x.svg", "image/svg+xml; charset=utf-8"),
        ("/x.wasm", "application/wasm"),
        ("/x.woff2", "font/woff2"),
        ("/x.ico", "image/vnd.microsoft.icon"),
        ("/x.js.map", "application/json"),
        ("/data.bin", "application/octet-stream"),
    ],
)
def test_content_types(client: Client, path: str, media_type: str) -> None:
    assert client(path, "HEAD").headers["Content-Type"] == media_type


@pytest.mark.parametrize(
    "path",
    [
        "/france",
        "/france/",
        "/france//a%20b+%C3%A9.json",
        "/catalog.json/",
        "/.hidden.json",
        "/%2ehidden.json",
        "/.work/state.json",
        "/../secret.json",
        "/%2e%2e/secret.json",
        "/france/..%2f..%2fsecret.json",
        "/france/%252e%252e/catalog.json",
        "/..%5csecret.json",
        "/out.json",
        "/hid.json",
        "/up/secret.json",
        "/up/release/catalog.json/../../secret.json",
        "/loop",
        "/nul%00.json",
        "/" + "a" * 5000,
        "/bad%ff.json",
        "/etc/passwd",
        "/%2fetc/passwd",
    ],
)
def test_nothing_else_is_served(client: Client, path: str) -> None:
    for method in ("GET", "HEAD"):
        reply = client(path, method)
        assert (reply.status, reply.body) == (404, b"")
        assert reply.headers["Access-Control-Allow-Origin"] == "*"


@given(st.text(alphabet=st.sampled_from("./%2eEfF5c\\~aup\0")))
def test_no_path_leaves_the_root(release: Path, tail: str) -> None:
    found = locate(release, "/" + tail)
    assert found is None or found.is_relative_to(release)


def test_head_has_the_headers_of_get(client: Client) -> None:
    got, head = client("/data.bin"), client("/data.bin", "HEAD", Range="bytes=0-9")
    assert (head.status, head.body) == (200, b"")
    assert {**got.headers, "Date": ""} == {**head.headers, "Date": ""}
    assert got.headers["Content-Length"] == str(len(DATA))


def test_an_empty_file(client: Client) -> None:
    reply = client("/empty.txt", Range="bytes=-1")
    assert (reply.status, reply.headers["Content-Length"], reply.body) == (200, "0", b"")


def test_preflight(client: Client) -> None:
    asked = {"Origin": "https://x.org", "Access_Control_Request_Private_Network": "true"}
    reply = client("/data.bin", "OPTIONS", **asked)
    assert (reply.status, reply.body) == (204, b"")
    assert "Range, If-None-Match" in reply.headers["Access-Control-Allow-Headers"]
    assert reply.headers["Access-Control-Allow-Origin"] == "*"
    assert reply.headers["Access-Control-Allow-Private-Network"] == "true"


def test_other_methods_are_refused(client: Client) -> None:
    assert client("/catalog.json", "DELETE").status == 501


@pytest.mark.parametrize("known", ["{tag}", 'W/"other", W/{tag}', "*"])
def test_a_known_version_is_not_sent_again(client: Client, known: str) -> None:
    tag = client("/data.bin", "HEAD").headers["ETag"]
    reply = client("/data.bin", If_None_Match=known.format(tag=tag))
    assert (reply.status, reply.body, reply.headers["ETag"]) == (304, b"", tag)
    assert client("/data.bin", If_None_Match='"other"').status == 200


def test_the_tag_follows_the_content(release: Path, client: Client) -> None:
    path = release / "changing.json"
    path.write_text("{}")
    first = client("/changing.json").headers["ETag"]
    os.utime(path, ns=(1, 1))
    second = client("/changing.json").headers["ETag"]
    path.write_text("[1]")
    os.utime(path, ns=(1, 1))
    assert len({first, second, client("/changing.json").headers["ETag"]}) == 3
    assert client("/changing.json", If_None_Match=first).status == 200


def test_if_range_gives_a_part_of_the_same_version_alone(client: Client) -> None:
    tag = client("/data.bin", "HEAD").headers["ETag"]
    assert client("/data.bin", Range="bytes=0-3", If_Range=tag).body == DATA[:4]
    for other in ('"other"', f"W/{tag}", "Wed, 21 Oct 2015 07:28:00 GMT"):
        assert client("/data.bin", Range="bytes=0-3", If_Range=other).body == DATA


@pytest.mark.parametrize(
    ("header", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("Bytes=10-", 10, None),
        ("bytes=-7", -7, None),
        ("bytes=-999999", 0, None),
        (f"bytes={LAST}-{LAST + 50}", LAST, None),
    ],
)
def test_a_part_is_sent(client: Client, header: str, start: int, stop: int | None) -> None:
    reply = client("/data.bin", Range=header)
    first, end, _ = slice(start, stop).indices(len(DATA))
    assert (reply.status, reply.body) == (206, DATA[start:stop])
    assert reply.headers["Content-Range"] == f"bytes {first}-{end - 1}/{len(DATA)}"
    assert reply.headers["Content-Length"] == str(len(DATA[start:stop]))


@pytest.mark.parametrize("header", [f"bytes={LAST + 1}-", f"bytes={LAST + 1}-{LAST + 9}", "bytes=-0"])
def test_a_part_that_is_not_there(client: Client, header: str) -> None:
    reply = client("/data.bin", Range=header)
    assert (reply.status, reply.body) == (416, b"")
    assert reply.headers["Content-Range"] == f"bytes */{len(DATA)}"


@pytest.mark.parametrize(
    "header",
    [
        "bytes=-",
        "bytes=9-3",
        "bytes=a-b",
        "bytes=0-1,4-5",
        "lines=0-1",
        "bytes=٣-٤",
        "bytes=" + "9" * 9000 + "-",
    ],
)
def test_a_header_that_is_ignored(client: Client, header: str) -> None:
    reply = client("/data.bin", Range=header.encode().decode("latin-1"))
    assert (reply.status, reply.body) == (200, DATA)


@given(st.integers(1, 99), st.none() | st.integers(0, 120), st.none() | st.integers(0, 120))
@example(1, 0, 0)
def test_ranges_agree_with_slices(size: int, first: int | None, last: int | None) -> None:
    content = bytes(range(size))
    asked = byte_range(f"bytes={'' if first is None else first}-{'' if last is None else last}", size)
    if first is None:
        expected = None if last is None else content[-last:] if last else b""
    elif last is not None and last < first:
        expected = None
    else:
        expected = content[first:] if last is None else content[first : last + 1]
    assert expected == (None if asked is None else content[asked.start : asked.stop])
    assert not asked or 0 <= asked.start < asked.stop <= size


@given(st.text(), st.integers(0, 2**40))
def test_no_range_header_breaks_the_server(header: str, size: int) -> None:
    asked = byte_range(header, size)
    assert asked is None or not asked or 0 <= asked.start < asked.stop <= size


def test_a_reader_that_goes_away_leaves_no_trace(
    release: Path, server: ReleaseServer, client: Client, capfd: pytest.CaptureFixture[str]
) -> None:
    with (release / "large.bin").open("wb") as file:
        file.truncate(64_000_000)
    for _ in range(3):
        reader = socket.create_connection(("127.0.0.1", server.server_port))
        reader.sendall(b"GET /large.bin HTTP/1.1\r\nHost: x\r\n\r\n")
        reader.recv(100)
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close by reset
        reader.close()
    assert len(client("/large.bin").body) == 64_000_000
    assert capfd.readouterr() == ("", "")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page as tools/browser makes it, with what must not be served."""
    base = tmp_path_factory.mktemp("browser")
    folder = base / "built"
    (folder / "js").mkdir(parents=True)
    (folder / "index.html").write_text("<p>page</p>")
    (folder / "js" / "app.js").write_text("1")
    (folder / ".hidden.js").write_text("hidden")
    (base / "secret.js").write_text("outside")
    (folder / "out.js").symlink_to("../secret.js")
    return folder


@pytest.fixture(scope="module")
def both(release: Path, browser: Path) -> Iterator[ReleaseServer]:
    with serving(make_server(release, browser=browser)) as running:
        yield running


def test_a_browser_lies_beside_the_release(both: ReleaseServer) -> None:
    assert links(both) == tuple(f"http://127.0.0.1:{both.server_port}/{path}" for path in ("catalog.json", "browser/"))
    with connected(both) as client:
        led = client("/browser?x=1")
        assert (led.status, led.headers["Location"]) == (302, "/browser/")
        page = client("/browser/")
        assert (page.status, page.body, page.headers["Content-Type"]) == (
            200,
            b"<p>page</p>",
            "text/html; charset=utf-8",
        )
        assert client("/browser/index.html?a#b").body == page.body
        script = client("/browser/js/app.js")
        assert (script.body, script.headers["Content-Type"]) == (b"1", "text/javascript; charset=utf-8")
        assert (client("/").headers["Location"], client("/catalog.json").body) == ("/catalog.json", b"{}")


@pytest.mark.parametrize(
    "path",
    [
        "js",
        "js/",
        ".hidden.js",
        "out.js",
        "../catalog.json",
        "../secret.js",
        "%2e%2e/secret.js",
        "/index.html",
        "nothing",
    ],
)
def test_nothing_else_of_the_browser_is_served(both: ReleaseServer, path: str) -> None:
    with connected(both) as client:
        assert (client(f"/browser/{path}").status, client(f"/browser/{path}", "HEAD").status) == (404, 404)


def test_without_a_browser_its_address_is_the_releases_own(client: Client) -> None:
    assert [client(path).status for path in ("/browser", "/browser/", "/browser/index.html")] == [404] * 3


def test_a_folder_without_a_page_is_no_browser(release: Path, tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UsageError, match=f"{folder}: no index.html.*tools/browser"):
            make_server(release, browser=folder)


def test_the_explorer_is_told_where_the_release_has_one(tmp_path: Path) -> None:
    (tmp_path / "explore").mkdir()
    (tmp_path / "explore" / "index.html").write_text("<p>explore</p>")
    with make_server(tmp_path) as server:
        assert links(server)[1:] == (f"http://127.0.0.1:{server.server_port}/explore/index.html",)


def test_lines_go_to_the_log_that_was_given(release: Path) -> None:
    lines: list[str] = []
    with serving(make_server(release, log=lines.append)) as server, connected(server) as client:
        client("/catalog.json")
    assert lines == ['"GET /catalog.json HTTP/1.1" 200 -']


def test_what_cannot_be_served_is_said(tmp_path: Path, server: ReleaseServer) -> None:
    with pytest.raises(UsageError, match="nowhere: not a folder"):
        make_server(tmp_path / "nowhere")
    for port in (server.server_port, 70_000):
        with pytest.raises(UsageError, match=f"port {port}"):
            make_server(tmp_path, port)


def test_gdal_reads_equal_pixels(release: Path, server: ReleaseServer, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 2**12, (2, 1024, 1024), dtype=np.uint16)
    profile = {"driver": "COG", "count": 2, "height": 1024, "width": 1024, "dtype": "uint16"}
    profile |= {"crs": "EPSG:32631", "transform": Affine(10, 0, 300_000, 0, -10, 4_900_000), "blocksize": 256}
    with rasterio.open(release / "pixels.tif", "w", **profile) as raster:
        raster.write(pixels)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    url = f"/vsicurl/http://127.0.0.1:{server.server_port}/pixels.tif"
    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"), rasterio.open(url) as raster:
        np.testing.assert_array_equal(raster.read(window=((600, 700), (300, 500))), pixels[:, 600:700, 300:500])
        np.testing.assert_array_equal(raster.read(), pixels)
