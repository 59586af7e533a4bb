"""A published release against its manifests: in a bucket, on a web server, in a folder."""

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from catalog_builder import cli, layout, verify
from catalog_builder import publish as publishing
from catalog_builder.errors import RemoteError, UsageError
from catalog_builder.executor import SerialExecutor
from catalog_builder.location import FolderLocation, Location, S3Location, WebLocation, parse_s3
from catalog_builder.publish import PublishOptions
from catalog_builder.serve import make_server
from catalog_builder.verify import VerifyReport
from tests.faulty_proxy import proxy
from tests.test_publish import Silence, files, rewrite, some_cog
from tools.local_bucket import BUCKET, LocalBucket
from tools.made_release import make_release

Change = Callable[[str, bytes | None], None]
"""Overwrites an object, or takes it away."""


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return make_release(tmp_path / "release", 6, (100, 3000, 40_000), areas=2)


@pytest.fixture(params=["folder", "web", "s3"])
def place(request: pytest.FixtureRequest, release: Path) -> Iterator[tuple[Location, Change]]:
    """A published release, and a way to damage it."""

    def on_disk(href: str, data: bytes | None) -> None:
        path = release / href
        if data is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    if request.param == "folder":
        yield FolderLocation(path=release), on_disk
    elif request.param == "web":
        with make_server(release) as server:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
            yield WebLocation(url=f"http://127.0.0.1:{server.server_port}"), on_disk
            server.shutdown()
    else:
        bucket: LocalBucket = request.getfixturevalue("bucket")
        target = publish(release, bucket)
        client = bucket.client()

        def in_bucket(href: str, data: bytes | None) -> None:
            key = {"Bucket": BUCKET, "Key": target.key(href)}
            client.delete_object(**key) if data is None else client.put_object(**key, Body=data)

        yield target, in_bucket


def publish(release: Path, bucket: LocalBucket) -> S3Location:
    target = parse_s3(f"s3://{BUCKET}/test_{uuid.uuid4().hex[:8]}", bucket.url)
    publishing.publish(release, target, PublishOptions(), SerialExecutor(), Silence())
    return target


def run(location: Location, **options: Any) -> VerifyReport:
    return verify.verify(location, SerialExecutor(), Silence(), **options)


def found(report: VerifyReport) -> list[tuple[str, str]]:
    return [(finding.href, finding.rule) for finding in report.findings]


@pytest.mark.parametrize("deep", [False, True])
def test_a_good_release_has_no_findings(place: tuple[Location, Change], release: Path, deep: bool) -> None:
    report = run(place[0], deep=deep)
    assert not report.findings
    assert report.objects == len(files(release)) - 1
    assert report.listed == (not isinstance(place[0], WebLocation))
    blind = not deep and not isinstance(place[0], S3Location)
    assert report.unhashed == (len([href for href in files(release) if layout.rank(href) in (0, 2)]) if blind else 0)


@pytest.mark.parametrize("deep", [False, True])
def test_every_missing_extra_and_cut_object_is_named(place: tuple[Location, Change], release: Path, deep: bool) -> None:
    location, change = place
    cut = some_cog(release)
    missing, document = cut.replace("s2.tif", "s1.tif"), max(href for href in files(release) if layout.rank(href) == 1)
    area = "france/area_001/manifest.sha256"
    stray = "france/area_001/stray.txt"
    expected = [(missing, "file-missing"), (cut, "asset-size"), (document, "file-hash")]
    change(missing, None)
    change(cut, files(release)[cut][:-1])
    change(document, files(release)[document] + b" ")
    change(stray, b"stray")
    if not isinstance(location, WebLocation):
        expected.append((stray, "file-unlisted"))
    assert found(run(location, deep=deep)) == sorted(expected)
    change(area, None)
    assert (area, "file-missing") in found(run(location, deep=deep))


def test_other_bytes_of_the_same_size_are_found(place: tuple[Location, Change], release: Path) -> None:
    location, change = place
    href = some_cog(release)
    change(href, bytes(reversed(files(release)[href])))
    assert found(run(location, deep=True)) == [(href, "file-hash")]
    assert found(run(location, sample=10_000)) == [(href, "file-hash")]
    assert run(location, sample=5).objects == 5


def test_a_changed_document_is_found(place: tuple[Location, Change], release: Path) -> None:
    location, change = place
    change(layout.CATALOG, files(release)[layout.CATALOG].replace(b"Made", b"Ma1e"))
    assert found(run(location)) == [(layout.CATALOG, "file-hash")]


