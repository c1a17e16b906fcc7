"""A small correct history of one client, one vendor and one cache, for tests to alter."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.chaos.history import Event
from benchmarks.chaos.observations import AccountFacts, CacheFacts, Evidence, Process, Row, Vector

KEY, BUDGET = "k1", 5
ITEMS = tuple(hashlib.sha256(str(n).encode()).hexdigest() for n in range(8))


def vector(item: str) -> Vector:
    row = np.random.default_rng(int(item[:8], 16)).normal(size=4)
    return (row / np.linalg.norm(row)).astype(np.float32)


def seal(entry: dict[str, Any]) -> dict[str, Any]:
    rest = {name: value for name, value in entry.items() if name != "hash"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    return rest | {"hash": hashlib.sha256(text.encode()).hexdigest()}


def resealed(ledger: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same entries with a valid hash chain and balances, as a forgery would have them."""
    balance, prev_hash, entries = 0, "0" * 64, []
    for seq, entry in enumerate(ledger, start=1):
        balance += entry["units"] if entry["kind"] == "grant" else -entry["units"]
        changes = {"seq": seq, "balance_units": balance, "prev_hash": prev_hash}
        entries.append(seal(entry | changes))
        prev_hash = entries[-1]["hash"]
    return entries


def entry_of(kind: str, key: str, units: int) -> dict[str, Any]:
    return {
        "kind": kind,
        "request_id": f"req_{key or 'grant'}",
        "idempotency_key": key,
        "images": units if kind == "charge" else 0,
        "texts": 0,
        "units": units,
        "created_ms": 0,
    }


@dataclass
class HistoryFixture:
    """What one client requested in one run, and what the vendor and the cache hold afterwards.

    It bought items 0 and 1 as `a`, and items 2 to 4 as `b`, whose first answer was lost. Its
    request for a sixth item was refused because the budget was spent.
    """

    events: list[Event] = field(default_factory=list)
    ledger: list[dict[str, Any]] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    answers: dict[str, tuple[str, list[Vector]]] = field(default_factory=dict)
    reserved: int = 0
    open_units: int = 0

    def __post_init__(self) -> None:
        grant, a, b = (("grant", "", 5), ("charge", "a", 2), ("charge", "b", 3))
        self.ledger = resealed([entry_of(*grant), entry_of(*a), entry_of(*b)])
        for key, items in (("a", ITEMS[:2]), ("b", ITEMS[2:5])):
            self.answers[key] = (f"bytes of {key}", [vector(item) for item in items])
            self.rows += [Row(item=i, vector=vector(i), request_id=f"req_{key}") for i in items]
        self.events = [
            {"t": 10, "kind": "start"},
            {"t": 20, "kind": "invoke", "op": 1, "what": "buy", "key": "a", "items": ITEMS[:2]},
            {"t": 30, "kind": "ok", "op": 1, "sha256": "bytes of a", "receipt": self.ledger[1]},
            {"t": 40, "kind": "invoke", "op": 2, "what": "buy", "key": "b", "items": ITEMS[2:5]},
            {"t": 50, "kind": "info", "op": 2, "cause": "ReadTimeout"},
            {"t": 60, "kind": "invoke", "op": 3, "what": "recover", "key": "b"},
            {"t": 70, "kind": "ok", "op": 3, "sha256": "bytes of b", "receipt": self.ledger[2]},
            {"t": 80, "kind": "invoke", "op": 4, "what": "buy", "key": "c", "items": ITEMS[5:6]},
            {"t": 90, "kind": "fail", "op": 4, "status": 402, "charged_units": 0}
            | {"needed": 1, "remaining": 0},
        ]

    def rewrite(self, ledger: list[dict[str, Any]]) -> None:
        """Replace the ledger, and the receipts in the client's answers with its entries."""
        self.ledger = resealed(ledger)
        by_request = {entry["request_id"]: entry for entry in self.ledger}
        for event in self.events:
            if event["kind"] == "ok":
                event["receipt"] = by_request[event["receipt"]["request_id"]]

    @property
    def evidence(self) -> Evidence:
        charges = [entry for entry in self.ledger if entry["kind"] == "charge"]
        held = {row.request_id for row in self.rows}
        receipts = [entry for entry in charges if entry["request_id"] in held]
        account = AccountFacts(
            budget=sum(entry["units"] for entry in self.ledger if entry["kind"] == "grant"),
            spent=sum(entry["units"] for entry in charges),
            reserved=self.reserved,
            ledger=self.ledger,
            answers=self.answers,
            expected_charges=BUDGET,
        )
        cache = CacheFacts(
            key_id=KEY,
            budget=BUDGET,
            receipts=receipts,
            rows=self.rows,
            units_on_record=sum(receipt["units"] for receipt in receipts),
            open_units=self.open_units,
        )
        return Evidence(
            accounts={KEY: account},
            caches={"c": cache},
            processes=[Process(name="client-1", key_id=KEY, events=self.events)],
            reference={item: vector(item) for item in ITEMS},
        )
