"""The forecast is right about known curves, and its error shows where it is not."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from student.errors import BadInput
from student.forecast.power_law import Point, fit, forecast
from tests.support.measured_curves import FULL, LEVELS, TRUTH


def measured(
    truth: Callable[[float], float],
    *,
    images: int = 100_000,
    seeds: int = 1,
    noise: int | None = None,
) -> list[Point]:
    """A student at every level; its accuracy is the true value, or sampled around it."""
    source = np.random.default_rng(noise)
    points = []
    for level in LEVELS:
        for seed in range(seeds):
            queries = round(level * FULL)
            share = truth(queries)
            correct = round(share * images) if noise is None else source.binomial(images, share)
            points.append(
                Point(level=level, queries=queries, correct=int(correct), images=images, seed=seed)
            )
    return points


def test_a_curve_that_follows_the_power_law_is_forecast() -> None:
    result = forecast(measured(TRUTH), further=1000)
    assert result.gain == pytest.approx(TRUTH(FULL + 1000) - TRUTH(FULL), abs=0.003)
    assert result.accuracy == pytest.approx(TRUTH(FULL), abs=1e-5)
    assert result.low <= result.gain <= result.high


def test_the_held_back_error_is_small_where_the_power_law_holds() -> None:
    result = forecast(measured(TRUTH), further=1000)
    assert [prediction.queries for prediction in result.held_back] == [200, 500, 1000, 2000]
    assert result.mean_error is not None
    assert result.mean_error_of_no_change is not None
    assert result.mean_error < 0.3 * result.mean_error_of_no_change


def test_the_held_back_error_is_large_where_the_power_law_fails() -> None:
    """It is flat up to half of the budget and jumps then."""
    result = forecast(measured(lambda queries: 0.8 if queries > 1500 else 0.5), further=1000)
    assert result.held_back[-1].error == pytest.approx(-0.3, abs=0.02)


def test_a_flat_curve_forecasts_no_gain() -> None:
    result = forecast(measured(lambda _: 0.6), further=1000)
    assert result.gain == pytest.approx(0.0)
    assert result.law.top == pytest.approx(0.6)


def test_a_falling_curve_forecasts_neither_gain_nor_loss() -> None:
    result = forecast(measured(lambda queries: 0.7 - queries / 20_000), further=1000)
    assert result.gain == pytest.approx(0.0)


@settings(max_examples=40, deadline=None)
@given(shares=st.lists(st.integers(0, 50), min_size=3, max_size=7))
def test_every_fitted_curve_rises_and_stays_below_one(shares: list[int]) -> None:
    points = [
        Point(level=level, queries=round(level * FULL), correct=share, images=50, seed=0)
        for level, share in zip(LEVELS, shares, strict=False)
    ]
    law = fit(points)
    assert law.gap >= 0.0
    assert law(10**9) <= 1.0
    assert law(FULL) <= law(2 * FULL)


def saturating(queries: float) -> float:
    """A curve that saturates faster than any power law, which the forecast cannot fit."""
    return 0.8 - 0.3 * math.exp(-queries / 500)


@pytest.mark.parametrize("truth", [TRUTH, saturating])
def test_the_interval_holds_the_truth_at_least_about_as_often_as_it_says(
    truth: Callable[[float], float],
) -> None:
    gain = truth(FULL + 1000) - truth(FULL)
    results = [
        forecast(measured(truth, images=600, seeds=3, noise=draw), further=1000)
        for draw in range(20)
    ]
    assert sum(result.low <= gain <= result.high for result in results) >= 18


def test_more_test_images_and_seeds_narrow_the_interval() -> None:
    few = forecast(measured(TRUTH, images=200, noise=0), further=1000)
    many = forecast(measured(TRUTH, images=5000, seeds=3, noise=0), further=1000)
    assert many.high - many.low < few.high - few.low


def test_the_same_seed_gives_the_same_interval() -> None:
    points = measured(TRUTH, images=300, seeds=3, noise=1)
    assert forecast(points, further=1000, seed=4) == forecast(points, further=1000, seed=4)


def test_seeds_that_were_not_run_at_every_level_do_not_stop_the_bootstrap() -> None:
    points = [
        point
        for point in measured(TRUTH, images=300, seeds=3)
        if point.seed == 0 or point.level in (0.0, 1.0)
    ]
    assert forecast(points, further=1000).high > 0.0


def test_seeds_that_share_no_level_do_not_stop_it_either() -> None:
    alike = measured(TRUTH, images=300, seeds=12, noise=2)
    apart = [replace(point, level=point.level + point.seed / 10_000) for point in alike]
    result, same = forecast(apart, further=1000), forecast(alike, further=1000)
    assert (result.low, result.high) == (same.low, same.high)
    assert result.low < result.high


def test_two_budgets_are_too_few() -> None:
    with pytest.raises(BadInput, match="2 budgets are too few"):
        forecast([p for p in measured(TRUTH) if p.level in (0.0, 1.0)], further=1000)


def test_three_budgets_are_enough_but_leave_no_held_back_error() -> None:
    result = forecast([p for p in measured(TRUTH) if p.level in (0.0, 0.1, 1.0)], further=1000)
    assert result.held_back == ()
    assert result.mean_error is None
