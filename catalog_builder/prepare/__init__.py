"""Raw products -> the processed rasters that a release is built from. The package itself holds nothing."""
