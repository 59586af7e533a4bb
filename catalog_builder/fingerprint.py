"""SHA-256 of source files, remembered between runs.

A file is hashed again only when its size, its times or its inode changed. What is remembered is a cache: without it
everything is hashed once more, and nothing of it goes into a release.
"""

import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from catalog_builder import jsonio
from catalog_builder.errors import RasterError
from catalog_builder.manifest import hash_file

_SETTLED_NS = 2_000_000_000
"""A file changed less than this ago may change again within the same tick of its clock, so it is not remembered."""


class Fingerprints:
    """Hashes files, each at most once."""

    def __init__(self, cache: Path | None = None) -> None:
        self._cache = cache
        self._known: dict[str, list[object]] = _load(cache)
        self._dirty = False

    def sha256(self, paths: Iterable[Path]) -> dict[Path, str]:
        """Give the SHA-256 (hex) of each file. Raises ``RasterError`` naming a file that cannot be read."""
        paths = list(dict.fromkeys(paths))
        with ThreadPoolExecutor(max_workers=2) as pool:
            return dict(zip(paths, pool.map(self._one, paths), strict=True))

    def _one(self, path: Path) -> str:
        try:
            state = _state(path)
            known = self._known.get(str(path))
            if known is not None and known[:-1] == state:
                return str(known[-1])
            sha256 = hash_file(path)[1]
        except OSError as error:
            raise RasterError(f"{path}: cannot read: {error.strerror}") from error
        if time.time_ns() - max(path.stat().st_mtime_ns, path.stat().st_ctime_ns) > _SETTLED_NS:
            self._known[str(path)] = [*state, sha256]
            self._dirty = True
        return sha256

    def save(self) -> None:
        """Remember for the next run; a cache that cannot be written is done without."""
        if self._cache is None or not self._dirty:
            return
        try:
            self._cache.parent.mkdir(parents=True, exist_ok=True)
            partial = self._cache.with_suffix(".partial")
            partial.write_bytes(jsonio.dumps(self._known))
            os.replace(partial, self._cache)
        except OSError:
            return


def _state(path: Path) -> list[object]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


def _load(cache: Path | None) -> dict[str, list[object]]:
    try:
        known = jsonio.read(cache) if cache is not None else {}
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
