"""Whatever workers do, and whenever they are killed, what they spend fits the shared budget."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)

from cache.errors import ClientBudgetExceeded
from cache.paid_cache import Intent, PaidCache
from cache.records.embedding_key import EmbeddingKey, text_item
from student.errors import BadInput
from student.shared_budget.books import SharedBudget
from student.shared_budget.lease import Lease, lock_name, place_of
from student.shared_budget.reclaim import reclaim, reclaimable, spent_by_run
from tests.support.run_records import run_record

WORKERS = 3
# Every step is synced to the disk, and the disk is not what is tested.
IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None


@dataclass
class Worker:
    """One live run: its lease, and the lock that dies with its process."""

    cache: PaidCache
    run: str
    lease: Lease
    lock: ExitStack
    is_alive: bool = True
    opened: list[Intent] = field(default_factory=list)


class Workers(RuleBasedStateMachine):
    """Three caches share one budget. A purchase that is written off stands for a paid one."""

    runs = Bundle("runs")

    @initialize(total=st.integers(0, 60), lease_size=st.integers(1, 20))
    def start(self, total: int, lease_size: int) -> None:
        self._files = tempfile.TemporaryDirectory(dir=IN_MEMORY)
        folder = Path(self._files.name)
        self._books = SharedBudget.create(
            str(folder / "budget.db"), total=total, lease_size=lease_size
        )
        self._caches = [PaidCache.open(folder / f"cache-{n}") for n in range(WORKERS)]
        self._live: list[Worker] = []
        self._numbers = iter(range(10_000))
        self._total = total

    def teardown(self) -> None:
        if not hasattr(self, "_books"):
            return
        for worker in self._live:
            worker.lock.close()
        for cache in self._caches:
            for intent in cache.open_intents():
                cache.abandon(intent.idempotency_key)
            reclaim(self._books, cache)
        now = self._books.balance()
        assert (now.spent, now.leased) == (self._really_spent(), 0)
        for cache in self._caches:
            cache.close()
        self._files.cleanup()

    @rule(target=runs, number=st.integers(0, WORKERS - 1), planned=st.integers(0, 40))
    def begin(self, number: int, planned: int) -> Worker:
        cache, run = self._caches[number], f"run-{next(self._numbers)}"
        lock = ExitStack()
        lock.enter_context(cache.hold_run_lock(lock_name(run)))
        self._books.open_lease(run, place_of(cache.folder))
        cache.record_run(run_record(run))
        worker = Worker(cache, run, Lease(self._books, run=run, planned=planned), lock)
        self._live.append(worker)
        return worker

    @rule(worker=runs, units=st.integers(1, 15))
    def send(self, worker: Worker, units: int) -> None:
        if not worker.is_alive:
            return
        free, spent = self._books.balance().free, worker.lease.spent
        try:
            worker.lease.take(units)
        except ClientBudgetExceeded:
            assert free < units
            assert worker.lease.spent == spent
            return
        number = next(self._numbers)
        key = EmbeddingKey(
            model_fingerprint="sha256:x", modality="text", item=text_item(str(number))
        )
        intent = Intent(
            idempotency_key=f"k{number}", keys=(key,), units=units, run=worker.run, created_ms=1
        )
        worker.cache.reserve(intent, budget=10_000)
        worker.opened.append(intent)

    @rule(worker=runs, is_charged=st.booleans())
    def answer(self, worker: Worker, is_charged: bool) -> None:
        """An answer comes, to the run that asked or to a later one of the same cache."""
        if not worker.opened:
            return
        intent = worker.opened.pop()
        if is_charged:
            worker.cache.write_off(intent, account="a", detail="charged")
            return
        worker.cache.abandon(intent.idempotency_key)
        if worker.is_alive:
            worker.lease.give_back(intent.units)

    @rule(worker=runs, is_killed=st.booleans())
    def end(self, worker: Worker, is_killed: bool) -> None:
        if worker.is_alive and not is_killed:
            self._books.close_lease(worker.run, spent=worker.lease.spent)
        if worker.is_alive:
            worker.lock.close()
            worker.is_alive = False
            self._live.remove(worker)

    @rule(number=st.integers(0, WORKERS - 1))
    def read_the_cache(self, number: int) -> None:
        cache = self._caches[number]
        expected = reclaimable(self._books, cache)
        before = self._books.balance().free
        freed = sum(one.freed for one in reclaim(self._books, cache))
        assert freed == expected == self._books.balance().free - before

    @rule(total=st.integers(0, 80))
    def resize(self, total: int) -> None:
        now = self._books.balance()
        if total < now.leased + now.spent:
            with pytest.raises(BadInput, match="leased or spent"):
                self._books.resize(total)
        else:
            self._books.resize(total)
            self._total = total

    @invariant()
    def nothing_is_overspent(self) -> None:
        if not hasattr(self, "_books"):
            return
        now = self._books.balance()
        assert now.total == self._total
        assert now.free >= 0
        leases = {lease.run: lease.units for lease in self._books.leases()}
        assert sum(leases.values()) == now.leased + now.spent
        assert self._really_spent() <= now.leased + now.spent <= self._total
        for cache in self._caches:
            assert all(spent <= leases[run] for run, spent in spent_by_run(cache).items())

    def _really_spent(self) -> int:
        return sum(cache.spend_on_record().committed_units for cache in self._caches)


TestWorkers = Workers.TestCase
TestWorkers.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
