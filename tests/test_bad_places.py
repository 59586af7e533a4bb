"""The command line on files and folders that cannot be used, on a full disk, and where nothing may be written."""

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from catalog_builder import layout
from catalog_builder.cli import main
from tests.bad_rasters import BAD, no_geotransform, nodata_only, sparse_giant, truncated
from tests.bench import GOOD, S2, Bench, alpes, assert_refused, assert_vouched, content, href, tree
from tests.builds import CLI
from tests.makers import TILE, area, source, texture, write_geotiff

# --- files and folders of the command line --------------------------------------------------------------------------


def test_a_missing_sources_file_is_refused(bench: Bench) -> None:
    bench.refuses(bench.folder / "gone.toml", ["gone.toml: cannot read: No such file"], code=2)


def test_a_sources_file_with_a_name_too_long_is_refused(bench: Bench) -> None:
    bench.refuses(bench.folder / ("x" * 300), ["xxx", "File name too long"], code=1)


def test_a_folder_without_toml_is_refused(bench: Bench) -> None:
    (bench.folder / "texts").mkdir()
    (bench.folder / "texts" / "sources.txt").write_text("")
    bench.refuses(bench.folder / "texts", ["texts: no *.toml file"], code=2)


def test_a_folder_named_toml_is_refused(bench: Bench) -> None:
    (bench.folder / "texts" / "more.toml").mkdir(parents=True)
    bench.refuses(bench.folder / "texts", ["more.toml: cannot read: Is a directory"], code=2)


def test_an_area_in_two_files_of_a_folder_is_refused(bench: Bench) -> None:
    (bench.folder / "texts").mkdir()
    for name in ("one.toml", "two.toml"):
        bench.write(alpes(), f"texts/{name}")
    says = ["two.toml: area 'france/alpes' stands also in", "one.toml"]
    bench.refuses(bench.folder / "texts", says, code=2)


def test_the_file_of_a_folder_that_is_at_fault_is_named(bench: Bench) -> None:
    (bench.folder / "texts").mkdir()
    bench.write(alpes(), "texts/one.toml")
    bench.write("[[area]", "texts/two.toml")
    bench.refuses(bench.folder / "texts", ["two.toml: not TOML"], code=2)


def test_a_name_with_a_line_break_makes_one_line(bench: Bench) -> None:
    """A glob may find what nobody would write."""
    (bench.folder / "two\nlines.tif").write_text("no raster")
    bench.refuses(bench.write(href("*.tif")), ["two lines.tif: neither"], code=1)


def test_jobs_and_scheduler_exclude_each_other(bench: Bench) -> None:
    options = ["--scheduler", "tcp://127.0.0.1:8786"]
    bench.refuses(bench.write(alpes()), ["--jobs and --scheduler exclude each other"], code=2, options=options)


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("nonsense", "missing port"),
        ("ftp://127.0.0.1:1", "unknown address scheme 'ftp'"),
        pytest.param("tcp://127.0.0.1:1", "no Dask scheduler answers there", marks=pytest.mark.slow),
    ],
)
def test_a_scheduler_that_is_none_is_refused(bench: Bench, address: str, says: str) -> None:
    pytest.importorskip("distributed")
    arguments = ["--scheduler", address, "--templates", str(bench.templates), "--quiet"]
    before = tree(bench.release)
    result = CliRunner().invoke(main, ["build", str(bench.write(alpes())), str(bench.release), *arguments])
    assert_refused(result, [address, says], 2)
    assert tree(bench.release) == before


def a_file(folder: Path) -> Path:
    (folder / "target").write_text("precious")
    return folder / "target"


def below_a_file(folder: Path) -> Path:
    return a_file(folder) / "release"


def a_folder_of_something(folder: Path) -> Path:
    (folder / "target").mkdir()
    (folder / "target" / "thesis.tex").write_text("precious")
    return folder / "target"


