"""A ledger entry: the fields of a receipt, and the hash over them.

There are two versions. In the second, a charge has `embeddings_sha256`, the digest of the
embeddings that it pays for. An entry of the first has no such field, and keeps its hash.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Final, Literal

from teacher_server.canonical_json import canonical_sha256

GENESIS = "0" * 64
Kind = Literal["grant", "charge", "correction"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """A grant, charge or correction of one key; `prev_hash` is the hash of the entry before it."""

    seq: int
    kind: Kind
    request_id: str
    idempotency_key: str = ""
    model: str = ""
    model_fingerprint: str = ""
    images: int = 0
    texts: int = 0
    embeddings_sha256: str | None = None
    units: int
    cost_micro_usd: int = 0
    price_version: str
    balance_units: int
    created_ms: int
    prev_hash: str
    hash: str = ""

    def sealed(self) -> LedgerEntry:
        """The same entry with its hash."""
        return replace(self, hash=self.expected_hash)

    @property
    def expected_hash(self) -> str:
        """The SHA-256 of the canonical JSON of all fields but `hash`."""
        document = self.document()
        del document["hash"]
        return canonical_sha256(document)

    def document(self) -> dict[str, Any]:
        """The entry as in a receipt, with the fields in their documented order.

        Without `embeddings_sha256` if it has none: the hash of an old entry does not cover it.
        """
        # `asdict` copies each value, which takes five times as long; these are all plain.
        document = {name: getattr(self, name) for name in FIELDS}
        if self.embeddings_sha256 is None:
            del document["embeddings_sha256"]
        return document


FIELDS: Final = tuple(field.name for field in fields(LedgerEntry))
