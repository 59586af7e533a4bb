"""stac-fastapi-pgstac over PostgreSQL and PostGIS on this machine: what searches of a release are compared with.

The database keeps its files in a temporary folder and listens on a socket there, for nobody else; the API listens on
the loopback alone. Both end, and the folder goes, when the block that started them ends or its process is killed.
"""

import argparse
import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import orjson
import urllib3

HOST = "127.0.0.1"
RETRIES = urllib3.Retry(3, allowed_methods=None)
"""After an answer of status 500 the API hangs up, which a client may learn only from its next request."""
_ROOT = Path(__file__).resolve().parent.parent
_PYTHON = _ROOT / ".venv-pgstac" / "bin" / "python"
_SETUP = _ROOT / "tools" / "pgstac-setup"
_DATABASE = "stac"
_PATIENCE = 60.0
"""Seconds until a server must have answered."""
_SETTINGS = {
    # A database of one's own that goes in the end: nothing has to outlive a crash.
    "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off",
    "wal_level": "minimal", "max_wal_senders": "0", "max_wal_size": "8GB", "autovacuum_naptime": "10min",
    # What PgSTAC's own guide asks for on a machine like a small cloud one, whose disk is an SSD.
    "shared_buffers": "1GB", "effective_cache_size": "6GB", "work_mem": "64MB", "maintenance_work_mem": "512MB",
    "random_page_cost": "1.1", "max_connections": "30",
}  # fmt: skip

EXAMPLES = """\
examples:
  python tools/pgstac.py demo-release --port 8081 &
  stac-client search http://127.0.0.1:8081 --bbox 0 42 2 43.2 --matched
"""


