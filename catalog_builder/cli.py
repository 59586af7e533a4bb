"""The command line: arguments in, exit code out. The only module that prints or reads the environment.

Exit codes: 0 fine, 1 findings or failed work, 2 the command was used wrongly.
"""

import contextlib
import os
import shlex
import shutil
import signal
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from catalog_builder import __version__, jsonio
from catalog_builder.cli_prepare import prepare
from catalog_builder.errors import CatalogBuilderError, UsageError
from catalog_builder.fingerprint import Fingerprints
from catalog_builder.progress import ObjectProgress, TileProgress, duration, size

if TYPE_CHECKING:  # not every command needs templates, and NumPy with them
    from catalog_builder.search.query import FoundItems
    from catalog_builder.template import TemplateSet

Command = TypeVar("Command", bound=Callable[..., Any])

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class _Group(click.Group):
    """Turns our errors into one line on standard error and an exit code; no traceback for a user's mistake."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except CatalogBuilderError as error:
            click.echo(f"catalog-builder: {error}", err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("catalog-builder: interrupted; run the same command to go on", err=True)
            ctx.exit(130)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(141)
        except OSError as error:
            click.echo(f"catalog-builder: {error}", err=True)
            ctx.exit(1)


@click.group(cls=_Group, context_settings=_CONTEXT)
@click.version_option(__version__, prog_name="catalog-builder")
def main() -> None:
    """Processed rasters in, a static STAC release out.

    \b
    catalog-builder demo                         see it work on synthetic rasters
    catalog-builder plan sources.toml            what would be built
    catalog-builder build sources.toml release   build it, or go on where a build stopped
    catalog-builder check release                hold the release against itself and against STAC
    catalog-builder serve release                read it over HTTP, as from a bucket
    catalog-builder publish release s3://…       make it a bucket that thousands can mirror
    catalog-builder verify s3://…                hold a published release against its manifests
    catalog-builder search release               find items, and download them
    catalog-builder figures release pictures     draw maps, and tiles in all their modalities
    catalog-builder prepare srtm in.hgt out.tif  raw products to the rasters that a build takes
    """  # noqa: D301 - click wants the control character


main.add_command(prepare)


def _templates_option(command: Command) -> Command:
    return click.option(
        "--templates",
        type=click.Path(file_okay=False, path_type=Path),
        help="Folder of STAC templates (catalog.json, */collection.json). Default: those of DREAM.",
    )(command)


def _jobs_option(command: Command) -> Command:
    return click.option("--jobs", type=click.IntRange(min=1), help="Worker processes. Default: one a core.")(command)


def _explorer_option(command: Command) -> Command:
    return click.option(
        "--explorer/--no-explorer",
        default=True,
        help="Put the explorer, a page for browsers, into explore/ of the release, or leave it out. Default: put.",
    )(command)


def _json_option(command: Command) -> Command:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")(command)


def _quiet_option(command: Command) -> Command:
    return click.option("--quiet", "-q", is_flag=True, help="No progress on standard error.")(command)


@main.command(
    epilog="""\b
Examples:
  catalog-builder plan sources.toml
  catalog-builder plan sources.toml --quick
  catalog-builder plan folder-of-toml-files --templates my-stac --json
"""
)
@click.argument("sources", type=click.Path(path_type=Path))
@_templates_option
@_jobs_option
@click.option("--quick", is_flag=True, help="Read headers only: tiles by extent, without their share of valid pixels.")
@_json_option
@_quiet_option
def plan(sources: Path, templates: Path | None, jobs: int | None, quick: bool, as_json: bool, quiet: bool) -> None:
    """Tell what SOURCES (a sources.toml, or a folder of them) would become.

    Areas, tiles, modalities, coverage and bytes of pixels. Pixels are read to tell which tiles have too few valid
    ones; nothing is written.
    """
    from catalog_builder import survey
    from catalog_builder.executor import default_jobs, open_executor

    the_plan = _make_plan(sources, _load_templates(templates), quiet=quiet)
    if quick:
        reports = [survey.outline(area) for area in the_plan.areas]
    else:
        progress = TileProgress(sys.stderr, quiet=quiet)
        with open_executor(jobs or default_jobs()) as executor:
            reports = survey.survey(the_plan, executor, progress, window=4 * (jobs or default_jobs()))
    if as_json:
        _print_json([report.document() for report in reports])
    else:
        for line in survey.lines(reports):
            click.echo(line)


@main.command(
    epilog="""\b
