"""One tile, from source windows to its files: what a worker does.

Each COG carries in its item the digest of what it was made from. A COG whose digest still holds is kept; so a build
that goes on, or that meets one changed source, touches nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from catalog_builder import cog, jsonio, layout, manifest
from catalog_builder.errors import RasterError
from catalog_builder.footprint import Geometry, valid_polygon
from catalog_builder.item import (
    THUMBNAIL,
    AssetRecord,
    FileRecord,
    cog_from_asset,
    item_document,
    sha256_of,
)
from catalog_builder.mosaic import read_tile
from catalog_builder.plan import PlannedSource, TileJob, pixel_inputs, software
from catalog_builder.raster import is_valid
from catalog_builder.template import Template
from catalog_builder.thumbnail import thumbnail
from catalog_builder.workspace import Overlay


@dataclass(frozen=True, slots=True, kw_only=True)
class TileResult:
    """What became of one tile."""

    item_id: str
    column: int
    row: int
    valid_percent: Mapping[str, float]
    """Share of valid pixels by modality, of those that were looked at."""
    left_out: str | None = None
    """Why there is no item, where there is none."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Files of the item, by name: SHA-256 (hex)."""
    size: int = 0
    """Bytes of the COGs."""
    written: int = 0
    """Bytes of COGs written now; 0 where all were kept."""
    pixels: int = 0
    """Bytes of pixels read from sources."""
    item: Mapping[str, Any] | None = None
    """What the area's documents tell of the item: ``bbox``, ``start_datetime``, ``end_datetime``, ``assets``,
    ``thumbnail``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """One modality of one tile."""

    valid_percent: float
    record: AssetRecord | None = None
    pixels: int = 0
    written: int = 0


def build_tile(job: TileJob, overlay: Overlay) -> TileResult:
    """Build the files of one tile and stage what is new.

    Raises ``RasterError`` naming the source file that is at fault, ``OSError`` where the release cannot be written.
    """
    old = overlay.document(job.place.href)
    outcomes: dict[str, _Outcome] = {}
    for planned in sorted(job.sources, key=lambda planned: planned.modality.key not in job.required):
        key = planned.modality.key
        outcomes[key] = _build_asset(job, planned, old, overlay)
        if key in job.required and outcomes[key].record is None:
            return _left_out(job, outcomes, f"{key} has {outcomes[key].valid_percent:.3g} % valid pixels", overlay)
    records = [outcomes[planned.modality.key].record for planned in job.sources]
    kept = [record for record in records if record is not None]
    if not kept:
        return _left_out(job, outcomes, "no modality has enough valid pixels", overlay)
    return _finish(job, outcomes, kept, old, overlay)


def kept_tile(job: TileJob, overlay: Overlay) -> TileResult | None:
    """Give the item of an earlier build as it stands, for a tile that cannot be built now; None where there is none."""
    data, old = overlay.read(job.place.href), overlay.document(job.place.href)
    try:
        assets = {key: asset for key, asset in old["assets"].items() if key != THUMBNAIL}
        files = {asset["href"].removeprefix("./"): sha256_of(asset) for asset in old["assets"].values()}
        cogs = {key: cog_from_asset(asset) for key, asset in assets.items()}
    except (KeyError, TypeError, ValueError):
        return None
    if data is None or not cogs or not files.keys() <= dict(overlay.files(job.place.file(""))).keys():
        return None
    promised = job.place.template.modalities
    if any(key not in promised or cog.differences(made, promised[key], job.place.tile) for key, made in cogs.items()):
        return None  # of another grid or another template
    return _result(
        job,
        valid_percent={key: made.valid_percent for key, made in cogs.items()},
        files={**files, f"{job.place.item_id}.json": manifest.sha256(data)},
        size=sum(made.size for made in cogs.values()),
        item=item_summary(old),
    )


def item_summary(document: Mapping[str, Any]) -> dict[str, Any]:
    """Give what the area's documents tell of an item. Raises ``KeyError`` for an item not written here."""
    properties = document["properties"]
    return {
        "bbox": document["bbox"],
        "start_datetime": properties["start_datetime"],
        "end_datetime": properties["end_datetime"],
        "valid_percent": properties["dream:valid_percent"],
        "assets": [key for key in document["assets"] if key != THUMBNAIL],
        "thumbnail": THUMBNAIL in document["assets"],
    }


