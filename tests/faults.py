"""Ways to break a release, each with the rules that must find it; and the means to seal it up again afterwards."""

import os
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp, Resampling
from rasterio.shutil import copy as copy_raster
from stac_geoparquet.arrow import parse_stac_items_to_arrow, to_parquet

from catalog_builder import cog, jsonio, layout, manifest, thumbnail
from tests.makers import TILE, area, source, texture, write_geotiff

WEST, EAST = "alpes_x0264_y1903", "alpes_x0265_y1903"
ITEM, OTHER = (f"france/alpes/{name}/{name}.json" for name in (WEST, EAST))
FOLDER = f"france/alpes/{WEST}"
AREA = "france/alpes/catalog.json"
COLLECTION = "france/collection.json"
INDEX = "items/france.parquet"
STRIP = "usa/strip/strip_x0000_y0000/strip_x0000_y0000.json"
"""An item that is only partly valid, on a grid of its own."""

Document = dict[str, Any]
Change = Callable[[Document], None]
Pixels = npt.NDArray[Any]


def write_sources(folder: Path) -> Path:
    """Write two areas: two full tiles of France, and one half-empty tile of the USA off the whole metres."""
    shape = TILE, 2 * TILE
    write_geotiff(folder / "s2.tif", texture((4, *shape), "uint16", 1), nodata=0, tiled=True)
    write_geotiff(folder / "srtm.tif", texture((1, *shape), "int16", 2), nodata=-32768)
    classes = (texture((1, *shape), "uint8", 3) // 16).astype("uint8")
    write_geotiff(folder / "osm.tif", classes, nodata=255)
    radar = texture((3, TILE, TILE), "float32", 4)
    radar[:, :, : TILE // 2] = np.nan
    corner = (714235.3, 3833515.7)
    write_geotiff(folder / "radar.tif", radar, corner=corner, resolution=5, crs="EPSG:32617", nodata=float("nan"))
    during = "start_datetime = 2009-08-13T00:00:00Z\nend_datetime = 2009-08-13T06:00:00Z"
    france = [source(key, f"{key}.tif") for key in ("s2", "srtm", "osm")]
    usa = source("uavsar_1", "radar.tif", during) + 'properties = { "dream:granule" = "line_05521" }\n'
    text = area("alpes", *france, required=["s2"])
    path = folder / "sources.toml"
    path.write_text(text + area("strip", usa, collection="usa", required=["uavsar_1"]))
    return path


# --- what becomes of a release that was changed ----------------------------------------------------------------------


def reseal(release: Path) -> None:
    """Write all manifests anew, so that they vouch for what is there."""
    for path in sorted(release.glob("*/*/catalog.json")):
        _seal(path.parent, [file for file in path.parent.rglob("*") if file.is_file()])
    areas = [path.parent for path in release.glob("*/*/manifest.sha256")]
    files = [file for file in release.rglob("*") if file.is_file()]
    covered = [file for file in files if any(folder in file.parents for folder in areas)]
    _seal(release, [file for file in files if file not in covered or file.name == layout.MANIFEST])


def _seal(folder: Path, files: Iterable[Path]) -> None:
    target = folder / layout.MANIFEST
    hashes = {file.relative_to(folder).as_posix(): manifest.hash_file(file)[1] for file in files if file != target}
    target.write_bytes(manifest.dumps(hashes))


def read(release: Path, href: str) -> Document:
    """Read a document of a release."""
    document: Document = jsonio.read(release / href)
    return document


def reindex(release: Path, change: Callable[[list[Document]], object] = lambda _: None) -> None:
    """Write the index of France anew from its items, perhaps after ``change``, and seal the release."""
    items = [jsonio.read(path) for path in sorted(release.glob("france/*/*/*_x*_y*.json"))]
    change(items)
    to_parquet(parse_stac_items_to_arrow(items), release / INDEX)
    restate_collection(release, "geoparquet-items", INDEX)


def restate_collection(release: Path, key: str, href: str) -> None:
    """Let a collection tell size and checksum of a file as they are, and seal the release."""
    document = read(release, COLLECTION)
    _restate_file(document["assets"][key], release / href)
    (release / COLLECTION).write_bytes(jsonio.dumps(document))
    reseal(release)


def _restate_file(asset: Document, path: Path) -> None:
    asset["file:size"], sha256 = manifest.hash_file(path)
    asset["file:checksum"] = f"1220{sha256}"


def restate(release: Path, key: str, *, statistics: bool = True) -> None:
    """Let the western item, its area and the index tell of a file as it is now, and seal the release."""
    document, path = read(release, ITEM), release / FOLDER / layout.asset_file(key)
    if key == "thumbnail":
        path = release / FOLDER / layout.THUMBNAIL
    asset = document["assets"][key]
    grown = -asset["file:size"]
    _restate_file(asset, path)
    grown += asset["file:size"]
    if key != "thumbnail" and statistics:
        made = cog.describe(path)
        for band, stated in zip(made.bands, asset["bands"], strict=True):
            stated["statistics"] = dict(band.statistics)
        cogs = [asset for name, asset in document["assets"].items() if name != "thumbnail"]
        shares = [band["statistics"]["valid_percent"] for asset in cogs for band in asset["bands"]]
        document["properties"]["dream:valid_percent"] = min(shares)
    (release / ITEM).write_bytes(jsonio.dumps(document))
    if key != "thumbnail":
        catalog = read(release, AREA)
        catalog["dream:summary"]["size"] += grown
        best = EAST if document["properties"]["dream:valid_percent"] < 100 else WEST
        catalog["dream:summary"]["thumbnail"] = f"france/alpes/{best}/thumbnail.png"
        (release / AREA).write_bytes(jsonio.dumps(catalog))
    reindex(release)


# --- ways to change a document ---------------------------------------------------------------------------------------


def edit(href: str, change: Change, *, index: bool = True) -> Callable[[Path], None]:
    """Change a document, and seal the release; the index too, unless it is to tell of what was."""

    def apply(release: Path) -> None:
        document = read(release, href)
        change(document)
        (release / href).write_bytes(jsonio.dumps(document))
        if index and href in (ITEM, OTHER):
            reindex(release)
        reseal(release)

    return apply


def put(path: str, value: Any) -> Change:
    """Set a field of a document; the path has ``/`` between its steps."""

    def change(document: Document) -> None:
        *steps, last = path.split("/")
        inner: Any = document
        for step in steps:
            inner = inner[int(step)] if isinstance(inner, list) else inner[step]
        inner[int(last) if isinstance(inner, list) else last] = value

    return change


def drop(path: str) -> Change:
    """Take a field out of a document."""

    def change(document: Document) -> None:
        *steps, last = path.split("/")
        inner: Any = document
        for step in steps:
            inner = inner[int(step)] if isinstance(inner, list) else inner[step]
        del inner[int(last) if isinstance(inner, list) else last]

    return change


def link(rel: str, field: str, value: Any) -> Change:
    """Set a field of the first link of a rel; ``None`` takes it out."""

    def change(document: Document) -> None:
        found = next(link for link in document["links"] if link["rel"] == rel)
        if value is None:
            del found[field]
        else:
            found[field] = value

    return change


def drop_link(rel: str) -> Change:
    """Take the first link of a rel out of a document."""
    return lambda document: document["links"].remove(next(link for link in document["links"] if link["rel"] == rel))


def double_link(rel: str) -> Change:
    """List what the first link of a rel leads to once more."""
    return lambda document: document["links"].append(next(link for link in document["links"] if link["rel"] == rel))


def bend_ring(document: Document) -> None:
    """Move a point in the middle of the rim 20 pixels into the tile; the box stays."""
    ring = document["geometry"]["coordinates"][0]
    middle = [sum(point[axis] for point in ring[:-1]) / (len(ring) - 1) for axis in (0, 1)]
    ring[2] = [ring[2][axis] + (middle[axis] - ring[2][axis]) * 40 / TILE for axis in (0, 1)]


def cross_ring(document: Document) -> None:
    """Let a ring cross itself; the box stays."""
    ring = document["geometry"]["coordinates"][0]
    ring[2], ring[9] = ring[9], ring[2]


def widen_box(document: Document) -> None:
    """Widen the box of the western item by a little of the eastern one's."""
    document["bbox"][2] += 0.001


def swap_assets(document: Document) -> None:
    """Let the first asset be the last."""
    assets = document["assets"]
    document["assets"] = {key: assets[key] for key in [*list(assets)[1:], next(iter(assets))]}


# --- ways to change a file -------------------------------------------------------------------------------------------


def rewrite(
    key: str, change: Callable[[Pixels], Pixels] = lambda pixels: pixels, **changes: Any
) -> Callable[[Path], None]:
    """Write a COG of the western item anew with other pixels or another header; all else tells of it as it is."""

    def apply(release: Path) -> None:
        write_cog(release / FOLDER / f"{key}.tif", change, **changes)
        restate(release, key)

    return apply


def write_cog(
    path: Path,
    change: Callable[[Pixels], Pixels] = lambda pixels: pixels,
    *,
    colorinterp: tuple[ColorInterp, ...] | None = None,
    overview: Resampling = Resampling.nearest,
    header: Document | None = None,
    names: tuple[str, ...] | None = None,
    **options: Any,
) -> None:
    """Write a COG over itself as the build does, but for what is given."""
    with rasterio.open(path) as old:
        profile = {key: old.profile[key] for key in ("width", "height", "count", "dtype", "crs", "transform", "nodata")}
        pixels, was = change(old.read()), (old.descriptions, old.units, old.colorinterp)
        predictor = "YES" if old.tags(ns="IMAGE_STRUCTURE").get("PREDICTOR") else "NO"
    profile |= {"count": len(pixels), "dtype": pixels.dtype, **(header or {})}
    packing = {"compress": "ZSTD", "level": 3, "predictor": predictor, "overview_predictor": predictor}
    packing |= {"overview_compress": "ZSTD", "blocksize": 128, "overviews": "FORCE_USE_EXISTING", "statistics": "YES"}
    with rasterio.open("", "w+", driver="MEM", **profile) as dataset:
        dataset.write(pixels)
        dataset.descriptions = names or was[0][: len(pixels)]
        dataset.units = was[1][: len(pixels)]
        dataset.colorinterp = colorinterp or was[2][: len(pixels)]
        dataset.build_overviews([2], overview)
        copy_raster(dataset, path, driver="COG", **{**packing, **options})


def patch(key: str, pattern: bytes, text: bytes) -> Callable[[Path], None]:
    """Replace bytes of a COG of the western item by as many others; all else tells of it as it is."""

    def apply(release: Path) -> None:
        path = release / FOLDER / f"{key}.tif"
        data = path.read_bytes()
        changed = re.sub(pattern, text, data, count=1)
        assert changed != data
        assert len(changed) == len(data)
        path.write_bytes(changed)
        restate(release, key)

    return apply


def touch_cog(release: Path) -> None:
    """Write into a COG, which moves its header behind its pixels."""
    path = release / FOLDER / "srtm.tif"
    with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as dataset:
        dataset.update_tags(NOTE="written later" * 50)
    restate(release, "srtm")


def cut_cog(release: Path) -> None:
    """Cut the end off a COG, so that its header can be read but not its pixels."""
    path = release / FOLDER / "s2.tif"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    restate(release, "s2", statistics=False)


def replace_cog(release: Path) -> None:
    """Put a text in the place of a COG."""
    (release / FOLDER / "s2.tif").write_text("no raster")
    restate(release, "s2", statistics=False)


def nearly_empty(pixels: Pixels) -> Pixels:
    """Leave one pixel in a hundred."""
    return np.where(np.arange(pixels.size).reshape(pixels.shape) % 100 == 0, pixels, -32768).astype(pixels.dtype)


def small_thumbnail(release: Path) -> None:
    """Draw a thumbnail of another size."""
    picture = np.full((4, 64, 64), 200, dtype=np.uint8)
    (release / FOLDER / layout.THUMBNAIL).write_bytes(thumbnail.encode_png(picture))
    restate(release, "thumbnail")


def drop_thumbnail(release: Path) -> None:
    """Take the thumbnail of the eastern item away, and all that tells of it."""
    (release / "france/alpes" / EAST / layout.THUMBNAIL).unlink()
    edit(OTHER, drop("assets/thumbnail"))(release)


def other_thumbnail(release: Path) -> None:
    """Put a text in the place of the collection's thumbnail."""
    (release / "france/thumbnail.png").write_text("no picture")
    restate_collection(release, "thumbnail", "france/thumbnail.png")


def add_asset(release: Path) -> None:
    """Add a file and an asset of which the template knows nothing."""
    shutil.copy(release / FOLDER / "srtm.tif", release / FOLDER / "slope.tif")

    def change(document: Document) -> None:
        document["assets"]["slope"] = document["assets"]["srtm"] | {"href": "./slope.tif"}

    edit(ITEM, change)(release)


# --- ways to change files and manifests ------------------------------------------------------------------------------


def write(href: str, data: bytes = b"x", *, seal: bool = False) -> Callable[[Path], None]:
    """Write a file; the manifests tell of it where they are sealed."""

    def apply(release: Path) -> None:
        (release / href).parent.mkdir(parents=True, exist_ok=True)
        (release / href).write_bytes(data)
        if seal:
            reseal(release)

    return apply


def append(href: str, data: bytes) -> Callable[[Path], None]:
    """Write something behind the end of a file."""

    def apply(release: Path) -> None:
        with (release / href).open("ab") as stream:
            stream.write(data)

    return apply


def remove(href: str, *, seal: bool = False) -> Callable[[Path], None]:
    """Take a file away; the manifests know nothing of it where they are sealed."""

    def apply(release: Path) -> None:
        (release / href).unlink()
        if seal:
            reseal(release)

    return apply


def relist(lines: Callable[[list[bytes]], list[bytes]], folder: str = "france/alpes/") -> Callable[[Path], None]:
    """Change the lines of an area's manifest, for which the root's then vouches."""

    def apply(release: Path) -> None:
        path = release / f"{folder}{layout.MANIFEST}"
        path.write_bytes(b"".join(lines(path.read_bytes().splitlines(keepends=True))))
        if folder:
            root = manifest.loads((release / layout.MANIFEST).read_bytes())
            root[f"{folder}{layout.MANIFEST}"] = manifest.hash_file(path)[1]
            (release / layout.MANIFEST).write_bytes(manifest.dumps(root))

    return apply


def line(path: str) -> bytes:
    """Write a line of a manifest."""
    return f"{'0' * 64}  {path}\n".encode()


def listing(path: str, folder: str = "france/alpes/") -> Callable[[Path], None]:
    """List one path more in a manifest."""
    return relist(lambda lines: sorted([*lines, line(path)], key=lambda text: text[66:]), folder)


def symlink(href: str, target: str) -> Callable[[Path], None]:
    """Put a symbolic link in the place of a file, for which the manifests vouch where it leads to one."""

    def apply(release: Path) -> None:
        (release / href).unlink(missing_ok=True)
        (release / href).symlink_to(target)
        reseal(release)

    return apply


def link_out(release: Path) -> None:
    """Let a file of the release lie outside of it."""
    outside = release.parent / "outside.tif"
    shutil.move(release / FOLDER / "srtm.tif", outside)
    (release / FOLDER / "srtm.tif").symlink_to(outside)


def remove_item(release: Path) -> None:
    """Take an item away, but not its files."""
    (release / ITEM).unlink()
    reindex(release)


def remove_document(href: str) -> Callable[[Path], None]:
    """Put something that is no JSON in the place of a document."""
    return write(href, b'{"type": ', seal=True)


def remove_index(release: Path) -> None:
    """Take the index away."""
    (release / INDEX).unlink()
    reseal(release)


def other_index(release: Path) -> None:
    """Put a Parquet file that is no index in the place of the index."""
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"id": ["a"]}), release / INDEX)
    restate_collection(release, "geoparquet-items", INDEX)


