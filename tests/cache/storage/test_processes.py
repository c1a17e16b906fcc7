"""Several processes on one cache, and processes that are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cache.integrity.verify import verify
from cache.paid_cache import PaidCache
from cache.storage.reader import CacheReader
from tests.support.cache_purchases import images, intent_of, vector_of

ROOT = Path(__file__).parents[3]

BUYER = """
import sys
from pathlib import Path
from cache.paid_cache import PaidCache
from tests.support.cache_purchases import Ledger, buy, images

folder, round_ = Path(sys.argv[1]), int(sys.argv[2])
ledger = Ledger(granted=10**6)
with PaidCache.open(folder) as cache:
    for number in range(10**6):
        first = 10**6 * round_ + 8 * number
        buy(cache, ledger, *images(*range(first, first + 8)), budget=10**9,
            account=f"http://vendor#{round_}", name=f"{round_}-{number}", run=str(round_))
        print(first, flush=True)
"""

KILLED_HALF_WAY = """
import os, signal, sys
from pathlib import Path
from cache.paid_cache import PaidCache, StoredReceipt
from tests.support.cache_purchases import ACCOUNT, Ledger, images, intent_of, rows_of

ledger = Ledger()
cache = PaidCache.open(Path(sys.argv[1]))
intent = intent_of(*images(1, 2, 3), name="killed")
cache.reserve(intent, budget=10)
receipt = ledger.charge(intent)
with cache.transaction() as changes:
    changes.add_receipt(StoredReceipt(account=ACCOUNT, run="r", receipt=receipt))
    changes.add_row(rows_of(intent, receipt)[0])
    changes.finish(cache.folder)
    os.kill(os.getpid(), signal.SIGKILL)
"""

SPENDER = """
import sys
from pathlib import Path
from cache.errors import ClientBudgetExceeded
from cache.paid_cache import PaidCache
from tests.support.cache_purchases import Ledger, image, intent_of, rows_of

folder, name, budget = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
ledger, number, spent = Ledger(), 0, 0
with PaidCache.open(folder) as cache:
    print("ready", flush=True)
    sys.stdin.readline()
    while True:
        wanted = 1 + number % 4
        try:
            number += 1
            keys = [image(number, view=f"{name}/1@64#{k}") for k in range(wanted)]
            intent = intent_of(*keys, name=f"{name}-{number}")
            cache.reserve(intent, budget=budget)
        except ClientBudgetExceeded as error:
            if error.remaining == 0:
                break
            number = 4 * number + error.remaining - 1  # ask for what is left: 1 + number % 4
            continue
        spent += wanted
        if number % 3:
            receipt = ledger.charge(intent)
            cache.commit(intent, rows_of(intent, receipt), receipt, account=f"http://v#{name}")
print(spent, flush=True)
"""


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    """A process that runs `script` from the project's root."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *(str(argument) for argument in arguments)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("kills", [3])
def test_a_client_killed_between_commits_loses_nothing(folder: Path, kills: int) -> None:
    """kill -9, again and again on one cache: every commit that returned is whole, at once."""
    returned: list[int] = []
    for round_ in range(kills):
        with start(BUYER, folder, round_) as client:
            assert client.stdout is not None
            for _ in range(3 + 5 * round_):
                returned.append(int(client.stdout.readline()))
            client.send_signal(signal.SIGKILL)
            returned += [int(line) for line in client.stdout.read().split("\n")[:-1]]
        assert client.returncode == -signal.SIGKILL
        with CacheReader.open(folder) as records:
            assert verify(records).problems == ()
            bought = [key for first in returned for key in images(*range(first, first + 8))]
            assert records.missing(bought) == []
            # Only the purchase during which the kill happened may be open.
            assert len(records.open_intents()) <= round_ + 1
            extra = sum(1 for _ in records.receipts()) - len(returned)
            assert 0 <= extra <= round_ + 1
    assert len(returned) >= sum(3 + 5 * round_ for round_ in range(kills))
    with PaidCache.open(folder) as cache:
        for row in list(cache.rows())[:: len(returned)]:
            assert row.vector.tobytes() == vector_of(row.key).tobytes()


def test_a_client_killed_inside_a_commit_has_committed_nothing(folder: Path) -> None:
    """The receipt, the row and the totals written so far go with it; the intent stays open."""
    with start(KILLED_HALF_WAY, folder) as client:
        assert client.wait() == -signal.SIGKILL
    with PaidCache.open(folder, patience_s=5.0) as cache:
        intent = intent_of(*images(1, 2, 3), name="killed")
        assert [i.is_same_purchase(intent) for i in cache.open_intents()] == [True]
        assert (list(cache.rows()), list(cache.receipts())) == ([], [])
        assert cache.spend_on_record().receipt_units == 0
        assert cache.spend_on_record().open_units == 3
        assert verify(cache).problems == ()


@pytest.mark.parametrize("budget", [61])
def test_several_processes_spend_one_budget_exactly_to_its_last_query(
    folder: Path, budget: int
) -> None:
    """Purchases of one to four queries, some committed, some left open."""
    spenders = [start(SPENDER, folder, name, budget) for name in ("a", "b", "c")]
    for spender in spenders:
        assert spender.stdout is not None
        assert spender.stdout.readline() == "ready\n"
    for spender in spenders:
        assert spender.stdin is not None
        spender.stdin.write("go\n")
        spender.stdin.flush()
    spent = [int(spender.communicate(timeout=120)[0]) for spender in spenders]
    assert [spender.returncode for spender in spenders] == [0, 0, 0]
    assert sum(spent) == budget
    with CacheReader.open(folder) as records:
        assert records.spend_on_record().committed_units == budget
        assert records.spend_on_record().open_units > 0
        assert verify(records).problems == ()


def test_a_forked_child_does_not_use_its_parent_s_connection(cache: PaidCache) -> None:
    """SQLite's locks do not survive a fork."""
    assert cache.missing(images(1)) == list(images(1))
    mine = cache._database.connection()
    child = os.fork()
    if child == 0:
        is_own = cache._database.connection() is not mine and cache.missing(images(1)) == list(
            images(1)
        )
        os._exit(0 if is_own else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_a_report_can_be_read_while_a_client_is_in_a_transaction(
    cache: PaidCache, folder: Path
) -> None:
    """Readers never wait for writers, and see nothing half done."""
    intent = intent_of(*images(1, 2))
    with CacheReader.open(folder) as records, cache._store.exclusive():
        cache.reserve(intent, budget=10)
        assert records.open_intents() == []
    assert cache.open_intents() == [intent]
