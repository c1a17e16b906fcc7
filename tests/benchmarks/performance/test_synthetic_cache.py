"""What the benchmarks of the cache measure is what a purchase leaves."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.performance import cache as cache_section
from benchmarks.performance import growth
from benchmarks.performance.comparison import Comparison
from benchmarks.support.synthetic_cache import SyntheticVendor, buy, image_key
from cache.integrity.verify import verify
from cache.paid_cache import PaidCache

ROWS = 150


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A cache of 150 rows with its vendor's ledger, as the growth section makes it."""
    growth._fill(tmp_path / "filled", ROWS)
    return tmp_path / "filled"


def test_a_synthetic_cache_is_sound_and_has_its_rows(tmp_path: Path) -> None:
    """Otherwise its speed would be that of something else."""
    keys = [image_key(number) for number in range(ROWS)]
    with PaidCache.open(tmp_path / "cache") as cache:
        assert buy(cache, SyntheticVendor(), keys) > 0
        verification = verify(cache)
        assert cache.missing(keys) == []
    assert verification.is_sound
    assert (verification.rows, verification.receipts) == (ROWS, 3)


@pytest.mark.parametrize("name", growth._OPERATIONS)
def test_every_operation_whose_growth_is_measured_does_its_work(folder: Path, name: str) -> None:
    """Each raises where its result is not the expected one."""
    assert growth._OPERATIONS[name](folder, ROWS) > 0


def test_the_cache_is_still_audited_and_verified_after_purchases_were_measured(
    folder: Path,
) -> None:
    """The larger cache is the peer of the next size."""
    growth._purchase(folder, ROWS)
    growth._purchase(folder, ROWS)
    assert growth._verify(folder, ROWS) > 0
    assert growth._audit(folder, ROWS) > 0


def test_every_comparison_of_the_cache_is_reported_at_every_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With figures of both sides."""
    monkeypatch.setattr(cache_section, "_QUICK", (100, 200))
    found: list[Comparison] = []
    cache_section.measure(quick=True, report=found.append)
    names = [comparison.subject.name for comparison in found]
    assert len(set(names)) == len(names) == 10
    assert all(min(*one.ours, *one.peers) > 0 for one in found)
