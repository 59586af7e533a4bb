"""Publishing when things go wrong: kills at any moment, a server that goes away, a bad network, two at once.

Against a real S3 server. After a kill a reader with a client of its own walks over what is there.
"""

import hashlib
import json
import random
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
import urllib3
from botocore.retries import standard

from catalog_builder import bucket as buckets
from catalog_builder import jsonio, layout, manifest
from catalog_builder.bucket import Bucket, Headers
from catalog_builder.direct import DirectPut
from catalog_builder.errors import DamagedError
from catalog_builder.location import S3Location
from tests.builds import CLI, command
from tests.faulty_proxy import FAULTS, Proxy, Seen, proxy
from tools.bench_publish import MEMORY_LIMIT, SMALL, watched
from tools.local_bucket import BUCKET, LocalBucket, local_bucket
from tools.made_release import ASSETS, COLLECTION, make_release

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("_credentials")]

Files = dict[str, bytes]

JOBS, THREADS = 2, 8
FIRST_KILLS, UPDATE_KILLS = 20, 12
SIZES = (300, 3_000, 40_000)
PACE = 0.01
"""Seconds that a PUT is on its way, so that a kill meets some there."""
PATIENCE = 180.0


@pytest.fixture(scope="module")
def server() -> Iterator[LocalBucket]:
    """A server of these tests alone: it is killed, and everybody may read it."""
    with local_bucket() as made:
        made.make_public()
        yield made


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release of about 150 objects."""
    return make_release(tmp_path_factory.mktemp("first") / "release", 28, SIZES, areas=3)


@pytest.fixture(scope="module")
def update(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same version with other tiles: every third has other bytes, one is gone."""
    folder = tmp_path_factory.mktemp("second") / "release"
    shutil.copytree(release, folder)
    rng = random.Random(2022)
    documents = sorted((folder / COLLECTION).glob("*/*/*.json"))
    for path in documents[::3]:
        put_assets(path, {key: rng.randbytes(rng.choice(SIZES)) for key in rng.sample(ASSETS, 3)})
    remove_item(documents[1])
    seal(folder)
    changed, old = files_of(folder), files_of(release)
    assert any(len(old[href]) == len(data) and old[href] != data for href, data in changed.items() if href in old)
    assert old.keys() - changed.keys()
    return folder


# --- releases ---------------------------------------------------------------------------------------------------------


def put_assets(document: Path, assets: Files) -> None:
    """Give an item other bytes of some of its assets."""
    item = jsonio.read(document)
    for key, data in assets.items():
        document.with_name(layout.asset_file(key)).write_bytes(data)
        item["assets"][key]["file:size"] = len(data)
    document.write_bytes(jsonio.dumps(item))


def remove_item(document: Path) -> None:
    """Take an item out of its area."""
    catalog = document.parent.parent / layout.CATALOG
    listed = jsonio.read(catalog)
    listed["links"] = [link for link in listed["links"] if not link["href"].endswith(f"/{document.name}")]
    catalog.write_bytes(jsonio.dumps(listed))
    shutil.rmtree(document.parent)


def seal(folder: Path) -> None:
    """Write the manifests anew."""
    listed: dict[str, dict[str, str]] = {"": {}}
    for href, data in sorted(files_of(folder).items()):
        area = layout.area_of(href) or ""
        if not href.endswith(layout.MANIFEST):
            listed.setdefault(area, {})[href.removeprefix(f"{area}/")] = manifest.sha256(data)
    for area in [area for area in listed if area]:
        data = manifest.dumps(listed[area])
        (folder / area / layout.MANIFEST).write_bytes(data)
        listed[""][f"{area}/{layout.MANIFEST}"] = manifest.sha256(data)
    (folder / layout.MANIFEST).write_bytes(manifest.dumps(listed[""]))


