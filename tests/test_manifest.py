"""Manifests: what ``sha256sum -c`` reads."""

import hashlib
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog_builder import manifest

paths = st.from_regex(r"[a-z][a-z0-9_./]{0,20}", fullmatch=True)


@given(st.dictionaries(paths, st.binary().map(manifest.sha256), max_size=8))
def test_round_trip(files: dict[str, str]) -> None:
    assert manifest.loads(manifest.dumps(files)) == files


def test_sha256sum_reads_it(tmp_path: Path) -> None:
    contents = {"a.tif": b"one", "b/c.json": b"two"}
    (tmp_path / "b").mkdir()
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    listed = manifest.dumps({name: manifest.sha256(data) for name, data in contents.items()})
    (tmp_path / "manifest.sha256").write_bytes(listed)
    command = ["sha256sum", "--check", "--strict", "manifest.sha256"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 0
    (tmp_path / "a.tif").write_bytes(b"other")
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 1


@pytest.mark.parametrize("data", [b"abc  x\n", b"0" * 64 + b" x\n", b"0" * 64 + b"  \n", 2 * (b"0" * 64 + b"  x\n")])
def test_other_lines_are_named(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"line [12]"):
        manifest.loads(data)


@given(st.binary(max_size=3000))
def test_hash_file_is_size_and_sha256(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "hashed"
    path.write_bytes(content)
    assert manifest.hash_file(path) == (len(content), hashlib.sha256(content).hexdigest())
