"""The bought embeddings as one matrix on disk: what training reads."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cache.errors import NotPaid, StaleTable
from cache.records.embedding_key import EmbeddingKey
from cache.storage.reader import CacheReader
from cache.storage.receipts_file import sync_folder

EMBEDDINGS: Final = "embeddings.npy"
MANIFEST: Final = "manifest.json"
_FORMAT: Final = 1
_ROWS_A_READ: Final = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a table is: of which model and keys, how big, and the sha256 of its file."""

    format: int
    model_fingerprint: str
    count: int
    dim: int
    keys_sha256: str
    embeddings_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EmbeddingTable:
    """N paid embeddings, one a row: `vectors` is float32 (N, D), memory-mapped and read-only."""

    folder: Path
    manifest: Manifest
    vectors: NDArray[np.float32]

    def __len__(self) -> int:
        return self.manifest.count

    @property
    def dim(self) -> int:
        """D, the length of one embedding."""
        return self.manifest.dim

    @property
    def model_fingerprint(self) -> str:
        """The teacher that gave all of them."""
        return self.manifest.model_fingerprint


def materialise(cache: CacheReader, keys: Sequence[EmbeddingKey], folder: Path) -> EmbeddingTable:
    """The table of `keys`, row i for keys[i]; the one in `folder` when it is that, else a new one.

    Costs no query. Raises NotPaid for keys that are not in the cache, ValueError for no keys or
    for keys of several models, CorruptRow for a damaged row.
    """
    _require_one_model(keys)
    try:
        return open_table(folder, keys)
    except StaleTable:
        return _build(cache, keys, folder)


def open_table(folder: Path, keys: Sequence[EmbeddingKey]) -> EmbeddingTable:
    """The table of exactly `keys` in `folder`; StaleTable when what is there is anything else."""
    manifest = _read_manifest(folder)
    fingerprint = _require_one_model(keys)
    if manifest.model_fingerprint != fingerprint:
        message = f"{folder} is a table of model {manifest.model_fingerprint}, not {fingerprint}"
        raise StaleTable(message)
    if (manifest.count, manifest.keys_sha256) != (len(keys), _keys_sha256(keys)):
        message = f"{folder} is a table of other embeddings ({manifest.count} rows)"
        raise StaleTable(message)
    path = folder / EMBEDDINGS
    if not path.is_file() or _file_sha256(path) != manifest.embeddings_sha256:
        message = f"{path} is not the file that its manifest describes"
        raise StaleTable(message)
    vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    return EmbeddingTable(folder=folder, manifest=manifest, vectors=vectors)


def _build(cache: CacheReader, keys: Sequence[EmbeddingKey], folder: Path) -> EmbeddingTable:
    if missing := cache.missing(keys):
        raise NotPaid([key.digest for key in missing])
    first = cache.fetch(keys[:1])[keys[0]]
    dim = int(first.vector.size)
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{EMBEDDINGS}.{os.getpid()}.part"
    try:
        _write_vectors(part, cache, keys, dim)
        manifest = Manifest(
            format=_FORMAT,
            model_fingerprint=first.key.model_fingerprint,
            count=len(keys),
            dim=dim,
            keys_sha256=_keys_sha256(keys),
            embeddings_sha256=_file_sha256(part),
        )
        # A reader that has the old file mapped keeps it: the new one takes its name, not its bytes.
        part.replace(folder / EMBEDDINGS)
        _write_manifest(folder, manifest)
    finally:
        part.unlink(missing_ok=True)
    return open_table(folder, keys)


def _write_vectors(part: Path, cache: CacheReader, keys: Sequence[EmbeddingKey], dim: int) -> None:
    header = {"descr": "<f4", "fortran_order": False, "shape": (len(keys), dim)}
    with part.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, len(keys), _ROWS_A_READ):
            chunk = keys[start : start + _ROWS_A_READ]
            found = cache.fetch(chunk)
            dims = {int(row.vector.size) for row in found.values()}
            if dims != {dim}:
                message = f"the embeddings have {sorted({dim, *dims})} numbers: not one model"
                raise ValueError(message)
            rows = np.stack([found[key].vector for key in chunk])
            file.write(rows.astype("<f4", copy=False).tobytes())
        file.flush()
        os.fsync(file.fileno())


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    part = folder / f"{MANIFEST}.{os.getpid()}.part"
    with part.open("w", encoding="utf-8") as file:
        json.dump(asdict(manifest), file, indent=2, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    part.replace(folder / MANIFEST)
    sync_folder(folder)


def _read_manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST
    try:
        manifest = Manifest(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        message = f"there is no table in {folder}"
        raise StaleTable(message) from error
    except (OSError, ValueError, TypeError) as error:
        message = f"{path} cannot be read"
        raise StaleTable(message) from error
    if manifest.format != _FORMAT:
        message = f"{path} has format {manifest.format}, this program reads {_FORMAT}"
        raise StaleTable(message)
    return manifest


def _require_one_model(keys: Sequence[EmbeddingKey]) -> str:
    fingerprints = {key.model_fingerprint for key in keys}
    if len(fingerprints) != 1:
        message = (
            f"a table holds embeddings of one model, these are {len(keys)} keys"
            f" of {len(fingerprints)} models"
        )
        raise ValueError(message)
    return fingerprints.pop()


def _keys_sha256(keys: Sequence[EmbeddingKey]) -> str:
    return hashlib.sha256(b"".join(key.digest for key in keys)).hexdigest()


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
