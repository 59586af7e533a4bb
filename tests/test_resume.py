"""A build that was killed, at any moment, goes on and ends in the bytes of an undisturbed one; two never mix."""

import fcntl
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest

from catalog_builder import layout, manifest
from catalog_builder.errors import ReleaseError
from catalog_builder.workspace import open_workspace
from tests.builds import CLI, Tree, command, dangling, killed_after, manifest_faults, place, run, state, tree
from tests.makers import small_templates, source, write_geotiff

TILE = 128
"""Pixels a side of a tile here."""
SLOW_COMMIT = """
import time
from catalog_builder import cli, workspace
move = workspace._move
def slowly(source, target):
    time.sleep(0.005)
    return move(source, target)
workspace._move = slowly
cli.main()
"""
"""The command with a commit that takes long enough to be killed in its midst, on a quick disk too."""

# --- killed at a chosen step, in this process -----------------------------------------------------------------------


@dataclass
class Versions:
    """Inputs of one release that went through several versions, and what a build of each into an empty folder gives.

    Pixels are constant, so that the files of two versions have the same sizes.
    """

    templates: Path
    listings: dict[str, Path]
    trees: dict[str, Tree]

    def build(self, version: str, release: Path) -> None:
        """Build a version into a release."""
        run(self.listings[version], release, self.templates)


def _version(
    folder: Path,
    value: int,
    *,
    rows: int = 1,
    columns: int = 2,
    day: str = "2020-06-01T10:00:00Z",
    osm: bool = True,
    others: Sequence[str] = ("two",),
) -> Path:
    pixels = np.full((1, rows * TILE, columns * TILE), value)
    write_geotiff(folder / "srtm.tif", pixels.astype("int16"), nodata=-32768)
    write_geotiff(folder / "osm.tif", (pixels % 7).astype("uint8"), nodata=255)
    elevation = source("srtm", "srtm.tif", f"datetime = {day}")
    areas = [place("one", elevation, *([source("osm", "osm.tif")] if osm else []))]
    areas += [place(name, elevation, collection="usa" if name == "line" else "france") for name in others]
    (folder / "sources.toml").write_text("\n".join(areas))
    return folder / "sources.toml"


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Versions:
    """Versions that differ in pixels, tiles, sources, areas and collections."""
    folder = tmp_path_factory.mktemp("versions")
    listings = {
        "first": _version(folder / "first", 100),
        "pixels": _version(folder / "pixels", 101),
        "less": _version(folder / "less", 102, columns=1, osm=False),
        "area gone": _version(folder / "area", 100, others=()),
        "more": _version(folder / "more", 100, others=("two", "line")),
        "date": _version(folder / "date", 100, day="2020-06-02T10:00:00Z"),
        "other": _version(folder / "other", 103, columns=1, osm=False, others=("three",)),
    }
    made = Versions(small_templates(folder / "stac", TILE), listings, {})
    for name in listings:
        made.build(name, folder / "release")
        made.trees[name] = tree(folder / "release")
        shutil.rmtree(folder / "release")
    return made


def _steps(versions: Versions, release: Path, version: str) -> int:
    """Count the steps of a build."""
    with killed_after(sys.maxsize) as reaper:
        versions.build(version, release)
    return reaper.taken


@pytest.mark.parametrize("part", [pytest.param(part, marks=[pytest.mark.slow] if part else []) for part in range(5)])
def test_a_first_build_killed_at_any_step_goes_on(versions: Versions, tmp_path: Path, part: int) -> None:
    total = _steps(versions, tmp_path / "counted", "first")
    assert total > 50
    for steps in range(part * 3, total, 15):
        release = tmp_path / f"killed{steps}"
        with killed_after(steps) as reaper:
            versions.build("first", release)
        assert reaper.killed
        assert dangling(release) == []
        assert not (release / layout.MANIFEST).exists() or manifest_faults(release) == []
        versions.build("first", release)
        assert tree(release) == versions.trees["first"]


