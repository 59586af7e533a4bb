"""An index far away as a file: read in blocks, each fetched once as long as the index stays what it is."""

import hashlib
import io
import os
import shutil
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from catalog_builder.errors import RemoteError
from catalog_builder.readers import Reader
from catalog_builder.transfer import in_threads

BLOCK_BYTES = 2**17
_LARGEST_REQUEST = 64
"""Blocks that one request asks for."""
_THREADS = 8
_DIGEST_BYTES = 16


class BlockCache(Protocol):
    """Keeps blocks of one version of one file."""

    def get(self, number: int) -> bytes | None:
        """Give a block that is kept."""

    def put(self, number: int, data: bytes) -> None:
        """Keep a block."""


class MemoryCache:
    """Keeps the blocks that were used last, at most so many bytes."""

    def __init__(self, size: int = 2**26) -> None:
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._most = size // BLOCK_BYTES

    def get(self, number: int) -> bytes | None:
        """Give a block that is kept."""
        with suppress(KeyError):
            self._blocks.move_to_end(number)
            return self._blocks[number]
        return None

    def put(self, number: int, data: bytes) -> None:
        """Keep a block, and let go of the one not used for longest."""
        self._blocks[number] = data
        while len(self._blocks) > self._most:
            self._blocks.popitem(last=False)


class FolderCache:
    """Keeps blocks as files, for the next process too. What cannot be kept is fetched again."""

    def __init__(self, folder: Path, place: str, tag: str) -> None:
        """Open the blocks of one version of what lies at a place, and forget other versions of it."""
        home = folder / hashlib.sha256(place.encode()).hexdigest()[:32]
        self._folder = home / hashlib.sha256(tag.encode()).hexdigest()[:32]
        with suppress(OSError):
            for other in home.iterdir():
                if other != self._folder:
                    shutil.rmtree(other, ignore_errors=True)

    def get(self, number: int) -> bytes | None:
        """Give a block that is kept."""
        with suppress(OSError):
            kept = (self._folder / str(number)).read_bytes()
            digest, data = kept[:_DIGEST_BYTES], kept[_DIGEST_BYTES:]
            # A power failure may leave a file with its length and without its bytes.
            return data if digest == _digest(data) else None
        return None

    def put(self, number: int, data: bytes) -> None:
        """Keep a block, all of it or nothing."""
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self._folder)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(_digest(data) + data)
                Path(name).replace(self._folder / str(number))
            except OSError:
                Path(name).unlink(missing_ok=True)


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest()


class Blocks:
    """A file of a release, fetched by blocks; for all threads."""

    def __init__(self, reader: Reader, href: str, size: int, tag: str | None, cache: BlockCache) -> None:
        self._reader, self._href, self._tag, self._cache = reader, href, tag, cache
        self._lock = threading.Lock()
        self.size = size
        """Bytes of the file."""
        self.fetched = 0
        """Bytes that were fetched."""

    def fetch(self, spans: Iterable[tuple[int, int]]) -> None:
        """Fetch the blocks of spans (offset, length) that are not there yet, several at the same time."""
        wanted = sorted({block for offset, length in spans for block in _blocks(offset, length)})
        in_threads(self._fetch, _runs([block for block in wanted if self._cache.get(block) is None]), _THREADS)

    def _fetch(self, run: range) -> None:
        start = run.start * BLOCK_BYTES
        length = min(run.stop * BLOCK_BYTES, self.size) - start
        data = self._reader.range(self._href, start, length, self._tag)
        if len(data) != length:
            raise RemoteError(f"{self._href}: has {start + len(data)} bytes and no more, not {self.size}; it was cut")
        with self._lock:
            self.fetched += length
            for block in run:
                at = (block - run.start) * BLOCK_BYTES
                self._cache.put(block, data[at : at + BLOCK_BYTES])

    def block(self, number: int) -> bytes:
        """Give a block, which may have to be fetched."""
        data = self._cache.get(number)
        if data is None or len(data) != min(BLOCK_BYTES, self.size - number * BLOCK_BYTES):
            start = number * BLOCK_BYTES
            self._fetch(range(number, number + 1))
            data = self._cache.get(number)
            if data is None:  # it could not be kept
                data = self._reader.range(self._href, start, min(BLOCK_BYTES, self.size - start), self._tag)
        return data


class BlockFile(io.RawIOBase):
    """Blocks as a file, for one thread."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks, self._size, self._at = blocks, blocks.size, 0

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def seekable(self) -> bool:
        """Tell that it can be read anywhere."""
        return True

    def tell(self) -> int:
        """Tell where the next read begins."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go somewhere."""
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Read on, to the end with -1."""
        size = max(0, min(size if size >= 0 else self._size, self._size - self._at))
        parts = []
        for block in _blocks(self._at, size):
            begin = block * BLOCK_BYTES
            parts.append(self._blocks.block(block)[max(0, self._at - begin) : self._at + size - begin])
        self._at += size
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def readall(self) -> bytes:
        """Read to the end."""
        return self.read()


def _blocks(offset: int, length: int) -> range:
    return range(offset // BLOCK_BYTES, -(-(offset + length) // BLOCK_BYTES) if length else offset // BLOCK_BYTES)


def _runs(blocks: Sequence[int]) -> list[range]:
    """Join neighbours, so that they come by one request."""
    runs: list[range] = []
    for block in blocks:
        if runs and runs[-1].stop == block and len(runs[-1]) < _LARGEST_REQUEST:
            runs[-1] = range(runs[-1].start, block + 1)
        else:
            runs.append(range(block, block + 1))
    return runs
