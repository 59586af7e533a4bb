"""A STAC API and a server of its files, on the loopback: pages, byte ranges, counts of bytes, and faults."""

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

HOST = "127.0.0.1"
CONFORMS = [f"https://api.stacspec.org/v1.0.0/{name}" for name in ("core", "item-search")]
Item = dict[str, Any]
Answer = tuple[int, dict[str, str], bytes]
Fault = Callable[[str, int], Answer | None]
"""Gives the answer to a request, by its path and its number, in place of the right one; or None."""


@dataclass
class StacServer:
    """What a server holds, and what it was asked."""

    folder: Path
    items: list[Item]
    page: int = 2
    fault: Fault = lambda *_: None
    ends_early: bool = False
    """Whether a long part of a file breaks off half-way."""
    port: int = 0
    sent: Counter[str] = field(default_factory=Counter)
    """Bytes of files, by path."""
    asked: list[str] = field(default_factory=list)
    """Method, path and query of each request."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def found(self, body: Item) -> list[Item]:
        """Items that a search asks for."""
        west, south, east, north = body["bbox"]
        start, end = map(datetime.fromisoformat, body["datetime"].split("/"))
        return [
            item
            for item in self.items
            if item["collection"] in body["collections"]
            and item["bbox"][0] <= east
            and item["bbox"][2] >= west
            and item["bbox"][1] <= north
            and item["bbox"][3] >= south
            and start <= datetime.fromisoformat(item["properties"]["datetime"]) <= end
        ]

    def landing(self) -> Item:
        links = [
            {"rel": "self", "href": f"{self.url}/"},
            {"rel": "root", "href": f"{self.url}/"},
            {"rel": "search", "href": f"{self.url}/search", "method": "POST", "type": "application/geo+json"},
        ]
        about = {"type": "Catalog", "stac_version": "1.0.0", "id": "api", "title": "API", "description": "API"}
        return {**about, "conformsTo": CONFORMS, "links": links}

    def results(self, body: Item) -> Item:
        """One page of a search."""
        found, begin = self.found(body), int(body.get("token", 0))
        end = begin + self.page
        following = {
            "rel": "next",
            "href": f"{self.url}/search",
            "method": "POST",
            "merge": True,
            "body": {"token": end},
        }
        links = [following] if end < len(found) else []
        return {"type": "FeatureCollection", "features": found[begin:end], "links": links}


def document(value: object, status: int = 200, **headers: str) -> Answer:
    return status, {"Content-Type": "application/json", **headers}, json.dumps(value).encode()


@contextmanager
def stac_server(folder: Path, items: list[Item], **more: Any) -> Iterator[StacServer]:
    """Run an API until the end of the block. ``HOST`` in the hrefs of its items becomes its address."""
    made = StacServer(folder=folder, items=[], **more)

    class Handler(_Handler):
        server_of = made

    server = _Server((HOST, 0), Handler)
    made.port = server.server_port
    made.items = json.loads(json.dumps(items).replace("http://HOST", made.url))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients hang up here."""


class _Handler(BaseHTTPRequestHandler):
    server_of: StacServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _answer(self) -> None:
        at, path = self.server_of, urlsplit(self.path).path
        with at.lock:
            at.asked.append(f"{self.command} {self.path}")
            number = len(at.asked)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, headers, data = at.fault(path, number) or self._right_answer(path, body)
        self.send_response_only(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if at.ends_early and status == 206 and len(data) > 16384:
            data, self.close_connection = data[: len(data) // 2], True
        if self.command != "HEAD":
            with suppress(OSError):
                self.wfile.write(data)
            with at.lock:
                at.sent[path] += len(data)

    do_GET = do_POST = do_HEAD = _answer  # noqa: N815

    def _right_answer(self, path: str, body: bytes) -> Answer:
        at = self.server_of
        if path == "/":
            return document(at.landing())
        if path == "/search":
            return document(at.results(json.loads(body)))
        file = at.folder / path.removeprefix("/files/")
        if not file.is_file():
            return 404, {}, b"not found"
        data = file.read_bytes()
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if wanted is None:
            return 200, {"Accept-Ranges": "bytes"}, data
        first, last = int(wanted[1]), min(int(wanted[2] or len(data) - 1), len(data) - 1)
        if first >= len(data):
            return 416, {"Content-Range": f"bytes */{len(data)}"}, b""
        return 206, {"Content-Range": f"bytes {first}-{last}/{len(data)}"}, data[first : last + 1]

    def log_message(self, format: str, *args: Any) -> None:
        pass


def slow(seconds: float) -> Fault:
    """Answer too late."""

    def fault(*_: object) -> Answer | None:
        time.sleep(seconds)
        return None

    return fault
