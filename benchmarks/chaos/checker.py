"""Checks that a serial vendor, one request at a time, could have produced what a test observed.

Each key's ledger is replayed through such a vendor, entry by entry. Then the clients'
histories, the stored answers and the caches must be what it would have given them. This module
shares no code with the product, so that it cannot share its bugs. Every fault is a sentence that
names the ledger entry or the cache.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.chaos.observations import AccountFacts, CacheFacts, Entry, Evidence, Vector
from benchmarks.chaos.operations import NEVER, Operation, operations

TOLERANCE = 1e-5  # largest difference of a coordinate that the vendor allows, in any batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Counts in queries, and `faults` as sentences. `stuck` are queries that are still reserved."""

    charged: int
    receipts: int
    lost: int
    doubled: int
    overshoot: int
    stuck: int
    unspent: int
    answers_checked: int
    vectors_checked: int
    faults: tuple[str, ...]


def check(evidence: Evidence) -> Verdict:
    """Return every fault that is found, and the totals."""
    requests = operations(evidence.processes)
    faults: list[str] = list(evidence.faults)
    lost = doubled = 0
    for key_id, account in evidence.accounts.items():
        of_key = [request for request in requests if request.key_id == key_id]
        caches = {n: c for n, c in evidence.caches.items() if c.key_id == key_id}
        ledger = _LedgerCheck(key_id, account, of_key)
        for found in (
            ledger.hash_chain(),
            ledger.charges(),
            ledger.order_in_time(),
            ledger.answers(),
            ledger.refusals(),
            ledger.stored_answers(evidence),
            _totals(key_id, account, caches),
        ):
            faults += found
        doubled += ledger.doubled
        lost += sum(entry["units"] for entry in _not_held(account, caches))
    for name, cache in evidence.caches.items():
        faults += _cache_faults(name, cache, evidence)
    accounts = evidence.accounts.values()
    return Verdict(
        charged=sum(entry["units"] for a in accounts for entry in _charges(a)),
        receipts=sum(r["units"] for c in evidence.caches.values() for r in c.receipts),
        lost=lost,
        doubled=doubled,
        overshoot=sum(max(0, a.spent - a.expected_charges) for a in accounts),
        stuck=sum(a.reserved for a in accounts),
        unspent=sum(max(0, a.expected_charges - a.spent) for a in accounts),
        answers_checked=sum(len(a.answers) for a in accounts),
        vectors_checked=sum(len(v) for a in accounts for _, v in a.answers.values())
        + sum(len(c.rows) for c in evidence.caches.values()),
        faults=tuple(faults),
    )


