"""Publishing to a real S3 server: what is sent, in which order, and what is refused."""

import json
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from click.testing import CliRunner, Result

from catalog_builder import cli, jsonio, layout, manifest
from catalog_builder import publish as publishing
from catalog_builder.bucket import Bucket, Headers
from catalog_builder.errors import CatalogBuilderError, DamagedError, ReleaseError, RemoteError
from catalog_builder.executor import SerialExecutor
from catalog_builder.location import S3Location, parse_s3
from catalog_builder.publish import PublishOptions, PublishReport
from catalog_builder.transfer import transfer
from tests.faulty_proxy import Proxy, proxy
from tools.local_bucket import ACCESS_KEY, BUCKET, SECRET_KEY, LocalBucket
from tools.made_release import make_release

ITEMS = 6
SIZES = (100, 3000, 40_000)


class Silence:
    """Hears progress and says nothing."""

    def start(self, objects: int, size: int) -> None: ...

    def advance(self, objects: int, size: int) -> None: ...

    def note(self, text: str) -> None: ...


@pytest.fixture
def prefix() -> str:
    """A prefix that no other test has."""
    return f"test_{uuid.uuid4().hex[:8]}/v1.0.0"


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return make_release(tmp_path / "release", ITEMS, SIZES, areas=2)


@pytest.fixture
def watched(bucket: LocalBucket) -> Iterator[Proxy]:
    """The server behind a proxy that writes down every request."""
    with proxy(bucket.url) as made:
        yield made


@pytest.fixture
def target(watched: Proxy, prefix: str) -> S3Location:
    return parse_s3(f"s3://{BUCKET}/{prefix}", watched.url)


def run(release: Path, target: S3Location, **options: Any) -> PublishReport:
    return publishing.publish(release, target, PublishOptions(**options), SerialExecutor(), Silence(), workers=1)


def files(release: Path) -> dict[str, bytes]:
    return {path.relative_to(release).as_posix(): path.read_bytes() for path in release.rglob("*") if path.is_file()}


def objects(server: LocalBucket, prefix: str) -> dict[str, bytes]:
    """All objects under a prefix, read by boto3 alone."""
    client, found = server.client(), {}
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{prefix}/"):
        for one in page.get("Contents", ()):
            body = client.get_object(Bucket=BUCKET, Key=one["Key"])["Body"].read()
            found[one["Key"].removeprefix(f"{prefix}/")] = body
    return found


def sent(watched: Proxy, target: S3Location) -> list[str]:
    """Hrefs that were written, without the lock."""
    start = f"/{BUCKET}/{target.prefix}/"
    hrefs = [path.removeprefix(start) for path in watched.puts() if path.startswith(start)]
    return [href for href in hrefs if href != layout.LOCK]


def rewrite(release: Path, href: str, data: bytes) -> None:
    """Change one file of an area, and the manifests that vouch for it."""
    (release / href).write_bytes(data)
    area = layout.area_of(href)
    assert area is not None
    inner, root = release / area / layout.MANIFEST, release / layout.MANIFEST
    inner.write_bytes(
        manifest.dumps({**manifest.loads(inner.read_bytes()), href.removeprefix(f"{area}/"): manifest.sha256(data)})
    )
    listed = manifest.loads(root.read_bytes())
    root.write_bytes(manifest.dumps({**listed, f"{area}/{layout.MANIFEST}": manifest.sha256(inner.read_bytes())}))


def some_cog(release: Path) -> str:
    return min(path.relative_to(release).as_posix() for path in release.rglob("s2.tif"))


# --- what arrives -----------------------------------------------------------------------------------------------------


def test_a_bucket_gets_every_file_and_nothing_else(
    bucket: LocalBucket, release: Path, target: S3Location, prefix: str
) -> None:
    report = run(release, target)
    assert objects(bucket, prefix) == files(release)
    assert report.sent.sent == len(files(release))
    assert report.sent.sent_bytes == sum(map(len, files(release).values()))


