"""What was observed since the start, as the operator's page shows it."""

from __future__ import annotations

import math

import pytest

from teacher_server.operations.metrics import Metrics


def test_observations_are_counted_in_the_range_that_holds_them() -> None:
    metrics = Metrics()
    for size in (1, 3, 4, 300):
        metrics.batch("image", size, 0.1)
    metrics.batch("text", 2, 0.1)
    found = metrics.distribution("batch_items", "image")
    counted = {bound: count for bound, count in found.ranges if count}
    assert counted == {1: 1, 4: 2, math.inf: 1}
    assert found.count == 4


@pytest.mark.parametrize(("share", "bound"), [(0.5, 0.025), (0.75, 0.025), (0.95, 5.0), (1, 5.0)])
def test_a_share_of_the_observations_lies_within_its_bound(share: float, bound: float) -> None:
    metrics = Metrics()
    for seconds in (0.02, 0.02, 0.011, 4):
        metrics.answered(method="GET", route="/x", status=200, code="", seconds=seconds)
    assert metrics.distribution("request_seconds", "/x").bound(share) == bound


def test_nothing_observed_has_no_bound() -> None:
    found = Metrics().distribution("request_seconds", "/x")
    assert (found.count, found.bound(0.5)) == (0, 0.0)
