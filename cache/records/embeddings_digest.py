"""The digest of an answer's embeddings, by which a receipt commits to what it pays for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


def embeddings_sha256(vectors: Iterable[NDArray[np.float32]]) -> str:
    """Return the SHA-256 (hex) of vectors, float32 (D,) each, in the order of the items.

    It is over their little-endian bytes, one vector after the other: what the vendor sends as
    base64, decoded and joined.
    """
    digest = hashlib.sha256()
    for vector in vectors:
        digest.update(vector.astype("<f4", copy=False).tobytes())
    return digest.hexdigest()
