from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from student.training.dataset import LabelledImages, TrainingData
from student.training.methods import METHODS
from student.training.settings import TrainingSettings
from student.training.stand_in import with_text_stand_ins
from student.training.train import train
from tests.student.training.shades import CLASSES, make_data


def _part_bought(views: int = 1) -> TrainingData:
    bought = np.zeros((18, views), dtype=bool)
    bought[:6, views - 1 :] = True
    data = make_data(views=views, bought=bought)
    unpaid = np.where(bought[..., None], data.image_embeddings, np.float32(np.nan))
    return replace(data, image_embeddings=unpaid, text_embeddings=3 * data.text_embeddings)


def test_what_was_bought_is_left_as_it_is_and_the_rest_has_the_text_of_its_class() -> None:
    data = _part_bought(views=3)
    whole = with_text_stand_ins(data)
    np.testing.assert_array_equal(whole.bought[:6], data.bought[:6])
    np.testing.assert_array_equal(
        whole.image_embeddings[:6][data.bought[:6]], data.image_embeddings[:6][data.bought[:6]]
    )
    np.testing.assert_array_equal(whole.bought[6:], np.tile([True, False, False], (12, 1)))
    np.testing.assert_array_equal(
        whole.image_embeddings[6:, 0], data.text_embeddings[data.labels[6:]] / 3
    )


def test_an_image_without_a_label_gets_none() -> None:
    data = _part_bought()
    labels = data.labels.copy()
    labels[10] = -1
    whole = with_text_stand_ins(replace(data, labels=labels))
    assert whole.bought.sum() == 17
    assert not whole.bought[10].any()


def test_with_everything_bought_there_is_nothing_to_stand_in_for() -> None:
    data = make_data()
    assert with_text_stand_ins(data) is data


def test_with_stand_ins_and_nothing_bought_lmd_does_not_matter(
    validation: LabelledImages, settings: TrainingSettings
) -> None:
    """Every image is pulled to its text with the whole weight: text-only, at any lmd."""
    data = make_data(bought=np.zeros((18, 1), dtype=bool))

    def trained(method: str, **more: Any) -> dict[str, Tensor]:
        used = replace(settings, **more)
        done = train(METHODS[method], data, validation, used, num_classes=CLASSES)
        return done.student.state_dict()

    text_only = trained("text-only")
    for lmd in (0.0, 0.5, 0.9):
        found = trained("vl2v-adip", lmd=lmd, stand_ins=True)
        for name, tensor in text_only.items():
            torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=1e-4)