def test_what_is_no_release_is_one_line(place: tuple[Location, Change]) -> None:
    location, change = place
    change(layout.MANIFEST, b"<html>\n")
    with pytest.raises(RemoteError, match="not a manifest"):
        run(location)
    change(layout.MANIFEST, b"0" * 64 + b"  ../outside\n")
    with pytest.raises(RemoteError, match="no plain path"):
        run(location)
    change(layout.MANIFEST, None)
    with pytest.raises(RemoteError, match="holds no release"):
        run(location)


def test_the_server_vouches_for_bytes_without_reading_them(bucket: LocalBucket, release: Path) -> None:
    target = publish(release, bucket)
    href = some_cog(release)
    key = {"Bucket": BUCKET, "Key": target.key(href)}
    data = bytes(reversed(files(release)[href]))
    bucket.client().put_object(**key, Body=data, ChecksumAlgorithm="SHA256")
    with proxy(bucket.url) as watched:
        report = run(S3Location(bucket=BUCKET, prefix=target.prefix, endpoint_url=watched.url))
        assert found(report) == [(href, "file-hash")]
        assert not [seen for seen in watched.seen if seen.method == "GET" and seen.path.endswith(".tif")]


class StoppingExecutor(SerialExecutor):
    """Does some work, then is stopped."""

    def __init__(self, jobs: int) -> None:
        self.left = jobs

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> "Future[Any]":
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        return super().submit(fn, *args, **kwargs)


def stop_midway(location: Location, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin a deep run and stop it after some batches."""
    monkeypatch.setattr(verify, "_BATCH", 8)
    with pytest.raises(KeyboardInterrupt):
        verify.verify(location, StoppingExecutor(12), Silence(), deep=True, state=state)


def test_a_deep_run_that_was_stopped_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release, state = make_release(tmp_path / "release", 40, (100,)), tmp_path / "state"
    location = FolderLocation(path=release)
    stop_midway(location, state, monkeypatch)
    report = run(location, deep=True, state=state)
    assert report.skipped > 30
    assert report.objects + report.skipped == len(files(release)) - 1
    assert not report.findings
    assert not list(state.iterdir())
    assert not run(location, deep=True, state=state).skipped


def test_what_one_place_had_in_order_is_read_in_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state, mirrors = tmp_path / "state", [make_release(tmp_path / name / "mirror", 40, (100,)) for name in "ab"]
    monkeypatch.chdir(tmp_path / "a")
    stop_midway(FolderLocation(path=Path("mirror")), state, monkeypatch)
    monkeypatch.chdir(tmp_path / "b")
    assert not run(FolderLocation(path=Path("mirror")), deep=True, state=state).skipped
    assert run(FolderLocation(path=mirrors[0]), deep=True, state=state).skipped


def test_after_a_stop_another_release_is_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release, state = make_release(tmp_path / "release", 40, (100,)), tmp_path / "state"
    location = FolderLocation(path=release)
    stop_midway(location, state, monkeypatch)
    rewrite(release, some_cog(release), b"x" * 100)
    assert not run(location, deep=True, state=state).skipped


@pytest.mark.parametrize("seed", [1, 2])
def test_a_bad_line_is_borne(release: Path, bucket: LocalBucket, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr("catalog_builder.readers.pause", lambda _: None)
    monkeypatch.setattr("catalog_builder.bucket.pause", lambda _: None)
    target = publish(release, bucket)
    with proxy(bucket.url, share=0.1, seed=seed) as bad:
        assert not run(S3Location(bucket=BUCKET, prefix=target.prefix, endpoint_url=bad.url), deep=True).findings
    with make_server(release) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        with proxy(f"http://127.0.0.1:{server.server_port}", share=0.1, seed=seed) as bad:
            assert not run(WebLocation(url=bad.url), deep=True).findings
        server.shutdown()


def test_the_command(release: Path, tmp_path: Path) -> None:
    good = CliRunner().invoke(cli.main, ["verify", "-q", "--jobs", "1", str(release)])
    assert good.exit_code == 0
    assert "no findings" in good.stderr
    lost = some_cog(release)
    (release / lost).unlink()
    bad = CliRunner().invoke(cli.main, ["verify", "-q", "--jobs", "1", f"{release}/catalog.json"])
    assert bad.exit_code == 1
    assert bad.stdout == f"{lost}: file-missing: is not there\n"
    told = CliRunner().invoke(cli.main, ["verify", "-q", "--jobs", "1", "--json", str(release)])
    assert [finding["href"] for finding in json.loads(told.stdout)["findings"]] == [lost]
    assert CliRunner().invoke(cli.main, ["verify", str(tmp_path / "nothing")]).exit_code == 2
    with pytest.raises(UsageError):
        run(FolderLocation(path=tmp_path / "nothing"))
