"""The folder of one table, on a disk or at any address that fsspec reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cache.storage.atomic_file import replace_file
from student.errors import BadInput
from student.options.folders import require_room

if TYPE_CHECKING:
    import fsspec


class ArchiveFolder:
    """Every method raises BadInput if the folder cannot be reached."""

    def __init__(self, address: str, name: str = "") -> None:
        """The folder `name` in the folder `address`, a path or a URL; without a name, that folder
        itself. Makes nothing."""
        import fsspec
        from fsspec.implementations.local import LocalFileSystem

        self._option = f"--pixels {address}"
        self._system: fsspec.AbstractFileSystem
        if _has_password(address):
            message = (
                "--pixels has a password in its URL, which other users of this machine can read: "
                "fsspec takes it from the environment or from its configuration"
            )
            raise BadInput(message)
        with self._reported():
            self._system, path = fsspec.core.url_to_fs(address)
        self.address = f"{address.rstrip('/')}/{name}".rstrip("/")
        self._path = f"{path.rstrip('/')}/{name}".rstrip("/")
        self._on_disk = Path(self._path) if isinstance(self._system, LocalFileSystem) else None

    @property
    def on_disk(self) -> Path | None:
        """The folder's path on a disk of this machine; None elsewhere."""
        return self._on_disk

    def make(self, room: int) -> None:
        """Make the folder; on a disk, refuse one without `room` for so many bytes."""
        if self._on_disk is not None:
            require_room(self._on_disk, room, self._option)
        with self._reported():
            self._system.makedirs(self._path, exist_ok=True)

    def sizes(self) -> dict[str, int]:
        """The bytes of each file by its name; empty if there is no folder."""
        with self._reported():
            self._system.invalidate_cache()
            if not self._system.exists(self._path):
                return {}
            found = self._system.ls(self._path, detail=True)
        return {str(one["name"]).rpartition("/")[2]: int(one["size"] or 0) for one in found}

    def write(self, name: str, content: bytes) -> None:
        """Write a file as a whole."""
        with self._reported():
            if self._on_disk is not None:
                replace_file(self._on_disk / name, content)
            else:
                self._system.pipe_file(f"{self._path}/{name}", content)

    def read(self, name: str) -> bytes:
        """A whole file."""
        with self._reported():
            content: bytes = self._system.cat_file(f"{self._path}/{name}")
        return content

    def ranges(
        self, names: Sequence[str], starts: Sequence[int], ends: Sequence[int]
    ) -> list[bytes]:
        """The bytes from `starts` to `ends` of these files; a store on the network is asked for all
        of them at once."""
        with self._reported():
            read: list[bytes] = self._system.cat_ranges(
                [f"{self._path}/{name}" for name in names],
                list(starts),
                list(ends),
                on_error="raise",
            )
        return read

    def delete(self, name: str) -> None:
        """Delete a file."""
        with self._reported():
            self._system.rm_file(f"{self._path}/{name}")

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        # fsspec's systems raise what their own libraries raise; ImportError names the missing one.
        except Exception as error:
            message = (
                f"{self._option} cannot be used: {type(error).__name__}: {error}. Nothing was "
                "charged for this, and what was bought is stored; mend it, then run the same "
                "command again"
            )
            raise BadInput(message) from error


def _has_password(address: str) -> bool:
    try:
        return urlsplit(address).password is not None
    except ValueError:  # fsspec says what is wrong with it
        return False
