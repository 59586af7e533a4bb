"""Items of a release -> arrays, by the clients that people already use.

``to_xarray`` (odc-stac), ``for_stackstac`` (stackstac), ``to_numpy`` (rasterio alone) and ``class_weights``. Importing
this package opens nothing and imports none of them; ``catalog_builder.load.torch_data`` needs PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from catalog_builder.load.arrays import to_numpy
    from catalog_builder.load.cubes import to_xarray
    from catalog_builder.load.samples import TileSamples
    from catalog_builder.load.stacks import for_stackstac
    from catalog_builder.load.torch_data import TileDataset
    from catalog_builder.load.weights import class_weights

__all__ = ["TileDataset", "TileSamples", "class_weights", "for_stackstac", "to_numpy", "to_xarray"]


def __getattr__(name: str) -> Any:
    match name:
        case "to_numpy":
            module = "arrays"
        case "to_xarray":
            module = "cubes"
        case "for_stackstac":
            module = "stacks"
        case "class_weights":
            module = "weights"
        case "TileSamples":
            module = "samples"
        case "TileDataset":
            module = "torch_data"
        case _:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{module}"), name)