def files_of(folder: Path) -> Files:
    """Read all files of a folder, by href."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- readers ----------------------------------------------------------------------------------------------------------


class Shelf:
    """What everybody can read under a prefix."""

    def __init__(self, server: LocalBucket, prefix: str) -> None:
        self.server, self.prefix = server, prefix
        self._pool = urllib3.PoolManager(maxsize=8)

    def read(self, href: str) -> bytes | None:
        """Read an object; None where there is none."""
        answer = self._pool.request("GET", f"{self.server.url}/{BUCKET}/{self.prefix}/{href}")
        assert answer.status in (200, 404), f"{href}: {answer.status}"
        return answer.data if answer.status == 200 else None

    def hrefs(self) -> list[str]:
        """List all objects."""
        pages = self.server.client().get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{self.prefix}/")
        return [found["Key"].removeprefix(f"{self.prefix}/") for page in pages for found in page.get("Contents", ())]

    def files(self) -> Files:
        """Read all objects."""
        with ThreadPoolExecutor(max_workers=4) as pool:
            hrefs = self.hrefs()
            return {href: data or b"" for href, data in zip(hrefs, pool.map(self.read, hrefs), strict=True)}

    def dangling(self) -> list[str]:
        """Follow all links and assets from the root, where there is one, and tell which lead nowhere."""
        missing: list[str] = []
        waiting, known = [layout.CATALOG], {layout.CATALOG}
        if self.read(layout.CATALOG) is None:
            return []
        while waiting:
            href = waiting.pop()
            data = self.read(href)
            if data is None:
                missing.append(href)
            elif href.endswith(".json"):
                document = jsonio.loads(data)
                hrefs = [str(link["href"]) for link in document["links"]]
                hrefs += [str(asset["href"]) for asset in document.get("assets", {}).values()]
                found = {layout.resolve(target, href) or "" for target in hrefs} - known
                waiting += found
                known |= found
        return missing

    def faults(self, folder: str = "") -> list[str]:
        """Hold all objects against the manifests; none are asked for where there is no root."""
        data = self.read(f"{folder}{layout.MANIFEST}")
        if data is None:
            return []
        wrong = []
        for path, sha256 in manifest.loads(data).items():
            found = self.read(folder + path)
            if found is None or hashlib.sha256(found).hexdigest() != sha256:
                wrong.append(folder + path)
            elif path.endswith(f"/{layout.MANIFEST}"):
                wrong += self.faults((folder + path).removesuffix(layout.MANIFEST))
        return wrong


# --- publishers -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ended:
    """What a command left."""

    code: int
    output: str
    errors: str

    def json(self) -> Any:
        """Read its output."""
        assert self.code == 0, self.errors
        return json.loads(self.output)

    def check_refused(self) -> None:
        """Whether it ended with one line that tells why."""
        assert self.code == 1, self
        assert not self.output
        assert self.errors.startswith("catalog-builder: ")
        assert self.errors.count("\n") == 1, self.errors
        assert "Traceback" not in self.errors


def arguments(release: Path, prefix: str, endpoint: str, *more: str) -> list[str]:
    place = f"s3://{BUCKET}/{prefix}"
    return ["publish", str(release), place, "--endpoint-url", endpoint, "--jobs", str(JOBS), "--quiet", *more]


def start(release: Path, prefix: str, endpoint: str, *more: str) -> "subprocess.Popen[str]":
    return begin(*arguments(release, prefix, endpoint, *more))


def begin(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([*CLI, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def end(process: "subprocess.Popen[str]") -> Ended:
    """Wait until a command has ended, and take its words."""
    try:
        output, errors = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return Ended(process.returncode, output, errors)


def publish(release: Path, prefix: str, endpoint: str, *more: str) -> Any:
    """Publish, which has to go well, and give the report."""
    return end(start(release, prefix, endpoint, "--json", *more)).json()


def verify(server: LocalBucket, prefix: str, *more: str, endpoint: str = "") -> Any:
    """Verify, with no findings, and give the report."""
    place, url = f"s3://{BUCKET}/{prefix}", endpoint or server.url
    return end(begin("verify", place, "--endpoint-url", url, "--jobs", str(JOBS), "-q", "--json", *more)).json()


def kill(process: "subprocess.Popen[str]", afterwards: Callable[[], None]) -> float:
    """Kill a publisher, look at what it left, see its workers end; give the moment of the kill."""
    workers = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    moment = time.monotonic()
    process.kill()
    process.communicate()
    afterwards()
    until = time.monotonic() + 20
    while any(is_alive(worker) for worker in workers):
        assert time.monotonic() < until, "workers outlive their publisher"
        time.sleep(0.01)
    return moment


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def moments(rng: random.Random, count: int, requests: int) -> list[int]:
    """Choose after how many requests publishers are killed: half of them late, where manifests and catalogs go."""
    early = [rng.randint(1, requests) for _ in range(count // 2)]
    return early + [rng.randint(requests - 25, requests) for _ in range(count - len(early))]


def killed(
    release: Path, shelf: Shelf, watch: Proxy, requests: int, rng: random.Random, *more: str, whole: bool
) -> float:
    """Kill a publisher after so many requests; readers see nothing wrong. Gives the moment of the kill."""
    process = start(release, shelf.prefix, watch.url, *more)
    watch.await_requests(requests, lambda: process.poll() is None)
    time.sleep(rng.uniform(0, 0.02))

    def look() -> None:
        assert not shelf.dangling()
        if whole:
            assert not shelf.faults()

    return kill(process, look)


def objects_written(requests: list[Seen]) -> list[Seen]:
    return [seen for seen in requests if seen.method == "PUT" and not seen.key.endswith(f"/{layout.LOCK}")]


def parted(requests: list[Seen], moment: float) -> tuple[list[Seen], list[Seen]]:
    """Part requests in those begun before a moment, whenever they were answered, and those begun after it."""
    before = [seen for seen in requests if seen.begun < moment]
    return before, [seen for seen in requests if seen.begun >= moment]


def check_nothing_twice(before: list[Seen], moment: float, after: list[Seen]) -> None:
    """Whether one publisher sent what the killed one had not, and at most what was under way once more."""
    there = {seen.key for seen in objects_written(before) if seen.status == 200 and seen.answered < moment}
    under_way = [seen for seen in objects_written(before) if seen.begun <= moment < seen.answered]
    sent = [seen.key for seen in objects_written(after)]
    assert len(sent) == len(set(sent))
    assert not there & set(sent)
    assert len(under_way) <= JOBS * THREADS
    assert len({seen.key for seen in objects_written(before)} & set(sent)) <= JOBS * THREADS


# --- kills ------------------------------------------------------------------------------------------------------------


def test_first_publish_killed(server: LocalBucket, release: Path) -> None:
    """Killed at any moment, it shows no broken release, and goes on where it was."""
    rng, wanted = random.Random(20), files_of(release)
    cut = 0
    for number, requests in enumerate(moments(rng, FIRST_KILLS, len(wanted) + 14)):
        shelf = Shelf(server, f"first_{number}/v1.0.0")
        with proxy(server.url, pace=PACE) as watch:
            moment = killed(release, shelf, watch, requests, rng, whole=True)
            resumed = time.monotonic()
            publish(release, shelf.prefix, watch.url, "--take-over")
            before, after = parted(watch.seen, resumed)
            check_nothing_twice(before, moment, after)
        assert shelf.files() == wanted, requests
        cut += 0 < len(objects_written(before)) < len(wanted)
    assert cut >= FIRST_KILLS / 3


def test_update_killed(server: LocalBucket, release: Path, update: Path) -> None:
    """Killed at any moment of an update in place, no link dangles, and either release can be brought to its end."""
    rng, shelf = random.Random(21), Shelf(server, "update/v1.0.0")
    contents = {path: files_of(path) for path in (release, update)}
    publish(release, shelf.prefix, server.url)
    with proxy(server.url) as watch:
        publish(update, shelf.prefix, watch.url, "--delete")
        count = watch.begun
    there, other = update, release
    assert shelf.files() == contents[there]
    forward = 0
    for number, requests in enumerate(moments(rng, UPDATE_KILLS, count)):
        with proxy(server.url, pace=PACE) as watch:
            moment = killed(other, shelf, watch, requests, rng, "--delete", whole=False)
            resumed = time.monotonic()
            goal = other if number % 2 else there
            publish(goal, shelf.prefix, watch.url, "--take-over", "--delete")
            if goal is other:
                before, after = parted(watch.seen, resumed)
                check_nothing_twice(before, moment, after)
                forward += 1
                there, other = other, there
        assert shelf.files() == contents[there], requests
    assert forward


# --- servers and networks ---------------------------------------------------------------------------------------------


def kill_server(server: LocalBucket, shelf: Shelf, objects: int) -> None:
    """Kill the server as soon as there are so many objects."""
    until = time.monotonic() + 60
    while len(shelf.hrefs()) < objects and time.monotonic() < until:
        time.sleep(0.01)
    server.kill()


def test_server_restarted(server: LocalBucket, release: Path) -> None:
    """A server that goes away and comes back is waited for, or missed in one line."""
    shelf, wanted = Shelf(server, "restart/v1.0.0"), files_of(release)
    with proxy(server.url, pace=0.05) as watch:
        process = start(release, shelf.prefix, watch.url)
        kill_server(server, shelf, 60)
        server.start()
        ended = end(process)
    if ended.code:
        ended.check_refused()
        publish(release, shelf.prefix, server.url, "--take-over")
    assert shelf.files() == wanted
    assert verify(server, shelf.prefix)["findings"] == []


def test_server_stays_away(server: LocalBucket, release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A publisher that gives up says so in one line, and goes on when the server is back."""
    monkeypatch.setattr(buckets, "_ATTEMPTS", 2)
    shelf, wanted = Shelf(server, "away/v1.0.0"), files_of(release)
    killer = threading.Thread(target=kill_server, args=(server, shelf, 40))
    with proxy(server.url, pace=0.05) as watch:
        killer.start()
        try:
            result = command("publish", release, f"s3://{BUCKET}/{shelf.prefix}", "--endpoint-url", watch.url)
        finally:
            killer.join()
            server.start()
    Ended(result.exit_code, result.stdout, result.stderr).check_refused()
    assert not shelf.dangling()
    assert not shelf.faults()
    report = publish(release, shelf.prefix, server.url, "--take-over")
    assert report["objects_unchanged"] >= 40 - 1
    assert shelf.files() == wanted


