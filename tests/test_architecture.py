"""The house as ARCHITECTURE.md draws it: every module has its place, and imports run one way."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "catalog_builder"
FOLDER = ROOT / PACKAGE

LAYERS: dict[str, tuple[str, ...]] = {
    "Words": ("errors", "jsonio", "tomlio", "layout", "manifest", "media", "location"),
    "Promises": ("grid", "template", "sources", "schemas"),
    "Pixels": ("raster", "footprint", "cog", "thumbnail", "drawing", "placement", "mosaic"),
    "Documents": ("item", "index", "explorer"),
    "Plan": ("fingerprint", "plan"),
    "Work": ("workspace", "executor", "tile", "catalog"),
    "Maps": ("contents", "coast", "projection", "cartography", "charts", "maps"),
    "Jobs": ("progress", "build", "survey", "figures", "serve"),
    "Load": (
        "load.access",
        "load.tiles",
        "load.bands",
        "load.grids",
        "load.arrays",
        "load.odc_reader",
        "load.cubes",
        "load.stacks",
        "load.weights",
        "load.samples",
        "load.torch_data",
        "load",
    ),
    "Check": (
        "check.findings",
        "check.files",
        "check.structure",
        "check.documents",
        "check.cog",
        "check.item",
        "check.tile",
        "check.collection",
        "check.area",
        "check.index",
        "check.release",
        "check.clients",
        "check",
    ),
    "Publish": ("direct", "bucket", "transfer", "readers", "publish", "verify", "policy"),
    "Search": (
        "search.places",
        "search.times",
        "search.fields",
        "search.cql",
        "search.request",
        "search.blocks",
        "search.groups",
        "search.table",
        "search.rows",
        "search.engine",
        "search.crawl",
        "search.release",
        "search.client",
        "search.query",
        "search",
        "download",
    ),
    "Prepare": (
        "prepare.target",
        "prepare.output",
        "prepare.provenance",
        "prepare.listing",
        "prepare.mosaic_step",
        "prepare.dem",
        "prepare.aerial",
        "prepare.optical",
        "prepare.series",
        "prepare.s1",
        "prepare.annotation",
        "prepare.uavsar",
        "prepare.osm_classes",
        "prepare.outline",
        "prepare.extract",
        "prepare.multipolygons",
        "prepare.shapes",
        "prepare.osm",
        "prepare.apis",
        "prepare.scenes",
        "prepare.remote",
        "prepare.select",
        "prepare",
    ),
    "Demo": (
        "synthetic.landscape",
        "synthetic.sensors",
        "synthetic.areas",
        "synthetic",
        "synthetic.extract",
        "synthetic.products",
        "synthetic.raw",
    ),
    "Rim": ("cli_prepare", "cli"),
}
"""From the ground up. A module may import only what stands before it here, in its own layer too."""
ORDER = [module for layer in LAYERS.values() for module in layer]

DISTRIBUTIONS = {
    "PIL": "pillow",
    "distributed": "dask[distributed]",
    "jsonschema_rs": "jsonschema-rs",
    "odc": "odc-stac",
    "pystac_client": "pystac-client",
}
"""Where the name to install is not that to import with '-' for '_'."""


def module_name(path: Path) -> str:
    parts = path.relative_to(FOLDER).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {module_name(path): path for path in sorted(FOLDER.rglob("*.py"))}
MODULES.pop("")  # the package itself holds the version, and whoever wants may know it


@cache
def tree(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


def imported(tree: ast.AST) -> Iterator[str]:
    """Every absolute name that is imported anywhere, within functions too: ``a.b.c`` for ``from a.b import c``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import hides where it leads"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports(source: ast.AST, modules: Sequence[str]) -> set[str]:
    """The modules of the package that a source imports; the longest known name of ``package.module.attribute``."""
    found = set()
    for name in imported(source):
        parts = name.split(".")
        if parts[0] == PACKAGE:
            tails = (".".join(parts[1:end]) for end in range(len(parts), 1, -1))
            found.update([next(tail for tail in tails if tail in modules)] if parts[1:] != ["__version__"] else [])
    return found


def upward(graph: Mapping[str, set[str]], order: Sequence[str]) -> list[str]:
    """Imports of something that does not stand before the importer; a circle has at least one."""
    place = {name: number for number, name in enumerate(order)}
    return [
        f"{name} imports {other}" for name, others in graph.items() for other in others if place[other] >= place[name]
    ]


def graph() -> dict[str, set[str]]:
    return {name: own_imports(tree(name), list(MODULES)) for name in MODULES}


# --- the order of the house -----------------------------------------------------------------------------------------


def test_every_module_has_one_place() -> None:
    assert sorted(ORDER) == sorted(MODULES)


def test_imports_run_one_way() -> None:
    assert upward(graph(), ORDER) == []


