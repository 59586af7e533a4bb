"""What is computed from a Sentinel-1 time series: means, looks, the coefficient of variation. Sums are in float64.

Means and variances are of linear power (intensity) or of its root, the amplitude; decibels are for files and people.
"""

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rasterio.windows import Window

from catalog_builder.errors import RasterError, UsageError
from catalog_builder.executor import ordered
from catalog_builder.prepare.output import Bands, BlockMaker, Blocks, write_raster
from catalog_builder.prepare.provenance import Provenance
from catalog_builder.prepare.series import POLARIZATIONS, Series, Values, read_values
from catalog_builder.prepare.target import BLOCK, Target

EPOCH = date(1970, 1, 1)
"""Day 0 of dates in pixels."""
NO_ACTIVITY = -1.0
"""Nodata of an activity, whose values are all above; a number, for dates are picked and never averaged."""
MEAN_BANDS = Bands(names=POLARIZATIONS, data_type="float32", nodata=math.nan, unit="dB")
COUNT_BANDS = Bands(names=("count_VV", "count_VH"), data_type="uint16", nodata=0)
ACTIVITY_BANDS = Bands(names=("cv_VV", "cv_VH", "date_max"), data_type="float32", nodata=NO_ACTIVITY)

_SIDE = 12
"""Pixels a side of the small windows on which looks are measured."""
_SHARE = 0.1
"""Of the small windows: the most homogeneous ones, on which looks are measured."""
_LEAST_WINDOWS = 5
_WHOLE = 0.9
"""Share of valid pixels in a small window, and of dates in a pixel, that are enough."""
_SAMPLES = 8
"""Blocks on which looks are measured, spread over the raster."""
_LEAST_PIXELS = 1000
"""Of an image in dB: fewer may well all be above 0."""

Sums = npt.NDArray[np.float64]
"""(2, rows, columns): VV and VH"""


# --- units ------------------------------------------------------------------------------------------------------------


