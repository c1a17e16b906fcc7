"""Where a cache may live: a private folder on a disk of this machine."""

from __future__ import annotations

import os
import stat
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
    """The cache works here, but something about its folder deserves a look."""


def prepare_folder(folder: Path, *, mounts: str | None = None, user: int | None = None) -> None:
    """Make `folder` ready to hold paid rows: there, mode 0700, not on a network file system.

    `mounts` is the text of /proc/mounts, `user` the id of who asks. Raises CacheUnavailable.
    """
    kind = file_system_of(folder, _read_mounts() if mounts is None else mounts)
    if kind in _NETWORK:
        message = (
            f"{folder} is on a network file system ({kind}), where SQLite's locks do not hold and"
            " paid rows get lost; put the cache on a local disk"
        )
        raise CacheUnavailable(message)
    if kind in _SHARED_WITH_HOST:
        message = f"{folder} is shared with a host by {kind}: use the cache from one side at a time"
        warnings.warn(message, FolderWarning, stacklevel=2)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        strangers = [path.name for path in folder.iterdir() if path.name != "lost+found"]
        if strangers and not (folder / DATABASE).exists():
            message = f"{folder} holds other things ({strangers[0]}) and no {DATABASE}: not a cache"
            if RECEIPTS in strangers:
                message = (
                    f"{folder} has receipts and no {DATABASE}: run cache-report verify --repair"
                )
            raise CacheUnavailable(message)
        _make_private(folder, os.geteuid() if user is None else user)
    except OSError as error:
        message = f"{folder} cannot be used as a cache: {error.strerror or error}"
        raise CacheUnavailable(message) from error


def file_system_of(folder: Path, mounts: str) -> str:
    """The type of the file system that `folder` is (or would be) on; "" where nothing says so."""
    place = folder.resolve()
    best, kind = Path(), ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        # /proc/mounts writes blanks in a path as octal escapes.
        mount = Path(fields[1].replace("\\040", " ").replace("\\011", "\t"))
        # "<=": what was mounted last on one point hides what was there before.
        if place.is_relative_to(mount) and len(best.parts) <= len(mount.parts):
            best, kind = mount, fields[2]
    return kind


def _read_mounts() -> str:
    return _MOUNTS.read_text() if _MOUNTS.exists() else ""


def _make_private(folder: Path, user: int) -> None:
    if not stat.S_IMODE(folder.stat().st_mode) & 0o077:
        return
    if folder.stat().st_uid == user:
        folder.chmod(0o700)
    else:
        message = f"{folder} belongs to another user and is open to others"
        warnings.warn(message, FolderWarning, stacklevel=3)
