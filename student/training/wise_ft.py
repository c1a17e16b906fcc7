"""WiSE-FT (Wortsman et al., CVPR 2022, arXiv 2109.01903): averages initial and trained weights.

It can follow any method: every student starts from the initial weights of its backbone.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from student.errors import BadInput


@torch.no_grad()
def interpolate(
    start: Mapping[str, Tensor], trained: Mapping[str, Tensor], *, alpha: float
) -> dict[str, Tensor]:
    """(1 - alpha) start + alpha trained, tensor by tensor: 0 is the start and 1 the end, exactly.

    Tensors that the start does not have, such as a head, and integers, such as a count, are taken
    from the trained weights. Raises BadInput if alpha or the tensors do not fit.
    """
    if not 0.0 <= alpha <= 1.0:
        message = f"alpha is the share of the trained weights, between 0 and 1, not {alpha}"
        raise BadInput(message)
    if surplus := sorted(start.keys() - trained.keys()):
        message = f"the start has {len(surplus)} tensors that the end has not ({surplus[0]})"
        raise BadInput(message)
    mixed = {name: tensor.detach().clone() for name, tensor in trained.items()}
    for name, first in start.items():
        last = mixed[name]
        if first.shape != last.shape:
            message = f"{name} is {tuple(first.shape)} at the start, {tuple(last.shape)} at the end"
            raise BadInput(message)
        if last.is_floating_point():
            mixed[name] = (1.0 - alpha) * first.detach().to(last) + alpha * last
    return mixed
