from __future__ import annotations

import pytest
import torch

from student.errors import BadInput
from student.training.wise_ft import interpolate

START = {"w": torch.tensor([0.0, 2.0]), "n": torch.tensor(1)}
TRAINED = {"w": torch.tensor([1.0, 4.0]), "n": torch.tensor(9), "head": torch.tensor([5.0])}


@pytest.mark.parametrize(("alpha", "expected"), [(0.0, [0.0, 2.0]), (1.0, [1.0, 4.0])])
def test_at_zero_it_is_the_initial_weights_and_at_one_the_trained_weights(
    alpha: float, expected: list[float]
) -> None:
    assert interpolate(START, TRAINED, alpha=alpha)["w"].tolist() == expected


def test_in_between_backbone_weights_are_interpolated_and_others_stay_as_trained() -> None:
    mixed = interpolate(START, TRAINED, alpha=0.25)
    assert mixed["w"].tolist() == [0.25, 2.5]
    assert int(mixed["n"]) == 9
    assert mixed["head"].tolist() == [5.0]


def test_neither_input_is_changed_or_shared() -> None:
    mixed = interpolate(START, TRAINED, alpha=1.0)
    for tensor in mixed.values():
        tensor.zero_()
    assert TRAINED["w"].tolist() == [1.0, 4.0]
    assert TRAINED["head"].tolist() == [5.0]


def test_weights_that_cannot_be_interpolated_are_refused() -> None:
    with pytest.raises(BadInput, match="between 0 and 1"):
        interpolate(START, TRAINED, alpha=1.5)
    with pytest.raises(BadInput, match=r"the end has not \(v\)"):
        interpolate({"v": torch.zeros(1)}, TRAINED, alpha=0.5)
    with pytest.raises(BadInput, match=r"w is \(3,\) at the start"):
        interpolate({"w": torch.zeros(3)}, TRAINED, alpha=0.5)