def test_objects_say_what_they_are(bucket: LocalBucket, release: Path, target: S3Location, prefix: str) -> None:
    run(release, target)
    client = bucket.client()
    item = next(iter(sorted(path.relative_to(release).as_posix() for path in release.rglob("area_000_*.json"))))
    expected = {
        some_cog(release): ("image/tiff; application=geotiff; profile=cloud-optimized", "immutable"),
        item: ("application/geo+json", "max-age=60"),
        layout.CATALOG: ("application/json", "max-age=60"),
        layout.index("france"): ("application/vnd.apache.parquet", "max-age=60"),
        layout.MANIFEST: ("text/plain; charset=utf-8", "max-age=60"),
    }
    for href, (kind, kept) in expected.items():
        head = client.head_object(Bucket=BUCKET, Key=f"{prefix}/{href}", ChecksumMode="ENABLED")
        assert head["ContentType"] == kind
        assert kept in head["CacheControl"]
        assert head["Metadata"]["sha256"] == manifest.sha256((release / href).read_bytes())
        assert head["ChecksumSHA256"]


def test_a_prefix_without_a_version_may_change(bucket: LocalBucket, release: Path) -> None:
    place = parse_s3(f"s3://{BUCKET}/test_{uuid.uuid4().hex[:8]}/latest", bucket.url)
    run(release, place)
    head = bucket.client().head_object(Bucket=BUCKET, Key=place.key(some_cog(release)))
    assert head["CacheControl"] == "public, max-age=3600"


def test_what_is_pointed_at_goes_first(watched: Proxy, release: Path, target: S3Location) -> None:
    run(release, target)
    ranks = [layout.rank(href) for href in sent(watched, target)]
    assert ranks == sorted(ranks)
    assert sent(watched, target)[-1] == layout.MANIFEST
    assert len(sent(watched, target)) == len(set(sent(watched, target))) == len(files(release))


def test_publishing_again_sends_nothing(watched: Proxy, release: Path, target: S3Location) -> None:
    run(release, target)
    watched.seen.clear()
    report = run(release, target)
    assert not report.sent.sent
    assert report.unchanged == len(files(release))
    assert not watched.puts()
    assert len([seen for seen in watched.seen if not seen.is_listing]) <= 3


def test_only_what_differs_is_sent(watched: Proxy, release: Path, target: S3Location) -> None:
    run(release, target)
    href = some_cog(release)
    rewrite(release, href, b"other pixels")
    watched.seen.clear()
    run(release, target)
    assert sent(watched, target) == [href, f"{layout.area_of(href)}/{layout.MANIFEST}", layout.MANIFEST]
    # Of the two areas, the manifest of the one that differs was read.
    asked = [seen.path for seen in watched.seen if seen.method == "GET" and seen.path.endswith(layout.MANIFEST)]
    assert len([path for path in asked if path.count("/") > target.prefix.count("/") + 3]) == 1


def test_an_object_that_went_away_is_sent_again(
    bucket: LocalBucket, watched: Proxy, release: Path, target: S3Location
) -> None:
    run(release, target)
    lost = sorted(path.relative_to(release).as_posix() for path in release.rglob("osm.tif"))[-1]
    bucket.client().delete_object(Bucket=BUCKET, Key=target.key(lost))
    rewrite(release, some_cog(release), b"other pixels")
    watched.seen.clear()
    run(release, target)
    assert lost in sent(watched, target)
    assert objects(bucket, target.prefix) == files(release)


def test_a_dry_run_tells_and_sends_nothing(watched: Proxy, release: Path, target: S3Location) -> None:
    plan = publishing.plan_publish(release, target, PublishOptions())
    assert [upload.href for upload in plan.uploads] == sorted(files(release), key=layout.order)
    assert plan.size == sum(map(len, files(release).values()))
    assert {seen.method for seen in watched.seen} <= {"GET", "HEAD"}


# --- what is taken away -----------------------------------------------------------------------------------------------


def test_only_delete_takes_away_and_only_under_the_prefix(
    bucket: LocalBucket, release: Path, target: S3Location, prefix: str
) -> None:
    client = bucket.client()
    run(release, target)
    others = [f"{prefix}/stray.txt", f"{prefix}0/other.txt", f"{prefix.partition('/')[0]}/beside.txt"]
    for key in others:
        client.put_object(Bucket=BUCKET, Key=key, Body=b"x")
    run(release, target)
    assert "stray.txt" in objects(bucket, prefix)
    assert publishing.plan_publish(release, target, PublishOptions(delete=True)).obsolete == ("stray.txt",)
    assert run(release, target, delete=True).deleted == 1
    assert objects(bucket, prefix) == files(release)
    for key in others[1:]:
        assert client.get_object(Bucket=BUCKET, Key=key)["Body"].read() == b"x"


