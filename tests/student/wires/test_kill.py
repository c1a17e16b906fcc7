"""kill -9 of a client over a wire: never over budget, nothing paid is lost, doubt is on record."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from cache.integrity.verify import verify
from cache.paid_cache import PaidCache
from tests.support import wire_client_process
from tests.support.foreign_vendor import KEY, OPENAI, ForeignVendor, lost_answer, served
from tests.support.wire_setup import CANARY

ROOT = Path(__file__).parents[3]
COUNT = 8
POINTS = ("before-send", "before-store", "after-store", "3", "5", "7", "9")


def buy(url: str, folder: Path, budget: int, *points: str) -> int:
    """Kill a client at each point, then let one finish; how many were killed."""
    program = [sys.executable, "-m", wire_client_process.__name__]
    done = subprocess.run(
        [*program, url, str(folder), str(COUNT), str(budget), *points],
        cwd=ROOT,
        env={**os.environ, "TEST_KEY": KEY},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def books_hold(vendor: ForeignVendor, folder: Path, budget: int) -> int:
    """Check the books; how many queries are in doubt."""
    with PaidCache.open(folder) as cache:
        assert verify(cache).problems == ()
        assert not cache.open_intents()
        stored = Counter(row.sent_sha256 for row in cache.rows())
        doubted = sum(one.units for one in cache.write_offs())
        committed = cache.spend_on_record().committed_units
    assert not stored - vendor.charged
    assert (vendor.charged - stored).total() <= doubted
    assert vendor.spent <= committed <= budget
    return doubted


@pytest.mark.parametrize("point", POINTS)
def test_a_client_killed_at_each_point_buys_the_rest_and_counts_what_is_in_doubt(
    tmp_path: Path, point: str
) -> None:
    vendor = ForeignVendor(OPENAI)
    with served(vendor) as url:
        assert buy(url, tmp_path / "cache", 1000, point) == 1
    assert books_hold(vendor, tmp_path / "cache", 1000) <= 6
    assert vendor.spent >= COUNT + CANARY
    with PaidCache.open(tmp_path / "cache") as cache:
        assert sum(row.key.view == "original" for row in cache.rows()) == COUNT


def test_a_small_budget_is_a_wall_however_often_the_client_is_killed(tmp_path: Path) -> None:
    vendor = ForeignVendor(OPENAI)
    with served(vendor) as url:
        assert buy(url, tmp_path / "cache", 11, *POINTS) >= 1
    assert books_hold(vendor, tmp_path / "cache", 11) > 0
    assert vendor.spent <= 11


def test_a_kill_after_a_lost_answer_loses_no_doubt(tmp_path: Path) -> None:
    vendor = ForeignVendor(OPENAI)
    vendor.faults.extend([lambda v, r: v.serve(r)] * 2 + [lost_answer])
    with served(vendor) as url:
        assert buy(url, tmp_path / "cache", 1000, "after-store") == 1
    assert books_hold(vendor, tmp_path / "cache", 1000) >= 3
