"""A purchase, its price and its possible outcomes, as values.

Prices are integers, and each charge records the version of its price list.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """The price of a query; `version` changes whenever a price does."""

    version: str
    micro_usd_per_unit: int
    image_units: int = 1
    text_units: int = 1

    def units(self, *, images: int, texts: int) -> int:
        """Units billed for this many images and texts."""
        return images * self.image_units + texts * self.text_units

    def cost(self, units: int) -> int:
        """Cost of this many units, in millionths of a US dollar."""
        return units * self.micro_usd_per_unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """What a request buys; `payload_sha256` distinguishes a retry from another request."""

    request_id: str
    key_id: str
    idempotency_key: str
    payload_sha256: str
    images: int
    texts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """Units reserved at a fixed price; it is posted or voided, and only once."""

    purchase: Purchase
    units: int
    price: Price


@dataclass(frozen=True, slots=True)
class Replay:
    """The same purchase was charged before; `body` is the stored answer, byte for byte."""

    body: bytes


@dataclass(frozen=True, slots=True)
class Purged:
    """The same purchase was charged before, and its answer was deleted because of its age.

    It is never charged again; `request_id` identifies its ledger entry.
    """

    request_id: str


@dataclass(frozen=True, slots=True)
class InFlight:
    """The same purchase is in progress."""


@dataclass(frozen=True, slots=True)
class KeyReused:
    """The Idempotency-Key was used for another payload."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The budget is too small; `remaining` is unspent, though partly reserved if temporary."""

    needed: int
    remaining: int
    is_temporary: bool


Earlier = Replay | Purged | InFlight | KeyReused