@pytest.mark.parametrize("stride", [10, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("old", "new"),
    [(None, "more"), ("more", "other"), pytest.param("other", "more", marks=pytest.mark.slow)],
)
def test_a_commit_killed_at_any_step_is_brought_to_its_end(
    versions: Versions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str | None, new: str, stride: int
) -> None:
    """Files, rows, areas and collections come and go; a reader finds what any link leads to all the while."""
    monkeypatch.setattr(layout, "MAX_ITEM_LINKS", 1)
    versions.build(new, tmp_path / "fresh")
    if old is not None:
        versions.build(old, tmp_path / "stopped")
    with killed_after(0, since="obsolete.json") as reaper:
        versions.build(new, tmp_path / "stopped")
    release, expected, steps, killed = tmp_path / "release", tree(tmp_path / "fresh"), 0, reaper.killed
    while killed:
        shutil.rmtree(release, ignore_errors=True)
        shutil.copytree(tmp_path / "stopped", release)
        with killed_after(steps) as reaper:
            versions.build(new, release)
        assert dangling(release) == []
        versions.build(new, release)
        assert tree(release) == expected
        steps, killed = steps + stride, reaper.killed
    assert steps > 30


@pytest.mark.parametrize("seed", [pytest.param(n, marks=[pytest.mark.slow] if n >= 4 else []) for n in range(40)])
def test_builds_of_any_versions_killed_at_any_step_leave_no_trace(
    versions: Versions, tmp_path: Path, seed: int
) -> None:
    """Inputs may change between a killed build and the next, and change back."""
    rng, release, names = random.Random(seed), tmp_path / "release", sorted(versions.trees)
    for _ in range(rng.randint(2, 4)):
        with killed_after(rng.choice([sys.maxsize, rng.randint(0, 60), rng.randint(30, 110)])):
            versions.build(rng.choice(names), release)
        assert dangling(release) == []
    last = rng.choice(names)
    versions.build(last, release)
    assert tree(release) == versions.trees[last]
    assert run(versions.listings[last], release, versions.templates).files == 0


@pytest.mark.parametrize(
    ("change", "since"),
    [
        ("pixels", "srtm.tif"),
        ("pixels", "one_x0528_y3807.json"),
        ("colours", "thumbnail.png"),
        ("date", "one/catalog.json"),
        ("date", "items/france.parquet"),
        ("date", "france/collection.json"),
    ],
)
def test_a_build_killed_before_its_commit_changes_nothing_once_its_inputs_are_taken_back(
    versions: Versions, tmp_path: Path, change: str, since: str
) -> None:
    """What was staged has the size of what is released, and yet is not taken for it."""
    release, templates = tmp_path / "release", tmp_path / "stac"
    versions.build("first", release)
    before = state(release)
    shutil.copytree(versions.templates, templates)
    if change == "colours":
        path = templates / "france" / layout.COLLECTION
        path.write_text(path.read_text().replace("[238, 220, 130, 255]", "[130, 220, 238, 255]"))
    with killed_after(0, since=since) as reaper:
        run(versions.listings[change if change != "colours" else "first"], release, templates)
    assert reaper.killed
    versions.build("first", release)
    assert state(release) == before


def test_a_staged_index_is_not_taken_for_the_released_one_of_the_same_size(versions: Versions, tmp_path: Path) -> None:
    release = tmp_path / "release"
    versions.build("first", release)
    before = state(release)
    with killed_after(0, since="items/france.parquet"):
        versions.build("date", release)
    (staged,) = release.glob(f"{layout.WORK_FOLDER}/*/tree/items/france.parquet")
    staged.write_bytes(bytes((release / "items" / "france.parquet").stat().st_size))
    versions.build("first", release)
    assert state(release) == before


def test_the_last_good_version_of_an_area_outlives_a_killed_build_and_bad_input(
    versions: Versions, tmp_path: Path
) -> None:
    release, bad = tmp_path / "release", tmp_path / "bad"
    versions.build("first", release)
    with killed_after(30):
        versions.build("pixels", release)
    shutil.copytree(versions.listings["first"].parent, bad)
    (bad / "osm.tif").write_bytes(b"II*\0 and no more")
    report = run(bad / "sources.toml", release, versions.templates, keep_going=True)
    assert [where for where, _ in report.failures] == ["france/one"]
    assert tree(release) == versions.trees["first"]


def test_a_worker_of_a_killed_build_cannot_disturb_the_next(tmp_path: Path) -> None:
    with open_workspace(tmp_path / "release") as first:
        first.overlay.stage("france/one/a.tif", b"a")
        lost = first.overlay
    with open_workspace(tmp_path / "release") as second:
        assert second.overlay.read("france/one/a.tif") == b"a"
        with pytest.raises(ReleaseError, match="another build has taken over this release"):
            lost.stage("france/one/a.tif", b"b")
        assert second.overlay.read("france/one/a.tif") == b"a"
        assert second.commit([]) == 1
    assert tree(tmp_path / "release") == {"france/one/a.tif": manifest.sha256(b"a")}


# --- two builds at once ---------------------------------------------------------------------------------------------


def test_a_second_build_on_one_release_is_refused(versions: Versions, tmp_path: Path) -> None:
    release = tmp_path / "release"
    versions.build("first", release)
    before, arguments = (
        state(release),
        ("build", versions.listings["first"], release, "--templates", versions.templates),
    )
    handle = os.open(release, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    refused = command(*arguments)
    assert refused.exit_code == 1
    assert refused.stderr == (
        f"catalog-builder: {release}: another build is at work on this release; wait until it has ended\n"
    )
    assert state(release) == before
    os.close(handle)
    assert "nothing to do" in command(*arguments).stdout


# --- killed for real ------------------------------------------------------------------------------------------------


@dataclass
class Undisturbed:
    """Two versions of 16 tiles, what becomes of them, and how long a build takes."""

    templates: Path
    listings: tuple[Path, ...]
    trees: tuple[Tree, ...]
    seconds: float

    def start(self, version: int, release: Path, program: Sequence[str] = CLI) -> "subprocess.Popen[bytes]":
        """Start a build with two workers in a process of its own."""
        arguments = [
            "build",
            str(self.listings[version]),
            str(release),
            "--templates",
            str(self.templates),
            "--jobs",
            "2",
            "--no-explorer",
        ]
        return subprocess.Popen([*program, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """Build both versions without disturbance."""
    folder = tmp_path_factory.mktemp("undisturbed")
    listings = tuple(_version(folder / str(n), 100 + n, rows=4, columns=4, others=()) for n in (0, 1))
    made = Undisturbed(small_templates(folder / "stac", TILE), listings, (), 0)
    for version in (0, 1):
        started = time.monotonic()
        with made.start(version, folder / "release") as process:
            assert process.wait(60) == 0
        made.seconds = time.monotonic() - started
        made.trees += (tree(folder / "release"),)
        shutil.rmtree(folder / "release")
    return made


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """Kill a build alone, and see its workers end by themselves."""
    children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.kill()
    process.wait()
    end = time.monotonic() + 2
    while any(map(_works, children)) and time.monotonic() < end:
        time.sleep(0.01)
    assert not any(map(_works, children))


def _works(process: psutil.Process) -> bool:
    """Whether a process is still there; one that has ended may wait for ever to be buried."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.slow
def test_a_build_killed_at_random_moments_goes_on(undisturbed: Undisturbed, tmp_path: Path) -> None:
    rng, midway = random.Random(2021), 0
    for number in range(12):
        version, release = number % 2, tmp_path / f"release{number}"
        if version:  # an update of a release
            run(undisturbed.listings[0], release, undisturbed.templates)
        with undisturbed.start(version, release) as process:
            time.sleep(rng.uniform(0.2, 1) * undisturbed.seconds)
            _kill(process)
        midway += (release / layout.WORK_FOLDER).exists()
        _see(release, first=version == 0)
        run(undisturbed.listings[version], release, undisturbed.templates)
        assert tree(release) == undisturbed.trees[version]
    assert midway >= 4


@pytest.mark.slow
@pytest.mark.parametrize("version", [0, 1])
def test_a_build_killed_in_its_commit_goes_on(undisturbed: Undisturbed, tmp_path: Path, version: int) -> None:
    rng, release = random.Random(version), tmp_path / "release"
    midway = 0
    for _ in range(3):
        shutil.rmtree(release, ignore_errors=True)
        if version:
            run(undisturbed.listings[0], release, undisturbed.templates)
        with undisturbed.start(version, release, [sys.executable, "-c", SLOW_COMMIT]) as process:
            begun = release / layout.WORK_FOLDER / "obsolete.json"
            while process.poll() is None and not begun.exists():
                time.sleep(0.0002)
            time.sleep(rng.uniform(0, 0.02))
            _kill(process)
        midway += (release / layout.WORK_FOLDER).exists()
        _see(release, first=version == 0)
        run(undisturbed.listings[version], release, undisturbed.templates)
        assert tree(release) == undisturbed.trees[version]
    assert midway


@pytest.mark.slow
def test_a_build_killed_again_and_again_comes_to_its_end(undisturbed: Undisturbed, tmp_path: Path) -> None:
    release = tmp_path / "release"
    for attempt in range(40):
        with undisturbed.start(0, release) as process:
            try:
                process.wait(undisturbed.seconds * (0.5 + 0.05 * attempt))
            except subprocess.TimeoutExpired:
                _kill(process)
        _see(release, first=True)
        if process.returncode == 0:
            break
    assert attempt
    assert process.returncode == 0
    assert tree(release) == undisturbed.trees[0]


def _see(release: Path, *, first: bool) -> None:
    """See what a reader sees: no link to nowhere; and where a first build has its manifest in place, all of it."""
    assert dangling(release) == []
    if first and (release / layout.MANIFEST).exists():
        assert manifest_faults(release) == []
