"""Templates: ``stac/*.json`` -> modalities and the rules of a collection.

A template is the only place where a modality is defined. It is read once, here, into frozen values; what the builder
does not understand is an error, not a guess.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from catalog_builder import jsonio, layout
from catalog_builder.errors import TemplateError

Resampling = Literal["nearest", "mode", "bilinear", "cubic", "average"]
RESAMPLINGS: tuple[Resampling, ...] = ("nearest", "mode", "bilinear", "cubic", "average")
COMPRESSIONS = ("ZSTD", "DEFLATE")
BLOCK_SIZES = (128, 256, 512)
DATA_TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64")
"""Types of pixels that STAC and GeoTIFF both know."""

SCHEMA_NAME = "dream.schema.json"

_COLLECTION_FIELDS = ("dream:grid", "dream:min_valid_percent", "dream:cog", "dream:thumbnail")
_MODALITY_FIELDS = ("dream:required", "dream:resampling", "dream:attribution")
_GRID_FIELDS = ("resolution", "tile_shape", "crs", "origin")
_COG_FIELDS = ("compress", "level", "blocksize")


@dataclass(frozen=True, slots=True, kw_only=True)
class Modality:
    """One ``item_assets`` entry of a template: what every COG of that key promises to be."""

    key: str
    data_type: str
    """numpy's name of the type of every band."""
    nodata: float
    """One value for all bands (GeoTIFF has no more), with which the rim of a tile is filled; NaN for ``"nan"``."""
    bands: tuple[Mapping[str, Any], ...]
    """The STAC ``bands`` as authored."""
    resampling: Resampling
    required: bool
    document: Mapping[str, Any]
    """The whole entry as authored."""

    @property
    def band_names(self) -> tuple[str, ...]:
        """Names of the bands, in file order."""
        return tuple(str(band["name"]) for band in self.bands)

    @property
    def is_classes(self) -> bool:
        """Whether pixel values are class labels, which are never averaged."""
        return self.resampling in ("nearest", "mode")

    @property
    def is_rgb(self) -> bool:
        """Whether the bands are what a viewer shows as red, green, blue without a stretch."""
        names = [band.get("eo:common_name") for band in self.bands]
        return names == ["red", "green", "blue"] and self.data_type == "uint8"


