"""The explorer's page in a release: staged, kept, changed and taken away like other files; no Node is needed here."""

import io
import os
import random
import shutil
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
from click.testing import CliRunner, Result

import catalog_builder
from catalog_builder import cli, explorer, jsonio, layout, manifest
from catalog_builder import publish as publishing
from catalog_builder.build import BuildReport
from catalog_builder.check.release import check_release
from catalog_builder.check.structure import read_skeleton
from catalog_builder.errors import BuildError, ReleaseError, TemplateError
from catalog_builder.executor import SerialExecutor
from catalog_builder.explorer import NO_PAGE, Page
from catalog_builder.location import FolderLocation, S3Location, parse_s3
from catalog_builder.media import OTHER_TYPE, media_type
from catalog_builder.progress import TileProgress
from catalog_builder.publish import PublishOptions
from catalog_builder.schemas import SchemaStore
from catalog_builder.template import load
from catalog_builder.transfer import headers_of
from catalog_builder.verify import verify
from tests.builds import State, Tree, dangling, killed_after, manifest_faults, place, run, state, tree
from tests.faults import drop_link, edit, link, remove, reseal, write
from tests.makers import TILE, small_templates, source, texture, write_geotiff
from tests.test_publish import Silence, objects
from tools.local_bucket import BUCKET, LocalBucket

OLD = {"index.html": b"<script src=explorer-AAAAAAAA.js>", "explorer-AAAAAAAA.js": b"old", "world.json": b'{"a": [1]}'}
NEW = {"index.html": b"<script src=explorer-BBBBBBBB.js>", "explorer-BBBBBBBB.js": b"new", "world.json": b'{"a": [1]}'}
HREFS = {f"explore/{name}" for name in OLD}
LINK = {
    "rel": "alternate",
    "href": "./explore/index.html",
    "type": "text/html",
    "title": "Explore the tiles of this release in a browser",
}


def make_page(folder: Path, files: Mapping[str, bytes] = OLD) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def read_page(folder: Path, files: Mapping[str, bytes] = OLD) -> Page:
    found = explorer.page(make_page(folder, files))
    assert found is not None
    return found