Examples:
  catalog-builder build sources.toml release
  catalog-builder build sources.toml release --jobs 8
  catalog-builder build sources.toml release --scheduler tcp://10.0.0.5:8786
  catalog-builder build sources.toml release --templates my-stac --keep-going
"""
)
@click.argument("sources", type=click.Path(path_type=Path))
@click.argument("release", type=click.Path(path_type=Path))
@_templates_option
@_jobs_option
@click.option("--scheduler", metavar="ADDRESS", help="Build on the Dask cluster of this scheduler (extra: dask).")
@click.option("--keep-going", is_flag=True, help="Build all that can be built, list the rest, exit 1.")
@_explorer_option
@_json_option
@_quiet_option
def build(
    sources: Path,
    release: Path,
    templates: Path | None,
    jobs: int | None,
    scheduler: str | None,
    keep_going: bool,
    explorer: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Build SOURCES (a sources.toml, or a folder of them) into the folder RELEASE.

    A build that was stopped goes on where it was; what did not change is not touched. If anything fails, the release
    stays as it was.
    """
    if jobs is not None and scheduler is not None:
        raise UsageError("--jobs and --scheduler exclude each other")
    choices = {"keep_going": keep_going, "explorer": explorer, "quiet": quiet}
    report = _build(sources, release, _load_templates(templates), jobs, scheduler, **choices)
    if as_json:
        _print_json(_report_document(report))
    else:
        _print_report(report, release)
    if report.failures:
        sys.exit(1)


@main.command(
    epilog="""\b
Examples:
  catalog-builder demo
  catalog-builder demo somewhere/demo-release
  catalog-builder demo --from-raw
"""
)
@click.argument("directory", type=click.Path(path_type=Path), required=False)
@click.option("--from-raw", is_flag=True, help="Begin with raw products, and show each command on the way.")
@_jobs_option
@_explorer_option
@_quiet_option
def demo(directory: Path | None, from_raw: bool, jobs: int | None, explorer: bool, quiet: bool) -> None:
    """Make a small release of France and the USA from SYNTHETIC rasters in DIRECTORY (default: demo-release).

    The rasters come from one seeded landscape an area; nothing in them was measured. They are kept beside the release,
    in DIRECTORY_sources. With --from-raw (default: demo-release-raw) raw products are written to DIRECTORY_products,
    and the rasters are made of them by the `prepare` commands that real products need, each shown before it runs.
    """
    release = directory or Path("demo-release-raw" if from_raw else "demo-release")
    if not release.name:
        raise UsageError(f"{release}: name a new folder, since others are made beside it")
    rasters = release.with_name(f"{release.name}_sources")
    progress = TileProgress(sys.stderr, quiet=quiet)
    if from_raw:
        sources = _prepare_demo(release, rasters, jobs, quiet=quiet)
    else:
        from catalog_builder.synthetic import write_synthetic_sources

        sources = write_synthetic_sources(rasters, progress.note)
    choices = {"keep_going": False, "explorer": explorer, "quiet": quiet}
    report = _build(sources, release, _load_templates(None), jobs, None, **choices)
    _print_report(report, release)
    click.echo("\nAll of it is synthetic. What to do next:")
    for command, why in (
        (f"check {release}", "hold it against STAC and against its own files"),
        (f"serve {release}", "read it over HTTP, as from a bucket"),
        (f"figures {release} pictures", "draw maps, and tiles in all their modalities"),
        (f"plan {sources}", "see what a plan looks like; edit the file and build again"),
    ):
        click.echo(f"  {_program()} {command}\n      {why}")


