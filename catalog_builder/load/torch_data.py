"""The tiles of a search as a PyTorch data set. Importing this module imports torch."""

from catalog_builder.errors import UsageError
from catalog_builder.load.samples import TileSamples

try:
    from torch.utils.data import Dataset
except ImportError as error:
    raise UsageError("TileDataset needs PyTorch: pip install 'catalog-builder[torch]'") from error

__all__ = ["TileDataset"]


class TileDataset(TileSamples, Dataset):  # type: ignore[misc]  # torch has no types where it is not installed
    """``TileSamples`` for ``torch.utils.data.DataLoader``, with worker processes that are forked or spawned.

    The loader's own collation makes tensors of the arrays: ``batch["pixels"]["s2"]`` is (batch, bands, rows, columns),
    in the type of the file. A ``transform`` is the place to make floats of them; under spawned workers it must be a
    function of a module.
    """
