"""The wheel, installed in an empty environment, finds its templates, its command and the explorer's page."""

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("catalog_builder", "stac", "tools", "pyproject.toml", "hatch_build.py", "README.md", "LICENSE", ".gitignore")
PAGE = "catalog_builder/explorer_page"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What of this checkout a wheel is made from, but with no page, and with a source of one that is quick to tell."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    for name in PARTS:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "explorer_page*"))
        else:
            shutil.copy(ROOT / name, folder / name)
    for name in ("package-lock.json", "build.mjs", "src/main.ts", "node_modules/ol/index.js"):
        write(folder / "explorer" / name)
    return folder


def write(path: Path, text: str = "x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def make_page(checkout: Path) -> None:
    for name in ("index.html", "explorer-ABCDEFGH.js", "world.json"):
        write(checkout / PAGE / name)


def pack(checkout: Path, kind: str = "wheel", **environment: str) -> tuple[set[str], str]:
    """Build a wheel or an sdist: the names in it, and what was said."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(checkout.parent / "made")]
    done = subprocess.run(
        command, cwd=checkout, env=os.environ | environment, capture_output=True, text=True, check=True
    )
    (made,) = (checkout.parent / "made").iterdir()
    if kind == "sdist":
        with tarfile.open(made) as packed:
            return {name.partition("/")[2] for name in packed.getnames()}, done.stderr
    with zipfile.ZipFile(made) as zipped:
        return set(zipped.namelist()), done.stderr


def pages(names: set[str]) -> set[str]:
    return {Path(name).name for name in names if name.startswith(f"{PAGE}/")}


@pytest.mark.slow
def test_a_wheel_carries_the_page_that_is_there(checkout: Path) -> None:
    make_page(checkout)
    write(checkout / "tools" / "explorer-setup", "exit 9")  # is not asked
    names, said = pack(checkout)
    assert pages(names) == {"index.html", "explorer-ABCDEFGH.js", "world.json"}
    assert "explorer" not in said
    assert not [name for name in names if "node_modules" in name or name.startswith("explorer/")]


@pytest.mark.slow
def test_a_wheel_makes_the_page_that_is_not_there(checkout: Path) -> None:
    write(
        checkout / "tools" / "explorer-setup", f'[ "$1" = --no-install ] && mkdir {PAGE} && echo x >{PAGE}/index.html'
    )
    assert pages(pack(checkout)[0]) == {"index.html"}


@pytest.mark.slow
def test_a_wheel_without_node_is_one_without_explorer(checkout: Path, tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bash", "dirname", "cat", "find", "flock", "id", "mktemp", "rm", "sha256sum", "sort", "xargs"):
        (tools / name).symlink_to(str(shutil.which(name)))
    names, said = pack(checkout, PATH=str(tools))
    assert "catalog_builder/cli.py" in names
    assert pages(names) == set()
    assert "the wheel has no explorer: the explorer cannot be made here: Node 18 or later with npm is missing" in said


@pytest.mark.slow
def test_an_sdist_has_the_source_of_the_page_and_no_packages(checkout: Path) -> None:
    make_page(checkout)
    names, _ = pack(checkout, "sdist")
    assert {name for name in names if name.startswith("explorer/")} == {
        "explorer/package-lock.json", "explorer/build.mjs", "explorer/src/main.ts",
    }  # fmt: skip
    assert {"hatch_build.py", "tools/explorer-setup", "catalog_builder/cli.py"} <= names
    assert pages(names) == set()


@pytest.mark.slow
def test_wheel_carries_templates(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", str(ROOT)]
    subprocess.run([*build, "--wheel-dir", str(tmp_path)], check=True)
    (wheel,) = tmp_path.glob("catalog_builder-*.whl")
    environment = tmp_path / "empty"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    constraints = ["--constraint", str(ROOT / "requirements.txt")]
    subprocess.run([python, "-m", "pip", "install", "--quiet", str(wheel), *constraints], check=True, cwd=tmp_path)

    code = "from catalog_builder import template as t; f = t.default_folder(); print(f, sorted(t.load(f).collections))"
    found = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True, cwd=tmp_path).stdout
    assert "['france', 'usa']" in found
    assert str(environment) in found
    command = environment / "bin" / "catalog-builder"
    shown = subprocess.run([command, "--help"], check=True, capture_output=True, text=True, cwd=tmp_path).stdout
    assert "catalog-builder build" in shown
    code = "from catalog_builder import explorer as e; print(e.page() is not None, e.how_to_add())"
    found = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True, cwd=tmp_path).stdout
    assert found.startswith(f"{(ROOT / PAGE / 'index.html').is_file()} this package was installed without its page")
