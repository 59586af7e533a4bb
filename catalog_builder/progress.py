"""How long work goes on, on standard error: one line that renews itself on a terminal, plain lines in a log."""

import time
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:  # every command shows progress, but few need GDAL
    from catalog_builder.tile import TileResult

_TERMINAL_SECONDS = 0.2
_LOG_SECONDS = 10.0


class _Progress:
    """A line that renews itself on a terminal, and plain lines in a log."""

    def __init__(self, stream: TextIO, *, quiet: bool = False) -> None:
        self._stream, self._quiet = stream, quiet
        self._terminal = stream.isatty()
        self._total = self._done = self._bytes = 0
        self._started = self._shown = time.monotonic()

    def note(self, text: str) -> None:
        """Tell of a step."""
        if not self._quiet:
            self._stream.write(f"\r\x1b[K{text}\n" if self._terminal else f"{text}\n")
            self._stream.flush()

    def _begin(self, total: int) -> None:
        self._total, self._done, self._bytes = total, 0, 0
        self._started = self._shown = time.monotonic()

    def _show_sometimes(self) -> None:
        last = self._done >= self._total
        pause = _TERMINAL_SECONDS if self._terminal else _LOG_SECONDS
        if self._quiet or (time.monotonic() - self._shown < pause and not last):
            return
        self._shown = time.monotonic()
        line = self._line(max(self._shown - self._started, 1e-9))
        self._stream.write(f"\r\x1b[K{line}{chr(10) if last else ''}" if self._terminal else f"{line}\n")
        self._stream.flush()

    def _line(self, seconds: float) -> str:
        raise NotImplementedError


class TileProgress(_Progress):
    """Counts tiles, megabytes of pixels a second and the time that is left."""

    def start(self, tiles: int) -> None:
        """Tell how many tiles there are to look at."""
        self._begin(tiles)

    def tile(self, result: "TileResult") -> None:
        """Count a finished tile."""
        self._done += 1
        self._bytes += result.pixels
        self._show_sometimes()

    def _line(self, seconds: float) -> str:
        rate = self._bytes / 1e6 / seconds
        left = seconds / self._done * (self._total - self._done)
        share = 100 * self._done // max(self._total, 1)
        return f"{self._done:,} of {self._total:,} tiles ({share} %), {rate:.0f} MB/s, {duration(left)} left"


class ObjectProgress(_Progress):
    """Counts objects and their bytes."""

    def __init__(self, stream: TextIO, *, quiet: bool = False) -> None:
        super().__init__(stream, quiet=quiet)
        self._size = 0

    def start(self, objects: int, size: int) -> None:
        """Tell how many objects and bytes there are to bring."""
        self._begin(objects)
        self._size = size

    def advance(self, objects: int, size: int) -> None:
        """Tell of objects that are done, and of their bytes."""
        self._done += objects
        self._bytes += size
        self._show_sometimes()

    def _line(self, seconds: float) -> str:
        share = self._bytes / self._size if self._size else self._done / max(self._total, 1)
        left = duration(seconds / share * (1 - share)) if share else "some time"
        count = f"{self._done:,} of {self._total:,} objects"
        if not self._size:
            return f"{count} ({int(100 * share)} %), {left} left"
        rate = f"{self._bytes / 1e6 / seconds:.1f} MB/s"
        return f"{size(self._bytes)} of {size(self._size)} ({int(100 * share)} %), {count}, {rate}, {left} left"


class BlockProgress(_Progress):
    """Counts blocks of a raster."""

    def start(self, blocks: int) -> None:
        """Tell how many blocks there are to make."""
        self._begin(blocks)

    def block(self) -> None:
        """Count a finished block."""
        self._done += 1
        self._show_sometimes()

    def _line(self, seconds: float) -> str:
        left = duration(seconds / self._done * (self._total - self._done))
        return f"{self._done:,} of {self._total:,} blocks ({100 * self._done // max(self._total, 1)} %), {left} left"


def duration(seconds: float) -> str:
    """Write a time as people read it: ``42 s``, ``3 min 05 s``, ``2 h 10 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def size(count: float) -> str:
    """Write a number of bytes as people read it: ``12.3 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
