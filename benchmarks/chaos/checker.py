"""Whether what happened could have happened to one careful clerk who serves one at a time.

The ledger of each key is replayed through that clerk, line by line; then the clients' histories,
the stored answers and the caches must be what he would have given them. It shares no code with the
product, so that it cannot share its mistakes. Every fault is a sentence that names the line.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.chaos.observations import AccountFacts, CacheFacts, Evidence, Line, Vector
from benchmarks.chaos.operations import NEVER, Operation, operations

TOLERANCE = 1e-5  # what the vendor promises of a vector, whatever shares its batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The counts are queries, except `stuck` (reserved units) and `faults` (sentences)."""

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
    """Everything that is wrong, and the sums."""
    asked = operations(evidence.processes)
    faults: list[str] = list(evidence.faults)
    lost = doubled = 0
    for key_id, account in evidence.accounts.items():
        ours = [one for one in asked if one.key_id == key_id]
        caches = {n: c for n, c in evidence.caches.items() if c.key_id == key_id}
        clerk = _Clerk(key_id, account, ours)
        for finding in (
            clerk.chain(),
            clerk.charges(),
            clerk.real_time(),
            clerk.answers_heard(),
            clerk.refusals(),
            clerk.stored_answers(evidence),
            _sums(key_id, account, caches),
        ):
            faults += finding
        doubled += clerk.doubled
        lost += sum(line["units"] for line in _unheld(account, caches))
    for name, cache in evidence.caches.items():
        faults += _cache(name, cache, evidence)
    accounts = evidence.accounts.values()
    return Verdict(
        charged=sum(line["units"] for a in accounts for line in _charges(a)),
        receipts=sum(r["units"] for c in evidence.caches.values() for r in c.receipts),
        lost=lost,
        doubled=doubled,
        overshoot=sum(max(0, a.spent - a.spends_to) for a in accounts),
        stuck=sum(a.reserved for a in accounts),
        unspent=sum(max(0, a.spends_to - a.spent) for a in accounts),
        answers_checked=sum(len(a.answers) for a in accounts),
        vectors_checked=sum(len(v) for a in accounts for _, v in a.answers.values())
        + sum(len(c.rows) for c in evidence.caches.values()),
        faults=tuple(faults),
    )


