from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from student.models.architecture import LOGIT_SCALE
from student.models.heads import ClassHead, EmbeddingHead, JointHead, TextHead
from student.training.batches import Batch
from student.training.loss_weights import LossWeights
from student.training.losses import distillation_loss, objective, zero_shot_logits

ROWS, DIM, CLASSES = 5, 4, 3
BOUGHT = [True, False, True, True, False]
ADIP = LossWeights(image=0.3, text=0.7)


def _batch(seed: int = 0) -> Batch:
    source = torch.Generator().manual_seed(seed)
    return Batch(
        inputs=torch.randn(ROWS, DIM, generator=source),
        labels=torch.arange(ROWS) % CLASSES,
        images=functional.normalize(torch.randn(ROWS, DIM, generator=source), dim=-1),
        bought=torch.tensor(BOUGHT),
    )


def _texts() -> Tensor:
    source = torch.Generator().manual_seed(7)
    return functional.normalize(torch.randn(CLASSES, DIM, generator=source), dim=-1)


def _head(scale: float = LOGIT_SCALE) -> EmbeddingHead:
    """A head without a projection: its features are already in the teacher's space."""
    return EmbeddingHead(DIM, _texts(), scale=scale, projection=torch.nn.Identity())


def _class_head() -> ClassHead:
    torch.manual_seed(3)
    return ClassHead(DIM, CLASSES)


def _loss(
    terms: LossWeights, batch: Batch, head: EmbeddingHead | ClassHead | None = None
) -> Tensor:
    return objective(
        terms,
        head=head or _head(),
        features_BF=batch.inputs,
        batch=batch,
        text_CD=_texts(),
    )


def _cos(a: list[float], b: list[float]) -> float:
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return shares


@pytest.mark.parametrize("lmd", [0.0, 0.3, 0.5, 1.0])
def test_the_cosine_terms_are_the_papers_formula_summed_by_hand(lmd: float) -> None:
    """-(lmd cos(PF, I) where bought + (1 - lmd) cos(PF, T_y)), averaged over the batch."""
    batch = _batch()
    texts = _texts().tolist()
    by_hand = sum(
        -lmd * is_bought * _cos(p, i) - (1 - lmd) * _cos(p, texts[label])
        for p, i, label, is_bought in zip(
            batch.inputs.tolist(),
            batch.images.tolist(),
            batch.labels.tolist(),
            BOUGHT,
            strict=True,
        )
    )
    loss = _loss(LossWeights(image=lmd, text=1 - lmd), batch)
    assert loss.item() == pytest.approx(by_hand / ROWS, abs=1e-6)


def test_at_one_half_it_is_the_black_box_loss_of_the_project_page() -> None:
    """L_ADiP = -1/(2n) sum (cos(PF, T) + cos(PF, I)) when every image was bought."""
    batch = replace(_batch(), bought=torch.ones(ROWS, dtype=torch.bool))
    cosine = functional.cosine_similarity
    to_text = cosine(batch.inputs, _texts()[batch.labels])
    published = -(to_text + cosine(batch.inputs, batch.images)).sum() / (2 * ROWS)
    torch.testing.assert_close(_loss(LossWeights(image=0.5, text=0.5), batch), published)


def test_the_label_term_is_torchs_mean_cross_entropy_to_the_last_bit() -> None:
    """Loss and gradient, so that ERM is exactly ERM."""
    for rows in (1, 5, 64, 96, 129):
        torch.manual_seed(rows)
        logits, labels = torch.randn(rows, 7), torch.randint(0, 7, (rows,))
        batch = Batch(
            inputs=logits.clone().requires_grad_(),
            labels=labels,
            images=torch.zeros(rows, 2),
            bought=torch.zeros(rows, dtype=torch.bool),
        )
        head = ClassHead(7, 7)
        with torch.no_grad():
            head.linear.weight.copy_(torch.eye(7))
            head.linear.bias.zero_()
        plain = logits.clone().requires_grad_()
        expected = functional.cross_entropy(head(plain), labels)
        loss = _loss(LossWeights(labels=1.0), batch, head)
        assert torch.equal(loss, expected)
        torch.autograd.backward([loss, expected])
        assert batch.inputs.grad is not None
        assert plain.grad is not None
        assert torch.equal(batch.inputs.grad, plain.grad)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
