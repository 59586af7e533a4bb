"""Manifests: SHA-256 of files in the format that ``sha256sum -c`` reads, paths as seen from the manifest's folder."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

_CHUNK = 2**20


def dumps(files: Mapping[str, str]) -> bytes:
    """Write path -> SHA-256 (hex), sorted by path."""
    return "".join(f"{sha256}  {path}\n" for path, sha256 in sorted(files.items())).encode()


def loads(data: bytes) -> dict[str, str]:
    """Read path -> SHA-256 (hex). Raises ``ValueError`` naming the line that is none."""
    files: dict[str, str] = {}
    for number, line in enumerate(data.decode("utf-8").splitlines(), start=1):
        sha256, separator, path = line.partition("  ")
        if len(sha256) != 64 or not separator or not path or path in files:
            raise ValueError(f"line {number}: {line[:100]!r} is no line of a manifest")
        files[path] = sha256
    return files


def sha256(data: bytes) -> str:
    """Give the SHA-256 (hex) of bytes."""
    return hashlib.sha256(data).hexdigest()


def hash_file(path: Path) -> tuple[int, str]:
    """Give size and SHA-256 (hex) of a file. Raises ``OSError``."""
    with path.open("rb") as stream:
        return hash_chunks(iter(lambda: stream.read(_CHUNK), b""))


def hash_chunks(chunks: Iterable[bytes]) -> tuple[int, str]:
    """Give size and SHA-256 (hex) of bytes that come in pieces."""
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        digest.update(chunk)
        size += len(chunk)
    return size, digest.hexdigest()
