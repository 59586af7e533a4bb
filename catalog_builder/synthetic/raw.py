"""`catalog-builder demo --from-raw`: raw products of two places, and the commands that make a release of them.

One area of each collection, one tile of each. The products are synthetic; the commands are those that real ones need.
"""

import glob
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import tomlkit

from catalog_builder.synthetic import generator, make_scene
from catalog_builder.synthetic.areas import ASCENDING, ASCENDING_EDGE, CAPE_FEAR, VENTOUX, SyntheticArea
from catalog_builder.synthetic.products import (
    NOTE,
    Flight,
    Ground,
    OpticalImage,
    RadarSeries,
    write_flight,
    write_heights,
    write_map,
    write_optical,
    write_photographs,
    write_radar,
)
from catalog_builder.synthetic.sensors import Swath

TILE = 1024
"""Pixels of the side of an area, which is one tile."""
MARGIN = 64
"""Pixels by which products reach beyond the area on each side."""
CONTENTS = "CONTENTS.txt"
SOURCES = "sources.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class RawArea:
    """A place and the raw products of it."""

    place: SyntheticArea
    """Collection, id, title, CRS, corner and terrain; its sources are not used."""
    radar: RadarSeries
    orbit: int
    """Relative orbit of the radar series."""
    nearest: str
    """Day whose radar image is wanted."""
    images: tuple[OpticalImage, ...]
    mapped: str
    """Day of the OpenStreetMap extract."""
    heights: tuple[str, ...]
    """Names of SRTM tiles."""
    flights: tuple[Flight, ...] = ()
    photographs: tuple[str, str] | None = None
    """Names of a western and an eastern quarter-quad."""

    @property
    def id(self) -> str:
        """Id of the area."""
        return self.place.id


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


RAW_VENTOUX = RawArea(
    place=VENTOUX,
    radar=RadarSeries(start=_utc("2021-01-03T17:39:12"), orbit=36006, swath=ASCENDING_EDGE),
    orbit=59,
    nearest="2021-07-01",
    images=(
        OpticalImage(name="S2A_MSIL2A_20210608T103629_N0509_R008_T31TFK_20230209T140000.SAFE"),
        OpticalImage(name="S2A_MSIL2A_20210618T103629_N0509_R008_T31TFK_20230209T160000.SAFE", cloudy=True),
    ),
    mapped="2021-07-01",
    heights=("N44E005.hgt",),
)
RAW_CAPE_FEAR = RawArea(
    # On whole tens of metres, as the pixels of Sentinel-1 and Sentinel-2 are.
    place=replace(CAPE_FEAR, corner=(714240.0, 3833520.0)),
    radar=RadarSeries(start=_utc("2019-01-04T23:06:15"), orbit=25349, swath=ASCENDING),
    orbit=77,
    nearest="2019-08-12",
    images=(OpticalImage(name="S2B_MSIL2A_20190820T160849_N0213_R140_T17SQU_20190820T204500.SAFE"),),
    mapped="2021-07-01",
    heights=("N34W079.SRTMGL1.hgt.zip",),
    flights=(
        Flight(
            granule="synthc_10201_09059_000_090813_L090_CX_01",
            start=_utc("2009-08-13T15:12:40"),
            swath=Swath(look=12, near=-0.58, far=0.6, incidence=(25, 65)),
        ),
        Flight(
            granule="synthc_28202_09059_003_090813_L090_CX_01",
            start=_utc("2009-08-13T16:03:10"),
            swath=Swath(look=192, near=-0.3, far=0.7, incidence=(28, 65)),
        ),
    ),
    photographs=("m_3407827_nw_17_250_20100620", "m_3407827_ne_17_250_20100622"),
)
RAW_AREAS = (RAW_VENTOUX, RAW_CAPE_FEAR)


# --- products ---------------------------------------------------------------------------------------------------------


def write_raw_products(directory: Path, progress: Callable[[str], None] = lambda _: None, *, tile: int = TILE) -> Path:
    """Write the raw products of all areas and, last of all, the list of them; return its path.

    ``tile`` is the side of an area in pixels, a multiple of 128. A directory that holds this set is left as it is.
    """
    contents = directory / CONTENTS
    heading = f"{NOTE}. Areas of {tile} x {tile} pixels.\n"
    if _is_complete(contents, heading):
        progress(f"{contents}: there already, nothing to do")
        return contents
    contents.unlink(missing_ok=True)
    files = []
    for area in RAW_AREAS:
        for file in _write_area(area, directory / area.id, tile):
            files.append(file.relative_to(directory).as_posix())
            progress(f"{files[-1]}")
    contents.write_text("\n".join([heading, *files, ""]), encoding="utf-8")
    return contents


def _is_complete(contents: Path, heading: str) -> bool:
    text = contents.read_text(encoding="utf-8") if contents.is_file() else ""
    return text.startswith(heading) and all((contents.parent / name).is_file() for name in text.splitlines()[2:])


def raw_ground(area: RawArea, tile: int = TILE) -> Ground:
    """Give the landscape of an area, with a margin around its tile."""
    place, size = area.place, tile + 2 * MARGIN
    reach = MARGIN * place.pixel
    corner = place.corner[0] - reach, place.corner[1] + reach
    return Ground(scene=make_scene(place, size), crs=place.crs, corner=corner)


