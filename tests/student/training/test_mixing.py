from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from student.training.batches import Batch
from student.training.mixing import MixedBatches, partners

ROWS, SIZE, DIM = 8, 16, 4


def _batch(step: int) -> Batch:
    """Each row's pixels are all its own number, so that shares can be read off them."""
    rows = torch.arange(ROWS)
    source = torch.Generator().manual_seed(step)
    bought = rows < 6
    images = functional.normalize(torch.randn(ROWS, DIM, generator=source), dim=-1)
    return Batch(
        inputs=(10 * rows).to(torch.uint8)[:, None, None, None].repeat(1, SIZE, SIZE, 3),
        labels=torch.where(rows == 0, -1, rows % 3),
        images=torch.where(bought[:, None], images, 0.0),
        bought=bought,
    )


def _mixed(mix: Literal["mixup", "cutmix"], step: int = 0, alpha: float = 1.0) -> Batch:
    return MixedBatches(_batch, mix=mix, alpha=alpha, seed=(1, 2))(step)


def _partner_rows(batch: Batch, mixed: Batch) -> torch.Tensor:
    """Who a row was mixed with, by the mean of its pixels: share own + (1 - share) other."""
    means = mixed.inputs.mean(dim=(1, 2, 3)) / 10
    own = torch.arange(ROWS)
    return ((means - mixed.share * own) / (1 - mixed.share)).round().long()


@pytest.mark.parametrize("mix", ["mixup", "cutmix"])
@pytest.mark.parametrize("step", range(4))
def test_pixels_embeddings_and_labels_are_mixed_in_the_same_shares(
    mix: Literal["mixup", "cutmix"], step: int
) -> None:
    plain, mixed = _batch(step), _mixed(mix, step)
    other = _partner_rows(plain, mixed)
    assert sorted(other.tolist()) == list(range(ROWS))
    assert mixed.partners is not None
    assert torch.equal(mixed.partners, plain.labels[other])
    between = mixed.share * plain.images + (1 - mixed.share) * plain.images[other]
    torch.testing.assert_close(mixed.images, functional.normalize(between, dim=-1))
    assert torch.equal(mixed.bought, plain.bought)
    assert torch.equal(mixed.labels, plain.labels)


def test_cutmix_shows_a_box_of_the_other_image_and_mixup_all_of_both() -> None:
    cut, blended = (_mixed(mix, 1).inputs[5].flatten().tolist() for mix in ("cutmix", "mixup"))
    assert len(set(cut)) == 2
    assert len(set(blended)) == 1
    assert 0 < _mixed("cutmix", 1).share < 1


def test_a_step_is_mixed_the_same_way_whenever_it_is_asked_for() -> None:
    first, again, other = _mixed("mixup", 3), _mixed("mixup", 3), _mixed("mixup", 4)
    assert torch.equal(first.inputs, again.inputs)
    assert first.share == again.share != other.share


@settings(deadline=None)
@given(kinds=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=12))
def test_nothing_that_was_bought_or_labelled_is_lost_to_a_partner_without(
    kinds: list[tuple[bool, bool]],
) -> None:
    bought, labelled = (torch.tensor(column) for column in zip(*kinds, strict=True))
    batch = Batch(
        inputs=torch.zeros(len(kinds), 1),
        labels=torch.where(labelled, 0, -1),
        images=torch.zeros(len(kinds), DIM),
        bought=bought,
    )
    found = partners(batch, np.random.default_rng(0))
    assert sorted(found) == list(range(len(kinds)))
    assert [kinds[row] for row in found] == kinds
