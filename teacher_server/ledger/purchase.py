"""What a request wants to buy, and what can become of it, as values."""

from __future__ import annotations

from dataclasses import dataclass

from teacher_server.ledger.price import Price


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """What a request wants to buy; `payload_sha256` tells a retry from another request."""

    request_id: str
    key_id: str
    idempotency_key: str
    payload_sha256: str
    images: int
    texts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """Units set aside at a frozen price; resolves at most once, by post or by void."""

    purchase: Purchase
    units: int
    price: Price


@dataclass(frozen=True, slots=True)
class Replay:
    """The same purchase was charged before; `body` is the answer, byte for byte."""

    body: bytes


@dataclass(frozen=True, slots=True)
class Purged:
    """The same purchase was charged before, and its answer is no longer kept.

    It is never charged again; `request_id` names its line in the ledger.
    """

    request_id: str


@dataclass(frozen=True, slots=True)
class InFlight:
    """The same purchase is being worked on."""


@dataclass(frozen=True, slots=True)
class KeyReused:
    """The Idempotency-Key belongs to another payload."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The budget does not reach; `remaining` is what is not spent (others may hold some of it)."""

    needed: int
    remaining: int
    is_temporary: bool


Earlier = Replay | Purged | InFlight | KeyReused
