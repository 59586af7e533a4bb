"""The four places of the demonstration: their ground, and what looked at it when."""

from dataclasses import dataclass

from catalog_builder.synthetic.landscape import Terrain
from catalog_builder.synthetic.sensors import Swath


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticSource:
    """A raster to make, and what `sources.toml` says of it."""

    asset: str
    dates: str
    """Lines of TOML: an instant, or a start and an end."""
    swath: Swath | None = None
    """For the radars only."""
    extra: str = ""
    """Further properties, in TOML."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticArea:
    """A place, its ground and its rasters."""

    collection: str
    id: str
    title: str
    crs: str
    corner: tuple[float, float]
    """x, y of the upper-left corner in m."""
    pixel: float
    """Side of a pixel in m."""
    terrain: Terrain
    sources: tuple[SyntheticSource, ...]


def _at(day: str, clock: str) -> str:
    return f"datetime = {day}T{clock}Z"


def _between(start: str, end: str) -> str:
    return f"start_datetime = {start}T00:00:00Z\nend_datetime = {end}T00:00:00Z"


def _pass(number: int, dates: str, swath: Swath) -> SyntheticSource:
    heading = (swath.look + 90) % 360  # UAVSAR looks to the left of its flight line.
    return SyntheticSource(
        asset=f"uavsar_{number}", dates=dates, swath=swath, extra=f', "dream:heading" = {heading:.1f}'
    )


def _common(s1: str, s2: str, osm: str, swath: Swath) -> tuple[SyntheticSource, ...]:
    return (
        SyntheticSource(asset="s1", dates=s1, swath=swath),
        SyntheticSource(asset="s2", dates=s2),
        SyntheticSource(asset="srtm", dates=_between("2000-02-11", "2000-02-22")),
        SyntheticSource(asset="osm", dates=_at(osm, "00:00:00")),
    )


ASCENDING = Swath(look=80.0, near=-6.0, far=6.0, incidence=(30.0, 46.0))
DESCENDING = Swath(look=280.0, near=-6.0, far=6.0, incidence=(30.0, 46.0))
# The far edge cuts the north-eastern corner: tiles with nodata inside, as at the rim of any single date.
ASCENDING_EDGE = Swath(look=77.0, near=-8.0, far=0.42, incidence=(30.0, 46.0))
S1_DATES = 30

VENTOUX = SyntheticArea(
    collection="france",
    id="ventoux",
    title="Synthetic landscape at Mont Ventoux, Provence",
    crs="EPSG:32631",
    corner=(66 * 10240.0, 479 * 10240.0),
    pixel=10.0,
    terrain=Terrain(
        relief=330, drop=500, forest=0.36, scrub=0.16, lakes=0.006, crops=(0.2, 0.25, 0.25, 0.3),
        field=120, river=55, valley=0.10, town=0.075,
    ),
    sources=(
        *_common(_at("2021-06-14", "17:39:12"), _at("2021-06-18", "10:36:29"), "2021-07-01", ASCENDING_EDGE),
        SyntheticSource(
            asset="s1_mean", dates=_between("2021-01-01", "2021-12-31"), swath=DESCENDING,
            extra=f', "dream:dates" = {S1_DATES}',
        ),
    ),
)  # fmt: skip
BEAUCE = SyntheticArea(
    collection="france",
    id="beauce",
    title="Synthetic landscape in Beauce",
    crs="EPSG:32631",
    corner=(40 * 10240.0, 522 * 10240.0),
    pixel=10.0,
    terrain=Terrain(
        relief=16, drop=30, forest=0.10, scrub=0.03, lakes=0.006, crops=(0.25, 0.35, 0.3, 0.1),
        field=190, river=40, valley=0.12, town=0.085,
    ),
    sources=(
        *_common(_at("2021-05-22", "17:48:05"), _at("2021-05-30", "10:56:21"), "2021-07-01", ASCENDING),
        SyntheticSource(
            asset="s1_mean", dates=_between("2021-01-01", "2021-12-31"), swath=ASCENDING,
            extra=f', "dream:dates" = {S1_DATES}',
        ),
    ),
)  # fmt: skip
CAPE_FEAR = SyntheticArea(
    collection="usa",
    id="cape_fear",
    title="Synthetic landscape on the Cape Fear River, North Carolina",
    crs="EPSG:32617",
    corner=(714235.0, 3833515.0),
    pixel=5.0,
    terrain=Terrain(
        relief=7, drop=12, forest=0.42, scrub=0.08, lakes=0.02, crops=(0.25, 0.2, 0.35, 0.2),
        field=130, river=130, valley=0.12, town=0.10,
    ),
    sources=(
        _pass(1, _at("2009-08-13", "15:12:40"), Swath(look=12, near=-0.58, far=0.6, incidence=(25, 65))),
        _pass(2, _at("2009-08-13", "16:03:10"), Swath(look=192, near=-0.3, far=0.7, incidence=(28, 65))),
        _pass(3, _at("2009-08-17", "14:40:55"), Swath(look=300, near=-0.35, far=0.9, incidence=(25, 60))),
        SyntheticSource(asset="naip", dates=_at("2010-06-20", "15:30:00")),
        *_common(_at("2019-08-12", "23:06:15"), _at("2019-08-20", "16:08:49"), "2021-07-01", ASCENDING),
    ),
)  # fmt: skip
SAN_ANDREAS = SyntheticArea(
    collection="usa",
    id="san_andreas",
    title="Synthetic landscape on the San Andreas Fault, California",
    crs="EPSG:32610",
    corner=(727410.0, 3980205.0),
    pixel=5.0,
    terrain=Terrain(
        relief=110, drop=90, forest=0.10, scrub=0.42, lakes=0.003, crops=(0.3, 0.3, 0.15, 0.25),
        field=160, river=28, valley=0.16, town=0.06,
    ),
    sources=(
        _pass(1, _at("2014-06-03", "18:22:31"), Swath(look=225, near=-0.7, far=0.62, incidence=(25, 65))),
        _pass(2, _at("2014-06-03", "19:10:02"), Swath(look=45, near=-0.32, far=0.8, incidence=(25, 65))),
        SyntheticSource(asset="naip", dates=_at("2014-05-28", "18:00:00")),
        *_common(_at("2019-06-10", "14:07:30"), _at("2019-06-17", "18:49:19"), "2021-07-01", DESCENDING),
    ),
)  # fmt: skip
AREAS = (VENTOUX, BEAUCE, CAPE_FEAR, SAN_ANDREAS)
