"""Mirrors of a published release, made with the tools that people have: aws, s5cmd, sha256sum, pystac.

Every command of docs/publishing.md and docs/downloading.md is run against a real S3 server.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import boto3
import pystac
import pytest
import rasterio
import urllib3
from botocore.config import Config
from click.testing import CliRunner

from catalog_builder import jsonio, layout, manifest
from catalog_builder.cli import main
from catalog_builder.transfer import headers_of
from tests.bench import Bench, alpes, content
from tests.small_demo import small_demo
from tools.local_bucket import ACCESS_KEY, HOST, SECRET_KEY, LocalBucket, free_ports
from tools.made_release import ASSETS, COLLECTION, make_release

DOCS = Path(__file__).resolve().parents[1] / "docs"
PUBLISHING, DOWNLOADING = "publishing.md", "downloading.md"
AREA, ITEM = "area_001", "area_001_x0003_y0000"
TICK = 1.1
"""Seconds: servers tell the time of an object in whole ones, by which tools see that it is newer."""


# --- the documents ----------------------------------------------------------------------------------------------------


def blocks(name: str, language: str) -> list[str]:
    found = re.findall(rf"^```{language}\n(.*?)^```$", (DOCS / name).read_text(encoding="utf-8"), flags=re.M | re.S)
    assert found
    return found


def commands(name: str) -> list[str]:
    """Every command of the ``sh`` blocks of a document; one that goes on is indented in its next lines."""
    return [command for block in blocks(name, "sh") for command in re.split(r"\n(?! )", block.strip())]


def table(name: str, heading: str) -> list[list[str]]:
    """Cells of the rows under a heading, without its head."""
    part = (DOCS / name).read_text(encoding="utf-8").split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| (.+) \|$", part, flags=re.M)
    return [row.split(" | ") for row in rows[1:]]


def test_commands_are_taken_apart() -> None:
    found = commands(PUBLISHING)
    assert found[0] == "catalog-builder publish release s3://dream/v1.0.0 --dry-run"
    assert all(
        re.match(r"(catalog-builder|aws|s5cmd|find|\(cd) ", command) for command in found + commands(DOWNLOADING)
    )
    (rule,) = [command for command in found if "lifecycle" in command]
    assert rule.endswith("]}'")


@pytest.mark.parametrize(
    ("command", "name"), [("publish", PUBLISHING), ("policy", PUBLISHING), ("verify", DOWNLOADING)]
)
def test_options_are_told(command: str, name: str) -> None:
    text = (DOCS / name).read_text(encoding="utf-8")
    everywhere = {"--json", "--quiet", "--jobs", "--endpoint-url"}
    options = {option for parameter in main.commands[command].params for option in parameter.opts if "--" in option}
    assert options > everywhere or command == "policy"
    assert [option for option in options - everywhere if option not in text] == []


def test_order_is_that_of_the_program() -> None:
    rows = table(PUBLISHING, "Order")
    steps = [(int(step), layout.rank(href.strip("`"))) for step, _, href in rows]
    assert steps == [(number, number) for number in range(9)]


def test_headers_are_those_of_the_program() -> None:
    (cogs, elsewhere, scripts, documents) = table(PUBLISHING, "Headers")
    told = [row[-1].strip("`") for row in (cogs, elsewhere, scripts, documents)]
    hrefs = [("c/a/i/s2.tif", True), ("c/a/i/thumbnail.png", False)]
    hrefs += [("explore/explorer-K6NR26IP.js", False), ("items/c.parquet", True)]
    assert told == [headers_of(href, versioned=versioned).cache_control for href, versioned in hrefs]
    for document in (layout.MANIFEST, layout.CATALOG, "c/a/i/i.json", "c/collection.json", layout.EXPLORER):
        assert headers_of(document, versioned=True).cache_control == told[-1]


# --- a place to try ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Shell:
    """Runs commands as a user would, in a folder, with a server of one's own."""

    folder: Path
    url: str
    bucket: str
    signed: bool = True

    def run(self, command: str) -> "subprocess.CompletedProcess[str]":
        """Run a command; ``dream`` and ``example.com`` of a document become the bucket and the server."""
        for there, here in (("https://example.com/", f"{self.url}/"), (r"(?<=[/ ])dream\b", self.bucket)):
            command = re.sub(there, here, command)
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=self.folder, env=self._environment(), capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    def __call__(self, command: str) -> list[str]:
        """Run a command that must go well, and give the lines it prints."""
        result = self.run(command)
        assert result.returncode == 0, f"{command}\n{result.stdout}{result.stderr}"
        return result.stdout.splitlines()

    def _environment(self) -> dict[str, str]:
        programs = str(Path(sys.executable).parent)
        own = {
            "AWS_ENDPOINT_URL_S3": self.url,
            "S3_ENDPOINT_URL": self.url,
            "PATH": os.pathsep.join([programs, os.environ["PATH"]]),
        }
        taken = () if self.signed else ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        return {name: value for name, value in {**os.environ, **own}.items() if name not in taken}

    def anonymous(self) -> "Shell":
        """Give a shell that has no credentials."""
        return replace(self, signed=False)

    def client(self) -> Any:
        return boto3.client(
            "s3", endpoint_url=self.url, region_name="us-east-1",
            aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY,
            config=Config(s3={"addressing_style": "path"}),
        )  # fmt: skip


