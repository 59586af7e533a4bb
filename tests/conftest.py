"""Fixtures that many tests share."""

import os
from pathlib import Path

import hypothesis
import pytest

from tests.bench import Bench, make_bench
from tests.makers import small_sources, small_templates

# A busy machine is no fault of the code.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

_SHARED = Path(__file__).resolve().parent.parent.parent / "shared"


def _folder(variable: str, default: str) -> Path:
    path = Path(os.environ.get(variable) or _SHARED / default)
    if not path.is_dir():
        pytest.skip(f"{variable} is not set and there is no {default}/ beside the checkout")
    return path


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real rasters."""
    return _folder("DREAM_REAL_DATA", "real")


@pytest.fixture(scope="session")
def schemas_dir() -> Path:
    """Mirror of the STAC schemas."""
    return _folder("STAC_SCHEMAS_DIR", "schemas")


@pytest.fixture(autouse=True)
def _private_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's caches."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def templates(tmp_path: Path) -> Path:
    """The shipped templates with small tiles."""
    return small_templates(tmp_path / "templates")


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A sources.toml of one small France area of four tiles."""
    return small_sources(tmp_path / "sources")


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Good rasters and a good release, made once."""
    folder = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        return make_bench(folder)


@pytest.fixture
def bench(world: Bench, tmp_path: Path) -> Bench:
    """The good rasters and the good release, and a folder of one's own."""
    return Bench(folder=tmp_path, templates=world.templates, good=world.good, release=world.release)
