"""Writes files so that readers never see an incomplete file."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path


def write_atomically(
    path: Path, text: str, *, overwrite: bool = True, permissions: int = 0o666
) -> bool:
    """Write a file durably; readers see all of it, or what was there before.

    Creates the folder. Without `overwrite`, an existing file stays, even if another process creates
    it at the same moment; returns whether the file was written. `permissions` are reduced by the
    process's umask. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, permissions)
    is_written = False
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            # Unlike a rename, a link never replaces what another process has just created.
            part.replace(path) if overwrite else os.link(part, path)
            is_written = True
    finally:
        part.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return is_written
