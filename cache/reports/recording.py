"""Writes the embeddings of a cache as a recording, which a vendor can sell without a model.

The format is that of `teacher_server/inference/recorded.py`.
"""

from __future__ import annotations

import io
import json
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cache.errors import NothingToRecord
from cache.records.purchase_records import PaidEmbedding
from cache.storage.atomic_file import replace_file
from cache.storage.reader import CacheReader


def write_recording(cache: CacheReader, folder: Path, *, fingerprint: str | None = None) -> int:
    """Write every embedding of one model to `folder`; return their number.

    An image is recorded by the bytes that were sent, a text by its own digest. `fingerprint` says
    which model, if the cache has several. Raises NothingToRecord for a cache without embeddings, or
    with those of several models and no `fingerprint`.
    """
    vectors: dict[str, NDArray[np.float32]] = {}
    models: dict[str, str] = {}
    for row in chain(cache.rows(), cache.rows_bought_again()):
        models.setdefault(row.key.model_fingerprint, row.model)
        if fingerprint in (None, row.key.model_fingerprint):
            vectors.setdefault(_item(row), row.vector)
    if fingerprint is None and len(models) > 1:
        known = ", ".join(f"{name} {print_}" for print_, name in models.items())
        message = f"{cache.folder} has embeddings of several models: name one with --model: {known}"
        raise NothingToRecord(message)
    if not vectors:
        what = f"the model {fingerprint}" if fingerprint else "any model"
        message = f"{cache.folder} has no embedding of {what}"
        raise NothingToRecord(message)
    (model,) = {fingerprint} if fingerprint else models
    described = {
        "format": 1,
        "name": models[model],
        "recorded_from": {"model": models[model], "fingerprint": model},
    }
    folder.mkdir(parents=True, exist_ok=True)
    file = io.BytesIO()
    np.save(file, np.stack(list(vectors.values())), allow_pickle=False)
    replace_file(folder / "vectors.npy", file.getvalue())
    replace_file(folder / "items.txt", "".join(f"{item}\n" for item in vectors).encode())
    # Last: without it the folder is no recording.
    replace_file(folder / "recorded.json", json.dumps(described, indent=2).encode())
    return len(vectors)


def _item(row: PaidEmbedding) -> str:
    digest = row.sent_sha256 if row.key.modality == "image" else row.key.item
    return f"{row.key.modality} {digest}"
