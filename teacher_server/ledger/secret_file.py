"""Files that hold one secret: made once, readable by their owner alone."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path


def create_secret_file(path: Path, text: str) -> bool:
    """Write `text` to a new file of mode 0600; False, and nothing written, if there is one already.

    Another process sees the whole file or none, also after a power failure. Of several processes
    that create the same file at once, one succeeds. Raises OSError.
    """
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    is_created = False
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            # Unlike a rename, a link never replaces what another process has just made.
            os.link(part, path)
            is_created = True
    finally:
        part.unlink()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return is_created
