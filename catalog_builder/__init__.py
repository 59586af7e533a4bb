"""DREAM's catalog builder: processed rasters in, a static STAC release out."""

__version__ = "0.1.0"