def test_outages(server: LocalBucket, release: Path) -> None:
    """A server that is away for some seconds, more than once, is waited for."""
    shelf = Shelf(server, "outages/v1.0.0")
    with proxy(server.url, pace=0.05) as watch:
        process = start(release, shelf.prefix, watch.url)
        watch.await_requests(40, lambda: process.poll() is None)
        for _ in range(2):
            watch.away = True
            time.sleep(5)
            watch.away = False
            time.sleep(0.3)
        ended = end(process)
    assert ended.code == 0, ended.errors
    assert shelf.files() == files_of(release)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_bad_network(server: LocalBucket, release: Path, update: Path, seed: int) -> None:
    """One request in twenty goes wrong, and everything is right in the end."""
    shelf = Shelf(server, f"network_{seed}/v1.0.0")
    with proxy(server.url, share=0.05, seed=seed) as watch:
        publish(release, shelf.prefix, watch.url)
        assert shelf.files() == files_of(release)
        publish(update, shelf.prefix, watch.url, "--delete")
        assert shelf.files() == files_of(update)
        assert verify(server, shelf.prefix, "--deep", endpoint=watch.url)["findings"] == []
        assert len({seen.fault for seen in watch.seen}) > 3


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "delay"])
def test_every_request_fails(server: LocalBucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """No kind of request is without its retries."""
    monkeypatch.setattr(buckets, "pause", lambda _: None)
    monkeypatch.setattr(standard.ExponentialBackoff, "delay_amount", lambda *_: 0)
    old = make_release(tmp_path / "old", 3, SIZES)
    new = shutil.copytree(old, tmp_path / "new")
    put_assets(max(new.glob(f"{COLLECTION}/*/*/*.json")), {"s1": bytes(500)})
    remove_item(min(new.glob(f"{COLLECTION}/*/*/*.json")))
    seal(new)
    name = f"always_{fault.replace(' ', '_')}"
    shelf, copy = Shelf(server, f"{name}/v1"), Shelf(server, f"{name}/v2")
    with proxy(server.url, always=fault) as watch:

        def run(*words: object) -> None:
            result = command(*words, "--endpoint-url", watch.url)
            assert result.exit_code == 0, result.stderr

        run("publish", old, f"s3://{BUCKET}/{shelf.prefix}")
        lock = {"publisher": "x", "since": "2021", "state": "at work"}
        server.client().put_object(Bucket=BUCKET, Key=f"{shelf.prefix}/{layout.LOCK}", Body=jsonio.dumps(lock))
        run("publish", new, f"s3://{BUCKET}/{shelf.prefix}", "--take-over", "--delete")
        run("publish", new, f"s3://{BUCKET}/{copy.prefix}", "--previous", f"s3://{BUCKET}/{shelf.prefix}")
        run("verify", f"s3://{BUCKET}/{copy.prefix}")
        run("verify", f"s3://{BUCKET}/{copy.prefix}", "--deep")
        assert any(seen.copied and not seen.fault for seen in watch.seen)
    assert shelf.files() == copy.files() == files_of(new)


def test_worker_killed(server: LocalBucket, release: Path) -> None:
    """A publisher that loses a worker says so in one line, and leaves all in order for the same command."""
    shelf = Shelf(server, "worker/v1.0.0")
    with proxy(server.url, pace=0.05) as watch:
        process = start(release, shelf.prefix, watch.url)
        watch.await_requests(40, lambda: process.poll() is None)
        psutil.Process(process.pid).children()[0].kill()
        end(process).check_refused()
        assert not shelf.dangling()
    publish(release, shelf.prefix, server.url)
    assert shelf.files() == files_of(release)


@pytest.mark.parametrize("size", [0, 10, 200_000])
def test_damaged_upload_refused(server: LocalBucket, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """The server takes no bytes but those of the SHA-256."""
    monkeypatch.setattr(buckets, "pause", lambda _: None)
    place = S3Location(bucket=BUCKET, prefix=f"damaged_{size}", endpoint_url=server.url)
    headers = Headers(media_type="image/tiff", cache_control="no-store")
    wanted = random.Random(22).randbytes(size + 1)
    sha256, damaged = manifest.sha256(wanted), wanted[:-1] + bytes([wanted[-1] ^ 1])
    shelf, bucket = Shelf(server, place.prefix), Bucket(place)
    direct = DirectPut(boto3.Session(), server.client(), BUCKET)
    assert direct.put(place.key("c.tif"), wanted, sha256, headers.plain(sha256))
    server.client().delete_object(Bucket=BUCKET, Key=place.key("c.tif"))
    for data in (damaged, wanted[:-1]):
        with pytest.raises(DamagedError):
            bucket.put("a/b.tif", data, sha256, headers)
        assert not direct.put(place.key("a/b.tif"), data, sha256, headers.plain(sha256))
        assert shelf.hrefs() == []
    # What a server refused once is left to boto3 from then on.
    assert not direct.put(place.key("a/b.tif"), wanted, sha256, headers.plain(sha256))
    bucket.put("a/b.tif", wanted, sha256, headers)
    with pytest.raises(DamagedError):
        bucket.put("a/b.tif", damaged, sha256, headers)
    assert shelf.files() == {"a/b.tif": wanted}


def test_two_publishers(server: LocalBucket, release: Path, update: Path) -> None:
    """Of two at the same time one goes through, and the other stops in one line."""
    shelf = Shelf(server, "two/v1.0.0")
    with proxy(server.url, pace=1.0) as watch:
        processes = {folder: start(folder, shelf.prefix, watch.url) for folder in (release, update)}
        until = time.monotonic() + PATIENCE
        while all(process.poll() is None for process in processes.values()) and time.monotonic() < until:
            time.sleep(0.01)
        watch.pace = 0
        ended = {folder: end(process) for folder, process in processes.items()}
    winner, loser = sorted(ended, key=lambda folder: ended[folder].code)
    assert ended[winner].code == 0, ended
    ended[loser].check_refused()
    assert "another publisher" in ended[loser].errors
    assert shelf.files() == files_of(winner)


# --- many and large ---------------------------------------------------------------------------------------------------


def test_many_small_objects(server: LocalBucket, tmp_path: Path) -> None:
    """20,000 objects go and are verified in little memory."""
    release = make_release(tmp_path / "release", 4_000, SMALL)
    prefix = "many/v1.0.0"
    place = ("--endpoint-url", server.url, "--jobs", str(JOBS), "-q", "--json")
    reports = []
    for words in ("publish", str(release)), ("verify",), ("publish", str(release)):
        process = begin(*words, f"s3://{BUCKET}/{prefix}", *place)
        with watched(process) as peak:  # type: ignore[arg-type]
            reports.append(end(process).json())
        assert 0 < peak() < MEMORY_LIMIT
    first, verified, again = reports
    assert first["objects_sent"] > 20_000
    assert verified["findings"] == []
    assert verified["objects"] == first["objects_sent"] - 1
    assert verified["compared_by_size_alone"] == 0
    assert (again["objects_sent"], again["objects_unchanged"]) == (0, first["objects_sent"])


def test_large_object(server: LocalBucket, tmp_path: Path) -> None:
    """An object of more than 64 MB goes in parts, which a killed publisher leaves to the next, and is known again."""
    release = make_release(tmp_path / "release", 2, SIZES)
    document = min(release.glob(f"{COLLECTION}/*/*/*.json"))
    put_assets(document, {"s1": random.Random(23).randbytes(70_000_000)})
    seal(release)
    path = document.with_name(layout.asset_file("s1"))
    prefix, href = "large/v1.0.0", path.relative_to(release).as_posix()
    with proxy(server.url, pace=0.3) as watch:
        process = start(release, prefix, watch.url)
        until = time.monotonic() + PATIENCE
        while not any("partNumber" in seen.query for seen in watch.seen) and time.monotonic() < until:
            time.sleep(0.01)
        kill(process, lambda: None)
    assert server.client().list_multipart_uploads(Bucket=BUCKET, Prefix=prefix)["Uploads"]
    publish(release, prefix, server.url, "--take-over")
    assert not server.client().list_multipart_uploads(Bucket=BUCKET, Prefix=prefix).get("Uploads")
    assert "-" in server.client().head_object(Bucket=BUCKET, Key=f"{prefix}/{href}")["ETag"]
    assert Shelf(server, prefix).files() == files_of(release)
    assert verify(server, prefix)["findings"] == []
    assert verify(server, prefix, "--deep")["findings"] == []
    assert publish(release, prefix, server.url)["objects_sent"] == 0
    server.client().delete_object(Bucket=BUCKET, Key=f"{prefix}/{layout.MANIFEST}")
    assert publish(release, prefix, server.url)["objects_sent"] == 1