def to_power(decibels: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Decibels -> linear power, 10^(dB / 10); any shape."""
    return np.asarray(np.exp(decibels * (math.log(10) / 10)))


def to_decibels(power: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Linear power, above 0 or NaN -> decibels, 10 log10(power); any shape."""
    return np.asarray(10 * np.log10(power))


def _power(series: Series, values: Values) -> Values:
    return to_power(values) if series.decibels else values


# --- blocks -----------------------------------------------------------------------------------------------------------


def mean_block(series: Series, window: Window) -> npt.NDArray[np.float32]:
    """Give the mean over the valid dates of each pixel, taken in linear power, in decibels: (VV and VH, rows, columns).

    NaN where no date is valid. Averaging decibels would give the mean of the logarithm, which speckle puts too low
    (Hoekman 1991, "Speckle ensemble statistics of logarithmically scaled data", IEEE TGRS 29(1)). A series of one image
    in decibels is given as it is, bit for bit. Raises ``RasterError``.
    """
    if len(series.images) == 1 and series.decibels:
        return np.stack([values for _, _, values in read_values(series, window)]).astype(np.float32)
    power, count = _sums(series, window)
    return to_decibels(_mean(power, count)).astype(np.float32)


def count_block(series: Series, window: Window) -> npt.NDArray[np.uint16]:
    """Count the valid dates of each pixel: (VV and VH, rows, columns). Raises ``RasterError``."""
    count = np.zeros((2, window.height, window.width), dtype=np.uint16)
    for _, side, values in read_values(series, window):
        count[side] += ~np.isnan(values)
    return count


def _sums(series: Series, window: Window) -> tuple[Sums, Sums]:
    """Sum the powers of the valid dates, and count these."""
    power, count = (np.zeros((2, window.height, window.width)) for _ in range(2))
    for _, side, values in read_values(series, window):
        _add(power[side], count[side], _power(series, values))
    return power, count


def _add(total: Values, count: Values, values: Values) -> None:
    valid = ~np.isnan(values)
    np.add(total, values, out=total, where=valid)
    count += valid


def _mean(total: Sums, count: Sums) -> Sums:
    mean = np.full(total.shape, np.nan)
    np.divide(total, count, out=mean, where=count > 0)
    return mean


def activity_block(series: Series, window: Window) -> npt.NDArray[np.float32]:
    """Give the temporal coefficient of variation and the date of the maximum: (3, rows, columns).

    Bands: the coefficient of variation of the amplitude in VV and in VH, and the day of the largest amplitude as whole
    days since 1970-01-01, in the polarisation whose coefficient is the larger one; of equal maxima the first. The
    coefficient is sqrt(mean(A^2) - mean(A)^2) / mean(A) over the valid dates (REACTIV: Colin Koeniguer and Nicolas
    2020, "Change detection based on the coefficient of variation in SAR time-series of urban areas", Remote Sensing
    12(13), 2089). ``NO_ACTIVITY`` where a polarisation has fewer than two valid dates. Raises ``RasterError``.
    """
    shape = 2, window.height, window.width
    amplitude, power, count, largest, day = (np.zeros(shape) for _ in range(5))
    days = [(when.date() - EPOCH).days for when in series.dates]
    for number, side, values in read_values(series, window):
        intensity = _power(series, values)
        root = np.sqrt(intensity)
        _add(power[side], count[side], intensity)
        np.add(amplitude[side], root, out=amplitude[side], where=~np.isnan(root))
        higher = root > largest[side]
        np.copyto(largest[side], root, where=higher)
        day[side][higher] = days[number]
    return _activity(_mean(amplitude, count), _mean(power, count), count, day)


def _activity(amplitude: Sums, power: Sums, count: Sums, day: Sums) -> npt.NDArray[np.float32]:
    variation = np.sqrt(np.maximum(power - amplitude**2, 0)) / amplitude
    enough = (count >= 2).all(axis=0)
    when = np.where(variation[1] > variation[0], day[1], day[0])
    bands = np.stack([*variation, when])
    return np.where(enough, bands, NO_ACTIVITY).astype(np.float32)


def stationary_variation(looks: float) -> float:
    """Give the coefficient of variation of the amplitude of speckle alone: sqrt(L Γ(L)² / Γ(L + ½)² - 1).

    That of a Nakagami law of L looks, the root of a gamma law (Colin Koeniguer and Nicolas 2020, as above): 0.523 for
    one look, 0.229 for 4.9. What changes lies above.
    """
    ratio = 2 * (math.lgamma(looks) - math.lgamma(looks + 0.5))
    return math.sqrt(math.expm1(math.log(looks) + ratio))


# --- looks ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Looks:
    """Equivalent numbers of looks on homogeneous ground, VV and VH; None where there is no such ground."""

    before: tuple[float, float] | None
    """Of single dates."""
    after: tuple[float, float] | None
    """Of the mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sample:
    """Squared coefficients of variation of intensity on small windows of a block."""

    choice: npt.NDArray[np.float64]
    """(2, windows): of the mean, on one half of each window; by these windows are chosen."""
    mean: npt.NDArray[np.float64]
    """(2, windows): of the mean, on the other half."""
    single: npt.NDArray[np.float64]
    """(images, 2, windows): of each image, on the other half."""
    lowest: npt.NDArray[np.float64]
    """(images, 2): the lowest value; infinite where there is none."""
    count: npt.NDArray[np.float64]
    """(images, 2): number of valid pixels."""


def measure_looks(series: Series, target: Target, executor: Executor, *, window: int = 8) -> Looks:
    """Measure the equivalent number of looks, mean² / variance of intensity, of single dates and of the mean.

    As in Anfinsen, Doulgeris and Eltoft 2009 ("Estimation of the equivalent number of looks in polarimetric synthetic
    aperture radar imagery", IEEE TGRS 47(11)) it is estimated on small windows (12 x 12 pixels) over the image, without
    a person choosing ground. Here the median is given over the homogeneous tenth of the windows, the same ones before
    and after: those with the lowest coefficient of variation of the mean. They are chosen by the black fields of a
    chessboard and measured on the white ones, or the choice itself would raise what is measured.

    At most eight blocks of the raster are read for it. Raises ``RasterError`` for an image that is no decibels, too.
    """
    samples = [sample for _, sample in ordered(executor, partial(_sample, series), _spread(target), window)]
    if series.decibels:
        _check_decibels(series, samples)
    choice, mean = (np.concatenate([getattr(one, name) for one in samples], axis=1) for name in ("choice", "mean"))
    single = np.concatenate([one.single for one in samples], axis=2)
    sides = [_looks(choice[side], mean[side], single[:, side]) for side in range(2)]
    before, after = zip(*sides, strict=True)
    return Looks(
        before=None if None in before else before,
        after=None if None in after or len(series.images) == 1 else after,
    )


def _looks(
    choice: npt.NDArray[np.float64], mean: npt.NDArray[np.float64], single: npt.NDArray[np.float64]
) -> tuple[float | None, float | None]:
    known = np.flatnonzero(np.isfinite(choice))
    wanted = max(round(_SHARE * len(known)), min(_LEAST_WINDOWS, len(known)))
    chosen = known[np.argsort(choice[known], kind="stable")[:wanted]]
    return _inverse_median(single[:, chosen]), _inverse_median(mean[chosen])


def _inverse_median(squares: npt.NDArray[np.float64]) -> float | None:
    known = squares[np.isfinite(squares) & (squares > 0)]
    return float(1 / np.median(known)) if known.size else None


def _spread(target: Target) -> list[Window]:
    """Choose blocks all over the raster; the step is prime to the blocks in a row, so that they share no column."""
    step = max(1, target.block_count // _SAMPLES)
    across = math.ceil(target.shape[1] / BLOCK)
    while step > 1 and math.gcd(step, across) > 1:
        step += 1
    return list(islice(target.blocks(), step // 2, None, step))[:_SAMPLES]


def _sample(series: Series, window: Window) -> _Sample:
    power, count = (np.zeros((2, window.height, window.width)) for _ in range(2))
    number_of_windows = (window.height // _SIDE) * (window.width // _SIDE)
    single = np.full((len(series.images), 2, number_of_windows), np.nan)
    lowest, pixels = np.full(single.shape[:2], np.inf), np.zeros(single.shape[:2])
    for number, side, values in read_values(series, window):
        intensity = _power(series, values)
        _add(power[side], count[side], intensity)
        single[number, side] = _squares(intensity, 1)
        lowest[number, side] = np.min(values, initial=np.inf, where=~np.isnan(values))
        pixels[number, side] = np.count_nonzero(~np.isnan(values))
    mean = _mean(power, count)
    # Pixels of fewer dates are rougher, and would count as rough ground.
    mean[count < _WHOLE * count.max(axis=(1, 2), keepdims=True)] = np.nan
    choice, measured = (np.stack([_squares(side, half) for side in mean]) for half in (0, 1))
    return _Sample(choice=choice, mean=measured, single=single, lowest=lowest, count=pixels)


def _squares(intensity: Values, half: int) -> npt.NDArray[np.float64]:
    """Give the squared coefficient of variation of each small window, on one half of its chessboard.

    NaN for a window that is not valid, but for a few pixels.
    """
    rows, columns = intensity.shape[0] // _SIDE, intensity.shape[1] // _SIDE
    cut = intensity[: rows * _SIDE, : columns * _SIDE].reshape(rows, _SIDE, columns, _SIDE)
    windows = cut.swapaxes(1, 2).reshape(rows * columns, _SIDE * _SIDE)
    fields = np.add.outer(np.arange(_SIDE), np.arange(_SIDE)).ravel() % 2 == half
    part = windows[:, fields]
    valid = ~np.isnan(part)
    squares = np.full(len(part), np.nan)
    enough = valid.sum(axis=1) >= _WHOLE * part.shape[1]
    part, valid = part[enough], valid[enough]
    squares[enough] = part.var(axis=1, ddof=1, where=valid) / part.mean(axis=1, where=valid) ** 2
    return squares


def _check_decibels(series: Series, samples: Sequence[_Sample]) -> None:
    """Refuse an image without any value below 0 dB: such is no ground, but linear power."""
    lowest: Any = np.min([one.lowest for one in samples], axis=0)
    count: Any = np.sum([one.count for one in samples], axis=0)
    for number, side in np.argwhere((lowest >= 0) & (count >= _LEAST_PIXELS)):
        plane = series.images[number].planes[side]
        raise RasterError(
            f"{plane.path}: band {plane.band}: no value is below 0 (the lowest is {lowest[number, side]:g}); "
            "is it linear, and not in dB?"
        )


# --- rasters ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """How and where a raster is made."""

    series: Series
    """As it is read on ``target``: see ``Series.on``."""
    target: Target
    parameters: Mapping[str, Any]
    """What the user chose, for the record."""
    executor: Executor
    progress: Blocks
    window: int = 8
    """Blocks under way."""


def write_mean(work: Work, out: Path, counts: Path | None = None) -> Provenance:
    """Make the mean over dates in decibels (VV, VH), or the one image there is; in ``counts`` the number of dates.

    Raises ``RasterError`` for inputs that cannot be read or are no backscatter, ``BuildError`` where a file cannot be
    written.
    """
    single = len(work.series.images) == 1
    looks = measure_looks(work.series, work.target, work.executor, window=work.window)
    before = _rounded("looks" if single else "looks_before", looks.before)
    made = _provenance("s1-mean", work, {**before, **_rounded("looks_after", looks.after)})
    if counts is not None:
        _write(work, counts, COUNT_BANDS, partial(count_block, work.series), made)
    _write(work, out, MEAN_BANDS, partial(mean_block, work.series), made)
    return made


def write_activity(work: Work, out: Path, looks: float | None = None) -> Provenance:
    """Make the temporal coefficients of variation (VV, VH) and the date of the maximum.

    The stationary value is that for ``looks`` of a single date, which are measured where None is given. Raises as
    ``write_mean`` does, and ``UsageError`` for one date only and where looks cannot be measured.
    """
    if len(work.series.images) < 2:
        raise UsageError(f"one date, {work.series.dates[0].date()}: activity is what differs between dates")
    measured = measure_looks(work.series, work.target, work.executor, window=work.window).before
    used = measured if looks is None else (looks, looks)
    if used is None:
        raise UsageError("no homogeneous ground to measure looks on; give them: --looks 4.4 for Sentinel-1 IW GRD")
    notes = {**_rounded("looks_measured", measured), **_rounded("looks", used)}
    made = _provenance(
        "s1-activity", work, {**notes, "stationary_cv": [round(stationary_variation(value), 4) for value in used]}
    )
    _write(work, out, ACTIVITY_BANDS, partial(activity_block, work.series), made)
    return made


def _write(work: Work, out: Path, bands: Bands, make: BlockMaker, made: Provenance) -> None:
    tags = {**made.tags(), "TIFFTAG_COPYRIGHT": attribution(work.series.dates)}
    write_raster(out, work.target, bands, make, tags, work.executor, work.progress, window=work.window)


def _provenance(step: str, work: Work, notes: Mapping[str, Any]) -> Provenance:
    series = work.series
    orbits = {"relative_orbits": list(series.orbits)} if series.orbits else {}
    credit = {"attribution": attribution(series.dates)}
    return Provenance(
        step=step,
        inputs=series.names,
        dates=series.dates,
        parameters={**work.parameters, "units": "db" if series.decibels else "linear"},
        notes={**orbits, **notes, **credit},
    )


def _rounded(name: str, looks: tuple[float, float] | None) -> dict[str, list[float]]:
    """Give looks of VV and VH as a note, or nothing."""
    return {} if looks is None else {name: [round(value, 2) for value in looks]}


def attribution(dates: Sequence[datetime]) -> str:
    """Give the credit that the Copernicus licence asks for, with the years of the data."""
    first, last = dates[0].year, dates[-1].year
    return f"Contains modified Copernicus Sentinel data {first if first == last else f'{first}-{last}'}"
