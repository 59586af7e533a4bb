"""Fixtures that many tests share."""

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.bench import Bench, make_bench
from tests.makers import small_sources, small_templates
from tools.local_bucket import ACCESS_KEY, SECRET_KEY, LocalBucket, local_bucket

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


@pytest.fixture(scope="session")
def s3_server() -> Iterator[LocalBucket]:
    """A real S3 server with one bucket; each test takes a prefix of its own."""
    with local_bucket() as server:
        yield server


@pytest.fixture
def _credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The server's credentials, and nothing of the user's own configuration."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "S3_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no_config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no_credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def bucket(s3_server: LocalBucket, _credentials: None) -> LocalBucket:
    """The server, with its credentials in the environment."""
    return s3_server
