"""A bench for builds that must be refused: good rasters, a good release, and what may be said of a refusal."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from catalog_builder import layout, manifest
from catalog_builder.cli import main
from tests.makers import TILE, area, small_templates, source, texture, write_geotiff

Tree = dict[str, tuple[str, int]]

SRTM = texture((1, TILE, TILE), "int16", 2)
GOOD = "GOOD"
"""Stands for the folder of good rasters in the texts of these tests."""
DATE = "datetime = 2020-06-01T10:00:00Z"
S2 = source("s2", f"{GOOD}/s2.tif")


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Good rasters, small templates and a good release of one area, ``france/alpes``."""

    folder: Path
    templates: Path
    good: Path
    release: Path

    def write(self, text: str | bytes, name: str = "sources.toml") -> Path:
        """Write a sources.toml that may speak of the good rasters."""
        path = self.folder / name
        data = text.replace(GOOD, str(self.good)).encode() if isinstance(text, str) else text
        path.write_bytes(data)
        return path

    def build(self, sources: Path, release: Path, *options: str, templates: Path | None = None) -> Result:
        """Run ``catalog-builder build`` in this process."""
        fixed = ("--jobs", "1", "--templates", str(templates or self.templates), "--quiet", "--no-explorer")
        return CliRunner().invoke(main, ["build", str(sources), str(release), *fixed, *options])

    def refuses(
        self,
        sources: Path,
        says: Sequence[str],
        *,
        code: int,
        options: Sequence[str] = (),
        templates: Path | None = None,
    ) -> None:
        """Hold that a build is refused as documented, on a new folder and on a good release."""
        new = self.folder / "new"
        assert_refused(self.build(sources, new, *options, templates=templates), says, code)
        assert not tree(new)
        before = tree(self.release)
        assert_refused(self.build(sources, self.release, *options, templates=templates), says, code)
        assert tree(self.release) == before


def assert_refused(result: Result, says: Sequence[str], code: int) -> None:
    """One line on standard error, of our own, that says what it must; nothing on standard output."""
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == code, result.output
    assert result.stderr.startswith("catalog-builder: ")
    assert result.stderr.endswith("\n")
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert "Traceback" not in result.output
    assert result.stdout == ""
    for words in says:
        assert words in result.stderr


def tree(folder: Path) -> Tree:
    """Give every file of a release with its hash and time, leaving out what a stopped build keeps aside."""
    return {
        path.relative_to(folder).as_posix(): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] != layout.WORK_FOLDER
    }


def content(folder: Path) -> dict[str, str]:
    """Give every file of a release with its hash."""
    return {href: sha256 for href, (sha256, _) in tree(folder).items()}


def assert_vouched(release: Path) -> None:
    """Every file listed is there with that hash, nothing unlisted is there, and no work is left over."""
    listed = {layout.MANIFEST}
    queue = [layout.MANIFEST]
    while queue:
        href = queue.pop()
        folder = Path(href).parent
        for name, sha256 in manifest.loads((release / href).read_bytes()).items():
            child = (folder / name).as_posix()
            assert hashlib.sha256((release / child).read_bytes()).hexdigest() == sha256, child
            listed.add(child)
            if child.endswith(layout.MANIFEST):
                queue.append(child)
    assert listed == {path.relative_to(release).as_posix() for path in release.rglob("*") if path.is_file()}


def make_bench(folder: Path) -> Bench:
    """Make good rasters, templates and a good release."""
    good, shape = folder / "good", (TILE, TILE)
    write_geotiff(good / "s2.tif", texture((4, *shape), "uint16", 1), nodata=0, tiled=True)
    plain(good / "srtm.tif")
    write_geotiff(good / "osm.tif", (texture((1, *shape), "uint8", 3) // 16).astype("uint8"), nodata=255)
    templates = small_templates(folder / "templates")
    bench = Bench(folder=folder, templates=templates, good=good, release=folder / "release")
    assert bench.build(bench.write(alpes()), bench.release).exit_code == 0
    return bench


def alpes(*, keys: Sequence[str] = ("srtm", "osm"), **area_keys: Any) -> str:
    """Write the good area, with some of its optional sources."""
    others = [source(key, f"{GOOD}/{key}.tif") for key in keys]
    # Looking up the zone takes longer than building a small tile.
    return area("alpes", S2, *others, required=["s2"], **{"crs": "EPSG:32631", **area_keys})


def href(value: Any) -> str:
    """Write the good area with another href for its one source."""
    return f'{area("alpes", required=["s2"])}\n[[area.source]]\nasset = "s2"\nhref = {json.dumps(value)}\n{DATE}\n'


def plain(path: Path, pixels: Any = SRTM, nodata: float | None = -32768, **profile: Any) -> Path:
    """Write a raster of elevations; good, unless something else is asked for."""
    return write_geotiff(path, pixels, nodata=nodata, **profile)
