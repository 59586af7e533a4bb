"""One finished raster or picture against what it must be, from its own bytes."""

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader
from rio_cogeo.cogeo import cog_validate

from catalog_builder.cog import CogAsset, CogBand, describe, differences, overview_factors
from catalog_builder.errors import RasterError
from catalog_builder.grid import Tile
from catalog_builder.raster import GDAL_OPTIONS, gdal_environment, is_valid
from catalog_builder.template import Modality, Template
from catalog_builder.thumbnail import SIZE

_MEAN_TOLERANCE = 1e-6
"""Of mean and standard deviation, relative to the largest value: sums of millions of floats depend on their order."""

Problem = tuple[str, str]
"""A rule that is broken, and how."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CogCheck:
    """What became of one file."""

    problems: tuple[Problem, ...]
    made: CogAsset | None = None
    """What the file says it is; None where it cannot be read."""
    valid: npt.NDArray[np.bool_] | None = None
    """Where it has a valid pixel in any band; None where not all pixels can be read."""
    size: int = 0
    """Bytes of pixels read."""


def check_cog(path: Path, modality: Modality, template: Template, tile: Tile | None) -> CogCheck:
    """Hold a file against its template, its tile where that is known, and its pixels."""
    try:
        made = describe(path)
    except RasterError as error:
        return CogCheck(problems=(("cog-unreadable", _one_line(error, path)),))
    promised = differences(made, modality, tile) if tile is not None else []
    problems = [("cog-template", text) for text in promised]
    try:
        with gdal_environment():
            problems += [("cog-invalid", text) for text in _cog_problems(path)]
            with rasterio.open(path, driver="GTiff") as dataset:
                problems += _header_problems(path, dataset, modality, template)
                pixels = dataset.read()
            if modality.is_classes:
                problems += _class_problems(path, pixels, modality)
    except RasterioError as error:
        return CogCheck(problems=(*problems, ("cog-unreadable", _one_line(error, path))), made=made)
    valid = is_valid(pixels, modality.nodata)
    problems += _pixel_problems(pixels, valid, made, template)
    return CogCheck(problems=tuple(problems), made=made, valid=np.asarray(valid.any(axis=0)), size=pixels.nbytes)


def _one_line(error: Exception, path: Path) -> str:
    text = " ".join(str(error.__cause__ or error).split())
    return text.replace(str(path), path.name)


def _cog_problems(path: Path) -> list[str]:
    _, errors, complaints = cog_validate(path, strict=True, config=GDAL_OPTIONS, quiet=True)
    return [*errors, *complaints]


def _header_problems(path: Path, dataset: DatasetReader, modality: Modality, template: Template) -> Iterator[Problem]:
    flags = {flag for band in dataset.mask_flag_enums for flag in band}
    if ColorInterp.alpha in dataset.colorinterp or flags & {MaskFlags.alpha, MaskFlags.per_dataset}:
        yield "cog-alpha", "a band or a mask makes pixels transparent; only nodata may"
    options = template.cog
    block = (options.blocksize, options.blocksize)
    factors = overview_factors((dataset.count, *dataset.shape), options.blocksize)
    stated = dataset.overviews(1)
    if set(dataset.block_shapes) != {block}:
        yield "cog-options", f"blocks are {dataset.block_shapes[0]}, the template says {block}"
    if stated != factors:
        yield "cog-options", f"overviews are {stated}, the template's blocks need {factors}"
    expected = (options.compress, _predictor(modality))
    yield from _packing_problems("image", dataset, expected)
    for level in range(len(stated)):
        with rasterio.open(path, driver="GTiff", overview_level=level) as overview:
            yield from _packing_problems("overview", overview, expected)


def _packing_problems(what: str, dataset: DatasetReader, expected: tuple[str, str]) -> Iterator[Problem]:
    compression = dataset.compression.value if dataset.compression else "none"
    packed = compression.upper(), dataset.tags(ns="IMAGE_STRUCTURE").get("PREDICTOR", "1")
    if packed != expected:
        yield "cog-options", f"{what}: compression and predictor are {packed}, the template says {expected}"


def _predictor(modality: Modality) -> str:
    """TIFF's number: 1 none, 2 differences of integers, 3 of floating point numbers."""
    if modality.is_classes:
        return "1"
    return "3" if np.issubdtype(np.dtype(modality.data_type), np.floating) else "2"


