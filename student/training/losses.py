"""The two losses. Shapes: B batch, D teacher dimensions, C classes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def adip_loss(
    projected_BD: Tensor, *, image_BD: Tensor, bought_B: Tensor, text_BD: Tensor, lmd: float
) -> Tensor:
    """VL2V-ADiP's loss, the same in Align and Distill (arXiv 2310.08255, L_ADiP).

    Per sample -lmd cos(PF, I) where its image embedding was bought, -(1 - lmd) cos(PF, T_y)
    everywhere; the mean over the batch. Rows of `image_BD` that were not bought are not read.
    """
    unit_BD = functional.normalize(projected_BD.float(), dim=-1)
    text_B = (unit_BD * functional.normalize(text_BD, dim=-1)).sum(-1)
    paid_BD = torch.where(bought_B[:, None], image_BD, 0.0)
    image_B = (unit_BD * functional.normalize(paid_BD, dim=-1)).sum(-1)
    return -(lmd * image_B + (1.0 - lmd) * text_B).mean()


def label_loss(logits_BC: Tensor, labels_B: Tensor) -> Tensor:
    """Softmax cross-entropy on labels, the mean over the batch."""
    return functional.cross_entropy(logits_BC.float(), labels_B)
