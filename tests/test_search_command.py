"""``catalog-builder search``: what it prints, what it brings, what it says of mistakes."""

import fcntl
import hashlib
import io
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pystac
import pytest
from click.testing import CliRunner, Result

from catalog_builder import download as downloads
from catalog_builder import layout
from catalog_builder.cli import main
from catalog_builder.download import Wanted, download
from catalog_builder.location import FolderLocation
from catalog_builder.progress import ObjectProgress
from tests.bench import Bench, tree
from tests.search_cases import make_items, write_release
from tests.test_search_remote import answering, served


def run(*words: object) -> Result:
    return CliRunner().invoke(main, ["search", *map(str, words)])


def said(result: Result) -> str:
    """What a mistake is told, in one line and without a traceback."""
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1, result.stderr
    return result.stderr


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_release(tmp_path_factory.mktemp("made"), make_items())


def test_table(made: Path) -> None:
    result = run(made, "--collection", "france", "--bbox", 0, 43, 2, 45, "--datetime", "2018")
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["id", "collection", "time", "valid", "%", "assets"]
    assert all(line.split()[1] == "france" for line in lines[1:])
    assert result.stderr == f"{len(lines) - 1} items\n"


def test_counts_are_of_all_items(made: Path) -> None:
    result = run(made, "--limit", 7)
    assert len(result.stdout.splitlines()) == 8
    assert result.stderr == "7 of 300 items\n"


def test_nothing_found_says_where_the_collections_lie(made: Path) -> None:
    result = run(made, "--bbox", -40, 0, -30, 10)
    assert result.exit_code == 0
    assert result.stdout == ""
    assert result.stderr.startswith("no item found; france lies within ")


def test_json(made: Path) -> None:
    found = json.loads(run(made, "--query", "dream:row>=11", "--sortby", "-id", "--limit", 5, "--json").stdout)
    names = [item["id"] for item in found["items"]]
    assert found["matched"] > len(names) == 5
    assert names == sorted(names, reverse=True)
    assert all(Path(item["href"]).is_file() for item in found["items"])


def test_geojson_is_read_by_pystac(made: Path) -> None:
    result = run(made, "--filter", '"dream:valid_percent" = 100', "--geojson")
    items = pystac.ItemCollection.from_dict(json.loads(result.stdout))
    assert len(items) == len([item for item in make_items() if item["properties"]["dream:valid_percent"] == 100])
    assert json.loads(run(made, "--id", "none", "--geojson").stdout) == {"type": "FeatureCollection", "features": []}


def test_hrefs(made: Path) -> None:
    lines = run(made, "--collection", "usa", "--hrefs", "srtm").stdout.splitlines()
    assert lines
    assert all(line.endswith("/srtm.tif") and line.startswith(str(made)) for line in lines)


def test_intersects_by_file_and_by_text(made: Path, tmp_path: Path) -> None:
    geometry = {"type": "Polygon", "coordinates": [[[0, 43], [2, 43], [2, 45], [0, 43]]]}
    (tmp_path / "area.geojson").write_text(json.dumps({"type": "Feature", "properties": {}, "geometry": geometry}))
    by_file = run(made, "--intersects", tmp_path / "area.geojson").stdout
    assert by_file
    assert run(made, "--intersects", json.dumps(geometry)).stdout == by_file


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--collection", "mars"), "there is no mars; there are france, usa"),
        (("--bbox", "0", "10", "5", "0"), "south"),
        (("--datetime", "20x"), "invalid datetime component: 20x"),
        (("--query", "gsd"), "no comparison such as gsd=10"),
        (("--query", "dream:area<>area_0", "--query", "dream:area<>area_1"), "asked twice"),
        (("--filter", ""), "neither CQL2 text nor JSON"),
        (("--download", ""), "name a folder"),
        (("--query", "dream:valid>9"), "the nearest is 'dream:valid_percent'"),
        (("--query", "gsd=ten"), "gsd is a number"),
        (("--filter", "gsd ="), "expected"),
        (("--filter", "gsd"), "gives no truth"),
        (("--intersects", "nothing.geojson"), "neither GeoJSON nor a file"),
        (("--intersects", "{}"), "not a GeoJSON geometry"),
        (("--hrefs", "s9"), "no item found has an asset 's9'; there are s1, s2, srtm"),
        (("--asset", "s1"), "--asset goes with --download"),
        (("--json", "--geojson"), "give one of them"),
        (("--sortby", "dream:colum"), "the nearest is 'dream:column'"),
    ],
)
def test_mistakes(made: Path, words: tuple[str, ...], says: str) -> None:
    assert says in said(run(made, *words))


def test_places_that_are_no_release(tmp_path: Path) -> None:
    assert "no such folder" in said(run(tmp_path / "nothing"))
    assert "no answer from 127.0.0.1:9" in said(run("http://127.0.0.1:9/"))


def test_missing_index_is_told(made: Path, tmp_path: Path) -> None:
    release = Path(shutil.copytree(made, tmp_path / "release"))
    (release / layout.index("usa")).unlink()
    result = run(release, "--limit", 1)
    assert "has no index (items/usa.parquet): reading all its items" in result.stderr
    assert result.stderr.endswith("1 of 300 items\n")


# --- downloads --------------------------------------------------------------------------------------------------------


def part_of(release: Path, *assets: str) -> dict[str, str]:
    """Hash the documents of items and some of their files."""
    wanted = [path for path in release.glob("*/*/*/*") if path.stem in assets or path.stem == path.parent.name]
    return {path.relative_to(release).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in wanted}


