"""The commands of ``catalog-builder prepare``: raw products in, one raster of a modality out.

Each ends in the same way: the raster is there, and where a ``sources.toml`` was named, it has the raster as a source.
"""

import math
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from catalog_builder.errors import UsageError
from catalog_builder.progress import BlockProgress

if TYPE_CHECKING:  # help is quick without GDAL
    from catalog_builder.prepare.listing import Place
    from catalog_builder.prepare.provenance import Provenance
    from catalog_builder.prepare.select import Question
    from catalog_builder.prepare.target import Target

Command = TypeVar("Command", bound=Callable[..., Any])
_PATH = click.Path(path_type=Path)
_LONGEST_TIMEOUT = 3600.0


@click.group()
def prepare() -> None:
    """Make the raster of one modality from raw products, as `build` takes it.

    Each command writes a GeoTIFF, block by block, and says in its tags what it was made of; `select` writes one for
    each modality. With --sources it also becomes a source of an area there, in place of an earlier one of the same
    modality.
    """


# --- options that the commands share ----------------------------------------------------------------------------------


def grid_options(command: Command) -> Command:
    """Add the options that name the grid of the output; ``make_target`` reads them."""
    for option in reversed(
        (
            click.option("--like", type=_PATH, metavar="IMAGE", help="The grid of this image."),
            click.option("--crs", metavar="CODE", help="CRS of the output, such as EPSG:32631."),
            click.option("--resolution", type=float, metavar="SIZE", help="Size of a pixel, in units of the CRS."),
            click.option(
                "--bounds",
                nargs=4,
                type=float,
                metavar="LEFT BOTTOM RIGHT TOP",
                help="Box of the output, in the CRS. Its corner is put on a multiple of the resolution.",
            ),
        )
    ):
        command = option(command)
    return command


def make_target(
    like: Path | None, crs: str | None, resolution: float | None, bounds: tuple[float, ...] | None
) -> "Target":
    """Give the grid that the options name. Raises ``UsageError`` where they name none, or two."""
    from catalog_builder.grid import Bounds
    from catalog_builder.prepare.target import target_like, target_of

    own = (crs, resolution, bounds)
    if like is not None:
        if any(value is not None for value in own):
            raise UsageError("--like names the whole grid; leave out --crs, --resolution and --bounds")
        return target_like(like)
    if crs is None or resolution is None or bounds is None:
        raise UsageError("name the grid of the output: --like IMAGE, or --crs with --resolution and --bounds")
    return target_of(crs, resolution, Bounds(*bounds))


def common_options(command: Command) -> Command:
    """Add the options of every command: where the raster is listed, processes, progress."""
    for option in reversed(
        (
            click.option("--sources", type=_PATH, metavar="FILE", help="Make it a source in this sources.toml."),
            click.option("--area", metavar="ID", help="The area there to which it belongs."),
            click.option("--collection", metavar="ID", help="Collection of the area, where it is new."),
            click.option("--title", metavar="TEXT", help="Title of the area, where it is new."),
            click.option("--jobs", type=click.IntRange(min=1), help="Worker processes. Default: one a core."),
            click.option("--quiet", "-q", is_flag=True, help="No progress on standard error."),
        )
    ):
        command = option(command)
    return command


@contextmanager
def workers(jobs: int | None, quiet: bool) -> Iterator[tuple[Executor, BlockProgress]]:
    """Open the worker processes of a command, and its progress."""
    from catalog_builder.executor import default_jobs, open_executor

    # Stopped by a batch system, it leaves no hidden files, as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with open_executor(jobs or default_jobs(), preload="catalog_builder.prepare.output") as executor:
        yield executor, BlockProgress(sys.stderr, quiet=quiet)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Where a raster is to be listed; nowhere without ``sources``."""

    sources: Path | None
    area: str | None
    collection: str | None
    title: str | None

    @property
    def place(self) -> "Place | None":
        """The area to which the raster belongs; None where it is not listed."""
        from catalog_builder.prepare.listing import Place

        return None if self.area is None else Place(area=self.area, collection=self.collection, title=self.title)


def take_listing(options: dict[str, Any]) -> Listing:
    """Take what names the listing out of a command's options. Raises ``UsageError`` for half of what a source needs."""
    listing = Listing(**{name: options.pop(name) for name in ("sources", "area", "collection", "title")})
    if (listing.sources is None) != (listing.area is None):
        raise UsageError("--sources and --area go together: the file, and the area there")
    if listing.sources is not None and listing.place is not None:
        from catalog_builder.prepare.listing import check_place

        check_place(listing.sources, listing.place)
    return listing


