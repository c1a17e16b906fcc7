"""The digests of answers whose rows are stored one after the other, made while rows are read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, NamedTuple

from cache.records.embedding_key import EmbeddingKey, keys_json
from cache.storage.plain_row import PlainRow


class _Digests(NamedTuple):
    keys: Any
    vectors: Any


class StoredAnswers:
    """The digests of each answer's keys and of its vectors, in the order of storing.

    Most answers are stored in the order of sending and without a row of another between theirs.
    The others have no digest here, and their rows must be read again.
    """

    def __init__(self) -> None:
        self._of_request: dict[str, tuple[bytes, str] | None] = {}
        self._open: _Digests | None = None
        self._request_id = ""

    def add(self, row: PlainRow) -> None:
        """Add the next row of the file."""
        request_id = row.request_id
        if self._open is None or request_id != self._request_id:
            self._close()
            self._open = _Digests(hashlib.blake2b(b"["), hashlib.sha256())
            self._request_id = request_id
        self._open.keys.update(row.key + b",")
        self._open.vectors.update(row.vector)

    def has(self, request_id: str, embeddings_sha256: str) -> bool:
        """Whether the vectors of this request have this digest, as they are stored."""
        self._close()
        found = self._of_request.get(request_id)
        return found is not None and found[1] == embeddings_sha256

    def has_keys(self, request_id: str, keys: Iterable[EmbeddingKey]) -> bool:
        """Whether the rows of this request are those of these keys, stored in their order."""
        self._close()
        found = self._of_request.get(request_id)
        if found is None:
            return False
        return found[0] == hashlib.blake2b(keys_json(keys)[:-1] + b",").digest()

    def _close(self) -> None:
        """Keep the digests of the answer that was read last; None if it was interrupted."""
        if self._open is None:
            return
        if self._request_id in self._of_request:
            self._of_request[self._request_id] = None
        else:
            keys, vectors = self._open
            self._of_request[self._request_id] = keys.digest(), vectors.hexdigest()
        self._open = None
