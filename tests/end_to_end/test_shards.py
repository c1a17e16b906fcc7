"""Three workers buy one data set within one budget; one is killed; their caches become one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from cache.errors import CacheUnavailable
from cache.integrity.verify import verify
from cache.storage.reader import CacheReader
from cache.storage.run_locks import active_runs
from student.shared_budget.books import SharedBudget
from tests.end_to_end.conftest import RunningVendor, invoke
from tests.support.forked_commands import forked_commands

WORKERS = 3
TEXTS = 3
IMAGES = 2 * 3 * 4  # two source styles x three classes x four of five emoji
ALL = 2 * IMAGES + TEXTS
TRAINING = (
    *("--target-domain", "outline", "--image-size", "32", "--views", "2", "--steps", "3"),
    *("--align-steps", "3", "--eval-every", "2", "--batch-per-domain", "4"),
    *("--backbone", "test_efficientnet", "--weights", "none", "--threads", "1"),
)


def spent(vendor: RunningVendor, key: str) -> int:
    """What the vendor has charged or reserved for this key, in queries."""
    request = urllib.request.Request(
        vendor.url + "/v1/key", headers={"Authorization": f"Bearer {key}"}
    )
    with urllib.request.urlopen(request) as answer:
        found = json.load(answer)
        return int(found["spent_units"]) + int(found["reserved_units"])


class Workers:
    """The commands of three workers with a cache each, and one shared budget."""

    def __init__(self, vendor: RunningVendor, emoji: Path, folder: Path, budget: int) -> None:
        self.vendor = vendor
        self.folder = folder
        self.key = vendor.new_key(1_000)
        self.books = SharedBudget.create(str(folder / "budget.db"), total=budget, lease_size=8)
        self._data = ("--data", str(emoji), "--vendor", vendor.url, *TRAINING)

    def cache(self, number: int) -> Path:
        return self.folder / f"cache-{number}"

    def command(self, number: int, *more: str) -> list[str]:
        return [
            *("distill-client", *self._data, "--shard", f"{number}/{WORKERS}"),
            *("--shared-budget", self.books.name, "--cache", str(self.cache(number))),
            *("--out", str(self.folder / f"out-{number}"), "--batch-size", "2", *more),
        ]

    def start(self, number: int) -> subprocess.Popen[bytes]:
        """Start a worker; to kill this process kills the worker's own, also by SIGKILL."""
        command = self.command(number, "--concurrency", "1")
        return subprocess.Popen(
            [str(forked_commands() / command[0]), *command[1:]],
            env={**os.environ, "TEACHER_API_KEY": self.key, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
        )

    def kill_while_it_buys(self, number: int, worker: subprocess.Popen[bytes]) -> None:
        """SIGKILL a worker as soon as it has a purchase open after its first."""
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            assert worker.poll() is None
            # Before the worker has made its cache, there is none to be read.
            with suppress(CacheUnavailable):
                if self._is_buying(number):
                    break
        worker.kill()
        assert worker.wait() == -signal.SIGKILL
        self._await_the_end_of_its_locks(number)

    def _is_buying(self, number: int) -> bool:
        with CacheReader.open(self.cache(number)) as cache:
            return cache.spend_on_record().receipt_units > 0 and bool(cache.open_intents())

    def _await_the_end_of_its_locks(self, number: int) -> None:
        deadline = time.monotonic() + 30
        while active_runs(self.cache(number)):
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def run(self, number: int, *more: str) -> dict[str, Any]:
        done = invoke(*self.command(number, "--json", *more), key=self.key)
        figures: dict[str, Any] = json.loads(done.stdout)
        return figures

    def merged(self) -> Path:
        first, *others = [str(self.cache(number + 1)) for number in range(WORKERS)]
        invoke("cache-report", "merge", first, *others)
        return Path(first)

    def train(self, cache: Path, *more: str) -> str:
        return invoke(
            *("distill-client", *self._data, "--cache", str(cache)),
            *("--out", str(self.folder / "student"), *more),
            key=self.key,
        ).stdout

    def assert_within_budget(self) -> int:
        """What all have spent, by the vendor; every book says at least that."""
        charged = spent(self.vendor, self.key)
        now = self.books.balance()
        assert charged <= now.leased + now.spent <= now.total
        return charged


@pytest.fixture(params=[ALL, 30])
def workers(
    request: pytest.FixtureRequest, vendor: RunningVendor, emoji: Path, tmp_path: Path
) -> Workers:
    return Workers(vendor, emoji, tmp_path, budget=request.param)


def test_workers_of_which_one_is_killed_stay_within_the_budget_and_pay_once(
    workers: Workers,
) -> None:
    started = {number: workers.start(number) for number in (1, 2, 3)}
    workers.kill_while_it_buys(2, started[2])
    for number in (1, 3):
        assert started[number].wait(120) == 0
    workers.assert_within_budget()
    # Its lease is not free until its cache is read.
    assert workers.books.balance().leased > 0
    invoke(
        *("distill-client", "shared-budget", "reclaim", workers.books.name),
        "--cache",
        str(workers.cache(2)),
    )
    assert workers.books.balance().leased == 0
    workers.assert_within_budget()

    whole = workers.merged()
    bought = spent(workers.vendor, workers.key)
    workers.books.resize(ALL)
    output = workers.train(whole, "--shared-budget", workers.books.name, "--json")
    figures = json.loads(output)
    assert workers.assert_within_budget() == ALL
    assert figures["purchase"]["queries"] + figures["purchase"]["recovered"] >= ALL - bought
    assert_complete(whole)
    again = json.loads(workers.train(whole, "--budget", str(ALL), "--json"))
    assert (again["plan"]["queries"], spent(workers.vendor, workers.key)) == (0, ALL)
    invoke(
        *("cache-report", "--cache", str(whole), "audit", "--vendor", workers.vendor.url),
        key=workers.key,
    )


def test_shards_buy_everything_once_and_a_student_trains_from_their_merged_caches(
    vendor: RunningVendor, emoji: Path, tmp_path: Path
) -> None:
    workers = Workers(vendor, emoji, tmp_path, budget=ALL)
    parts = [workers.run(number)["plan"] for number in (1, 2, 3)]
    assert sum(part["images_asked"] for part in parts) == 2 * IMAGES
    assert sum(part["texts_asked"] for part in parts) == TEXTS
    assert all(part["queries"] > 0 for part in parts)
    assert workers.assert_within_budget() == ALL
    whole = workers.merged()
    assert_complete(whole)
    figures = json.loads(workers.train(whole, "--budget", str(ALL), "--json"))
    assert (figures["plan"]["already_paid"], figures["plan"]["queries"]) == (ALL, 0)
    assert spent(vendor, workers.key) == ALL
    assert figures["students"]


def assert_complete(folder: Path) -> None:
    """Everything is there, paid once, and sound."""
    with CacheReader.open(folder) as cache:
        assert verify(cache).problems == ()
        assert len(list(cache.rows())) == ALL
        assert list(cache.rows_bought_again()) == []
        assert cache.open_intents() == []
        assert cache.spend_on_record().committed_units == ALL
