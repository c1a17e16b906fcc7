"""What a chaos test leaves behind, as plain values for the checker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.chaos.history import Event

Vector = NDArray[np.float32]
Entry = Mapping[str, Any]  # a ledger entry, or the receipt of one, as its JSON fields


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountFacts:
    """One key at the end: its account, its ledger entries and its stored answers.

    `answers` were read over HTTP. They map an Idempotency-Key to the SHA-256 of the body and the
    vectors in order. `expected_charges` comes from the scenario. Counts are queries.
    """

    budget: int
    spent: int
    reserved: int
    ledger: Sequence[Entry]
    answers: Mapping[str, tuple[str, Sequence[Vector]]]
    expected_charges: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One vector in a cache, and the request that it was bought with."""

    item: str
    vector: Vector
    request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheFacts:
    """One cache at the end. `rows` contain an item twice if it was bought twice."""

    key_id: str
    budget: int
    receipts: Sequence[Entry]
    rows: Sequence[Row]
    units_on_record: int
    open_units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """The events of one client process."""

    name: str
    key_id: str
    events: Sequence[Event]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything that the checker reads. `faults` come from the product's own checks."""

    accounts: Mapping[str, AccountFacts]
    caches: Mapping[str, CacheFacts]
    processes: Sequence[Process]
    reference: Mapping[str, Vector]
    faults: Sequence[str] = field(default_factory=tuple)
