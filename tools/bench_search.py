"""Time searches of a release by its index, in a folder and over HTTP, beside what a user could do otherwise.

The index is made up (tools/made_index.py) and holds N items of one collection. Each run has a process of its own, so
that it starts cold and its peak of memory is its own; the web server is another process on this machine. Asked are, at
random places: a small box within a year, a point, a polygon, three ids, two properties. stac-fastapi-pgstac
(tools/pgstac.py) is asked the same questions of the same items over HTTP; a crawl reads all items of a small release.
"""

import argparse
import json
import platform
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pystac
import pystac_client

from catalog_builder import jsonio, layout
from catalog_builder.readers import locate
from catalog_builder.search.client import open_release
from catalog_builder.search.release import Release
from tools import pgstac
from tools.bench_catalog import COLLECTION, make_item, make_plan
from tools.made_index import make_index_release

P50_LIMIT = 0.020
COLD_SHARE = 0.05
SEED = 20_210_712
WARM_UP = 5
CRAWLED = 2_000

EXAMPLES = """\
examples:
  python tools/bench_search.py                                        100,000 and 1,000,000 items: some minutes
  python tools/bench_search.py --items 20000 --queries 20 --no-pgstac      a quick look
"""

Query = dict[str, Any]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# --- questions --------------------------------------------------------------------------------------------------------


def make_queries(release: Path, count: int) -> dict[str, list[Query]]:
    """Make up questions at places where there are items, the same for everybody."""
    table = pq.read_table(
        release / layout.index(COLLECTION), columns=["id", "bbox", "datetime", "dream:column", "dream:row"]
    )
    rng = random.Random(SEED)
    rows = [rng.randrange(table.num_rows) for _ in range(count * 3)]
    picked = table.take(rows).to_pylist()
    corners = [(one["bbox"]["xmin"], one["bbox"]["ymin"]) for one in picked]
    every: dict[str, list[Query]] = {"box and year": [], "point": [], "polygon": [], "ids": [], "properties": []}
    for number in range(count):
        west, south = (round(value, 5) for value in corners[number])
        year = picked[number]["datetime"].year
        box = [west, south, min(west + 0.2, 180.0), south + 0.15]
        every["box and year"].append({"bbox": box, "datetime": f"{year}-01-01T00:00:00Z/{year}-12-31T23:59:59Z"})
        point = {"type": "Point", "coordinates": [west + 0.05, south + 0.04]}
        every["point"].append({"intersects": point})
        ring = [[west, south], [min(west + 0.3, 180.0), south + 0.05], [west, south + 0.3], [west, south]]
        every["polygon"].append({"intersects": {"type": "Polygon", "coordinates": [ring]}})
        every["ids"].append({"ids": [one["id"] for one in picked[3 * number : 3 * number + 3]]})
        names = ("dream:column", "dream:row", "id")[: 2 + number % 2]
        parts = [{"op": "=", "args": [{"property": name}, picked[number][name]]} for name in names]
        every["properties"].append({"filter": {"op": "and", "args": parts}})
    return {
        kind: [{**query, "collections": [COLLECTION], "limit": 100} for query in queries]
        for kind, queries in every.items()
    }


def timed(ask: Callable[[Query], int], queries: Sequence[Query]) -> dict[str, float]:
    """Ask all questions: median and 95th percentile of seconds, mean number of items found."""
    for query in queries[:WARM_UP]:
        ask(query)
    seconds, found = [], 0
    for query in queries:
        started = time.perf_counter()
        found += ask(query)
        seconds.append(time.perf_counter() - started)
    return {
        "p50": median(seconds),
        "p95": float(np.percentile(seconds, 95)),
        "items": found / len(queries),
    }


def asking(client: pystac_client.Client) -> Callable[[Query], int]:
    """Ask for the first page, as a user does who looks at what is there."""
    return lambda query: len(next(client.search(**query).pages_as_dicts(), {"features": ()})["features"])


