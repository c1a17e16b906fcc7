from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from student.errors import BadInput
from student.models.student import NewHead, Student, new_student
from student.training.dataset import LabelledImages
from student.training.metrics import (
    accuracy,
    answers_of,
    difference_interval,
    latency,
    logits_of,
    num_parameters,
    score,
    wilson_interval,
)
from tests.support.shaded_images import SIZE


@pytest.fixture
def student() -> Student:
    torch.manual_seed(0)
    return new_student(
        NewHead(num_classes=4, text_embeddings=torch.randn(4, 6)),
        backbone="test_vit",
        weights="none",
        image_size=SIZE,
    )


@pytest.fixture
def pixels() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (300, SIZE, SIZE, 3), dtype=np.uint8)


def test_a_score_is_accuracy_and_cross_entropy() -> None:
    logits = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    measured = score(logits, np.array([0, 1, 1, 0]))
    assert measured.accuracy == 0.75
    expected = (3 * np.log1p(np.exp(-1)) + np.log1p(np.exp(1))) / 4
    assert measured.loss == pytest.approx(expected)


def test_predictions_do_not_depend_on_how_images_are_grouped(
    student: Student, pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
) -> None:
    labels, confidences = answers_of(logits_of(student, pixels))
    for row in (0, 255, 256, 299):
        label, confidence = answers_of(logits_of(student, pixels[row : row + 1]))
        assert label[0] == labels[row]
        assert confidence[0] == pytest.approx(confidences[row], abs=1e-3)
    assert ((confidences > 0.25 - 1e-6) & (confidences <= 1)).all()


def test_accuracy_is_the_share_of_right_labels(
    student: Student, pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
) -> None:
    labels, _ = answers_of(logits_of(student, pixels))
    wrong = labels.copy()
    wrong[:30] = (wrong[:30] + 1) % 4
    assert accuracy(student, LabelledImages(name="x", pixels=pixels, labels=labels)) == 1.0
    assert accuracy(
        student, LabelledImages(name="x", pixels=pixels, labels=wrong)
    ) == pytest.approx(0.9)


def test_images_of_another_size_are_refused(student: Student) -> None:
    with pytest.raises(BadInput, match="32 x 32"):
        logits_of(student, np.zeros((1, 16, 16, 3), np.uint8))


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [(8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775), (50, 100, 0.4038, 0.5962)],
)
def test_the_interval_is_wilsons(correct: int, total: int, low: float, high: float) -> None:
    """Values of the textbook formula, to four places."""
    interval = wilson_interval(correct, total)
    assert interval.low == pytest.approx(low, abs=5e-5)
    assert interval.high == pytest.approx(high, abs=5e-5)


@pytest.mark.parametrize(("correct", "total"), [(0, 0), (3, 2), (-1, 2)])
def test_an_interval_of_an_invalid_proportion_is_refused(correct: int, total: int) -> None:
    with pytest.raises(BadInput, match="is not a proportion"):
        wilson_interval(correct, total)


def test_the_cost_of_a_student_is_its_parameters_and_its_milliseconds(student: Student) -> None:
    trained = sum(parameter.numel() for parameter in student.parameters())
    assert num_parameters(student) == trained + 4 * 6
    assert 0 < latency(student, repeats=3, warm_up=1) < 10_000


@pytest.mark.parametrize("total", [1, 3, 10, 448])
def test_the_interval_is_that_of_wilsons_formula(total: int) -> None:
    """E. Wilson, 1927; version 0.1 computed it by hand."""
    z = 1.959963984540054  # the 97.5% point of the normal distribution
    for correct in {0, 1, total // 2, total}:
        share, spread = correct / total, z**2 / total
        centre = (share + spread / 2) / (1 + spread)
        reach = z * math.sqrt(share * (1 - share) / total + spread / (4 * total)) / (1 + spread)
        interval = wilson_interval(correct, total)
        assert interval.low == pytest.approx(max(0.0, centre - reach), abs=1e-12)
        assert interval.high == pytest.approx(min(1.0, centre + reach), abs=1e-12)


@pytest.mark.parametrize(
    ("correct", "other", "low", "high"), [(9, 3, 0.1705, 0.8090), (10, 0, 0.6075, 1.0)]
)
def test_the_interval_of_a_difference_is_that_of_newcombe_1998(
    correct: int, other: int, low: float, high: float
) -> None:
    found = difference_interval(correct, other, 10)  # its table II, (c) and (g), method 10
    assert [found.low, found.high] == pytest.approx([low, high], abs=5e-5)
    back = difference_interval(other, correct, 10)
    assert [back.low, back.high] == pytest.approx([-found.high, -found.low])
