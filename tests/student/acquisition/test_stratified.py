"""Every prefix of the order is balanced, whatever the strata."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from student.acquisition.stratified import stratified_order

STRATA = st.lists(st.integers(0, 8), max_size=120)


@given(strata=STRATA, seed=st.integers(0, 1000))
def test_the_order_contains_every_index_once(strata: list[int], seed: int) -> None:
    assert sorted(stratified_order(strata, seed)) == list(range(len(strata)))


@given(strata=STRATA, seed=st.integers(0, 1000))
def test_in_every_prefix_each_stratum_is_within_one_item_of_its_share(
    strata: list[int], seed: int
) -> None:
    sizes = Counter(strata)
    taken: Counter[int] = Counter()
    for length, index in enumerate(stratified_order(strata, seed), start=1):
        taken[strata[index]] += 1
        for stratum, size in sizes.items():
            share = Fraction(length * size, len(strata))
            assert abs(taken[stratum] - share) < 1


@given(counts=st.integers(1, 12), per_stratum=st.integers(1, 9), seed=st.integers(0, 99))
def test_equal_strata_come_in_full_rounds(counts: int, per_stratum: int, seed: int) -> None:
    strata = [stratum for stratum in range(counts) for _ in range(per_stratum)]
    order = stratified_order(strata, seed)
    for start in range(0, len(order), counts):
        assert len({strata[index] for index in order[start : start + counts]}) == counts


@given(strata=STRATA, seed=st.integers(0, 1000))
def test_the_same_seed_gives_the_same_order_whatever_the_strata_are_called(
    strata: list[int], seed: int
) -> None:
    named = [("domain", f"class {stratum}") for stratum in strata]
    assert stratified_order(strata, seed) == stratified_order(named, seed)


def test_another_seed_chooses_other_items() -> None:
    strata = [("photo", "bird")] * 50 + [("sketch", "bird")] * 50
    assert stratified_order(strata, 1)[:10] != stratified_order(strata, 2)[:10]


def test_the_order_does_not_depend_on_the_hash_seed_of_the_process() -> None:
    code = (
        "from student.acquisition.stratified import stratified_order;"
        "print(stratified_order([('a', 'x'), ('b', 'y'), ('c', 'z')] * 7, 3))"
    )
    orders = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(orders) == 1


def test_a_large_data_set_is_ordered_fast_and_rare_strata_get_their_share() -> None:
    strata = ["common"] * 49_990 + ["rare"] * 10
    order = stratified_order(strata, 0)
    assert Counter(strata[index] for index in order[:25_000])["rare"] == 5
