"""The skeleton of a release: manifests both ways and links, without a look at pixels or at the bytes of COGs.

What ``publish`` asks before it sends anything.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catalog_builder import jsonio, layout
from catalog_builder.check.files import compare_manifest, join, read_manifest, walk
from catalog_builder.check.findings import Finding
from catalog_builder.errors import ReleaseError, UsageError
from catalog_builder.manifest import hash_file

_DOWN = ("child", "item")


@dataclass(frozen=True, slots=True, kw_only=True)
class Skeleton:
    """What a release consists of, by its own manifests."""

    files: Mapping[str, str]
    """href -> SHA-256 (hex) of every file, the root's manifest too."""
    collections: Mapping[str, str | None]
    """Collection id -> its ``version``."""


def read_skeleton(release: Path) -> Skeleton:
    """Read the manifests and the links of a release.

    Raises ``UsageError`` for a folder that is no release, ``ReleaseError`` for one that is not whole.
    """
    if not (release / layout.CATALOG).is_file() or not (release / layout.MANIFEST).is_file():
        raise UsageError(f"{release}: has no {layout.CATALOG} with a {layout.MANIFEST}, so it is no release")
    try:
        files, findings = _files(release)
        if not findings:
            collections, findings = _documents(release, files)
    except OSError as error:
        raise ReleaseError(f"{error.filename or release}: cannot read: {error.strerror or error}") from error
    if findings:
        more = f" ({len(findings):,} findings)" if len(findings) > 1 else ""
        raise ReleaseError(f"{release}: not whole: {findings[0]}{more}; see catalog-builder check")
    return Skeleton(files=files, collections=collections)


def _files(release: Path) -> tuple[dict[str, str], list[Finding]]:
    """Read all manifests and hold them against what is there, both ways."""
    root, findings = read_manifest(release, layout.MANIFEST)
    files = dict(root or {})
    vouched: list[tuple[str, Mapping[str, str]]] = []
    for href in layout.area_manifests(files):
        listed, found = read_manifest(release, href)
        findings += found
        if listed is not None:
            vouched.append((href, listed))
            findings += _same_hash(release, href, files[href])
    present = _present(release)
    for href, listed in vouched:
        folder = href.removesuffix(f"/{layout.MANIFEST}")
        inside = {path.removeprefix(f"{folder}/") for path in present.pop(folder, ())} - {layout.MANIFEST}
        findings += compare_manifest(release, href, listed, inside)
        present[""].add(href)
        files |= {join(folder, path): sha256 for path, sha256 in listed.items()}
    rest = set().union(*present.values()) - {layout.MANIFEST}
    findings += compare_manifest(release, layout.MANIFEST, root or {}, rest)
    files[layout.MANIFEST] = hash_file(release / layout.MANIFEST)[1]
    return files, findings


def _present(release: Path) -> dict[str, set[str]]:
    """List the files that are there, as hrefs: those of areas by the area's folder, all others under ""."""
    if (release / layout.WORK_FOLDER).exists():
        raise ReleaseError(f"{release}: a build is under way or was interrupted; run the same build again")
    present: dict[str, set[str]] = defaultdict(set)
    for folder in walk(release, ""):
        for finding in folder.findings:
            raise ReleaseError(f"{release}: not whole: {finding}")
        for name in folder.files:
            href = folder.path(name)
            present[layout.area_of(href) or ""].add(href)
    return present


def _same_hash(release: Path, href: str, listed: str) -> Iterator[Finding]:
    if hash_file(release / href)[1] != listed:
        yield Finding(href=href, rule="file-hash", message="its bytes are not those that the manifest vouches for")


def _documents(release: Path, files: Mapping[str, str]) -> tuple[dict[str, str | None], list[Finding]]:
    """Follow the links of all documents; give the versions of the collections."""
    findings: list[Finding] = []
    collections: dict[str, str | None] = {}
    reached = {layout.CATALOG}
    documents = [href for href in files if href.endswith(".json") and not layout.is_explorer_file(href)]
    for href in documents:
        try:
            document = jsonio.read(release / href)
            links = list(_links(document))
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            findings.append(Finding(href=href, rule="json", message=f"is no STAC document: {error!r}"))
            continue
        findings += _dangling(href, links, files)
        reached |= {layout.resolve(target, href) or "" for rel, target in links if rel in _DOWN}
        if layout.rank(href) == layout.rank(layout.collection("any")):
            version = document.get("version")
            collections[href.rpartition("/")[0]] = None if version is None else str(version)
    findings += [
        Finding(href=href, rule="document-unreached", message="no link leads here")
        for href in documents
        if href not in reached
    ]
    return collections, findings


def _links(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Give rel and href of all links and assets."""
    yield from ((str(link["rel"]), str(link["href"])) for link in document.get("links", ()))
    yield from (("asset", str(asset["href"])) for asset in document.get("assets", {}).values())


def _dangling(href: str, links: Iterable[tuple[str, str]], files: Mapping[str, str]) -> Iterator[Finding]:
    for rel, target in links:
        if "://" in target and rel not in (*_DOWN, "root", "parent", "collection", "asset"):
            continue
        path = layout.resolve(target, href)
        if path is None:
            yield Finding(href=href, rule="link-leaves", message=f"the {rel} link {target!r} leaves the release")
        elif path not in files:
            yield Finding(href=href, rule="link-target", message=f"the {rel} link leads to {path}, which is not there")
