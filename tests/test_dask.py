"""A build on a real Dask cluster: a scheduler and two workers, each a process of its own on this machine."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.builds import CLI, place, run, tree
from tests.makers import small_templates, source, texture, write_geotiff

pytest.importorskip("distributed")

pytestmark = pytest.mark.slow

TILE = 128
"""Pixels a side of a tile here."""


@dataclass
class Cluster:
    """A scheduler with two workers."""

    address: str
    scheduler: "subprocess.Popen[bytes]"


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """Run a cluster whose workers stand in a folder of their own."""
    folder.mkdir()
    with ExitStack() as stack:
        port = _free_port()
        address = f"tcp://127.0.0.1:{port}"
        scheduler = stack.enter_context(_process(folder, "scheduler", "--port", str(port)))
        for _ in range(2):
            options = ("--nthreads", "1", "--no-nanny", "--local-directory", str(folder))
            stack.enter_context(_process(folder, "worker", address, *options))
        _wait_for_workers(folder / "worker.log", 2)
        yield Cluster(address, scheduler)


@contextmanager
def _process(folder: Path, kind: str, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    options = ("--host", "127.0.0.1", "--no-dashboard")
    command = (sys.executable, "-m", "dask", kind, *arguments, *options)
    with (folder / f"{kind}.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for_workers(log: Path, count: int) -> None:
    end = time.monotonic() + 60
    while log.read_text().count("Registered to") < count:
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.05)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture(scope="module")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One cluster for the tests that leave it as it is."""
    with cluster(tmp_path_factory.mktemp("dask") / "cluster") as made:
        yield made


@dataclass
class Inputs:
    """A folder with ``stac/`` and ``sources.toml``, where builds are started."""

    folder: Path

    def start(self, address: str) -> "subprocess.Popen[str]":
        """Start a build into ``release`` on a cluster; all paths are relative."""
        options = ("--templates", "stac", "--scheduler", address, "--no-explorer")
        command = (*CLI, "build", "sources.toml", "release", *options)
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=self.folder, stdout=pipe, stderr=pipe, text=True)

    def local(self) -> dict[str, str]:
        """Build in this process and give what stands there."""
        release = self.folder / "local"
        run(self.folder / "sources.toml", release, self.folder / "stac")
        return tree(release)


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    """Two areas, one of 16 tiles."""
    small_templates(tmp_path / "stac", TILE)
    write_geotiff(tmp_path / "a.tif", texture((1, 4 * TILE, 4 * TILE), "int16", 1), nodata=-32768)
    write_geotiff(tmp_path / "b.tif", texture((1, TILE, TILE), "int16", 2), nodata=-32768)
    areas = [place(name, source("srtm", f"{name}.tif")) for name in ("a", "b")]
    (tmp_path / "sources.toml").write_text("\n".join(areas))
    return Inputs(tmp_path)


def test_a_cluster_makes_the_same_bytes(shared_cluster: Cluster, inputs: Inputs) -> None:
    said = inputs.start(shared_cluster.address)
    out, errors = said.communicate(timeout=120)
    assert said.returncode == 0, errors
    assert "17 items in 2 areas" in out
    assert tree(inputs.folder / "release") == inputs.local()
    out, _ = inputs.start(shared_cluster.address).communicate(timeout=120)
    assert "nothing to do" in out


def test_bad_input_is_said_in_one_line_and_the_cluster_goes_on(shared_cluster: Cluster, inputs: Inputs) -> None:
    whole = (inputs.folder / "a.tif").read_bytes()
    (inputs.folder / "a.tif").write_bytes(whole[: len(whole) // 2])
    said = inputs.start(shared_cluster.address)
    _, errors = said.communicate(timeout=120)
    assert said.returncode == 1
    assert f"catalog-builder: {inputs.folder / 'a.tif'}: truncated or corrupt" in errors
    assert "Traceback" not in errors
    assert not (inputs.folder / "release" / "catalog.json").exists()
    (inputs.folder / "a.tif").write_bytes(whole)
    said = inputs.start(shared_cluster.address)
    _, errors = said.communicate(timeout=120)
    assert said.returncode == 0, errors
    assert tree(inputs.folder / "release") == inputs.local()


def test_a_cluster_that_goes_away_is_an_error_and_the_build_goes_on_elsewhere(inputs: Inputs, tmp_path: Path) -> None:
    with cluster(tmp_path / "cluster") as made:
        said = inputs.start(made.address)
        while said.poll() is None and not list((inputs.folder / "release").glob(".build/*/tree/france/a/*/*.tif")):
            time.sleep(0.001)
        made.scheduler.send_signal(signal.SIGKILL)
        _, errors = said.communicate(timeout=120)
    assert said.returncode == 1
    assert f"--scheduler {made.address}: the cluster went away; run the same command to go on" in errors
    assert not (inputs.folder / "release" / "catalog.json").exists()
    run(inputs.folder / "sources.toml", inputs.folder / "release", inputs.folder / "stac")
    assert tree(inputs.folder / "release") == inputs.local()


def test_no_scheduler_is_said(inputs: Inputs) -> None:
    said = inputs.start(f"tcp://127.0.0.1:{_free_port()}")
    _, errors = said.communicate(timeout=60)
    assert said.returncode == 2
    assert "no Dask scheduler answers there" in errors
    assert not (inputs.folder / "release").exists()