class _Clerk:
    """One key's ledger, replayed by one who can do one thing at a time."""

    def __init__(self, key_id: str, account: AccountFacts, asked: Sequence[Operation]) -> None:
        self._name = key_id
        self._account = account
        self._asked = asked
        self._charges = _charges(account)
        self._buys: dict[str, list[Operation]] = defaultdict(list)
        self._heard: dict[str, list[Operation]] = defaultdict(list)
        for one in asked:
            if one.what == "buy":
                self._buys[one.key].append(one)
            if one.status == 200:
                self._heard[one.key].append(one)
        self.doubled = 0

    def chain(self) -> Iterator[str]:
        """No gap in the numbers, no broken link, and the balances that a clerk would write."""
        balance, prev_hash = 0, "0" * 64
        for seq, line in enumerate(self._account.ledger, start=1):
            where = f"{self._name} line {line['seq']}"
            if line["seq"] != seq:
                yield f"{where}: number {seq} was due"
            if line["prev_hash"] != prev_hash or line["hash"] != _hash(line):
                yield f"{where}: the chain is broken"
            prev_hash = line["hash"]
            balance += line["units"] if line["kind"] == "grant" else -line["units"]
            if line["balance_units"] != balance:
                yield f"{where}: the balance is {balance}, it says {line['balance_units']}"
            if balance < 0:
                yield f"{where}: the budget is overshot by {-balance}"

    def charges(self) -> Iterator[str]:
        """Each charge is of a purchase that a client of this key made, once, for what it asked."""
        times = Counter(line["idempotency_key"] for line in self._charges)
        for line in self._charges:
            key, where = line["idempotency_key"], f"{self._name} line {line['seq']}"
            if times[key] > 1:
                self.doubled += line["units"]
                times[key] -= 1
                yield f"{where}: purchase {key} is charged more than once"
            buys = self._buys.get(key)
            if not buys:
                yield f"{where}: no client made purchase {key}"
                continue
            if len({one.items for one in buys}) > 1:
                yield f"{where}: purchase {key} was sent with different items"
            if all(one.outcome.get("charged_units") == 0 for one in buys):
                yield f"{where}: purchase {key} was refused every time, and charged"
            items = buys[0].items
            if not line["images"] + line["texts"] == line["units"] == len(items):
                yield f"{where}: {line['units']} units are charged for {len(items)} items"

    def real_time(self) -> Iterator[str]:
        """What was answered before another was asked comes before it in the ledger."""
        soonest_heard = NEVER
        for line in reversed(self._charges):
            buys = self._buys.get(line["idempotency_key"], [])
            began = min((one.begin for one in buys), default=0)
            if soonest_heard < began:
                yield (
                    f"{self._name} line {line['seq']}: a later line was answered before this "
                    "purchase was asked for"
                )
            heard = self._heard.get(line["idempotency_key"], [])
            soonest_heard = min([soonest_heard, *(one.end for one in heard)])

    def answers_heard(self) -> Iterator[str]:
        """Every 200 shows its ledger line, the same bytes each time, and was asked for first."""
        by_request = {line["request_id"]: line for line in self._charges}
        for key, heard in self._heard.items():
            if len({one.outcome["sha256"] for one in heard}) > 1:
                yield f"{self._name}: purchase {key} was answered with different bytes"
            for one in heard:
                receipt = one.receipt
                if receipt["idempotency_key"] != key:
                    yield f"{self._name}: purchase {key} was answered with another's receipt"
                if by_request.get(receipt["request_id"]) != receipt:
                    yield (
                        f"{self._name}: {one.process} was answered 200 for {key} under "
                        f"{receipt['request_id']}, and the ledger has no such line"
                    )

    def refusals(self) -> Iterator[str]:
        """402 only where no more was left, 404 only for what was not yet charged, none charged."""
        heard = sorted(
            min(one.end for one in self._heard[line["idempotency_key"]])
            if self._heard.get(line["idempotency_key"])
            else NEVER
            for line in self._charges
        )
        begun = sorted(
            min((one.begin for one in self._buys.get(line["idempotency_key"], [])), default=0)
            for line in self._charges
        )
        balances = [line["balance_units"] for line in self._account.ledger]
        num_grants = len(self._account.ledger) - len(self._charges)
        for one in self._asked:
            if not one.status or one.status == 200:
                continue
            if one.status == 500:
                yield f"{self._name}: {one.process} was answered 500 to {one.key}"
            if one.outcome.get("charged_units") not in {0, None}:
                yield f"{self._name}: {one.process} was refused {one.key} and charged for it"
            if one.status == 402:
                # The grants came first; so many charges at least, and at most, were made by then.
                least = num_grants + bisect_left(heard, one.begin)
                most = num_grants + bisect_left(begun, one.end)
                yield from self._refusal(one, balances[least - 1 : most])
            if one.status == 404 and any(o.end < one.begin for o in self._heard.get(one.key, [])):
                yield f"{self._name}: {one.key} was answered, and unknown afterwards"

    def _refusal(self, one: Operation, balances: Sequence[int]) -> Iterator[str]:
        needed, remaining = one.outcome.get("needed"), one.outcome.get("remaining")
        if needed is None or remaining is None or needed <= remaining:
            yield f"{self._name}: a 402 to {one.key} says {needed} needed, {remaining} left"
        elif remaining not in balances:
            yield (
                f"{self._name}: a 402 to {one.key} says that {remaining} are left; at no moment "
                f"of that request were they (from {max(balances)} to {min(balances)})"
            )

    def stored_answers(self, evidence: Evidence) -> Iterator[str]:
        """Each charge has its answer at the vendor, and the vectors are of the items asked for."""
        for line in self._charges:
            key, where = line["idempotency_key"], f"{self._name} line {line['seq']}"
            if key not in self._account.answers:
                yield f"{where}: charged, and the vendor has no answer to {key}"
                continue
            digest, vectors = self._account.answers[key]
            if any(one.outcome["sha256"] != digest for one in self._heard.get(key, [])):
                yield f"{where}: the stored answer is not the one that was sent"
            buys = self._buys.get(key)
            items = buys[0].items if buys else ()
            if len(items) != len(vectors):
                yield f"{where}: {len(vectors)} vectors for {len(items)} items"
                continue
            for item, vector in zip(items, vectors, strict=True):
                if not _is_of(item, vector, evidence):
                    yield f"{where}: a vector is not that of item {item[:12]}"


