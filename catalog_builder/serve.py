"""A release on the loopback, read by browsers and GDAL as they would read it from a bucket.

The standard library's file server knows no byte ranges and lists folders; this one answers ranges,
entity tags and CORS preflights, and gives out nothing but the plain files of one release, and those of a
STAC Browser beside it where one was named.
"""

import os
import re
import sys
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.parse import unquote

from catalog_builder.errors import UsageError
from catalog_builder.media import media_type

HOST: Final = "127.0.0.1"
ENTRY: Final = "/catalog.json"
EXPLORER: Final = "/explore/index.html"
BROWSER: Final = "/browser/"
_PAGE: Final = "index.html"
# Nineteen digits and more are no file's size: such a header is malformed, and int() stays cheap.
_RANGE: Final = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})", re.IGNORECASE)
_ENTITY_TAG: Final = re.compile(r'"[^"]*"')


class ReleaseServer(ThreadingHTTPServer):
    """The server of one release; `log` is handed a line per request, or nobody is."""

    daemon_threads = True

    def __init__(self, root: Path, port: int, log: Callable[[str], None] | None, browser: Path | None = None) -> None:
        self.root = root
        self.browser = browser
        self.log = log
        super().__init__((HOST, port), _Handler)

    def find(self, target: str) -> Path | None:
        """The plain file that a request names, of the browser below its address and of the release elsewhere."""
        path = _path(target)
        if self.browser is None or not path.startswith(BROWSER):
            return locate(self.root, path)
        return locate(self.browser, "/" + (path.removeprefix(BROWSER) or _PAGE))

    def goal(self, target: str) -> str | None:
        """Where a request is led to that names no file, but what people type."""
        path = _path(target)
        if path == BROWSER.removesuffix("/") and self.browser is not None:
            return BROWSER
        return ENTRY if path == "/" else None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print what went wrong, except that a reader went away: browsers and GDAL do so all day."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


def make_server(
    root: Path, port: int = 0, *, browser: Path | None = None, log: Callable[[str], None] | None = None
) -> ReleaseServer:
    """Bind a server of `root` to the loopback; the caller runs `serve_forever` and closes it.

    Port 0 takes any free one. `browser` is a built STAC Browser. Raises UsageError where `root` is no folder, where
    `browser` has no page, or where the port cannot be had.
    """
    if not root.is_dir():
        raise UsageError(f"{root}: not a folder, so there is no release to serve")
    if browser is not None and not (browser / _PAGE).is_file():
        raise UsageError(f"{browser}: no {_PAGE}, so there is no STAC Browser to serve; make one with tools/browser")
    try:
        return ReleaseServer(root.resolve(), port, log, browser.resolve() if browser else None)
    except (OSError, OverflowError) as error:
        raise UsageError(f"port {port} cannot be had on {HOST}: {error}") from error


def links(server: ReleaseServer) -> tuple[str, ...]:
    """The addresses worth opening, the catalog first; then the pages for people, where there are any."""
    explorer = (EXPLORER,) if server.find(EXPLORER) else ()
    browser = (BROWSER,) if server.browser else ()
    return tuple(f"http://{HOST}:{server.server_port}{path}" for path in (ENTRY, *explorer, *browser))


def locate(root: Path, target: str) -> Path | None:
    """The plain file under the resolved `root` that a request names, or None.

    Hidden names are refused both as asked and as found, for a link can lead to either.
    """
    names = unquote(_path(target)).split("/")[1:]
    if not names or any(_hidden(name) for name in names):
        return None
    try:
        path = root.joinpath(*names).resolve(strict=True)
    except (OSError, ValueError, RuntimeError):  # missing or too long; a NUL byte; a loop of links
        return None
    inside = path.is_relative_to(root) and not any(map(_hidden, path.relative_to(root).parts))
    return path if inside and path.is_file() else None


def _path(target: str) -> str:
    """The path of a request, still quoted."""
    return re.split("[?#]", target, maxsplit=1)[0]


def _hidden(name: str) -> bool:
    return not name or name.startswith(".") or "\\" in name