def test_the_kd_term_is_torchs_batchmean_divergence_times_the_squared_temperature(
    temperature: float,
) -> None:
    batch = replace(_batch(), bought=torch.ones(ROWS, dtype=torch.bool))
    head = _class_head()
    teacher = 100 * batch.images @ _texts().T
    expected = functional.kl_div(
        functional.log_softmax(head(batch.inputs) / temperature, dim=-1),
        functional.softmax(teacher / temperature, dim=-1),
        reduction="batchmean",
    )
    loss = _loss(LossWeights(kd=1.0, temperature=temperature), batch, head)
    torch.testing.assert_close(loss, expected * temperature**2)


def test_the_kd_term_is_the_sum_over_classes_of_p_log_p_over_q() -> None:
    """In numpy and double precision; rows that were not bought add nothing."""
    batch, head, temperature = _batch(), _class_head(), 2.0
    student = head(batch.inputs).detach().double().numpy() / temperature
    teacher = 100 * batch.images.double().numpy() @ _texts().double().numpy().T / temperature
    p, q = _softmax(teacher), _softmax(student)
    divergence = (p * np.log(np.maximum(p, 1e-300) / q)).sum(axis=-1)
    expected = temperature**2 * (divergence * BOUGHT).sum() / ROWS
    assert _loss(LossWeights(kd=1.0, temperature=temperature), batch, head).item() == pytest.approx(
        expected, rel=1e-5
    )


def test_kd_is_least_where_student_and_teacher_agree_and_the_published_code_is_not() -> None:
    """The published baseline passes probabilities where kl_div expects their logarithm: it is not
    zero for equal answers, and a student that is surer than the teacher makes it smaller."""
    teacher = torch.tensor([[2.0, 1.0, 0.0]])

    def published(student: Tensor) -> float:
        return float(
            functional.kl_div(student.softmax(-1), teacher.softmax(-1), reduction="batchmean")
        )

    def ours(student: Tensor) -> float:
        return float(distillation_loss(student, teacher, temperature=1.0).mean())

    surer = torch.tensor([[9.0, 0.0, 0.0]])
    assert ours(teacher) == pytest.approx(0.0, abs=1e-7)
    assert ours(surer) > 0.1
    assert abs(published(teacher)) > 0.1
    assert published(surer) < published(teacher)


def test_kd_with_labels_is_their_weighted_sum() -> None:
    batch, head = _batch(), _class_head()
    both = _loss(LossWeights(labels=0.5, kd=0.25), batch, head)
    apart = 0.5 * _loss(LossWeights(labels=1.0), batch, head) + 0.25 * _loss(
        LossWeights(kd=1.0), batch, head
    )
    torch.testing.assert_close(both, apart)


def test_the_teachers_prediction_is_that_of_clip() -> None:
    """A hundred cosines to the class texts, whatever the length of the embedding."""
    batch = _batch()
    expected = 100 * functional.cosine_similarity(batch.images[:, None], _texts()[None], dim=-1)
    torch.testing.assert_close(zero_shot_logits(3 * batch.images, _texts()), expected)


def test_the_image_term_alone_is_simkds_squared_distance_between_unit_vectors() -> None:
    batch = replace(_batch(), bought=torch.ones(ROWS, dtype=torch.bool))
    unit = functional.normalize(batch.inputs, dim=-1)
    squared = (unit - batch.images).square().sum(-1).mean()
    torch.testing.assert_close(2 + 2 * _loss(LossWeights(image=1.0), batch), squared)


def test_the_relation_term_is_rises_with_the_class_texts_as_anchors() -> None:
    """mse(softmax(cos(PF, anchors)), softmax(cos(T_y, anchors))), as its code sums it in a loop."""
    batch, texts = _batch(), _texts().double().numpy()
    total = 0.0
    for p, label in zip(batch.inputs.double().numpy(), batch.labels.tolist(), strict=True):
        unit = p / np.linalg.norm(p)
        difference = _softmax(texts @ unit) - _softmax(texts @ texts[label])
        total += (difference**2).mean()
    expected = 10 * total / ROWS
    assert _loss(LossWeights(relations=10.0), batch).item() == pytest.approx(expected, rel=1e-4)


