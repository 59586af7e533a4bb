"""Headless Chromium for tests, through Playwright's sync API, with a record of all that a page does.

Playwright's sync API keeps an event loop running in its thread: open pages inside a test or a fixture of that one test,
one at a time, never for a whole session, or every later `asyncio.run` in the process fails.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request, Response, sync_playwright

ROOT: Final = Path(__file__).resolve().parents[1]
ARGUMENTS: Final = (
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-unsafe-swiftshader",
    # Nothing leaves this machine, whatever a page asks for: what it asked for is told by its record.
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)
_LOCAL: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_ABORTED: Final = "net::ERR_ABORTED"


@dataclass(frozen=True, slots=True)
class Record:
    """What a page did since it was opened."""

    console: list[str] = field(default_factory=list)
    """All messages of the console, as `type: text`."""
    errors: list[str] = field(default_factory=list)
    """Errors on the console, and those that nobody caught."""
    failed: list[str] = field(default_factory=list)
    """Requests without an answer, and answers of 400 and above."""
    aborted: list[str] = field(default_factory=list)
    """Requests that the page itself, or a new page after it, gave up: no fault by itself."""
    foreign: list[str] = field(default_factory=list)
    """Addresses asked for on other hosts than the loopback."""
    requests: list[Request] = field(default_factory=list)
    """All requests over HTTP, in their order."""
    finished: list[Request] = field(default_factory=list)
    """Those that were answered to the end."""

    def count(self, part: str = "") -> int:
        """How many requests went to addresses that contain `part`."""
        return sum(part in request.url for request in self.requests)

    def received(self, part: str = "") -> int:
        """Bytes of the bodies that came, as sent; the page must still be open."""
        return sum(request.sizes()["responseBodySize"] for request in self.finished if part in request.url)

    def assert_clean(self) -> None:
        """No error, no failed request, no other host."""
        assert (self.errors, self.failed, self.foreign) == ([], [], [])

    def watch(self, page: Page) -> None:
        """Write down what `page` does from now on."""
        # Playwright writes on the object of a bound method, and a frozen one refuses: hence functions.
        page.on("console", lambda message: self._on_console(message))
        page.on("pageerror", lambda error: self.errors.append(f"uncaught: {error}"))
        page.on("request", lambda request: self._on_request(request))
        page.on("requestfinished", lambda request: self.finished.append(request))
        page.on("requestfailed", lambda request: self._on_failed(request))
        page.on("response", lambda response: self._on_response(response))

    def _on_console(self, message: ConsoleMessage) -> None:
        self.console.append(f"{message.type}: {message.text}")
        if message.type == "error":
            self.errors.append(f"{message.text} ({message.location.get('url', '')})")

    def _on_request(self, request: Request) -> None:
        address = urlsplit(request.url)
        if address.scheme in {"data", "blob"}:
            return
        self.requests.append(request)
        if address.hostname not in _LOCAL:
            self.foreign.append(request.url)

    def _on_failed(self, request: Request) -> None:
        kept = self.aborted if request.failure == _ABORTED else self.failed
        kept.append(f"{request.failure}: {request.url}")

    def _on_response(self, response: Response) -> None:
        if response.status >= 400:
            self.failed.append(f"{response.status}: {response.url}")


def find_chromium() -> str | None:
    """The program, or None where this machine has none."""
    names = ("/usr/bin/chromium", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((path for path in map(shutil.which, names) if path), None)


@contextmanager
def open_browser(*more: str) -> Iterator[Browser]:
    """Run Chromium, with `more` arguments, until the end of the block; skips the test where there is none."""
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium: apt-get install chromium, or put chromium or google-chrome on PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, headless=True, args=[*ARGUMENTS, *more])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def open_page(
    width: int = 1280, height: int = 900, *, scale: float = 1.0, touch: bool = False, browser: Browser | None = None
) -> Iterator[tuple[Page, Record]]:
    """Open an empty page of this size, of `browser` or of one of its own, and give it with its record."""
    if browser is None:
        with open_browser() as own, open_page(width, height, scale=scale, touch=touch, browser=own) as opened:
            yield opened
        return
    context = browser.new_context(
        viewport={"width": width, "height": height}, device_scale_factor=scale, has_touch=touch, locale="en-US"
    )
    try:
        page, record = context.new_page(), Record()
        record.watch(page)
        yield page, record
    finally:
        context.close()


def save_screenshot(shown: Page | Locator, name: str) -> Path:
    """Save a picture of a page or of an element as `NAME.png` in DREAM_SCREENSHOTS, else in build/screenshots."""
    folder = Path(os.environ.get("DREAM_SCREENSHOTS") or ROOT / "build" / "screenshots")
    path = folder / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    shown.screenshot(path=path)
    return path