def broken_index(release: Path) -> None:
    """Put a text in the place of the index."""
    (release / INDEX).write_text("no Parquet")
    restate_collection(release, "geoparquet-items", INDEX)


def wrong_index(release: Path) -> None:
    """Let the index be Parquet with places, but without items."""
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"id": ["a"]}, metadata={"geo": "{}"}), release / INDEX)
    restate_collection(release, "geoparquet-items", INDEX)


def indexed(change: Callable[[list[Document]], object]) -> Callable[[Path], None]:
    """Let the index tell of other items than there are."""
    return lambda release: reindex(release, change)


def renamed(items: list[Document]) -> None:
    """Add an item that the collection does not have."""
    items.append({**items[0], "id": "alpes_x0999_y0999"})


def strange(items: list[Document]) -> None:
    """Add an item whose name leads out of the release."""
    items.append({**items[0], "id": "../../etc_x0000_y0000"})


# --- the table -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One way to break a release."""

    name: str
    apply: Callable[[Path], object]
    rules: frozenset[str]
    """All rules that are broken, and no others."""
    href: str
    """What each finding must name, in part."""


def fault(name: str, apply: Callable[[Path], object], rules: str, href: str = "france/alpes/") -> Fault:
    """Make a row of the table; rules are separated by spaces."""
    return Fault(name=name, apply=apply, rules=frozenset(rules.split()), href=href)