def take_grid(options: dict[str, Any]) -> "Target | None":
    """Take the grid out of a command's options; None where they name none. Raises ``UsageError`` for half of one."""
    grid = [options.pop(name) for name in ("like", "crs", "resolution", "bounds")]
    return make_target(*grid) if any(value is not None for value in grid) else None


def need_grid(options: dict[str, Any]) -> "Target":
    """Take the grid out of a command's options. Raises ``UsageError`` where they name none."""
    return take_grid(options) or make_target(None, None, None, None)


def finish(
    out: Path,
    asset: str,
    interval: tuple[datetime, datetime],
    made: "Provenance",
    listing: Listing,
) -> None:
    """List the raster where that was asked for, and say where it is."""
    from catalog_builder.prepare.listing import Entry, add_source

    click.echo(f"{out}: {asset}, {len(made.inputs)} input{'s' if len(made.inputs) != 1 else ''}")
    for name, value in made.notes.items():
        click.echo(f"  {name.replace('_', ' ')}: {value}")
    if listing.sources is None or listing.place is None:
        return
    entry = Entry(asset=asset, path=out, start=interval[0], end=interval[1], properties=made.properties())
    add_source(listing.sources, listing.place, entry)
    click.echo(f"{listing.sources}: {asset} of area {listing.area}")


# --- elevation and optical images -------------------------------------------------------------------------------------


@prepare.command(
    "srtm",
    epilog="""\b
Examples:
  catalog-builder prepare srtm N44E005.hgt N44E006.hgt.zip srtm.tif --like s2.tif
  catalog-builder prepare srtm tiles/*.hgt srtm.tif --like s2.tif --sources sources.toml --area ventoux
  catalog-builder prepare srtm N44E005.SRTMGL1.hgt.zip srtm.tif \\
    --crs EPSG:32631 --resolution 10 --bounds 660000 4875000 720000 4930000
""",
)
@click.argument("inputs", nargs=-1, required=True, type=_PATH, metavar="INPUT...")
@click.argument("out", type=_PATH)
@grid_options
@common_options
def prepare_srtm(
    inputs: tuple[Path, ...],
    out: Path,
    **options: Any,
) -> None:
    """SRTM height tiles -> elevation in whole metres (modality srtm).

    INPUT is an .hgt tile of 1 or 3 arc seconds under its own name (N44E005.hgt), or a .zip of such tiles. Those that do
    not matter to the grid are left out. Tiles join without a seam; voids stay nodata and are counted.
    """
    from catalog_builder.prepare import dem

    listing, target = take_listing(options), need_grid(options)
    with workers(**options) as (executor, progress):
        made = dem.prepare_srtm(inputs, out, target, executor, progress)
    finish(out, dem.ASSET, dem.FLIGHT, made, listing)


@prepare.command(
    "pauli",
    epilog="""\b
Examples:
  catalog-builder prepare pauli lngley_05521_09059_000_090813_L090_CX_01.ann pass1.tif
  catalog-builder prepare pauli lngley_23521_09059_003_090813_L090_CX_01.ann pass2.tif \\
    --pass 2 --like pass1.tif --sources sources.toml --area langley
""",
)
@click.argument("annotation", type=_PATH, metavar="ANN")
@click.argument("out", type=_PATH)
@grid_options
@click.option("--folder", type=_PATH, metavar="DIR", help="Where the .grd files are. Default: beside ANN.")
@click.option(
    "--pass",
    "number",
    type=click.IntRange(1, 3),
    default=1,
    show_default=True,
    help="Which pass over the area it is: modality uavsar_1, uavsar_2 or uavsar_3.",
)
@common_options
def prepare_pauli(
    annotation: Path,
    out: Path,
    folder: Path | None,
    number: int,
    **options: Any,
) -> None:
    """UAVSAR GRD cross products -> Pauli amplitudes (modality uavsar_1, _2 or _3).

    ANN is the annotation (.ann) of a PolSAR flight; the .grd files of HHHH, HVHV, VVVV and HHVV, which it names, are
    read. Averaged in power; NaN off the swath. Where no grid is named it is one of 5 m over the whole image, in the UTM
    zone of its centre; give --like with the first pass to put another on the same grid.
    """
    from catalog_builder.prepare import uavsar
    from catalog_builder.prepare.mosaic_step import check_output

    listing = take_listing(options)
    scene = uavsar.open_scene(annotation, folder)
    check_output(out, (annotation, *scene.files))
    target = take_grid(options) or uavsar.default_target(scene)
    with workers(**options) as (executor, progress):
        made = uavsar.prepare_pauli(scene, out, target, executor, progress)
    interval = (scene.annotation.start, scene.annotation.end)
    finish(out, f"uavsar_{number}", interval, made, listing)