# --- versions ---------------------------------------------------------------------------------------------------------


def test_a_version_is_not_overwritten(bucket: LocalBucket, release: Path, target: S3Location, tmp_path: Path) -> None:
    run(release, target)
    before = objects(bucket, target.prefix)
    newer = make_release(tmp_path / "newer", ITEMS, SIZES, areas=2, version="1.1.0", seed=3)
    with pytest.raises(RemoteError, match=r"holds version 1\.0\.0 of 'france', this release is 1\.1\.0"):
        run(newer, target)
    assert objects(bucket, target.prefix) == before
    run(newer, target, replace=True)
    assert objects(bucket, target.prefix) == files(newer)


def test_a_new_version_copies_what_did_not_change(
    bucket: LocalBucket, watched: Proxy, release: Path, target: S3Location, tmp_path: Path
) -> None:
    run(release, target)
    newer = make_release(tmp_path / "newer", ITEMS, SIZES, areas=2, version="1.1.0")
    place = parse_s3(str(target).replace("v1.0.0", "v1.1.0"), watched.url)
    watched.seen.clear()
    report = run(newer, place, previous=target)
    assert sent(watched, place) == ["france/collection.json", layout.MANIFEST]
    assert report.sent.copied == len(files(newer)) - 2
    assert objects(bucket, place.prefix) == files(newer)
    head = bucket.client().head_object(Bucket=BUCKET, Key=place.key(some_cog(newer)))
    assert "immutable" in head["CacheControl"]


@pytest.mark.parametrize("damage", ["gone", "other bytes"])
def test_what_the_previous_version_has_lost_is_sent(
    bucket: LocalBucket, watched: Proxy, release: Path, target: S3Location, tmp_path: Path, damage: str
) -> None:
    run(release, target)
    key = target.key(some_cog(release))
    if damage == "gone":
        bucket.client().delete_object(Bucket=BUCKET, Key=key)
    else:
        bucket.client().put_object(Bucket=BUCKET, Key=key, Body=b"other bytes")
    newer = make_release(tmp_path / "newer", ITEMS, SIZES, areas=2, version="1.1.0")
    place = parse_s3(str(target).replace("v1.0.0", "v1.1.0"), watched.url)
    run(newer, place, previous=target)
    assert objects(bucket, place.prefix) == files(newer)


def test_the_previous_version_has_to_be_there(release: Path, target: S3Location) -> None:
    with pytest.raises(CatalogBuilderError, match="holds no release"):
        run(release, target, previous=parse_s3(f"s3://{BUCKET}/nowhere", target.endpoint_url))
    with pytest.raises(CatalogBuilderError, match="is where the release goes"):
        run(release, target, previous=target)


# --- the lock ---------------------------------------------------------------------------------------------------------


def test_a_second_publisher_stops_and_harms_nothing(bucket: LocalBucket, release: Path, target: S3Location) -> None:
    client, key = bucket.client(), target.key(layout.LOCK)
    lock = jsonio.dumps({"publisher": "other", "since": "2026-01-01T00:00:00+00:00", "state": "at work"})
    client.put_object(Bucket=BUCKET, Key=key, Body=lock)
    with pytest.raises(RemoteError, match=r"another publisher has been at work here since 2026-01-01.*--take-over"):
        run(release, target)
    assert objects(bucket, target.prefix) == {layout.LOCK: lock}
    run(release, target, take_over=True)
    assert objects(bucket, target.prefix) == files(release)


