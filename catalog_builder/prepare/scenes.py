"""Scenes that an API offers, ranked: which are taken, and of each the reason. Nothing is opened or asked here.

Places are compared in the CRS of the grid that is to be filled. Corners of a footprint are brought there as they are:
the sides of a scene are straight in its own CRS, not along parallels.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import groupby, islice
from typing import Any, TypeVar

import numpy as np
import pyproj
import shapely
from shapely.errors import ShapelyError
from shapely.geometry import shape

from catalog_builder.errors import RemoteError
from catalog_builder.prepare.apis import ApiCollection, has_scheme, one_line
from catalog_builder.prepare.optical import OFFSET
from catalog_builder.prepare.target import Target

Region = Any
"""A geometry of shapely, in the CRS of the target."""
Option = TypeVar("Option", "Scene", "Pass")

_CLOUD = "eo:cloud_cover"
_ORBIT = "sat:relative_orbit"
_TRACK = ("platform", _ORBIT, "sat:orbit_state")
_SCHEMES = ("http", "https", "s3")
_SLIVER = 1e-3
"""Share of the area that is not worth another scene: footprints are not drawn to the pixel."""
_LONGEST_ID = 100
_FIRST_OFFSET = 4.0
"""Processing baseline from which on pixels of Sentinel-2 hold an offset."""
_SPARE = "adds nothing to the others of its pass"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a scene has to keep to be taken."""

    period: tuple[date, date]
    """First and last day, both of it."""
    max_cloud: float | None = None
    """Percent of cloud; None where clouds do not matter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """An item, as far as it matters here."""

    id: str
    """Letters, digits, ``.``, ``_`` and ``-``, whatever the API says."""
    taken: datetime
    orbit: int | None
    """Relative orbit, where it is known."""
    track: str
    """Platform, orbit and its state, in words: scenes of one track and day are one pass."""
    part: Region
    """What it covers of the area."""
    overlap: float
    """The same as a share of the area."""
    hrefs: Mapping[str, str]
    """By the names of bands."""
    cloud: float = 0.0
    """Percent; 0 of Sentinel-1."""
    offset: int = 0
    """What is added to pixels of Sentinel-2."""
    baseline: float = 0.0
    """Of Sentinel-2, where it is known."""
    lack: str = ""
    """Why it cannot be taken; empty where it can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """Scenes of one track and day."""

    scenes: tuple[Scene, ...]
    part: Region
    overlap: float

    @property
    def id(self) -> str:
        """The first of its scenes' ids."""
        return self.scenes[0].id

    @property
    def day(self) -> date:
        """The day, in UTC."""
        return self.scenes[0].taken.date()

    @property
    def cloud(self) -> float:
        """Percent of cloud, each scene weighted by what it covers."""
        return sum(scene.cloud * scene.overlap for scene in self.scenes) / sum(scene.overlap for scene in self.scenes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A scene, whether it is taken, and why."""

    scene: Scene
    taken: bool
    reason: str


# --- items -> scenes --------------------------------------------------------------------------------------------------


def area_of(target: Target) -> Region:
    """Give the box of a target."""
    return shapely.box(*target.bounds)


def read_scenes(
    items: Iterable[Mapping[str, Any]],
    collection: ApiCollection,
    target: Target,
    where: str,
    limits: Limits,
) -> list[Scene]:
    """Read items, each id once, in the order of their ids; of several with one id the earliest.

    Raises ``RemoteError``, naming ``where`` they come from, for what is no STAC item.
    """
    place = pyproj.Transformer.from_crs("OGC:CRS84", target.crs, always_xy=True).transform
    area, scenes = area_of(target), dict[str, Scene]()
    for item in items:
        try:
            scene = _scene(item, collection, place, area, limits)
            scenes[item["id"]] = min(scene, scenes.get(item["id"], scene), key=_age)
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError, ShapelyError) as error:
            why, shown = one_line(f"{type(error).__name__}: {error}"), one_line(str(item))
            raise RemoteError(f"{where}: no STAC item of {collection.id}: {why}: {shown}") from error
    return [scenes[name] for name in sorted(scenes)]


def _age(scene: Scene) -> tuple[datetime, list[tuple[str, str]]]:
    return scene.taken, sorted(scene.hrefs.items())


def clean(name: str) -> str:
    """Make a word of an id that anybody may have written: fit for a file's name and for a terminal."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name)[:_LONGEST_ID]


def _scene(
    item: Mapping[str, Any],
    collection: ApiCollection,
    place: Callable[..., Any],
    area: Region,
    limits: Limits,
) -> Scene:
    properties, assets = item["properties"], item["assets"]
    part = _part(item["geometry"], place, area)
    hrefs = {band: str(assets[key]["href"]) for band, key in collection.bands.items() if key in assets}
    cloud, taken = _number(properties.get(_CLOUD)) if limits.max_cloud is not None else None, _time(properties)
    lacks = [
        _lack_of_assets(hrefs, collection),
        "its footprint does not meet the area" if part.area <= _SLIVER * area.area else "",
        _lack_of_time(taken, limits.period),
        _lack_of_sky(cloud, limits.max_cloud) if limits.max_cloud is not None else "",
        _lack_of_baseline(properties, collection),
    ]
    return Scene(
        id=clean(item["id"]),
        taken=taken,
        orbit=None if properties.get(_ORBIT) is None else int(properties[_ORBIT]),
        track=clean("/".join(str(properties.get(key) or "").lower() for key in _TRACK)),
        part=part,
        overlap=part.area / area.area,
        hrefs=hrefs,
        cloud=cloud or 0.0,
        offset=_offset(properties, collection),
        baseline=_baseline(properties, collection) or 0.0,
        lack=next(filter(None, lacks), ""),
    )


def _part(geometry: Any, place: Callable[..., Any], area: Region) -> Region:
    if geometry is None:
        return shapely.Polygon()
    moved = shapely.transform(shape(geometry), lambda points: np.stack(place(points[:, 0], points[:, 1]), axis=1))
    if not np.isfinite(shapely.get_coordinates(moved)).all():
        return shapely.Polygon()
    return shapely.intersection(shapely.make_valid(moved), area)


def _lack_of_assets(hrefs: Mapping[str, str], collection: ApiCollection) -> str:
    for band, key in collection.bands.items():
        if band not in hrefs:
            return f"has no asset {key!r}"
        if not has_scheme(hrefs[band], _SCHEMES):
            return f"its asset {key!r} is at no web address"
    return ""


def _lack_of_time(taken: datetime, period: tuple[date, date]) -> str:
    return "" if period[0] <= taken.date() <= period[1] else f"taken on {taken.date()}, outside the period"


def _lack_of_sky(cloud: float | None, max_cloud: float) -> str:
    if cloud is None:
        return f"does not tell its {_CLOUD}"
    return f"cloud {cloud:.0f} %, over {max_cloud:g} %" if cloud > max_cloud else ""


def _lack_of_baseline(properties: Mapping[str, Any], collection: ApiCollection) -> str:
    lacks = collection.baseline is not None and _baseline(properties, collection) is None
    return f"does not tell its {collection.baseline}" if lacks else ""


def _baseline(properties: Mapping[str, Any], collection: ApiCollection) -> float | None:
    return _number(properties.get(collection.baseline)) if collection.baseline is not None else None


def _number(value: Any) -> float | None:
    if value is not None and not math.isfinite(float(value)):
        raise ValueError(f"{value} is no number")
    return None if value is None else float(value)


def _offset(properties: Mapping[str, Any], collection: ApiCollection) -> int:
    """Give what is to be added to pixels of Sentinel-2."""
    if collection.applied is not None and properties.get(collection.applied) is True:
        return 0
    if collection.offset is not None:
        return collection.offset
    return OFFSET if (_baseline(properties, collection) or 0.0) >= _FIRST_OFFSET else 0


def _time(properties: Mapping[str, Any]) -> datetime:
    when = datetime.fromisoformat(properties.get("datetime") or properties["start_datetime"])
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)