def hashes(folder: Path) -> dict[str, str]:
    return {href: sha256 for href, (sha256, _) in tree(folder).items()}


def test_download(bench: Bench, tmp_path: Path) -> None:
    target = tmp_path / "tiles"
    with served(bench.release) as url:
        result = run(url, "--download", target, "--asset", "s2", "--asset", "srtm")
        assert result.exit_code == 0, result.output
        assert hashes(target) == part_of(bench.release, "s2", "srtm")
        again = run(url, "--download", target, "--asset", "s2")
        assert "were there already" in again.stderr
        assert hashes(target) == part_of(bench.release, "s2", "srtm")


def test_download_goes_on_and_mends(bench: Bench, tmp_path: Path) -> None:
    target = tmp_path / "tiles"
    words = (bench.release, "--download", target, "--asset", "s2", "--asset", "srtm")
    assert run(*words).exit_code == 0
    wanted = part_of(bench.release, "s2", "srtm")
    half, other = sorted(target.rglob("s2.tif"))[0], sorted(target.rglob("srtm.tif"))[0]
    data = half.read_bytes()
    half.with_name("s2.tif.part").write_bytes(data[: len(data) // 2])
    half.unlink()
    other.write_bytes(other.read_bytes()[:-1] + b"x")
    result = run(*words)
    assert result.exit_code == 0, result.output
    assert hashes(target) == wanted


def test_download_of_damaged_bytes_is_refused(bench: Bench, tmp_path: Path) -> None:
    release, target = Path(shutil.copytree(bench.release, tmp_path / "release")), tmp_path / "tiles"
    path = sorted(release.rglob("s2.tif"))[0]
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    result = run(release, "--download", target, "--asset", "s2", "-q")
    assert "its bytes are not those that its item states" in said(result)
    assert not (target / path.relative_to(release)).exists()
    path.write_bytes(data[:-1])
    assert "bytes, its item says" in said(run(release, "--download", target, "--asset", "s2", "-q"))


def test_download_from_a_partial_mirror(bench: Bench, tmp_path: Path) -> None:
    """What a mirror does not hold is named; all else is brought."""
    release, target = Path(shutil.copytree(bench.release, tmp_path / "release")), tmp_path / "tiles"
    gone = sorted(release.rglob("s2.tif"))[0]
    gone.unlink()
    result = run(release, "--download", target, "--asset", "s2")
    assert result.exit_code == 1
    href = gone.relative_to(release).as_posix()
    assert f"{href}: the release at {release} does not hold it" in result.stderr
    wanted = part_of(bench.release, "s2")
    assert hashes(target) == {name: sha256 for name, sha256 in wanted.items() if name != href}


def test_download_mistakes(bench: Bench, tmp_path: Path) -> None:
    assert "no item found has an asset s9" in said(
        run(bench.release, "--download", tmp_path / "x", "--asset", "s9", "-q")
    )
    assert "is the release itself" in said(run(bench.release, "--download", bench.release, "-q"))
    (tmp_path / "file").write_text("")
    result = run(bench.release, "--download", tmp_path / "file" / "below", "-q")
    assert "cannot write" in said(result)


def test_download_into_the_release_is_refused(bench: Bench) -> None:
    before = tree(bench.release)
    assert "lies in it" in said(run(bench.release, "--download", bench.release / "tiles", "-q"))
    assert tree(bench.release) == before


def test_two_downloads_into_one_folder(bench: Bench, tmp_path: Path) -> None:
    """The one that comes second to a file says so, and harms nothing."""
    target = tmp_path / "tiles"
    name = next(bench.release.glob("*/*/*/s2.tif")).relative_to(bench.release)
    part = (target / name).with_name("s2.tif.part")
    part.parent.mkdir(parents=True)
    with part.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "another download is at work" in said(run(bench.release, "--download", target, "--asset", "s2", "-q"))
    assert run(bench.release, "--download", target, "--asset", "s2").exit_code == 0
    assert hashes(target) == part_of(bench.release, "s2")


def test_a_file_named_twice_is_brought_once(bench: Bench, tmp_path: Path) -> None:
    href = next(bench.release.glob("*/*/*/s2.tif")).relative_to(bench.release).as_posix()
    wanted = [Wanted(href=href)] * 3
    report = download(FolderLocation(path=bench.release), wanted, tmp_path / "x", ObjectProgress(io.StringIO()))
    assert (report.files, report.present) == (1, 0)


def test_download_from_a_server_without_ranges(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "_CHUNK", 100)
    with answering(200, b"", bench.release) as url:
        result = run(url, "--download", tmp_path / "tiles", "--asset", "s2")
    assert result.exit_code == 0, result.output
    assert hashes(tmp_path / "tiles") == part_of(bench.release, "s2")


def test_killed_download_goes_on(bench: Bench, tmp_path: Path) -> None:
    target = tmp_path / "tiles"
    command = [sys.executable, "-m", "catalog_builder.cli", "search", str(bench.release), "--download", str(target)]
    program = "import sys; from catalog_builder.cli import main; main(sys.argv[1:])"
    process = subprocess.Popen([sys.executable, "-c", program, *command[3:], "-q"])
    while process.poll() is None and not list(target.rglob("*.tif")):
        time.sleep(0.002)
    process.kill()
    process.wait()
    assert run(bench.release, "--download", target).exit_code == 0
    assert {name for name in hashes(target) if name.endswith(".part")} == set()
    everything = {href: sha256 for href, sha256 in hashes(bench.release).items() if href.count("/") == 3}
    assert hashes(target) == everything
