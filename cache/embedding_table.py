"""Paid embeddings as one matrix on disk, which training reads."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cache.errors import NotPaid, StaleTable
from cache.records.embedding_key import EmbeddingKey
from cache.storage.atomic_file import replace_file, replacing
from cache.storage.reader import CacheReader

EMBEDDINGS: Final = "embeddings.npy"
MANIFEST: Final = "manifest.json"
_FORMAT: Final = 1
_ROWS_PER_READ: Final = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Description of a table: its model, its keys, its shape and the SHA-256 of its file."""

    format: int
    model_fingerprint: str
    count: int
    dim: int
    keys_sha256: str
    embeddings_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EmbeddingTable:
    """N paid embeddings of one model; `vectors` is float32 (N, D), memory-mapped, read-only."""

    folder: Path
    manifest: Manifest
    vectors: NDArray[np.float32]

    def __len__(self) -> int:
        return self.manifest.count

    @property
    def dim(self) -> int:
        """D, the length of an embedding."""
        return self.manifest.dim

    @property
    def model_fingerprint(self) -> str:
        """The fingerprint of the teacher model."""
        return self.manifest.model_fingerprint


def materialise(cache: CacheReader, keys: Sequence[EmbeddingKey], folder: Path) -> EmbeddingTable:
    """Return the table of `keys` in `folder`, building it unless it is there; row i is keys[i].

    Buys nothing. Raises NotPaid for keys that are not in the cache, ValueError for no keys or keys
    of several models, CorruptRow for a damaged row.
    """
    _require_one_model(keys)
    try:
        return open_table(folder, keys)
    except StaleTable:
        return _build(cache, keys, folder)


def open_table(folder: Path, keys: Sequence[EmbeddingKey]) -> EmbeddingTable:
    """Open the table of exactly `keys` in `folder`. Raises StaleTable for any other content."""
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
    return _mapped(folder, manifest)


def _mapped(folder: Path, manifest: Manifest) -> EmbeddingTable:
    vectors = np.load(folder / EMBEDDINGS, mmap_mode="r", allow_pickle=False)
    return EmbeddingTable(folder=folder, manifest=manifest, vectors=vectors)


def _build(cache: CacheReader, keys: Sequence[EmbeddingKey], folder: Path) -> EmbeddingTable:
    digests = {key.digest for key in keys}
    places = cache.places(digests)
    if len(places) < len(digests):
        raise NotPaid([key.digest for key in cache.missing(keys)])
    first = cache.fetch(keys[:1])[keys[0]]
    dim = int(first.vector.size)
    folder.mkdir(parents=True, exist_ok=True)
    sha256 = hashlib.sha256()
    # A reader that has the old file mapped keeps it: the new file takes its name, not its bytes.
    with replacing(folder / EMBEDDINGS) as file:
        for part in _npy_parts(cache, keys, places, dim):
            file.write(part)
            sha256.update(part)
    manifest = Manifest(
        format=_FORMAT,
        model_fingerprint=first.key.model_fingerprint,
        count=len(keys),
        dim=dim,
        keys_sha256=_keys_sha256(keys),
        embeddings_sha256=sha256.hexdigest(),
    )
    text = json.dumps(asdict(manifest), indent=2, sort_keys=True)
    replace_file(folder / MANIFEST, text.encode())
    return _mapped(folder, manifest)


def _npy_parts(
    cache: CacheReader, keys: Sequence[EmbeddingKey], places: dict[bytes, int], dim: int
) -> Iterator[bytes | bytearray]:
    """Yield the bytes of the .npy file: its header, then the rows in chunks."""
    header = io.BytesIO()
    shape = {"descr": "<f4", "fortran_order": False, "shape": (len(keys), dim)}
    np.lib.format.write_array_header_1_0(header, shape)
    yield header.getvalue()
    for start in range(0, len(keys), _ROWS_PER_READ):
        digests = [key.digest for key in keys[start : start + _ROWS_PER_READ]]
        yield _rows(cache, digests, places, dim)


def _rows(
    cache: CacheReader, digests: Sequence[bytes], places: dict[bytes, int], dim: int
) -> bytearray:
    """The vectors of these keys, one after the other, in their order."""
    targets: dict[bytes, list[int]] = {}
    for target, digest in enumerate(digests):
        targets.setdefault(digest, []).append(target)
    size = 4 * dim
    rows = bytearray(size * len(digests))
    dims = {dim}
    for digest, vector in cache.vectors_at(places[digest] for digest in targets):
        if len(vector) != size:
            dims.add(len(vector) // 4)
            continue
        for target in targets.pop(digest):
            rows[target * size : (target + 1) * size] = vector
    if len(dims) > 1:
        message = f"embeddings of one model have different lengths: {sorted(dims)}"
        raise ValueError(message)
    if targets:
        raise NotPaid(list(targets))
    return rows


def _read_manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST
    try:
        manifest = Manifest(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        message = f"there is no table in {folder}"
        raise StaleTable(message) from error
    except (OSError, ValueError, TypeError) as error:
        message = f"cannot read {path}"
        raise StaleTable(message) from error
    if manifest.format != _FORMAT:
        message = f"{path} has format {manifest.format}; this program reads {_FORMAT}"
        raise StaleTable(message)
    return manifest


def _require_one_model(keys: Sequence[EmbeddingKey]) -> str:
    fingerprints = {key.model_fingerprint for key in keys}
    if len(fingerprints) != 1:
        message = (
            f"a table holds embeddings of one model; these are {len(keys)} keys"
            f" of {len(fingerprints)} models"
        )
        raise ValueError(message)
    return fingerprints.pop()


def _keys_sha256(keys: Sequence[EmbeddingKey]) -> str:
    return hashlib.sha256(b"".join(key.digest for key in keys)).hexdigest()


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