def test_a_publisher_that_was_taken_over_stops(
    bucket: LocalBucket, release: Path, target: S3Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = jsonio.dumps({"state": "at work", "since": "now", "publisher": "other"})

    def overtaken(*args: Any, **options: Any) -> Any:
        bucket.client().put_object(Bucket=BUCKET, Key=target.key(layout.LOCK), Body=other)
        return transfer(*args, **options)

    monkeypatch.setattr(publishing, "transfer", overtaken)
    with pytest.raises(RemoteError, match="another publisher has taken over"):
        run(release, target)
    left = objects(bucket, target.prefix)
    assert left[layout.LOCK] == other
    assert layout.CATALOG not in left


def test_after_a_stop_what_is_there_is_not_sent_again(
    bucket: LocalBucket, watched: Proxy, release: Path, target: S3Location
) -> None:
    href = max(path.relative_to(release).as_posix() for path in release.rglob("*_x*.json"))
    kept = (release / href).read_bytes()
    (release / href).write_bytes(kept.replace(b"Feature", b"FeaturE"))
    with pytest.raises(DamagedError, match="are not those that the manifest vouches for"):
        run(release, target)
    left = objects(bucket, target.prefix)
    assert layout.CATALOG not in left
    assert json.loads(left[layout.LOCK])["state"] == "stopped"
    (release / href).write_bytes(kept)
    watched.seen.clear()
    report = run(release, target)
    assert set(sent(watched, target)) == files(release).keys() - left.keys()
    assert report.sent.skipped == len(left) - 1
    assert objects(bucket, target.prefix) == files(release)


def test_after_a_stop_published_manifests_are_not_relied_upon(
    bucket: LocalBucket, release: Path, target: S3Location, tmp_path: Path
) -> None:
    run(release, target)
    other = Path(shutil.copytree(release, tmp_path / "other"))
    href = some_cog(other)
    rewrite(other, href, bytes(reversed((other / href).read_bytes())))
    (other / layout.CATALOG).write_bytes((other / layout.CATALOG).read_bytes() + b" ")
    with pytest.raises(DamagedError):
        run(other, target)
    assert objects(bucket, target.prefix)[href] == (other / href).read_bytes()
    run(release, target)
    assert objects(bucket, target.prefix) == files(release)


def test_repair_finds_what_the_manifests_do_not_tell(
    bucket: LocalBucket, watched: Proxy, release: Path, target: S3Location
) -> None:
    run(release, target)
    href = some_cog(release)
    key = {"Bucket": BUCKET, "Key": target.key(href)}
    damaged = bytes(reversed(files(release)[href]))
    bucket.client().put_object(**key, Body=damaged, Metadata={"sha256": manifest.sha256(files(release)[href])})
    bucket.client().put_object(Bucket=BUCKET, Key=target.key(layout.MANIFEST), Body=b"no manifest")
    with pytest.raises(DamagedError, match="not a manifest"):
        run(release, target)
    watched.seen.clear()
    run(release, target, repair=True)
    assert sent(watched, target) == [href, layout.MANIFEST]
    assert objects(bucket, target.prefix) == files(release)


# --- refusals ---------------------------------------------------------------------------------------------------------


def _drop_file(release: Path) -> None:
    (release / some_cog(release)).unlink()


def _add_file(release: Path) -> None:
    (release / some_cog(release)).with_name("notes.txt").write_text("x")


def _add_root_file(release: Path) -> None:
    (release / "notes.txt").write_text("x")


def _break_link(release: Path) -> None:
    href = "france/area_000/catalog.json"
    rewrite(release, href, (release / href).read_bytes().replace(b"./area_000_x0000_y0000/", b"./nowhere/"))


def _leave(release: Path) -> None:
    href = "france/area_000/catalog.json"
    rewrite(release, href, (release / href).read_bytes().replace(b"../../catalog.json", b"../../../etc/passwd"))


def _break_manifest(release: Path) -> None:
    (release / "france/area_000" / layout.MANIFEST).write_text("nonsense\n")


def _interrupted_build(release: Path) -> None:
    (release / layout.WORK_FOLDER).mkdir()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_drop_file, "not there"),
        (_add_file, "not listed"),
        (_add_root_file, "not listed"),
        (_break_link, "leads to france/area_000/nowhere"),
        (_leave, "leaves the release"),
        (_break_manifest, "no line of a manifest"),
        (_interrupted_build, "a build is under way"),
    ],
)
def test_a_release_that_is_not_whole_is_refused_before_anything_is_sent(
    watched: Proxy, release: Path, target: S3Location, damage: Callable[[Path], None], words: str
) -> None:
    damage(release)
    with pytest.raises(ReleaseError, match=words):
        run(release, target)
    assert not [seen for seen in watched.seen if seen.method not in ("GET", "HEAD")]


