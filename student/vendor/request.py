"""One purchase as it is sent: items in order, and the answer that may come back for them."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from cache.records.purchase_records import Intent
from cache.records.receipt import key_id_of
from student.vendor.schemas import Modality, Model, Prices

# JSON around the items: the model's name and the brackets.
BODY_FRAME = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One thing to embed: an image file's bytes, or a text's NFC UTF-8."""

    modality: Modality
    payload: bytes

    @property
    def sha256(self) -> str:
        """Hex digest of the bytes that are sent."""
        return hashlib.sha256(self.payload).hexdigest()

    @property
    def wire_bytes(self) -> int:
        """No fewer bytes than the item takes in the JSON body."""
        if self.modality == "image":
            return 4 * -(-len(self.payload) // 3) + 16
        return 6 * len(self.payload) + 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What an answer must match. None: not known any more, so only self-consistency is asked.

    `units` is what was reserved for the purchase; `price_version` with `cost_micro_usd` is the
    price agreed to.
    """

    idempotency_key: str
    modalities: tuple[Modality, ...]
    units: int
    model: str | None = None
    model_fingerprint: str | None = None
    dim: int | None = None
    price_version: str | None = None
    cost_micro_usd: int | None = None

    @property
    def images(self) -> int:
        return self.modalities.count("image")

    @property
    def texts(self) -> int:
        return self.modalities.count("text")


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Items of one request, priced."""

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

    def expected(self, idempotency_key: str) -> Expected:
        """What the vendor owes for this batch."""
        return Expected(
            idempotency_key=idempotency_key,
            modalities=tuple(item.modality for item in self.items),
            units=self.units,
            model=self.model.id,
            model_fingerprint=self.model.fingerprint,
            dim=self.model.dim,
            price_version=self.prices.version,
            cost_micro_usd=self.prices.cost(self.units),
        )


def fitting(items: Sequence[Item], room: int) -> int:
    """How many of the items a body of `room` bytes carries; one at least, for the vendor to judge.

    The JSON around the items counts.
    """
    room -= BODY_FRAME
    for count, item in enumerate(items):
        room -= item.wire_bytes
        if room < 0:
            return max(1, count)
    return len(items)


def purchase_key(
    *, account: str, model_fingerprint: str, digests: Sequence[bytes], epoch: str
) -> str:
    """The Idempotency-Key of a purchase: the same items, in order, of one epoch and account.

    The epoch (the run that first reserved the purchase) is kept in the journal with the key, so
    that a later run repeats a purchase under its old key, tells purchases of another account
    apart, and never falls upon a key that an earlier run gave up. Of the account only the key id
    counts: a vendor that moved to another port is still the one that was asked.
    """
    facts = {
        "account": key_id_of(account),
        "epoch": epoch,
        "items": [digest.hex() for digest in digests],
        "model_fingerprint": model_fingerprint,
    }
    canonical = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return "buy1-" + hashlib.sha256(canonical.encode()).hexdigest()


def is_of(account: str, intent: Intent) -> bool:
    """Whether an intent was made for this account: its key says so."""
    return intent.idempotency_key == purchase_key(
        account=account,
        model_fingerprint=intent.keys[0].model_fingerprint,
        digests=[key.digest for key in intent.keys],
        epoch=intent.run,
    )
