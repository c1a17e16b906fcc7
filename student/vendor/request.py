"""A purchase as it is sent: items in order, their key, and the answer that is due for them."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from cache.records.canonical_json import json_sha256
from cache.records.purchase_records import Intent
from cache.records.receipt import CLIENT_KNOWS, key_id_of
from student.vendor.schemas import Modality, Model, Prices

# Bytes of JSON around the items: the model's name and the brackets.
BODY_FRAME = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """Something to embed: the bytes of an image file, or a text in NFC and UTF-8."""

    modality: Modality
    payload: bytes

    @property
    def sha256(self) -> str:
        """Hex SHA-256 of the bytes that are sent."""
        return hashlib.sha256(self.payload).hexdigest()

    @property
    def encoded_bytes(self) -> int:
        """An upper bound on the item's bytes in the JSON body."""
        if self.modality == "image":
            return 4 * -(-len(self.payload) // 3) + 16
        return 6 * len(self.payload) + 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedAnswer:
    """What an answer must match. A field that is None is unknown; then only consistency is checked.

    `units` (queries) is what was reserved for the purchase; `price_version` and `cost_micro_usd`
    are the price that was agreed. `model_fingerprint` is either of the model's two, whichever its
    embeddings have in the cache; `fingerprint_v2` is "" where it is not known.
    """

    idempotency_key: str
    modalities: tuple[Modality, ...]
    units: int
    model: str | None = None
    model_fingerprint: str | None = None
    fingerprint_v2: str = ""
    dim: int | None = None
    price_version: str | None = None
    cost_micro_usd: int | None = None

    @property
    def images(self) -> int:
        return self.modalities.count("image")

    @property
    def texts(self) -> int:
        return self.modalities.count("text")

    def name_of(self, fingerprint: str, fingerprint_v2: str) -> str:
        """The fingerprint under which the cache keeps the answer of a model with these two.

        It is the expected one if either of the two is that, and the configuration has not changed.
        """
        planned = self.model_fingerprint
        if planned is not None and planned == fingerprint_v2:
            return planned
        is_comparable = planned == fingerprint and bool(fingerprint_v2 and self.fingerprint_v2)
        has_changed = is_comparable and fingerprint_v2 != self.fingerprint_v2
        return fingerprint_v2 if has_changed else fingerprint


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The items of a single request, and their price list."""

    model: Model
    prices: Prices
    items: tuple[Item, ...]

    @property
    def units(self) -> int:
        return sum(self.prices.units_for(item.modality) for item in self.items)

    def body(self) -> bytes:
        """The JSON body of POST /v1/embeddings; the same items give the same bytes."""
        inputs = [
            {"image": base64.b64encode(item.payload).decode("ascii")}
            if item.modality == "image"
            else {"text": item.payload.decode("utf-8")}
            for item in self.items
        ]
        return json.dumps(
            {"model": self.model.id, "input": inputs, "encoding_format": "base64"},
            separators=(",", ":"),
        ).encode("ascii")

    def expected(self, idempotency_key: str) -> ExpectedAnswer:
        """The answer that is due for this batch."""
        return ExpectedAnswer(
            idempotency_key=idempotency_key,
            modalities=tuple(item.modality for item in self.items),
            units=self.units,
            model=self.model.id,
            model_fingerprint=self.model.fingerprint,
            fingerprint_v2=self.model.fingerprint_v2,
            dim=self.model.dim,
            price_version=self.prices.version,
            cost_micro_usd=self.prices.cost(self.units),
        )


def items_that_fit(items: Sequence[Item], max_bytes: int) -> int:
    """How many of the items fit into a JSON body of `max_bytes`, including the JSON around them.

    At least 1: the vendor decides about a single item.
    """
    left = max_bytes - BODY_FRAME
    for count, item in enumerate(items):
        left -= item.encoded_bytes
        if left < 0:
            return max(1, count)
    return len(items)


VENDOR_KNOWS = "buy1-"
"""The start of the key of a purchase that its vendor can be asked for."""


def purchase_key(
    *,
    account: str,
    model_fingerprint: str,
    digests: Sequence[bytes],
    epoch: str,
    prefix: str = VENDOR_KNOWS,
) -> str:
    """The Idempotency-Key of a purchase: the same for the same items in order, epoch and account.

    The epoch is the run that first reserved the purchase. The journal keeps it with the key, so
    that a later run can repeat the purchase under its old key, recognise purchases of another
    account, and never reuse a key that an earlier run abandoned. Only the key id of the account
    counts: a vendor that moved to another port is still the same vendor.
    """
    facts = {
        "account": key_id_of(account),
        "epoch": epoch,
        "items": [digest.hex() for digest in digests],
        "model_fingerprint": model_fingerprint,
    }
    return prefix + json_sha256(facts)


def is_unknown_to_vendor(intent: Intent) -> bool:
    """Whether nobody can be asked what became of this purchase: its vendor knows no keys."""
    return intent.idempotency_key.startswith(CLIENT_KNOWS)


def belongs_to(account: str, intent: Intent) -> bool:
    """Whether an intent was made for this account, which its key proves."""
    return intent.idempotency_key == purchase_key(
        account=account,
        model_fingerprint=intent.keys[0].model_fingerprint,
        digests=[key.digest for key in intent.keys],
        epoch=intent.run,
    )