@prepare.command(
    "naip",
    epilog="""\b
Examples:
  catalog-builder prepare naip quads/m_*.tif naip.tif --like uavsar_1.tif
  catalog-builder prepare naip m_4709963_se_14_1_20090818.tif naip.tif \\
    --crs EPSG:26914 --resolution 5 --bounds 485900 5205627 490570 5209247 \\
    --sources sources.toml --area stutsman --collection usa --title "Stutsman County"
""",
)
@click.argument("inputs", nargs=-1, required=True, type=_PATH, metavar="INPUT...")
@click.argument("out", type=_PATH)
@click.option("--datetime", "taken", metavar="DAY", help="Day of the files whose name tells none.")
@grid_options
@common_options
def prepare_naip(
    inputs: tuple[Path, ...],
    out: Path,
    taken: str | None,
    **options: Any,
) -> None:
    """NAIP quarter-quads -> aerial RGB by area average (modality naip).

    INPUT is a GeoTIFF of red, green, blue and perhaps near infrared, 8 bit. Files are painted in the order of the days
    in their names (m_4709963_se_14_1_20090818.tif), a later one over those before it. Where all bands are 0, or a mask
    inside the file says so, there is no photograph.
    """
    from catalog_builder.prepare import aerial
    from catalog_builder.prepare.mosaic_step import instant

    listing, target = take_listing(options), need_grid(options)
    when = instant(taken, "--datetime") if taken is not None else None
    with workers(**options) as (executor, progress):
        made = aerial.prepare_naip(inputs, out, target, executor, progress, taken=when)
    finish(out, aerial.ASSET, (made.dates[0], made.dates[-1]), made, listing)


# --- OpenStreetMap ----------------------------------------------------------------------------------------------------


@prepare.command(
    "osm",
    epilog="""\b
Examples:
  catalog-builder prepare osm midi-pyrenees.osm.pbf osm.tif --like s2.tif
  catalog-builder prepare osm andorra.osm.pbf osm.tif --like srtm.tif --outline andorra.poly \\
    --bits osm_bits.tif --sources sources.toml --area andorra
  catalog-builder prepare osm portland.osm osm.tif --extent -122.71 45.48 -122.57 45.56 \\
    --datetime 2015-06-11 --crs EPSG:32610 --resolution 5 --bounds 522700 5037200 528900 5043800
""",
)
@click.argument("extract", type=_PATH, metavar="EXTRACT")
@click.argument("out", type=_PATH)
@click.option("--classes", "classes_file", type=_PATH, metavar="FILE", help="Own classes. Default: osm-classes.toml.")
@click.option("--outline", type=_PATH, metavar="FILE", help="Where EXTRACT ends: a .poly or GeoJSON file.")
@click.option(
    "--extent",
    nargs=4,
    type=float,
    metavar="WEST SOUTH EAST NORTH",
    help="Where EXTRACT ends, in degrees. Default: the box in its header.",
)
@click.option("--bits", type=_PATH, metavar="OUT2", help="Write a bit for each class, for objects that overlap.")
@click.option("--datetime", "snapshot", metavar="TIME", help="When the map was so. Default: what EXTRACT tells.")
@grid_options
@common_options
def prepare_osm(
    extract: Path,
    out: Path,
    classes_file: Path | None,
    outline: Path | None,
    extent: tuple[float, ...] | None,
    bits: Path | None,
    snapshot: str | None,
    **options: Any,
) -> None:
    """OpenStreetMap -> a raster of classes (modality osm).

    EXTRACT is an .osm.pbf or .osm file, such as those of Geofabrik, of any size: memory is bound to what lies on the
    grid. Which objects are drawn, how wide, in which order and as which class stands in osm-classes.toml. 0 is where
    nothing of that is mapped, 255 where the extract has ended.
    """
    from catalog_builder.prepare import osm
    from catalog_builder.prepare.extract import open_extract
    from catalog_builder.prepare.mosaic_step import instant
    from catalog_builder.prepare.osm_classes import default_file, read_classes
    from catalog_builder.prepare.outline import choose_outline

    listing, target = take_listing(options), need_grid(options)
    if bits is not None and bits.resolve() == out.resolve():
        raise UsageError(f"--bits {bits}: is the output")
    opened = open_extract(extract)
    drawing = osm.Drawing(
        extract=opened,
        outline=choose_outline(outline, extent, opened.box, extract),
        classes=read_classes(classes_file or default_file()),
        target=target,
        snapshot=instant(snapshot, "--datetime") if snapshot is not None else None,
    )
    with workers(**options) as (executor, progress):
        made = osm.prepare_osm(drawing, out, bits, executor, progress, progress.note)
    finish(out, osm.ASSET, (made.dates[0], made.dates[0]), made, listing)


