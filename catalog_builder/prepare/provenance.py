"""What a prepared raster was made of: said in the file's tags, and in the item by way of ``sources.toml``.

Names of inputs are file names, never paths: both end up in public.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import rasterio
from pystac.utils import datetime_to_str

from catalog_builder import __version__, jsonio

PREFIX = "DREAM_"
"""Of the tags in a file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """How a raster came to be."""

    step: str
    """Such as ``s1-mean``."""
    inputs: Sequence[str]
    """File names, in the order in which they count."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    dates: Sequence[datetime] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)
    """What was found on the way, such as a number of voids."""

    def tags(self) -> dict[str, str]:
        """Give the tags of the file."""
        values = {
            "STEP": self.step,
            "INPUTS": list(self.inputs),
            "DATES": [datetime_to_str(date) for date in self.dates],
            "PARAMETERS": dict(self.parameters),
            "NOTES": dict(self.notes),
        }
        texts = {
            f"{PREFIX}{name}": value if isinstance(value, str) else jsonio.dumps(value).decode().strip()
            for name, value in values.items()
            if value
        }
        return {**texts, "TIFFTAG_SOFTWARE": ", ".join(f"{name} {version}" for name, version in software().items())}

    def properties(self) -> dict[str, Any]:
        """Give the fields of the item's asset, those of the STAC processing extension among them."""
        count = {"dream:date_count": len(self.dates)} if len(self.dates) > 1 else {}
        return {
            "processing:lineage": self._lineage(),
            "processing:software": software(),
            **count,
            **{f"dream:{name}": value for name, value in {**self.parameters, **self.notes}.items()},
        }

    def _lineage(self) -> str:
        shown = ", ".join(self.inputs[:3])
        more = f" and {len(self.inputs) - 3} more" if len(self.inputs) > 3 else ""
        return f"catalog-builder prepare {self.step} of {shown}{more}"


def software() -> dict[str, str]:
    """Name the software on which pixels depend."""
    return {"catalog-builder": __version__, "GDAL": rasterio.__gdal_version__, "rasterio": rasterio.__version__}
