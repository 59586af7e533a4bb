"""A STAC API -> the Sentinel-2 scenes and the Sentinel-1 pass of a grid, as rasters: asked, chosen, fetched, made.

What is needed of the scenes is brought to a hidden folder beside the output first, laid out as products that lie here;
from there on nothing differs from them. The rasters appear when all of them are whole.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import rasterio
from rasterio.windows import Window

from catalog_builder.errors import BuildError, UsageError
from catalog_builder.grid import Bounds
from catalog_builder.placement import PlacedSource
from catalog_builder.prepare import optical
from catalog_builder.prepare.apis import MODALITIES, Api, find_items, load_signer, public
from catalog_builder.prepare.mosaic_step import check_output, modality_of, place, scratch_folder, warped_block
from catalog_builder.prepare.output import Bands, Blocks, Pixels, write_raster
from catalog_builder.prepare.provenance import Provenance
from catalog_builder.prepare.remote import Wanted, fetch
from catalog_builder.prepare.s1 import MEAN_BANDS, attribution, to_decibels
from catalog_builder.prepare.scenes import Limits, Scene, Verdict, choose, read_scenes
from catalog_builder.prepare.target import Target
from catalog_builder.raster import gdal_environment, read_header

STEP = "select"

_HEADER = ("", "scene", "day", "cloud %", "area %", "why")
_SHOWN = 30
"""Scenes that were not taken of which people are told."""
_POWER = Bands(names=("power",), data_type="float32", nodata=math.nan)
_RESAMPLING = "bilinear"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is wanted."""

    target: Target
    period: tuple[date, date]
    """First and last day, both of it."""
    nearest: date | None = None
    """The day that scenes should be near to; None for the middle of the period."""
    max_cloud: float = 20.0
    """Percent of cloud up to which a scene of Sentinel-2 may be taken."""
    timeout: float = 30.0
    """Seconds that the API has for an answer."""

    @property
    def day(self) -> date:
        """The day that scenes should be near to."""
        start, end = self.period
        return self.nearest or start + timedelta(days=(end - start).days // 2)

    @property
    def box(self) -> Bounds:
        """Degrees around the target; the left is more than the right across the antimeridian."""
        to_degrees = pyproj.Transformer.from_crs(self.target.crs, "OGC:CRS84", always_xy=True)
        return Bounds(*to_degrees.transform_bounds(*self.target.bounds))


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What an API offers for a modality, with a verdict on each scene."""

    modality: str
    collection: str
    nearest: date
    """The day that scenes should be near to."""
    verdicts: tuple[Verdict, ...]

    @property
    def taken(self) -> tuple[Scene, ...]:
        """The scenes that are taken, in the order of their times."""
        scenes = (verdict.scene for verdict in self.verdicts if verdict.taken)
        return tuple(sorted(scenes, key=lambda scene: (scene.taken, scene.id)))

    def lines(self) -> Iterator[str]:
        """Give a table for people."""
        taken = [verdict for verdict in self.verdicts if verdict.taken]
        others = [verdict for verdict in self.verdicts if not verdict.taken]
        yield f"{self.modality}: {len(taken)} of {len(self.verdicts)} scenes of {self.collection}"
        rows = [_HEADER, *(self._row(number, one) for number, one in enumerate([*taken, *others[:_SHOWN]], start=1))]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows if self.verdicts else []:
            yield "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        if len(others) > _SHOWN:
            yield f"  and {len(others) - _SHOWN:,} more that were not taken"

    def _row(self, number: int, verdict: Verdict) -> tuple[str, ...]:
        scene = verdict.scene
        return (
            str(number),
            scene.id,
            str(scene.taken.date()),
            f"{scene.cloud:.0f}" if self.modality == optical.ASSET else "",
            f"{100 * scene.overlap:.0f}",
            f"{'taken' if verdict.taken else 'not taken'}: {verdict.reason}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A raster that was made."""

    asset: str
    path: Path
    provenance: Provenance

    @property
    def interval(self) -> tuple[datetime, datetime]:
        """First and last time of its scenes."""
        return self.provenance.dates[0], self.provenance.dates[-1]


# --- asking -----------------------------------------------------------------------------------------------------------


def ask(api: Api, modalities: Sequence[str], question: Question) -> list[Answer]:
    """Ask an API for the scenes of modalities, ``s2`` and ``s1``, and choose among them.

    Sentinel-1 should be near to the first pass of Sentinel-2 that is taken, where that is asked for, too. Raises
    ``UsageError`` for a modality that the API does not have, ``RemoteError`` for an API that does not answer.
    """
    missing = [key for key in modalities if key not in api.collections]
    if missing:
        raise UsageError(
            f"--what {missing[0]}: {api.name} has no collection for it, only for {', '.join(api.collections)}"
        )
    answers: list[Answer] = []
    day = question.day
    for key in (key for key in MODALITIES if key in modalities):
        collection, optic = api.collections[key], key == optical.ASSET
        items = find_items(api.url, collection.id, question.box, question.period, question.timeout)
        limits = Limits(period=question.period, max_cloud=question.max_cloud if optic else None)
        scenes = read_scenes(items, collection, question.target, public(api.url), limits)
        verdicts = choose(scenes, question.target, day, None if optic else 1)
        answers.append(Answer(modality=key, collection=collection.id, nearest=day, verdicts=tuple(verdicts)))
        day = next((verdict.scene.taken.date() for verdict in verdicts if verdict.taken), day)
    return answers


# --- making -----------------------------------------------------------------------------------------------------------


def outputs(folder: Path, modalities: Sequence[str]) -> dict[str, Path]:
    """Name the rasters of modalities. Raises ``UsageError`` for one that is there and that no ``prepare`` made."""
    paths = {key: folder / f"{key}.tif" for key in modalities}
    for path in paths.values():
        check_output(path, [])
    return paths


def make(
    api: Api,
    answers: Sequence[Answer],
    paths: Mapping[str, Path],
    question: Question,
    executor: Executor,
    progress: Blocks,
) -> list[Made]:
    """Fetch the scenes that were taken and make a raster of each modality, at ``paths`` by modality.

    ``s2`` is made as ``prepare s2`` does, ``s1`` from the linear power of one pass, given in decibels: VV and VH,
    float32, NaN where there is none. Raises ``UsageError`` where no scene was taken, ``RemoteError`` for a scene that
    cannot be read, ``BuildError`` where a file cannot be written; then there is no raster at all.
    """
    for answer in answers:
        _check_taken(answer, question)
    if api.sign is not None:
        load_signer(api.sign)
    target = question.target
    with scratch_folder(next(iter(paths.values()))) as scratch:
        brought = [_Brought(answer=answer, folder=scratch / answer.modality) for answer in answers]
        fetch([one for each in brought for one in each.wanted(api)], target, executor, progress)
        made = []
        for each in brought:
            make_raster = _make_s2 if each.answer.modality == optical.ASSET else _make_s1
            made.append(make_raster(each, _parameters(api, each.answer, question), target, executor, progress))
        return [_appear(one, paths[one.asset]) for one in made]


def _check_taken(answer: Answer, question: Question) -> None:
    if answer.taken:
        return
    start, end = question.period
    what = f"{answer.modality}: no scene of {answer.collection}, {start} to {end}, can be taken"
    if not answer.verdicts:
        raise UsageError(f"{what}: there is none over the area")
    first = answer.verdicts[0]
    raise UsageError(f"{what}; of {len(answer.verdicts)} the first, {first.scene.id}: {first.reason}")


def _parameters(api: Api, answer: Answer, question: Question) -> dict[str, Any]:
    collection = api.collections[answer.modality]
    optic = {"max_cloud_percent": question.max_cloud}
    radar = {"units": collection.units, "backscatter": collection.backscatter}
    return {
        "api": public(api.url),
        "collection": answer.collection,
        "period": [str(day) for day in question.period],
        "nearest": str(answer.nearest),
        **(optic if answer.modality == optical.ASSET else radar),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Brought:
    """Where the parts of scenes are brought to: a folder each, with a file a band."""

    answer: Answer
    folder: Path
    """Of the modality."""

    @property
    def scenes(self) -> list[tuple[Path, Scene]]:
        """The folder of each scene; it tells the time, as a product's name does."""
        return [
            (self.folder / str(number) / f"{scene.taken:%Y%m%dT%H%M%S}_{scene.id}", scene)
            for number, scene in enumerate(self.answer.taken)
        ]

    def wanted(self, api: Api) -> Iterator[Wanted]:
        """Give what has to be fetched."""
        units = api.collections[self.answer.modality].units
        for folder, scene in self.scenes:
            for band, href in scene.hrefs.items():
                yield Wanted(href=href, sign=api.sign, path=folder / f"{band}.tif", units=units)


def _make_s2(
    brought: _Brought, parameters: Mapping[str, Any], target: Target, executor: Executor, progress: Blocks
) -> Made:
    ids = {}
    for folder, scene in brought.scenes:
        # As products tell it.
        offsets = (f'<BOA_ADD_OFFSET band_id="{number}">{scene.offset}</BOA_ADD_OFFSET>' for number in range(13))
        (folder / "MTD_MSIL2A.xml").write_text(f"<Product>{''.join(offsets)}</Product>\n", encoding="utf-8")
        ids[folder.name] = scene.id
    path = brought.folder / "s2.tif"
    folders = [folder for folder, _ in brought.scenes]
    made = optical.prepare_s2(folders, path, target, executor, progress, optical.Settings())
    told = replace(
        made, step=STEP, inputs=[ids[name] for name in made.inputs], parameters={**parameters, **made.parameters}
    )
    with gdal_environment(), rasterio.open(path, "r+") as dataset:
        dataset.update_tags(**told.tags())
    return Made(asset=optical.ASSET, path=path, provenance=told)


def _make_s1(
    brought: _Brought, parameters: Mapping[str, Any], target: Target, executor: Executor, progress: Blocks
) -> Made:
    scenes = [scene for _, scene in brought.scenes]
    powers = [
        place(
            modality_of("power", _POWER, _RESAMPLING),
            [read_header(folder / f"{band}.tif") for folder, _ in brought.scenes],
            target,
        )
        for band in MEAN_BANDS.names
    ]
    dates = sorted({scene.taken for scene in scenes})
    orbits = sorted({scene.orbit for scene in scenes if scene.orbit is not None})
    made = Provenance(
        step=STEP,
        inputs=[scene.id for scene in scenes],
        parameters={**parameters, "kernel": _RESAMPLING},
        dates=dates,
        notes={**({"relative_orbits": orbits} if orbits else {}), "attribution": attribution(dates)},
    )
    path = brought.folder / "s1.tif"
    tags = {**made.tags(), "TIFFTAG_COPYRIGHT": attribution(dates)}
    write_raster(path, target, MEAN_BANDS, partial(_decibels, powers, target), tags, executor, progress)
    return Made(asset="s1", path=path, provenance=made)


def _decibels(powers: Sequence[PlacedSource], target: Target, window: Window) -> Pixels:
    """Make a block, VV and VH in decibels; interpolated in linear power."""
    power = np.concatenate([warped_block(source, target, window) for source in powers])
    return to_decibels(power.astype(np.float64)).astype(np.float32)


def _appear(one: Made, path: Path) -> Made:
    try:
        one.path.replace(path)
    except OSError as error:
        raise BuildError(f"{path}: cannot write: {error.strerror}") from error
    return replace(one, path=path)
