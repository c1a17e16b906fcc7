"""Three shards as tasks of Ray Data, within one budget; the worker of one is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from cache.errors import CacheUnavailable
from cache.storage.reader import CacheReader
from student.shared_budget.books import SharedBudget
from tests.end_to_end.conftest import RunningVendor, emoji, invoke, vendor  # noqa: F401
from tests.end_to_end.test_shards import ALL, TRAINING, assert_complete, spent
from tools.provenance import ROOT

pytestmark = pytest.mark.timeout(400)
MOST_SECONDS = 240


def is_buying(cache: Path) -> bool:
    """Whether it has paid for something, and has a purchase open."""
    with suppress(CacheUnavailable), CacheReader.open(cache) as opened:
        return opened.spend_on_record().receipt_units > 0 and bool(opened.open_intents())
    return False


def process_with(cache: Path) -> int:
    """The process that has files of this cache open, other than this one."""
    for process in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            if int(process.name) == os.getpid():
                continue
            opened = {str(link.readlink()) for link in (process / "fd").iterdir()}
            if any(name.startswith(f"{cache}/") for name in opened):
                return int(process.name)
    message = f"no process has {cache} open"
    raise AssertionError(message)


def test_a_shard_whose_worker_is_killed_is_bought_by_another_and_everything_is_paid_once(
    vendor: RunningVendor,  # noqa: F811
    emoji: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    key = vendor.new_key(1_000)
    books = SharedBudget.create(str(tmp_path / "budget.db"), total=ALL, lease_size=8)
    caches = [tmp_path / "caches" / f"shard-{number}" for number in (1, 2, 3)]
    command = [
        *(sys.executable, "-m", "examples.ray_data.buy_shards", "--shards", "3", "--cpus", "0.5"),
        *("--caches", str(tmp_path / "caches"), "--shared-budget", books.name),
        *("--data", str(emoji), "--vendor", vendor.url, *TRAINING),
        *("--batch-size", "2", "--concurrency", "1"),
    ]
    environment = {**os.environ, "TEACHER_API_KEY": key, "OMP_NUM_THREADS": "1"}
    # Ray waits 30 seconds for its own processes, which a busy machine may not start in time.
    environment |= {
        "RAY_raylet_start_wait_time_s": "200",
        "RAY_agent_register_timeout_ms": "200000",
        "RAY_worker_niceness": "0",
    }
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    ) as driver:
        deadline = time.monotonic() + MOST_SECONDS
        while not is_buying(caches[1]):
            assert driver.poll() is None
            assert time.monotonic() < deadline
        killed = process_with(caches[1])
        assert killed != driver.pid
        os.kill(killed, signal.SIGKILL)
        said, _ = driver.communicate(timeout=MOST_SECONDS)
    assert driver.returncode == 0, said
    assert [line for line in said.splitlines() if line.endswith("exit code 0")] == [
        f"shard {number}/3: exit code 0" for number in (1, 2, 3)
    ]
    assert spent(vendor, key) == ALL
    now = books.balance()
    assert (now.spent, now.leased) == (ALL, 0)
    runs = [one for one in books.leases() if one.place.endswith(f":{caches[1]}")]
    assert len(runs) == 2  # that of the killed worker, and that of the one after it
    invoke("cache-report", "merge", *map(str, caches))
    assert_complete(caches[0])
    invoke(*("cache-report", "--cache", str(caches[0]), "audit", "--vendor", vendor.url), key=key)