def _write_area(area: RawArea, folder: Path, tile: int) -> Iterator[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    ground, rng = raw_ground(area, tile), partial(generator, area.place)
    yield from write_radar(folder, ground, area.radar, rng)
    for image in area.images:
        yield from write_optical(folder, ground, image, rng)
    yield from write_heights(folder, ground, area.heights)
    yield from write_map(folder, ground, area.id, _utc(area.mapped), MARGIN / 2 * area.place.pixel)
    for flight in area.flights:
        yield from write_flight(folder, ground, flight, rng)
    if area.photographs is not None:
        yield from write_photographs(folder, ground, area.photographs, rng)


# --- commands ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One `catalog-builder prepare` command."""

    name: str
    inputs: tuple[str, ...]
    out: Path
    options: tuple[str, ...]

    @property
    def arguments(self) -> tuple[str, ...]:
        """What follows `catalog-builder` on the command line."""
        return ("prepare", self.name, *self.inputs, str(self.out), *self.options)

    def is_done(self, contents: Path, listing: Path) -> bool:
        """Tell by their times whether the raster was made of these products, and listed since."""
        files = contents, self.out, listing
        times = [file.stat().st_mtime_ns for file in files if file.is_file()]
        return len(times) == len(files) and times == sorted(times)


def prepare_steps(products: Path, rasters: Path, *, tile: int = TILE) -> Iterator[Step]:
    """Give the commands that make rasters and their `sources.toml` in ``rasters``, in the order in which they run."""
    for area in RAW_AREAS:
        raw, out = products / area.id, rasters / area.id
        first, *others = _france(area, raw, out) if area.place.collection == "france" else _usa(area, raw, out)
        listed = "--sources", str(rasters / SOURCES), "--area", area.id
        new = "--collection", area.place.collection, "--title", area.place.title
        yield replace(first, options=(*first.options, *_own_grid(area.place, tile), *listed, *new))
        yield from (replace(step, options=(*step.options, *listed)) for step in others)


def _own_grid(place: SyntheticArea, tile: int) -> tuple[str, ...]:
    (left, top), side = place.corner, tile * place.pixel
    box = left, top - side, left + side, top
    return "--crs", place.crs, "--resolution", f"{place.pixel:g}", "--bounds", *(f"{value:.0f}" for value in box)


def _france(area: RawArea, raw: Path, out: Path) -> Iterator[Step]:
    """Sentinel-2 lies on the grid of tiles already: it gives the grid to all others."""
    like = "--like", str(out / "s2.tif")
    images = tuple(str(raw / image.name) for image in area.images)
    yield Step(name="s2", inputs=images, out=out / "s2.tif", options=("--mask-clouds",))
    year = "--period", f"{area.radar.start.year}-01-01", f"{area.radar.start.year}-12-31"
    yield _radar(area, raw, out / "s1_mean.tif", *year, *like)
    yield _radar(area, raw, out / "s1.tif", "--nearest", area.nearest, *like)
    yield _radar(area, raw, out / "s1_activity.tif", *year, *like)
    yield from _heights_and_map(area, raw, out, like)


def _usa(area: RawArea, raw: Path, out: Path) -> Iterator[Step]:
    """The first pass gives the grid of 5 m. Sentinel-1 stays on its own of 10 m, which `build` warps."""
    like = "--like", str(out / "uavsar_1.tif")
    for number, flight in enumerate(area.flights, start=1):
        options = ("--pass", f"{number}", *like) if number > 1 else ()
        granule = (str(raw / f"{flight.granule}.ann"),)
        yield Step(name="pauli", inputs=granule, out=out / f"uavsar_{number}.tif", options=options)
    photographs = tuple(str(raw / f"{name}.tif") for name in area.photographs or ())
    yield Step(name="naip", inputs=photographs, out=out / "naip.tif", options=like)
    images = tuple(str(raw / image.name) for image in area.images)
    yield Step(name="s2", inputs=images, out=out / "s2.tif", options=like)
    yield _radar(area, raw, out / "s1.tif", "--nearest", area.nearest)
    yield _radar(area, raw, out / "s1_activity.tif")
    yield from _heights_and_map(area, raw, out, like)


def _radar(area: RawArea, raw: Path, out: Path, *options: str) -> Step:
    name = "s1-activity" if out.stem == "s1_activity" else "s1-mean"
    same = "--units", "db", "--orbit", f"{area.orbit}"
    return Step(name=name, inputs=(f"{glob.escape(str(raw))}/S1A_IW_GRDH_*.tif",), out=out, options=(*same, *options))


def _heights_and_map(area: RawArea, raw: Path, out: Path, like: tuple[str, ...]) -> Iterator[Step]:
    tiles = tuple(str(raw / name) for name in area.heights)
    yield Step(name="srtm", inputs=tiles, out=out / "srtm.tif", options=like)
    day = "--datetime", area.mapped
    yield Step(name="osm", inputs=(str(raw / f"{area.id}.osm"),), out=out / "osm.tif", options=(*day, *like))


def mark_synthetic(listing: Path) -> None:
    """Say in a `sources.toml` of every source that it is synthetic, as a person adds what no file tells."""
    text = listing.read_text(encoding="utf-8")
    document: Any = tomlkit.parse(text)
    for source in (source for area in document["area"] for source in area["source"]):
        source["properties"]["dream:synthetic"] = True
    if (marked := tomlkit.dumps(document)) != text:
        listing.write_text(marked, encoding="utf-8")
