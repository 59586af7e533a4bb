"""The files of a release as they lie there, and its manifests. Links out of the release are not followed."""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from catalog_builder import layout, manifest
from catalog_builder.check.findings import Finding
from catalog_builder.manifest import hash_file


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """What lies in one folder of a release."""

    href: str
    """Empty for the release itself."""
    files: frozenset[str]
    folders: tuple[str, ...]
    """Sorted."""
    findings: tuple[Finding, ...]

    def path(self, name: str) -> str:
        """Give the href of something in the folder."""
        return join(self.href, name)


def join(folder: str, name: str) -> str:
    """Give the href of a name in a folder, which is empty for the release itself."""
    return f"{folder}/{name}" if folder else name


def read_folder(release: Path, href: str) -> Folder:
    """List one folder. Raises ``OSError``."""
    files: set[str] = set()
    folders: set[str] = set()
    findings: list[Finding] = []
    with os.scandir(release / href) as entries:
        for entry in entries:
            problem = _problem(release, entry)
            if problem is not None:
                findings.append(Finding(href=join(href, entry.name), rule="file-kind", message=problem))
            if entry.is_dir(follow_symlinks=False):
                folders.add(entry.name)
            elif entry.is_file():
                files.add(entry.name)
    pair = layout.sibling_problem([*files, *folders])
    if pair is not None and pair[0] in folders:
        text = f"stands beside {pair[1]!r}: 'aws s3 sync --delete' would remove good objects"
        findings.append(Finding(href=join(href, pair[0]), rule="sibling", message=text))
    return Folder(href=href, files=frozenset(files), folders=tuple(sorted(folders)), findings=tuple(findings))


def _problem(release: Path, entry: os.DirEntry[str]) -> str | None:
    if not entry.is_symlink():
        return None if entry.is_file() or entry.is_dir() else "is neither a plain file nor a folder"
    try:
        target = Path(entry.path).resolve(strict=True)
    except (OSError, RuntimeError):
        return "is a symbolic link that leads nowhere"
    if not target.is_relative_to(release.resolve()):
        return f"is a symbolic link that leaves the release, to {target}"
    return None if target.is_file() else "is a symbolic link to something that is no file"


def walk(release: Path, href: str) -> Iterator[Folder]:
    """List a folder and all folders in it. Raises ``OSError``."""
    folder = read_folder(release, href)
    yield folder
    for name in folder.folders:
        yield from walk(release, folder.path(name))


def read_manifest(release: Path, href: str) -> tuple[Mapping[str, str] | None, list[Finding]]:
    """Read a manifest: path -> SHA-256, None where there is none that can be read."""
    try:
        data = (release / href).read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        return None, [Finding(href=href, rule="manifest-missing", message="there is no manifest; build again")]
    try:
        listed = manifest.loads(data)
    except ValueError as error:
        return None, [Finding(href=href, rule="manifest-syntax", message=str(error))]
    if manifest.dumps(listed) != data:
        text = "its lines are not sorted by path, or do not end as sha256sum -c wants it"
        return listed, [Finding(href=href, rule="manifest-syntax", message=text)]
    return listed, []


def compare_manifest(release: Path, href: str, listed: Mapping[str, str], present: Iterable[str]) -> Iterator[Finding]:
    """Hold the paths of a manifest against the files for which it vouches, both as seen from its folder."""
    folder = href.rpartition("/")[0]
    known = set(present)
    for path in sorted(listed.keys() - known):
        where = join(folder, path)
        if layout.resolve(path, "manifest") != path:
            yield Finding(href=href, rule="manifest-path", message=f"lists {path!r}, which is no plain path below it")
        elif (release / where).is_file():
            yield Finding(href=href, rule="manifest-path", message=f"lists {path!r}, which belongs in another manifest")
        else:
            yield Finding(href=where, rule="file-missing", message=f"is listed in {href}, but is not there")
    for path in sorted(known - listed.keys()):
        yield Finding(href=join(folder, path), rule="file-unlisted", message=f"is not listed in {href}")


def compare_hash(release: Path, href: str, listed: str | None) -> Iterator[Finding]:
    """Hold the bytes of a file against the SHA-256 that a manifest lists; None where none does."""
    if listed is not None and hash_file(release / href)[1] != listed:
        yield Finding(href=href, rule="file-hash", message="its bytes are not those that the manifest vouches for")