# --- ours, in a process of its own ------------------------------------------------------------------------------------


def run_ours(place: str, queries: dict[str, list[Query]], size: int) -> dict[str, Any]:
    """Ask a release in a folder or on a web server."""
    first = queries["box and year"][0]
    started = time.perf_counter()
    release = Release(locate(place))
    client = open_release(release)
    found = asking(client)(first)
    cold = {"seconds": time.perf_counter() - started, "items": found, "bytes": release.fetched}
    cold["share_of_index"] = release.fetched / size
    warm = {kind: timed(asking(client), asked) for kind, asked in queries.items()}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"cold": cold, "warm": warm, "peak_bytes": peak}


def alone(place: str, release: Path, queries: dict[str, list[Query]]) -> dict[str, Any]:
    """Ask in a process of its own."""
    size = (release / layout.index(COLLECTION)).stat().st_size
    asked = json.dumps({"place": place, "queries": queries, "size": size})
    command = [sys.executable, __file__, "--alone"]
    done = subprocess.run(command, input=asked.encode(), check=True, stdout=subprocess.PIPE)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@contextmanager
def served(release: Path) -> Iterator[str]:
    """Serve a release from another process."""
    program = "catalog_builder.cli"
    command = [sys.executable, "-c", f"from {program} import main; main()", "serve", str(release), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield next(line for line in process.stdout if "catalog.json" in line).split()[-1].strip()
        finally:
            process.terminate()


# --- others -----------------------------------------------------------------------------------------------------------


def every_item(release: Path) -> Iterator[dict[str, Any]]:
    """Give the items of an index as pgstac wants them."""
    client = open_release(Release(locate(str(release))))
    for item in client.search(limit=1000).items_as_dicts():
        yield {**item, "links": []}


def run_pgstac(release: Path, queries: dict[str, list[Query]], items: int) -> dict[str, Any]:
    """Ask stac-fastapi-pgstac, through pystac_client and from the index's own items."""
    if reason := pgstac.unavailable():
        say(f"  pgstac: skipped: {reason}")
        return {"skipped": reason}
    document = jsonio.read(release / layout.collection(COLLECTION))
    with pgstac.pgstac_server() as server:
        started = time.perf_counter()
        server.load([{**document, "links": [], "assets": {}}], every_item(release))
        loading = time.perf_counter() - started
        say(f"  pgstac: {items:,} items loaded in {loading:.0f} s")
        client = pystac_client.Client.open(server.url)
        warm = {kind: timed(asking(client), asked) for kind, asked in queries.items()}
    return {"items": items, "load_seconds": loading, "warm": warm}


def run_crawl(folder: Path) -> dict[str, Any]:
    """Read all items of a release without an index, as pystac_client and pystac do by themselves."""
    release = folder / "crawl"

    plan = make_plan(CRAWLED)
    for area in plan.areas:
        for job in area.jobs():
            path = release / job.place.href
            path.parent.mkdir(parents=True)
            path.write_bytes(jsonio.dumps(make_item(job)[0]))
    items = [str(path) for path in release.rglob("*.json")]
    catalog = {"type": "Catalog", "stac_version": "1.1.0", "id": "crawl", "description": "made up"}
    links = [{"rel": "item", "href": path} for path in items]
    (release / "catalog.json").write_bytes(jsonio.dumps({**catalog, "links": links, "conformsTo": []}))

    started = time.perf_counter()
    box = (0.0, 0.0, 1.0, 1.0)
    found = sum(
        1 for item in pystac.Catalog.from_file(str(release / "catalog.json")).get_items() if touch(item.bbox or [], box)
    )
    seconds = time.perf_counter() - started
    return {"items": len(items), "found": found, "seconds": seconds, "seconds_per_item": seconds / len(items)}


def touch(one: Sequence[float], other: Sequence[float]) -> bool:
    return one[0] <= other[2] and one[2] >= other[0] and one[1] <= other[3] and one[3] >= other[1]


# --- the command ------------------------------------------------------------------------------------------------------


def measure(folder: Path, items: int, count: int) -> tuple[Path, dict[str, list[Query]], dict[str, Any]]:
    started = time.perf_counter()
    release = make_index_release(folder / f"release_{items}", items)
    size = (release / layout.index(COLLECTION)).stat().st_size
    metadata = pq.ParquetFile(release / layout.index(COLLECTION)).metadata
    say(f"{items:,} items: index of {size / 1e6:.0f} MB made in {time.perf_counter() - started:.0f} s")
    queries = make_queries(release, count)
    report: dict[str, Any] = {
        "items": metadata.num_rows,
        "index_bytes": size,
        "footer_bytes": metadata.serialized_size,
        "row_groups": metadata.num_row_groups,
        "local": alone(str(release), release, queries),
    }
    with served(release) as url:
        report["http"] = alone(url, release, queries)
    for name in ("local", "http"):
        one = report[name]
        first, read = one["cold"]["seconds"] * 1e3, one["cold"]["bytes"] / 1e6
        peak = one["peak_bytes"] / 1e6
        say(f"  {name}: first answer {first:.0f} ms, {read:.1f} MB fetched; peak of memory {peak:.0f} MB")
        tell(name, one["warm"])
    return release, queries, report


def tell(name: str, warm: dict[str, dict[str, float]]) -> None:
    for kind, one in warm.items():
        times = f"p50 {one['p50'] * 1e3:7.1f} ms  p95 {one['p95'] * 1e3:7.1f} ms"
        say(f"  {name:<6} {kind:<14} {times}  {one['items']:6.1f} items")


def target(name: str, measured: float, limit: float) -> dict[str, Any]:
    return {"name": name, "measured": round(measured, 4), "at_most": limit, "met": measured <= limit}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, nargs="+", default=[100_000, 1_000_000], help="sizes of indexes")
    parser.add_argument("--queries", type=int, default=60, help="questions of each kind (default: 60)")
    parser.add_argument("--no-pgstac", action="store_true", help="do not compare with stac-fastapi-pgstac")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    args = arguments()
    if args.alone:
        print(json.dumps(run_ours(**json.load(sys.stdin))))
        return
    folder = Path(tempfile.mkdtemp(prefix="bench_search_"))
    report: dict[str, Any] = {"benchmark": "search", "python": platform.python_version(), "sizes": []}
    try:
        for items in sorted(args.items):
            release, queries, measured = measure(folder, items, args.queries)
            report["sizes"].append(measured)
            if "pgstac" not in report and not args.no_pgstac:
                # The smallest is what it is asked about: larger ones only make it slower, and take long to load.
                report["pgstac"] = run_pgstac(release, queries, items)
                tell("pgstac", report["pgstac"].get("warm", {}))
            shutil.rmtree(release)
        report["crawl"] = run_crawl(folder)
        each = report["crawl"]["seconds_per_item"]
        say(f"crawl of {report['crawl']['items']:,} items by pystac: {each * 1e6:.0f} us an item, for every question")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    largest = report["sizes"][-1]
    p50 = largest["local"]["warm"]["box and year"]["p50"]
    share = largest["http"]["cold"]["share_of_index"]
    report["targets"] = [
        target(f"small box and year, warm, {largest['items']:,} items: p50 in seconds", p50, P50_LIMIT),
        target("first answer over HTTP: share of the index that is read", share, COLD_SHARE),
    ]
    if "warm" in report.get("pgstac", {}):
        theirs = report["pgstac"]["warm"]["box and year"]["p50"]
        name = f"the same against pgstac with {report['pgstac']['items']:,} items"
        report["targets"].append(target(name, p50 / theirs, 1.0))
    for one in report["targets"]:
        say(f"{'met   ' if one['met'] else 'MISSED'} {one['measured']:10g} (at most {one['at_most']:g})  {one['name']}")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
