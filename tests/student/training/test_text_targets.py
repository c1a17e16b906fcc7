from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from student.options import TrainingOptions
from student.training.dataset import LabelledImages, TrainingData
from student.training.text_targets import modality_gap, with_text_targets
from student.training.train import train
from tests.support.shaded_images import make_data
from tests.support.training_tasks import task_of


def _part_bought(views: int = 1) -> TrainingData:
    bought = np.zeros((18, views), dtype=bool)
    bought[:6, views - 1 :] = True
    data = make_data(views=views, bought=bought)
    unpaid = np.where(bought[..., None], data.image_embeddings, np.float32(np.nan))
    return replace(data, image_embeddings=unpaid, text_embeddings=3 * data.text_embeddings)


def _unit(rows: Any) -> Any:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def test_unbought_images_get_the_text_embedding_of_their_class_at_view_0() -> None:
    data = _part_bought(views=3)
    whole = with_text_targets(data)
    np.testing.assert_array_equal(whole.bought[:6], data.bought[:6])
    np.testing.assert_array_equal(whole.bought[6:], np.tile([True, False, False], (12, 1)))
    np.testing.assert_array_equal(
        whole.image_embeddings[6:, 0], data.text_embeddings[data.labels[6:]] / 3
    )


def test_bought_embeddings_are_shifted_by_the_mean_modality_gap() -> None:
    data = _part_bought(views=3)
    bought = _unit(data.image_embeddings[:6][data.bought[:6]].astype(np.float64))
    texts = _unit(data.text_embeddings.astype(np.float64))[data.labels[:6]]
    moved = _unit(bought - (bought.mean(axis=0) - texts.mean(axis=0)))
    whole = with_text_targets(data)
    np.testing.assert_allclose(whole.image_embeddings[:6][data.bought[:6]], moved, atol=1e-6)


@given(arrays(np.float32, 8, elements=st.floats(-4, 4, width=32)))
def test_the_modality_gap_is_the_mean_difference_between_images_and_their_texts(gap: Any) -> None:
    data = _part_bought()
    text = (data.text_embeddings / 3).astype(np.float32)
    apart = np.where(data.bought[..., None], text[data.labels][:, None] + gap, np.float32(np.nan))
    gap_D = modality_gap(data, apart[data.bought], text)
    np.testing.assert_allclose(gap_D, gap, atol=1e-5)


def test_unlabelled_bought_embeddings_are_shifted_by_the_gap_of_the_labelled() -> None:
    data = _part_bought()
    labels = data.labels.copy()
    labels[0] = -1
    whole = with_text_targets(replace(data, labels=labels))
    bought = _unit(data.image_embeddings[:6, 0].astype(np.float64))
    texts = _unit(data.text_embeddings.astype(np.float64))[data.labels[1:6]]
    moved = _unit(bought[0] - (bought[1:].mean(axis=0) - texts.mean(axis=0)))
    np.testing.assert_allclose(whole.image_embeddings[0, 0], moved, atol=1e-6)


def test_without_labelled_bought_embeddings_nothing_is_shifted() -> None:
    data = _part_bought()
    labels = np.where(np.arange(18) < 6, -1, data.labels)
    whole = with_text_targets(replace(data, labels=labels))
    np.testing.assert_allclose(
        whole.image_embeddings[:6, 0], _unit(data.image_embeddings[:6, 0]), atol=1e-6
    )


def test_an_unlabelled_image_gets_no_text_target() -> None:
    data = _part_bought()
    labels = data.labels.copy()
    labels[10] = -1
    whole = with_text_targets(replace(data, labels=labels))
    assert whole.bought.sum() == 17
    assert not whole.bought[10].any()


def test_with_everything_bought_no_text_target_is_needed() -> None:
    data = make_data()
    assert with_text_targets(data) is data


def test_with_text_targets_and_nothing_bought_lmd_does_not_matter(
    validation: LabelledImages, settings: TrainingOptions
) -> None:
    """Every image is trained towards its text with the full weight: text-only, at any lmd."""
    data = make_data(bought=np.zeros((18, 1), dtype=bool))

    def trained(method: str, **more: Any) -> dict[str, Tensor]:
        used = settings.changed(**more)
        done = train(task_of(method, data, validation, used))
        return done.student.state_dict()

    text_only = trained("text-only")
    for lmd in (0.0, 0.5, 0.9):
        found = trained("vl2v-adip", lmd=lmd, text_targets=True)
        for name, tensor in text_only.items():
            torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=1e-4)
