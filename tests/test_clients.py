"""The gate of clients: silent on a good release, and loud for whatever would make a client read something else."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from catalog_builder.check import clients
from catalog_builder.check.clients import check_clients
from catalog_builder.check.findings import Finding
from catalog_builder.errors import UsageError
from tests.small_demo import small_demo

ITEM = "france/ventoux/ventoux_x0264_y1915/ventoux_x0264_y1915.json"
NAIP = "usa/cape_fear/cape_fear_x0000_y0000/cape_fear_x0000_y0000.json"
Spoil = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_demo(tmp_path_factory.mktemp("clients"))


@pytest.fixture
def release(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "release"))


def spoil(release: Path, href: str, change: Spoil) -> None:
    document = json.loads((release / href).read_bytes())
    change(document)
    (release / href).write_text(json.dumps(document))


def found(release: Path) -> list[Finding]:
    return check_clients(release, sample=9)


def told_by(findings: list[Finding], rule: str) -> set[str]:
    return {finding.message.partition(":")[0] for finding in findings if finding.rule == rule}


def test_every_client_reads_a_good_release(good: Path) -> None:
    assert found(good) == []


def test_it_leaves_nothing_behind(release: Path) -> None:
    before = sorted(release.rglob("*"))
    found(release)
    assert sorted(release.rglob("*")) == before


def shift(document: dict[str, Any], *, key: str = "s2", by: float = 10.0) -> None:
    document["assets"][key]["proj:transform"][2] += by


def shift_all(document: dict[str, Any]) -> None:
    document["properties"]["proj:transform"][5] += 10
    for asset in document["assets"].values():
        if "proj:transform" in asset:
            asset["proj:transform"][5] += 10


def shift_a_little(document: dict[str, Any]) -> None:
    shift(document, by=0.01)


def swap_names(document: dict[str, Any]) -> None:
    bands = document["assets"]["s2"]["bands"]
    bands[0], bands[2] = bands[2], bands[0]


def other_nodata(document: dict[str, Any]) -> None:
    for band in document["assets"]["s2"]["bands"]:
        band["nodata"] = 7


def other_type(document: dict[str, Any]) -> None:
    for band in document["assets"]["s2"]["bands"]:
        band["data_type"] = "int32"


def other_crs(document: dict[str, Any]) -> None:
    document["assets"]["s2"]["proj:code"] = "EPSG:32632"


def other_shape(document: dict[str, Any]) -> None:
    document["assets"]["s2"]["proj:shape"] = [256, 255]


def fewer_bands(document: dict[str, Any]) -> None:
    document["assets"]["s2"]["bands"].pop()


def gdal_order(document: dict[str, Any]) -> None:
    a, b, c, d, e, f = document["assets"]["s2"]["proj:transform"]
    document["assets"]["s2"]["proj:transform"] = [c, a, b, f, d, e]


def other_file(document: dict[str, Any]) -> None:
    document["assets"]["s2"]["href"] = "./s1.tif"


def no_file(document: dict[str, Any]) -> None:
    document["assets"]["s2"]["href"] = "./none.tif"


@pytest.mark.parametrize(
    "change",
    [
        *(shift, shift_a_little, swap_names, other_file),
        *(
            pytest.param(change, marks=pytest.mark.slow)
            for change in (
                shift_all,
                other_nodata,
                other_type,
                other_crs,
                other_shape,
                fewer_bands,
                gdal_order,
                no_file,
            )
        ),
    ],
)
def test_what_an_item_says_wrongly_is_found(release: Path, change: Spoil) -> None:
    spoil(release, ITEM, change)
    findings = found(release)
    assert findings
    folder = ITEM.rpartition("/")[0]
    assert {finding.href.rpartition("/")[0] for finding in findings} == {folder}
    assert all(len(str(finding).splitlines()) == 1 for finding in findings)
    assert {finding.rule for finding in findings} <= {"client-pixels", "client-place", "client-fails"}


def test_a_shift_is_seen_in_the_files_own_coordinates(release: Path) -> None:
    spoil(release, ITEM, shift)
    findings = found(release)
    assert {"rasterio", "GDAL"} <= told_by(findings, "client-place")
    place = next(finding for finding in findings if finding.rule == "client-place")
    assert "coordinates x are up to 1 pixels off the centres by proj:transform" in place.message
    # odc-stac asks for pixels where they are not, and gets others without a word; to_xarray refuses.
    assert "odc-stac" in told_by(findings, "client-pixels")
    assert "to_xarray" in told_by(findings, "client-fails")


def test_bands_of_other_names_are_seen_by_the_names_in_the_file(release: Path) -> None:
    spoil(release, ITEM, swap_names)
    findings = found(release)
    assert told_by(findings, "client-pixels") >= {"odc-stac", "to_xarray", "stackstac"}
    wrong = {finding.message.split(":")[1].strip() for finding in findings}
    assert wrong == {"band 1 (B04)", "band 3 (B02)"}
    with rasterio.open(release / ITEM.replace("ventoux_x0264_y1915.json", "s2.tif")) as dataset:
        differ = np.count_nonzero(dataset.read(1) != dataset.read(3))
    assert all(f"{differ} of 65536 pixels are not those of the file" in finding.message for finding in findings)


def test_nodata_is_held_against_the_file_even_where_no_pixel_has_it(release: Path) -> None:
    spoil(release, ITEM, other_nodata)
    findings = found(release)
    assert "odc-stac" in told_by(findings, "client-pixels")
    assert "to_xarray" in told_by(findings, "client-fails")


@pytest.mark.parametrize("name", ["read_gdal", "read_odc", "read_xarray", "read_stackstac"])
def test_one_pixel_is_enough(good: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    original = getattr(clients, name)

    def wrong(subject: clients.Subject) -> list[clients.Reading]:
        readings: list[clients.Reading] = original(subject)
        if subject.asset.key == "osm":
            pixels = readings[0].pixels.copy()
            pixels[17, 3] ^= 1
            readings[0] = replace(readings[0], pixels=pixels)
        return readings

    monkeypatch.setattr(clients, name, wrong)
    findings = found(good)
    assert len(findings) == 4
    assert all("1 of 65536 pixels are not those of the file" in finding.message for finding in findings)
    assert all(finding.href.endswith("/osm.tif") for finding in findings)


def test_nan_equals_nan_and_nothing_else(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = clients.read_stackstac

    def wrong(subject: clients.Subject) -> list[clients.Reading]:
        readings = original(subject)
        return [replace(one, pixels=np.nan_to_num(one.pixels, nan=0)) for one in readings]

    monkeypatch.setattr(clients, "read_stackstac", wrong)
    findings = found(good)
    assert told_by(findings, "client-pixels") == {"stackstac"}
    # Radar alone has NaN, where its swath ends.
    assert {Path(finding.href).stem.split("_")[0] for finding in findings} == {"s1", "uavsar"}


def test_an_item_that_is_none_is_a_finding(release: Path) -> None:
    (release / ITEM).write_text("{")
    spoil(
        release, NAIP, lambda document: document["assets"]["naip"].pop("proj:code") and document["properties"].clear()
    )
    findings = found(release)
    assert {(finding.href, finding.rule) for finding in findings} == {(ITEM, "client-fails"), (NAIP, "client-fails")}


def test_a_truncated_file_is_a_finding(release: Path) -> None:
    file = release / ITEM.replace("ventoux_x0264_y1915.json", "s2.tif")
    file.write_bytes(file.read_bytes()[:20_000])
    [finding] = found(release)
    assert finding.rule == "client-fails"
    assert finding.href == file.relative_to(release).as_posix()
    assert finding.message.startswith("rasterio: ")


# --- which tiles ------------------------------------------------------------------------------------------------------


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the tiles that are looked at; none is read."""
    names: list[str] = []

    def look(_: Path, path: Path) -> list[Finding]:
        names.append(path.stem)
        return []

    monkeypatch.setattr(clients, "_check_item", look)
    return names