def _mkdir(href: str) -> Callable[[Path], None]:
    return lambda release: (release / href).mkdir(parents=True)


def _fifo(release: Path) -> None:
    os.mkfifo(release / "france/alpes/pipe")


_ALPHA = (ColorInterp.gray, ColorInterp.undefined, ColorInterp.undefined, ColorInterp.alpha)
_HALF_OFF = Affine(10, 0, 675840 + 5, 0, -10, 4874240)
_SELF = {"rel": "self", "type": "application/json", "title": "Here"}
_LATER = "2031-01-01T00:00:00Z"

FAULTS = (
    # Files and manifests.
    fault("a build was interrupted", _mkdir(".build/tree"), "unfinished-build", ".build"),
    fault("no manifest at the root", remove("manifest.sha256"), "manifest-missing", "manifest.sha256"),
    fault("no manifest in an area", remove("france/alpes/manifest.sha256"), "manifest-missing"),
    fault("a line that is none", relist(lambda lines: [*lines, b"nonsense\n"]), "manifest-syntax"),
    fault("lines out of order", relist(lambda lines: lines[::-1]), "manifest-syntax"),
    fault("lines as on Windows", relist(lambda lines: [text[:-1] + b"\r\n" for text in lines]), "manifest-syntax"),
    fault("a root manifest of no text", write("manifest.sha256", b"\xff\xfe"), "manifest-syntax", "manifest.sha256"),
    fault("a listed path that leaves", listing("../../../etc/passwd"), "manifest-path"),
    fault("an absolute path", listing("/etc/passwd", ""), "manifest-path", "manifest.sha256"),
    fault("a tile's file at the root", listing(ITEM, ""), "manifest-path", "manifest.sha256"),
    fault("a listed file that is not there", listing("notes.txt"), "file-missing", "alpes/notes.txt"),
    fault("a lost raster", remove(f"{FOLDER}/srtm.tif"), "file-missing asset-missing", FOLDER),
    fault("a file more", write(f"{FOLDER}/s2.tif.aux.xml"), "file-unlisted", f"{FOLDER}/s2.tif.aux.xml"),
    fault("a hidden file", write("france/.DS_Store"), "file-unlisted", "france/.DS_Store"),
    fault("a hidden folder", write(".git/config"), "file-unlisted", ".git"),
    fault("a hidden folder among areas", write("france/.cache/x"), "file-unlisted", "france/.cache"),
    fault("an undecodable name", lambda release: write(os.fsdecode(b"france/\xff\n"))(release), "file-unlisted", r"\n"),
    fault("other bytes in a document", append(AREA, b" \n"), "file-hash", AREA),
    fault("other bytes in a raster", append(f"{FOLDER}/s2.tif", b"x"), "file-hash asset-size asset-checksum", FOLDER),
    fault("a listed sidecar", write(f"{FOLDER}/s2.tif.aux.xml", seal=True), "file-name", f"{FOLDER}/s2.tif.aux.xml"),
    fault("a listed note", write("NOTES.txt", seal=True), "file-name", "NOTES.txt"),
    fault("a listed note in an area", write("france/alpes/old/a.txt", seal=True), "file-name", "alpes/old/a.txt"),
    fault("an index of nothing", write("items/wales.parquet", seal=True), "file-name", "items/wales.parquet"),
    fault("a raster of no asset", write(f"{FOLDER}/s1.tif", seal=True), "file-name", f"{FOLDER}/s1.tif"),
    fault("a link out of the release", link_out, "file-kind", f"{FOLDER}/srtm.tif"),
    fault("a link to nothing", symlink("france/alpes/x", "nowhere"), "file-kind", "france/alpes/x"),
    fault("a link to a folder", symlink("france/alpes/x", "."), "file-kind", "france/alpes/x"),
    fault("a pipe", _fifo, "file-kind", "france/alpes/pipe"),
    fault("a forbidden sibling", write("france/alpes.txt", seal=True), "sibling file-name", "france/alpes"),
    # Documents.
    fault("no item", remove_item, "document-missing link-target"),
    fault("a folder more", write("wales/x.txt"), "document-missing file-unlisted", "wales/"),
    fault("an item that is no JSON", remove_document(ITEM), "json", ITEM),
    fault("an item that is a list", write(ITEM, b"[]", seal=True), "json", ITEM),
    fault("a catalog that is no JSON", remove_document(AREA), "json", AREA),
    fault("a collection that is no JSON", remove_document(COLLECTION), "json", COLLECTION),
    fault("a huge document", edit(COLLECTION, put("description", "x" * 1_000_001)), "document-size", COLLECTION),
    fault("another type", edit(AREA, put("type", "Collection")), "document-type", AREA),
    fault("an older STAC", edit(ITEM, put("stac_version", "1.0.0")), "stac-version", ITEM),
    fault("a broken schema", edit(COLLECTION, put("license", 5)), "schema", COLLECTION),
    fault("a broken extension", edit(COLLECTION, put("sci:doi", "no doi")), "schema", COLLECTION),
    fault("an empty attribution", edit(ITEM, put("assets/s2/dream:attribution", "")), "dream-schema", ITEM),
    fault("no grid", edit(COLLECTION, drop("dream:grid")), "template dream-schema", COLLECTION),
    fault("no title of a collection", edit(COLLECTION, drop("title")), "template", COLLECTION),
    fault(
        "a promise of another type",
        edit(COLLECTION, put("item_assets/s2/gsd", "ten")),
        "template schema asset-fields item-fields",
        "france/",
    ),
    fault("another collection id", edit(COLLECTION, put("id", "frankreich")), "collection-id", COLLECTION),
    fault(
        "an area id with a space",
        write("france/a b/x.txt"),
        "area-id document-missing manifest-missing area-summary",
        "france/a b",
    ),
    fault("another description", edit(AREA, put("description", "A place.")), "catalog-fields", AREA),
    fault("no title of an area", edit(AREA, drop("title")), "catalog-fields", AREA),
    fault("another count", edit(AREA, put("dream:summary/items", 3)), "area-summary", AREA),
    fault("another end", edit(AREA, put("dream:summary/interval/1", _LATER)), "area-summary", AREA),
    fault("another extent", edit(COLLECTION, put("extent/spatial/bbox/0/0", -5.5)), "collection-fields", COLLECTION),
    fault("another summary", edit(COLLECTION, put("summaries/gsd", [10, 20])), "collection-fields", COLLECTION),
    # Links.
    fault("a link without title", edit(AREA, link("item", "title", None)), "link-title", AREA),
    fault("a title of something else", edit(ITEM, link("parent", "title", "Jura")), "link-title", ITEM),
    fault("another type of a link", edit(AREA, link("item", "type", "text/html")), "link-title", AREA),
    fault("an old title of a collection", edit("catalog.json", link("child", "title", "X")), "link-title", "catalog"),
    fault("an absolute link", edit(ITEM, link("root", "href", "https://x.org/catalog.json")), "link-leaves", ITEM),
    fault("a link out", edit(ITEM, link("parent", "href", "../../../../catalog.json")), "link-leaves", ITEM),
    fault("a link to nothing", edit(AREA, link("item", "href", "./a.json")), "link-target document-unreached"),
    fault("a child of another", edit(AREA, link("item", "href", f"../../{STRIP}")), "link-target document-unreached"),
    fault("another parent", edit(ITEM, link("parent", "href", "../../collection.json")), "link-back", ITEM),
    fault("no root", edit(AREA, drop_link("root")), "link-back", AREA),
    fault("two roots", edit(AREA, double_link("root")), "link-back", AREA),
    fault(
        "a self link",
        edit(AREA, lambda document: document["links"].append({**_SELF, "href": "https://x.org/catalog.json"})),
        "link-leaves",
        AREA,
    ),
    fault("a lost item", edit(AREA, drop_link("item")), "document-unreached", ITEM),
    fault("a lost area", edit(COLLECTION, drop_link("child")), "document-unreached", AREA),
    fault("a lost collection", edit("catalog.json", drop_link("child")), "document-unreached", COLLECTION),
    fault("an item twice", edit(AREA, double_link("item")), "document-twice", ITEM),
    # Items.
    fault("another id", edit(ITEM, put("id", EAST), index=False), "item-id index-differs", ""),
    fault("another collection", edit(ITEM, put("collection", "usa")), "item-id", ITEM),
    fault("another row", edit(ITEM, put("properties/dream:row", 7)), "item-id", ITEM),
    fault("another title", edit(ITEM, put("properties/title", "Tile")), "item-fields", ITEM),
    fault("a field more", edit(ITEM, put("properties/eo:cloud_cover", 3)), "item-fields", ITEM),
    fault("another place", edit(ITEM, put("properties/proj:transform/2", 0.0)), "grid", ITEM),
    fault("another CRS", edit(OTHER, put("properties/proj:code", "EPSG:32632")), "grid geometry cog-template", EAST),
    fault("no CRS", edit(ITEM, put("properties/proj:code", "EPSG:0")), "grid", ITEM),
    fault("another grid code", edit(ITEM, put("properties/grid:code", "FRANCE-X")), "grid", ITEM),
    fault(
        "another date",
        edit(ITEM, put("properties/end_datetime", _LATER)),
        "interval area-summary collection-fields",
        "france/",
    ),
    fault("another share", edit(OTHER, put("properties/dream:valid_percent", 99.0)), "valid-percent", OTHER),
    fault("nothing absent", edit(ITEM, drop("properties/dream:absent")), "absent", ITEM),
    fault("another outline", edit(ITEM, bend_ring), "geometry", ITEM),
    fault("a crossed outline", edit(ITEM, cross_ring), "geometry", ITEM),
    fault("no outline", edit(ITEM, put("geometry/type", "Point"), index=False), "geometry schema index-differs", ""),
    fault("a wider box", edit(ITEM, widen_box), "bbox", ITEM),
    fault("a small thumbnail", small_thumbnail, "thumbnail", FOLDER),
    fault("no thumbnail", drop_thumbnail, "thumbnail", OTHER),
    fault("no picture of a collection", other_thumbnail, "thumbnail", "france/thumbnail.png"),
    # Assets.
    fault("an unknown asset", add_asset, "asset-unknown", ITEM),
    fault("another order", edit(ITEM, swap_assets), "asset-order", ITEM),
    fault("another href", edit(ITEM, put("assets/s2/href", "./s1.tif")), "asset-href", ITEM),
    fault(
        "another href of the index",
        edit(COLLECTION, put("assets/geoparquet-items/href", "../items/usa.parquet")),
        "asset-href",
        COLLECTION,
    ),
    fault("a raster of an asset gone", remove(f"{FOLDER}/srtm.tif", seal=True), "asset-missing", ITEM),
    # That tile is the fullest, whose picture is its area's.
    fault("a thumbnail gone", remove(f"{FOLDER}/thumbnail.png", seal=True), "asset-missing link-target"),
    fault("no index asset", edit(COLLECTION, drop("assets/geoparquet-items")), "asset-missing", COLLECTION),
    fault("an index gone", remove_index, "asset-missing", COLLECTION),
    fault("another size", edit(ITEM, put("assets/s2/file:size", 5)), "asset-size area-summary"),
    fault("another checksum", edit(ITEM, put("assets/s2/file:checksum", f"1220{'0' * 64}")), "asset-checksum", ITEM),
    fault(
        "another checksum of a thumbnail",
        edit(ITEM, put("assets/thumbnail/file:checksum", f"1220{'0' * 64}")),
        "asset-checksum",
        ITEM,
    ),
    fault(
        "another size of an index",
        edit(COLLECTION, put("assets/geoparquet-items/file:size", 5)),
        "asset-size",
        COLLECTION,
    ),
    fault(
        "other statistics in an item", edit(ITEM, put("assets/s2/bands/0/statistics/mean", 1.5)), "asset-header", ITEM
    ),
    fault("another shape in an item", edit(ITEM, put("assets/s2/proj:shape", [256, 255])), "asset-header", ITEM),
    fault("another title of an asset", edit(ITEM, put("assets/s2/title", "Picture")), "asset-fields", ITEM),
    fault("no attribution", edit(ITEM, drop("assets/osm/dream:attribution")), "asset-fields", ITEM),
    fault("another resampling", edit(ITEM, put("assets/osm/dream:resampling", "average")), "asset-fields", ITEM),
    fault("no date of an asset", edit(ITEM, drop("assets/s2/start_datetime")), "asset-fields schema", ITEM),
    # Pixels.
    fault("a text for a raster", replace_cog, "cog-unreadable", f"{FOLDER}/s2.tif"),
    fault("half a raster", cut_cog, "cog-unreadable", f"{FOLDER}/s2.tif"),
    fault("a raster written into", touch_cog, "cog-invalid", f"{FOLDER}/srtm.tif"),
    fault("another nodata", rewrite("srtm", header={"nodata": -9999}), "cog-template asset-header", FOLDER),
    fault(
        "a raster off the grid", rewrite("srtm", header={"transform": _HALF_OFF}), "cog-template asset-header", FOLDER
    ),
    fault("other names of bands", rewrite("s2", names=("a", "b", "c", "d")), "cog-template", f"{FOLDER}/s2.tif"),
    fault(
        "another packing",
        rewrite("s2", compress="DEFLATE", level=6, overview_compress="DEFLATE"),
        "cog-options",
        f"{FOLDER}/s2.tif",
    ),
    fault("no predictor", rewrite("s2", predictor="NO"), "cog-options", f"{FOLDER}/s2.tif"),
    fault("other blocks", rewrite("s2", blocksize=256), "cog-options", f"{FOLDER}/s2.tif"),
    fault("no overview", rewrite("s2", overviews="NONE"), "cog-options", f"{FOLDER}/s2.tif"),
    fault("a transparent band", rewrite("s2", colorinterp=_ALPHA), "cog-alpha", f"{FOLDER}/s2.tif"),
    fault(
        "averaged classes",
        rewrite("osm", lambda pixels: pixels // 4 * 4, overview=Resampling.average),
        "cog-overview",
        FOLDER,
    ),
    fault("other statistics", patch("s2", rb'(STATISTICS_MEAN" sample="1">)\d', rb"\g<1>9"), "statistics", FOLDER),
    fault(
        "another share in a raster",
        patch("srtm", rb'(STATISTICS_VALID_PERCENT" sample="0">)100', rb"\g<1>99."),
        "statistics",
        FOLDER,
    ),
    fault("too few pixels", rewrite("srtm", nearly_empty), "valid-share", f"{FOLDER}/srtm.tif"),
    # The index.
    fault("a text for an index", broken_index, "index-unreadable", INDEX),
    fault("an index of nothing known", other_index, "index-unreadable", INDEX),
    fault("an index without items", wrong_index, "index-unreadable index-missing", INDEX),
    fault("an item short", indexed(lambda items: items.pop()), "index-missing", INDEX),
    fault("an item more", indexed(renamed), "index-extra", INDEX),
    fault("an item from elsewhere", indexed(strange), "index-extra", INDEX),
    fault("an indexed item twice", indexed(lambda items: items.append(items[0])), "index-twice", INDEX),
    fault(
        "another title in an index",
        indexed(lambda items: put("0/properties/title", "Tile")({"0": items[0]})),
        "index-differs",
        INDEX,
    ),
    fault(
        "another checksum in an index",
        indexed(lambda items: put("0/assets/s2/file:checksum", "0")({"0": items[0]})),
        "index-differs",
        INDEX,
    ),
)
