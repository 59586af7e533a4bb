"""Documentation is held against the program: commands, options, messages, fields, links, pictures and examples.

``python -m tests.test_docs`` writes ``docs/cli.md`` anew.
"""

import inspect
import json
import math
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner
from pystac_client import Client

from catalog_builder import layout, sources, template
from catalog_builder.build import build
from catalog_builder.check.findings import RULES
from catalog_builder.cli import main
from catalog_builder.executor import SerialExecutor
from catalog_builder.fingerprint import Fingerprints
from catalog_builder.plan import make_plan
from catalog_builder.progress import TileProgress
from catalog_builder.schemas import SchemaStore, local_validator
from catalog_builder.sources import AREA_KEYS, SOURCE_KEYS
from tests.makers import texture, write_geotiff
from tests.small_demo import small_demo
from tests.test_search_remote import served

ROOT = Path(__file__).resolve().parents[1]
DOCS = [
    *(ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
NAMES = [path.relative_to(ROOT).as_posix() for path in DOCS]
CLI = ROOT / "docs" / "cli.md"
MAX_PICTURE_BYTES = 500_000


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text(name), flags=re.M | re.S)


def prose(name: str) -> str:
    """What stands outside of fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text(name), flags=re.M | re.S)


# --- the command line -------------------------------------------------------------------------------------------------


def cli_reference() -> str:
    """Give docs/cli.md as it has to be: the help of every command."""
    parts = [
        "# Command line",
        "This page is made from the help of the commands: `python -m tests.test_docs` writes it anew.",
        "Exit codes: 0 fine, 1 findings or failed work, 2 the command was used wrongly. Results go to\n"
        "standard output, progress and errors to standard error.",
        help_of(),
        *(f"## {' '.join(path)}\n\n{help_of(*path)}" for path in command_paths(main)),
    ]
    return "\n\n".join(parts) + "\n"


def command_paths(group: click.Group, *above: str) -> Iterator[tuple[str, ...]]:
    """Every command, those of groups after their group."""
    for name, command in sorted(group.commands.items()):
        yield (*above, name)
        if isinstance(command, click.Group):
            yield from command_paths(command, *above, name)


def help_of(*command: str) -> str:
    result = CliRunner().invoke(main, [*command, "--help"], prog_name="catalog-builder", terminal_width=100)
    assert result.exit_code == 0
    return f"```\n{result.output.rstrip()}\n```"


def test_cli_reference_is_the_help_of_the_commands() -> None:
    assert CLI.read_text(encoding="utf-8") == cli_reference(), "run: python -m tests.test_docs"


def commands(name: str) -> Iterator[str]:
    """Every call of catalog-builder in a document, in fenced blocks and in the text."""
    if name == "docs/cli.md":
        yield from re.findall(r"^  (catalog-builder .+)$", text(name), flags=re.M)
        return
    for block in (expanded(block.replace("\\\n", " ")) for block in blocks(name, "sh")):
        yield from re.findall(r"^(?:\.venv/bin/)?(catalog-builder [^#&\n]+)", block, flags=re.M)
    yield from re.findall(r"`(catalog-builder [^`]+)`", prose(name))


def expanded(block: str) -> str:
    """Put the values of variables that a block sets on lines of their own where it uses them."""
    for line in re.findall(r"^(?:\w+=\S.*)$", block, flags=re.M):
        for assignment in shlex.split(line):
            name, _, value = assignment.partition("=")
            block = block.replace(f"${name}", value)
    return block


@pytest.mark.parametrize("name", NAMES)
def test_commands_exist_with_their_options(name: str) -> None:
    for line in commands(name):
        parse(line)


def parse(line: str) -> None:
    _, name, *args = shlex.split(re.sub(r"  .*", "", re.sub(r" \\? +--", " --", line)))
    assert name in main.commands, line
    command = main.commands[name]
    if isinstance(command, click.Group):
        if not args:
            return
        name, *args = args
        assert name in command.commands, line
        command = command.commands[name]
    try:
        command.make_context(name, args)
    except click.UsageError as error:
        pytest.fail(f"{line}: {error.format_message()}")


@pytest.mark.parametrize("line", ["catalog-builder bake x", "catalog-builder plan", "catalog-builder plan x --colour"])
def test_wrong_commands_would_be_found(line: str) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        parse(line)


def test_extras_of_the_readme_can_be_installed() -> None:
    project = tomllib.loads(text("pyproject.toml"))["project"]
    named = re.findall(r"'\.\[(\w+)\]'", text("README.md"))
    assert named
    assert set(named) <= project["optional-dependencies"].keys()


def test_readme_shows_every_command_that_a_user_needs() -> None:
    shown = {line.split()[1] for line in commands("README.md")}
    assert shown >= {"plan", "build", "check", "serve", "figures"}


@pytest.mark.parametrize("name", NAMES)
def test_files_of_the_project_that_are_named_exist(name: str) -> None:
    named = re.findall(r"(?<![\w/-])(?:\./)?((?:tools|\.ci|tests|catalog_builder)(?:/[\w-]+)+(?:\.py)?)\b", text(name))
    assert [path for path in named if not (ROOT / path).is_file()] == []


# --- links and pictures -----------------------------------------------------------------------------------------------


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a document."""
    headings = re.findall(r"^#+ (.+)$", prose(path.relative_to(ROOT).as_posix()), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", NAMES)
def test_links_resolve(name: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(name)):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        path = (ROOT / name).parent / file if file else ROOT / name
        assert path.is_file(), target
        assert not anchor or anchor in anchors(path.resolve()), target


def test_every_document_is_linked_from_the_readme() -> None:
    linked = set(re.findall(r"\]\(([^)#\s]+\.md)\)", text("README.md")))
    assert linked == set(NAMES) - {"README.md"}


def test_pictures_are_small_and_all_of_them_are_shown() -> None:
    shown = {
        (ROOT / name).parent / target
        for name in NAMES
        for target in re.findall(r"!\[[^\]]+\]\(([^)\s]+)\)", text(name))
    }
    pictures = sorted((ROOT / "docs" / "images").iterdir())
    assert sorted(shown) == pictures
    for picture in pictures:
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert picture.stat().st_size < MAX_PICTURE_BYTES


# --- what the documents tell of the program ---------------------------------------------------------------------------


def table(name: str, heading: str) -> list[str]:
    """First cells of the rows of the table under a heading."""
    part = text(name).split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"^\| (`.+?) \|", part, flags=re.M)


def codes(cells: list[str]) -> list[str]:
    return [code for cell in cells for code in re.findall(r"`([^`]+)`", cell)]


def test_every_key_of_sources_toml_is_told() -> None:
    assert sorted(codes(table("docs/sources.md", "Keys of an area"))) == sorted(AREA_KEYS)
    assert sorted(codes(table("docs/sources.md", "Keys of a source"))) == sorted(SOURCE_KEYS)


def test_messages_about_rasters_are_those_of_the_program() -> None:
    modules = (ROOT / "catalog_builder").glob("*.py")
    # Strings may go on in the next line of the source, and hold values.
    program = re.sub(r'"\s*\n\s*f?"', "", "".join(path.read_text(encoding="utf-8") for path in modules))
    messages = codes(table("docs/sources.md", "What is asked of a raster, and how to mend it"))
    assert len(messages) > 15
    assert [message for message in messages if message not in program] == []


def test_ids_that_the_document_calls_taken_are_refused() -> None:
    (line,) = [line for line in text("docs/sources.md").splitlines() if line.endswith("are taken.")]
    taken = re.findall(r"`(\w+)`", line)
    assert len(taken) == 6
    assert all(layout.id_problem(name) for name in taken)
    assert layout.sibling_problem(["toulouse", "toulouse-2"])
    assert layout.sibling_problem(["toulouse", "toulouse_2"]) is None


def test_rules_of_check_are_all_told() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| (.+) \|$", text("docs/release.md").split("## What check looks at")[1], re.M)
    assert dict(rows) == dict(RULES)
    assert len(rows) == len(RULES)


def test_every_dream_field_is_told() -> None:
    fields = set(re.findall(r'"(dream:\w+)"', text("stac/dream.schema.json")))
    told = set(re.findall(r"`(dream:\w+)`", text("docs/release.md")))
    assert told == fields


@pytest.mark.parametrize(
    "words", [template.RESAMPLINGS, template.COMPRESSIONS, template.BLOCK_SIZES, template.DATA_TYPES]
)
def test_choices_of_a_template_are_all_told(words: tuple[object, ...]) -> None:
    assert all(str(word) in text("docs/templates.md") for word in words)


# --- examples ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    return small_demo(folder).rename(folder / "demo-release")


@pytest.mark.filterwarnings("ignore:The 'shapely.ops.transform:DeprecationWarning")  # both are odc-geo's own
@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")
@pytest.mark.parametrize("number", range(4))
def test_python_of_the_readme_runs(
    number: int, demo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    snippets = blocks("README.md", "python")
    assert len(snippets) == 4
    monkeypatch.chdir(demo.parent)
    names: dict[str, Any] = {}
    exec(compile(snippets[number], f"README.md, python {number}", "exec"), names)
    assert capsys.readouterr().out.strip()
    if "grid" in names:
        assert names["data"].odc.geobox == names["grid"]
        assert math.isfinite(float(names["ndvi"].mean()))


@pytest.fixture
def tutorial(demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The Python of the tutorial, with the release served at another port, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    with served(demo) as url:
        yield [block.replace("http://127.0.0.1:8000", url) for block in blocks("docs/tutorial.md", "python")]


@pytest.mark.filterwarnings("ignore:The 'shapely.ops.transform:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")
def test_python_of_the_tutorial_runs(tutorial: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, _ = tutorial
    assert len([line for line in first.splitlines() if line.strip()]) < 30
    exec(compile(first, "docs/tutorial.md", "exec"), {})
    assert "(8, 4, 256, 256) (8, 256, 256)" in capsys.readouterr().out
    assert (tmp_path / "tile.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_torch_of_the_tutorial_runs(tutorial: list[str]) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed (extra: torch); TileDataset is not tried")
    names: dict[str, Any] = {}
    for block in tutorial:
        exec(compile(block, "docs/tutorial.md", "exec"), names)
    assert tuple(names["images"].shape) == (8, 4, 256, 256)


@pytest.mark.parametrize("number", range(2))
def test_python_of_the_search_page_runs(
    number: int, demo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    snippets = blocks("docs/search.md", "python")
    assert len(snippets) == 2
    monkeypatch.chdir(demo.parent)
    exec(compile(snippets[number], f"docs/search.md, python {number}", "exec"), {})
    printed = capsys.readouterr().out
    assert re.match(r"[1-9]\d* ", printed)
    assert "None" not in printed


def test_commands_of_the_search_page_run(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = blocks("docs/search.md", "sh")
    monkeypatch.chdir(demo.parent)
    commands = [shlex.split(line) for line in block.splitlines()]
    assert len(commands) == 6
    for program, *words in commands:
        assert program == "catalog-builder"
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 0, result.output
        assert result.stdout or "--download" in words
    assert list((demo.parent / "tiles").rglob("s2.tif"))
    assert not list((demo.parent / "tiles").rglob("s1.tif"))


def test_parameters_of_the_search_page_are_those_known() -> None:
    (part,) = re.findall(r"^## Parameters\n(.*?)^### ", text("docs/search.md"), flags=re.M | re.S)
    told = set(re.findall(r"^\| `(\w+)` \|", part, flags=re.M))
    assert told == set(inspect.signature(Client.search).parameters) - {"self", "method", "filter_lang"}


def test_sources_of_the_readme_make_a_plan(tmp_path: Path) -> None:
    (listing,) = blocks("README.md", "toml")
    (tmp_path / "sources.toml").write_text(listing, encoding="utf-8")
    corner = {"corner": (10240.0 * 36, 10240.0 * 472), "resolution": 10.0}
    write_geotiff(tmp_path / "rasters" / "s2_20210718.tif", texture((4, 1100, 900), "uint16"), nodata=0, **corner)  # type: ignore[arg-type]
    write_geotiff(tmp_path / "rasters" / "osm_city.tif", np.ones((1, 1100, 900), "uint8"), nodata=255, **corner)  # type: ignore[arg-type]
    for name in ("N43E000.hgt", "N43E001.hgt"):
        (tmp_path / "rasters" / name).write_bytes(bytes(1201 * 1201 * 2))
    templates = template.load(template.default_folder())
    plan = make_plan(sources.load(tmp_path / "sources.toml", templates), templates, Fingerprints())
    (area,) = plan.areas
    how = {planned.modality.key: planned.placed.resampling for planned in area.sources}
    assert how == {"s2": "none", "srtm": "bilinear", "osm": "none"}


def test_sources_of_the_document_are_read(tmp_path: Path) -> None:
    (listing,) = blocks("docs/sources.md", "toml")
    for source in tomllib.loads(listing)["area"][0]["source"]:
        for href in [source["href"]] if isinstance(source["href"], str) else source["href"]:
            (tmp_path / href).parent.mkdir(exist_ok=True)
            (tmp_path / href).touch()
    (tmp_path / "sources.toml").write_text(listing, encoding="utf-8")
    (area,) = sources.load(tmp_path / "sources.toml", template.load(template.default_folder()))
    assert area.name == "usa/lngley_05521"
    assert area.required == ("uavsar_1",)


def wales(folder: Path) -> Path:
    """Write the example of docs/templates.md with rasters as it wants them; give its sources.toml."""
    root, collection = blocks("docs/templates.md", "json")
    (folder / "my-stac" / "wales").mkdir(parents=True)
    (folder / "my-stac" / "catalog.json").write_text(root, encoding="utf-8")
    (folder / "my-stac" / "wales" / "collection.json").write_text(collection, encoding="utf-8")
    (listing,) = blocks("docs/templates.md", "toml")
    (folder / "sources.toml").write_text(listing, encoding="utf-8")
    place: dict[str, Any] = {"corner": (25 * 10240.0, 28 * 10240.0), "crs": "EPSG:27700"}
    pixels = texture((10, 1024, 1024), "uint16")
    write_geotiff(folder / "rasters" / "sen2_20210527_aber.tif", pixels, nodata=0, **place)
    write_geotiff(folder / "rasters" / "srtm_aber.tif", texture((1, 1024, 1024), "int16"), nodata=-32768, **place)
    return folder / "sources.toml"


def test_template_of_the_document_builds(tmp_path: Path) -> None:
    listing = wales(tmp_path)
    templates = template.load(tmp_path / "my-stac")
    plan = make_plan(sources.load(listing, templates), templates, Fingerprints())
    release = tmp_path / "release"
    with (tmp_path / "log").open("w") as log:
        report = build(plan, release, SerialExecutor(), TileProgress(log, quiet=True))
    assert (report.items, report.assets) == (1, 2)
    (path,) = release.glob("wales/aberystwyth/*/*.json")
    item = json.loads(path.read_text())
    assert item["properties"]["grid:code"] == "WALES-EPSG27700_x0025_y0027"
    assert [band["name"] for band in item["assets"]["s2"]["bands"]] == ["B02", "B03", "B04", "B08"]
    assert (path.parent / "thumbnail.png").is_file()


def test_template_of_the_document_is_valid(schemas_dir: Path) -> None:
    dream = local_validator(json.loads(text("stac/dream.schema.json")))
    store = SchemaStore(mirror=schemas_dir)
    for block in blocks("docs/templates.md", "json"):
        document = json.loads(block)
        assert store.errors(document) == []
        assert dream.errors(document) == []


def test_tile_of_the_document_begins_where_it_says() -> None:
    told = re.search(
        r"`x0045_y0478` of 1024 pixels at 10 m begins at x = ([\d,]+) and has its lower edge at\s+y = ([\d,]+)",
        text("docs/templates.md"),
    )
    assert told
    assert [int(number.replace(",", "")) for number in told.groups()] == [45 * 10240, 478 * 10240]


if __name__ == "__main__":
    CLI.write_text(cli_reference(), encoding="utf-8")
