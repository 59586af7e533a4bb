"""Searches of a release on a web server and in a bucket: the same answers, few bytes, clear errors."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import catalog_builder
from catalog_builder import index, layout
from catalog_builder.errors import DamagedError, RemoteError, UsageError
from catalog_builder.location import WebLocation
from catalog_builder.search.client import open_release
from catalog_builder.search.release import Release
from catalog_builder.serve import make_server
from tests.search_cases import CASES, FRANCE_BOX, Case, Item, in_box, item_id, make_items, write_release
from tests.test_search import ANSWERED, ids
from tools.local_bucket import BUCKET, LocalBucket
from tools.made_index import make_index_release

SOME = ANSWERED[::9]


@pytest.fixture(scope="module")
def items() -> list[Item]:
    return make_items()


@pytest.fixture(scope="module")
def made(items: list[Item], tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "ROWS_PER_GROUP", 16)
        return write_release(tmp_path_factory.mktemp("made"), items)


@contextmanager
def running(server: ThreadingHTTPServer) -> Iterator[str]:
    """Run a server in a thread; give its address."""
    with server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def served(folder: Path) -> Iterator[str]:
    with running(make_server(folder, 0)) as url:
        yield url


@pytest.fixture(scope="module")
def url(made: Path) -> Iterator[str]:
    with served(made) as address:
        yield address


@pytest.mark.parametrize("case", SOME, ids=lambda case: case.name)
def test_over_http(url: str, items: list[Item], case: Case) -> None:
    search = catalog_builder.open(f"{url}/catalog.json").search(**case.search)
    assert sorted(ids(search)) == sorted(case.expected(items))


def test_hrefs_over_http(url: str) -> None:
    item = next(catalog_builder.open(url).search(ids=[item_id("usa", 3)]).items())
    path = f"{url}/usa/usa_0/{item_id('usa', 3)}"
    assert item.assets["s1"].href == f"{path}/s1.tif"
    assert item.get_self_href() == f"{path}/{item_id('usa', 3)}.json"


@pytest.fixture
def prefix(bucket: LocalBucket, made: Path) -> str:
    client = bucket.client()
    for path in made.rglob("*"):
        if path.is_file():
            client.upload_file(str(path), BUCKET, f"search/v1/{path.relative_to(made).as_posix()}")
    return f"s3://{BUCKET}/search/v1"


def test_in_a_bucket(bucket: LocalBucket, prefix: str, items: list[Item]) -> None:
    client = catalog_builder.open(prefix, endpoint_url=bucket.url)
    expected = sorted(item["id"] for item in items if in_box(*FRANCE_BOX)(item))
    found = list(client.search(bbox=FRANCE_BOX).items_as_dicts())
    assert sorted(item["id"] for item in found) == expected
    assert all(item["assets"]["s1"]["href"].startswith(f"{prefix}/france/") for item in found)
    assert len(list(client.get_collections())) == 2


def test_in_a_public_bucket(bucket: LocalBucket, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without credentials asset hrefs are such that any client reads them."""
    bucket.make_public()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    client = catalog_builder.open(f"{prefix}/catalog.json", endpoint_url=bucket.url)
    item = next(client.search(collections=["usa"]).items_as_dicts())
    assert item["assets"]["s1"]["href"].startswith(f"{bucket.url}/{BUCKET}/search/v1/usa/")


def test_bucket_without_release(bucket: LocalBucket) -> None:
    with pytest.raises(RemoteError, match="is it the address of a release"):
        catalog_builder.open(f"s3://{BUCKET}/nothing", endpoint_url=bucket.url)
    with pytest.raises(RemoteError, match="there is no such bucket"):
        catalog_builder.open("s3://no-such-bucket/nothing", endpoint_url=bucket.url)


# --- few bytes --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """10,000 items in 10 row groups."""
    return make_index_release(tmp_path_factory.mktemp("large") / "release", 10_000)


