"""Maintenance of a cache: merging two caches and writing off open purchases."""
