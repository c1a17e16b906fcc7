"""Keeps the memory that the encoder frees, for its next batch."""

from __future__ import annotations

import os
import sys

_SET_BY_USER = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")
# Parameters of mallopt in malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_BLOCK = 1 << 30  # bytes; larger blocks than a batch needs
_NEVER = -1


def keep_freed_memory() -> None:
    """Make glibc keep what a batch frees, instead of returning it to the system.

    Otherwise each page of an activation is mapped and zeroed anew for every batch. The process
    stays as large as its largest batch made it. Does nothing without glibc, or if its thresholds
    are set in the environment.
    """
    if not sys.platform.startswith("linux") or any(name in os.environ for name in _SET_BY_USER):
        return
    import ctypes

    libc = ctypes.CDLL(None)
    if hasattr(libc, "gnu_get_libc_version"):
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_BLOCK)
        libc.mallopt(_M_TRIM_THRESHOLD, _NEVER)
