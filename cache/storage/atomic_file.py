"""Atomic, durable writes: a reader sees the old file or the new file, never a part of it."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

_OWNER_ONLY = 0o600


@contextmanager
def replacing(path: Path, *, owner_only: bool = False) -> Iterator[BinaryIO]:
    """Open a new file for binary writing that replaces `path` when the block ends.

    The new file is on disk before it takes the name. If the block raises, `path` keeps its old
    content. `owner_only` gives the file mode 0600; otherwise the umask decides. A process that is
    killed inside the block leaves `<name>.<pid>.part` behind.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with open_owner_only(part, "wb") if owner_only else part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)  # a write that fails names no file
        raise
    sync_folder(path.parent)


def reserve(file: BinaryIO, size: int) -> None:
    """Reserve the blocks of the first `size` bytes of a file that is being written, to map it.

    Without them a full disk ends a process that writes to the mapping by SIGBUS, without a word.
    Raises OSError where the disk has no room.
    """
    file.flush()
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
        else:
            return
    chunk = bytes(2**20)
    for start in range(file.tell(), size, len(chunk)):
        file.write(chunk[: size - start])
    file.flush()


def replace_file(path: Path, content: bytes, *, owner_only: bool = False) -> None:
    """Replace `path` by `content`, atomically and durably (see `replacing`)."""
    with replacing(path, owner_only=owner_only) as file:
        file.write(content)


def open_owner_only(path: Path, mode: str, *, buffering: int = -1) -> BinaryIO:
    """Open a binary file as `open` does; if that creates it, it gets mode 0600."""

    def create(name: str, flags: int) -> int:
        return os.open(name, flags, _OWNER_ONLY)

    # Path.open takes no opener.
    return cast(BinaryIO, open(path, mode, buffering, opener=create))


def sync_folder(folder: Path) -> None:
    """Make created, renamed and deleted names in `folder` survive a power cut.

    Does nothing on Windows, where a folder cannot be opened and NTFS journals its names.
    """
    if sys.platform == "win32":
        return
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