@dataclass(slots=True)
class PgstacServer:
    """A STAC API, its database, and who cleans up after both."""

    folder: Path
    account: Mapping[str, Any]
    """Whom the database runs as; PostgreSQL refuses to run as root."""
    keeper: "subprocess.Popen[bytes]"
    processes: "list[subprocess.Popen[bytes]]" = field(default_factory=list)
    port: int = 0
    http: urllib3.PoolManager | None = None

    @property
    def url(self) -> str:
        """Address of the landing page."""
        return f"http://{HOST}:{self.port}"

    @property
    def _socket(self) -> Path:
        return self.folder / "socket"

    @property
    def _log(self) -> Path:
        return self.folder / "log.txt"

    # --- start and stop ---

    def start_database(self) -> None:
        """Make a cluster and a database, and migrate it to PgSTAC. Raises ``RuntimeError``."""
        owned = self.folder / "postgres", self._socket
        for path in owned:
            path.mkdir(mode=0o700)
            if self.account:
                shutil.chown(path, self.account["user"], self.account["group"])
        make = ["--auth=trust", f"--username={_DATABASE}", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
        self._run([_program("initdb"), f"--pgdata={owned[0]}", *make], **self.account)
        options = {"listen_addresses": "", "unix_socket_directories": str(self._socket), **_SETTINGS}
        flags = [flag for name, value in options.items() for flag in ("-c", f"{name}={value}")]
        # An immediate shutdown leaves its files as they are, and nothing in the memory that processes share.
        server = self._start([_program("postgres"), "-D", str(owned[0]), *flags], signal.SIGQUIT, **self.account)
        until = time.monotonic() + _PATIENCE
        while self._try([_program("pg_isready"), "-h", str(self._socket), "-q"]):
            if time.monotonic() > until or server.poll() is not None:
                raise RuntimeError(f"PostgreSQL does not answer:\n{self.words()}")
            time.sleep(0.1)
        self._run([_program("createdb"), _DATABASE], env=self._environment())
        self._pypgstac("migrate")

    def start_api(self, port: int | None) -> None:
        """Start the API and wait until it answers. Raises ``RuntimeError``."""
        token = secrets.token_hex(8)
        self.port = port or _free_port()
        # The path of the socket is where a URL has its host.
        folder = str(self._socket).replace("/", "%2F")
        environment = self._environment() | {"PGHOST": folder, "STAC_FASTAPI_LANDING_ID": token}
        command = [str(_PYTHON), "-m", "uvicorn", "--factory", "stac_fastapi.pgstac.app:create_app"]
        # A client may take its time between two requests over one connection.
        more = ["--host", HOST, "--port", str(self.port), "--log-level", "warning", "--timeout-keep-alive", "3600"]
        server = self._start([*command, *more], signal.SIGKILL, env=environment)
        self.http = urllib3.PoolManager(retries=RETRIES, timeout=600)
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until and server.poll() is None:
            with suppress(urllib3.exceptions.HTTPError, ValueError):
                if self.http.request("GET", self.url, timeout=5, retries=False).json()["id"] == token:
                    return
            time.sleep(0.1)
        raise RuntimeError(f"the API does not answer on port {self.port}:\n{self.words()}")

    def stop(self) -> None:
        """End both servers and remove their folder; a second time does nothing."""
        if self.keeper.stdin is not None and not self.keeper.stdin.closed:
            self.keeper.stdin.close()
        for process in (self.keeper, *self.processes):
            process.wait()
        if self.http is not None:
            self.http.clear()

    def words(self) -> str:
        """Give the last lines that the servers wrote."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-20:]) if self._log.is_file() else ""

    # --- what it is for ---

    def load(
        self,
        collections: Sequence[Mapping[str, Any]],
        items: Iterable[Mapping[str, Any]],
        *,
        partition: str | None = None,
    ) -> tuple[int, float]:
        """Put collections and then items into the database; give how many items, and in how many seconds.

        It is the fastest way of pypgstac: rows are copied straight into the table of their collection, or of its year
        or month where ``partition`` says so. Two loaders at a time are no faster on two cores. Raises ``RuntimeError``.
        """
        self._pypgstac("load", "collections", "stdin", lines=collections)
        if partition:
            self.sql(f"UPDATE pgstac.collections SET partition_trunc = '{partition}'")
        started = time.perf_counter()
        count = self._pypgstac("load", "items", "stdin", "--method", "insert", lines=items)
        seconds = time.perf_counter() - started
        self.sql("VACUUM ANALYZE")
        return count, seconds

    def declare_numbers(self, names: Iterable[str]) -> None:
        """Say which properties are numbers; PgSTAC sorts what it was told nothing of as text."""
        queryables = {"type": "object", "properties": {name: {"type": "number"} for name in names}}
        path = self.folder / "queryables.json"
        path.write_bytes(orjson.dumps(queryables))
        self._pypgstac("load_queryables", str(path))

    def count_matches(self) -> None:
        """Let every answer tell the number of items that match; by default PgSTAC does not count them."""
        self.sql(
            "INSERT INTO pgstac.pgstac_settings (name, value) VALUES ('context', 'on')"
            " ON CONFLICT (name) DO UPDATE SET value = excluded.value"
        )

    def query(self, params: Mapping[str, Any]) -> tuple[float, list[str]]:
        """Ask for one page over a connection that stays open; give the seconds until it was read, and the items' ids.

        Raises ``RuntimeError`` with the words of the API.
        """
        assert self.http is not None
        body, headers = orjson.dumps(params), {"Content-Type": "application/json"}
        started = time.perf_counter()
        answer = self.http.request("POST", f"{self.url}/search", body=body, headers=headers)
        found = orjson.loads(answer.data)
        seconds = time.perf_counter() - started
        if answer.status != 200:
            raise RuntimeError(f"HTTP {answer.status}: {found}")
        return seconds, [str(feature["id"]) for feature in found["features"]]

    def sql(self, text: str) -> str:
        """Run one statement and give its rows, a line each. Raises ``RuntimeError``."""
        command = [_program("psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", text]
        return self._run(command, env=self._environment()).decode().strip()

    def version(self) -> dict[str, str]:
        """Name the software that answers."""
        code = "import importlib.metadata as m; print(m.version('stac-fastapi-pgstac'), m.version('pypgstac'))"
        api, pgstac = self._run([str(_PYTHON), "-c", code]).decode().split()
        postgis = self.sql("SELECT extversion FROM pg_extension WHERE extname = 'postgis'")
        names = {"stac-fastapi-pgstac": api, "pgstac": pgstac, "postgis": postgis}
        return names | {"postgresql": self.sql("SHOW server_version").split()[0]}

    # --- programs ---

    def _environment(self) -> dict[str, str]:
        """Say where the database is, and nothing of what the user's own environment says of others."""
        own = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "STAC_", "POSTGRES"))}
        return own | {
            "PGHOST": str(self._socket), "PGPORT": "5432", "PGDATABASE": _DATABASE,
            "PGUSER": _DATABASE, "PGPASSWORD": _DATABASE,
        }  # fmt: skip

    def _pypgstac(self, *arguments: str, lines: Iterable[Mapping[str, Any]] = ()) -> int:
        """Run pypgstac with lines of JSON as its input; give how many there were."""
        command = [str(_PYTHON), "-m", "pypgstac.pypgstac", *arguments]
        run = self._start(command, signal.SIGKILL, env=self._environment(), stdin=subprocess.PIPE)
        assert run.stdin is not None
        count = 0
        # One that fails closes its end; what it said is in the log.
        with suppress(BrokenPipeError), run.stdin:
            for count, line in enumerate(map(_line, lines), 1):  # noqa: B007
                run.stdin.write(line)
        if run.wait():
            raise RuntimeError(f"pypgstac {' '.join(arguments)} failed:\n{self.words()}")
        return count

    def _start(self, command: Sequence[str], end: signal.Signals, **how: Any) -> "subprocess.Popen[bytes]":
        """Start a server that the keeper ends; a Ctrl-C of the terminal does not reach it."""
        with self._log.open("ab") as log:
            more = {"stdin": subprocess.DEVNULL, "cwd": self.folder, "start_new_session": True, **how}
            process: subprocess.Popen[bytes] = subprocess.Popen(command, stdout=log, stderr=log, **more)
        self.processes.append(process)
        self._keep(process, end)
        return process

    def _keep(self, process: "subprocess.Popen[bytes]", end: signal.Signals) -> None:
        assert self.keeper.stdin is not None
        self.keeper.stdin.write(f"{process.pid} {end.value}\n".encode())
        self.keeper.stdin.flush()

    def _run(self, command: Sequence[str], **how: Any) -> bytes:
        try:
            done = subprocess.run(command, check=True, capture_output=True, cwd=self.folder, **how)
        except subprocess.CalledProcessError as error:
            raise RuntimeError(f"{Path(command[0]).name} failed: {error.stderr.decode()}{self.words()}") from error
        return bytes(done.stdout)

    def _try(self, command: Sequence[str]) -> int:
        return subprocess.run(command, check=False, capture_output=True, cwd=self.folder).returncode


