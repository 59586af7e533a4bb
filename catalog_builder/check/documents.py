"""JSON documents of a release: whether each is what its place says, its schemas, its links; and how two differ.

An ``Inspector`` holds what all steps of a check share, and collects findings.
"""

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from catalog_builder import jsonio, layout
from catalog_builder.check.files import compare_hash
from catalog_builder.check.findings import Finding
from catalog_builder.item import STAC_VERSION
from catalog_builder.schemas import CompiledSchema, SchemaError, SchemaStore, local_validator
from catalog_builder.template import SCHEMA_NAME, default_folder

_BACK = ("root", "parent", "collection", "self")
_DOWN = ("child", "item")
_LISTED = (*_DOWN, "alternate")
"""What a catalog tells of: documents below it, and pages that show it."""
_SHOWN = 80
"""Characters of a value that a message quotes."""


UNFIT = (AttributeError, IndexError, KeyError, TypeError, ValueError)
"""What comes of a collection whose fields are not of the types that a template has."""


def unfit(collection: str, error: Exception) -> Finding:
    """Tell of a collection that cannot serve as a template."""
    text = f"what it promises cannot be applied to its items: {error!r}"
    return Finding(href=layout.collection(collection), rule="template", message=text)


class Judge:
    """Reads documents and holds them against their schemas, each compiled once."""

    def __init__(self, release: Path, store: SchemaStore) -> None:
        self.release, self._store = release, store

    @cached_property
    def _dream(self) -> CompiledSchema:
        return local_validator(jsonio.read(default_folder() / SCHEMA_NAME))

    def read(self, href: str, kind: str) -> tuple[dict[str, Any] | None, list[Finding]]:
        """Read a document that is to be of a STAC type; None where it is no JSON object."""
        data = (self.release / href).read_bytes()
        findings = []
        if len(data) > layout.MAX_DOCUMENT_BYTES:
            text = f"{len(data):,} bytes; at most {layout.MAX_DOCUMENT_BYTES:,} are well for a browser"
            findings.append(Finding(href=href, rule="document-size", message=text))
        try:
            document = jsonio.loads(data)
        except ValueError as error:
            return None, [*findings, Finding(href=href, rule="json", message=str(error))]
        if not isinstance(document, dict):
            return None, [*findings, Finding(href=href, rule="json", message="is JSON, but no object")]
        return document, [*findings, *self._judge(href, document, kind)]

    def _judge(self, href: str, document: dict[str, Any], kind: str) -> Iterator[Finding]:
        stated = document.get("type"), document.get("stac_version")
        if stated[0] != kind:
            yield Finding(href=href, rule="document-type", message=f"type is {quote(stated[0])}, not {kind!r}")
        if stated[1] != STAC_VERSION:
            text = f"stac_version is {quote(stated[1])}, not {STAC_VERSION!r}"
            yield Finding(href=href, rule="stac-version", message=text)
        if stated == (kind, STAC_VERSION):
            yield from (_schema_finding(href, "schema", error) for error in self._store.errors(document))
            yield from (_schema_finding(href, "dream-schema", error) for error in self._dream.errors(document))