def _prepare_demo(release: Path, rasters: Path, jobs: int | None, *, quiet: bool) -> Path:
    """Write raw products, and run the commands that make rasters of them; gives the sources.toml that these wrote."""
    from catalog_builder.synthetic import raw

    products, listing = release.with_name(f"{release.name}_products"), rasters / raw.SOURCES
    contents = raw.write_raw_products(products, TileProgress(sys.stderr, quiet=quiet).note)
    choices = (*(("--jobs", str(jobs)) if jobs else ()), *(("--quiet",) if quiet else ()))
    for step in raw.prepare_steps(products, rasters):
        _show(step.arguments)
        if step.is_done(contents, listing):
            click.echo(f"{step.out}: there already, nothing to do")
            continue
        with main.make_context(_program(), [*step.arguments, *choices]) as context:
            main.invoke(context)
    raw.mark_synthetic(listing)
    click.echo(f'\n# By hand, in {listing}: "dream:synthetic" = true for every source, which no product tells')
    _show(("build", str(listing), str(release)))
    return listing


def _show(arguments: Sequence[str]) -> None:
    """Print a command of this program as a shell takes it, its options on a line of their own."""
    command, _, options = shlex.join([_program(), *arguments]).partition(" --")
    click.echo(f"\n$ {command}" + (f" \\\n    --{options}" if options else ""))


@main.command(
    epilog="""\b
Examples:
  catalog-builder check release
  catalog-builder check release --schemas folder-of-schemas --json
  catalog-builder check release --clients
"""
)
@click.argument("release", type=click.Path(path_type=Path))
@click.option(
    "--schemas",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="STAC_SCHEMAS_DIR",
    help="Mirror of the STAC schemas by host and path [env: STAC_SCHEMAS_DIR]. Default: the network, kept in a cache.",
)
@click.option("--clients", is_flag=True, help="Read sampled tiles with GDAL, rasterio, odc-stac and stackstac, too.")
@click.option("--sample", type=click.IntRange(min=1), help="With --clients: tiles of each collection. Default: 3.")
@_jobs_option
@_json_option
@_quiet_option
def check(
    release: Path, schemas: Path | None, clients: bool, sample: int | None, jobs: int | None, as_json: bool, quiet: bool
) -> None:
    """Hold RELEASE against STAC, against its templates' promises and against its own bytes.

    With --clients, every band of sampled tiles is read by the clients that people use, and has to be the same pixels at
    the same place (extra: load). Prints a finding a line (href, rule, message) and exits 1 when there are any.
    """
    from catalog_builder.check.release import check_release
    from catalog_builder.executor import default_jobs, open_executor
    from catalog_builder.schemas import SchemaStore

    if sample is not None and not clients:
        raise UsageError("--sample goes with --clients")
    store = SchemaStore(mirror=schemas, cache=_cache_folder() / "schemas")
    progress = TileProgress(sys.stderr, quiet=quiet)
    workers = jobs or default_jobs()
    with open_executor(workers) as executor:
        findings = check_release(release, store, executor, progress, window=2 * workers)
    if clients:
        from catalog_builder.check.clients import check_clients

        tiles = sample or 3
        progress.note(f"reading {tiles} tiles of each collection with GDAL, rasterio, odc-stac and stackstac")
        findings = [*findings, *check_clients(release, sample=tiles)]
    if as_json:
        _print_json([finding.document() for finding in findings])
    else:
        for finding in findings:
            click.echo(str(finding))
        click.echo(f"{release}: {len(findings)} findings" if findings else f"{release}: no findings", err=True)
    if findings:
        sys.exit(1)


def _endpoint_option(command: Command) -> Command:
    return click.option(
        "--endpoint-url",
        metavar="URL",
        envvar="AWS_ENDPOINT_URL_S3",
        help="Server of an S3-compatible bucket [env: AWS_ENDPOINT_URL_S3]. Default: AWS.",
    )(command)


def _no_sign_option(command: Command) -> Command:
    return click.option("--no-sign-request", is_flag=True, help="Read a public bucket without credentials.")(command)


