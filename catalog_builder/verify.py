"""A published release against its own manifests, both ways, wherever it lies.

The root's manifest vouches for the manifests of areas, and those for every file. Documents are read and hashed; of all
other objects the server is asked for size and SHA-256, or every byte is read (``deep``).
"""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from catalog_builder import jsonio, layout, manifest
from catalog_builder.check.findings import Finding
from catalog_builder.errors import RemoteError
from catalog_builder.executor import unordered
from catalog_builder.location import FolderLocation, Location
from catalog_builder.readers import Reader, open_reader, read_area_manifests, read_manifest
from catalog_builder.transfer import Progress, in_threads

_BATCH = 32
_THREADS = 8
"""Requests of one worker at the same time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """One object to look at."""

    href: str
    sha256: str
    size: int | None = None
    """As its item says, where one was read."""
    deep: bool = False

    @property
    def is_document(self) -> bool:
        """Whether the object is small and tells of others."""
        return self.href.endswith((".json", f"/{layout.MANIFEST}"))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """What was seen of one object."""

    href: str
    findings: tuple[Finding, ...] = ()
    hashed: bool = False
    """Whether its bytes were held against the manifest, here or by the server."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    """href -> bytes, as a document says of its assets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """What came of a verification."""

    location: Location
    findings: tuple[Finding, ...]
    objects: int
    """Objects that were looked at."""
    unhashed: int
    """Of these, objects whose size alone was compared: nobody told their SHA-256."""
    skipped: int
    """Objects that an earlier run, which was stopped, had found in order."""
    listed: bool
    """Whether the place could be listed, so that extra objects were looked for."""

    def document(self) -> dict[str, Any]:
        """Give the JSON form."""
        return {
            "location": str(self.location),
            "findings": [finding.document() for finding in self.findings],
            "objects": self.objects,
            "compared_by_size_alone": self.unhashed,
            "verified_earlier": self.skipped,
            "extra_objects_looked_for": self.listed,
        }

    def line(self) -> str:
        """Give the summary for people."""
        text = f"{self.location}: {len(self.findings) or 'no'} findings in {self.objects:,} objects"
        notes = [
            (self.skipped, f"{self.skipped:,} more were verified earlier"),
            (self.unhashed, f"{self.unhashed:,} by size alone, --deep reads their bytes"),
            (not self.listed, "extra objects were not looked for"),
        ]
        return "; ".join([text, *(note for holds, note in notes if holds)])


def verify(
    location: Location,
    executor: Executor,
    progress: Progress,
    *,
    deep: bool = False,
    sample: int | None = None,
    state: Path | None = None,
    workers: int = 2,
) -> VerifyReport:
    """Hold a release against its manifests. With ``sample``, hash that many objects, chosen by chance, and no more.

    ``state`` is a folder where a deep run remembers what it has seen, so that one that was stopped goes on. Raises
    ``RemoteError`` where the place cannot be read or holds no release.
    """
    progress.note(f"reading manifests of {location}")
    reader = open_reader(location)
    files, findings = _listed(reader, location)
    journal = _Journal(state, location, files)
    ask = partial(_ask_all, location, executor, progress, workers)
    if sample is not None:
        chosen = random.sample(sorted(files), min(sample, len(files)))
        answers = ask([_Question(href=href, sha256=files[href], deep=True) for href in chosen])
        return _report(location, findings, list(answers), extra=None, skipped=0)
    # First, so that hours of reading are not lost to a place that refuses to be listed.
    extra = _extra(reader, files)
    rest = [href for href in files if href not in journal.seen]
    done = journal.noting(ask(_documents(files, rest)))
    sizes = {href: size for answer in done for href, size in answer.sizes.items()}
    done += journal.noting(ask(_others(files, rest, sizes, deep=deep)))
    report = _report(location, findings, done, extra=extra, skipped=len(files) - len(rest))
    journal.forget()
    return report


def _report(
    location: Location, findings: list[Finding], answers: list[_Answer], *, extra: list[Finding] | None, skipped: int
) -> VerifyReport:
    found = [*findings, *(extra or ()), *(finding for answer in answers for finding in answer.findings)]
    return VerifyReport(
        location=location,
        findings=tuple(sorted(found)),
        objects=len(answers),
        unhashed=sum(not answer.hashed and not answer.findings for answer in answers),
        skipped=skipped,
        listed=extra is not None,
    )


def _listed(reader: Reader, location: Location) -> tuple[dict[str, str], list[Finding]]:
    """Read all manifests: href -> SHA-256 of every object that they vouch for."""
    root = read_manifest(reader, location, layout.MANIFEST)
    if root is None:
        raise RemoteError(f"{location}: holds no release ({layout.MANIFEST} is not there)")
    files, findings = dict(root), []
    for href, listed in read_area_manifests(reader, location, layout.area_manifests(root)):
        if listed is None:
            findings.append(Finding(href=href, rule="file-missing", message=f"is listed in {layout.MANIFEST}"))
            del files[href]
        else:
            files |= listed
    return files, findings


