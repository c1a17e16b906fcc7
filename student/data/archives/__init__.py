"""A table of rendered views as tar archives, on a disk or at any address that fsspec reads."""