def new_shell(folder: Path, url: str) -> Shell:
    shell = Shell(folder=folder, url=url, bucket=f"mirrors-{uuid.uuid4().hex[:8]}")
    shell.client().create_bucket(Bucket=shell.bucket)
    return shell


def remove(shell: Shell) -> None:
    shell.run("s5cmd rm 's3://dream/*'")  # an error where there is nothing
    shell("aws s3 rb s3://dream")


@pytest.fixture
def shell(bucket: LocalBucket, tmp_path: Path) -> Iterator[Shell]:
    """A bucket of one's own on SeaweedFS, for its policy is that of all its prefixes."""
    made = new_shell(tmp_path, bucket.url)
    yield made
    remove(made)


@pytest.fixture(scope="module")
def moto_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that lists in byte order."""
    port, log = free_ports(1)[0], tmp_path_factory.mktemp("moto") / "log"
    program = str(Path(sys.executable).with_name("moto_server"))
    with log.open("wb") as out:
        process = subprocess.Popen([program, "-H", HOST, "-p", str(port)], stdout=out, stderr=out)
    try:
        await_answer(f"http://{HOST}:{port}/moto-api/", process)
        yield f"http://{HOST}:{port}"
    finally:
        process.kill()
        process.wait()


def await_answer(url: str, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        try:
            urllib3.request("GET", url, retries=False)
        except urllib3.exceptions.HTTPError:
            time.sleep(0.1)
        else:
            return
    pytest.fail("moto_server does not answer")


@pytest.fixture(params=["seaweedfs", "moto"])
def either(request: pytest.FixtureRequest, bucket: LocalBucket, tmp_path: Path) -> Iterator[Shell]:
    """A bucket on each of two servers, which list in different orders."""
    made = new_shell(tmp_path, bucket.url if request.param == "seaweedfs" else request.getfixturevalue("moto_url"))
    yield made
    remove(made)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small real release of both collections."""
    return small_demo(tmp_path_factory.mktemp("mirrors"))


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A release of two areas that has no pixels."""
    return make_release(tmp_path / "release", 8, (2_000, 3_000), areas=2)


# --- changing a release -----------------------------------------------------------------------------------------------


def seal(release: Path) -> None:
    """Write all manifests anew, those of areas first."""
    paths = sorted(release.rglob(layout.MANIFEST), key=lambda path: -len(path.parts))
    for path in paths:
        listed = manifest.loads(path.read_bytes())
        path.write_bytes(manifest.dumps({name: manifest.hash_file(path.parent / name)[1] for name in listed}))


def edit(path: Path, **values: Any) -> None:
    path.write_bytes(jsonio.dumps({**jsonio.loads(path.read_bytes()), **values}))


def change_tile(release: Path) -> set[str]:
    """Give one tile other pixels of the same size, as a build would leave it, and name the files that changed."""
    cog = release / layout.asset(COLLECTION, AREA, ITEM, "s2.tif")
    cog.write_bytes(bytes(255 - value for value in cog.read_bytes()))
    document = release / layout.item(COLLECTION, AREA, ITEM)
    assets = jsonio.loads(document.read_bytes())["assets"]
    assets["s2"]["file:checksum"] = "1220" + manifest.hash_file(cog)[1]
    edit(document, assets=assets)
    index = release / layout.index(COLLECTION)
    index.write_bytes(index.read_bytes()[::-1])
    seal(release)
    return {
        "france/area_001/area_001_x0003_y0000/s2.tif",
        "france/area_001/area_001_x0003_y0000/area_001_x0003_y0000.json",
        "france/area_001/manifest.sha256",
        "items/france.parquet",
        "manifest.sha256",
    }


def raise_version(release: Path, folder: Path, version: str) -> Path:
    """Copy a release as its next version."""
    shutil.copytree(release, folder)
    for path in folder.glob(f"*/{layout.COLLECTION}"):
        edit(path, version=version)
    seal(folder)
    return folder


# --- every command ----------------------------------------------------------------------------------------------------


def test_a_command_that_fails_is_told(tmp_path: Path) -> None:
    shell = Shell(folder=tmp_path, url="http://127.0.0.1:1", bucket="mirrors")
    said = shell("echo s3://dream/v1 --bucket dream \"$(echo 's3://dream')\" https://example.com/dream/x daydream")
    assert said == ["s3://mirrors/v1 --bucket mirrors s3://mirrors http://127.0.0.1:1/mirrors/x daydream"]
    for command in ("false | true", "echo $no_such_variable", "catalog-builder publish nothing s3://dream --quiet"):
        with pytest.raises(AssertionError):
            shell(command)


@pytest.mark.slow
def test_every_command_of_publishing_runs(shell: Shell, demo: Path) -> None:
    release = shutil.copytree(demo, shell.folder / "release")
    newer = raise_version(demo, shell.folder / "release-1.1.0", "1.1.0")
    said = {command: shell(command) for command in commands(PUBLISHING)}
    assert len(said) > 15
    for prefix, folder in (("v1.0.0", release), ("v1.1.0", newer), ("latest", newer)):
        shell(f"aws s3 cp --recursive --only-show-errors s3://dream/{prefix} copy/{prefix}")
        assert content(shell.folder / "copy" / prefix) == content(folder)
    (copied,) = [lines for command, lines in said.items() if command.endswith("--previous s3://dream/v1.0.0")]
    # What differs between the versions is sent: two collections and the root's manifest.
    assert re.search(r": 3 objects sent, .*; (\d+) copied", copied[-1])
    (head,) = [lines for command, lines in said.items() if "head-object" in command]
    document = json.loads("".join(head))
    assert document["CacheControl"] == "public, max-age=60"
    assert document["Metadata"]["sha256"] == manifest.hash_file(release / layout.CATALOG)[1]
    assert any("catalog.json" in line for lines in said.values() for line in lines)


@pytest.mark.slow
def test_every_command_of_downloading_runs(
    shell: Shell, demo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    release = shutil.copytree(demo, shell.folder / "release")
    shell("catalog-builder publish release s3://dream/v1.0.0")
    shell('aws s3api put-bucket-policy --bucket dream --policy "$(catalog-builder policy s3://dream/v1.0.0)"')
    public, whole = shell.anonymous(), content(release)
    found = commands(DOWNLOADING)
    assert len(found) > 15
    for number, command in enumerate(found):
        public(command)
        if number == 0:
            assert content(shell.folder / "mirror") == whole
            shutil.rmtree(shell.folder / "mirror")  # the next tool has to do it, too
    assert content(shell.folder / "mirror") == whole
    listed = {"mirror-france": (), "mirror-ventoux": (), "mirror-s2": ()} | {
        name: sorted(content(shell.folder / name)) for name in ("mirror-france", "mirror-ventoux", "mirror-s2")
    }
    above = ["catalog.json", "france/collection.json"]
    assert listed["mirror-france"] == sorted(
        href for href in whole if href.startswith("france/") or href in ("catalog.json", "items/france.parquet")
    )
    assert listed["mirror-ventoux"] == sorted(h for h in whole if h.startswith("france/ventoux/") or h in above)
    assert listed["mirror-s2"] == sorted(h for h in whole if h.endswith((".json", ".sha256", "/s2.tif")))
    monkeypatch.chdir(shell.folder)
    for snippet in blocks(DOWNLOADING, "python"):
        exec(compile(snippet, DOWNLOADING, "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(list(release.glob("*/*/*/*_x*.json")))
    assert {line.split(" ", 1)[1] for line in lines} == {"['s2']"}
    area: Any = pystac.Catalog.from_file("mirror-ventoux/catalog.json")
    for child in ("france", "ventoux"):
        area = next(link for link in area.get_child_links() if f"/{child}/" in link.href).resolve_stac_object().target
    assert [item.id.rpartition("_x")[0] for item in area.get_items(recursive=True)] == ["ventoux"]


@pytest.mark.slow
def test_damage_to_a_mirror_is_found_by_the_commands_of_the_document(shell: Shell, demo: Path) -> None:
    shutil.copytree(demo, shell.folder / "mirror")
    checks = [c for c in commands(DOWNLOADING) if "sha256sum" in c and "mirror-s2" not in c]
    checks.append("catalog-builder verify mirror --deep")
    assert [command for command in checks if shell.run(command).returncode] == []
    (cog,) = (shell.folder / "mirror" / "france" / "ventoux").glob("*/s2.tif")
    data = bytearray(cog.read_bytes())
    data[len(data) // 2] ^= 1
    cog.write_bytes(data)
    assert [command for command in checks if not shell.run(command).returncode] == []


# --- one modality -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_mirror_of_one_modality_reads_with_pystac(shell: Shell, demo: Path) -> None:
    shutil.copytree(demo, shell.folder / "release")
    shell("catalog-builder publish release s3://dream/v1.0.0")
    shell("aws s3 sync s3://dream/v1.0.0 mirror --exclude '*' --include '*.json' --include '*/srtm.tif'")
    root = pystac.Catalog.from_file(str(shell.folder / "mirror" / "catalog.json"))
    items = list(root.get_items(recursive=True))
    assert len(items) == len(list(demo.glob("*/*/*/*_x*.json")))
    for item in items:
        assert {"s2", "srtm", "thumbnail"} <= item.assets.keys()
        there = {key for key, asset in item.assets.items() if Path(str(asset.get_absolute_href())).is_file()}
        assert there == {"srtm"}
        with rasterio.open(str(item.assets["srtm"].get_absolute_href())) as dataset:
            assert list(dataset.shape) == item.assets["srtm"].to_dict()["proj:shape"]
            assert dataset.read(1).any()


# --- what moves -------------------------------------------------------------------------------------------------------


def moved(lines: list[str]) -> set[str]:
    """Name what aws or s5cmd fetched, or sent, or deleted, by the file here."""
    paths = [re.fullmatch(r"(?:download: \S+ to|cp \S+|delete:|rm) (?:mirror/)?(\S+)\s*", line) for line in lines]
    assert all(paths), lines
    return {path[1] for path in paths if path}


SYNCS = {
    "aws": "aws s3 sync --no-progress --exact-timestamps s3://dream/v1.0.0 mirror",
    "s5cmd": "s5cmd sync 's3://dream/v1.0.0/*' mirror",
}


@pytest.mark.slow
@pytest.mark.parametrize("tool", SYNCS)
def test_a_mirror_fetches_what_changed_and_nothing_else(shell: Shell, made: Path, tool: str) -> None:
    sync, publish = SYNCS[tool], "catalog-builder publish release s3://dream/v1.0.0 --json"
    shell(publish)
    assert moved(shell(sync)) == content(made).keys()
    assert shell(sync) == []
    report = json.loads("".join(shell(publish)))
    assert (report["objects_sent"], report["objects_unchanged"]) == (0, len(content(made)))
    assert shell(sync) == []
    before = content(made)
    time.sleep(TICK)
    changed = change_tile(made)
    assert {href for href, sha256 in content(made).items() if before[href] != sha256} == changed
    assert json.loads("".join(shell(publish)))["objects_sent"] == len(changed)
    assert moved(shell(sync)) == changed
    assert content(shell.folder / "mirror") == content(made)
    shell("catalog-builder verify mirror --deep")
    shell("find mirror -name manifest.sha256 -execdir sha256sum -c --quiet {} +")
    assert shell(sync) == []


@pytest.mark.slow
def test_aws_without_exact_timestamps_keeps_old_files(shell: Shell, made: Path) -> None:
    """Why docs/downloading.md has the option in every command; were this to end, it could go."""
    assert all(
        "--exact-timestamps" in command for command in commands(DOWNLOADING) if command.startswith("aws s3 sync")
    )
    shell("catalog-builder publish release s3://dream/v1.0.0")
    careless = SYNCS["aws"].replace("--exact-timestamps ", "")
    assert moved(shell(careless)) == content(made).keys()
    time.sleep(TICK)
    changed = change_tile(made)
    shell("catalog-builder publish release s3://dream/v1.0.0")
    missed = changed - moved(shell(careless))
    assert missed >= {"manifest.sha256", "france/area_001/manifest.sha256"}
    assert moved(shell(SYNCS["aws"])) == missed


@pytest.mark.slow
def test_what_leaves_a_release_leaves_bucket_and_mirror(shell: Shell, made: Path) -> None:
    shell("catalog-builder publish release s3://dream/v1.0.0")
    shell(SYNCS["aws"])
    gone = {href for href in content(made) if href.startswith("france/area_000/")}
    shutil.rmtree(made / "france" / "area_000")
    collection = jsonio.loads((made / layout.collection(COLLECTION)).read_bytes())
    links = [link for link in collection["links"] if "area_000" not in link["href"]]
    edit(made / layout.collection(COLLECTION), links=links)
    root = manifest.loads((made / layout.MANIFEST).read_bytes())
    del root["france/area_000/manifest.sha256"]
    (made / layout.MANIFEST).write_bytes(manifest.dumps(root))
    seal(made)
    time.sleep(TICK)
    shell("catalog-builder publish release s3://dream/v1.0.0 --delete")
    assert moved(shell(f"{SYNCS['aws']} --delete")) == gone | {"france/collection.json", "manifest.sha256"}
    assert content(shell.folder / "mirror") == content(made)
    shell("catalog-builder verify mirror --deep")


@pytest.mark.slow
@pytest.mark.usefixtures("made")
def test_what_got_lost_from_a_bucket_comes_back(shell: Shell) -> None:
    """As docs/publishing.md says."""
    shell("catalog-builder publish release s3://dream/v1.0.0")
    lost = layout.asset(COLLECTION, AREA, ITEM, f"{ASSETS[0]}.tif")
    shell(f"aws s3 rm --only-show-errors s3://dream/v1.0.0/{lost}")
    damaged = shell.run("catalog-builder verify s3://dream/v1.0.0")
    assert damaged.returncode == 1
    assert lost in damaged.stdout
    repair = "catalog-builder publish release s3://dream/v1.0.0 --repair"
    assert ": 1 objects sent" in shell(repair)[0]
    shell("catalog-builder verify s3://dream/v1.0.0 --deep")
    (shell.folder / "damaged").write_bytes(bytes((shell.folder / "release" / lost).stat().st_size))
    shell(f"aws s3 cp --only-show-errors damaged s3://dream/v1.0.0/{lost}")
    assert shell.run("catalog-builder verify s3://dream/v1.0.0 --deep").stdout.startswith(lost)
    assert ": 1 objects sent" in shell(repair)[0]
    shell("catalog-builder verify s3://dream/v1.0.0 --deep")
    assert "nothing to do" in shell(repair)[0]


# --- sync --delete ----------------------------------------------------------------------------------------------------

NEIGHBOURS = ("B", "a", "a0", "aB", "a_1", "b-1", "b-1_2", "b-2", "b_", "bb", "c1", "c10", "c2", "z_x0000_y0000")
"""Names of areas that only just may stand side by side."""


def awkward(folder: Path) -> Path:
    """Write a tree with every kind of name that a release may have."""
    assert layout.sibling_problem(NEIGHBOURS) is None
    assert [name for name in NEIGHBOURS if layout.id_problem(name)] == []
    for one in NEIGHBOURS:
        hrefs = [layout.index(one), layout.collection(one), layout.collection_thumbnail(one)]
        for two in NEIGHBOURS:
            item = layout.item_id(two, -3, 478)
            hrefs += [layout.area_catalog(one, two), layout.area_manifest(one, two), layout.row_catalog(one, two, 478)]
            hrefs += [layout.item(one, two, item), layout.asset(one, two, item, "s2.tif")]
        for href in (layout.CATALOG, layout.MANIFEST, *hrefs):
            (folder / href).parent.mkdir(parents=True, exist_ok=True)
            (folder / href).write_text(href)
            os.utime(folder / href, (0, 0))  # what is newer than the bucket's would be sent again
    return folder


@pytest.mark.slow
def test_sync_with_delete_never_removes_a_good_object(either: Shell) -> None:
    """Down to a mirror and up to a bucket, on servers that list in different orders."""
    shell, tree = either, content(awkward(either.folder / "release"))
    assert len(tree) > 1000  # more than one page of a listing
    shell("s5cmd cp release/ s3://dream/v1.0.0/")
    down, up = (
        "aws s3 sync --no-progress --exact-timestamps --delete " + way
        for way in ("s3://dream/v1.0.0 mirror", "release s3://dream/v1.0.0")
    )
    assert len(shell(down)) == len(tree)
    assert content(shell.folder / "mirror") == tree
    assert shell(down) == []
    assert shell(up) == []
    shell("aws s3 rm --only-show-errors s3://dream/v1.0.0/a/a_1/catalog.json")
    (shell.folder / "mirror" / "a" / "stray.json").write_text("stray")
    assert shell(down) == sorted(["delete: mirror/a/a_1/catalog.json", "delete: mirror/a/stray.json"])
    assert (
        content(shell.folder / "mirror").items() == {k: v for k, v in tree.items() if k != "a/a_1/catalog.json"}.items()
    )


@pytest.mark.slow
def test_sync_with_delete_of_a_published_release(either: Shell, made: Path) -> None:
    shell = either
    shell("catalog-builder publish release s3://dream/v1.0.0")
    sync = f"{SYNCS['aws']} --delete"
    assert moved(shell(sync)) == content(made).keys()
    assert shell(sync) == []
    assert shell("aws s3 sync --no-progress --delete mirror s3://dream/v1.0.0") == []
    shell("catalog-builder verify s3://dream/v1.0.0")
    assert content(shell.folder / "mirror") == content(made)


@pytest.mark.slow
@pytest.mark.parametrize("names", [("toulouse", "toulouse-2"), ("v1.0.0", "v1.0.0-rc1")])
def test_names_that_a_release_may_not_have_do_lose_objects(shell: Shell, names: tuple[str, str]) -> None:
    """Why `check` has its rule: were this to end, the rule could go, and the tests above would show nothing."""
    assert layout.sibling_problem(names) == names
    for name in names:
        for number in range(3):
            (shell.folder / "bad" / name).mkdir(parents=True, exist_ok=True)
            (shell.folder / "bad" / name / f"{number}.json").write_text(name)
    shell("aws s3 sync --only-show-errors bad s3://dream/bad")
    assert any(line.startswith("delete: ") for line in shell("aws s3 sync --no-progress --delete bad s3://dream/bad"))


# --- a public bucket --------------------------------------------------------------------------------------------------


def ask(
    shell: Shell, method: str, key: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
) -> Any:
    return urllib3.request(
        method, f"{shell.url}/{shell.bucket}{key}", headers=dict(headers or {}), body=body, retries=False, timeout=20
    )


@pytest.mark.slow
def test_the_public_may_read_and_list_one_version_and_nothing_else(shell: Shell, made: Path) -> None:
    for prefix in ("v1.0.0", "v1.0.0_rc1", "private"):
        shell(f"catalog-builder publish release s3://dream/{prefix}")
    root, lists = f"/v1.0.0/{layout.CATALOG}", "/?list-type=2&prefix="
    assert [ask(shell, "GET", key).status for key in (root, f"{lists}v1.0.0/")] == [403, 403]
    shell('aws s3api put-bucket-policy --bucket dream --policy "$(catalog-builder policy s3://dream/v1.0.0)"')
    await_policy(shell, root)
    assert ask(shell, "GET", root).data == (made / layout.CATALOG).read_bytes()
    part = ask(shell, "GET", root, {"Range": "bytes=3-8"})
    assert (part.status, part.data) == (206, (made / layout.CATALOG).read_bytes()[3:9])
    listing = ask(shell, "GET", f"{lists}v1.0.0/")
    assert listing.status == 200
    assert listing.data.count(b"<Contents>") == len(content(made))
    for key in ("/private/catalog.json", "/v1.0.0_rc1/catalog.json", f"{lists}private/", f"{lists}", "/?list-type=2"):
        assert ask(shell, "GET", key).status == 403, key
    assert ask(shell, "PUT", root, body=b"{}").status == 403
    assert ask(shell, "PUT", "/v1.0.0/new.json", body=b"{}").status == 403
    assert ask(shell, "POST", "/v1.0.0/new.json?uploads").status == 403
    assert ask(shell, "DELETE", root).status == 403
    assert ask(shell, "GET", root).data == (made / layout.CATALOG).read_bytes()
    public = shell.anonymous()
    for command in ("aws s3 cp release/catalog.json s3://dream/v1.0.0/new.json", f"aws s3 rm s3://dream{root}"):
        assert "AccessDenied" in public.run(f"{command} --no-sign-request").stderr
    public("catalog-builder verify s3://dream/v1.0.0")


def await_policy(shell: Shell, key: str) -> None:
    """Servers may take a moment to heed a policy."""
    until = time.monotonic() + 10
    while ask(shell, "GET", key).status != 200 and time.monotonic() < until:
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.usefixtures("made")
def test_browsers_of_other_sites_may_read(shell: Shell) -> None:
    shell("catalog-builder publish release s3://dream/v1.0.0")
    wish = {
        "Origin": "https://browser.example.com",
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "range",
    }
    root = f"/v1.0.0/{layout.CATALOG}"
    allowed = "Access-Control-Allow-Origin"
    # This server answers everybody by default, and allows more than reading.
    assert "PUT" in ask(shell, "OPTIONS", root, wish).headers.get("Access-Control-Allow-Methods", "")
    shell('aws s3api put-bucket-cors --bucket dream --cors-configuration "$(catalog-builder policy s3://dream --cors)"')
    shell('aws s3api put-bucket-policy --bucket dream --policy "$(catalog-builder policy s3://dream)"')
    await_policy(shell, root)
    answer = ask(shell, "OPTIONS", root, wish)
    assert answer.status == 200
    assert answer.headers[allowed] in ("*", wish["Origin"])
    assert "GET" in answer.headers["Access-Control-Allow-Methods"]
    assert "range" in answer.headers["Access-Control-Allow-Headers"].lower()
    read = ask(shell, "GET", root, {"Origin": wish["Origin"], "Range": "bytes=0-0"})
    assert (read.status, len(read.data)) == (206, 1)
    assert "Content-Range" in read.headers["Access-Control-Expose-Headers"]
    for method in ("PUT", "DELETE"):
        refused = ask(shell, "OPTIONS", root, {**wish, "Access-Control-Request-Method": method})
        assert method not in refused.headers.get("Access-Control-Allow-Methods", "")


# --- links between versions -------------------------------------------------------------------------------------------


def build_with_links(bench: Bench, links: list[dict[str, str]]) -> Path:
    """Build with more links in the template of France."""
    templates = shutil.copytree(bench.templates, bench.folder / "my-stac")
    path = templates / "france" / "collection.json"
    edit(path, links=[*json.loads(path.read_text())["links"], *links])
    release = bench.folder / "linked"
    result = bench.build(bench.write(alpes()), release, templates=templates)
    assert result.exit_code == 0, result.output
    return release


def check(release: Path, schemas: Path) -> set[str]:
    """Give the rules that are broken."""
    options = ["--schemas", str(schemas), "--json", "--jobs", "1", "--quiet"]
    return {
        finding["rule"] for finding in json.loads(CliRunner().invoke(main, ["check", str(release), *options]).stdout)
    }


@pytest.mark.slow
def test_links_between_versions_are_carried_accepted_and_published(
    bench: Bench, schemas_dir: Path, shell: Shell
) -> None:
    (block,) = blocks(PUBLISHING, "json")
    links = json.loads(block)
    release = build_with_links(bench, links)
    collection = json.loads((release / "france" / "collection.json").read_text())
    assert [link for link in collection["links"] if link["rel"].endswith("-version")] == links
    assert check(release, schemas_dir) == set()
    release.rename(shell.folder / "release")
    shell("catalog-builder publish release s3://dream/v1.1.0")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("link", "rule"),
    [
        ({"href": "../../v1.0.0/france/collection.json", "title": "The version before"}, "link-leaves"),
        ({"href": "https://example.com/v1.0.0/france/collection.json"}, "link-title"),
    ],
)
def test_other_links_between_versions_are_refused(
    bench: Bench, schemas_dir: Path, shell: Shell, link: dict[str, str], rule: str
) -> None:
    release = build_with_links(bench, [{"rel": "predecessor-version", **link}])
    assert check(release, schemas_dir) == {rule}
    release.rename(shell.folder / "release")
    refused = shell.run("catalog-builder publish release s3://dream/v1.1.0")
    assert refused.returncode == (1 if rule == "link-leaves" else 0), refused.stderr