class _LedgerCheck:
    """Compares one key's ledger with the requests of that key's clients."""

    def __init__(self, key_id: str, account: AccountFacts, requests: Sequence[Operation]) -> None:
        self._name = key_id
        self._account = account
        self._requests = requests
        self._charges = _charges(account)
        self._buys: dict[str, list[Operation]] = defaultdict(list)
        self._answered: dict[str, list[Operation]] = defaultdict(list)
        for request in requests:
            if request.what == "buy":
                self._buys[request.key].append(request)
            if request.status == 200:
                self._answered[request.key].append(request)
        self.doubled = 0

    def hash_chain(self) -> Iterator[str]:
        """Numbers have no gap, hashes are linked, and balances add up and never fall below zero."""
        balance, prev_hash = 0, "0" * 64
        for seq, entry in enumerate(self._account.ledger, start=1):
            where = self._at(entry)
            if entry["seq"] != seq:
                yield f"{where}: expected number {seq}"
            if entry["prev_hash"] != prev_hash or entry["hash"] != _hash(entry):
                yield f"{where}: the hash chain is broken"
            prev_hash = entry["hash"]
            balance += entry["units"] if entry["kind"] == "grant" else -entry["units"]
            if entry["balance_units"] != balance:
                yield f"{where}: the balance is {balance}, recorded as {entry['balance_units']}"
            if balance < 0:
                yield f"{where}: the budget is exceeded by {-balance}"

    def charges(self) -> Iterator[str]:
        """Each charge is for a purchase that a client of this key made, once, for its items."""
        times = Counter(entry["idempotency_key"] for entry in self._charges)
        for entry in self._charges:
            key, where = entry["idempotency_key"], self._at(entry)
            if times[key] > 1:
                self.doubled += entry["units"]
                times[key] -= 1
                yield f"{where}: purchase {key} is charged more than once"
            buys = self._buys.get(key)
            if not buys:
                yield f"{where}: no client made purchase {key}"
                continue
            if len({buy.items for buy in buys}) > 1:
                yield f"{where}: purchase {key} was sent with different items"
            if all(buy.outcome.get("charged_units") == 0 for buy in buys):
                yield f"{where}: purchase {key} was refused every time, but charged"
            items = buys[0].items
            if not entry["images"] + entry["texts"] == entry["units"] == len(items):
                yield f"{where}: {entry['units']} queries are charged for {len(items)} items"

    def order_in_time(self) -> Iterator[str]:
        """A purchase answered before another was requested has the earlier ledger entry."""
        first_answer = NEVER
        for entry in reversed(self._charges):
            buys = self._buys.get(entry["idempotency_key"], [])
            began = min((buy.begin for buy in buys), default=0)
            if first_answer < began:
                yield (
                    f"{self._at(entry)}: a later entry was answered before this purchase "
                    "was requested"
                )
            answered = self._answered.get(entry["idempotency_key"], [])
            first_answer = min([first_answer, *(request.end for request in answered)])

    def answers(self) -> Iterator[str]:
        """Every 200 contains its ledger entry, and the same bytes each time."""
        by_request = {entry["request_id"]: entry for entry in self._charges}
        for key, answered in self._answered.items():
            if len({request.outcome["sha256"] for request in answered}) > 1:
                yield f"{self._name}: purchase {key} was answered with different bytes"
            for request in answered:
                receipt = request.receipt
                if receipt["idempotency_key"] != key:
                    yield f"{self._name}: purchase {key} was answered with another's receipt"
                if by_request.get(receipt["request_id"]) != receipt:
                    yield (
                        f"{self._name}: {request.process} received 200 for {key} as "
                        f"{receipt['request_id']}, but the ledger has no such entry"
                    )

    def refusals(self) -> Iterator[str]:
        """402 only if too little was left, 404 only before the charge; no refusal is charged."""
        answered = sorted(
            min(request.end for request in self._answered[entry["idempotency_key"]])
            if self._answered.get(entry["idempotency_key"])
            else NEVER
            for entry in self._charges
        )
        begun = sorted(
            min((buy.begin for buy in self._buys.get(entry["idempotency_key"], [])), default=0)
            for entry in self._charges
        )
        balances = [entry["balance_units"] for entry in self._account.ledger]
        num_grants = len(self._account.ledger) - len(self._charges)
        for request in self._requests:
            if not request.status or request.status == 200:
                continue
            if request.status == 500:
                yield f"{self._name}: {request.process} received 500 for {request.key}"
            if request.outcome.get("charged_units") not in {0, None}:
                yield f"{self._name}: {request.process} was charged for {request.key}, but refused"
            if request.status == 402:
                # The grants come first. Answered charges precede the request, and charges that
                # had begun before its end may precede it.
                least = num_grants + bisect_left(answered, request.begin)
                most = num_grants + bisect_left(begun, request.end)
                yield from self._budget_refusal(request, balances[least - 1 : most])
            if request.status == 404 and any(
                earlier.end < request.begin for earlier in self._answered.get(request.key, [])
            ):
                yield f"{self._name}: {request.key} was answered, but unknown afterwards"

    def _budget_refusal(self, request: Operation, balances: Sequence[int]) -> Iterator[str]:
        needed, remaining = request.outcome.get("needed"), request.outcome.get("remaining")
        where = f"{self._name}: the 402 for {request.key} reports"
        if needed is None or remaining is None or needed <= remaining:
            yield f"{where} {needed} needed, {remaining} remaining"
        elif remaining not in balances:
            yield (
                f"{where} {remaining} remaining, but the balance was between {min(balances)} and "
                f"{max(balances)} and never {remaining} during that request"
            )

    def stored_answers(self, evidence: Evidence) -> Iterator[str]:
        """The vendor stores the answer of each charge, with the vectors of the requested items."""
        for entry in self._charges:
            key, where = entry["idempotency_key"], self._at(entry)
            if key not in self._account.answers:
                yield f"{where}: charged, but the vendor has no answer for {key}"
                continue
            digest, vectors = self._account.answers[key]
            if any(request.outcome["sha256"] != digest for request in self._answered.get(key, [])):
                yield f"{where}: the stored answer differs from the one that was sent"
            buys = self._buys.get(key)
            items = buys[0].items if buys else ()
            if len(items) != len(vectors):
                yield f"{where}: {len(vectors)} vectors for {len(items)} items"
                continue
            for item, vector in zip(items, vectors, strict=True):
                if not _is_expected(item, vector, evidence):
                    yield f"{where}: wrong vector for item {item[:12]}"

    def _at(self, entry: Entry) -> str:
        return f"{self._name} entry {entry['seq']}"


