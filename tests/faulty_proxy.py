"""An HTTP proxy on the loopback before a server: it writes down what is asked, and can do what networks do.

Faults come from a seed: a dropped connection, a delay, a 503, a body cut on its way there or an answer on its way back.
"""

import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
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
    """Of the server's answer, whether it arrived or not; 0 where there was none."""
    fault: str = ""
    begun: float = 0.0
    """When the request came, by ``time.monotonic``."""
    answered: float = 0.0
    """When the server had answered."""

    @property
    def is_listing(self) -> bool:
        """Whether objects or uploads were listed."""
        return self.method == "GET" and ("list-type=" in self.query or "uploads" in self.query)

    @property
    def key(self) -> str:
        """The bucket and the key in it."""
        return unquote(self.path).removeprefix("/")


@dataclass(slots=True)
class Proxy:
    """A proxy at work."""

    target: str
    """host:port"""
    share: float = 0.0
    """Share of requests that meet a fault."""
    seed: int = 2021
    pace: float = 0.0
    """Seconds that a PUT is on its way."""
    always: str = ""
    """The fault that each request meets when it comes for the first time, and a PUT for the second time too."""
    away: bool = False
    """Whether every request is dropped."""
    seen: list[Seen] = field(default_factory=list)
    port: int = 0
    begun: int = 0
    """Requests that have come, answered or not."""
    _random: random.Random = field(init=False)
    _times: Counter[tuple[str, str]] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    @property
    def url(self) -> str:
        """Address for ``--endpoint-url``."""
        return f"http://{HOST}:{self.port}"

    def fault(self, method: str, path: str) -> str:
        """Draw what happens to the next request."""
        with self._lock:
            self.begun += 1
            if self.away:
                return "drop"
            if self.always:
                self._times[method, path] += 1
                return self.always if self._times[method, path] <= (2 if method == "PUT" else 1) else ""
            return self._random.choice(FAULTS) if self._random.random() < self.share else ""

    def note(self, seen: Seen) -> None:
        """Write down a request."""
        with self._lock:
            self.seen.append(seen)

    def await_requests(self, count: int, go_on: Callable[[], bool]) -> None:
        """Wait until so many requests have come, as long as there is any sense in it."""
        while self.begun < count and go_on():
            time.sleep(0.001)

    def puts(self) -> list[str]:
        """Paths of the objects that were written, in order, without those that were copied."""
        return [
            unquote(seen.path) for seen in self.seen if seen.method == "PUT" and seen.status == 200 and not seen.copied
        ]


@contextmanager
def proxy(
    target_url: str, share: float = 0.0, seed: int = 2021, *, pace: float = 0.0, always: str = ""
) -> Iterator[Proxy]:
    """Run a proxy before a server until the end of the block."""
    made = Proxy(target=urlsplit(target_url).netloc, share=share, seed=seed, pace=pace, always=always)

    class Handler(_Handler):
        proxy = made

    server = _Server((HOST, 0), Handler)
    made.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients are killed here."""


class _Handler(BaseHTTPRequestHandler):
    proxy: Proxy
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    status, answered = 0, 0.0

    def _forward(self) -> None:
        begun, fault = time.monotonic(), self.proxy.fault(self.command, self.path)
        length = int(self.headers.get("Content-Length") or 0)
        self.status = 0
        try:
            if self.headers.get("Expect", "").lower() == "100-continue":
                self.send_response_only(100)
                self.end_headers()
            body = self.rfile.read(length)
            if self.command == "PUT" and self.proxy.pace:
                time.sleep(self.proxy.pace)
            if len(body) < length or fault == "drop" or self._is_left():
                self._hang_up()
            elif fault == "503":
                self._answer(503, [("Content-Length", "0")], b"")
            else:
                if fault == "delay":
                    time.sleep(0.3)
                self._pass_on(body, fault)
        except (OSError, HTTPException):
            self._hang_up()
        finally:
            split, copied = urlsplit(self.path), "x-amz-copy-source" in self.headers
            answered = self.answered if self.status else time.monotonic()
            self.proxy.note(
                Seen(self.command, split.path, split.query, copied, length, self.status, fault, begun, answered)
            )

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_OPTIONS = _forward  # noqa: N815

    def handle_expect_100(self) -> bool:
        return True

    def _is_left(self) -> bool:
        """Whether the client is gone: what it asked for is lost with it."""
        try:
            return not self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False

    def _pass_on(self, body: bytes, fault: str) -> None:
        host, _, port = self.proxy.target.partition(":")
        connection = HTTPConnection(host, int(port), timeout=30)
        try:
            # The signature covers the host that the client knows.
            headers = {name: value for name, value in self.headers.items() if name.lower() != "expect"}
            if fault == "cut request":
                connection.connect()
                _send_half(connection.sock, self.command, self.path, headers, body)
                self._hang_up()
                return
            connection.request(self.command, self.path, body=body or None, headers=headers)
            answer = connection.getresponse()
            data = answer.read()
            self.answered, self.status = time.monotonic(), answer.status
            kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in _HOP]
            if not any(name.lower() == "content-length" for name, _ in kept):
                kept.append(("Content-Length", str(len(data))))
            if fault != "cut answer":
                self._answer(answer.status, kept, data)
                return
            if data:
                self._answer(answer.status, kept, data[: len(data) // 2])
            self._hang_up()
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
    """Send half of a body, or half of the request's head where it has none."""
    head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    sock.sendall(head.encode() + b"\r\n" + body[: len(body) // 2] if body else head[: len(head) // 2].encode())