@dataclass
class Place:
    """Sources of one tile, a release of them without explorer, and two pages."""

    folder: Path
    old: Page
    new: Page

    @property
    def release(self) -> Path:
        return self.folder / "release"

    @property
    def files(self) -> set[str]:
        """What of the explorer is there."""
        return {path.relative_to(self.release).as_posix() for path in (self.release / "explore").glob("*")}

    @property
    def links(self) -> list[dict[str, Any]]:
        document = jsonio.read(self.release / layout.CATALOG)
        return [link for link in document["links"] if link["rel"] == "alternate"]

    def build(self, page: Page | None) -> BuildReport:
        return run(self.folder / "sources.toml", self.release, self.folder / "stac", page=page)

    def command(self, *options: str) -> Result:
        paths = (str(self.folder / "sources.toml"), str(self.release))
        fixed = ("--templates", str(self.folder / "stac"), "--jobs", "1")
        return CliRunner().invoke(cli.main, ["build", *paths, *fixed, *options], catch_exceptions=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("explorer")
    small_templates(folder / "stac")
    write_geotiff(folder / "srtm.tif", texture((1, TILE, TILE), "int16", 2), nodata=-32768)
    write_geotiff(folder / "osm.tif", np.ones((1, TILE, TILE), "uint8"), nodata=255)
    (folder / "sources.toml").write_text(place("one", source("srtm", "srtm.tif"), source("osm", "osm.tif")))
    pages = read_page(folder / "old"), read_page(folder / "new", NEW)
    made = Place(folder, *pages)
    made.build(NO_PAGE)
    return made


@pytest.fixture
def case(made: Place, tmp_path: Path) -> Place:
    """The sources, the release and the pages, to be changed."""
    shutil.copytree(made.folder, tmp_path / "case")
    return Place(tmp_path / "case", made.old, made.new)


# --- the page as files ----------------------------------------------------------------------------------------------


def test_a_page_is_its_plain_files(tmp_path: Path) -> None:
    folder = make_page(tmp_path / "page")
    (folder / ".DS_Store").touch()
    found = explorer.page(folder)
    assert found is not None
    assert dict(found.files) == {f"explore/{name}": data for name, data in OLD.items()}
    with pytest.raises(TypeError):
        found.files["explore/index.html"] = b""  # type: ignore[index]


@pytest.mark.parametrize("names", [None, [], ["explorer-AAAAAAAA.js"]])
def test_a_page_that_was_not_made_is_none(tmp_path: Path, names: list[str] | None) -> None:
    if names is not None:
        make_page(tmp_path / "page", dict.fromkeys(names, b""))
    assert explorer.page(tmp_path / "page") is None


@pytest.mark.parametrize(
    "name", ["tool.exe", "manifest.sha256", "a b.js", "index.html~", "folder", "link.js", "s2.tif"]
)
def test_what_does_not_belong_into_a_page_is_refused(tmp_path: Path, name: str) -> None:
    folder = make_page(tmp_path / "page")
    if name == "folder":
        (folder / name).mkdir()
    elif name == "link.js":
        (folder / name).symlink_to("/etc/passwd")
    else:
        (folder / name).touch()
    with pytest.raises(BuildError, match=f"page/{name}: the explorer consists of plain files"):
        explorer.page(folder)


def test_every_file_of_a_page_has_a_media_type() -> None:
    assert [ending for ending in layout.EXPLORER_SUFFIXES if media_type(f"a{ending}") == OTHER_TYPE] == []


def test_explore_is_no_id(case: Place) -> None:
    path = case.folder / "stac" / "france" / layout.COLLECTION
    path.write_text(path.read_text().replace('"id": "france"', '"id": "explore"', 1))
    with pytest.raises(TemplateError, match="id 'explore': that name is taken"):
        load(case.folder / "stac")


# --- builds ---------------------------------------------------------------------------------------------------------


def listed(release: Path) -> set[str]:
    return set(manifest.loads((release / layout.MANIFEST).read_bytes()))


def test_a_release_without_page_has_no_trace_of_it(case: Place) -> None:
    assert (case.files, case.links) == (set(), [])
    before = state(case.release)
    for page in (None, NO_PAGE):
        report = case.build(page)
        assert (report.files, report.explorer) == (0, False)
    assert state(case.release) == before


def test_a_page_comes_goes_and_stays(case: Place) -> None:
    before = state(case.release)
    report = case.build(case.old)
    assert (report.files, report.written, report.explorer) == (len(OLD) + 2, 0, True)
    assert {name: (case.release / "explore" / name).read_bytes() for name in OLD} == OLD
    assert case.files == HREFS <= listed(case.release)
    assert case.links == [LINK]
    assert changed(before, state(case.release)) == {*HREFS, layout.CATALOG, layout.MANIFEST}
    assert manifest_faults(case.release) == dangling(case.release) == []
    there = state(case.release)
    for page in (case.old, None):  # the same, and one who has none
        report = case.build(page)
        assert (report.files, report.explorer) == (0, True)
        assert state(case.release) == there
    assert case.build(NO_PAGE).files == len(OLD) + 2
    assert (case.files, case.links) == (set(), [])
    assert not (case.release / "explore").exists()
    assert tree(case.release) == {href: stamp.sha256 for href, stamp in before.items()}


def changed(before: State, after: State) -> set[str]:
    return {href for href in before.keys() | after.keys() if before.get(href) != after.get(href)}


def test_what_a_new_page_does_not_have_goes(case: Place) -> None:
    case.build(case.old)
    before = state(case.release)
    case.build(case.new)
    assert case.files == {f"explore/{name}" for name in NEW}
    assert changed(before, state(case.release)) == {
        "explore/index.html", "explore/explorer-AAAAAAAA.js", "explore/explorer-BBBBBBBB.js", layout.MANIFEST,
    }  # fmt: skip
    assert manifest_faults(case.release) == []


def test_an_explorer_is_kept_while_other_things_change(case: Place) -> None:
    case.build(case.old)
    text = (case.folder / "sources.toml").read_text()
    (case.folder / "sources.toml").write_text(text + place("two", source("srtm", "srtm.tif")))
    report = case.build(None)
    assert (report.areas, report.explorer) == (2, True)
    assert case.files == HREFS <= listed(case.release)
    assert case.links == [LINK]
    assert manifest_faults(case.release) == []


def test_an_explorer_that_is_not_whole_is_not_kept(case: Place) -> None:
    case.build(case.old)
    (case.release / "explore" / "explorer-AAAAAAAA.js").unlink()
    assert not case.build(None).explorer
    assert (case.files, case.links) == (set(), [])
    assert manifest_faults(case.release) == []
    case.build(case.old)
    (case.release / "explore" / "explorer-AAAAAAAA.js").unlink()
    assert case.build(case.old).files == 1
    assert case.files == HREFS


# --- killed ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trees(made: Place, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tree]:
    """What an undisturbed build with each page gives."""
    folder = tmp_path_factory.mktemp("trees")
    shutil.copytree(made.folder, folder / "case")
    case, found = Place(folder / "case", made.old, made.new), {}
    for name, page in pages(case).items():
        case.build(page)
        found[name] = tree(case.release)
    return found


def pages(case: Place) -> dict[str, Page]:
    return {"old": case.old, "new": case.new, "none": NO_PAGE}


@pytest.mark.parametrize("seed", [pytest.param(n, marks=[pytest.mark.slow] if n >= 4 else []) for n in range(20)])
def test_builds_killed_at_any_step_leave_no_page_half_made(case: Place, trees: dict[str, Tree], seed: int) -> None:
    rng, names = random.Random(seed), sorted(trees)
    for _ in range(rng.randint(2, 4)):
        with killed_after(rng.choice([sys.maxsize, rng.randint(0, 40)])):
            case.build(rng.choice([*pages(case).values(), None]))
        assert dangling(case.release) == []
        assert scripts_missing(case.release) == []
    last = rng.choice(names)
    with killed_after(rng.randint(0, 40)):
        case.build(pages(case)[last])
    case.build(pages(case)[last])
    assert tree(case.release) == trees[last]
    assert case.build(None).files == 0


def scripts_missing(release: Path) -> list[str]:
    """Give the scripts that the page loads and that are not there."""
    page = release / layout.EXPLORER
    names = [page.read_bytes().partition(b"src=")[2].rstrip(b">").decode()] if page.is_file() else []
    return [name for name in names if not page.with_name(name).is_file()]


def test_a_page_that_was_staged_is_not_taken_for_the_one_that_is_kept(case: Place, trees: dict[str, Tree]) -> None:
    case.build(case.old)
    with killed_after(0, since="explore/index.html") as reaper:
        case.build(case.new)
    assert reaper.killed
    assert list(case.release.glob(".build/*/tree/explore/index.html"))
    case.build(None)
    assert tree(case.release) == trees["old"]


# --- the command ----------------------------------------------------------------------------------------------------


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder in the place of the package's own page; empty."""
    folder = tmp_path / "package" / "explorer_page"
    folder.parent.mkdir()
    monkeypatch.setattr(explorer, "page_folder", lambda: folder)
    return folder


def test_the_command_puts_the_page_of_the_package(case: Place, package: Path) -> None:
    make_page(package)
    said = case.command()
    assert said.exit_code == 0
    assert "no explorer" not in said.stderr
    assert case.files == HREFS
    assert f"{case.release}: nothing to do" in case.command().stdout
    said = case.command("--no-explorer")
    assert (said.exit_code, case.files) == (0, set())
    assert "no explorer" not in said.stderr


def test_the_command_says_how_to_add_the_explorer(case: Place, package: Path) -> None:
    said = case.command()
    assert said.exit_code == 0
    (line,) = [line for line in said.stderr.splitlines() if "explorer" in line]
    assert line.startswith("no explorer: its page has not been made; run ")
    setup = line.partition("run ")[2].partition(" ")[0]
    assert os.access(setup, os.X_OK)
    assert case.command("--quiet").stderr == ""
    case.build(case.old)
    said = case.command()
    assert "no explorer" not in said.stderr
    assert case.files == HREFS
    (package / "x").mkdir(parents=True)
    said = case.command()
    assert said.exit_code == 1
    assert len(said.stderr.splitlines()) == 1
    assert case.files == HREFS


def test_an_installed_package_names_no_file_that_it_does_not_have(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(explorer, "__file__", str(tmp_path / "site-packages" / "catalog_builder" / "explorer.py"))
    said = explorer.how_to_add()
    assert said.startswith("this package was installed without its page; run tools/explorer-setup ")
    assert str(tmp_path) not in said


# --- readers --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def explored(made: Place, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release with an explorer, to be left as it is."""
    folder = tmp_path_factory.mktemp("explored")
    shutil.copytree(made.folder, folder / "case")
    case = Place(folder / "case", made.old, made.new)
    case.build(case.old)
    return case.release


@pytest.fixture
def release(explored: Path, tmp_path: Path) -> Path:
    """A copy, to be broken."""
    return Path(shutil.copytree(explored, tmp_path / "release"))


@pytest.fixture(scope="module")
def store(schemas_dir: Path) -> SchemaStore:
    return SchemaStore(mirror=schemas_dir)


def findings(release: Path, store: SchemaStore) -> set[tuple[str, str]]:
    progress = TileProgress(io.StringIO(), quiet=True)
    return {(found.href, found.rule) for found in check_release(release, store, SerialExecutor(), progress)}


def test_a_release_with_explorer_has_no_findings(explored: Path, store: SchemaStore) -> None:
    assert findings(explored, store) == set()
    assert read_skeleton(explored).files.keys() > HREFS


SCRIPT = "explore/explorer-AAAAAAAA.js"
INDEX = layout.EXPLORER


@pytest.mark.parametrize(
    ("break_it", "expected"),
    [
        (remove(SCRIPT), {(SCRIPT, "file-missing")}),
        (
            remove(INDEX),
            {(INDEX, "file-missing"), (INDEX, "document-missing"), (layout.CATALOG, "link-target")},
        ),
        (remove(INDEX, seal=True), {(INDEX, "document-missing"), (layout.CATALOG, "link-target")}),
        (write(SCRIPT), {(SCRIPT, "file-hash")}),
        (write("explore/more.js"), {("explore/more.js", "file-unlisted")}),
        (write("explore/a/more.js"), {("explore/a/more.js", "file-unlisted")}),
        (write("explore/.DS_Store"), {("explore/.DS_Store", "file-unlisted")}),
        (write("explore/tool.exe", seal=True), {("explore/tool.exe", "file-name")}),
        (edit(layout.CATALOG, drop_link("alternate")), {(INDEX, "document-unreached")}),
        (edit(layout.CATALOG, link("alternate", "title", "A page")), {(layout.CATALOG, "link-title")}),
    ],
    ids=lambda value: "" if callable(value) else "-".join(sorted(rule for _, rule in value)),
)
def test_what_is_wrong_with_an_explorer_is_found(
    release: Path, store: SchemaStore, break_it: Any, expected: set[tuple[str, str]]
) -> None:
    break_it(release)
    assert findings(release, store) == expected


def test_a_release_without_part_of_its_explorer_is_not_published(release: Path) -> None:
    (release / SCRIPT).unlink()
    with pytest.raises(ReleaseError, match=f"not whole: {SCRIPT}: file-missing"):
        read_skeleton(release)
    shutil.rmtree(release / "explore")
    reseal(release)
    with pytest.raises(ReleaseError, match=r"the alternate link leads to explore/index\.html, which is not there"):
        read_skeleton(release)


def test_verify_looks_at_the_explorer(release: Path) -> None:
    def rules(*, deep: bool = False) -> set[tuple[str, str]]:
        report = verify(FolderLocation(path=release), SerialExecutor(), Silence(), deep=deep)
        return {(found.href, found.rule) for found in report.findings}

    assert rules() == rules(deep=True) == set()
    (release / SCRIPT).write_bytes(b"OLD")
    (release / "explore" / "more.js").touch()
    (release / "explore" / "index.html").unlink()
    assert rules(deep=True) == {
        (SCRIPT, "file-hash"), ("explore/more.js", "file-unlisted"), (INDEX, "file-missing"),
    }  # fmt: skip


def test_readers_of_the_catalog_pass_by_the_explorer(explored: Path) -> None:
    root = pystac.Catalog.from_file(str(explored / layout.CATALOG))
    assert [child.id for child in root.get_children()] == ["france"]
    assert len(list(root.get_items(recursive=True))) == 1
    (found,) = root.get_links("alternate")
    assert Path(found.get_absolute_href() or "").is_file()
    assert len(list(catalog_builder.open(str(explored)).search(collections=["france"]).items())) == 1


def test_search_without_an_index_passes_by_the_explorer(release: Path) -> None:
    (release / layout.index("france")).unlink()
    with pytest.warns(UserWarning, match="index"):
        assert len(list(catalog_builder.open(str(release)).search(collections=["france"]).items())) == 1


# --- published ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("href", "kind", "kept"),
    [
        (INDEX, "text/html; charset=utf-8", "public, max-age=60"),
        (SCRIPT, "text/javascript; charset=utf-8", "public, max-age=31536000, immutable"),
        ("explore/explorer-K6NR26IP.css", "text/css; charset=utf-8", "public, max-age=31536000, immutable"),
        ("explore/style.css", "text/css; charset=utf-8", "public, max-age=60"),
        ("explore/world.json", "application/json", "public, max-age=60"),
        ("explore/LICENSES.txt", "text/plain; charset=utf-8", "public, max-age=60"),
        ("france/one/explorer-AAAAAAAA.js", "text/javascript; charset=utf-8", "public, max-age=60"),
    ],
)
def test_headers_of_the_explorer(href: str, kind: str, kept: str) -> None:
    for versioned in (True, False):
        headers = headers_of(href, versioned=versioned)
        assert (headers.media_type, headers.cache_control) == (kind, kept)


def test_the_explorer_is_published_before_the_root(case: Place, bucket: LocalBucket) -> None:
    case.build(case.old)
    target = bucket_location(bucket)
    plan = publishing.plan_publish(case.release, target, PublishOptions())
    order = [upload.href for upload in plan.uploads]
    assert order.index(SCRIPT) < order.index(INDEX) < order.index(layout.CATALOG) < order.index(layout.MANIFEST)
    assert {layout.rank(href) for href in HREFS - {INDEX}} == {0}
    publish(case.release, target)
    assert objects(bucket, target.prefix).keys() == tree(case.release).keys() > HREFS
    case.build(case.new)
    plan = publishing.plan_publish(case.release, target, PublishOptions(delete=True))
    assert [upload.href for upload in plan.uploads] == ["explore/explorer-BBBBBBBB.js", INDEX, layout.MANIFEST]
    assert plan.obsolete == (SCRIPT,)
    case.build(NO_PAGE)
    publish(case.release, target, delete=True)
    assert objects(bucket, target.prefix).keys() == tree(case.release).keys()


def bucket_location(bucket: LocalBucket) -> S3Location:
    return parse_s3(f"s3://{BUCKET}/test_{uuid.uuid4().hex[:8]}/v1.0.0", bucket.url)


def publish(release: Path, target: S3Location, **options: Any) -> None:
    publishing.publish(release, target, PublishOptions(**options), SerialExecutor(), Silence(), workers=1)