# --- the choice -------------------------------------------------------------------------------------------------------


def choose(scenes: Sequence[Scene], target: Target, wanted: date, most: int | None = None) -> list[Verdict]:
    """Choose the passes that cover a target with the fewest days, at most ``most``, and of each the scenes it takes.

    One after the other that pass is taken which covers most of what is not covered yet, in whole percent; of equal ones
    that with the least cloud, then that nearest to ``wanted``, then the first by id. Gives a verdict on each scene:
    those taken, in that order, then the others by merit, then those that cannot be taken. The order of ``scenes`` does
    not matter.
    """
    passes = passes_of(scenes, target)
    taken: list[tuple[Pass, int]] = []
    needed: list[Scene] = []
    left = area_of(target)
    by_merit = _greedy(passes, target, left, lambda one: (round(one.cloud), _days(one.day, wanted), one.id))
    for one, gain in islice(by_merit, most):
        parts = _greedy(one.scenes, target, left, lambda scene: (round(scene.cloud), -scene.baseline, scene.id))
        needed += [scene for scene, _ in parts]
        left = shapely.difference(left, one.part)
        taken.append((one, gain))
    return _verdicts(scenes, passes, taken, needed, wanted)


def passes_of(scenes: Iterable[Scene], target: Target) -> list[Pass]:
    """Group the scenes that can be taken by track and day."""
    able = sorted((scene for scene in scenes if not scene.lack), key=lambda scene: (*_pass_key(scene), scene.id))
    return [_pass(tuple(members), target) for _, members in groupby(able, key=_pass_key)]


