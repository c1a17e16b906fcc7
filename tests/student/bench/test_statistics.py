"""Means, intervals and paired differences, against figures worked out by hand."""

from __future__ import annotations

import statistics

import pytest

from student.bench.statistics import (
    Mean,
    Place,
    difference,
    half_width_of_one_seed,
    mean_of,
    over_seeds,
    ratio_of,
)

A: tuple[str, ...] = ("a",)
B: tuple[str, ...] = ("b",)


def test_the_interval_is_student_t() -> None:
    values = [0.50, 0.52, 0.57]
    found = mean_of(values)
    assert found.value == pytest.approx(statistics.mean(values))
    # 4.303 is the 97.5% point at two degrees of freedom.
    assert found.half_width == pytest.approx(4.303 * statistics.stdev(values) / 3**0.5, rel=1e-4)


@pytest.mark.parametrize(
    ("seeds", "t"),
    [(14, 2.160), (15, 2.145), (16, 2.131), (20, 2.093), (31, 2.042), (121, 1.980), (5001, 1.960)],
)
def test_the_interval_of_many_seeds_is_still_student_t(seeds: int, t: float) -> None:
    values = [0.0] * (seeds - 1) + [1.0]
    half_width = mean_of(values).half_width
    assert half_width is not None
    assert half_width / (statistics.stdev(values) / seeds**0.5) == pytest.approx(t, abs=5.1e-4)


def test_one_seed_has_no_interval() -> None:
    assert mean_of([0.5]).half_width is None
    assert mean_of([0.5]).percent() == "50.0"


def test_an_empty_sequence_has_no_mean() -> None:
    with pytest.raises(ValueError, match="empty sequence"):
        mean_of([])
    assert over_seeds({}) is None


def test_variance_between_targets_does_not_count_as_variance_between_seeds() -> None:
    values: dict[Place, float] = {(A, 0): 0.2, (B, 0): 0.8, (A, 1): 0.3, (B, 1): 0.7}
    found = over_seeds(values)
    assert found is not None
    assert (found.percent(), found.count) == ("50.0 ± 0.0", 2)


def test_a_seed_that_lacks_a_target_is_left_out_of_the_mean() -> None:
    found = over_seeds({(A, 0): 0.2, (B, 0): 0.8, (A, 1): 0.3})
    assert found is not None
    assert (found.percent(), found.count) == ("50.0", 1)


def test_a_difference_uses_only_the_targets_and_seeds_that_both_have() -> None:
    found = difference({(A, 0): 0.6, (B, 0): 0.9, (A, 1): 0.7}, {(A, 0): 0.5, (A, 1): 0.6})
    assert found is not None
    assert found.percent(signed=True) == "+10.0 ± 0.0"


def test_a_ratio_is_of_means_and_its_interval_is_zero_if_all_seeds_agree() -> None:
    found = ratio_of([0.05, 0.1], [0.1, 0.2])
    assert found is not None
    assert found.percent() == "50.0 ± 0.0"
    unsure = ratio_of([0.05, 0.1], [0.2, 0.1])
    assert unsure is not None
    assert unsure.value == pytest.approx(0.5)
    # Residuals of (0.05 - 0.1) / 0.15 and its opposite, times 12.706 / sqrt(2) by their spread.
    assert unsure.half_width == pytest.approx(12.706 * (0.05 / 0.15))


def test_a_ratio_to_a_mean_of_zero_is_undefined() -> None:
    assert ratio_of([0.1], [0.0]) is None
    assert ratio_of([], []) is None


def test_seed_variance_is_pooled_over_targets_and_not_over_their_means() -> None:
    values: dict[Place, float] = {(A, 0): 0.6, (A, 1): 0.8, (B, 0): 0.1, (B, 1): 0.3, (B, 2): 0.9}
    others: dict[Place, float] = {(A, 0): 0.6, (A, 1): 0.6, (B, 0): 0.6, (B, 1): 0.6}
    # Differences 0, 0.2 and -0.5, -0.3: at each the variance is 0.02, with two degrees in all.
    assert half_width_of_one_seed(values, others) == pytest.approx(4.303 * 0.02**0.5)


def test_one_seed_for_each_target_gives_no_seed_variance() -> None:
    assert half_width_of_one_seed({(A, 0): 0.6, (B, 1): 0.8}, {(A, 0): 0.5, (B, 1): 0.1}) is None


# Student's t at 97.5% by degrees of freedom, as printed in tables and as version 0.1 used it.
TABLE = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160)


@pytest.mark.parametrize(("freedom", "t"), list(enumerate(TABLE, start=1)))
def test_intervals_are_those_of_version_0_1_to_the_last_printed_digit(
    freedom: int, t: float
) -> None:
    values = [0.5 + 0.01 * ((7 * number) % 5) for number in range(freedom + 1)]
    mean = mean_of(values)
    half_width = t * statistics.stdev(values) / len(values) ** 0.5
    before = Mean(value=mean.value, half_width=half_width, count=len(values))
    assert mean.percent() == before.percent()
    assert mean.half_width == pytest.approx(half_width, rel=1e-9)