def _result(job: TileJob, **facts: Any) -> TileResult:
    tile = job.place.tile
    return TileResult(item_id=job.place.item_id, column=tile.column, row=tile.row, **facts)


def survey_tile(job: TileJob) -> TileResult:
    """Read the pixels of one tile and tell what ``build_tile`` would make of them; nothing is written."""
    shares = {planned.modality.key: _valid_percent(_read(planned, job)[1]) for planned in job.sources}
    enough = [key for key, share in shares.items() if _enough(share, job.place.template)]
    short = [key for key in shares if key in job.required and key not in enough]
    reason = None
    if short:
        reason = f"{short[0]} has {shares[short[0]]:.3g} % valid pixels"
    elif not enough:
        reason = "no modality has enough valid pixels"
    return _result(
        job,
        valid_percent=shares,
        left_out=reason,
        item={"assets": enough} if reason is None else None,
    )


def _build_asset(job: TileJob, planned: PlannedSource, old: dict[str, Any], overlay: Overlay) -> _Outcome:
    inputs = pixel_inputs(planned, job.place.tile, job.place.template)
    kept = _kept_cog(job, planned.modality.key, inputs, old, overlay)
    if kept is not None:
        return _Outcome(valid_percent=kept.valid_percent, record=_record(planned, kept, inputs))
    pixels, valid = _read(planned, job)
    share = _valid_percent(valid)
    if not _enough(share, job.place.template):
        return _Outcome(valid_percent=share, pixels=pixels.nbytes)
    made = _write_cog(job, planned, pixels, overlay)
    return _Outcome(valid_percent=share, record=_record(planned, made, inputs), pixels=pixels.nbytes, written=made.size)


def _kept_cog(job: TileJob, key: str, inputs: str, old: dict[str, Any], overlay: Overlay) -> cog.CogAsset | None:
    """Give the COG of an earlier build where it was made from the same inputs and is still there, whole."""
    asset = old.get("assets", {}).get(key, {})
    if asset.get("dream:inputs") != inputs:
        return None
    if overlay.size(job.place.file(layout.asset_file(key))) != asset.get("file:size"):
        return None
    try:
        return cog_from_asset(asset)
    except (KeyError, TypeError, ValueError):
        return None


def _read(planned: PlannedSource, job: TileJob) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    pixels = read_tile(planned.placed, job.place.tile)
    return pixels, is_valid(pixels, planned.modality.nodata)


def _valid_percent(valid: npt.NDArray[np.bool_]) -> float:
    """Share of valid pixels in the band that has the fewest."""
    return float(min(np.count_nonzero(band) for band in valid) / valid[0].size * 100)


def _enough(share: float, template: Template) -> bool:
    return share > 0 and share >= template.min_valid_percent


def _write_cog(job: TileJob, planned: PlannedSource, pixels: npt.NDArray[Any], overlay: Overlay) -> cog.CogAsset:
    """Stage a COG, and take its own word for what it is."""
    modality, tile = planned.modality, job.place.tile
    href = job.place.file(layout.asset_file(modality.key))
    overlay.doubt(job.place.href)
    path = overlay.stage(href, cog.encode(pixels, modality, tile, job.place.template.cog))
    made = cog.describe(path)
    if broken := cog.differences(made, modality, tile):
        files = ", ".join(raster.header.path.name for raster in planned.placed.rasters)
        raise RasterError(f"{href} (from {files}): {broken[0]}")
    return made


def _record(planned: PlannedSource, made: cog.CogAsset, inputs: str) -> AssetRecord:
    source = planned.source
    return AssetRecord(
        modality=planned.modality,
        cog=made,
        start=source.start,
        end=source.end,
        resampling=planned.placed.resampling,
        inputs=inputs,
        properties=source.properties,
    )