def _schema_finding(href: str, rule: str, error: SchemaError) -> Finding:
    return Finding(href=href, rule=rule, message=f"{error.path or 'document'}: {error.message} ({error.schema})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """Where the links of a document must lead."""

    back: Mapping[str, str]
    """rel -> href, each exactly once."""
    down: Mapping[str, Container[str]]
    """rel -> hrefs among which each link of that rel must lead."""


def check_links(
    release: Path, href: str, document: Mapping[str, Any], expected: Expected
) -> tuple[Counter[str], list[Finding]]:
    """Hold the links of a document against where they must lead.

    Gives how often each document below is listed, and findings.
    """
    reached: Counter[str] = Counter()
    findings: list[Finding] = []
    backs: Counter[str] = Counter()
    for rel, target, title in _links(document):
        if not title:
            findings.append(Finding(href=href, rule="link-title", message=f"the {rel} link to {target} has no title"))
        if rel not in (*_BACK, *_DOWN) and urlsplit(target).scheme:
            continue  # a licence, a paper
        path = layout.resolve(target, href)
        problem = _link_problem(release, href, rel, path, expected)
        if path is None:
            text = f"the {rel} link {target!r} is absolute or leaves the release"
            findings.append(Finding(href=href, rule="link-leaves", message=text))
        elif problem is not None:
            findings.append(
                Finding(href=href, rule=problem[0], message=f"the {rel} link leads to {path}, {problem[1]}")
            )
        elif rel in _LISTED:
            reached[path] += 1
        backs[rel] += 1
    for rel in expected.back:
        if backs[rel] != 1:
            text = f"there are {backs[rel]} {rel} links, not one"
            findings.append(Finding(href=href, rule="link-back", message=text))
    return reached, findings


def _links(document: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Give rel, href and title of each link; what is none is for the schema to find."""
    links = document.get("links")
    for link in links if isinstance(links, list) else ():
        rel, href, title = (link.get(key) for key in ("rel", "href", "title")) if isinstance(link, dict) else [None] * 3
        if isinstance(rel, str) and isinstance(href, str):
            yield rel, href, title.strip() if isinstance(title, str) else ""


def _link_problem(release: Path, href: str, rel: str, path: str | None, expected: Expected) -> tuple[str, str] | None:
    """Say what is wrong with a link that stays in the release: the rule and why."""
    if path is None:
        return None
    if rel in _BACK:
        should = href if rel == "self" else expected.back.get(rel)
        return None if path == should else ("link-back", f"not to {should}" if should else "but there should be none")
    if not (release / path).is_file():
        return "link-target", "which is not there"
    if rel in _DOWN and path not in expected.down.get(rel, ()):
        return "link-target", "which is not for this document to list"
    return None


def check_reached(href: str, reached: Mapping[str, int], documents: Iterable[str]) -> Iterator[Finding]:
    """Tell of documents that their catalog lists not exactly once."""
    for document in documents:
        count = reached.get(document, 0)
        if count == 0:
            yield Finding(href=document, rule="document-unreached", message=f"no link leads here from {href}")
        elif count > 1:
            yield Finding(href=document, rule="document-twice", message=f"{count} links lead here from {href}")


def compare_links(document: Mapping[str, Any], should: Mapping[str, Any], untold: Container[str] = ()) -> Iterator[str]:
    """Tell where links have other titles or types than the same links of a document made anew.

    ``untold`` are rels whose target cannot be read, and so has no title that could be told.
    """
    made = {(link["rel"], link["href"]): link for link in should["links"] if link["rel"] not in untold}
    links = document.get("links")
    for link in links if isinstance(links, list) else ():
        pair = (link.get("rel"), link.get("href")) if isinstance(link, dict) else (None, None)
        if all(isinstance(text, str) for text in pair) and pair in made and link.get("title"):
            for path, is_, should_be in differences(link, made[pair]):
                yield f"{path[0]} of the {pair[0]} link to {pair[1]} is {quote(is_)}, should be {quote(should_be)}"


Difference = tuple[tuple[str, ...], Any, Any]
"""Where two documents differ, what the one has and what the other has; None for nothing."""


def differences(one: Any, other: Any, path: tuple[str, ...] = ()) -> Iterator[Difference]:
    """Tell where two JSON values differ. 1 and 1.0 are the same number."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in sorted(one.keys() | other.keys()):
            if key not in one or key not in other:
                yield (*path, key), one.get(key), other.get(key)
            else:
                yield from differences(one[key], other[key], (*path, key))
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        for number, pair in enumerate(zip(one, other, strict=True)):
            yield from differences(*pair, (*path, str(number)))
    elif one != other or isinstance(one, bool) != isinstance(other, bool):
        yield path, one, other


def quote(value: Any) -> str:
    """Quote a value in a message, shortened where it is long."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} …"


class Inspector:
    """One check of a release: what its steps share, and what they have found."""

    def __init__(self, release: Path, store: SchemaStore) -> None:
        self.release, self.store = release, store
        self.findings: list[Finding] = []
        self._judge = Judge(release, store)

    def say(self, href: str, rule: str, message: str) -> None:
        """Add a finding."""
        self.findings.append(Finding(href=href, rule=rule, message=message))

    def exists(self, href: str) -> bool:
        """Tell whether a file is there."""
        return (self.release / href).is_file()

    def read(self, href: str, kind: str) -> dict[str, Any]:
        """Read a document that is to be of a STAC type; an empty one where there is none."""
        if not self.exists(href):
            self.say(href, "document-missing", "is not there, though its folder is")
            return {}
        document, found = self._judge.read(href, kind)
        self.findings += found
        return document or {}

    def links(self, href: str, document: Mapping[str, Any], expected: Expected, listed: Iterable[str]) -> None:
        """Check the links of a document, and that it lists each of ``listed`` once."""
        if document:
            reached, found = check_links(self.release, href, document, expected)
            self.findings += [*found, *check_reached(href, reached, listed)]

    def files(self, listed: Mapping[str, str], present: Iterable[str], allowed: Iterable[str]) -> None:
        """Check names and bytes of the files that are there and listed."""
        places = set(allowed)
        for href in sorted(listed.keys() & set(present)):
            self.findings += compare_hash(self.release, href, listed[href])
            if href not in places:
                self.say(href, "file-name", "the layout of a release has no place for this file")

    @contextmanager
    def applying(self, collection: str) -> Iterator[None]:
        """Let a promise that cannot be kept, for what it is, be a finding."""
        try:
            yield
        except UNFIT as error:
            self.findings.append(unfit(collection, error))

    def compare(self, href: str, rule: str, document: Any, should: Any) -> None:
        """Tell where a document, or a part of it, differs from what it should be."""
        for path, is_, should_be in differences(document, should):
            self.say(href, rule, f"{'/'.join(path)} is {quote(is_)}, should be {quote(should_be)}")