def test_the_label_term_of_an_embedding_head_is_a_softmax_of_scaled_cosines() -> None:
    batch = _batch()
    cosine = functional.cosine_similarity(batch.inputs[:, None], _texts()[None], dim=-1)
    for scale in (1.0, 20.0):
        expected = functional.cross_entropy(scale * cosine, batch.labels)
        torch.testing.assert_close(_loss(LossWeights(labels=1.0), batch, _head(scale)), expected)


def test_a_text_head_starts_from_the_texts_and_is_trained() -> None:
    torch.manual_seed(0)
    head, batch = TextHead(DIM, 3 * _texts()), _batch()
    torch.testing.assert_close(head(batch.inputs), head.project(batch.inputs) @ _texts().T)
    assert "classifier.weight" in dict(head.named_parameters())


def test_labels_train_the_classifier_of_a_joint_head_and_embeddings_its_projection() -> None:
    torch.manual_seed(0)
    head, batch = JointHead(DIM, _texts()), _batch()
    torch.autograd.backward(_loss(LossWeights(labels=1.0), batch, head))
    assert head.classifier.weight.grad is not None
    assert head.projection.weight.grad is None
    head.zero_grad()
    torch.autograd.backward(_loss(ADIP, batch, head))
    assert head.projection.weight.grad is not None
    assert head.classifier.weight.grad is None


def test_a_joint_head_predicts_by_the_mean_of_both_confidences() -> None:
    torch.manual_seed(0)
    head, batch = JointHead(DIM, _texts()), _batch()
    of_labels = head.classifier(batch.inputs).softmax(dim=1)
    of_texts = EmbeddingHead.forward(head, batch.inputs).softmax(dim=1)
    torch.testing.assert_close(head(batch.inputs).softmax(dim=1), (of_labels + of_texts) / 2)


@pytest.mark.parametrize(
    "terms",
    [ADIP, LossWeights(kd=1.0), LossWeights(image=0.5, labels=0.1, kd=0.2)],
)
def test_an_embedding_that_was_not_bought_is_never_read(terms: LossWeights) -> None:
    """Even if its row is NaN: loss and gradient equal those with any other row."""
    batch = _batch()
    with_nan = batch.images.clone()
    with_nan[~batch.bought] = float("nan")
    found = []
    for images in (batch.images, with_nan):
        inputs = batch.inputs.clone().requires_grad_()
        loss = _loss(terms, replace(batch, inputs=inputs, images=images))
        torch.autograd.backward(loss)
        assert inputs.grad is not None
        found.append((loss, inputs.grad))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


@pytest.mark.parametrize(
    "terms",
    [
        ADIP,
        LossWeights(labels=1.0),
        LossWeights(text=1.0),
        LossWeights(relations=1.0),
        LossWeights(text=0.5, kd=0.5),
    ],
)
def test_a_row_without_label_adds_nothing_to_a_term_of_labels(terms: LossWeights) -> None:
    """The loss is the mean over the batch of what each row has: as if each stood alone."""
    batch = _batch()
    labels = batch.labels.clone()
    labels[1:3] = -1
    loss = _loss(terms, replace(batch, labels=labels))
    unlabelled = replace(terms, text=0.0, labels=0.0, relations=0.0)
    alone = 0.0
    for row in range(ROWS):
        row_batch = replace(
            batch,
            inputs=batch.inputs[row : row + 1],
            labels=batch.labels[row : row + 1],
            images=batch.images[row : row + 1],
            bought=batch.bought[row : row + 1],
        )
        if labels[row] >= 0:
            alone += _loss(terms, row_batch).item()
        elif unlabelled.reads_images:
            alone += _loss(unlabelled, row_batch).item()
    assert loss.item() == pytest.approx(alone / ROWS, rel=1e-5)