def a_git_repository(folder: Path) -> Path:
    (folder / "target" / ".git").mkdir(parents=True)
    (folder / "target" / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    return folder / "target"


def a_catalog_of_others(folder: Path) -> Path:
    (folder / "target").mkdir()
    (folder / "target" / "catalog.json").write_text('{"type": "Catalog"}')
    return folder / "target"


def a_project_with_a_build_folder(folder: Path) -> Path:
    """Swift, too, calls its folder of intermediate files ``.build``."""
    (folder / "target" / ".build" / "debug").mkdir(parents=True)
    (folder / "target" / ".build" / "debug" / "main.o").write_text("precious")
    (folder / "target" / "main.swift").write_text("precious")
    return folder / "target"


def of_the_kernel(_: Path) -> Path:
    return Path("/proc/release")


def a_link_to_nowhere(folder: Path) -> Path:
    (folder / "target").symlink_to(folder / "gone")
    return folder / "target"


# fmt: off
TARGETS: dict[str, tuple[Callable[[Path], Path], int, Sequence[str]]] = {
    "a file": (a_file, 2, ["target: not a folder"]),
    "below a file": (below_a_file, 1, ["target/release: cannot make or open this folder: Not a directory"]),
    "a folder of something": (a_folder_of_something, 2, ["target: holds something that is no release (thesis.tex)"]),
    "a git repository": (a_git_repository, 2, ["target: holds something that is no release (.git)"]),
    "a catalog of others": (a_catalog_of_others, 2, ["target: holds something that is no release (catalog.json)"]),
    "a project with .build": (a_project_with_a_build_folder, 2, ["target: holds something that is no release"]),
    "a link to nowhere": (a_link_to_nowhere, 1, ["target: cannot make or open this folder"]),
    "a folder of the kernel": (of_the_kernel, 1, ["/proc/release: cannot make or open"]),
    "a name too long": (lambda folder: folder / ("x" * 300), 2, ["xxx: cannot read this folder: File name too long"]),
}
# fmt: on


@pytest.mark.parametrize("name", TARGETS)
def test_a_bad_target_is_refused(bench: Bench, name: str) -> None:
    make, code, says = TARGETS[name]
    sources = bench.write(alpes())
    folder = bench.folder / "somewhere"
    folder.mkdir()
    target = make(folder)
    before = everything(folder)
    assert_refused(bench.build(sources, target), says, code)
    assert everything(folder) == before


def everything(folder: Path) -> list[tuple[str, bytes, int]]:
    """Give every file and folder below a folder, hidden ones too."""
    paths = sorted(folder.rglob("*"))
    return [(str(path), path.read_bytes() if path.is_file() else b"", path.lstat().st_mtime_ns) for path in paths]


def test_a_release_in_work_is_refused(bench: Bench) -> None:
    """The release is locked by another build."""
    import fcntl

    handle = os.open(bench.release, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        before = tree(bench.release)
        result = bench.build(bench.write(alpes(keys=["srtm"])), bench.release)
        assert_refused(result, [str(bench.release), "another build is at work"], 1)
        assert tree(bench.release) == before
    finally:
        os.close(handle)


# --- no room, no right ----------------------------------------------------------------------------------------------


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file of this process grow past a size: what a full disk looks like to who writes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def flat_sources(bench: Bench) -> Path:
    """Sources whose COGs are small, smaller than the index."""
    flat = write_geotiff(bench.folder / "s2.tif", np.full((4, TILE, TILE), 7, "uint16"), nodata=0)
    return bench.write(area("alpes", source("s2", str(flat)), required=["s2"]))


@pytest.mark.parametrize(("stopped_at", "size"), [("s2.tif", 500), ("items", 8_000)])
def test_a_full_disk_leaves_the_release_as_it_was(bench: Bench, stopped_at: str, size: int) -> None:
    """Stopped at its first COG or at the index, the build goes on when there is room."""
    sources, release = flat_sources(bench), bench.folder / "release"
    shutil.copytree(bench.release, release)
    before = tree(release)
    with largest_file(size):
        new = bench.folder / "new"
        says = ["cannot write: ", "File too large", "run the same command"]
        assert_refused(bench.build(sources, new), says, 1)
        assert not tree(new)
        assert_refused(bench.build(sources, release), says, 1)
    assert tree(release) == before
    staged = {path.name for path in (release / layout.WORK_FOLDER).rglob("*") if path.is_file()}
    assert ("s2.tif" in staged) == (stopped_at == "items")
    for folder in (new, release):
        assert bench.build(sources, folder).exit_code == 0
        assert_vouched(folder)
    assert bench.build(sources, bench.folder / "other").exit_code == 0
    assert content(new) == content(release) == content(bench.folder / "other")


def in_a_namespace(script: str, *arguments: str | Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a shell script that may mount, where nobody else sees it."""
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-ec", script, "sh", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, check=False)


@pytest.fixture
def _mounts() -> None:
    """Skip where this machine lets nobody mount."""
    try:
        allowed = in_a_namespace('mount -t tmpfs -o size=1m none "$1"', "/mnt").returncode == 0
    except FileNotFoundError:
        allowed = False
    if not allowed:
        pytest.skip("this machine lets nobody make a mount namespace")


BUILD = '"$0" -m catalog_builder.cli build "$SOURCES" "$TARGET" --jobs 1 --templates "$TEMPLATES" --quiet'
PYTHON = BUILD.replace("$0", sys.executable)


@pytest.mark.slow
@pytest.mark.usefixtures("_mounts")
def test_a_read_only_target_is_refused(bench: Bench) -> None:
    """In a process of its own, so that what Python and GDAL say of themselves is heard too."""
    script = f'mount --bind "$1" "$1"; mount -o remount,bind,ro "$1"; exec {PYTHON}'
    sources = bench.write(alpes(keys=["srtm"]))
    before = tree(bench.release)
    for target, says in ((bench.release, "cannot write"), (bench.release.parent / "new", "cannot make or open")):
        shared = {"SOURCES": str(sources), "TARGET": str(target), "TEMPLATES": str(bench.templates)}
        done = in_a_namespace(script, bench.release.parent, **shared)
        assert done.returncode == 1, done
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert f"catalog-builder: {target}" in done.stderr
        assert f"{says}" in done.stderr
        assert "Read-only file system" in done.stderr
    assert tree(bench.release) == before


FULL = """
mount -t tmpfs -o size=64k none "$1"
{python} - "$1" <<'PYTHON'
{driver}
PYTHON
"""
DRIVER = """
import os, subprocess, sys
from pathlib import Path
from click.testing import CliRunner
from catalog_builder.cli import main

disk, sources, templates = Path(sys.argv[1]), os.environ["SOURCES"], os.environ["TEMPLATES"]
size = 16 + sum(path.stat().st_size // 4096 * 4 + 4 for path in Path(os.environ["RELEASE"]).rglob("*"))
subprocess.run(["mount", "-o", f"remount,size={size}k", disk], check=True)
subprocess.run(["cp", "-a", os.environ["RELEASE"], disk / "release"], check=True)

def tree():
    paths = [path for path in sorted((disk / "release").rglob("*")) if path.is_file()]
    return [(path, path.read_bytes(), path.stat().st_mtime_ns) for path in paths if ".build" not in path.parts]

before, refused = tree(), 0
while True:
    arguments = ["--jobs", "1", "--templates", templates, "--quiet", "--no-explorer"]
    result = CliRunner().invoke(main, ["build", sources, str(disk / "release"), *arguments])
    if result.exit_code == 0:
        break
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit), repr(result.exception)
    assert "No space left on device" in result.stderr and len(result.stderr.splitlines()) == 1, result.stderr
    assert tree() == before
    refused += 1
    size += 16
    subprocess.run(["mount", "-o", f"remount,size={size}k", disk], check=True)
subprocess.run(["cp", "-a", disk / "release", os.environ["RESULT"]], check=True)
print(refused)
"""


@pytest.mark.slow
@pytest.mark.usefixtures("_mounts")
def test_a_disk_that_is_full_at_any_moment_leaves_the_release_as_it_was(bench: Bench) -> None:
    """A disk grows by 16 kB after each refusal: the build is stopped at many places, and ends in the same bytes."""
    write_geotiff(bench.folder / "s2.tif", texture((4, TILE, TILE), "uint16", 9), nodata=0)
    sources = bench.write(area("alpes", source("s2", "s2.tif"), source("srtm", f"{GOOD}/srtm.tif"), required=["s2"]))
    disk, result = bench.folder / "disk", bench.folder / "result"
    disk.mkdir()
    script = FULL.format(python=sys.executable, driver=DRIVER)
    shared = {"SOURCES": sources, "TEMPLATES": bench.templates, "RELEASE": bench.release, "RESULT": result}
    done = in_a_namespace(script, disk, **{name: str(path) for name, path in shared.items()})
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 5
    assert_vouched(result)
    assert bench.build(sources, bench.folder / "other").exit_code == 0
    assert content(result) == content(bench.folder / "other")


@pytest.mark.slow
def test_a_real_process_says_one_line(bench: Bench) -> None:
    """No warning of Python, no word of GDAL or of a logger comes beside our own line."""
    folder = bench.folder
    kinds = {"unplaced": no_geotransform, "cut": truncated, "empty": nodata_only, "giant": sparse_giant}
    for name, make in kinds.items():
        make(folder / f"{name}.tif")
        bench.write(area("alpes", S2, source("srtm", f"{name}.tif"), required=["s2"]), f"{name}.toml")
    for name in kinds:
        paths = str(folder / f"{name}.toml"), str(folder / "new"), "--templates", str(bench.templates)
        done = subprocess.run(
            [*CLI, "build", *paths, "--jobs", "2", "--quiet"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert done.stderr.startswith("catalog-builder: ")
        assert f"{name}.tif" in done.stderr


@pytest.mark.parametrize("make", [no_geotransform, truncated])
def test_plan_refuses_what_build_refuses(bench: Bench, make: Callable[[Path], object]) -> None:
    make(bench.folder / BAD)
    sources = bench.write(area("alpes", S2, source("srtm", BAD), required=["s2"], crs="EPSG:32631"))
    options = ["--jobs", "1", "--templates", str(bench.templates), "--quiet"]
    assert_refused(CliRunner().invoke(main, ["plan", str(sources), *options]), [BAD], 1)
