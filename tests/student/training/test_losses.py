from __future__ import annotations

import math

import pytest
import torch

from student.training.losses import adip_loss, label_loss


def _cos(a: list[float], b: list[float]) -> float:
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))


@pytest.mark.parametrize("lmd", [0.0, 0.3, 0.5, 1.0])
def test_the_adip_loss_is_the_papers_formula_summed_by_hand(lmd: float) -> None:
    """-(lmd cos(PF, I) where bought + (1 - lmd) cos(PF, T_y)), averaged over the batch."""
    torch.manual_seed(0)
    projected, image, text = (torch.randn(5, 4) for _ in range(3))
    bought = [True, False, True, True, False]
    by_hand = sum(
        -lmd * is_bought * _cos(p, i) - (1 - lmd) * _cos(p, t)
        for p, i, t, is_bought in zip(
            projected.tolist(), image.tolist(), text.tolist(), bought, strict=True
        )
    )
    loss = adip_loss(
        projected, image_BD=image, bought_B=torch.tensor(bought), text_BD=text, lmd=lmd
    )
    assert float(loss) == pytest.approx(by_hand / 5, abs=1e-6)


def test_at_one_half_it_is_the_black_box_loss_of_the_project_page() -> None:
    """L_ADiP = -1/(2n) sum (cos(PF, T) + cos(PF, I)) when every image was bought."""
    torch.manual_seed(1)
    projected, image, text = (torch.randn(6, 3) for _ in range(3))
    cosine = torch.nn.functional.cosine_similarity
    published = -(cosine(projected, text) + cosine(projected, image)).sum() / 12
    loss = adip_loss(
        projected, image_BD=image, bought_B=torch.ones(6, dtype=torch.bool), text_BD=text, lmd=0.5
    )
    torch.testing.assert_close(loss, published)


def test_an_embedding_that_was_not_bought_is_never_read() -> None:
    """Not even when its row holds no number: loss and gradient stay finite."""
    projected = torch.randn(2, 3, requires_grad=True)
    image = torch.tensor([[1.0, 0.0, 0.0], [float("nan")] * 3])
    loss = adip_loss(
        projected,
        image_BD=image,
        bought_B=torch.tensor([True, False]),
        text_BD=torch.eye(2, 3),
        lmd=0.5,
    )
    torch.autograd.backward(loss)
    assert projected.grad is not None
    assert bool(projected.grad.isfinite().all())


def test_the_label_loss_is_the_mean_negative_log_softmax() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    expected = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(1))) / 2
    assert float(label_loss(logits, torch.tensor([0, 0]))) == pytest.approx(expected)