def byte_range(header: str, size: int) -> range | None:
    """The bytes that a Range header asks for: None is all of them, an empty range is unsatisfiable.

    A server may ignore a Range (RFC 9110, 14.2): malformed and multiple ones, and any of an empty file.
    """
    match = _RANGE.fullmatch(header.strip())
    if match is None or not size:
        return None
    first, last = match.groups()
    if not first:
        return range(max(size - int(last), 0), size) if last else None
    if last and int(last) < int(first):
        return None
    return range(int(first), min(int(last) + 1, size) if last else size)


class _Handler(BaseHTTPRequestHandler):
    server: ReleaseServer
    protocol_version = "HTTP/1.1"
    server_version = "catalog-builder"
    sys_version = ""
    timeout = 60  # seconds that an idle connection keeps its thread
    # Head and body are two writes: Nagle would hold the second back for the first one's ACK.
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        goal = self.server.goal(self.path)
        if goal is not None:
            self._head(HTTPStatus.FOUND, {"Location": goal, "Content-Length": "0"})
            return
        path = self.server.find(self.path)
        try:
            file = path.open("rb") if path else None
        except OSError:  # gone since, or not ours to read
            file = None
        if path is None or file is None:
            self._head(HTTPStatus.NOT_FOUND, {"Content-Length": "0"})
            return
        with file:
            self._answer(file, media_type(path.name))

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_OPTIONS(self) -> None:
        headers = {
            "Allow": "GET, HEAD, OPTIONS",
            "Access-Control-Allow-Methods": "GET, HEAD, OPTIONS",
            "Access-Control-Allow-Headers": "Range, If-None-Match, If-Range",
            "Access-Control-Max-Age": "600",
        }
        if "Access-Control-Request-Private-Network" in self.headers:
            headers["Access-Control-Allow-Private-Network"] = "true"  # a public page may read the loopback
        self._head(HTTPStatus.NO_CONTENT, headers)

    def _answer(self, file: BinaryIO, media_type: str) -> None:
        """Answer with a file, whole or in part; it is asked once it is open, so head and body agree."""
        stat = os.fstat(file.fileno())
        tag = f'"{stat.st_size:x}-{stat.st_mtime_ns:x}"'
        headers = {"ETag": tag, "Accept-Ranges": "bytes"}
        if self._has(tag):
            self._head(HTTPStatus.NOT_MODIFIED, headers)
            return
        asked, size = self._asked(tag, stat.st_size), stat.st_size
        if asked is not None and not asked:
            headers |= {"Content-Range": f"bytes */{size}", "Content-Length": "0"}
            self._head(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, headers)
            return
        sent = range(size) if asked is None else asked
        headers |= {"Content-Type": media_type, "Content-Length": str(len(sent))}
        if asked is not None:
            headers["Content-Range"] = f"bytes {sent.start}-{sent.stop - 1}/{size}"
        self._head(HTTPStatus.OK if asked is None else HTTPStatus.PARTIAL_CONTENT, headers)
        self._body(file, sent)

    def _has(self, tag: str) -> bool:
        """Whether the client says that it holds this version; weak comparison, as RFC 9110 13.1.2 has it."""
        known = self.headers.get("If-None-Match", "")
        return known.strip() == "*" or tag in _ENTITY_TAG.findall(known)

    def _asked(self, tag: str, size: int) -> range | None:
        """The bytes asked for; all of them to HEAD, and to an If-Range that names another version."""
        if self.command != "GET" or self.headers.get("If-Range", tag).strip() != tag:
            return None
        return byte_range(self.headers.get("Range", ""), size)

    def _head(self, status: HTTPStatus, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _body(self, file: BinaryIO, sent: range) -> None:
        if self.command == "HEAD" or not sent:
            return
        copied = self.connection.sendfile(file, offset=sent.start, count=len(sent))
        if copied < len(sent):  # the file shrank under us: only a closed connection can say so now
            self.close_connection = True

    def end_headers(self) -> None:
        """Every answer is open to every origin, the refusals of the base class included."""
        self.send_header("Access-Control-Allow-Origin", "*")
        self.send_header("Access-Control-Expose-Headers", "Content-Range, ETag, Content-Length, Accept-Ranges")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Hand the line to whom it was asked for; silence is the default."""
        if self.server.log is not None:
            self.server.log(format % args)