@prepare.command(
    "osm-classes",
    epilog="""\b
Examples:
  catalog-builder prepare osm-classes
  catalog-builder prepare osm-classes my-classes.toml > classes.json
""",
)
@click.argument("file", type=_PATH, required=False)
def print_osm_classes(file: Path | None) -> None:
    """Print the classes of a file as `classification:classes`, for the band of a template.

    FILE is osm-classes.toml as it comes with this program, or one's own.
    """
    from catalog_builder import jsonio
    from catalog_builder.prepare.osm_classes import default_file, read_classes

    click.echo(jsonio.dumps(read_classes(file or default_file()).document()).decode().strip())


# --- Sentinel-1 -------------------------------------------------------------------------------------------------------


def above_zero(_context: click.Context, option: click.Parameter, value: float | None) -> float | None:
    """Refuse what is no finite number above 0; click lets NaN through its ranges."""
    if value is not None and not 0 < value < math.inf:
        raise click.BadParameter(f"{value:g} is no number above 0", param=option)
    return value


def series_options(command: Command) -> Command:
    """Add the options that say how a time series is to be read; ``open_series`` reads them."""
    for option in reversed(
        (
            click.option("--vh", multiple=True, type=_PATH, metavar="INPUT", help="Files of VH, where INPUT hold VV."),
            click.option("--vv-band", type=click.IntRange(min=1), help="Band of VV in files of one date."),
            click.option("--vh-band", type=click.IntRange(min=1), help="Band of VH in files of one date."),
            click.option("--units", type=click.Choice(["db", "linear"]), help="Units, where no tag says them."),
            click.option(
                "--scale",
                type=float,
                callback=above_zero,
                help="Multiply stored values, as 0.01 for dB x 100 in integers.",
            ),
            click.option("--nodata", type=float, metavar="VALUE", help="Nodata of files that declare none."),
            click.option("--dates", type=_PATH, metavar="TABLE", help="CSV with file,date and perhaps orbit,band."),
            click.option("--period", nargs=2, metavar="START END", help="First and last day that count."),
            click.option("--orbit", type=click.IntRange(1, 175), help="Relative orbit that counts."),
            click.option("--any-orbit", is_flag=True, help="Let relative orbits mix."),
        )
    ):
        command = option(command)
    return command


