"""The ridge regression by which the margin selectors predict embeddings."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from student.acquisition.margin import solve_projection

ROWS, FEATURES, DIM = 36, 6, 8


def _features() -> Tensor:
    return 5 + torch.randn(ROWS, FEATURES, generator=torch.Generator().manual_seed(0))


def _targets() -> Tensor:
    drawn = torch.randn(ROWS, DIM, generator=torch.Generator().manual_seed(1))
    return functional.normalize(drawn, dim=-1)


@pytest.mark.parametrize("ridge", [1e-3, 0.1, 10.0])
def test_the_projection_is_the_minimum_of_the_penalised_squared_error(ridge: float) -> None:
    """There the gradient of the whole sum, by torch, is zero."""
    targets, features = _targets(), _features()
    weight, bias = solve_projection(features, targets, ridge=ridge)
    W, b = weight.double().requires_grad_(), bias.double().requires_grad_()
    variance = (features - features.mean(0)).square().sum() / ROWS / FEATURES
    error_M = (features.double() @ W.T + b - targets.double()).square().sum(-1)
    torch.autograd.backward(error_M.mean() + ridge * variance * W.square().sum())
    assert W.grad is not None
    assert b.grad is not None
    assert float(W.grad.abs().max()) < 1e-4
    assert float(b.grad.abs().max()) < 1e-4


def test_a_smaller_penalty_fits_better_and_any_penalty_fits_better_than_the_mean() -> None:
    targets, features = _targets(), _features()
    errors = []
    for ridge in (1e-6, 0.1, 10.0):
        weight, bias = solve_projection(features, targets, ridge=ridge)
        predicted = functional.linear(features, weight, bias)
        errors.append(float((predicted - targets).square().sum()))
    assert errors == sorted(errors)
    assert errors[-1] < float((targets.mean(0) - targets).square().sum())


def test_constant_features_still_have_a_solution() -> None:
    weight, bias = solve_projection(torch.ones(ROWS, FEATURES), _targets(), ridge=0.01)
    assert bool(weight.isfinite().all())
    assert bool(bias.isfinite().all())
