"""The folder of a cache: private, and on a disk of this machine."""

from __future__ import annotations

import os
import stat
import sys
import warnings
from pathlib import Path
from typing import Final

from cache.errors import CacheUnavailable

DATABASE: Final = "cache.db"
RECEIPTS: Final = "receipts.jsonl"
_MOUNTS: Final = Path("/proc/mounts")
# fmt: off
_NETWORK: Final = frozenset((
    "nfs", "nfs3", "nfs4", "cifs", "smb3", "smbfs", "ceph", "glusterfs", "lustre", "afs", "beegfs",
    "gfs2", "ocfs2", "fuse.glusterfs", "fuse.sshfs", "fuse.s3fs", "fuse.rclone", "fuse.gcsfuse",
))
# fmt: on
_SHARED_WITH_HOST: Final = frozenset(("9p", "virtiofs", "drvfs", "vboxsf", "fuse.grpcfuse"))


class FolderWarning(UserWarning):
    """The cache works in this folder, but the folder is shared in a way that needs care."""


def user_path(path: Path | str) -> Path:
    """Return `path` with `~` as the home folder, as a shell reads it, whoever wrote it.

    Raises CacheUnavailable where there is no such home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        message = f"{path}: there is no such home folder (a name with ~ is written ./{path})"
        raise CacheUnavailable(message) from error


def prepare_folder(folder: Path, *, mounts: str | None = None, user: int | None = None) -> None:
    """Create `folder` if needed, with mode 0700, and check that it can hold a cache.

    `mounts` is the text of /proc/mounts and `user` the id of the current user. Raises
    CacheUnavailable on a network file system and for a folder that holds other files. Windows has
    neither /proc/mounts nor file modes: there both checks are skipped.
    """
    kind = file_system_of(folder, mounts)
    if is_network(kind):
        message = (
            f"{folder} is on a network file system ({kind}), where SQLite's locks do not work and"
            " paid rows can be lost: put the cache on a local disk"
        )
        raise CacheUnavailable(message)
    if kind in _SHARED_WITH_HOST:
        message = (
            f"{folder} is shared with the host by {kind}: do not use the cache from both sides at"
            " the same time"
        )
        warnings.warn(message, FolderWarning, stacklevel=2)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        others = [path.name for path in folder.iterdir() if path.name != "lost+found"]
        if others and not (folder / DATABASE).exists():
            message = f"{folder} is not a cache: it holds {others[0]} and no {DATABASE}"
            if RECEIPTS in others:
                message = (
                    f"{folder} has {RECEIPTS} but no {DATABASE}: run cache-report verify --repair"
                )
            raise CacheUnavailable(message)
        if sys.platform != "win32":
            _make_private(folder, os.geteuid() if user is None else user)
    except OSError as error:
        message = f"cannot use {folder} as a cache: {error.strerror or error}"
        raise CacheUnavailable(message) from error


def is_network(kind: str) -> bool:
    """Whether a file system of this type is a network's, where SQLite's locks do not work."""
    return kind in _NETWORK


def file_system_of(folder: Path, mounts: str | None = None) -> str:
    """Return the type of the file system that `folder` is (or would be) on; "" if unknown."""
    mounts = _read_mounts() if mounts is None else mounts
    resolved = folder.resolve()
    best, kind = Path(), ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        # /proc/mounts writes blanks in a path as octal escapes.
        mount = Path(fields[1].replace("\\040", " ").replace("\\011", "\t"))
        # "<=": the last mount on a mount point hides the earlier mounts.
        if resolved.is_relative_to(mount) and len(best.parts) <= len(mount.parts):
            best, kind = mount, fields[2]
    return kind


def _read_mounts() -> str:
    return _MOUNTS.read_text("utf-8", "surrogateescape") if _MOUNTS.exists() else ""


def _make_private(folder: Path, user: int) -> None:
    if not stat.S_IMODE(folder.stat().st_mode) & 0o077:
        return
    if folder.stat().st_uid == user:
        folder.chmod(0o700)
    else:
        message = f"{folder} belongs to another user and other users can read it"
        warnings.warn(message, FolderWarning, stacklevel=3)
