"""``check``: a release as it was built has no findings, and every way to break it is found by name."""

import io
import json
import pickle
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from catalog_builder import jsonio, layout, sources, template
from catalog_builder.build import build
from catalog_builder.check.findings import RULES, Finding
from catalog_builder.check.release import check_release
from catalog_builder.cli import main
from catalog_builder.errors import ReleaseError, UsageError
from catalog_builder.executor import SerialExecutor, open_executor
from catalog_builder.fingerprint import Fingerprints
from catalog_builder.plan import make_plan
from catalog_builder.progress import TileProgress
from catalog_builder.schemas import SchemaStore
from tests.faults import AREA, FAULTS, ITEM, STRIP, Fault, edit, put, read, reseal, write_sources
from tests.makers import small_templates


def _quiet() -> TileProgress:
    return TileProgress(io.StringIO(), quiet=True)


def _build(folder: Path) -> Path:
    templates = template.load(small_templates(folder / "stac"))
    plan = make_plan(sources.load(write_sources(folder / "sources"), templates), templates, Fingerprints())
    release = folder / "release"
    build(plan, release, SerialExecutor(), _quiet())
    return release


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small release, to be left as it is."""
    return _build(tmp_path_factory.mktemp("check"))


@pytest.fixture
def release(built: Path, tmp_path: Path) -> Path:
    """A copy of the small release, to be broken."""
    return Path(shutil.copytree(built, tmp_path / "release"))


@pytest.fixture(scope="session")
def store(schemas_dir: Path) -> SchemaStore:
    """The schemas, compiled once for all tests."""
    return SchemaStore(mirror=schemas_dir)


def _check(release: Path, store: SchemaStore) -> list[Finding]:
    return check_release(release, store, SerialExecutor(), _quiet())


def _lines(findings: list[Finding]) -> str:
    return "\n".join(map(str, findings)) or "no findings"


def test_a_release_as_built_has_no_findings(built: Path, store: SchemaStore) -> None:
    findings = _check(built, store)
    assert not findings, _lines(findings)


def test_sealing_and_indexing_anew_is_no_fault(release: Path, store: SchemaStore) -> None:
    """Or the faults below could be found for what the test itself did."""
    edit(ITEM, lambda _: None)(release)
    reseal(release)
    findings = _check(release, store)
    assert not findings, _lines(findings)


def _faults() -> Iterator[Any]:
    """Give every fault; the fast suite has the first that breaks a rule, the whole suite all ways to break it."""
    seen: set[str] = set()
    for fault in FAULTS:
        yield pytest.param(fault, id=fault.name, marks=[pytest.mark.slow] if fault.rules <= seen else [])
        seen |= fault.rules


@pytest.mark.parametrize("fault", list(_faults()))
def test_each_fault_is_found_by_name(fault: Fault, release: Path, store: SchemaStore) -> None:
    fault.apply(release)
    findings = _check(release, store)
    assert {finding.rule for finding in findings} == fault.rules, _lines(findings)
    assert all(fault.href in finding.document()["href"] for finding in findings), _lines(findings)


def test_every_rule_is_tried() -> None:
    tried = frozenset[str]().union(*(fault.rules for fault in FAULTS))
    # Those of clients are for tests/test_clients.py.
    assert tried == {rule for rule in RULES if not rule.startswith("client-")}
    assert len(FAULTS) >= 30


def test_an_area_with_a_catalog_a_row_has_no_findings(
    tmp_path: Path, store: SchemaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "MAX_ITEM_LINKS", 1)
    release = _build(tmp_path)
    monkeypatch.undo()
    row = "france/alpes/y1903/catalog.json"
    assert (release / row).is_file()
    findings = _check(release, store)
    assert not findings, _lines(findings)
    edit(row, put("description", "A row."))(release)
    edit(row, lambda document: document["links"].pop())(release)
    assert {(finding.href, finding.rule) for finding in _check(release, store)} == {
        (row, "catalog-fields"),
        ("france/alpes/alpes_x0265_y1903/alpes_x0265_y1903.json", "document-unreached"),
    }


def test_a_tile_on_another_grid_than_its_area(release: Path, store: SchemaStore) -> None:
    """Its own word is all that tells where an area's own grid stands, so tiles are held against each other."""
    edit(STRIP, put("properties/proj:transform/2", 714235.0))(release)
    rules = {finding.rule for finding in _check(release, store)}
    assert rules == {"cog-template", "grid", "index-differs"}