def _sums(key_id: str, account: AccountFacts, caches: dict[str, CacheFacts]) -> Iterator[str]:
    charged = sum(line["units"] for line in _charges(account))
    granted = sum(line["units"] for line in account.ledger if line["kind"] == "grant")
    received = [receipt for cache in caches.values() for receipt in cache.receipts]
    if account.spent != charged:
        yield f"{key_id}: the account says {account.spent} spent, the ledger {charged}"
    if account.budget != granted:
        yield f"{key_id}: the account says {account.budget} granted, the ledger {granted}"
    if account.reserved:
        yield f"{key_id}: {account.reserved} units are still reserved"
    if charged != account.spends_to:
        yield f"{key_id}: {charged} units are charged where {account.spends_to} could be"
    if (held := sum(receipt["units"] for receipt in received)) != charged:
        yield f"{key_id}: the clients hold receipts for {held} units of {charged} charged"
    for line in _unheld(account, caches):
        yield f"{key_id} line {line['seq']}: charged, and no cache has its receipt and its rows"
    lines = {line["request_id"]: line for line in _charges(account)}
    seen = Counter(receipt["request_id"] for receipt in received)
    for receipt in received:
        if lines.get(receipt["request_id"]) != receipt:
            yield f"{key_id}: the receipt of {receipt['request_id']} is not a line of the ledger"
        if seen[receipt["request_id"]] > 1:
            yield f"{key_id}: the receipt of {receipt['request_id']} is held more than once"


def _unheld(account: AccountFacts, caches: dict[str, CacheFacts]) -> list[Line]:
    """Charges of which no cache holds the receipt together with every row that it paid for."""
    rows = Counter(row.request_id for cache in caches.values() for row in cache.rows)
    held = {receipt["request_id"] for cache in caches.values() for receipt in cache.receipts}
    return [
        line
        for line in _charges(account)
        if line["request_id"] not in held or rows[line["request_id"]] != line["units"]
    ]


def _cache(name: str, cache: CacheFacts, evidence: Evidence) -> Iterator[str]:
    bought = sum(receipt["units"] for receipt in cache.receipts)
    if cache.units_in_flight:
        yield f"cache {name}: {cache.units_in_flight} units are still in flight"
    if cache.units_on_record != bought:
        yield f"cache {name}: {cache.units_on_record} units on record, {bought} by its receipts"
    if bought > cache.budget:
        yield f"cache {name}: its budget of {cache.budget} is overshot by {bought - cache.budget}"
    if bought != len(cache.rows):
        yield f"cache {name}: {bought} units are paid for and {len(cache.rows)} rows are there"
    for item, times in Counter(row.item for row in cache.rows).items():
        if times > 1:
            yield f"cache {name}: item {item[:12]} was bought {times} times"
    for row in cache.rows:
        if not _is_of(row.item, row.vector, evidence):
            yield f"cache {name}: the vector of item {row.item[:12]} is not that item's"


def _is_of(item: str, vector: Vector, evidence: Evidence) -> bool:
    expected = evidence.reference.get(item)
    return (
        expected is not None
        and expected.shape == vector.shape
        and bool(np.abs(expected - vector).max() <= TOLERANCE)
    )


def _charges(account: AccountFacts) -> list[Line]:
    return [line for line in account.ledger if line["kind"] == "charge"]


def _hash(line: Line) -> str:
    rest = {name: value for name, value in line.items() if name != "hash"}
    canonical = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
