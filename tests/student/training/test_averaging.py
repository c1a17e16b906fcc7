from __future__ import annotations

import pytest
import torch

from student.training.averaging import LossValley, Segment, WeightMean


def _segment(value: float, loss: float, count: int = 1) -> Segment:
    return Segment(loss=loss, mean=WeightMean(count=count, tensors={"w": torch.tensor([value])}))


def _averaged(losses: list[float], valley: LossValley | None = None) -> tuple[float, LossValley]:
    """Segment i has the weight i, so the average shows which segments it contains."""
    valley = valley or LossValley()
    for number, loss in enumerate(losses):
        valley.add(_segment(float(number), loss))
    return float(valley.average()["w"]), valley


def test_a_mean_of_weights_is_the_mean_of_what_was_added() -> None:
    mean = WeightMean()
    for value in (1.0, 2.0, 6.0):
        mean.add({"w": torch.tensor([value])})
    assert float(mean.tensors["w"]) == pytest.approx(3.0)
    mean.add({"w": torch.tensor([10.0])}, count=3)
    assert float(mean.tensors["w"]) == pytest.approx((9 + 30) / 6)


def test_the_mean_does_not_change_with_the_weights_added_to_it() -> None:
    weights = torch.tensor([1.0])
    mean = WeightMean()
    mean.add({"w": weights})
    weights.fill_(9.0)
    assert float(mean.tensors["w"]) == 1.0


def test_the_valley_starts_where_the_loss_stops_falling() -> None:
    """The loss still falls in segments 0 and 1; segments 2 to 5 are in the valley."""
    average, valley = _averaged([5.0, 4.0, 1.0, 1.1, 1.2, 1.0])
    assert valley.rim == pytest.approx((1.0 + 1.1 + 1.2) / 3 * 1.3)
    assert average == pytest.approx((2 + 3 + 4 + 5) / 4)


def test_without_a_valley_the_average_is_of_the_last_segment() -> None:
    assert _averaged([5.0, 4.0, 3.0, 2.0])[0] == 3.0
    assert _averaged([5.0])[0] == 0.0


def test_the_valley_ends_before_six_segments_above_the_rim() -> None:
    """0 to 3 are averaged; 4 to 9 are too high; 10 comes too late."""
    average, valley = _averaged([1.0, 1.0, 1.0, 1.0, *[2.0] * 6, 1.0])
    assert valley.ended
    assert average == pytest.approx((0 + 1 + 2 + 3) / 4)


def test_a_bump_shorter_than_the_tolerance_is_averaged_over() -> None:
    average, valley = _averaged([1.0, 1.0, 1.0, 2.0, 2.0, 1.0, 1.0])
    assert not valley.ended
    assert average == pytest.approx(3.0)


def test_segments_above_the_rim_at_the_end_are_left_out() -> None:
    assert _averaged([1.0, 1.0, 1.0, 1.0, 3.0, 3.0])[0] == pytest.approx((0 + 1 + 2 + 3) / 4)


def test_a_tolerance_below_the_patience_looks_at_every_window() -> None:
    average, valley = _averaged([1.0, 2.0, 2.0, 2.0], LossValley(n_converge=4, n_tolerance=2))
    assert valley.rim == pytest.approx(1.75 * 1.3)
    assert average == pytest.approx((0 + 1 + 2 + 3) / 4)


def test_every_step_counts_alike_whatever_the_length_of_its_segment() -> None:
    valley = LossValley(n_converge=1, n_tolerance=1)
    valley.add(_segment(0.0, 1.0, count=1))
    valley.add(_segment(10.0, 1.0, count=4))
    assert float(valley.average()["w"]) == pytest.approx(8.0)