def open_series(
    inputs: tuple[Path, ...], out: Path, nearest: str | None, options: dict[str, Any], counts: Path | None = None
) -> Any:
    """Read the headers of a series. Takes its options out of ``options``; gives the series and what was chosen."""
    from catalog_builder.prepare.mosaic_step import check_output
    from catalog_builder.prepare.series import Choice, Reading, parse_date, read_series, read_table

    names = ("vh", "vv_band", "vh_band", "units", "scale", "nodata", "dates", "period", "orbit", "any_orbit")
    vh, vv_band, vh_band, units, scale, nodata, table, period, orbit, any_orbit = (options.pop(key) for key in names)
    if (vv_band is None) != (vh_band is None) or (vh and vv_band is not None):
        raise UsageError("--vv-band and --vh-band go together, and without --vh")
    if orbit is not None and any_orbit:
        raise UsageError("--orbit and --any-orbit exclude each other")
    files, others = _expand(inputs), _expand(vh)
    given = [*files, *others, *([table] if table is not None else [])]
    check_output(out, given)
    if counts is not None:
        check_output(counts, [*given, out])
    start, end = (parse_date(day, "--period").date() for day in period) if period else (None, None)
    days = (start, end) if start and end else None
    if days is not None and days[0] > days[1]:
        raise UsageError(f"--period {days[0]} {days[1]}: ends before it begins")
    day = None if nearest is None else parse_date(nearest, "--nearest").date()
    reading = Reading(
        decibels=None if units is None else units == "db",
        scale=scale,
        nodata=nodata,
        bands=None if vv_band is None else (vv_band, vh_band),
        table=None if table is None else read_table(table),
    )
    series = read_series(files, others, reading, Choice(period=days, orbit=orbit, any_orbit=any_orbit, nearest=day))
    chosen = {
        "scale": scale,
        "period": None if days is None else [str(each) for each in days],
        "any_orbit": any_orbit or None,
        "nearest": None if day is None else str(day),
    }
    return series, {key: value for key, value in chosen.items() if value is not None}


def _expand(paths: tuple[Path, ...]) -> list[Path]:
    """Turn globs that the shell left alone into files. Raises ``UsageError`` for one that matches none."""
    found: list[Path] = []
    for path in paths:
        if path.exists() or not any(letter in str(path) for letter in "*?["):
            found.append(path)
            continue
        base = Path(path.anchor or ".")
        try:
            matches = sorted(base.glob(path.relative_to(path.anchor).as_posix() if path.anchor else path.as_posix()))
        except ValueError as error:
            raise UsageError(f"{path}: no pattern of files: {error}") from error
        if not matches:
            raise UsageError(f"{path}: no file matches")
        found += matches
    return found


@contextmanager
def series_work(series: Any, chosen: dict[str, Any], options: dict[str, Any]) -> Iterator[Any]:
    """Open the workers for a raster on the grid that options name, by default that of the series."""
    from catalog_builder.executor import default_jobs
    from catalog_builder.prepare.s1 import Work

    target = take_grid(options) or series.grid
    jobs, quiet = options.pop("jobs"), options.pop("quiet")
    on_target = series.on(target)
    with workers(jobs, quiet) as (executor, progress):
        yield Work(
            series=on_target,
            target=target,
            parameters=chosen,
            executor=executor,
            progress=progress,
            window=max(8, 2 * (jobs or default_jobs())),
        )


@prepare.command(
    "s1-mean",
    epilog="""\b
Examples:
  catalog-builder prepare s1-mean 'S1A_IW_GRDH_*.tif' mean.tif --units db --orbit 59
  catalog-builder prepare s1-mean vv_stack.tif mean.tif --vh vh_stack.tif \\
    --units db --scale 0.01 --period 2018-01-01 2018-12-31
  catalog-builder prepare s1-mean 'S1A_*.tif' s1.tif --units linear \\
    --vv-band 1 --vh-band 2 --nearest 2018-07-03 --like s2.tif \\
    --sources sources.toml --area toulouse
""",
)
@click.argument("inputs", nargs=-1, required=True, type=_PATH, metavar="INPUT...")
@click.argument("out", type=_PATH)
@series_options
@click.option("--nearest", metavar="DATE", help="No mean: the one image nearest to this date (modality s1).")
@click.option("--counts", type=_PATH, metavar="OUT2", help="Write the number of valid dates, VV and VH, to this file.")
@grid_options
@common_options
def prepare_s1_mean(
    inputs: tuple[Path, ...], out: Path, nearest: str | None, counts: Path | None, **options: Any
) -> None:
    """Sentinel-1 time series -> its mean in dB (modality s1_mean), or one date of it (s1).

    INPUT are GeoTIFFs on one grid: a file for each date with bands VV and VH; one for each date and polarisation, with
    VV or VH in its name; or a stack of all dates for each polarisation, with dates as names of its bands. A date is
    taken from --dates, the band, the file's name or its tags. Averaged in linear power over the dates that are valid at
    a pixel; the output is float32, NaN where none is. All dates are of one relative orbit unless --any-orbit is given.
    The grid is that of the images, or a part of it.
    """
    from catalog_builder.prepare.s1 import write_mean

    listing = take_listing(options)
    series, chosen = open_series(inputs, out, nearest, options, counts)
    with series_work(series, chosen, options) as work:
        made = write_mean(work, out, counts)
    finish(out, "s1_mean" if nearest is None else "s1", (made.dates[0], made.dates[-1]), made, listing)