def _left_out(job: TileJob, outcomes: dict[str, _Outcome], reason: str, overlay: Overlay) -> TileResult:
    overlay.unstage(job.place.file(""))
    return _result(
        job,
        valid_percent={key: outcome.valid_percent for key, outcome in outcomes.items()},
        left_out=reason,
        pixels=sum(outcome.pixels for outcome in outcomes.values()),
    )


def _finish(
    job: TileJob, outcomes: dict[str, _Outcome], records: list[AssetRecord], old: dict[str, Any], overlay: Overlay
) -> TileResult:
    """Draw the thumbnail and write the item, after its COGs."""
    picture = _thumbnail(job, records, old, overlay)
    geometry = _geometry(job, records, old, overlay)
    document = item_document(job.place, records, geometry, picture)
    data = jsonio.dumps(document)
    overlay.put(job.place.href, data)
    files = {layout.asset_file(record.modality.key): record.cog.sha256 for record in records}
    if picture is not None:
        files[layout.THUMBNAIL] = picture.sha256
    files[f"{job.place.item_id}.json"] = manifest.sha256(data)
    return _result(
        job,
        valid_percent={key: outcome.valid_percent for key, outcome in outcomes.items()},
        files=files,
        size=sum(record.cog.size for record in records),
        written=sum(outcome.written for outcome in outcomes.values()),
        pixels=sum(outcome.pixels for outcome in outcomes.values()),
        item=item_summary(document),
    )


def _thumbnail(job: TileJob, records: list[AssetRecord], old: dict[str, Any], overlay: Overlay) -> FileRecord | None:
    """Draw the first render of the template whose asset is there, unless it was drawn before."""
    by_key = {record.modality.key: record for record in records}
    for name in job.place.template.thumbnail:
        render = job.place.template.render(name)
        record = by_key.get(str(render["assets"][0]))
        if record is None:
            continue
        inputs = jsonio.digest([record.cog.sha256, render, software()])
        href = job.place.file(layout.THUMBNAIL)
        kept = _kept_thumbnail(href, inputs, old, overlay)
        if kept is not None:
            return kept
        path = overlay.find(job.place.file(layout.asset_file(record.modality.key)))
        if path is None:
            raise RasterError(f"{href}: {record.modality.key} went away while the tile was built")
        data = thumbnail(path, render)
        overlay.doubt(job.place.href)
        overlay.put(href, data)
        return FileRecord(size=len(data), sha256=manifest.sha256(data), inputs=inputs)
    return None


def _kept_thumbnail(href: str, inputs: str, old: dict[str, Any], overlay: Overlay) -> FileRecord | None:
    asset = old.get("assets", {}).get(THUMBNAIL, {})
    if asset.get("dream:inputs") != inputs or overlay.size(href) != asset.get("file:size"):
        return None
    return FileRecord(size=asset["file:size"], sha256=sha256_of(asset), inputs=inputs)


def _geometry(job: TileJob, records: list[AssetRecord], old: dict[str, Any], overlay: Overlay) -> Geometry:
    """Outline the pixels that are valid in any band of any modality."""
    if any(_full(record) for record in records):
        return job.outline
    if old and _same_files(records, old):
        return dict(old["geometry"])
    valid = np.zeros(job.place.tile.grid.tile_shape, dtype=np.bool_)
    for record in records:
        path = overlay.find(job.place.file(layout.asset_file(record.modality.key)))
        if path is not None:
            valid |= cog.read_valid(path, record.modality.nodata)
    return valid_polygon(valid, job.place.tile)


def _full(record: AssetRecord) -> bool:
    return any(band.statistics["valid_percent"] == 100 for band in record.cog.bands)


def _same_files(records: list[AssetRecord], old: dict[str, Any]) -> bool:
    """Whether an earlier item had these very files, and so the same outline."""
    assets = {key: asset.get("file:checksum", "")[4:] for key, asset in old["assets"].items() if key != THUMBNAIL}
    return assets == {record.modality.key: record.cog.sha256 for record in records}