def test_upward_imports_and_circles_would_be_found() -> None:
    order = ["low", "high"]
    assert upward({"low": set(), "high": {"low"}}, order) == []
    assert upward({"low": {"high"}, "high": set()}, order) == ["low imports high"]
    assert upward({"low": {"high"}, "high": {"low"}}, order) == ["low imports high"]
    assert upward({"low": {"low"}, "high": set()}, order) == ["low imports low"]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import catalog_builder.grid", {"grid"}),
        ("from catalog_builder import grid, __version__", {"grid"}),
        ("from catalog_builder.grid import Tile", {"grid"}),
        ("def late():\n    from catalog_builder.grid import Tile", {"grid"}),
        ("if True:\n    import catalog_builder.synthetic.areas as a", {"synthetic.areas"}),
        ("from catalog_builder.synthetic import areas, AREAS", {"synthetic.areas", "synthetic"}),
        ("import rasterio", set()),
    ],
)
def test_imports_are_seen_wherever_they_stand(source: str, found: set[str]) -> None:
    assert own_imports(ast.parse(source), ["grid", "synthetic", "synthetic.areas"]) == found


def test_relative_imports_are_refused() -> None:
    with pytest.raises(AssertionError, match="relative import"):
        own_imports(ast.parse("from . import grid"), ["grid"])


# --- laws that imports and names can show ---------------------------------------------------------------------------


def third_party(name: str) -> set[str]:
    tops = {imported_name.split(".")[0] for imported_name in imported(tree(name))}
    return tops - set(sys.stdlib_module_names) - {PACKAGE}


@pytest.mark.parametrize("name", ["layout", "grid", "template", "sources", "item", "catalog"])
def test_arithmetic_and_documents_open_no_raster(name: str) -> None:
    assert not third_party(name) & {"rasterio", "rio_cogeo"}


def called_names(name: str) -> set[str]:
    nodes = ast.walk(tree(name))
    return {
        node.attr if isinstance(node, ast.Attribute) else node.id
        for node in nodes
        if isinstance(node, ast.Attribute | ast.Name)
    }


# The executor hands the environment on to its workers, and reads nothing of it.
@pytest.mark.parametrize("name", sorted(set(MODULES) - {"cli", "cli_prepare", "executor"}))
def test_only_the_command_line_prints_and_reads_the_environment(name: str) -> None:
    assert not called_names(name) & {"environ", "getenv", "print", "echo"}
    assert "click" not in third_party(name)


# A publisher's lock tells since when it stands; it is no part of a release.
@pytest.mark.parametrize("name", sorted(set(MODULES) - {"publish"}))
def test_nothing_is_dated_by_the_clock(name: str) -> None:
    assert not called_names(name) & {"now", "utcnow", "today", "gmtime", "localtime"}


@pytest.mark.parametrize("name", sorted(MODULES))
def test_no_module_has_state_that_changes(name: str) -> None:
    """A list, a set or a dict at the level of a module is a constant that anybody may change."""
    assert not [node for node in ast.walk(tree(name)) if isinstance(node, ast.Global)]
    for node in tree(name).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.List | ast.Set):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            assert names == ["__all__"], f"line {node.lineno}"


# --- ARCHITECTURE.md and pyproject.toml -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def architecture() -> str:
    return (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def project() -> dict[str, object]:
    document: dict[str, object] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return document


def section(text: str, title: str) -> str:
    return text.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def test_architecture_has_a_line_a_module_in_this_order(architecture: str) -> None:
    rows = re.findall(r"^\| `([a-z0-9_.]+)` \| \S", section(architecture, "Modules, from the ground up"), flags=re.M)
    assert rows == ORDER
    headings = re.findall(r"^\| \*\*(\w+)\*\* \|", section(architecture, "Modules, from the ground up"), flags=re.M)
    assert headings == list(LAYERS)


def declared(project: Mapping[str, object], *extras: str) -> set[str]:
    optional = project["optional-dependencies"]
    assert isinstance(optional, dict)
    needs = [*project["dependencies"], *(need for extra in extras for need in optional[extra])]  # type: ignore[misc]
    return {re.split(r"[><=~!; ]", need)[0] for need in needs}


def test_dependencies_are_those_that_are_imported(project: dict[str, object]) -> None:
    used = {top for name in MODULES for top in third_party(name)}
    names = {DISTRIBUTIONS.get(top, top.replace("_", "-")) for top in used}
    assert names == declared(project, "dask", "load", "osm", "torch")


def test_each_dependency_has_its_reason(architecture: str, project: dict[str, object]) -> None:
    rows = re.findall(r"^\| `([a-z0-9\-\[\]]+)` \| .{5,} \|$", section(architecture, "Dependencies"), flags=re.M)
    assert sorted(rows) == sorted(declared(project, "dask", "load", "osm", "torch"))
