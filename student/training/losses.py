"""The loss of every method: a weighted sum of terms, each the mean over the batch.

A row without the label or the bought embedding that a term needs adds nothing to that term.
Shapes: B batch, D teacher dimensions, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from student.models.architecture import LOGIT_SCALE
from student.models.heads import ClassHead, EmbeddingHead
from student.training.batches import Batch
from student.training.loss_weights import LossWeights


def objective(
    terms: LossWeights,
    *,
    head: EmbeddingHead | ClassHead,
    features_BF: Tensor,
    batch: Batch,
    text_CD: Tensor,
) -> Tensor:
    """The loss of a batch, from its features. text_CD are the class texts, of unit length."""
    losses: list[Tensor] = []
    paid_BD = torch.where(batch.bought[:, None], batch.images, 0.0)
    if terms.reads_projection:
        assert isinstance(head, EmbeddingHead)  # Method refuses such terms for a class head
        projected_BD = head.align(features_BF)
        text_BD, labelled_B = label_texts(batch, text_CD)
        if terms.image > 0 or terms.text > 0:
            cosines_B = cosines(
                projected_BD,
                image_BD=paid_BD,
                text_BD=text_BD,
                labelled_B=labelled_B,
                terms=terms,
            )
            losses.append(-cosines_B.mean())
        if terms.relations > 0:
            error_B = relation_error(projected_BD, text_BD, text_CD)
            losses.append(terms.relations * torch.where(labelled_B, error_B, 0.0).mean())
    if terms.reads_logits:
        logits_BC = head.label_logits(features_BF)
        if terms.labels > 0:
            losses.append(terms.labels * label_loss(logits_BC, batch))
        if terms.kd > 0:
            teacher_BC = zero_shot_logits(paid_BD, text_CD)
            kl_B = distillation_loss(logits_BC, teacher_BC, temperature=terms.temperature)
            losses.append(terms.kd * torch.where(batch.bought, kl_B, 0.0).mean())
    return torch.stack(losses).sum() if len(losses) > 1 else losses[0]


def cosines(
    projected_BD: Tensor,
    *,
    image_BD: Tensor,
    text_BD: Tensor,
    labelled_B: Tensor,
    terms: LossWeights,
) -> Tensor:
    """VL2V-ADiP's weighted cosines (arXiv 2310.08255, L_ADiP), used in Align and Distill: (B,).

    image cos(PF, I) + text cos(PF, T_y); the first term is 0 where the row of `image_BD` is 0.
    """
    unit_BD = functional.normalize(projected_BD.float(), dim=-1)
    text_B = (unit_BD * functional.normalize(text_BD, dim=-1)).sum(-1)
    text_B = torch.where(labelled_B, text_B, 0.0)
    image_B = (unit_BD * functional.normalize(image_BD, dim=-1)).sum(-1)
    return terms.image * image_B + terms.text * text_B


def label_texts(batch: Batch, text_CD: Tensor) -> tuple[Tensor, Tensor]:
    """The text embedding of each row's label (B, D), and whether the row has a label (B,)."""
    if not len(text_CD):  # no image has a label
        nothing_BD = text_CD.new_zeros(len(batch.labels), text_CD.shape[1])
        return nothing_BD, torch.zeros_like(batch.bought)
    return text_CD[batch.labels.clamp(min=0)], batch.labels >= 0


def label_loss(logits_BC: Tensor, batch: Batch) -> Tensor:
    """Softmax cross-entropy on the labels, the mean over the batch; 0 for a row without a label."""
    summed = functional.cross_entropy(
        logits_BC.float(), batch.labels, ignore_index=-1, reduction="sum"
    )
    return summed / len(batch.labels)


def zero_shot_logits(image_BD: Tensor, text_CD: Tensor) -> Tensor:
    """The teacher's zero-shot logits for an image, from its bought embedding: (B, C)."""
    return LOGIT_SCALE * functional.normalize(image_BD, dim=-1) @ text_CD.T


def distillation_loss(logits_BC: Tensor, teacher_BC: Tensor, *, temperature: float) -> Tensor:
    """T^2 KL(teacher || student) at temperature T (Hinton et al., arXiv 1503.02531): (B,).

    The student's side is a log-softmax. The published baseline passes a softmax to torch's kl_div
    instead, whose result is not a divergence.
    """
    student_BC = functional.log_softmax(logits_BC.float() / temperature, dim=-1)
    target_BC = functional.log_softmax(teacher_BC / temperature, dim=-1)
    kl_BC = functional.kl_div(student_BC, target_BC, reduction="none", log_target=True)
    return temperature**2 * kl_BC.sum(-1)


def relation_error(projected_BD: Tensor, text_BD: Tensor, text_CD: Tensor) -> Tensor:
    """RISE's relative distance, with the class texts as anchors: (B,).

    The mean squared difference of two softmaxes over the cosines to the anchors, that of the image
    and that of its label's text.
    """
    unit_BD = functional.normalize(projected_BD.float(), dim=-1)
    student_BC = (unit_BD @ text_CD.T).softmax(dim=-1)
    teacher_BC = (functional.normalize(text_BD, dim=-1) @ text_CD.T).softmax(dim=-1)
    return (student_BC - teacher_BC).square().mean(-1)
