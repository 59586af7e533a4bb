"""Time publishing a release against `aws s3 sync` and `s5cmd`, to one real server on this machine.

The same tree goes to fresh prefixes of a SeaweedFS bucket, in turn, round by round; a ratio compares two runs of one
round. Ours sends a SHA-256 with every object and keeps an order; the others do neither. Then publishing again, with
nothing to do. Start-up of every command is in its time.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from tools.local_bucket import ACCESS_KEY, BUCKET, SECRET_KEY, LocalBucket, local_bucket
from tools.made_release import make_release

SIZES = tuple(range(5_000, 300_001, 5_000))
MEMORY_LIMIT, NO_OP_LIMIT = 300e6, 5.0
SMALL = (200, 400, 800)

EXAMPLES = """\
examples:
  python tools/bench_publish.py                               6,000 objects of 5 to 300 kB, 3 rounds; 20,000 small ones
  python tools/bench_publish.py --objects 500 --rounds 1 --no-op-objects 1000     a quick look
"""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def beside(name: str) -> str:
    """Find a program in the same environment."""
    return str(Path(sys.executable).with_name(name))


def environment(folder: Path) -> dict[str, str]:
    """Give credentials, and no configuration of this machine's user."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "S3_"))}
    own = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "AWS_DEFAULT_REGION": "us-east-1"}
    return kept | own | {"AWS_CONFIG_FILE": str(folder / "none"), "AWS_SHARED_CREDENTIALS_FILE": str(folder / "none")}


class Commands:
    """What is compared."""

    def __init__(self, server: LocalBucket, folder: Path) -> None:
        self.url, self.environment = server.url, environment(folder)

    def ours(self, release: Path, prefix: str) -> list[str]:
        """Give the command of this project."""
        target = f"s3://{BUCKET}/{prefix}"
        return [beside("catalog-builder"), "publish", "-q", str(release), target, "--endpoint-url", self.url]

    def sync(self, release: Path, prefix: str) -> list[str]:
        """Give the command of AWS, with its defaults."""
        target = f"s3://{BUCKET}/{prefix}"
        return [beside("aws"), "s3", "sync", "--only-show-errors", str(release), target, "--endpoint-url", self.url]

    def s5cmd(self, release: Path, prefix: str) -> list[str]:
        """Give the command known for its speed."""
        target = f"s3://{BUCKET}/{prefix}/"
        return [beside("s5cmd"), "--endpoint-url", self.url, "--log", "error", "cp", f"{release}/", target]

    def run(self, command: Sequence[str]) -> dict[str, float]:
        """Run a command: seconds, and the most memory of it and its children together."""
        started = time.perf_counter()
        with (
            subprocess.Popen(command, env=self.environment, stdout=subprocess.DEVNULL) as process,
            watched(process) as peak,
        ):
            code = process.wait()
            seconds = time.perf_counter() - started
        if code:
            sys.exit(f"{' '.join(command)}: exit code {code}")
        return {"seconds": seconds, "peak_bytes": peak()}


@contextmanager
def watched(process: "subprocess.Popen[bytes]") -> Iterator[Callable[[], int]]:
    """Watch the memory of a process and its children; what they share is counted once (PSS)."""
    most, done = 0, threading.Event()

    def watch() -> None:
        nonlocal most
        # Each look costs the measured processes some of their time.
        while not done.wait(0.25):
            most = max(most, memory(process.pid))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield lambda: most
    finally:
        done.set()
        thread.join()


def memory(pid: int) -> int:
    try:
        parent = psutil.Process(pid)
        return sum(one.memory_full_info().pss for one in (parent, *parent.children(recursive=True)))
    except psutil.Error:
        return 0


def compare(server: LocalBucket, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Send the same tree three ways, round by round."""
    release = make_release(folder / "release", args.objects // 5, SIZES)
    objects = sum(1 for path in release.rglob("*") if path.is_file())
    commands = Commands(server, folder)
    rounds = []
    for number in range(args.rounds + 1):
        prefix = f"round_{number}" if number else "warm_up"
        measured = {}
        for name in ("ours", "sync", "s5cmd"):
            measured[name] = commands.run(getattr(commands, name)(release, f"{prefix}/{name}"))
            say(f"  {prefix}: {name:<6} {measured[name]['seconds']:6.2f} s")
        rounds.append(measured)
    rounds = rounds[1:]
    medians = {name: median(one[name]["seconds"] for one in rounds) for name in rounds[0]}
    peak = max(one["ours"]["peak_bytes"] for one in rounds)
    return {
        "objects": objects,
        "bytes": sum(path.stat().st_size for path in release.rglob("*") if path.is_file()),
        "rounds": rounds,
        "median_seconds": medians,
        "targets": [
            at_least("rate against aws s3 sync", ratio(rounds, "sync"), 1.4),
            at_least("rate against s5cmd", ratio(rounds, "s5cmd"), 0.85),
            at_most("most memory of ours, all processes, bytes", peak, MEMORY_LIMIT),
        ],
    }


def no_op(server: LocalBucket, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Publish many small objects, then publish again."""
    release = make_release(folder / "many", args.no_op_objects // 5, SMALL)
    commands = Commands(server, folder)
    first = commands.run(commands.ours(release, "many"))
    again = commands.run(commands.ours(release, "many"))
    return {
        "objects": sum(1 for path in release.rglob("*") if path.is_file()),
        "first": first,
        "again": again,
        "targets": [
            at_most("publishing again with nothing to do, seconds", again["seconds"], NO_OP_LIMIT),
            at_most("most memory of the first, all processes, bytes", first["peak_bytes"], MEMORY_LIMIT),
        ],
    }


def ratio(rounds: list[dict[str, dict[str, float]]], other: str) -> float:
    return median(one[other]["seconds"] / one["ours"]["seconds"] for one in rounds)


def at_least(name: str, measured: float, limit: float) -> dict[str, Any]:
    return {"name": name, "measured": round(measured, 3), "at_least": limit, "met": measured >= limit}


def at_most(name: str, measured: float, limit: float) -> dict[str, Any]:
    return {"name": name, "measured": round(measured, 3), "at_most": limit, "met": measured <= limit}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--objects", type=int, default=6_000, help="about so many objects (default: 6000)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds to take medians of (default: 3)")
    parser.add_argument("--no-op-objects", type=int, default=20_000, help="small objects (default: 20000)")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    folder = Path(tempfile.mkdtemp(prefix="bench_publish_"))
    try:
        with local_bucket() as server:
            report: dict[str, Any] = {"benchmark": "publish", "python": platform.python_version()}
            report["fresh"] = compare(server, folder, args)
            report["many"] = no_op(server, folder, args)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for one in (*report["fresh"]["targets"], *report["many"]["targets"]):
        limit = f"at least {one['at_least']:g}" if "at_least" in one else f"at most {one['at_most']:g}"
        say(f"{'met   ' if one['met'] else 'MISSED'} {one['measured']:12g} ({limit})  {one['name']}")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
