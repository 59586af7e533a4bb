"""Areas and templates -> what will be built: grids, tiles, placed sources and digests of all inputs.

Headers are read here, pixels are not.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from pyproj.aoi import AreaOfInterest
from pyproj.database import query_utm_crs_info
from rasterio.crs import CRS

from catalog_builder import __version__, jsonio, layout
from catalog_builder.errors import CatalogBuilderError, RasterError, SourcesError
from catalog_builder.fingerprint import Fingerprints
from catalog_builder.footprint import Geometry, tile_polygons
from catalog_builder.grid import Bounds, Tile, TileGrid, TileRange
from catalog_builder.item import TilePlace
from catalog_builder.placement import PlacedSource, bounds_in, place_source
from catalog_builder.raster import RasterHeader, crs_name, parse_crs, read_header
from catalog_builder.sources import Area, Source
from catalog_builder.template import GridRule, Modality, Template, TemplateSet, same_nodata

PIXEL_FORMAT = 1
"""Raised by hand whenever this code would make other pixels or files of the same inputs."""
MAX_TILES = 1_000_000
_OUTLINES_AT_ONCE = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedSource:
    """A source with the place of its files."""

    source: Source
    placed: PlacedSource

    @property
    def modality(self) -> Modality:
        """The modality that it feeds."""
        return self.placed.modality


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedArea:
    """An area, ready to be built."""

    area: Area
    template: Template
    root_title: str
    grid: TileGrid
    tiles: TileRange
    sources: tuple[PlannedSource, ...]
    """In the order of the template."""

    @property
    def split_by_row(self) -> bool:
        """Whether a catalog of all items could grow too large, so that each row of tiles gets its own."""
        return len(self.tiles) > layout.MAX_ITEM_LINKS

    @property
    def inputs(self) -> str:
        """Digest of all that the area's files depend on."""
        area = self.area
        return jsonio.digest(
            {
                "template": self.template.document,
                "root": self.root_title,
                "area": [area.id, area.title, area.required, area.split],
                "grid": [self.grid.crs, self.grid.origin, self.grid.rows],
                "sources": [_source_inputs(planned) for planned in self.sources],
                "software": software() | {"catalog_builder": __version__},
            }
        )

    def tile_place(self, tile: Tile) -> TilePlace:
        """Give a tile its place in the catalog."""
        area, collection = self.area, self.template.id
        if self.split_by_row:
            parent, title = layout.row_catalog(collection, area.id, tile.row), row_title(area.title, tile.row)
        else:
            parent, title = layout.area_catalog(collection, area.id), area.title
        return TilePlace(
            tile=tile,
            template=self.template,
            area=area.id,
            area_title=area.title,
            split=area.split,
            root_title=self.root_title,
            parent=parent,
            parent_title=title,
        )

    def jobs(self) -> Iterator["TileJob"]:
        """Give the work, tile by tile."""
        tiles = iter(self.tiles)
        while chunk := list(itertools.islice(tiles, _OUTLINES_AT_ONCE)):
            # A source of thousands of files is searched for neighbours together, then for each of them.
            common = _union(tile.bounds for tile in chunk)
            near = [planned_for(planned, common) for planned in self.sources]
            for tile, outline in zip(chunk, tile_polygons(chunk), strict=True):
                box = tile.bounds
                yield TileJob(
                    place=self.tile_place(tile),
                    sources=tuple(planned_for(planned, box) for planned in near),
                    required=self.area.required,
                    outline=outline,
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class TileJob:
    """All that a worker needs to build one tile."""

    place: TilePlace
    sources: tuple[PlannedSource, ...]
    """With only those files that meet the tile."""
    required: tuple[str, ...]
    outline: Geometry
    """The whole tile in longitude and latitude."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that will be built, and what cannot be."""

    templates: TemplateSet
    areas: tuple[PlannedArea, ...]
    failures: tuple[tuple[str, CatalogBuilderError], ...] = ()
    """Areas that cannot be built (collection/id) and why."""


def row_title(area_title: str, row: int) -> str:
    """Title of the sub-catalog of one row of tiles."""
    return f"{area_title}, row {layout.row_name(row)}"


def software() -> dict[str, str | int]:
    """Name the software on which pixels depend."""
    return {"gdal": rasterio.__gdal_version__, "rasterio": rasterio.__version__, "format": PIXEL_FORMAT}


def make_plan(
    areas: Iterable[Area],
    templates: TemplateSet,
    fingerprints: Fingerprints,
    *,
    keep_going: bool = False,
    log: Callable[[str], None] = lambda _: None,
) -> Plan:
    """Plan every area. With ``keep_going`` an area that cannot be planned is noted, else its error is raised."""
    planned, failures = [], []
    for area in areas:
        log(f"reading headers of {area.name}")
        try:
            planned.append(plan_area(area, templates, fingerprints))
        except CatalogBuilderError as error:
            if not keep_going:
                raise
            failures.append((area.name, error))
    fingerprints.save()
    return Plan(templates=templates, areas=tuple(planned), failures=tuple(failures))


def plan_area(area: Area, templates: TemplateSet, fingerprints: Fingerprints) -> PlannedArea:
    """Read the headers of an area's sources and lay its grid. Raises ``RasterError`` or ``SourcesError``."""
    if area.problem is not None:
        raise area.problem
    template = templates.collections[area.collection]
    headers = {source.asset: _headers(source, template.modalities[source.asset]) for source in area.sources}
    crs = _area_crs(area, template, headers)
    extent = _extent(area, crs, headers)
    grid = lay_grid(area, template, crs, extent, [header for group in headers.values() for header in group])
    sha256 = fingerprints.sha256(header.path for group in headers.values() for header in group)
    order = list(template.modalities)
    sources = sorted(area.sources, key=lambda source: order.index(source.asset))
    tiles = grid.cover(extent)
    if len(tiles) > MAX_TILES:
        raise SourcesError(f"{area.file}: area {area.id!r}: {len(tiles)} tiles; an area has at most {MAX_TILES}")
    return PlannedArea(
        area=area,
        template=template,
        root_title=str(templates.catalog.get("title", templates.catalog["id"])),
        grid=grid,
        tiles=tiles,
        sources=tuple(
            _planned(source, headers[source.asset], template.modalities[source.asset], grid, sha256)
            for source in sources
        ),
    )


def _headers(source: Source, modality: Modality) -> list[RasterHeader]:
    headers = [read_header(path) for path in source.paths]
    for header in headers:
        check_header(header, source, modality)
    return headers


def check_header(header: RasterHeader, source: Source, modality: Modality) -> None:
    """Hold a source's header against its modality. Raises ``RasterError`` naming file and value."""
    where, key = header.path, modality.key
    bands = source.bands or tuple(range(1, header.count + 1))
    if max(bands) > header.count:
        raise RasterError(f"{where}: bands = {list(bands)}, but the file has {header.count}")
    if len(bands) != len(modality.bands):
        names = ", ".join(modality.band_names)
        raise RasterError(
            f"{where}: {len(bands)} bands, but {key!r} has {len(modality.bands)} ({names}); choose with bands = [...]"
        )
    if not np.can_cast(header.data_type, modality.data_type, "safe"):
        raise RasterError(
            f"{where}: {header.data_type} does not fit in {modality.data_type} of {key!r} without loss; "
            "convert it with gdal_translate -ot"
        )
    if header.nodata is not None and not same_nodata(header.nodata, modality.nodata):
        raise RasterError(
            f"{where}: nodata is {header.nodata:g}, but {key!r} has {modality.nodata:g}; "
            "change it with gdalwarp -dstnodata"
        )
    if header.scaling != (1.0, 0.0) and header.scaling != _template_scaling(modality):
        raise RasterError(f"{where}: scale and offset {header.scaling}, but {key!r} has {_template_scaling(modality)}")


def _template_scaling(modality: Modality) -> tuple[float, float]:
    band = modality.bands[0]
    return float(band.get("raster:scale", 1)), float(band.get("raster:offset", 0))


def _area_crs(area: Area, template: Template, headers: dict[str, list[RasterHeader]]) -> str:
    """Take the area's CRS, else the template's rule. It must have a code, or readers could not be told of it."""
    text = area.crs or template.grid.crs
    where = f"{area.file}: area {area.id!r}"
    if text.lower() == "utm":
        box = _union(bounds_in(header, "EPSG:4326") for group in headers.values() for header in group)
        text = utm_zone(box, where)
    crs = parse_crs(text, where if area.crs else f"{template.path}: dream:grid")
    name = crs_name(crs)
    if crs.to_authority() is None:
        raise SourcesError(f"{where}: crs has no authority code; use one such as 'EPSG:32631'")
    if not crs.is_projected and not crs.is_geographic:
        raise SourcesError(f"{where}: {name} is no CRS of maps; use one such as 'EPSG:32631'")
    return name


def utm_zone(bounds: Bounds, where: str) -> str:
    """Give the code of the UTM zone (WGS 84) of the centre of a box in longitude and latitude.

    Raises ``SourcesError`` naming ``where`` near the poles, which have none.
    """
    longitude, latitude = (bounds.left + bounds.right) / 2, (bounds.bottom + bounds.top) / 2
    centre = AreaOfInterest(longitude, latitude, longitude, latitude)
    codes = sorted(info.code for info in query_utm_crs_info("WGS 84", centre))
    if not codes:
        place = f"{longitude:.3f}, {latitude:.3f} (longitude, latitude)"
        raise SourcesError(f"{where}: no UTM zone at {place}; give the area a crs")
    return f"EPSG:{codes[0]}"


def _union(boxes: Iterable[Bounds]) -> Bounds:
    return reduce(Bounds.union, boxes)


def _extent(area: Area, crs: str, headers: dict[str, list[RasterHeader]]) -> Bounds:
    """Give the box where tiles can be: common to all required sources, else around all sources.

    Every source must meet it.
    """
    boxes = {asset: _union(bounds_in(header, crs) for header in group) for asset, group in headers.items()}
    extent: Bounds | None = _union(boxes.values())
    for asset in area.required:
        extent = extent.intersection(boxes[asset]) if extent else None
    if extent is None:
        raise SourcesError(f"{area.file}: area {area.id!r}: the required sources have no ground in common")
    for asset, box in boxes.items():
        if extent.intersection(box) is None:
            raise SourcesError(
                f"{area.file}: area {area.id!r}: source {asset!r} ({headers[asset][0].path.name}) lies outside the area"
            )
    return extent


def lay_grid(area: Area, template: Template, crs: str, extent: Bounds, headers: Iterable[RasterHeader]) -> TileGrid:
    """Lay the grid of an area by the template's rule, or at the area's own origin."""
    rule = template.grid
    if area.origin is None and rule.origin == "global":
        return global_grid(rule, crs)
    origin = area.origin or _corner(extent, rule.resolution, crs, headers)
    return TileGrid(crs=crs, resolution=rule.resolution, origin=origin, tile_shape=rule.tile_shape)


def global_grid(rule: GridRule, crs: str) -> TileGrid:
    """Lay the one grid of a CRS: the cell of tile (0, 0) stands on the zero of both axes, and rows count north."""
    return TileGrid(
        crs=crs,
        resolution=rule.resolution,
        origin=(0.0, rule.tile_shape[0] * rule.resolution),
        tile_shape=rule.tile_shape,
        rows="north",
    )


def _corner(extent: Bounds, resolution: float, crs: str, headers: Iterable[RasterHeader]) -> tuple[float, float]:
    """Give the area's own corner, on the pixels of the first source that could be copied, else on whole pixels."""
    phase = next((phase for header in headers if (phase := _phase(header, resolution, crs))), (0.0, 0.0))
    column = math.floor((extent.left - phase[0]) / resolution + 1e-6)
    row = math.ceil((extent.top - phase[1]) / resolution - 1e-6)
    return phase[0] + column * resolution, phase[1] + row * resolution


def _phase(header: RasterHeader, resolution: float, crs: str) -> tuple[float, float] | None:
    same = all(math.isclose(size, resolution, rel_tol=1e-9) for size in header.resolution)
    if not same or CRS.from_user_input(header.crs) != CRS.from_user_input(crs):
        return None
    return header.transform.c % resolution, header.transform.f % resolution


def _planned(
    source: Source, headers: list[RasterHeader], modality: Modality, grid: TileGrid, sha256: dict[Path, str]
) -> PlannedSource:
    bands = source.bands or tuple(range(1, headers[0].count + 1))
    placed = place_source(modality, bands, [(header, sha256[header.path]) for header in headers], grid)
    return PlannedSource(source=source, placed=placed)


def planned_for(planned: PlannedSource, box: Bounds) -> PlannedSource:
    """Give a source with only the files that meet a box."""
    placed = planned.placed.touching(box)
    # The same source for neighbours travels to a worker once.
    return planned if placed is planned.placed else PlannedSource(source=planned.source, placed=placed)


def pixel_inputs(planned: PlannedSource, tile: Tile, template: Template) -> str:
    """Digest of all that decides on a tile's COG, or on none; ``planned`` has only the files that meet the tile."""
    modality, cog = planned.modality, template.cog
    return jsonio.digest(
        {
            "modality": [modality.data_type, str(modality.nodata), modality.resampling, modality.is_rgb],
            "bands": [[band["name"], band.get("unit")] for band in modality.bands],
            "cog": [cog.compress, cog.level, cog.blocksize],
            "least": template.min_valid_percent,
            "tile": [tile.grid.crs, list(tile.transform)[:6], tile.grid.tile_shape],
            "source": planned.placed.inputs,
            "software": software(),
        }
    )


def _source_inputs(planned: PlannedSource) -> list[Any]:
    source = planned.source
    files = [raster.sha256 for raster in planned.placed.rasters]
    return [source.asset, source.start, source.end, planned.placed.bands, source.properties, files]
