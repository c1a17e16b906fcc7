"""Temporary files of the tests in memory, where the many syncs of SQLite take no time.

Caches and ledgers sync each transaction to the disk, so that on a disk the tests mostly wait. No
test cuts the power: what a killed process wrote is there, in memory as on a disk.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import MutableMapping
from pathlib import Path

IN_MEMORY = Path("/dev/shm")
NEEDED_BYTES = 2 << 30
CHOICES = ("TMPDIR", "TEMP", "TMP", "PYTEST_DEBUG_TEMPROOT")


def use_memory(environment: MutableMapping[str, str], folder: Path = IN_MEMORY) -> str:
    """Let this process and its children put temporary files in memory, and say where they lie.

    A place that `environment` names is kept.
    """
    chosen = next((name for name in CHOICES if environment.get(name)), None)
    if chosen is not None:
        return f"{environment[chosen]}, by {chosen}"
    reason = why_not(folder)
    if reason:
        return f"{tempfile.gettempdir()}, where syncs take minutes: {reason}"
    environment["TMPDIR"] = str(folder)
    tempfile.tempdir = None  # what was found before
    return f"{folder}, in memory"


def why_not(folder: Path) -> str:
    """The reason why temporary files cannot lie in this folder; "" if they can."""
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        return f"{folder} is no folder that can be written"
    found = os.statvfs(folder)
    if found.f_flag & os.ST_NOEXEC:
        return f"no program can be run from {folder}"
    free = found.f_bavail * found.f_frsize
    if free < NEEDED_BYTES:
        return f"{folder} has {free / 1e9:.1f} GB free, and {NEEDED_BYTES / 1e9:.1f} GB are needed"
    return ""