def test_every_promised_asset_is_looked_at(good: Path, looked_at: list[str]) -> None:
    for seed in range(8):
        looked_at.clear()
        check_clients(good, sample=1, seed=seed)
        # Only cape_fear has a third pass of the radar.
        assert "cape_fear_x0000_y0000" in looked_at
        assert 2 <= len(looked_at) <= 3


def test_areas_take_turns_and_the_seed_decides(tmp_path: Path, looked_at: list[str]) -> None:
    (tmp_path / "catalog.json").write_text("{}")
    for area in ("a", "b", "c"):
        for column in range(20):
            name = f"{area}_x{column:04d}_y0000"
            (tmp_path / "france" / area / name).mkdir(parents=True)
            (tmp_path / "france" / area / name / f"{name}.json").write_text("{}")
    (tmp_path / "france" / "collection.json").write_text("{}")
    drawn = []
    for seed in (0, 0, 1):
        looked_at.clear()
        check_clients(tmp_path, sample=6, seed=seed)
        assert sorted(name[0] for name in looked_at) == list("aabbcc")
        drawn.append(list(looked_at))
    assert drawn[0] == drawn[1] != drawn[2]


def test_what_is_no_release_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="so it is no release"):
        check_clients(tmp_path)


@pytest.mark.parametrize("client", ["stackstac", "odc.stac"])
def test_without_the_clients_the_extra_is_named(good: Path, monkeypatch: pytest.MonkeyPatch, client: str) -> None:
    monkeypatch.setitem(sys.modules, client, None)
    with pytest.raises(UsageError, match=r"pip install 'catalog-builder\[load\]'"):
        check_clients(good)