@pytest.mark.slow
def test_only_what_is_needed_is_fetched(large: Path, tmp_path: Path) -> None:
    size = (large / layout.index("france")).stat().st_size
    with served(large) as url:
        release = Release(WebLocation(url=url), tmp_path / "cache")
        client = open_release(release)
        assert client.search(bbox=[100, -80, 101, -79]).matched() == 0
        footer = release.fetched
        assert footer < size / 8
        place = next(client.search(limit=1, max_items=1).items_as_dicts())["bbox"]
        found = ids(client.search(bbox=place))
        assert 1 <= len(found) < 40
        fetched = release.fetched
        assert fetched < size / 3
        assert ids(client.search(bbox=place)) == found
        assert release.fetched == fetched, "what was fetched is fetched again"
        # The next process finds it all.
        again = Release(WebLocation(url=url), tmp_path / "cache")
        assert ids(open_release(again).search(bbox=place)) == found
        assert again.fetched == 0
        without = Release(WebLocation(url=url))
        assert ids(open_release(without).search(bbox=place)) == found
        assert 0 < without.fetched <= fetched


def test_another_index_at_the_same_place_is_read_anew(made: Path, items: list[Item], tmp_path: Path) -> None:
    folder, cache = Path(shutil.copytree(made, tmp_path / "release")), tmp_path / "cache"
    with served(folder) as url:
        assert catalog_builder.open(url, cache=cache).search().matched() == len(items)
        client = catalog_builder.open(url, cache=cache)
        assert client.search().matched() == len(items)
        shutil.rmtree(folder)
        write_release(folder, items[:200])
        assert sorted(ids(catalog_builder.open(url, cache=cache).search())) == sorted(one["id"] for one in items[:200])


def test_index_replaced_while_it_is_read(large: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(large, tmp_path / "release"))
    with served(folder) as url:
        client = catalog_builder.open(url)
        assert client.search(limit=1).matched() == 10_000
        path = folder / layout.index("france")
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data)
        with pytest.raises(RemoteError, match="was replaced while it was read; try again"):
            ids(client.search(filter='"dream:valid_percent" > 200'))


def test_damaged_cache_is_done_without(large: Path, tmp_path: Path) -> None:
    with served(large) as url:
        found = ids(catalog_builder.open(url, cache=tmp_path).search(bbox=[-180, -90, 180, 0]))
        blocks = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert blocks
        for path in blocks:
            path.write_bytes(bytes(path.stat().st_size))
        assert ids(catalog_builder.open(url, cache=tmp_path).search(bbox=[-180, -90, 180, 0])) == found


def test_unwritable_cache_is_done_without(url: str, items: list[Item], tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    assert catalog_builder.open(url, cache=tmp_path / "cache").search().matched() == len(items)


# --- servers that do not do as they should ----------------------------------------------------------------------------


@contextmanager
def answering(status: int, body: bytes, made: Path | None = None, *, ranges: bool = True) -> Iterator[str]:
    """Serve one answer to everything, or a release's files without a word on ranges."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            data, code = body, status
            if made is not None:
                path = made / self.path.lstrip("/")
                data, code = (path.read_bytes(), 200) if path.is_file() else (b"", 404)
            self.send_response(code)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    assert ranges or made
    with running(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url:
        yield url


@pytest.mark.parametrize(
    ("status", "body", "error", "says"),
    [
        (404, b"", RemoteError, "not there; is it the address of a release"),
        (403, b"", RemoteError, "the server answers 403"),
        (401, b"", RemoteError, "the server answers 401"),
        (200, b"<!doctype html><title>hello</title>", DamagedError, "is a web page"),
        (200, b'{"type":"Catalog","links"', DamagedError, "is no JSON"),
    ],
)
def test_server_without_release(status: int, body: bytes, error: type[Exception], says: str) -> None:
    with answering(status, body) as url, pytest.raises(error, match=says) as caught:
        catalog_builder.open(url)
    assert len(str(caught.value).splitlines()) == 1


def test_server_without_ranges(made: Path, large: Path, items: list[Item]) -> None:
    """A plain web server, as ``python -m http.server`` is, does for indexes that fit in memory."""
    with answering(200, b"", large) as url:
        assert catalog_builder.open(url).search(bbox=[-180, -90, 180, 90]).matched() == 10_000
    with answering(200, b"", made) as url:
        client = catalog_builder.open(url)
        assert sorted(ids(client.search(bbox=FRANCE_BOX))) == sorted(
            item["id"] for item in items if in_box(*FRANCE_BOX)(item)
        )


def test_case_list_is_not_empty() -> None:
    assert len(SOME) > 8
    assert len(CASES) > 80
    with pytest.raises(UsageError):
        catalog_builder.open("http://user:secret@127.0.0.1/x")
