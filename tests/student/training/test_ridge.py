from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from student.training.dataset import TrainingData
from student.training.loss_weights import LossWeights
from student.training.ridge import Targets, cosine_loss, solve_projection, stored_targets
from tests.support.shaded_images import make_data

FEATURES = 6
BOTH = LossWeights(image=0.6, text=0.4)


def _features(rows: int) -> torch.Tensor:
    return 5 + torch.randn(rows, FEATURES, generator=torch.Generator().manual_seed(0))


def _targets(data: TrainingData, bought: NDArray[np.bool_], terms: LossWeights = BOTH) -> Targets:
    needed = bought.copy()
    needed[~bought.any(axis=1), 0] = True
    rows_NK = np.where(needed, np.cumsum(needed).reshape(needed.shape) - 1, -1)
    text_CD = torch.tensor(data.text_embeddings)
    return stored_targets(data, rows_NK, bought_NK=bought, text_CD=text_CD, terms=terms)


@pytest.mark.parametrize("ridge", [1e-3, 0.1, 10.0])
def test_the_projection_is_the_minimum_of_the_penalised_squared_error(ridge: float) -> None:
    """Where the gradient, by torch, of the whole sum is nought."""
    data = make_data(views=2)
    targets, features = _targets(data, data.bought), _features(36)
    weight, bias = solve_projection(features, targets, ridge=ridge)
    W, b = weight.double().requires_grad_(), bias.double().requires_grad_()
    length_M = targets.pull_MD.double().norm(dim=-1)
    counts_M = targets.counts_M * length_M
    direction_MD = targets.pull_MD.double() / length_M[:, None]
    mean = (counts_M[:, None] * features).sum(0) / counts_M.sum()
    variance = (counts_M[:, None] * (features - mean).square()).sum() / counts_M.sum() / FEATURES
    error_M = (features.double() @ W.T + b - direction_MD).square().sum(-1)
    loss = (counts_M * error_M).sum() / counts_M.sum() + ridge * variance * W.square().sum()
    torch.autograd.backward(loss)
    assert W.grad is not None
    assert b.grad is not None
    assert float(W.grad.abs().max()) < 1e-4
    assert float(b.grad.abs().max()) < 1e-4


def test_a_smaller_penalty_comes_nearer_and_all_beat_no_projection() -> None:
    data = make_data(views=2)
    targets, features = _targets(data, data.bought), _features(36)
    losses = [
        cosine_loss(features, targets, *solve_projection(features, targets, ridge=ridge))
        for ridge in (1e-6, 0.1, 10.0)
    ]
    assert losses == sorted(losses)
    flat = cosine_loss(features, targets, torch.zeros(8, FEATURES), torch.ones(8))
    assert losses[0] < flat


def test_the_pull_is_what_the_cosine_terms_ask_for() -> None:
    """An image without embedding is pulled to its text, one without label to its embedding, and
    one with neither not at all; it does not count."""
    bought = np.zeros((18, 1), dtype=bool)
    bought[:9] = True
    data = make_data(bought=bought)
    labels = data.labels.copy()
    labels[[0, 17]] = -1
    data = replace(data, labels=labels)
    targets = _targets(data, bought)
    image, text = data.image_embeddings[:, 0], data.text_embeddings
    np.testing.assert_allclose(targets.pull_MD[0], 0.6 * image[0], rtol=1e-6)
    np.testing.assert_allclose(
        targets.pull_MD[1], 0.6 * image[1] + 0.4 * text[labels[1]], rtol=1e-6
    )
    np.testing.assert_allclose(targets.pull_MD[10], 0.4 * text[labels[10]], rtol=1e-6)
    assert not targets.pull_MD[17].any()
    assert targets.counts_M[17] == 0


def test_every_domain_counts_alike_and_every_image_of_a_domain() -> None:
    bought = np.zeros((18, 3), dtype=bool)
    bought[0] = True
    bought[1, :2] = True
    domains = np.array([0] * 4 + [1] * 14)
    data = replace(make_data(views=3, bought=bought), domains=domains)
    counts = _targets(data, bought).counts_M.numpy()
    images = np.repeat(np.arange(18), [3, 2] + [1] * 16)
    of_image = np.bincount(images, weights=counts)
    np.testing.assert_allclose(of_image, [1 / 4] * 4 + [1 / 14] * 14)


def test_features_that_never_vary_still_have_a_solution() -> None:
    data = make_data()
    weight, bias = solve_projection(
        torch.ones(18, FEATURES), _targets(data, data.bought), ridge=0.01
    )
    assert bool(weight.isfinite().all())
    assert bool(bias.isfinite().all())
