"""Ridge regression from features to embeddings, in closed form.

Shapes: M rows, F features, D teacher dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_CHUNK = 4096
_LEAST = 1e-12  # keeps the equations solvable if the features do not vary


def solve_projection(
    features_MF: Tensor, targets_MD: Tensor, *, ridge: float
) -> tuple[Tensor, Tensor]:
    """The weight (D, F) and bias (D,) that map features to targets of unit length.

    The penalty is `ridge` times the mean variance of the features; the bias is not penalised.
    """
    num_features, dim = features_MF.shape[1], targets_MD.shape[1]
    gram = torch.zeros(num_features + 1, num_features + 1, dtype=torch.float64)
    moment = torch.zeros(num_features + 1, dim, dtype=torch.float64)
    for at in range(0, len(features_MF), _CHUNK):
        part = slice(at, at + _CHUNK)
        target_BD = targets_MD[part].double()
        with_one = functional.pad(features_MF[part].cpu().double(), (0, 1), value=1.0)
        gram += with_one.T @ (target_BD.norm(dim=-1, keepdim=True) * with_one)
        moment += with_one.T @ target_BD
    total = gram[-1, -1]
    mean_F = gram[-1, :-1] / total
    variance = gram.diagonal()[:-1].mean() / total - mean_F.square().mean()
    penalty = (total * (ridge * variance + _LEAST)).repeat(num_features + 1)
    penalty[-1] = 0.0
    solution = torch.linalg.solve(gram + penalty.diag(), moment)
    return solution[:-1].T.float().contiguous(), solution[-1].float()
