"""What a run of the chaos leaves behind, as plain values for the checker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.chaos.history import Event

Vector = NDArray[np.float32]
Line = Mapping[str, Any]  # one line of a vendor's ledger, or a receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountFacts:
    """One key at the vendor after everything: what it says of itself, and what it has kept.

    `answers` are the stored answers by Idempotency-Key, read back over HTTP: the sha256 of the
    bytes and the vectors in order. `spends_to` is what the scene lets be charged in the end.
    """

    budget: int
    spent: int
    reserved: int
    ledger: Sequence[Line]
    answers: Mapping[str, tuple[str, Sequence[Vector]]]
    spends_to: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One vector that a cache keeps, and the request that it was bought with."""

    item: str
    vector: Vector
    request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheFacts:
    """One cache after everything; `rows` hold an item twice when it was bought twice."""

    key_id: str
    budget: int
    receipts: Sequence[Line]
    rows: Sequence[Row]
    units_on_record: int
    units_in_flight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """The events of one life of one client."""

    name: str
    key_id: str
    events: Sequence[Event]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything that the checker looks at. `faults` are what the product's own checks said."""

    accounts: Mapping[str, AccountFacts]
    caches: Mapping[str, CacheFacts]
    processes: Sequence[Process]
    reference: Mapping[str, Vector]
    faults: Sequence[str] = field(default_factory=tuple)
