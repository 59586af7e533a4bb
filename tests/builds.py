"""Builds in this process, what a release holds, and how a build is killed at a chosen step."""

import hashlib
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner, Result

from catalog_builder import layout, manifest, sources, template
from catalog_builder.build import BuildReport, build
from catalog_builder.cli import main
from catalog_builder.executor import SerialExecutor
from catalog_builder.explorer import Page
from catalog_builder.fingerprint import Fingerprints
from catalog_builder.plan import Plan, make_plan
from catalog_builder.progress import TileProgress
from tests.makers import area

Tree = dict[str, str]


class Stamp(NamedTuple):
    """What tells whether a file was written again."""

    inode: int
    changed: int
    sha256: str


State = dict[str, Stamp]

CLI = (sys.executable, "-m", "catalog_builder.cli")
"""The command line in a process of its own."""
_STEPS = ("replace", "rename", "unlink", "rmdir", "mkdir")
"""Functions of ``os`` by which a build changes a folder; a killed build does none of them any more."""


def place(name: str, *sources: str, **more: Any) -> str:
    """Write an area whose CRS is given, since finding one takes longer than building a small tile."""
    return area(name, *sources, crs="EPSG:32631", **more)


def command(*arguments: object) -> Result:
    """Run the command line in this process; a release gets no explorer, whether its page was made here or not."""
    options = ["--no-explorer"] if arguments[0] == "build" else []
    return CliRunner().invoke(main, [*map(str, arguments), "--jobs", "1", "--quiet", *options], catch_exceptions=False)


def plan_of(listing: Path, templates: Path, *, keep_going: bool = False) -> Plan:
    """Plan a sources.toml."""
    loaded = template.load(templates)
    return make_plan(sources.load(listing, loaded), loaded, Fingerprints(), keep_going=keep_going)


def run(
    listing: Path,
    release: Path,
    templates: Path,
    executor: Executor | None = None,
    *,
    keep_going: bool = False,
    page: Page | None = None,
) -> BuildReport:
    """Build a sources.toml, in this process unless an executor is given."""
    plan = plan_of(listing, templates, keep_going=keep_going)
    progress = TileProgress(io.StringIO(), quiet=True)
    return build(plan, release, executor or SerialExecutor(), progress, keep_going=keep_going, page=page)


def tree(release: Path) -> Tree:
    """Every file under a folder, what is under way included: path -> SHA-256."""
    return {path: stamp.sha256 for path, stamp in state(release).items()}


def state(release: Path) -> State:
    """Every file under a folder, by its path."""
    found: State = {}
    for path in release.rglob("*"):
        if path.is_file():
            stat = path.stat()
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
            found[path.relative_to(release).as_posix()] = Stamp(stat.st_ino, stat.st_mtime_ns, sha256)
    return found


def documents(release: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every JSON document that a reader of a release sees."""
    for path in sorted(release.rglob("*.json")):
        if not {layout.WORK_FOLDER, layout.EXPLORER_FOLDER} & set(path.parts):
            yield path, json.loads(path.read_bytes())


def dangling(release: Path) -> list[str]:
    """Links to children, items and the explorer, assets and lines of manifests that a reader follows to nowhere."""
    missing = []
    for path, document in documents(release):
        hrefs = [link["href"] for link in document["links"] if link["rel"] in ("child", "item", "alternate")]
        hrefs += [asset["href"] for asset in document.get("assets", {}).values()]
        missing += [f"{path.relative_to(release)}: {href}" for href in hrefs if not (path.parent / href).is_file()]
    for path in release.rglob(layout.MANIFEST):
        if layout.WORK_FOLDER not in path.parts:
            names = manifest.loads(path.read_bytes())
            missing += [f"{path.relative_to(release)}: {name}" for name in names if not (path.parent / name).is_file()]
    return missing


def manifest_faults(folder: Path) -> list[str]:
    """Files that a manifest lists and that are not there or have other bytes; areas' manifests are followed."""
    faults = []
    for name, sha256 in manifest.loads((folder / layout.MANIFEST).read_bytes()).items():
        path = folder / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            faults.append(str(path))
        elif path.name == layout.MANIFEST:
            faults += manifest_faults(path.parent)
    return faults


class KilledError(BaseException):
    """Stands for SIGKILL: nothing but a test catches it."""


class Reaper:
    """Kills a build in this process: after ``steps`` changes of a folder no more is let through.

    They are counted from the moment when a file named ``since`` comes into place, where one is named.
    """

    def __init__(self, steps: int, since: str | None) -> None:
        self.steps, self.since, self.taken = steps, since, 0

    @property
    def killed(self) -> bool:
        """Whether the build came to the step at which it was killed."""
        return self.taken > self.steps

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Count the calls of a function, and refuse those that a dead process would not make."""

        def counted(*args: Any, **kwargs: Any) -> Any:
            if self.since is None:
                self.taken += 1
            if self.killed:
                raise KilledError
            result = function(*args, **kwargs)
            if self.since is not None and str(args[-1]).endswith(f"/{self.since}"):
                self.since = None
            return result

        return counted


@contextmanager
def killed_after(steps: int, since: str | None = None) -> Iterator[Reaper]:
    """Kill what runs inside after so many changes of a folder, and go on behind it."""
    reaper = Reaper(steps, since)
    with pytest.MonkeyPatch.context() as patch:
        for name in _STEPS:
            patch.setattr(os, name, reaper.wrap(getattr(os, name)))
        try:
            yield reaper
        except KilledError:
            return
