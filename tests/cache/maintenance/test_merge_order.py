"""Merges of a history that is split over several caches."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.paid_cache import PaidCache
from cache.records.receipt import Receipt
from cache.storage.reader import CacheReader
from tests.support.cache_merges import everything, join
from tests.support.cache_purchases import (
    ACCOUNT,
    Ledger,
    images,
    intent_of,
    rows_of,
)

State = Literal["paid", "open", "lost", "absent"]


@dataclass(frozen=True)
class History:
    """Purchases of one ledger, and what each of three caches knows of each."""

    items: list[list[int]]
    states: list[list[State]]


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Overlapping purchases, some of them in several caches, in different states."""
    count = draw(st.integers(1, 5))
    numbers = st.lists(st.integers(0, 5), min_size=1, max_size=3, unique=True)
    kinds: list[State] = ["paid", "paid", "open", "lost", "absent"]
    states = st.sampled_from(kinds)
    return History(
        items=[draw(numbers) for _ in range(count)],
        states=[[draw(states) for _ in range(count)] for _ in range(3)],
    )


@given(history=histories(), order=st.permutations(range(3)))
@settings(max_examples=12)
def test_caches_merged_in_any_order_are_one_and_the_same(
    empty_cache: Path,
    tmp_path_factory: pytest.TempPathFactory,
    history: History,
    order: list[int],
) -> None:
    """However the history is split and however the parts overlap."""
    root = tmp_path_factory.mktemp("merge")
    ledger = Ledger()
    bought: list[Receipt] = []
    for number, items in enumerate(history.items):
        bought.append(ledger.charge(intent_of(*images(*items), name=f"p{number}")))
    for part, states in enumerate(history.states):
        folder = Path(shutil.copytree(empty_cache, root / f"part-{part}"))
        with PaidCache.open(folder) as cache:
            for number, state in enumerate(states):
                _play(cache, number, history.items[number], bought[number], state)
    for name, sequence in (("a", range(3)), ("b", order)):
        whole = Path(shutil.copytree(empty_cache, root / name))
        for part in sequence:
            join(root / f"part-{part}", whole)
    assert everything(root / "a") == everything(root / "b")
    with CacheReader.open(root / "a") as merged:
        ends = [set(states) for states in zip(*history.states, strict=True)]
        paid = [receipt for receipt, end in zip(bought, ends, strict=True) if "paid" in end]
        assert sorted(r.seq for r in merged.receipts()) == sorted(r.seq for r in paid)
        assert merged.spend_on_record().receipt_units == sum(receipt.units for receipt in paid)


def _play(cache: PaidCache, number: int, items: list[int], receipt: Receipt, state: State) -> None:
    intent = intent_of(*images(*items), name=f"p{number}")
    if state == "paid":
        cache.commit(intent, rows_of(intent, receipt), receipt, account=ACCOUNT)
    elif state == "open":
        cache.reserve(intent, budget=1000)
    elif state == "lost":
        cache.write_off(intent, account=ACCOUNT, detail="purged")
