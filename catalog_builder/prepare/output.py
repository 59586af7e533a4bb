"""A raster made block by block: computed in parallel, written in order, there as a whole or not at all.

The same inputs and library versions give the same bytes, whatever the number of workers: blocks are written row by row,
by one process. What it was made of stands in the file's tags.
"""

import errno
import math
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.errors import RasterioError
from rasterio.windows import Window

from catalog_builder.errors import BuildError, CatalogBuilderError
from catalog_builder.executor import ordered
from catalog_builder.prepare.target import BLOCK, Target
from catalog_builder.raster import gdal_environment

Pixels = npt.NDArray[Any]
"""(bands, rows, columns)"""
BlockMaker = Callable[[Window], Pixels]
"""Computes a block; a plain function, or a partial of one, that a worker process can be sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bands:
    """What the bands of a raster hold."""

    names: tuple[str, ...]
    data_type: str
    nodata: float
    unit: str = ""


class Blocks(Protocol):
    """Counts finished blocks, for people."""

    def start(self, blocks: int) -> None:
        """Tell how many there are."""

    def block(self) -> None:
        """Count one."""


def write_raster(
    path: Path,
    target: Target,
    bands: Bands,
    make: BlockMaker,
    tags: Mapping[str, str],
    executor: Executor,
    progress: Blocks,
    *,
    window: int = 8,
) -> None:
    """Make a GeoTIFF. ``make`` gives each block as (bands, rows, columns) in the type of the bands.

    At most ``window`` blocks are under way, so that memory stays flat. Raises ``BuildError`` where the file cannot be
    written.
    """
    progress.start(target.block_count)
    with appearing(path) as partial:
        with _create(partial, target, bands, tags) as dataset:
            for block, pixels in ordered(executor, make, target.blocks(), window):
                dataset.write(pixels, window=block)
                progress.block()
        check_written(partial)


@contextmanager
def appearing(path: Path, failure: type[CatalogBuilderError] = BuildError) -> Iterator[Path]:
    """Give the name of a file beside ``path`` that takes its name once all is well, and is gone otherwise.

    Raises ``failure`` where it cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except (OSError, RasterioError) as error:
        raise failure(f"{path}: cannot write: {_reason(error)}") from error
    finally:
        with suppress(OSError):  # where it cannot be there, such as below a file
            partial.unlink(missing_ok=True)


def check_written(path: Path) -> None:
    """Hold the blocks of a GeoTIFF against the size of its file: rasterio does not tell what closing lost.

    Raises ``OSError``.
    """
    size = path.stat().st_size
    with gdal_environment(), rasterio.open(path) as dataset:
        rows, columns = dataset.block_shapes[0]
        for row in range(math.ceil(dataset.height / rows)):
            for column in range(math.ceil(dataset.width / columns)):
                start, length = (
                    int(dataset.get_tag_item(f"BLOCK_{what}_{column}_{row}", "TIFF", bidx=1) or 0)
                    for what in ("OFFSET", "SIZE")
                )
                if not 0 < start < start + length <= size:
                    raise OSError(errno.ENOSPC, "not all of it was written; is the disk full?")


@contextmanager
def writing_scratch(path: Path) -> Iterator[None]:
    """Raise ``BuildError`` for a scratch file that cannot be written."""
    try:
        yield
    except (OSError, RasterioError) as error:
        raise BuildError(f"{path.parent}: cannot write scratch files there: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Give the system's word for an error, or the error itself, in one line."""
    return " ".join(str(getattr(error, "strerror", None) or error).split())


@contextmanager
def _create(path: Path, target: Target, bands: Bands, tags: Mapping[str, str]) -> Iterator[Any]:
    floating = np.issubdtype(np.dtype(bands.data_type), np.floating)
    profile = {
        "driver": "GTiff",
        "crs": target.crs,
        "transform": target.transform,
        "height": target.shape[0],
        "width": target.shape[1],
        "count": len(bands.names),
        "dtype": bands.data_type,
        "nodata": bands.nodata,
        "tiled": True,
        "blockxsize": BLOCK,
        "blockysize": BLOCK,
        "compress": "ZSTD",
        "zstd_level": 3,
        "predictor": 3 if floating else 2,
        # A fourth band is no alpha.
        "photometric": "MINISBLACK",
        "alpha": "NO",
        "bigtiff": "IF_SAFER",
    }
    with gdal_environment(), rasterio.open(path, "w", **profile) as dataset:
        dataset.update_tags(**tags)
        for number, name in enumerate(bands.names, start=1):
            dataset.set_band_description(number, name)
            if bands.unit:
                dataset.set_band_unit(number, bands.unit)
        yield dataset
