"""A small release of both collections from the synthetic rasters: one small tile an area, built in this process."""

import io
from pathlib import Path

from catalog_builder import sources, template
from catalog_builder.build import build
from catalog_builder.executor import SerialExecutor
from catalog_builder.fingerprint import Fingerprints
from catalog_builder.plan import make_plan
from catalog_builder.progress import TileProgress
from catalog_builder.synthetic import write_synthetic_sources
from tests.makers import TILE, small_templates


def small_demo(folder: Path) -> Path:
    """Build the release and give its folder; nothing outside ``folder`` is written."""
    templates = template.load(small_templates(folder / "stac"))
    listing = write_synthetic_sources(folder / "demo_sources", size=TILE)
    plan = make_plan(sources.load(listing, templates), templates, Fingerprints())
    release = folder / "demo"
    build(plan, release, SerialExecutor(), TileProgress(io.StringIO(), quiet=True))
    return release
