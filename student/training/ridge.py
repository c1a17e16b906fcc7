"""Align in closed form: the projection by ridge regression on stored features.

Shapes: N images, K views, M views that are needed, F features, D teacher dimensions, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from student.training.dataset import TrainingData
from student.training.loss_weights import LossWeights

_CHUNK = 4096
_LEAST = 1e-12  # keeps the equations solvable where features do not vary


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Targets:
    """Where the cosine terms pull each row of stored features (M, D), and how much it counts (M,).

    For an image that is projected on p of unit length, image cos(p, I) + text cos(p, T) is p . t:
    `pull` is t. Every domain counts alike, every image of a domain, and every view of an image.
    """

    pull_MD: Tensor  # noqa: N815 # carries its shape, as every tensor here
    counts_M: Tensor  # noqa: N815


def stored_targets(
    data: TrainingData,
    rows_NK: NDArray[np.int64],
    *,
    bought_NK: NDArray[np.bool_],
    text_CD: Tensor,
    terms: LossWeights,
) -> Targets:
    """The targets of the views that `rows_NK` numbers, in the order of its numbers."""
    images_M, views_M = np.nonzero(rows_NK >= 0)
    paid_M1 = bought_NK[images_M, views_M][:, None]
    embedding_MD = torch.from_numpy(
        np.where(paid_M1, data.image_embeddings[images_M, views_M], np.float32(0.0))
    )
    labels_M = torch.from_numpy(data.labels[images_M])
    text_MD = torch.where(labels_M[:, None] >= 0, text_CD.cpu()[labels_M.clamp(min=0)], 0.0)
    image_MD = functional.normalize(embedding_MD, dim=-1)
    useful_M = (labels_M.numpy() >= 0) | paid_M1[:, 0]
    _, domain_M = np.unique(data.domains[images_M], return_inverse=True)
    views_N = np.bincount(images_M, minlength=data.num_images)
    counts_M = useful_M / views_N[images_M]
    counts_M /= np.bincount(domain_M, weights=counts_M)[domain_M].clip(min=_LEAST)
    return Targets(
        pull_MD=terms.image * image_MD + terms.text * text_MD,
        counts_M=torch.from_numpy(counts_M),
    )


def solve_projection(
    features_MF: Tensor, targets: Targets, *, ridge: float
) -> tuple[Tensor, Tensor]:
    """The weight (D, F) and bias (D,) of the ridge regression to the targets' directions.

    Squared error to the direction of t, weighed by its length, asks for what the cosines ask for.
    The penalty is `ridge` times the features' mean variance; the bias is free.
    """
    num_features, dim = features_MF.shape[1], targets.pull_MD.shape[1]
    gram = torch.zeros(num_features + 1, num_features + 1, dtype=torch.float64)
    moment = torch.zeros(num_features + 1, dim, dtype=torch.float64)
    for part in _chunks(len(features_MF)):
        pull_BD = targets.pull_MD[part].double()
        counts_B1 = targets.counts_M[part, None]
        with_one = functional.pad(features_MF[part].cpu().double(), (0, 1), value=1.0)
        gram += with_one.T @ (counts_B1 * pull_BD.norm(dim=-1, keepdim=True) * with_one)
        moment += with_one.T @ (counts_B1 * pull_BD)
    total = gram[-1, -1]
    mean_F = gram[-1, :-1] / total
    variance = gram.diagonal()[:-1].mean() / total - mean_F.square().mean()
    penalty = (total * (ridge * variance + _LEAST)).repeat(num_features + 1)
    penalty[-1] = 0.0
    solution = torch.linalg.solve(gram + penalty.diag(), moment)
    return solution[:-1].T.float().contiguous(), solution[-1].float()


def cosine_loss(features_MF: Tensor, targets: Targets, weight: Tensor, bias: Tensor) -> float:
    """Minus the weighed cosines of all rows under this projection, the mean as they count."""
    total = 0.0
    for part in _chunks(len(features_MF)):
        projected_BD = functional.linear(features_MF[part].cpu(), weight, bias)
        cosine_B = (functional.normalize(projected_BD, dim=-1) * targets.pull_MD[part]).sum(-1)
        total += float((targets.counts_M[part] * cosine_B).sum())
    return -total / float(targets.counts_M.sum())


def _chunks(rows: int) -> list[slice]:
    return [slice(at, at + _CHUNK) for at in range(0, rows, _CHUNK)]