def _documents(files: Mapping[str, str], hrefs: Iterable[str]) -> list[_Question]:
    questions = (_Question(href=href, sha256=files[href]) for href in hrefs)
    return [question for question in questions if question.is_document]


def _others(files: Mapping[str, str], hrefs: Iterable[str], sizes: Mapping[str, int], *, deep: bool) -> list[_Question]:
    questions = (_Question(href=href, sha256=files[href], size=sizes.get(href), deep=deep) for href in hrefs)
    return [question for question in questions if not question.is_document]


def _extra(reader: Reader, files: Mapping[str, str]) -> list[Finding] | None:
    """Find objects that no manifest lists; None where the place cannot be listed."""
    listing = reader.list()
    if listing is None:
        return None
    known = files.keys() | {layout.MANIFEST, layout.LOCK}
    text = "no manifest lists it"
    return [Finding(href=href, rule="file-unlisted", message=text) for href, _ in listing if href not in known]


# --- questions and answers --------------------------------------------------------------------------------------------


def _ask_all(
    location: Location, executor: Executor, progress: Progress, workers: int, questions: Sequence[_Question]
) -> Iterator[_Answer]:
    progress.start(len(questions), _bytes(questions))
    work = partial(answer_all, location)
    for batch, future in unordered(executor, work, _batches(questions), 2 * workers):
        yield from future.result()
        progress.advance(len(batch), _bytes(batch))


def _bytes(questions: Iterable[_Question]) -> int:
    """Count the bytes that will be read, as far as they are known."""
    return sum(question.size or 0 for question in questions if question.deep)


def _batches(questions: Iterable[_Question]) -> Iterator[tuple[_Question, ...]]:
    rest = iter(questions)
    while batch := tuple(islice(rest, _BATCH)):
        yield batch


def answer_all(location: Location, questions: Sequence[_Question]) -> list[_Answer]:
    """Look at objects. For workers. Raises ``RemoteError`` where the place cannot be read."""
    reader = open_reader(location)
    return in_threads(lambda question: _answer(question, reader), questions, _THREADS)


def _answer(question: _Question, reader: Reader) -> _Answer:
    if question.is_document:
        return _look_at_document(question, reader.read(question.href))
    if question.deep:
        return _judge(question, reader.hash(question.href), hashed=True)
    facts = reader.facts(question.href)
    if facts is None:
        return _judge(question, None, hashed=False)
    return _judge(question, (facts.size, facts.sha256 or question.sha256), hashed=facts.sha256 is not None)


def _look_at_document(question: _Question, data: bytes | None) -> _Answer:
    answer = _judge(question, None if data is None else (len(data), manifest.sha256(data)), hashed=True)
    if data is None or answer.findings or not question.href.endswith(".json"):
        return answer
    return _Answer(href=question.href, hashed=True, sizes=_stated_sizes(question.href, data))


def _stated_sizes(href: str, data: bytes) -> dict[str, int]:
    """Read what a document says of the bytes of its assets; nothing where it is no STAC document."""
    try:
        assets = jsonio.loads(data).get("assets", {}).values()
        stated = ((layout.resolve(asset["href"], href), asset.get("file:size")) for asset in assets)
        return {path: size for path, size in stated if path is not None and isinstance(size, int)}
    except (ValueError, AttributeError, KeyError, TypeError):
        return {}


def _judge(question: _Question, found: tuple[int, str] | None, *, hashed: bool) -> _Answer:
    """Hold size and SHA-256 of an object against what is known of it."""
    href, rule, message = question.href, "", ""
    if found is None:
        rule, message = "file-missing", "is not there"
    elif question.size is not None and found[0] != question.size:
        rule, message = "asset-size", f"has {found[0]:,} bytes, its item says {question.size:,}"
    elif found[1] != question.sha256:
        rule, message = "file-hash", "its bytes are not those that the manifest vouches for"
    findings = (Finding(href=href, rule=rule, message=message),) if rule else ()
    return _Answer(href=href, findings=findings, hashed=hashed)


# --- going on after a stop --------------------------------------------------------------------------------------------


class _Journal:
    """Remembers which objects were hashed and found in order, until a run comes to its end."""

    def __init__(self, folder: Path | None, location: Location, files: Mapping[str, str]) -> None:
        # The whole of the location: two servers may have buckets of one name.
        place = location.path.resolve() if isinstance(location, FolderLocation) else location
        self._path = None if folder is None else folder / jsonio.digest([repr(place), dict(files)])
        self.seen: frozenset[str] = frozenset()
        if self._path is not None and self._path.is_file():
            lines = self._path.read_text(encoding="utf-8").splitlines()
            self.seen = frozenset(lines) & files.keys()

    def noting(self, answers: Iterable[_Answer]) -> list[_Answer]:
        """Collect answers, and write down which objects were in order."""
        if self._path is None:
            return list(answers)
        kept = []
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as lines:
            for answer in answers:
                kept.append(answer)
                # A document is read again, for it tells the sizes of others.
                if answer.hashed and not answer.findings and not answer.sizes:
                    lines.write(f"{answer.href}\n")
                    lines.flush()
        return kept

    def forget(self) -> None:
        """Begin anew next time."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
