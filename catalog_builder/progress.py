"""How long work goes on, on standard error: one line that renews itself on a terminal, plain lines in a log."""

import time
from typing import TextIO

from catalog_builder.tile import TileResult

_TERMINAL_SECONDS = 0.2
_LOG_SECONDS = 10.0


class TileProgress:
    """Counts tiles, megabytes of pixels a second and the time that is left."""

    def __init__(self, stream: TextIO, *, quiet: bool = False) -> None:
        self._stream, self._quiet = stream, quiet
        self._terminal = stream.isatty()
        self._total = self._done = self._bytes = 0
        self._started = self._shown = time.monotonic()

    def start(self, tiles: int) -> None:
        """Tell how many tiles there are to look at."""
        self._total = tiles
        self._started = self._shown = time.monotonic()

    def tile(self, result: TileResult) -> None:
        """Count a finished tile."""
        self._done += 1
        self._bytes += result.pixels
        pause = _TERMINAL_SECONDS if self._terminal else _LOG_SECONDS
        if time.monotonic() - self._shown >= pause or self._done == self._total:
            self._show()

    def note(self, text: str) -> None:
        """Tell of a step."""
        if not self._quiet:
            self._stream.write(f"\r\x1b[K{text}\n" if self._terminal else f"{text}\n")
            self._stream.flush()

    def _show(self) -> None:
        if self._quiet:
            return
        self._shown = time.monotonic()
        line = self._line(self._shown - self._started)
        last = self._done == self._total
        self._stream.write(f"\r\x1b[K{line}{chr(10) if last else ''}" if self._terminal else f"{line}\n")
        self._stream.flush()

    def _line(self, seconds: float) -> str:
        rate = self._bytes / 1e6 / max(seconds, 1e-9)
        left = seconds / self._done * (self._total - self._done)
        share = 100 * self._done // max(self._total, 1)
        return f"{self._done:,} of {self._total:,} tiles ({share} %), {rate:.0f} MB/s, {duration(left)} left"


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