@dataclass(frozen=True, slots=True, kw_only=True)
class GridRule:
    """How a collection lays its tile grids."""

    resolution: float
    tile_shape: tuple[int, int]
    crs: str
    """``utm`` (the zone of the area's centre) or an authority code."""
    origin: Literal["global", "area"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CogOptions:
    """How COGs are packed."""

    compress: str = "ZSTD"
    level: int = 3
    blocksize: int = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """One authored collection."""

    id: str
    path: Path
    grid: GridRule
    cog: CogOptions
    min_valid_percent: float
    thumbnail: tuple[str, ...]
    """Names of renders, the preferred first."""
    modalities: Mapping[str, Modality]
    document: Mapping[str, Any]

    def render(self, name: str) -> Mapping[str, Any]:
        """Give one authored render (STAC render extension)."""
        return cast("Mapping[str, Any]", self.document["renders"][name])


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateSet:
    """A folder of templates: the root catalog and one collection a sub-folder."""

    path: Path
    catalog: Mapping[str, Any]
    collections: Mapping[str, Template]


def default_folder() -> Path:
    """Find the templates that ship with the package: in the wheel, else beside the package in a checkout."""
    packaged = Path(str(resources.files("catalog_builder"))) / "stac"
    return packaged if packaged.is_dir() else packaged.parent.parent / "stac"


def load(folder: Path) -> TemplateSet:
    """Read ``catalog.json`` and every ``*/collection.json`` under ``folder``.

    Raises ``TemplateError`` naming the file and the field.
    """
    catalog = _document(folder / layout.CATALOG, "Catalog")
    _field(catalog, "id", str, folder / layout.CATALOG)
    paths = sorted(folder.glob(f"*/{layout.COLLECTION}"))
    templates = [parse(_document(path, "Collection"), path) for path in paths]
    if not templates:
        raise TemplateError(f"{folder}: no collection template (*/{layout.COLLECTION}) in this folder")
    by_id: dict[str, Template] = {}
    for template in templates:
        if template.id in by_id:
            raise TemplateError(f"{template.path}: id {template.id!r} stands also in {by_id[template.id].path}")
        by_id[template.id] = template
    return TemplateSet(path=folder, catalog=catalog, collections=by_id)


def _document(path: Path, kind: str) -> dict[str, Any]:
    try:
        document = jsonio.read(path)
    except OSError as error:
        raise TemplateError(f"{path}: cannot read this template: {error.strerror}") from error
    except ValueError as error:
        raise TemplateError(f"{path}: this template is not JSON: {error}") from error
    if not isinstance(document, dict) or document.get("type") != kind:
        raise TemplateError(f"{path}: expected a STAC {kind}")
    return document


def parse(document: Mapping[str, Any], path: Path) -> Template:
    """Turn a collection document into a template. ``path`` is for messages only."""
    name = _field(document, "id", str, path)
    if (problem := layout.id_problem(name)) is not None:
        raise TemplateError(f"{path}: id {name!r}: {problem}")
    _field(document, "title", str, path)
    _check_known((key for key in document if key.startswith("dream:")), _COLLECTION_FIELDS, f"{path}")
    assets = _field(document, "item_assets", dict, path)
    modalities = {key: modality(key, entry, path) for key, entry in assets.items()}
    if not modalities:
        raise TemplateError(f"{path}: item_assets is empty")
    template = Template(
        id=name,
        path=path,
        grid=_grid_rule(_field(document, "dream:grid", dict, path), path),
        cog=_cog_options(_field({"dream:cog": {}, **document}, "dream:cog", dict, path), path),
        min_valid_percent=_percent(document.get("dream:min_valid_percent", 0), path),
        thumbnail=tuple(document.get("dream:thumbnail", ())),
        modalities=modalities,
        document=document,
    )
    _check_renders(template)
    return template


def modality(key: str, entry: Mapping[str, Any], path: Path) -> Modality:
    """Turn one ``item_assets`` entry into a modality."""
    where = f"{path}: item_assets.{key}"
    if (problem := layout.id_problem(key)) is not None:
        raise TemplateError(f"{where}: {problem}")
    bands = entry.get("bands") if isinstance(entry, Mapping) else None
    if not isinstance(bands, list) or not bands:
        raise TemplateError(f"{where}: no bands")
    for band in bands:
        if not isinstance(band, dict) or not isinstance(band.get("name"), str):
            raise TemplateError(f"{where}: a band without name: {band!r}")
    _check_known((field for field in entry if field.startswith("dream:")), _MODALITY_FIELDS, where)
    required = entry.get("dream:required", True)
    if not isinstance(required, bool):
        raise TemplateError(f"{where}: dream:required {required!r} is neither true nor false")
    resampling = entry.get("dream:resampling")
    if resampling not in RESAMPLINGS:
        raise TemplateError(f"{where}: dream:resampling {resampling!r} is none of {', '.join(RESAMPLINGS)}")
    data_type = _data_type(bands, where)
    return Modality(
        key=key,
        data_type=data_type,
        nodata=_nodata(bands, data_type, where),
        bands=tuple(bands),
        resampling=resampling,
        required=required,
        document=entry,
    )


def _data_type(bands: list[Any], where: str) -> str:
    name = _common(bands, "data_type", where)
    if name not in DATA_TYPES:
        raise TemplateError(f"{where}: data_type {name!r} is none of {', '.join(DATA_TYPES)}")
    return str(name)


def _nodata(bands: list[Any], data_type: str, where: str) -> float:
    value = parse_nodata(_common(bands, "nodata", where), where)
    with np.errstate(all="ignore"):
        kept = float(np.float64(value).astype(data_type))
    if not same_nodata(kept, value):
        raise TemplateError(f"{where}: nodata {value:g} is no {data_type}")
    return value


def _common(bands: list[Any], field: str, where: str) -> Any:
    """Give the one value that all bands have: a GeoTIFF has no more."""
    values = {str(band.get(field)): band.get(field) for band in bands}
    if len(values) > 1:
        raise TemplateError(f"{where}: all bands of a GeoTIFF have one {field}, here they differ: {', '.join(values)}")
    return values.popitem()[1]


def parse_nodata(value: Any, where: str) -> float:
    """Turn STAC's nodata (a number or ``"nan"``, ``"inf"``, ``"-inf"``) into a float."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TemplateError(f"{where}: nodata {value!r} is no number")
    try:
        return float(value)
    except ValueError as error:
        raise TemplateError(f"{where}: nodata {value!r} is no number") from error


def same_nodata(one: float | None, other: float | None) -> bool:
    """Whether two nodata values mean the same; NaN equals NaN here."""
    if one is None or other is None:
        return one is other
    return one == other or (math.isnan(one) and math.isnan(other))


def nodata_document(value: float) -> int | float | str:
    """Give a nodata value as STAC writes it: whole numbers without a point, NaN and infinities as words."""
    if not math.isfinite(value):
        return str(value)
    # Beyond this, as -3.4e38 of many a float raster, no digit is left out by the point, and JSON has no such integers.
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def _grid_rule(rule: Mapping[str, Any], path: Path) -> GridRule:
    where = f"{path}: dream:grid"
    _check_known(rule, _GRID_FIELDS, where)
    shape = rule.get("tile_shape", [1024, 1024])
    resolution, origin = rule.get("resolution"), rule.get("origin")
    if not isinstance(resolution, int | float) or not resolution > 0:
        raise TemplateError(f"{where}: resolution {resolution!r} is no positive number")
    if origin not in ("global", "area"):
        raise TemplateError(f"{where}: origin {origin!r} is neither 'global' nor 'area'")
    if not (isinstance(shape, list) and len(shape) == 2 and all(isinstance(n, int) and n > 0 for n in shape)):
        raise TemplateError(f"{where}: tile_shape {shape!r} is not [rows, columns]")
    crs = rule.get("crs")
    if not isinstance(crs, str):
        raise TemplateError(f"{where}: crs {crs!r} is neither 'utm' nor a code such as 'EPSG:32631'")
    return GridRule(resolution=float(resolution), tile_shape=(shape[0], shape[1]), crs=crs, origin=origin)


def _cog_options(options: Mapping[str, Any], path: Path) -> CogOptions:
    _check_known(options, _COG_FIELDS, f"{path}: dream:cog")
    cog = CogOptions(**options)
    if cog.compress not in COMPRESSIONS:
        raise TemplateError(f"{path}: dream:cog.compress {cog.compress!r} is none of {', '.join(COMPRESSIONS)}")
    if cog.blocksize not in BLOCK_SIZES:
        raise TemplateError(f"{path}: dream:cog.blocksize {cog.blocksize!r} is none of {BLOCK_SIZES}")
    highest = 22 if cog.compress == "ZSTD" else 12
    if not isinstance(cog.level, int) or not 1 <= cog.level <= highest:
        raise TemplateError(f"{path}: dream:cog.level {cog.level!r} is not between 1 and {highest}")
    return cog


def _percent(value: Any, path: Path) -> float:
    if not isinstance(value, int | float) or not 0 <= value <= 100:
        raise TemplateError(f"{path}: dream:min_valid_percent {value!r} is not between 0 and 100")
    return float(value)


def _check_renders(template: Template) -> None:
    renders = _field({"renders": {}, **template.document}, "renders", dict, template.path)
    for name in template.thumbnail:
        if name not in renders:
            raise TemplateError(f"{template.path}: dream:thumbnail names no render: {name!r}")
    for name, render in renders.items():
        where = f"{template.path}: renders.{name}"
        assets = render.get("assets") if isinstance(render, dict) else None
        if not isinstance(assets, list) or not assets:
            raise TemplateError(f"{where}: assets {assets!r} is no list of modalities")
        for key in assets:
            if key not in template.modalities:
                raise TemplateError(f"{where} names no modality: {key!r}")
        if name in template.thumbnail:
            _check_drawable(render, len(template.modalities[assets[0]].bands), where)


def _check_drawable(render: Mapping[str, Any], count: int, where: str) -> None:
    """Hold a render that draws thumbnails to what they are drawn with; ``count`` is the number of bands."""
    bands, ranges = render.get("bidx", [1]), render.get("rescale", [[0, 255]])
    if not _is_list(bands, lambda band: band in range(1, count + 1)) or len(bands) not in (1, 3):
        raise TemplateError(f"{where}: bidx {bands!r} is neither one nor three of {count} bands")
    if not _is_list(ranges, _is_range) or len(ranges) not in (1, len(bands)):
        raise TemplateError(f"{where}: rescale {ranges!r} is not a [low, high] a band")
    for value, colour in render.get("colormap", {}).items():
        is_colour = _is_list(colour, lambda level: level in range(256)) and len(colour) in (3, 4)
        if not (value.isdecimal() and int(value) < 256 and is_colour):
            raise TemplateError(f"{where}: colormap {value!r}: {colour!r} is no class of 0 to 255 with a colour")


def _is_list(value: Any, is_member: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and all(map(is_member, value))


def _is_range(pair: Any) -> bool:
    return _is_list(pair, lambda end: isinstance(end, int | float)) and len(pair) == 2 and pair[0] < pair[1]


def _check_known(fields: Iterable[str], known: tuple[str, ...], where: str) -> None:
    """Refuse a field that means nothing: a slip of the pen would else pass for a default."""
    for field in fields:
        if field not in known:
            raise TemplateError(f"{where}: unknown field {field!r}; known: {', '.join(known)}")


def _field(document: Mapping[str, Any], name: str, kind: type, path: Path) -> Any:
    value = document.get(name)
    if not isinstance(value, kind):
        raise TemplateError(f"{path}: {name} is missing or no {kind.__name__}")
    return value