def _totals(key_id: str, account: AccountFacts, caches: dict[str, CacheFacts]) -> Iterator[str]:
    charged = sum(entry["units"] for entry in _charges(account))
    granted = sum(entry["units"] for entry in account.ledger if entry["kind"] == "grant")
    received = [receipt for cache in caches.values() for receipt in cache.receipts]
    if account.spent != charged:
        yield f"{key_id}: {account.spent} spent by the account, {charged} by the ledger"
    if account.budget != granted:
        yield f"{key_id}: {account.budget} granted by the account, {granted} by the ledger"
    if account.reserved:
        yield f"{key_id}: {account.reserved} queries are still reserved"
    if charged != account.expected_charges:
        yield f"{key_id}: {charged} queries are charged, expected {account.expected_charges}"
    if (held := sum(receipt["units"] for receipt in received)) != charged:
        yield f"{key_id}: the clients have receipts for {held} of {charged} queries charged"
    for entry in _not_held(account, caches):
        yield f"{key_id} entry {entry['seq']}: charged, but no cache has its receipt and its rows"
    entries = {entry["request_id"]: entry for entry in _charges(account)}
    times = Counter(receipt["request_id"] for receipt in received)
    for receipt in received:
        if entries.get(receipt["request_id"]) != receipt:
            yield f"{key_id}: the receipt of {receipt['request_id']} is not in the ledger"
        if times[receipt["request_id"]] > 1:
            yield f"{key_id}: the receipt of {receipt['request_id']} is stored more than once"


def _not_held(account: AccountFacts, caches: dict[str, CacheFacts]) -> list[Entry]:
    """Charges for which no cache holds the receipt together with every row that it paid for."""
    rows = Counter(row.request_id for cache in caches.values() for row in cache.rows)
    held = {receipt["request_id"] for cache in caches.values() for receipt in cache.receipts}
    return [
        entry
        for entry in _charges(account)
        if entry["request_id"] not in held or rows[entry["request_id"]] != entry["units"]
    ]


def _cache_faults(name: str, cache: CacheFacts, evidence: Evidence) -> Iterator[str]:
    paid = sum(receipt["units"] for receipt in cache.receipts)
    if cache.open_units:
        yield f"cache {name}: {cache.open_units} queries are in open purchases"
    if cache.units_on_record != paid:
        yield f"cache {name}: {cache.units_on_record} queries on record, {paid} by its receipts"
    if paid > cache.budget:
        yield f"cache {name}: its budget of {cache.budget} is exceeded by {paid - cache.budget}"
    if paid != len(cache.rows):
        yield f"cache {name}: {paid} queries are paid for, but it has {len(cache.rows)} rows"
    for item, times in Counter(row.item for row in cache.rows).items():
        if times > 1:
            yield f"cache {name}: item {item[:12]} was bought {times} times"
    for row in cache.rows:
        if not _is_expected(row.item, row.vector, evidence):
            yield f"cache {name}: wrong vector for item {row.item[:12]}"


def _is_expected(item: str, vector: Vector, evidence: Evidence) -> bool:
    expected = evidence.reference.get(item)
    return (
        expected is not None
        and expected.shape == vector.shape
        and bool(np.abs(expected - vector).max() <= TOLERANCE)
    )


def _charges(account: AccountFacts) -> list[Entry]:
    return [entry for entry in account.ledger if entry["kind"] == "charge"]


def _hash(entry: Entry) -> str:
    rest = {name: value for name, value in entry.items() if name != "hash"}
    canonical = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
