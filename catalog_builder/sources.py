"""``sources.toml`` -> areas and their sources, as frozen values.

Paths and names are checked here; no raster is opened. See ``docs/sources.md`` for what a user writes.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from datetime import time as clock_time
from pathlib import Path
from typing import Any

import pyarrow as pa

from catalog_builder import layout, tomlio
from catalog_builder.errors import MissingFileError, SourcesError
from catalog_builder.template import Template, TemplateSet

AREA_KEYS = ("collection", "id", "title", "crs", "origin", "required", "split", "source")
SOURCE_KEYS = ("asset", "href", "datetime", "start_datetime", "end_datetime", "bands", "properties")
OWN_FIELDS = frozenset(
    (
        *("href", "type", "title", "roles", "bands", "gsd", "datetime", "start_datetime", "end_datetime"),
        *("dream:inputs", "dream:resampling"),
    )
)
OWN_PREFIXES = ("proj:", "file:")
_FARTHEST = 1e9
"""Larger than any coordinate of a CRS of the Earth, in any unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One processed raster, or a mosaic of several painted in order, for one modality of one area."""

    asset: str
    paths: tuple[Path, ...]
    """Local files; a later one is painted over those before it."""
    start: datetime
    end: datetime
    """Equal to ``start`` for an instant."""
    bands: tuple[int, ...] | None = None
    """Which bands of the file, counted from 1; None for all."""
    properties: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """A place with its sources; becomes a sub-catalog of a collection."""

    collection: str
    id: str
    title: str
    sources: tuple[Source, ...]
    crs: str | None = None
    origin: tuple[float, float] | None = None
    """x, y of the upper-left corner of tile (0, 0)."""
    required: tuple[str, ...]
    """Modalities without which a tile is left out."""
    split: str | None = None
    """Part of the data set for learning to which all its tiles belong, such as train."""
    file: Path
    """Where it was written, for messages."""
    problem: MissingFileError | None = None
    """What stands against planning it, which does not concern the other areas."""

    @property
    def name(self) -> str:
        """Collection and id, for messages and for the log."""
        return f"{self.collection}/{self.id}"


def load(path: Path, templates: TemplateSet) -> tuple[Area, ...]:
    """Read one ``sources.toml``, or every ``*.toml`` of a folder, sorted by collection and id.

    Raises ``SourcesError`` naming the file, the area and the value; but a raster that is not there becomes the
    ``problem`` of its area.
    """
    files = sorted(path.glob("*.toml")) if path.is_dir() else [path]
    if not files:
        raise SourcesError(f"{path}: no *.toml file in this folder")
    areas = [area for file in files for area in _load_file(file, templates)]
    _check_names(areas)
    _check_types(areas, templates)
    return tuple(sorted(areas, key=lambda area: (area.collection, area.id)))


def _load_file(file: Path, templates: TemplateSet) -> list[Area]:
    document = tomlio.read(file, SourcesError)
    _check_keys(document, ("area",), f"{file}")
    entries = document.get("area")
    if not isinstance(entries, list) or not entries:
        raise SourcesError(f"{file}: no [[area]] in this file")
    return [_area(entry, file, templates) for entry in entries]


def _area(entry: Mapping[str, Any], file: Path, templates: TemplateSet) -> Area:
    name = _text(entry, "id", f"{file}: [[area]]")
    where = f"{file}: area {name!r}"
    if (problem := layout.id_problem(name)) is not None:
        raise SourcesError(f"{where}: {problem}")
    _check_keys(entry, AREA_KEYS, where)
    template = templates.collections.get(_text(entry, "collection", where))
    if template is None:
        known = ", ".join(sorted(templates.collections))
        raise SourcesError(f"{where}: unknown collection {entry['collection']!r}; the templates have {known}")
    entries = entry.get("source")
    if not isinstance(entries, list) or not entries:
        raise SourcesError(f"{where}: no [[area.source]]")
    required = _required(entry, where, template)
    sources: tuple[Source, ...] = ()
    missing: MissingFileError | None = None
    try:
        sources = tuple(_source(source, file, where, template) for source in entries)
        _check_assets(sources, required, where)
    except MissingFileError as error:
        missing = error
    return Area(
        collection=template.id,
        id=name,
        title=_text(entry, "title", where),
        sources=sources,
        crs=_text(entry, "crs", where) if "crs" in entry else None,
        origin=_origin(entry, where),
        required=required,
        split=_text(entry, "split", where) if "split" in entry else None,
        file=file,
        problem=missing,
    )


def _source(entry: Mapping[str, Any], file: Path, area: str, template: Template) -> Source:
    asset = _text(entry, "asset", f"{area}: [[area.source]]")
    where = f"{area}: source {asset!r}"
    _check_keys(entry, SOURCE_KEYS, where)
    if asset not in template.modalities:
        hint = _nearest(asset, template.modalities)
        raise SourcesError(f"{where}: collection {template.id!r} has no such modality{hint}")
    start, end = _interval(entry, where)
    return Source(
        asset=asset,
        paths=_paths(entry, file.parent, where),
        start=start,
        end=end,
        bands=_bands(entry, where),
        properties=_properties(entry, where),
    )


def _paths(entry: Mapping[str, Any], folder: Path, where: str) -> tuple[Path, ...]:
    hrefs = entry.get("href")
    hrefs = [hrefs] if isinstance(hrefs, str) else hrefs
    if not isinstance(hrefs, list) or not hrefs or not all(isinstance(href, str) and href for href in hrefs):
        raise SourcesError(f"{where}: href is missing, or neither a path nor a list of paths")
    paths = [path for href in hrefs for path in _expand(href, folder, where)]
    if len(set(paths)) < len(paths):
        twice = next(path for path in paths if paths.count(path) > 1)
        raise SourcesError(f"{where}: href names {twice} twice")
    return tuple(paths)


def _expand(href: str, folder: Path, where: str) -> list[Path]:
    """Turn one href into files; only plain local files, never what GDAL would take for a protocol."""
    if "://" in href or href.startswith("/vsi") or any(ord(letter) < 32 for letter in href):
        raise SourcesError(f"{where}: href {href!r} is not a local file; download it first")
    try:
        if any(letter in href for letter in "*?["):
            return _glob(href, folder, where)
        path = folder / href
        if path.is_dir():
            raise MissingFileError(f"{where}: {path} is a folder; name its files, or a glob such as {path / '*.tif'}")
        if not path.is_file():
            raise MissingFileError(f"{where}: no such file: {path}")
        return [path.resolve()]
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SourcesError(f"{where}: href {href!r} is neither a path nor a glob: {reason}") from error


def _glob(href: str, folder: Path, where: str) -> list[Path]:
    base = Path(href).anchor or "."
    pattern = Path(href).relative_to(Path(href).anchor).as_posix()
    found = sorted(path for path in (folder / base).glob(pattern) if path.is_file())
    if not found:
        raise MissingFileError(f"{where}: no file matches {href!r} in {folder}")
    return [path.resolve() for path in found]


def _interval(entry: Mapping[str, Any], where: str) -> tuple[datetime, datetime]:
    given = [key for key in ("datetime", "start_datetime", "end_datetime") if key in entry]
    if given == ["datetime"]:
        instant = _instant(entry["datetime"], "datetime", where)
        return instant, instant
    if given != ["start_datetime", "end_datetime"]:
        raise SourcesError(
            f"{where}: give either datetime, or start_datetime and end_datetime; found {given or 'none'}"
        )
    start, end = (_instant(entry[key], key, where) for key in given)
    if start > end:
        raise SourcesError(f"{where}: start_datetime {start} is after end_datetime {end}")
    return start, end


def _instant(value: Any, key: str, where: str) -> datetime:
    if not isinstance(value, datetime) or value.tzinfo is None:
        shown = value if isinstance(value, date | datetime | clock_time) else repr(value)
        raise SourcesError(f"{where}: {key} {shown} has no time zone; write it as 2009-08-13T00:00:00Z, without quotes")
    return value


def _bands(entry: Mapping[str, Any], where: str) -> tuple[int, ...] | None:
    bands = entry.get("bands")
    if bands is None:
        return None
    if not isinstance(bands, list) or not bands or not all(type(band) is int and band > 0 for band in bands):
        raise SourcesError(f"{where}: bands {bands!r} is not a list of band numbers, counted from 1")
    return tuple(bands)


def _properties(entry: Mapping[str, Any], where: str) -> dict[str, Any]:
    properties = entry.get("properties", {})
    if not isinstance(properties, dict):
        raise SourcesError(f"{where}: properties is not a table")
    for key in properties:
        if key in OWN_FIELDS or key.startswith(OWN_PREFIXES):
            raise SourcesError(f"{where}: properties.{key} is written by the builder from the file; take it out")
    return {key: _json_value(value, f"{where}: properties.{key}") for key, value in properties.items()}


def _json_value(value: Any, where: str) -> Any:
    if isinstance(value, dict):
        if not value:
            raise SourcesError(f"{where}: an empty table; take it out")
        return {key: _json_value(inner, where) for key, inner in value.items()}
    if isinstance(value, list):
        return [_json_value(inner, where) for inner in value]
    if isinstance(value, int | float) and not abs(value) < 2**63:
        raise SourcesError(f"{where}: {value} is no number that JSON and Parquet can hold")
    return value.isoformat() if isinstance(value, date | datetime | clock_time) else value


def _required(entry: Mapping[str, Any], where: str, template: Template) -> tuple[str, ...]:
    required = entry.get("required")
    if required is None:
        return tuple(key for key, modality in template.modalities.items() if modality.required)
    if not isinstance(required, list) or not all(isinstance(key, str) for key in required):
        raise SourcesError(f"{where}: required {required!r} is not a list of modalities")
    for key in required:
        if key not in template.modalities:
            raise SourcesError(f"{where}: required: no such modality: {key!r}{_nearest(key, template.modalities)}")
    return tuple(required)


def _check_assets(sources: tuple[Source, ...], required: tuple[str, ...], where: str) -> None:
    assets = [source.asset for source in sources]
    for asset in assets:
        if assets.count(asset) > 1:
            raise SourcesError(f"{where}: two sources for {asset!r}; give one with a list of files as its href")
    missing = [key for key in required if key not in assets]
    if missing:
        some = ", ".join(f'"{key}"' for key in required if key in assets)
        raise SourcesError(
            f"{where}: no source for the required {', '.join(missing)}; add it, or ask for less: required = [{some}]"
        )


def _origin(entry: Mapping[str, Any], where: str) -> tuple[float, float] | None:
    origin = entry.get("origin")
    if origin is None:
        return None
    if not isinstance(origin, list) or len(origin) != 2 or not all(map(_is_coordinate, origin)):
        raise SourcesError(f"{where}: origin {origin!r} is not [x, y]")
    return float(origin[0]), float(origin[1])


def _is_coordinate(value: Any) -> bool:
    """Whether a value is a number, finite and of this world."""
    return type(value) in (int, float) and abs(value) < _FARTHEST


def _check_names(areas: list[Area]) -> None:
    seen: dict[str, Area] = {}
    for area in areas:
        if area.name in seen:
            raise SourcesError(f"{area.file}: area {area.name!r} stands also in {seen[area.name].file}")
        seen[area.name] = area
    for collection in {area.collection for area in areas}:
        pair = layout.sibling_problem(area.id for area in areas if area.collection == collection)
        if pair is not None:
            raise SourcesError(
                f"{areas[0].file}: areas {pair[0]!r} and {pair[1]!r} cannot stand side by side: "
                f"'aws s3 sync --delete' would remove good objects; rename one, with '_' for '-'"
            )


def _check_types(areas: list[Area], templates: TemplateSet) -> None:
    """Refuse a property of another type than in the template or in another area: the index has one column for it."""
    first: dict[tuple[str, str, str], Any] = {}
    for area, source in ((owner, source) for owner in areas for source in owner.sources):
        authored = templates.collections[area.collection].modalities[source.asset].document
        for key, value in source.properties.items():
            known = first.setdefault((area.collection, source.asset, key), authored.get(key, value))
            try:
                pa.array([known, value])
            except pa.ArrowException as error:
                where = f"{area.file}: area {area.id!r}: source {source.asset!r}: properties.{key}"
                raise SourcesError(
                    f"{where}: {value!r} is not of one type, alone or with {known!r}: {error}"
                ) from error


def _check_keys(entry: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in entry:
        if key not in known:
            raise SourcesError(f"{where}: unknown key {key!r}{_nearest(key, known)}")


def _nearest(word: str, known: Iterable[str]) -> str:
    names = list(known)
    close = difflib.get_close_matches(word, names, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(names)}"


def _text(entry: Mapping[str, Any], key: str, where: str) -> str:
    value = entry.get(key) if isinstance(entry, Mapping) else None
    if not isinstance(value, str) or not value.strip():
        raise SourcesError(f"{where}: {key} is missing or empty")
    return value