def _class_problems(path: Path, pixels: npt.NDArray[Any], modality: Modality) -> Iterator[Problem]:
    """Labels are picked, never averaged: an overview has none that the image has not."""
    known = np.append(np.unique(pixels), np.asarray(modality.nodata).astype(pixels.dtype))
    with rasterio.open(path, driver="GTiff") as dataset:
        levels = range(len(dataset.overviews(1)))
    for level in levels:
        with rasterio.open(path, driver="GTiff", overview_level=level) as overview:
            strange = np.setdiff1d(overview.read(), known)
        if strange.size:
            yield "cog-overview", f"overview {level} holds {strange[0]}, which the image does not"


def _pixel_problems(
    pixels: npt.NDArray[Any], valid: npt.NDArray[np.bool_], made: CogAsset, template: Template
) -> Iterator[Problem]:
    for number, band in enumerate(made.bands):
        for text in _statistics_problems(pixels[number], valid[number], band):
            yield "statistics", f"band {band.name}: {text}"
    share = float(valid.mean(axis=(1, 2)).min() * 100)
    if not share or share < template.min_valid_percent:
        yield "valid-share", f"{share:.3g} % of the pixels are valid; at least {template.min_valid_percent:g} % must be"


def _statistics_problems(band: npt.NDArray[Any], valid: npt.NDArray[np.bool_], made: CogBand) -> Iterator[str]:
    count, total = int(np.count_nonzero(valid)), valid.size
    stated = made.statistics
    if not _same_percent(stated.get("valid_percent", -1), count, total):
        yield f"valid_percent is {stated.get('valid_percent')}, the pixels say {100 * count / total:.6g}"
    for name, (value, tolerance) in _statistics(band, valid, count).items():
        if not math.isclose(stated.get(name, math.nan), value, rel_tol=1e-9, abs_tol=tolerance):
            yield f"{name} is {stated.get(name)}, the pixels say {value:.12g}"


def _statistics(band: npt.NDArray[Any], valid: npt.NDArray[np.bool_], count: int) -> dict[str, tuple[float, float]]:
    """Give each statistic over the valid pixels with its tolerance; none where no pixel is valid."""
    if not count:
        return {}
    values = band.ravel() if count == valid.size else band[valid]
    low, high = float(values.min()), float(values.max())
    tolerance = _MEAN_TOLERANCE * max(abs(low), abs(high))
    with np.errstate(all="ignore"):  # infinities are for the header's check to find
        mean, stddev = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
    return {
        "minimum": (low, 0.0),
        "maximum": (high, 0.0),
        "mean": (mean, tolerance),
        "stddev": (stddev, tolerance),
    }


def _same_percent(stated: float, count: int, total: int) -> bool:
    """GDAL prints four digits, and 99.999 for what would be rounded to 100; a full band alone has 100."""
    exact = 100 * count / total
    printed = min(float(f"{exact:.4g}"), 99.999) if count < total else 100.0
    return (stated == 100) == (count == total) and abs(stated - exact) <= abs(printed - exact) + 1e-9


def png_problem(path: Path, size: tuple[int, int] = (SIZE, SIZE)) -> str | None:
    """Say why a file is no PNG of a width and a height, or None where it is one."""
    try:
        with warnings.catch_warnings(), gdal_environment():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path, driver="PNG") as dataset:
                shape = dataset.shape
                dataset.read()
    except RasterioError as error:
        return f"no readable PNG: {_one_line(error, path)}"
    return None if shape[::-1] == size else f"{shape[1]} x {shape[0]} pixels, not {size[0]} x {size[1]}"
