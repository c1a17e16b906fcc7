"""One line of the ledger: what the receipt shows, and what its hash covers."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

GENESIS = "0" * 64
Kind = Literal["grant", "charge", "correction"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """A posted movement of one key; `hash` chains it to the entry before it."""

    seq: int
    kind: Kind
    request_id: str
    idempotency_key: str
    model: str
    model_fingerprint: str
    images: int
    texts: int
    units: int
    cost_micro_usd: int
    price_version: str
    balance_units: int
    created_ms: int
    prev_hash: str
    hash: str = ""

    def sealed(self) -> LedgerEntry:
        """The same entry with the hash of its canonical JSON (every field but `hash`)."""
        return replace(self, hash=self.expected_hash)

    @property
    def expected_hash(self) -> str:
        """The hash that an unaltered entry carries."""
        fields = self.document()
        del fields["hash"]
        canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(canonical.encode()).hexdigest()

    def document(self) -> dict[str, Any]:
        """The entry as it goes over the wire, fields in their documented order."""
        return asdict(self)
