"""How odc-stac reads a tile here: pixels as stored, GeoTIFF alone, settings of its own, and errors that name the file.

odc-stac's own reader opens with any driver and with settings of the whole process. Here every tile lies on the grid
asked for, so that reading is copying.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
from affine import Affine
from odc.geo.geobox import GeoBox
from odc.loader import RioDriver
from odc.loader.types import RasterBandMetadata, RasterGroupMetadata, RasterLoadParams, RasterSource
from rasterio.io import DatasetReader
from rasterio.windows import Window

from catalog_builder.errors import RasterError
from catalog_builder.load.access import Access, open_href
from catalog_builder.load.bands import BandRef
from catalog_builder.load.grids import offset
from catalog_builder.load.tiles import Grid
from catalog_builder.template import same_nodata


def geobox(grid: Grid) -> GeoBox:
    """Give a grid in odc-geo's words."""
    return GeoBox(grid.shape, Affine(*grid.transform), grid.crs)


def _grid(box: Any) -> Grid:
    return Grid(crs=str(box.crs), transform=tuple(box.transform)[:6], shape=(box.shape.y, box.shape.x))


class TileReader:
    """Reads one band of one tile, as odc-loader's protocol of a reader has it."""

    def __init__(self, source: Any, access: Access) -> None:
        self._grid, self._access = _grid(source.geobox), access
        self._uri, self._number = source.uri, source.band
        self._data_type, self._nodata = source.meta.data_type, source.meta.nodata

    def read(
        self,
        cfg: RasterLoadParams,  # noqa: ARG002
        dst_geobox: GeoBox,
        *,
        dst: npt.NDArray[Any] | None = None,
        selection: Any = None,  # noqa: ARG002
    ) -> tuple[tuple[slice, slice], npt.NDArray[Any]]:
        """Read what of the tile lies in ``dst_geobox``: where it lies there (rows, columns), and its pixels."""
        whole, tile = _grid(dst_geobox), self._grid
        row, column = offset(tile, whole)
        rows = slice(max(row, 0), min(row + tile.shape[0], whole.shape[0]))
        columns = slice(max(column, 0), min(column + tile.shape[1], whole.shape[1]))
        if rows.start >= rows.stop or columns.start >= columns.stop:
            # A neighbour that touches this part: nothing is opened for it.
            return (slice(0, 0), slice(0, 0)), np.empty((0, 0), dtype=self._data_type)
        window = Window(columns.start - column, rows.start - row, columns.stop - columns.start, rows.stop - rows.start)
        pixels = self._pixels(window)
        if dst is not None:
            dst[rows, columns] = pixels
        return (rows, columns), pixels

    def _pixels(self, window: Window) -> npt.NDArray[Any]:
        with open_href(self._uri, self._access) as dataset:
            if not self._is_promised(dataset):
                raise RasterError(self._difference(dataset))
            pixels: npt.NDArray[Any] = dataset.read(self._number, window=window)
        return pixels

    def _is_promised(self, dataset: DatasetReader) -> bool:
        grid = self._grid
        return (
            dataset.count >= self._number
            and dataset.dtypes[self._number - 1] == self._data_type
            and tuple(dataset.shape) == grid.shape
            and dataset.transform.almost_equals(Affine(*grid.transform), precision=1e-6 * grid.transform[0])
            and same_nodata(dataset.nodatavals[self._number - 1], self._nodata)
        )

    def _difference(self, dataset: DatasetReader) -> str:
        found = f"{dataset.dtypes[0]}, nodata {dataset.nodata}, {dataset.shape}, {tuple(dataset.transform)[:6]}"
        told = f"{self._data_type}, nodata {self._nodata}, {self._grid.shape}, {self._grid.transform}"
        return (
            f"{self._uri}: {dataset.count} bands of {found}, but its item says band {self._number} of {told}; "
            "the mirror is older or newer than it"
        )


class TileParser:
    """Tells odc-stac of the bands of every item alike.

    Left to itself it knows only the assets of the first item, and finds no others.
    """

    def __init__(self, refs: Sequence[BandRef]) -> None:
        self._bands = {
            (ref.asset, ref.number): RasterBandMetadata(ref.band.data_type, ref.band.nodata) for ref in refs
        }  # fmt: skip
        self._names = {ref.label: [(ref.asset, ref.number)] for ref in refs}

    def extract(self, md: Any) -> RasterGroupMetadata:  # noqa: ARG002
        """Give bands by asset and number, and their names."""
        return RasterGroupMetadata(dict(self._bands), dict(self._names), {}, [])

    def driver_data(self, md: Any, band_key: Any) -> None:  # noqa: ARG002
        """Say nothing more."""
        return


class TileDriver(RioDriver):
    """odc-loader's driver for tiles. Pickled it carries no credentials."""

    def __init__(self, refs: Sequence[BandRef], access: Access) -> None:
        super().__init__(md_parser=TileParser(refs))
        self._access = access

    def capture_env(self) -> dict[str, Any]:
        """Take nothing from the process: each read has settings of its own."""
        return {}

    @contextmanager
    def restore_env(self, env: dict[str, Any], load_state: Any) -> Iterator[Any]:  # noqa: ARG002
        """Set nothing."""
        yield None

    def open(self, src: RasterSource, ctx: Any) -> TileReader:  # type: ignore[override]  # noqa: ARG002
        """Give a reader; the file is opened when it reads."""
        return TileReader(src, self._access)
