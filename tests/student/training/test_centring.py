"""Centred embeddings: what is trained on, and a student that answers in the teacher's space."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from student.errors import BadInput
from student.inference.trained_student import load
from student.models.heads import EmbeddingHead
from student.models.saved import save_student
from student.options import TrainingOptions
from student.training.centring import centred
from student.training.dataset import LabelledImages, TrainingData
from student.training.metrics import nearest_texts
from student.training.stored_names import stored_settings
from student.training.train import Trained, train
from tests.support.shaded_images import CLASSES, DIM, SIZE, make_data
from tests.support.training_tasks import task_of

OPTIONS = TrainingOptions(
    backbone="test_efficientnet",
    weights="none",
    steps=10,
    align_steps=40,
    eval_every=10,
    lr=1e-3,
    align_lr=1e-2,
    batch_per_domain=4,
    centre_embeddings=True,
    device="cpu",
    threads=1,
)


def in_a_cone(data: TrainingData) -> TrainingData:
    """The same data with a CLIP's shape: images in one narrow cone and texts in another."""
    images, texts = np.zeros((2, DIM), dtype=np.float32)
    images[-1], texts[-2] = 3.0, 3.0
    shifted = data.image_embeddings + images, data.text_embeddings + texts
    lengths = [np.linalg.norm(rows, axis=-1, keepdims=True) for rows in shifted]
    image_embeddings, text_embeddings = (
        rows / length for rows, length in zip(shifted, lengths, strict=True)
    )
    return replace(data, image_embeddings=image_embeddings, text_embeddings=text_embeddings)


def trained(method: str = "vl2v-adip", options: TrainingOptions = OPTIONS) -> Trained:
    data, other = in_a_cone(make_data()), make_data(seed=1)
    validation = LabelledImages(name="v", pixels=other.pixels[:, 0], labels=other.labels)
    return train(task_of(method, data, validation, options))


def test_what_is_left_has_unit_length_and_the_classes_are_as_far_apart_as_can_be() -> None:
    data = make_data(bought=np.arange(18)[:, None] % 3 > 0)
    found, centre = centred(in_a_cone(data))
    kept, others = found.image_embeddings[data.bought], found.image_embeddings[~data.bought]
    assert np.linalg.norm(kept, axis=1) == pytest.approx(np.ones(len(kept)), abs=1e-6)
    assert np.array_equal(others, in_a_cone(data).image_embeddings[~data.bought])
    assert float(centre.images[-1]) > 0.9
    between = found.text_embeddings @ found.text_embeddings.T
    assert between[0, 1] == pytest.approx(-1 / (CLASSES - 1), abs=1e-5)  # an equilateral triangle
    assert (in_a_cone(data).text_embeddings @ in_a_cone(data).text_embeddings.T)[0, 1] > 0.8


def test_a_projection_that_has_learnt_its_targets_answers_with_the_teachers_embeddings() -> None:
    data = in_a_cone(make_data())
    found, centre = centred(data)
    head = EmbeddingHead(
        DIM,
        torch.from_numpy(found.text_embeddings),
        projection=torch.nn.Identity(),
        centre=centre,
    )
    answers = head.project(torch.from_numpy(found.image_embeddings[:, 0]))
    cosines = functional.cosine_similarity(answers, torch.from_numpy(data.image_embeddings[:, 0]))
    assert cosines.min() > 0.99
    texts = head.unit_texts(torch.from_numpy(data.text_embeddings))
    torch.testing.assert_close(texts, torch.from_numpy(found.text_embeddings))


@pytest.mark.parametrize("method", ["vl2v-adip", "vl2v-adip-erm", "image-only", "text-only"])
def test_a_student_of_centred_embeddings_is_saved_and_answers_as_before(
    tmp_path: Path, method: str
) -> None:
    student = trained(method).student
    save_student(student, tmp_path, {"classes": ["a", "b", "c"]})
    read = load(tmp_path)
    pixels = make_data(seed=2).pixels[:, 0]
    with torch.no_grad():
        torch.testing.assert_close(
            read.student(torch.tensor(pixels)), student(torch.tensor(pixels)), rtol=0, atol=0
        )
    assert read.student.architecture.is_centred
    cone = np.zeros(DIM, dtype=np.float32)
    cone[-1] = 1.0
    embeddings = read.embed(list(pixels))
    assert (embeddings @ cone).min() > 0.8  # where the teacher's image embeddings are


def test_new_classes_are_compared_as_the_old_ones_are() -> None:
    student = trained().student
    data = make_data(seed=2)
    texts = in_a_cone(data).text_embeddings
    nearest = nearest_texts(student, data.pixels[:, 0], texts)
    with torch.no_grad():
        expected = student(torch.tensor(data.pixels[:, 0])).argmax(dim=1).numpy()
    assert np.array_equal(nearest, expected)
    assert (nearest == data.labels).mean() > 0.9


@pytest.mark.parametrize("method", ["kd", "rise"])
def test_a_method_that_takes_the_teachers_answers_as_they_are_is_refused(method: str) -> None:
    with pytest.raises(BadInput, match="leave --centre-embeddings out"):
        trained(method)


def test_a_student_of_labels_is_the_same_with_and_without_the_option() -> None:
    with_option = trained("erm").student.state_dict()
    without = trained("erm", OPTIONS.changed(centre_embeddings=False)).student.state_dict()
    assert all(torch.equal(without[name], tensor) for name, tensor in with_option.items())


def test_a_run_without_the_option_keeps_the_identity_that_it_had_before_there_was_one() -> None:
    plain = stored_settings(OPTIONS.changed(centre_embeddings=False), image_size=SIZE, seed=0)
    assert "centre_embeddings" not in plain
    assert stored_settings(OPTIONS, image_size=SIZE, seed=0)["centre_embeddings"] is True
