"""Rejection of unknown classes, against figures that can be computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from student.evaluation.unknown_classes import auroc, rejection, threshold_of


def test_the_auroc_is_the_share_of_pairs_in_which_the_known_image_is_surer() -> None:
    known, unknown = np.array([0.9, 0.8, 0.4]), np.array([0.7, 0.4])
    # Of six pairs: four are surer, one ties, one is less sure.
    assert auroc(known, unknown).value == pytest.approx((4 + 0.5) / 6)


def test_the_interval_of_the_auroc_is_delongs() -> None:
    known, unknown = np.array([3.0, 4.0, 5.0, 1.0]), np.array([2.0, 0.0, 3.5])
    pairs = np.array([[1.0 * (k > u) for u in unknown] for k in known])
    variance = pairs.mean(axis=1).var(ddof=1) / 4 + pairs.mean(axis=0).var(ddof=1) / 3
    found = auroc(known, unknown)
    assert found.low == pytest.approx(max(0.0, pairs.mean() - 1.959964 * variance**0.5))
    assert found.high == pytest.approx(min(1.0, pairs.mean() + 1.959964 * variance**0.5))


def test_a_confidence_that_says_nothing_has_an_auroc_of_one_half() -> None:
    source = np.random.default_rng(0)
    found = auroc(source.random(400), source.random(400))
    assert found.low < 0.5 < found.high


def test_the_threshold_keeps_95_percent_of_source_validation() -> None:
    confidences = np.linspace(0, 1, 101)
    threshold = threshold_of(confidences)
    assert (confidences >= threshold).mean() >= 0.95
    assert (confidences > threshold).mean() < 0.955


def test_the_h_score_is_the_harmonic_mean_of_right_and_rejected() -> None:
    known, is_right = np.array([0.9, 0.9, 0.3, 0.9]), np.array([True, False, True, True])
    found = rejection(known, is_right, np.array([0.1, 0.8]), threshold=0.5)
    assert (found.known.correct, found.known.images) == (2, 4)  # one wrong, one rejected
    assert (found.rejected.correct, found.rejected.images) == (1, 2)
    assert found.h_score.value == pytest.approx(0.5)
    assert found.h_score.low <= 0.5 <= found.h_score.high
    assert found.as_dict()["auroc"]["value"] == 0.875


def test_a_student_that_rejects_nothing_has_an_h_score_of_zero() -> None:
    found = rejection(np.ones(3), np.ones(3, dtype=bool), np.ones(2), threshold=0.5)
    assert (found.h_score.value, found.h_score.high) == (0.0, 0.0)
