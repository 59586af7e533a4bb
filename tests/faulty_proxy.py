"""An HTTP proxy on the loopback before a server: it writes down what is asked, and can do what networks do.

Faults come from a seed: a dropped connection, a delay, a 503, a body cut on its way there or back.
"""

import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

HOST = "127.0.0.1"
FAULTS = ("drop", "delay", "503", "cut request", "cut answer")


@dataclass(frozen=True, slots=True)
class Seen:
    """One request."""

    method: str
    path: str
    query: str
    copied: bool
    """Whether the server was asked to copy."""
    size: int
    status: int
    """Of the answer; 0 where there was none."""
    fault: str = ""

    @property
    def is_listing(self) -> bool:
        """Whether objects or uploads were listed."""
        return self.method == "GET" and ("list-type=" in self.query or "uploads" in self.query)


@dataclass(slots=True)
class Proxy:
    """A proxy at work."""

    target: str
    """host:port"""
    share: float = 0.0
    """Share of requests that meet a fault."""
    seed: int = 2021
    seen: list[Seen] = field(default_factory=list)
    port: int = 0
    _random: random.Random = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    @property
    def url(self) -> str:
        """Address for ``--endpoint-url``."""
        return f"http://{HOST}:{self.port}"

    def fault(self) -> str:
        """Draw what happens to the next request."""
        with self._lock:
            return self._random.choice(FAULTS) if self._random.random() < self.share else ""

    def note(self, seen: Seen) -> None:
        """Write down a request."""
        with self._lock:
            self.seen.append(seen)

    def puts(self) -> list[str]:
        """Keys of the objects that were written, in order, without those that were copied."""
        return [
            unquote(seen.path) for seen in self.seen if seen.method == "PUT" and seen.status == 200 and not seen.copied
        ]


@contextmanager
def proxy(target_url: str, share: float = 0.0, seed: int = 2021) -> Iterator[Proxy]:
    """Run a proxy before a server until the end of the block."""
    made = Proxy(target=urlsplit(target_url).netloc, share=share, seed=seed)

    class Handler(_Handler):
        proxy = made

    server = ThreadingHTTPServer((HOST, 0), Handler)
    server.daemon_threads = True
    made.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    proxy: Proxy
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _forward(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        body = self.rfile.read(length)
        fault = self.proxy.fault()
        status = 0
        try:
            if fault == "drop":
                self._hang_up()
            elif fault == "503":
                status = 503
                self._answer(503, [("Content-Length", "0")], b"")
            else:
                if fault == "delay":
                    time.sleep(0.3)
                status = self._pass_on(body, fault)
        except (OSError, HTTPException):
            self._hang_up()
        split = urlsplit(self.path)
        copied = "x-amz-copy-source" in self.headers
        self.proxy.note(Seen(self.command, split.path, split.query, copied, length, status, fault))

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_OPTIONS = _forward  # noqa: N815

    def handle_expect_100(self) -> bool:
        return True

    def _pass_on(self, body: bytes, fault: str) -> int:
        host, _, port = self.proxy.target.partition(":")
        connection = HTTPConnection(host, int(port), timeout=30)
        try:
            # The signature covers the host that the client knows.
            headers = {name: value for name, value in self.headers.items() if name.lower() not in ("expect",)}
            if fault == "cut request" and body:
                connection.connect()
                _send_half(connection.sock, self.command, self.path, headers, body)
                self._hang_up()
                return 0
            connection.request(self.command, self.path, body=body or None, headers=headers)
            answer = connection.getresponse()
            data = answer.read()
            kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in _HOP]
            if not any(name.lower() == "content-length" for name, _ in kept):
                kept.append(("Content-Length", str(len(data))))
            if fault == "cut answer":
                self._answer(answer.status, kept, data[: len(data) // 2])
                self._hang_up()
            else:
                self._answer(answer.status, kept, data)
            return answer.status
        finally:
            connection.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], data: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
        self.wfile.flush()

    def _hang_up(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: Any) -> None:
        pass


_HOP = frozenset({"connection", "keep-alive", "transfer-encoding"})


def _send_half(sock: socket.socket, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
    head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    sock.sendall(head.encode() + b"\r\n" + body[: len(body) // 2])
