"""The receipt of a purchase: a copy of the vendor's ledger entry, or the client's own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit, urlunsplit

from pydantic import BaseModel, ConfigDict, Field

from cache.records.canonical_json import json_sha256

GENESIS_HASH: Final = "0" * 64
CLIENT_KNOWS: Final = "own1-"
"""The start of the key of a purchase whose vendor knows no keys: only the client has it."""
CLIENT: Final = "client"  # the issuer of a receipt that no vendor wrote
# The end of a URL's path in the settings of other clients, such as `/v1` and `/v1/embeddings`.
_API_PATH: Final = re.compile(r"(?:/+v1(?:/+[a-z]+)?)?/*\Z")

Sha256Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]


class Receipt(BaseModel):
    """One entry of a vendor's ledger: a charge, a grant or a correction.

    Units are queries, cost is in micro-USD, times are Unix milliseconds. `embeddings_sha256` is the
    digest of the embeddings that a charge pays for (see `embeddings_digest`); None in a receipt of
    version 1, which does not have the field. Unknown fields of a newer vendor are kept, because the
    vendor's hash covers them.

    A vendor that issues no receipts is bought from over a wire (see `student.wires`): then the
    client writes the receipt, with the further fields `issuer` ("client"), `wire`, `usage` (the
    vendor's own words) and `vendor_request`. It belongs to no ledger: `seq` is its time in
    microseconds, `prev_hash` is GENESIS_HASH and `balance_units` is 0.
    """

    model_config = ConfigDict(
        frozen=True, extra="allow", strict=True, protected_namespaces=(), hide_input_in_errors=True
    )

    seq: Annotated[int, Field(ge=1)]
    kind: Literal["grant", "charge", "correction"]
    request_id: str
    idempotency_key: str
    model: str
    model_fingerprint: str
    images: Count
    texts: Count
    embeddings_sha256: Sha256Hex | None = None
    units: int
    cost_micro_usd: int
    price_version: str
    balance_units: int
    created_ms: int
    prev_hash: Sha256Hex
    hash: Sha256Hex

    @property
    def is_from_client(self) -> bool:
        """Whether the client wrote this receipt, because its vendor issues none."""
        return self._extra("issuer") == CLIENT

    @property
    def wire(self) -> str:
        """The wire over which the client bought what it wrote this receipt for; else ""."""
        wire = self._extra("wire")
        return wire if isinstance(wire, str) else ""

    @property
    def usage(self) -> dict[str, Any]:
        """What such a vendor said of its work in its own terms; {} if it said nothing."""
        usage = self._extra("usage")
        return usage if isinstance(usage, dict) else {}

    def _extra(self, name: str) -> object:
        return (self.model_extra or {}).get(name)

    def entry(self) -> dict[str, Any]:
        """Return the fields as the vendor wrote them, without those that it did not write."""
        return self.model_dump(mode="json", exclude_unset=True)

    def verify(self) -> bool:
        """Whether `hash` is the hash of the other fields."""
        return self.hash == entry_hash(self.entry())


def entry_hash(entry: dict[str, Any]) -> str:
    """Return the SHA-256 (hex) of the canonical JSON of an entry without its `hash`."""
    rest = {name: value for name, value in entry.items() if name != "hash"}
    return json_sha256(rest)


def chain_breaks(entries: Iterable[Receipt]) -> Iterator[str]:
    """Yield a sentence for every gap, broken link and false hash of a complete ledger."""
    seq, prev_hash = 0, GENESIS_HASH
    for entry in entries:
        if entry.seq != seq + 1:
            yield f"seq {entry.seq}: follows seq {seq}: the ledger has a gap or is out of order"
        elif entry.prev_hash != prev_hash:
            yield f"seq {entry.seq}: prev_hash is not the hash of seq {seq}"
        if not entry.verify():
            yield f"seq {entry.seq}: its hash is not the hash of its fields"
        seq, prev_hash = entry.seq, entry.hash


def base_url(vendor: str) -> str:
    """Return a vendor's URL without the API's own path at its end, and without a trailing slash.

    OpenAI's clients have `/v1` in their base URL. Raises ValueError if the URL cannot be read.
    """
    parts = urlsplit(vendor)
    return urlunsplit(parts._replace(path=_API_PATH.sub("", parts.path)))


def account_name(vendor: str, key_id: str) -> str:
    """Return the account that a receipt belongs to: "<vendor base URL>#<key id>"."""
    parts = urlsplit(vendor)
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}#{key_id}"


def key_id_of(account: str) -> str:
    """Return the key id of an account, which does not depend on the vendor's address."""
    return account.rpartition("#")[2]