@main.command(
    epilog="""\b
Examples:
  catalog-builder publish release s3://dream/v1.0.0 --dry-run
  catalog-builder publish release s3://dream/v1.0.0
  catalog-builder publish release s3://dream/v1.1.0 --previous s3://dream/v1.0.0
  catalog-builder publish release s3://dream/v1.0.0 --endpoint-url http://127.0.0.1:8333 --delete
"""
)
@click.argument("release", type=click.Path(path_type=Path))
@click.argument("url", metavar="s3://BUCKET/PREFIX")
@_endpoint_option
@click.option("--dry-run", is_flag=True, help="Print objects, bytes and order; send nothing.")
@click.option("--delete", is_flag=True, help="At last, delete what is under the prefix and not in the release.")
@click.option("--previous", metavar="s3://…", help="The version before: what did not change is copied by the server.")
@click.option("--replace", is_flag=True, help="Overwrite another version that lies under the prefix.")
@click.option("--repair", is_flag=True, help="Ask the server for every object; send what is missing or damaged.")
@click.option("--take-over", is_flag=True, help="Go on where another publisher was killed.")
@click.option(
    "--jobs", type=click.IntRange(min=1), help="Worker processes, with four requests each. Default: one a core."
)
@_json_option
@_quiet_option
def publish(
    release: Path,
    url: str,
    endpoint_url: str | None,
    dry_run: bool,
    delete: bool,
    previous: str | None,
    replace: bool,
    repair: bool,
    take_over: bool,
    jobs: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Publish RELEASE under a prefix of a bucket: what differs is sent, in an order in which no link ever dangles.

    Every object goes with its SHA-256, so that the server refuses what was damaged on the way. A publisher that was
    stopped goes on with the same command. Credentials are those of boto3 (AWS_PROFILE, AWS_ACCESS_KEY_ID, …).
    """
    from catalog_builder import location
    from catalog_builder import publish as publishing
    from catalog_builder.executor import default_jobs, open_forked_executor

    # Stopped by a batch system, it leaves word as it does after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    target = location.parse_s3(url, endpoint_url)
    if delete and not target.prefix:
        raise UsageError(f"{target}: --delete needs a prefix, or it would empty the bucket of all else")
    options = publishing.PublishOptions(
        previous=None if previous is None else location.parse_s3(previous, endpoint_url),
        delete=delete,
        replace=replace,
        repair=repair,
        take_over=take_over,
    )
    if dry_run:
        _print_publish_plan(publishing.plan_publish(release, target, options), as_json=as_json)
        return
    workers = jobs or default_jobs()
    with open_forked_executor(workers, preload="catalog_builder.transfer") as executor:
        progress = ObjectProgress(sys.stderr, quiet=quiet)
        report = publishing.publish(release, target, options, executor, progress, workers=workers)
    if as_json:
        _print_json(report.document())
    else:
        click.echo(report.line())


@main.command(
    epilog="""\b
Examples:
  catalog-builder verify s3://dream/v1.0.0 --no-sign-request
  catalog-builder verify https://example.com/dream/v1.0.0 --sample 100
  catalog-builder verify mirror --deep
"""
)
@click.argument("url", metavar="URL|DIR")
@_endpoint_option
@click.option("--deep", is_flag=True, help="Read and hash every byte; goes on where it was stopped.")
@click.option("--sample", type=click.IntRange(min=1), metavar="N", help="Hash N objects, chosen by chance.")
@_no_sign_option
@_jobs_option
@_json_option
@_quiet_option
def verify(
    url: str,
    endpoint_url: str | None,
    deep: bool,
    sample: int | None,
    no_sign_request: bool,
    jobs: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Hold a published release (s3://…, http(s)://… or a folder) against its own manifests, both ways.

    Documents are read and hashed; of all other objects the server's size and SHA-256 are asked. Prints what is
    missing, extra or damaged, an object a line, and exits 1 when there is any.
    """
    from catalog_builder import verify as verifying
    from catalog_builder.executor import default_jobs, open_executor
    from catalog_builder.readers import locate

    place = locate(url, endpoint_url, anonymous=no_sign_request or None)
    workers = jobs or default_jobs()
    state = _cache_folder() / "verify" if deep and sample is None else None
    with open_executor(workers, preload="catalog_builder.verify") as executor:
        progress = ObjectProgress(sys.stderr, quiet=quiet)
        report = verifying.verify(place, executor, progress, deep=deep, sample=sample, state=state, workers=workers)
    if as_json:
        _print_json(report.document())
    else:
        for finding in report.findings:
            click.echo(str(finding))
        click.echo(report.line(), err=True)
    if report.findings:
        sys.exit(1)


@main.command(
    epilog="""\b
Examples:
  aws s3api put-bucket-policy --bucket dream --policy "$(catalog-builder policy s3://dream)"
  aws s3api put-bucket-cors --bucket dream --cors-configuration "$(catalog-builder policy s3://dream --cors)"
"""
)
@click.argument("url", metavar="s3://BUCKET/PREFIX")
@click.option("--cors", is_flag=True, help="What browsers of other sites may do, instead of who may read.")
def policy(url: str, cors: bool) -> None:
    """Print the JSON that makes a bucket public to read and to list, or open to browsers; nothing is sent.

    Nobody may write but those who may already.
    """
    from catalog_builder import policy as policies
    from catalog_builder.location import parse_s3

    _print_json(policies.cors() if cors else policies.public_read(parse_s3(url)))


@main.command(
    epilog="""\b
Examples:
  catalog-builder serve release
  catalog-builder serve release --port 8080
  catalog-builder serve release --browser build/browser
"""
)
@click.argument("release", type=click.Path(path_type=Path))
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: any that is free.")
@click.option(
    "--browser",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="A STAC Browser that tools/browser made, served at /browser/ beside the release.",
)
def serve(release: Path, port: int, browser: Path | None) -> None:
    """Serve RELEASE over HTTP on this machine only, with CORS and byte ranges, as a bucket would.

    Prints the links to open; ends with Ctrl-C.
    """
    from catalog_builder.serve import links, make_server

    with make_server(release, port, browser=browser) as server:
        for url in links(server):
            click.echo(url)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()


@main.command(
    epilog="""\b
Examples:
  catalog-builder search release --collection france --bbox 0 42 2 43.2 --datetime 2019
  catalog-builder search https://example.com/dream/v1.0.0 --filter '"dream:valid_percent" >= 99' --limit 20
  catalog-builder search s3://dream/v1.0.0 --no-sign-request --query gsd=5 --sortby=-datetime --geojson
  catalog-builder search s3://dream/v1.0.0 --intersects area.geojson --hrefs s2 > list.txt
  catalog-builder search s3://dream/v1.0.0 --bbox 0 42 2 43.2 --download tiles --asset s2 --asset osm
"""
)
@click.argument("url", metavar="URL|DIR")
@click.option("--collection", "collections", metavar="ID", multiple=True, help="Only of this one; may be repeated.")
@click.option("--id", "ids", metavar="ID", multiple=True, help="Only this item; may be repeated.")
@click.option("--bbox", type=float, nargs=4, metavar="W S E N", help="Touching this box (degrees).")
@click.option("--intersects", metavar="FILE|JSON", help="Touching this GeoJSON geometry or feature.")
@click.option("--datetime", "when", metavar="WHEN", help="Instant, 2019, 2019-06, start/end, ../end, start/..")
@click.option(
    "--query", "queries", metavar="P=V", multiple=True, help="Property = < <= > >= <> value; may be repeated."
)
@click.option("--filter", "condition", metavar="CQL2", help="CQL2 text or JSON.")
@click.option("--sortby", metavar="P,-P", help="Properties to sort by; '-' for descending.")
@click.option("--limit", type=click.IntRange(min=1), help="No more items than this. Default: all.")
@click.option("--asset", "assets", metavar="KEY", multiple=True, help="With --download: only this; may be repeated.")
@click.option("--geojson", "form", flag_value="geojson", help="Print a GeoJSON feature collection of whole items.")
@click.option("--hrefs", metavar="ASSET", help="Print the addresses of this asset, one a line.")
@click.option("--download", "folder", type=click.Path(file_okay=False, path_type=Path), help="Bring the items here.")
@_endpoint_option
@_no_sign_option
@_json_option
@_quiet_option
def search(
    url: str,
    collections: tuple[str, ...],
    ids: tuple[str, ...],
    bbox: tuple[float, float, float, float] | None,
    intersects: str | None,
    when: str | None,
    queries: tuple[str, ...],
    condition: str | None,
    sortby: str | None,
    limit: int | None,
    assets: tuple[str, ...],
    form: str | None,
    hrefs: str | None,
    folder: Path | None,
    endpoint_url: str | None,
    no_sign_request: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Find items of a release (a folder, http(s)://… or s3://…) by its index; no server is needed.

    Prints a table, and on standard error how many items were found. With --download their files are fetched, held
    against the SHA-256 that the items state, and a download that was stopped goes on.
    """
    from catalog_builder.readers import locate
    from catalog_builder.search.query import Question, find_items

    if folder == Path():
        raise UsageError("--download: name a folder")
    if assets and folder is None:
        raise UsageError("--asset goes with --download; --hrefs names its own")
    chosen = [name for name, given in (("--json", as_json), ("--geojson", form), ("--hrefs", hrefs)) if given]
    if len(chosen) > 1:
        raise UsageError(f"{' and '.join(chosen)}: give one of them")
    question = Question(
        collections=collections,
        ids=ids,
        bbox=bbox,
        intersects=_geojson(intersects),
        datetime=when,
        query=queries,
        filter=condition,
        sortby=sortby,
        limit=limit,
    )
    place = locate(url, endpoint_url, anonymous=no_sign_request or None)
    with _warnings_told():
        found = find_items(place, question, _cache_folder() / "index")
        if hrefs is not None:
            _print_hrefs(found, hrefs)
        elif form == "geojson":
            _print_geojson(found)
        elif as_json:
            _print_json(found.document())
        elif folder is None:
            for line in found.lines():
                click.echo(line)
    if folder is not None:
        _download(found, folder, assets, quiet=quiet)
    if not quiet:
        click.echo(found.summary(), err=True)


def _geojson(text: str | None) -> str | None:
    """Give the GeoJSON that a user named or wrote."""
    if text is None or text.lstrip().startswith("{"):
        return text
    try:
        return Path(text).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--intersects {text}: neither GeoJSON nor a file of it: {error}") from error


@contextlib.contextmanager
def _warnings_told() -> Iterator[None]:
    """Say in a line what a library user gets as a warning."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        yield
    for one in told:
        if one.category.__module__.startswith("catalog_builder"):
            click.echo(f"catalog-builder: {one.message}", err=True)


def _print_hrefs(found: "FoundItems", asset: str) -> None:
    for href in found.hrefs(asset):
        click.echo(href)


def _print_geojson(found: "FoundItems") -> None:
    """Print one feature a line, so that memory does not grow with their number."""
    click.echo('{"type":"FeatureCollection","features":[')
    for number, item in enumerate(found.items()):
        click.echo(("," if number else "") + jsonio.dumps(item).decode().rstrip())
    click.echo("]}")


def _download(found: "FoundItems", folder: Path, assets: tuple[str, ...], *, quiet: bool) -> None:
    from catalog_builder.download import download, wanted_files

    wanted = list(wanted_files(found.items(), found.release.relative, assets))
    report = download(found.release.location, wanted, folder, ObjectProgress(sys.stderr, quiet=quiet))
    for href in report.absent:
        click.echo(f"catalog-builder: {href}: the release at {found.release.location} does not hold it", err=True)
    if not quiet:
        line = f"{report.files:,} files fetched, {size(report.size)}; {report.present:,} were there already"
        click.echo(f"{folder}: {line}", err=True)
    if report.absent:
        sys.exit(1)


@main.command(
    epilog="""\b
Examples:
  catalog-builder figures release pictures
  catalog-builder figures release pictures --item toulouse_x0045_y0478 --size 256
"""
)
@click.argument("release", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option("--item", "items", metavar="ID", multiple=True, help="Draw this item; may be repeated.")
@click.option(
    "--size", type=click.IntRange(64, 1024), default=384, show_default=True, help="Pixels a side of one modality."
)
def figures(release: Path, out: Path, items: tuple[str, ...], size: int) -> None:
    """Draw RELEASE into the folder OUT: a map of each collection, and items in all their modalities; as PNG.

    Default: all maps, and the fullest item of each area. With --item these items alone.
    """
    from catalog_builder.figures import write_figures
    from catalog_builder.maps import write_maps

    if not items:
        for path in write_maps(release, out):
            click.echo(path)
    for path in write_figures(release, out, items, size):
        click.echo(path)


def _program() -> str:
    """How this program was called, where the shell would not find it by its name."""
    called = Path(sys.argv[0])
    if shutil.which("catalog-builder") or not called.is_file():
        return "catalog-builder"
    return os.path.relpath(called)


def _load_templates(folder: Path | None) -> "TemplateSet":
    from catalog_builder import template

    return template.load(folder if folder is not None else template.default_folder())


def _cache_folder() -> Path:
    """Where caches live (XDG base directory specification)."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "catalog-builder"


def _make_plan(sources: Path, templates: "TemplateSet", *, quiet: bool, keep_going: bool = False) -> Any:
    from catalog_builder import sources as sources_module
    from catalog_builder.plan import make_plan

    areas = sources_module.load(sources, templates)
    fingerprints = Fingerprints(_cache_folder() / "fingerprints.json")
    log = TileProgress(sys.stderr, quiet=quiet).note
    return make_plan(areas, templates, fingerprints, keep_going=keep_going, log=log)


def _build(
    sources: Path,
    release: Path,
    templates: "TemplateSet",
    jobs: int | None,
    scheduler: str | None,
    *,
    keep_going: bool,
    explorer: bool,
    quiet: bool,
) -> Any:
    from catalog_builder import explorer as explorers
    from catalog_builder.build import build as run_build
    from catalog_builder.executor import default_jobs, open_executor
    from catalog_builder.workspace import check_target

    check_target(release)
    page = explorers.page() if explorer else explorers.NO_PAGE
    the_plan = _make_plan(sources, templates, quiet=quiet, keep_going=keep_going)
    workers = jobs or default_jobs()
    with open_executor(workers, scheduler) as executor:
        progress = TileProgress(sys.stderr, quiet=quiet)
        # A cluster has more workers than this machine has cores.
        window = 256 if scheduler else 4 * workers
        report = run_build(the_plan, release, executor, progress, window=window, keep_going=keep_going, page=page)
    if explorer and not report.explorer:
        progress.note(f"no explorer: {explorers.how_to_add()}")
    return report


def _print_publish_plan(plan: Any, *, as_json: bool) -> None:
    if as_json:
        _print_json(plan.document())
        return
    for upload in plan.uploads:
        verb = "ask" if upload.doubtful else "copy" if upload.copied else "send"
        click.echo(f"{verb:<4}  {upload.size:>12,}  {upload.href}")
    for href in plan.obsolete:
        click.echo(f"delete               {href}")
    click.echo(
        f"{len(plan.uploads):,} objects to bring, {size(plan.size)}; {plan.unchanged:,} unchanged; "
        f"{len(plan.obsolete):,} to delete",
        err=True,
    )


def _report_document(report: Any) -> dict[str, Any]:
    return {
        "areas": report.areas,
        "items": report.items,
        "assets": report.assets,
        "bytes": report.size,
        "written_bytes": report.written,
        "files_changed": report.files,
        "left_out": [{"item": item, "why": why} for item, why in report.left_out],
        "failures": [{"where": where, "why": why} for where, why in report.failures],
        "seconds": round(report.seconds, 3),
    }


def _print_report(report: Any, release: Path) -> None:
    if report.files:
        click.echo(
            f"{release}: {report.items:,} items in {report.areas:,} areas, {report.assets:,} assets, "
            f"{size(report.size)}; {report.files:,} files changed, {size(report.written)} of COGs written "
            f"in {duration(report.seconds)}"
        )
    else:
        click.echo(f"{release}: nothing to do: {report.items:,} items in {report.areas:,} areas are up to date")
    for line in _grouped("left out", report.left_out):
        click.echo(line)
    for where, why in report.failures:
        click.echo(f"failed: {where}: {why}", err=True)


def _grouped(verb: str, pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Name up to ten, count the others."""
    pairs = list(pairs)
    lines = [f"{verb}: {name}: {why}" for name, why in pairs[:10]]
    if len(pairs) > len(lines):
        lines.append(f"{verb}: {len(pairs) - 10:,} more tiles (--json lists all)")
    return lines


def _print_json(value: Any) -> None:
    click.echo(jsonio.dumps(value).decode(), nl=False)


if __name__ == "__main__":
    main()