def test_findings_are_sorted_and_the_same_each_time(release: Path, store: SchemaStore) -> None:
    for name in ("s2.tif", "osm.tif"):
        with (release / ITEM).with_name(name).open("ab") as stream:
            stream.write(b"x")
    (release / "a.txt").touch()
    findings = _check(release, store)
    assert findings == sorted(findings) == _check(release, store)
    assert len(findings) == 7


@pytest.mark.parametrize(("name", "said"), [("nothing", "no such folder"), ("empty", "has no catalog.json")])
def test_what_is_no_release_is_refused(name: str, said: str, tmp_path: Path, store: SchemaStore) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=rf"{name}: {said}"):
        _check(tmp_path / name, store)


def test_a_file_that_cannot_be_read_is_named(
    release: Path, store: SchemaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("catalog_builder.check.files.hash_file", fail)
    with pytest.raises(ReleaseError, match=r"release/\S+: cannot read: Permission denied"):
        _check(release, store)


def test_a_finding_is_one_line_whatever_a_file_is_named() -> None:
    finding = Finding(href="a\nb\udcff", rule="file-unlisted", message="is\tnot listed")
    assert str(finding) == r"a\nb\udcff: file-unlisted: is\tnot listed"
    assert finding.document() == {"href": r"a\nb\udcff", "rule": "file-unlisted", "message": r"is\tnot listed"}


def test_a_finding_names_a_rule() -> None:
    with pytest.raises(ValueError, match="'typo' is no rule"):
        Finding(href="catalog.json", rule="typo", message="")


def test_a_store_of_schemas_travels_without_what_is_compiled(store: SchemaStore) -> None:
    document = {"type": "Catalog", "stac_version": "1.1.0"}
    there = pickle.loads(pickle.dumps(store))
    assert there == store
    assert there.errors(document) == store.errors(document) != []


@pytest.mark.slow
def test_no_change_of_an_item_or_an_area_goes_unseen(release: Path, store: SchemaStore) -> None:
    """Whatever stands in a document, it is a finding and no error. Without digest an area is just built again."""
    choose = random.Random(20211)
    for _ in range(60):
        href = choose.choice([ITEM, STRIP, AREA])
        before, document = (release / href).read_bytes(), read(release, href)
        path = choose.choice([path for path in _paths(document) if path and path != ("dream:inputs",)])
        value: Any = choose.choice([None, "x", -1, 1e308, True, [], {"a": [None]}, "2020-01-01"])
        put("/".join(path), value)(document)
        (release / href).write_bytes(jsonio.dumps(document))
        reseal(release)
        if (release / href).read_bytes() != before:
            assert _check(release, store), f"{href}: {path} = {value!r}"
        (release / href).write_bytes(before)


def _paths(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield from _paths(inner, (*path, str(key)))


# --- the command -----------------------------------------------------------------------------------------------------


def test_command_finds_nothing(built: Path, schemas_dir: Path) -> None:
    result = CliRunner().invoke(main, ["check", str(built), "--schemas", str(schemas_dir), "--jobs", "1"])
    assert result.exit_code == 0
    assert result.stdout == ""
    assert "no findings" in result.stderr


def test_command_lists_findings(release: Path, schemas_dir: Path) -> None:
    edit(AREA, put("description", "A place."))(release)
    runner = CliRunner(env={"STAC_SCHEMAS_DIR": str(schemas_dir)})
    result = runner.invoke(main, ["check", str(release), "--jobs", "1"])
    assert result.exit_code == 1
    assert result.stdout.startswith(f"{AREA}: catalog-fields: description is 'A place.', should be")
    assert result.stdout.count("\n") == 1
    result = runner.invoke(main, ["check", str(release), "--jobs", "1", "--json", "--quiet"])
    assert result.exit_code == 1
    (finding,) = json.loads(result.stdout)
    assert finding["href"] == AREA
    assert finding["rule"] == "catalog-fields"
    assert result.stderr == ""


def test_command_refuses_what_is_no_release(tmp_path: Path, schemas_dir: Path) -> None:
    result = CliRunner().invoke(main, ["check", str(tmp_path), "--schemas", str(schemas_dir), "--jobs", "1"])
    assert result.exit_code == 2
    assert f"{tmp_path}: has no catalog.json" in result.stderr


@pytest.mark.slow
def test_processes_find_the_same(release: Path, store: SchemaStore) -> None:
    edit(ITEM, put("properties/title", "Tile"), index=False)(release)
    findings = _check(release, store)
    assert len(findings) == 2
    with open_executor(2) as executor:
        assert check_release(release, store, executor, _quiet()) == findings
