"""A release whose files are noise instead of pixels: whole by its manifests and links, quick to make at any size.

For benchmarks and tests of what only moves files about.
"""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from catalog_builder import jsonio, layout, manifest

COLLECTION = "france"
ASSETS = ("s1", "s2", "srtm", "osm")
_PER_AREA = 100


def make_release(
    folder: Path,
    items: int,
    sizes: Sequence[int],
    *,
    seed: int = 2021,
    version: str = "1.0.0",
    areas: int | None = None,
) -> Path:
    """Write a release of ``items`` items of four assets; the sizes in bytes of their files are drawn from ``sizes``."""
    rng = random.Random(seed)
    count = areas or -(-items // _PER_AREA)
    names = [f"area_{number:03d}" for number in range(count)]
    root: dict[str, str] = {}
    for number, name in enumerate(names):
        columns = range(number, items, count)
        root[layout.area_manifest(COLLECTION, name)] = _area(folder, name, columns, sizes, rng)
    down = [_link("child", f"./{name}/{layout.CATALOG}", name) for name in names]
    collection = {"type": "Collection", "id": COLLECTION, "version": version, "links": [*_up(1), *down]}
    root |= _write(folder, layout.collection(COLLECTION), jsonio.dumps(collection))
    child = _link("child", f"./{layout.collection(COLLECTION)}", COLLECTION)
    root |= _write(folder, layout.CATALOG, jsonio.dumps({"type": "Catalog", "id": "made", "links": [*_up(0), child]}))
    root |= _write(folder, layout.index(COLLECTION), rng.randbytes(10_000))
    _write(folder, layout.MANIFEST, manifest.dumps(root))
    return folder


def _area(folder: Path, area: str, columns: range, sizes: Sequence[int], rng: random.Random) -> str:
    files: dict[str, str] = {}
    base, links = layout.area(COLLECTION, area), []
    for column in columns:
        item = layout.item_id(area, column, 0)
        assets: dict[str, Any] = {}
        for key in ASSETS:
            data = rng.randbytes(rng.choice(sizes))
            files |= _write(folder, layout.asset(COLLECTION, area, item, layout.asset_file(key)), data)
            assets[key] = {"href": f"./{layout.asset_file(key)}", "file:size": len(data)}
        document = {"type": "Feature", "id": item, "links": _up(3), "assets": assets}
        files |= _write(folder, layout.item(COLLECTION, area, item), jsonio.dumps(document))
        links.append(_link("item", f"./{item}/{item}.json", item))
    catalog = {"type": "Catalog", "id": area, "links": [*_up(2), *links]}
    files |= _write(folder, layout.area_catalog(COLLECTION, area), jsonio.dumps(catalog))
    listing = manifest.dumps({href.removeprefix(f"{base}/"): sha256 for href, sha256 in files.items()})
    return _write(folder, layout.area_manifest(COLLECTION, area), listing)[layout.area_manifest(COLLECTION, area)]


def _up(depth: int) -> list[dict[str, str]]:
    return [_link("root", "../" * depth + layout.CATALOG if depth else f"./{layout.CATALOG}", "Made")]


def _link(rel: str, href: str, title: str) -> dict[str, str]:
    return {"rel": rel, "href": href, "type": "application/json", "title": title}


def _write(folder: Path, href: str, data: bytes) -> dict[str, str]:
    path = folder / href
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return {href: manifest.sha256(data)}