def _line(document: Mapping[str, Any]) -> bytes:
    data = orjson.dumps(document)
    if b"\\\\" in data:
        raise RuntimeError(f"{document.get('id')}: pypgstac spoils a backslash in JSON")
    return data + b"\n"


def _program(name: str) -> str:
    """Find a program of the newest PostgreSQL that has PostGIS, where Debian puts them. Raises ``RuntimeError``."""
    have = Path("/usr/share/postgresql").glob("*/extension/postgis.control")
    versions = [path.parent.parent.name for path in have]
    if not versions:
        raise RuntimeError("PostgreSQL with PostGIS is not installed: tools/pgstac-setup")
    return f"/usr/lib/postgresql/{max(versions, key=float)}/bin/{name}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def unavailable() -> str | None:
    """Make ready what is missing, where it can be; say in one line why it cannot, or nothing."""
    if not hasattr(os, "pidfd_open"):
        return "pgstac cannot run here: Linux is needed"
    done = subprocess.run([str(_SETUP)], check=False, capture_output=True, text=True)
    return done.stderr.strip().rpartition("\n")[2] if done.returncode else None


# --- who cleans up ----------------------------------------------------------------------------------------------------


def _start_keeper(folder: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, __file__, "--keep", str(folder)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)


def _keep(folder: Path, lines: BinaryIO) -> None:
    """Wait for the end of whoever writes the lines, be it killed; then end the processes that it named, and clean up.

    A process is held by a descriptor, so that another one that got its number meanwhile is never meant.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    held: list[tuple[int, int]] = []
    try:
        for line in lines:
            pid, end = map(int, line.split())
            with suppress(ProcessLookupError):
                held.append((os.pidfd_open(pid), end))
    finally:
        for process, end in reversed(held):
            _end(process, end)
        shutil.rmtree(folder, ignore_errors=True)


def _end(process: int, end: int) -> None:
    for number in (end, signal.SIGKILL):
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(process, number)
        if select.select([process], [], [], 15)[0]:
            return


@contextmanager
def pgstac_server(folder: Path | None = None, port: int | None = None) -> Iterator[PgstacServer]:
    """Run an empty API until the end of the block; ``folder`` is where its temporary folder shall be.

    As root the database runs as ``postgres``, who must be able to reach that place. Raises ``RuntimeError``.
    """
    own = Path(tempfile.mkdtemp(prefix="pgstac_", dir=folder))
    own.chmod(0o711)
    account = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
    server = PgstacServer(folder=own, account=account, keeper=_start_keeper(own))
    try:
        server.start_database()
        server.start_api(port)
        yield server
    finally:
        server.stop()


# --- a release through pgstac -----------------------------------------------------------------------------------------


def read_release(release: str) -> tuple[list[dict[str, Any]], Iterator[dict[str, Any]]]:
    """Give the collections and the items of a release, with absolute addresses of assets and without links."""
    import pystac

    catalog = pystac.Catalog.from_file(release if release.endswith(".json") else f"{release.rstrip('/')}/catalog.json")
    collections = list(catalog.get_collections())
    items = (item for collection in collections for item in collection.get_items(recursive=True))
    return [_document(one) for one in collections], (_document(item) for item in items)


def _document(thing: Any) -> dict[str, Any]:
    for asset in thing.assets.values():
        asset.href = asset.get_absolute_href() or asset.href
    document: dict[str, Any] = thing.to_dict(include_self_link=False, transform_hrefs=False)
    return document | {"links": []}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("release", nargs="?", help="folder or address of a release")
    parser.add_argument("--port", type=int, default=8081, help="port of the API (default: 8081)")
    parser.add_argument("--keep", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.keep:
        _keep(args.keep, sys.stdin.buffer)
        return
    if not args.release:
        parser.error("which release?")
    if reason := unavailable():
        sys.exit(reason)
    # Ended by a signal, it takes its servers and its folder along.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with pgstac_server(port=args.port) as server, suppress(KeyboardInterrupt):
        server.count_matches()
        count, seconds = server.load(*read_release(args.release))
        print(f"{server.url}: {count:,} items, loaded in {seconds:.1f} s", flush=True)
        while server.keeper.poll() is None:
            time.sleep(0.5)


if __name__ == "__main__":
    main()