@prepare.command(
    "s1-activity",
    epilog="""\b
Examples:
  catalog-builder prepare s1-activity 'S1A_IW_GRDH_*.tif' activity.tif --units db \\
    --period 2018-01-01 2018-12-31 --sources sources.toml --area toulouse
""",
)
@click.argument("inputs", nargs=-1, required=True, type=_PATH, metavar="INPUT...")
@click.argument("out", type=_PATH)
@series_options
@click.option("--looks", type=float, callback=above_zero, help="Looks of a single date. Default: as measured.")
@grid_options
@common_options
def prepare_s1_activity(inputs: tuple[Path, ...], out: Path, looks: float | None, **options: Any) -> None:
    """Sentinel-1 time series -> where and when it changed (modality s1_activity).

    REACTIV: the temporal coefficient of variation of the amplitude in VV and in VH, and the day of the maximum as days
    since 1970-01-01. Ground that does not change lies about the stationary value, which speckle alone has; it stands in
    the tags and in the item. INPUT and options are those of s1-mean.
    """
    from catalog_builder.prepare.s1 import write_activity

    listing = take_listing(options)
    series, chosen = open_series(inputs, out, None, options)
    with series_work(series, chosen, options) as work:
        made = write_activity(work, out, looks)
    finish(out, "s1_activity", (made.dates[0], made.dates[-1]), made, listing)


@prepare.command(
    "s2",
    epilog="""\b
Examples:
  catalog-builder prepare s2 S2A_MSIL2A_20230601T103031_N0509_R108_T31TGJ_20230601T170000.SAFE s2.tif \\
    --like srtm.tif --mask-clouds
  catalog-builder prepare s2 S2_20200601.tif s2.tif --offset 0 --crs EPSG:32631 --resolution 10 \\
    --bounds 660000 4875000 720000 4930000 --sources sources.toml --area ventoux
""",
)
@click.argument("inputs", nargs=-1, required=True, type=_PATH, metavar="INPUT...")
@click.argument("out", type=_PATH)
@click.option(
    "--offset",
    type=click.IntRange(-65535, 65535),
    metavar="N",
    help="Added to all pixels, such as -1000. Default: by the baseline.",
)
@click.option(
    "--quantification",
    type=click.IntRange(min=1),
    default=10_000,
    show_default=True,
    help="What reflectance was multiplied by in the files.",
)
@click.option("--mask-clouds", is_flag=True, help="Leave out cloud and cloud shadow, by the scene classification.")
@click.option("--datetime", "taken", metavar="TIME", help="Time of the products whose names tell none.")
@grid_options
@common_options
def prepare_s2(
    inputs: tuple[Path, ...],
    out: Path,
    offset: int | None,
    quantification: int,
    mask_clouds: bool,
    taken: str | None,
    **options: Any,
) -> None:
    """Sentinel-2 level 2A -> the four bands of 10 m, reflectance x 10000 (modality s2).

    INPUT is a SAFE folder, another folder with one file a band (..._B02.tif), or a GeoTIFF with named bands, as Earth
    Engine exports it (B2, B3, B4, B8). Products are painted in the order of their times. The offset of processing
    baselines 04.00 and later is taken off; where no name tells the baseline, say it by --offset. With a band SCL, the
    shares of cloud and shadow in the grid are told.
    """
    from catalog_builder.prepare import optical
    from catalog_builder.prepare.mosaic_step import instant

    listing, target = take_listing(options), need_grid(options)
    when = instant(taken, "--datetime") if taken is not None else None
    settings = optical.Settings(offset=offset, taken=when, quantification=quantification, mask_clouds=mask_clouds)
    with workers(**options) as (executor, progress):
        made = optical.prepare_s2(inputs, out, target, executor, progress, settings)
    finish(out, optical.ASSET, (made.dates[0], made.dates[-1]), made, listing)