def _pass_key(scene: Scene) -> tuple[date, str]:
    return scene.taken.date(), scene.track


def _pass(scenes: tuple[Scene, ...], target: Target) -> Pass:
    part = shapely.union_all([scene.part for scene in scenes])
    return Pass(scenes=scenes, part=part, overlap=part.area / area_of(target).area)


def _greedy(
    options: Iterable[Option], target: Target, left: Region, merit: Callable[[Option], tuple[Any, ...]]
) -> Iterator[tuple[Option, int]]:
    """Give options one after the other, each time the one that adds most of what is left, until none adds to it.

    With each comes what it adds, in whole percent of the target.
    """
    rest: list[Option] = list(options)
    whole = area_of(target).area
    while gains := {n: gain for n, one in enumerate(rest) if (gain := _shared(one, left) / whole) > _SLIVER}:
        best = min(gains, key=lambda n: (-round(100 * gains[n]), *merit(rest[n])))
        yield rest[best], round(100 * gains[best])
        left = shapely.difference(left, rest[best].part)
        del rest[best]


def _shared(option: Scene | Pass, left: Region) -> float:
    return float(shapely.intersection(option.part, left).area)


def _days(day: date, wanted: date) -> int:
    return abs((day - wanted).days)


def _merit(one: Pass, wanted: date) -> tuple[int, int, int, str]:
    return -round(100 * one.overlap), round(one.cloud), _days(one.day, wanted), one.id


# --- reasons ----------------------------------------------------------------------------------------------------------


def _verdicts(
    scenes: Iterable[Scene],
    passes: Sequence[Pass],
    taken: Sequence[tuple[Pass, int]],
    needed: Sequence[Scene],
    wanted: date,
) -> list[Verdict]:
    best = [one for one, _ in taken]
    others = sorted((one for one in passes if one not in best), key=lambda one: _merit(one, wanted))
    verdicts = [
        Verdict(scene=scene, taken=scene in needed, reason=_praise(one, gain, wanted) if scene in needed else _SPARE)
        for one, gain in taken
        for scene in sorted(one.scenes, key=lambda scene: (scene not in needed, scene.id))
    ]
    verdicts += [
        Verdict(scene=scene, taken=False, reason=_reproach(one, best[0], wanted))
        for one in others
        for scene in one.scenes
    ]
    unable = sorted(
        (scene for scene in scenes if scene.lack), key=lambda scene: (-scene.overlap, scene.cloud, scene.id)
    )
    return verdicts + [Verdict(scene=scene, taken=False, reason=scene.lack) for scene in unable]


def _praise(one: Pass, gain: int, wanted: date) -> str:
    adds = "covers" if gain == round(100 * one.overlap) else f"adds {gain} % and covers"
    return f"its pass {adds} {100 * one.overlap:.0f} % of the area, {_distance(one, wanted)}"


def _reproach(one: Pass, best: Pass, wanted: date) -> str:
    """Say in what a pass is worse than the one that was taken first."""
    mine, its = _merit(one, wanted), _merit(best, wanted)
    if mine[0] != its[0]:
        return f"its pass covers {-mine[0]} %, not {-its[0]} %"
    if mine[1] != its[1]:
        return f"cloud {mine[1]} %, not {its[1]} %"
    if mine[2] != its[2]:
        return f"{_distance(one, wanted)}, not {its[2]}"
    return "as good as the one taken; the ids decide"


def _distance(one: Pass, wanted: date) -> str:
    days = _days(one.day, wanted)
    return f"{days} day{'s' if days != 1 else ''} from {wanted}"
