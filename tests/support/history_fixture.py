"""A small history of one client, one vendor and one cache, honest until a test doctors it."""

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


def seal(line: dict[str, Any]) -> dict[str, Any]:
    rest = {name: value for name, value in line.items() if name != "hash"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    return rest | {"hash": hashlib.sha256(text.encode()).hexdigest()}


def resealed(ledger: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same lines with a chain and balances that hold, as a cunning vendor would write them."""
    balance, prev_hash, lines = 0, "0" * 64, []
    for seq, line in enumerate(ledger, start=1):
        balance += line["units"] if line["kind"] == "grant" else -line["units"]
        changes = {"seq": seq, "balance_units": balance, "prev_hash": prev_hash}
        lines.append(seal(line | changes))
        prev_hash = lines[-1]["hash"]
    return lines


def line_of(kind: str, key: str, units: int) -> dict[str, Any]:
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
class Story:
    """What one client asked in one run, and what the vendor and the cache hold afterwards.

    It bought items 0 and 1 as `a`, items 2 to 4 as `b` (the first try went unheard), asked for a
    sixth and was told that none was left.
    """

    events: list[Event] = field(default_factory=list)
    ledger: list[dict[str, Any]] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    answers: dict[str, tuple[str, list[Vector]]] = field(default_factory=dict)
    reserved: int = 0
    in_flight: int = 0

    def __post_init__(self) -> None:
        grant, a, b = (("grant", "", 5), ("charge", "a", 2), ("charge", "b", 3))
        self.ledger = resealed([line_of(*grant), line_of(*a), line_of(*b)])
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
        """Another ledger, of which the client's answers and receipts show the lines."""
        self.ledger = resealed(ledger)
        by_request = {line["request_id"]: line for line in self.ledger}
        for event in self.events:
            if event["kind"] == "ok":
                event["receipt"] = by_request[event["receipt"]["request_id"]]

    @property
    def evidence(self) -> Evidence:
        charges = [line for line in self.ledger if line["kind"] == "charge"]
        held = {row.request_id for row in self.rows}
        receipts = [line for line in charges if line["request_id"] in held]
        account = AccountFacts(
            budget=sum(line["units"] for line in self.ledger if line["kind"] == "grant"),
            spent=sum(line["units"] for line in charges),
            reserved=self.reserved,
            ledger=self.ledger,
            answers=self.answers,
            spends_to=BUDGET,
        )
        cache = CacheFacts(
            key_id=KEY,
            budget=BUDGET,
            receipts=receipts,
            rows=self.rows,
            units_on_record=sum(receipt["units"] for receipt in receipts),
            units_in_flight=self.in_flight,
        )
        return Evidence(
            accounts={KEY: account},
            caches={"c": cache},
            processes=[Process(name="client-1", key_id=KEY, events=self.events)],
            reference={item: vector(item) for item in ITEMS},
        )
