"""A plan -> what it would become, for people: areas, tiles, modalities, coverage, bytes. Nothing is written."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np

from catalog_builder.build import Progress
from catalog_builder.executor import unordered
from catalog_builder.plan import Plan, PlannedArea, PlannedSource, TileJob
from catalog_builder.progress import size
from catalog_builder.tile import TileResult, survey_tile


@dataclass(frozen=True, slots=True, kw_only=True)
class ModalityReport:
    """What one modality of an area would become."""

    key: str
    required: bool
    resampling: str
    """``none`` for a bit-for-bit copy."""
    files: int
    tiles: int
    """Tiles that would have the asset; by extent alone where pixels were not read."""
    coverage: float | None
    """Mean share of valid pixels over all tiles of the area, percent; None where pixels were not read."""
    size: int
    """Bytes of pixels, uncompressed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AreaReport:
    """What an area would become."""

    area: PlannedArea
    items: int
    left_out: tuple[tuple[str, str], ...]
    modalities: tuple[ModalityReport, ...]
    exact: bool
    """Whether pixels were read."""

    def document(self) -> dict[str, Any]:
        """Give the JSON form."""
        grid = self.area.grid
        return {
            "collection": self.area.template.id,
            "area": self.area.area.id,
            "crs": grid.crs,
            "resolution": grid.resolution,
            "origin": list(grid.origin),
            "items": self.items,
            "exact": self.exact,
            "left_out": [{"item": item, "why": why} for item, why in self.left_out],
            "modalities": [
                {name: getattr(report, name) for name in ModalityReport.__slots__} for report in self.modalities
            ],
            "pixel_bytes": sum(report.size for report in self.modalities),
        }


def outline(area: PlannedArea) -> AreaReport:
    """Tell what an area would become by the extents of its files alone."""
    modalities = tuple(
        _modality_report(area, source, sum(bool(_near(source, job)) for job in area.jobs()), None)
        for source in area.sources
    )
    return AreaReport(area=area, items=len(area.tiles), left_out=(), modalities=modalities, exact=False)


def _near(source: PlannedSource, job: TileJob) -> bool:
    return bool(source.placed.touching(job.place.tile.bounds).rasters)


def survey(plan: Plan, executor: Executor, progress: Progress, window: int) -> list[AreaReport]:
    """Read the pixels of every tile and tell what each area would become."""
    progress.start(sum(len(area.tiles) for area in plan.areas))
    results: dict[str, list[TileResult]] = {area.area.name: [] for area in plan.areas}
    for job, future in unordered(executor, survey_tile, _jobs(plan.areas), window):
        result = future.result()
        results[f"{job.place.template.id}/{job.place.area}"].append(result)
        progress.tile(result)
    return [_area_report(area, results[area.area.name]) for area in plan.areas]


def _jobs(areas: Iterable[PlannedArea]) -> Iterator[TileJob]:
    for area in areas:
        yield from area.jobs()


def _area_report(area: PlannedArea, results: Sequence[TileResult]) -> AreaReport:
    left_out = sorted((result.item_id, result.left_out) for result in results if result.left_out)
    assets = [result.item["assets"] for result in results if result.item is not None]
    reports = []
    for source in area.sources:
        shares = [result.valid_percent[source.modality.key] for result in results]
        tiles = sum(source.modality.key in keys for keys in assets)
        reports.append(_modality_report(area, source, tiles, float(np.mean(shares))))
    return AreaReport(area=area, items=len(assets), left_out=tuple(left_out), modalities=tuple(reports), exact=True)


def _modality_report(area: PlannedArea, source: PlannedSource, tiles: int, coverage: float | None) -> ModalityReport:
    modality = source.modality
    rows, columns = area.grid.tile_shape
    return ModalityReport(
        key=modality.key,
        required=modality.key in area.area.required,
        resampling=source.placed.resampling,
        files=len(source.placed.rasters),
        tiles=tiles,
        coverage=coverage,
        size=tiles * rows * columns * len(modality.bands) * np.dtype(modality.data_type).itemsize,
    )


def lines(reports: Iterable[AreaReport]) -> Iterator[str]:
    """Write reports for people."""
    total_items = total_size = 0
    for report in reports:
        area, grid = report.area, report.area.grid
        yield f"{area.area.name}  {area.area.title}"
        kept = "items" if report.exact else "tiles by extent"
        yield f"  {grid.crs}, {grid.resolution:g} m, {report.items:,} {kept}, {len(report.left_out):,} left out"
        yield f"  {'modality':<12} {'':<9} {'pixels':<9} {'files':>6} {'tiles':>7} {'valid':>8} {'bytes':>10}"
        yield from (_modality_line(modality) for modality in report.modalities)
        yield from (f"  left out: {item}: {why}" for item, why in report.left_out[:10])
        if len(report.left_out) > 10:
            yield f"  left out: {len(report.left_out) - 10:,} more"
        total_items += report.items
        total_size += sum(modality.size for modality in report.modalities)
    yield f"all: {total_items:,} items, {size(total_size)} of pixels before compression"


def _modality_line(report: ModalityReport) -> str:
    need = "required" if report.required else "optional"
    how = "copied" if report.resampling == "none" else report.resampling
    valid = "" if report.coverage is None else f"{report.coverage:.1f} %"
    name = f"  {report.key:<12} {need:<9} {how:<9}"
    return f"{name} {report.files:>6,} {report.tiles:>7,} {valid:>8} {size(report.size):>10}"