def test_the_server_refuses_damaged_bytes(bucket: LocalBucket, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catalog_builder.bucket.pause", lambda _: None)
    place = Bucket(parse_s3(f"s3://{BUCKET}/{prefix}", bucket.url))
    with pytest.raises(DamagedError, match="arrives damaged"):
        place.put(
            "a.tif", b"some", manifest.sha256(b"other"), Headers(media_type="image/tiff", cache_control="no-store")
        )
    assert not objects(bucket, prefix)


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli.main, ["publish", "-q", "--jobs", "1", *arguments])


def one_line(result: Result, code: int) -> str:
    """The one line on standard error; it holds no secret and no traceback."""
    assert result.exit_code == code, result.output
    (line,) = result.stderr.splitlines()
    assert SECRET_KEY not in result.output
    assert ACCESS_KEY not in result.output
    return line


@pytest.mark.parametrize(
    ("variables", "bucket_name", "words"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, BUCKET, "wrong credentials"),
        ({"AWS_ACCESS_KEY_ID": "nobody"}, BUCKET, "does not know this access key"),
        ({}, "no-such-bucket", "there is no such bucket"),
        ({"AWS_PROFILE": "nobody"}, BUCKET, "nobody"),
    ],
)
def test_what_a_server_refuses_is_one_line(
    bucket: LocalBucket,
    release: Path,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    bucket_name: str,
    words: str,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert words in one_line(invoke(str(release), f"s3://{bucket_name}/v1", "--endpoint-url", bucket.url), 1)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("AccessDenied", "permission denied"),
        ("AuthorizationHeaderMalformed", "wrong region"),
        ("PermanentRedirect", "in another region"),
        ("ExpiredToken", "have expired"),
        ("NotImplemented", "conditional writes"),
        ("Mystery", "the server refuses: Mystery"),
    ],
)
@pytest.mark.usefixtures("_credentials")
def test_codes_of_servers_are_said_in_the_users_words(monkeypatch: pytest.MonkeyPatch, code: str, words: str) -> None:
    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": code, "Message": f"not for {ACCESS_KEY}"}}, "GetObject")

    place = Bucket(S3Location(bucket=BUCKET, prefix="v1"))
    monkeypatch.setattr(place, "_client", SimpleNamespace(get_object=refuse))
    with pytest.raises(RemoteError, match=words) as caught:
        place.read(layout.CATALOG)
    assert ACCESS_KEY not in str(caught.value)
    assert str(caught.value).startswith("s3://dream/v1/catalog.json: ")


def test_no_credentials_and_no_server_are_one_line(
    bucket: LocalBucket, release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catalog_builder.bucket._ATTEMPTS", 1)
    nowhere = one_line(invoke(str(release), f"s3://{BUCKET}/v1", "--endpoint-url", "http://127.0.0.1:9"), 1)
    assert "no answer from http://127.0.0.1:9" in nowhere
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    line = one_line(invoke(str(release), f"s3://{BUCKET}/other", "--endpoint-url", bucket.url), 1)
    assert "no credentials" in line


def test_usage_errors_are_one_line(bucket: LocalBucket, release: Path, tmp_path: Path) -> None:
    assert "not a place in a bucket" in one_line(invoke(str(release), "dream/v1"), 2)
    assert "--delete needs a prefix" in one_line(invoke(str(release), f"s3://{BUCKET}", "--delete"), 2)
    there = ("--endpoint-url", bucket.url)
    assert "no release" in one_line(invoke(str(tmp_path / "nothing"), f"s3://{BUCKET}/v9", *there), 2)


def test_the_command_tells_what_it_did(bucket: LocalBucket, release: Path, prefix: str) -> None:
    there = (str(release), f"s3://{BUCKET}/{prefix}", "--endpoint-url", bucket.url)
    plan = invoke(*there, "--dry-run")
    assert plan.exit_code == 0
    assert [line.split()[-1] for line in plan.stdout.splitlines()] == sorted(files(release), key=layout.order)
    first = json.loads(invoke(*there, "--json").stdout)
    assert first["objects_sent"] == len(files(release))
    again = invoke(*there)
    assert again.stdout == f"s3://{BUCKET}/{prefix}: nothing to do: {len(files(release))} objects are up to date\n"