# --- scenes of a STAC API ---------------------------------------------------------------------------------------------


def take_question(options: dict[str, Any]) -> "Question":
    """Take what is asked of an API out of a command's options. Raises ``UsageError``."""
    from catalog_builder.prepare.mosaic_step import instant
    from catalog_builder.prepare.select import Question

    start, end = (instant(day, "--period").date() for day in options.pop("period"))
    if start > end:
        raise UsageError(f"--period {start} {end}: ends before it begins")
    for name, most in (("max_cloud", 100), ("timeout", _LONGEST_TIMEOUT)):
        if not options[name] <= most:  # click lets what is no number through
            raise UsageError(f"--{name.replace('_', '-')} {options[name]:g}: a number up to {most:g}")
    nearest = options.pop("nearest")
    return Question(
        target=need_grid(options),
        period=(start, end),
        nearest=None if nearest is None else instant(nearest, "--nearest").date(),
        max_cloud=options.pop("max_cloud"),
        timeout=options.pop("timeout"),
    )


@prepare.command(
    "select",
    epilog="""\b
Examples:
  catalog-builder prepare select toulouse --api planetary-computer --period 2023-06-01 2023-08-31 \\
    --crs EPSG:32631 --resolution 10 --bounds 360000 4820000 390000 4850000 --dry-run
  catalog-builder prepare select toulouse --api earth-search --what s2 --period 2023-06-01 2023-08-31 \\
    --max-cloud 5 --like srtm.tif --sources sources.toml --area toulouse
""",
)
@click.argument("folder", type=_PATH, metavar="OUTDIR")
@click.option("--api", required=True, metavar="NAME", help="A STAC API by its name in the file of --apis.")
@click.option("--apis", type=_PATH, metavar="FILE", help="What APIs call their bands. Default: stac/apis.toml.")
@click.option("--period", nargs=2, required=True, metavar="START END", help="First and last day.")
@click.option(
    "--what",
    multiple=True,
    type=click.Choice(["s2", "s1"]),
    help="Modality that is wanted, may be repeated. Default: all that the API has.",
)
@click.option(
    "--max-cloud",
    type=click.FloatRange(0, 100),
    default=20,
    show_default=True,
    help="Percent of cloud that a scene of Sentinel-2 may have.",
)
@click.option("--nearest", metavar="DAY", help="The day to be near to. Default: the middle of the period.")
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    default=30,
    show_default=True,
    help="Seconds that the API has for an answer.",
)
@click.option("--dry-run", is_flag=True, help="Only show the scenes, which of them would be taken, and why.")
@grid_options
@common_options
def prepare_select(
    folder: Path,
    api: str,
    apis: Path | None,
    what: tuple[str, ...],
    dry_run: bool,
    **options: Any,
) -> None:
    """Scenes of a STAC API -> the rasters of a grid (modalities s2 and s1).

    Asks for the scenes of a period over the grid and takes the Sentinel-2 scenes that cover it on the fewest days with
    the least cloud, and the Sentinel-1 pass that covers most of it, nearest in time to these. Of their remote COGs
    only the blocks are read that the grid needs. Writes s2.tif and s1.tif into OUTDIR, all or none.
    """
    from catalog_builder.prepare import select
    from catalog_builder.prepare.apis import read_api

    listing, question = take_listing(options), take_question(options)
    known = read_api(api, apis)
    modalities = tuple(dict.fromkeys(what)) or tuple(known.collections)
    paths = select.outputs(folder, modalities)
    answers = select.ask(known, modalities, question)
    for line in (line for answer in answers for line in answer.lines()):
        click.echo(line)
    if dry_run:
        return
    with workers(**options) as (executor, progress):
        rasters = select.make(known, answers, paths, question, executor, progress)
    for raster in rasters:
        finish(raster.path, raster.asset, raster.interval, raster.provenance, listing)
