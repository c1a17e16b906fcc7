"""The folder of a complete export: Parquet files, and a manifest with the SHA-256 of each.

    manifest.json               written last: without it, an export is not complete
    embeddings-00000.parquet    one row for each paid embedding, with its vector; and so on
    records.parquet             receipts, open purchases, write-offs, refusals, runs, each as it is
                                stored, with its checksum; and the lines of receipts.jsonl

The folder is on a local disk or at any address that fsspec reads, such as s3://BUCKET/FOLDER.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from cache.errors import TransferFailed

if TYPE_CHECKING:
    import fsspec

FORMAT: Final = "rented-teacher paid cache"
VERSION: Final = 1
MANIFEST: Final = "manifest.json"
RECORDS: Final = "records.parquet"
LINE: Final = "line"
"""The kind of a record that is a line of receipts.jsonl; the others are the cache's own tags."""
ROWS_IN_A_FILE: Final = 65_536
_BLOCK: Final = 2**20


def embeddings_name(number: int) -> str:
    """The name of one of the files with embeddings."""
    return f"embeddings-{number:05}.parquet"


class ParquetFolder:
    """One folder, wherever it is. Every method raises TransferFailed if it cannot be reached."""

    def __init__(self, address: str) -> None:
        """`address` is a path or a URL. Raises TransferFailed without pyarrow or fsspec."""
        for name, extra in (("pyarrow", "parquet"), ("fsspec", "remote")):
            if find_spec(name) is None:
                message = f"this needs {name}: pip install 'rented-teacher[{extra}]'"
                raise TransferFailed(message)
        import fsspec

        self.address = address
        self._system: fsspec.AbstractFileSystem
        with self._reported():
            self._system, path = fsspec.core.url_to_fs(address)
        self._path = path.rstrip("/")

    def require_new(self) -> None:
        """Raises TransferFailed if the folder holds anything: no export is overwritten."""
        with self._reported():
            self._system.invalidate_cache()
            found = self._system.exists(self._path) and self._system.ls(self._path, detail=False)
        if found:
            message = f"{self.address} is not empty: name a new folder; nothing was written"
            raise TransferFailed(message)

    def put(self, file: Path, name: str) -> None:
        """Copy a file of this machine into the folder."""
        with self._reported():
            self._system.makedirs(self._path, exist_ok=True)
            self._system.put_file(str(file), f"{self._path}/{name}")

    def put_manifest(self, files: Mapping[str, Mapping[str, object]]) -> None:
        """Write the manifest, which completes the export."""
        content = {"format": FORMAT, "version": VERSION, "files": files}
        with self._reported():
            self._system.pipe_file(
                f"{self._path}/{MANIFEST}", json.dumps(content, indent=2).encode()
            )

    def files(self) -> dict[str, str]:
        """The SHA-256 (hex) of each file, by its name, as the manifest has it."""
        with self._reported():
            self._system.invalidate_cache()
            if not self._system.exists(f"{self._path}/{MANIFEST}"):
                message = f"{self.address} is no complete export: it has no {MANIFEST}"
                raise TransferFailed(message)
            content = self._system.cat_file(f"{self._path}/{MANIFEST}")
        try:
            read = json.loads(content)
            found = (read["format"], read["version"])
            files = {str(name): str(one["sha256"]) for name, one in read["files"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            message = f"{self.address}/{MANIFEST} cannot be read ({type(error).__name__})"
            raise TransferFailed(message) from error
        if found != (FORMAT, VERSION):
            message = f"{self.address} has format {found}; this program reads {(FORMAT, VERSION)}"
            raise TransferFailed(message)
        return files

    @contextmanager
    def fetched(self, name: str, sha256: str) -> Iterator[Path]:
        """A copy of a file on this machine, for the block. Raises TransferFailed if it differs."""
        with TemporaryDirectory(prefix="import-") as folder:
            file = Path(folder) / "file"
            with self._reported():
                self._system.get_file(f"{self._path}/{name}", str(file))
            if file_sha256(file) != sha256:
                message = (
                    f"{self.address}/{name} is not what was exported: its SHA-256 is not the"
                    " manifest's; nothing was imported"
                )
                raise TransferFailed(message)
            yield file

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except TransferFailed:
            raise
        # fsspec's systems raise what their own libraries raise; ImportError names the missing one.
        except Exception as error:
            message = f"{self.address} cannot be used: {type(error).__name__}: {error}"
            raise TransferFailed(message) from error


def file_sha256(file: Path) -> str:
    """The SHA-256 (hex) of a file."""
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while block := opened.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def facts(file: Path, rows: int) -> dict[str, Any]:
    """What the manifest says of a file."""
    return {"rows": rows, "bytes": file.stat().st_size, "sha256": file_sha256(file)}
