"""How a process waits and keeps memory while it trains. Importing this module loads no torch."""

from __future__ import annotations

import os
import sys

_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
_MEMORY = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")
# Parameters of mallopt in malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_BLOCK = 1 << 30  # bytes; larger blocks than a step needs
_NEVER = -1


def let_waiting_threads_sleep() -> None:
    """Makes threads sleep, not spin, while they wait, in this process and its children.

    A spinning thread keeps its core from the thread for which it waits, if another process is busy
    too. The OpenMP library reads this when it is loaded, so it has to be called before torch is
    imported. Does nothing if the user has set how threads wait.
    """
    if not any(name in os.environ for name in _WAITING):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"


def keep_freed_memory() -> None:
    """Makes glibc keep the memory that a training step frees for the next step.

    Otherwise it returns large blocks to the system, and each of their pages is mapped and zeroed
    anew at the next step. Does nothing without glibc, or if the user has set glibc's thresholds.
    """
    if not sys.platform.startswith("linux") or any(name in os.environ for name in _MEMORY):
        return
    import ctypes

    libc = ctypes.CDLL(None)
    if hasattr(libc, "gnu_get_libc_version"):
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_BLOCK)
        libc.mallopt(_M_TRIM_THRESHOLD, _NEVER)
