"""The temperature of a student's confidence, and the expected calibration error."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch.nn import functional

from student.training.calibration import (
    HIGHEST,
    LOWEST,
    ConfidenceBin,
    calibration_error,
    confidence_bins,
    fit_temperature,
)
from student.training.metrics import answers_of

Logits = NDArray[np.float64]
Labels = NDArray[np.int64]


def drawn(images: int, classes: int = 5, *, seed: int = 0) -> tuple[Logits, Labels]:
    """Logits, and labels that are drawn from their softmax: calibrated at temperature 1."""
    source = np.random.default_rng(seed)
    logits = source.normal(0.0, 2.0, (images, classes))
    # The largest of logits with Gumbel noise is distributed as their softmax.
    labels = (logits + source.gumbel(size=logits.shape)).argmax(axis=1)
    return logits, labels


@pytest.mark.parametrize("factor", [0.1, 1.0, 7.0, 100.0])
def test_logits_scaled_by_a_known_factor_have_that_factor_as_temperature(factor: float) -> None:
    logits, labels = drawn(40_000)
    fit = fit_temperature(factor * logits, labels)
    assert fit.temperature == pytest.approx(factor, rel=0.03)
    assert (fit.images, fit.note) == (40_000, "")


def test_the_temperature_is_where_the_cross_entropy_is_least() -> None:
    logits, labels = drawn(300, seed=1)

    def loss(log_temperature: float) -> float:
        scaled = torch.tensor(9.0 * logits / np.exp(log_temperature))
        return float(functional.cross_entropy(scaled, torch.tensor(labels)))

    best = minimize_scalar(loss, bounds=(-5, 5), method="bounded", options={"xatol": 1e-9})
    fit = fit_temperature(9.0 * logits, labels)
    assert fit.temperature == pytest.approx(np.exp(best.x), rel=1e-6)


def test_the_calibration_error_is_that_worked_out_by_hand() -> None:
    # Two images in (0.4, 0.467], three in (0.867, 0.933], one on the edge 0.6 of (0.533, 0.6].
    confidences = np.array([0.42, 0.44, 0.88, 0.90, 0.92, 0.60])
    is_right = np.array([True, False, True, True, False, True])
    bins = confidence_bins(confidences, is_right)
    # (2 |1/2 - 0.43| + 1 |1 - 0.60| + 3 |2/3 - 0.90|) / 6 = (0.14 + 0.40 + 0.70) / 6
    assert calibration_error(bins) == pytest.approx(1.24 / 6)
    assert [one.images for one in bins] == [2, 1, 3]


def test_a_confidence_on_the_edge_of_two_bins_belongs_to_the_lower() -> None:
    edges = np.arange(1, 16) / 15
    bins = confidence_bins(edges, np.ones(15, dtype=bool))
    assert [one.images for one in bins] == [1] * 15
    assert calibration_error(bins) == pytest.approx(7 / 15)


def test_calibrated_confidences_have_almost_no_calibration_error_and_scaled_ones_a_large() -> None:
    logits, labels = drawn(40_000)

    def error(temperature: float) -> float | None:
        predicted, confidences = answers_of(torch.tensor(20 * logits), temperature)
        return calibration_error(confidence_bins(confidences, predicted == labels))

    assert error(20.0) == pytest.approx(0.0, abs=0.01)
    assert error(1.0) == pytest.approx(float((logits.argmax(axis=1) != labels).mean()), abs=0.02)


@pytest.mark.parametrize("images", [1, 9, 540])
def test_all_right_answers_give_no_more_confidence_than_their_number_supports(images: int) -> None:
    logits, _ = drawn(images)
    labels = logits.argmax(axis=1)
    fit = fit_temperature(100 * logits, labels)
    assert fit.temperature is not None
    confidences = answers_of(torch.tensor(100 * logits), fit.temperature)[1]
    assert confidences.mean() == pytest.approx((images + 1) / (images + 2))
    assert "all" in fit.note
    assert "classified correctly" in fit.note


def test_answers_that_are_worse_than_chance_give_the_highest_temperature() -> None:
    logits, _ = drawn(200)
    fit = fit_temperature(logits, logits.argmin(axis=1))
    assert fit.temperature == HIGHEST
    assert "bound of 1000" in fit.note


def test_a_temperature_below_the_bound_is_the_bound() -> None:
    logits, labels = drawn(2_000)
    fit = fit_temperature(1e-6 * logits, labels)
    assert fit.temperature == LOWEST
    assert "bound of 0.001" in fit.note


def test_validation_images_of_one_class_are_named() -> None:
    logits, _ = drawn(500)
    logits[:, 0] += 2.0
    fit = fit_temperature(logits, np.zeros(500, dtype=np.int64))
    assert fit.temperature is not None
    assert np.isfinite(fit.temperature)
    assert fit.note == "all images are of one class"


def test_a_temperature_of_few_images_is_named_as_uncertain() -> None:
    logits, labels = drawn(50)
    assert "50 images are too few" in fit_temperature(logits, labels).note


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_not_finite_have_no_temperature_and_no_calibration_error(
    value: float,
) -> None:
    logits, labels = drawn(10)
    logits[3, 0] = value
    fit = fit_temperature(logits, labels)
    assert fit.temperature is None
    assert "not finite" in fit.note
    confidences = answers_of(torch.tensor(logits))[1]
    assert confidence_bins(confidences, labels == 0) == ()
    assert calibration_error(()) is None


@pytest.mark.parametrize("classes", [1, 4])
def test_equal_logits_keep_temperature_1(classes: int) -> None:
    fit = fit_temperature(np.full((30, classes), 2.5), np.zeros(30, dtype=np.int64))
    assert fit.temperature == 1.0
    assert "all equal" in fit.note


@pytest.mark.parametrize("temperature", [LOWEST, 0.3, 20.0, HIGHEST])
def test_no_temperature_changes_a_predicted_class(temperature: float) -> None:
    logits = torch.tensor(drawn(500)[0], dtype=torch.float32)
    predicted, confidences = answers_of(logits, temperature)
    assert np.array_equal(predicted, answers_of(logits)[0])
    assert ((confidences > 0.2 - 1e-9) & (confidences <= 1)).all()


def test_a_bin_has_its_mean_confidence_and_its_accuracy() -> None:
    bins = confidence_bins(np.array([0.375, 0.3875]), np.array([True, False]))
    assert bins == (ConfidenceBin(images=2, confidence=0.38125, accuracy=0.5),)
