"""Time the explorer in headless Chromium: the weight of its page, the first map of many tiles, the opening of a tile.

The map is of a made-up index (tools/made_index.py); tiles are of a real release, such as that of tools/demo. Each round
is a new browser with an empty cache. Times are the page's own marks: from the start of navigation until the map, with
all tiles on it, or every modality of the tile is drawn. The server is this process, and shares the cores.
"""

import argparse
import gzip
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from playwright.sync_api import Page as BrowserPage

from catalog_builder import explorer, layout
from catalog_builder.explorer import Page
from catalog_builder.serve import make_server
from tests.chromium import Record, find_chromium, open_page
from tools.made_index import make_index_release

WEIGHT_LIMIT = 1_000_000
MAP_LIMIT = 3.0
TILE_LIMIT = 2.0
TIMEOUT = 60_000  # milliseconds

EXAMPLES = """\
examples:
  ./tools/demo && python tools/bench_explorer.py
  python tools/bench_explorer.py --items 20000 --rounds 1      a quick look
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """What one visit of the page took."""

    seconds: float
    requests: int
    received: int
    """Bytes of bodies."""
    pages: frozenset[str]
    """Hrefs of the files of the page that were asked for."""
    rasters: int
    """Bytes of COGs."""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextmanager
def serving(release: Path) -> Iterator[str]:
    server = make_server(release)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/{layout.EXPLORER}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def visit(address: str, ready: str, mark: str) -> Visit:
    """Open an address in a new browser, and wait for what `ready` selects."""
    with open_page() as (page, record):
        page.goto(address)
        page.wait_for_selector(ready, state="attached", timeout=TIMEOUT)
        return _told(page, record, mark)


def _told(page: BrowserPage, record: Record, mark: str) -> Visit:
    start = page.evaluate(f"performance.getEntriesByName('{mark}')[0].startTime")
    page.wait_for_load_state("networkidle")
    record.assert_clean()
    root = page.url.partition(layout.EXPLORER)[0]
    hrefs = (request.url.removeprefix(root).partition("#")[0] for request in record.requests)
    return Visit(
        seconds=start / 1000,
        requests=record.count(),
        received=record.received(),
        pages=frozenset(href for href in hrefs if layout.is_explorer_file(href)),
        rasters=record.received(".tif"),
    )


def weigh(page: Page, hrefs: frozenset[str]) -> int:
    """Bytes of files of the page, each compressed by gzip as a web server would."""
    return sum(len(gzip.compress(page.files[href], 6)) for href in hrefs)


def with_page(folder: Path, page: Page) -> Path:
    (folder / layout.EXPLORER_FOLDER).mkdir(exist_ok=True)
    for href, data in page.files.items():
        (folder / href).write_bytes(data)
    return folder


def bench_map(folder: Path, page: Page, items: int, rounds: int) -> bool:
    say(f"making an index of {items:,} items")
    release = with_page(make_index_release(folder / "release", items), page)
    (index,) = (release / layout.INDEX_FOLDER).iterdir()
    with serving(release) as address:
        visits = [visit(address, "html[data-map=ready]", "explorer:map") for _ in range(rounds)]
    seconds, last = median(one.seconds for one in visits), visits[-1]
    weight = weigh(page, last.pages)
    share = last.received / index.stat().st_size
    print(f"page, {len(last.pages)} files, gzip: {weight / 1e3:.0f} kB (limit {WEIGHT_LIMIT / 1e3:.0f} kB)")
    print(
        f"first map of {items:,} tiles: {seconds:.2f} s (limit {MAP_LIMIT:g} s), {last.requests} requests, "
        f"{last.received / 1e6:.1f} MB with the page; the index has {index.stat().st_size / 1e6:.1f} MB ({share:.0%})"
    )
    return weight <= WEIGHT_LIMIT and seconds <= MAP_LIMIT


def bench_tiles(folder: Path, release: Path, page: Page, rounds: int) -> bool:
    copied = with_page(shutil.copytree(release, folder / "copied"), page)
    well = True
    for document in sorted(copied.glob(f"*/{layout.COLLECTION}")):
        collection = document.parent.name
        item = max(copied.glob(f"{collection}/*/*/*.json"), key=lambda path: len(list(path.parent.iterdir())))
        total = sum(path.stat().st_size for path in item.parent.glob("*.tif"))
        with serving(copied) as address:
            link = f"{address}#tile={collection}/{item.stem}"
            visits = [visit(link, "#tile[data-state=ready]", "explorer:tile") for _ in range(rounds)]
        seconds, last = median(one.seconds for one in visits), visits[-1]
        count = len(list(item.parent.glob("*.tif")))
        print(
            f"tile {item.stem}, {count} modalities: {seconds:.2f} s from an empty cache (limit {TILE_LIMIT:g} s), "
            f"{last.requests} requests, {last.received / 1e6:.1f} MB; of its {total / 1e6:.1f} MB of COGs "
            f"{last.rasters / total:.0%}"
        )
        well = well and seconds <= TILE_LIMIT
    return well


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("release", nargs="?", type=Path, default=Path("demo-release"), help="default: %(default)s")
    parser.add_argument("--items", type=int, default=100_000, help="tiles on the map; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    options = parser.parse_args(arguments)
    page = explorer.page()
    if page is None or find_chromium() is None or not (options.release / layout.CATALOG).is_file():
        say("needs the page (tools/explorer-setup), Chromium (apt-get install chromium) and a release (tools/demo)")
        return 2
    with tempfile.TemporaryDirectory(prefix="bench-explorer-") as name:
        met = [
            bench_map(Path(name), page, options.items, options.rounds),
            bench_tiles(Path(name), options.release, page, options.rounds),
        ]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
