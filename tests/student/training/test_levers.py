"""The options of the training loop beyond the paper."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from student.errors import BadInput, DataError
from student.models.student import Student
from student.options import TrainingOptions
from student.training.dataset import LabelledImages, TrainingData
from student.training.loss_weights import LossWeights
from student.training.methods import METHODS, Method
from student.training.train import Trained, starting_backbone, train
from student.training.wise_ft import interpolate
from tests.support.shaded_images import make_data
from tests.support.training_tasks import task_of

ADIP = METHODS["vl2v-adip"]
LEVERS: dict[str, dict[str, Any]] = {
    "one-cycle": {"schedule": "one-cycle"},
    "cosine": {"schedule": "cosine"},
    "no averaging": {"averaging": "none"},
    "centred": {"centre_embeddings": True},
    "mean target": {"mean_target_prob": 0.5},
    "clean": {"clean_prob": 0.5},
    "line drawing": {"line_drawing_prob": 0.5},
    "text targets": {"text_targets": True},
    "lmd": {"lmd": 0.9},
}


class Power(Exception):
    """Raised to simulate a power failure."""


def _train(
    method: Method,
    data: TrainingData,
    validation: LabelledImages,
    settings: TrainingOptions,
    **others: Any,
) -> Trained:
    return train(task_of(method, data, validation, settings), **others)


def _differing(student: Student, other: Student) -> list[str]:
    first, second = student.state_dict(), other.state_dict()
    apart = first.keys() ^ second.keys()
    return [*apart, *(n for n in first.keys() - apart if not torch.equal(first[n], second[n]))]


def _some_bought() -> TrainingData:
    bought = np.random.default_rng(0).random((18, 3)) < 0.6
    return make_data(views=3, bought=bought)


@pytest.mark.parametrize("lever", LEVERS)
def test_every_option_changes_the_student_and_a_killed_run_ends_in_the_same_student(
    lever: str, validation: LabelledImages, settings: TrainingOptions, tmp_path: Path
) -> None:
    settings = settings.changed(backbone="test_vit")
    data, path = _some_bought(), tmp_path / "run.safetensors"
    pulled = settings.changed(**LEVERS[lever])

    def switch_off(*, stage: str, step: int, **_: object) -> None:
        if (stage, step) == ("distill", 3):
            raise Power

    whole = _train(ADIP, data, validation, pulled)
    assert _differing(whole.student, _train(ADIP, data, validation, settings).student)
    with pytest.raises(Power):
        _train(ADIP, data, validation, pulled, progress=switch_off, checkpoint=path)
    resumed = _train(ADIP, data, validation, pulled, checkpoint=path)
    assert _differing(whole.student, resumed.student) == []
    assert whole.history == resumed.history
    assert whole.chosen == resumed.chosen


def test_images_without_label_train_by_their_embedding_alone(
    data: TrainingData, validation: LabelledImages, settings: TrainingOptions
) -> None:
    """The image term reads no label, and the other terms are not affected by missing labels."""
    settings = settings.changed(backbone="test_vit")
    unlabelled = replace(data, labels=np.where(np.arange(18) < 6, -1, data.labels))
    image = METHODS["image-only"]
    labelled = _train(image, data, validation, settings).student
    assert _differing(labelled, _train(image, unlabelled, validation, settings).student) == []
    both = _train(ADIP, unlabelled, validation, settings).student
    assert _differing(both, _train(ADIP, data, validation, settings).student)


@pytest.mark.parametrize("name", ["erm", "text-only", "lp-ft"])
def test_a_label_method_ignores_unlabelled_images(
    name: str, data: TrainingData, validation: LabelledImages, settings: TrainingOptions
) -> None:
    settings = settings.changed(backbone="test_vit")
    has_label = np.arange(18) >= 6
    padded = replace(data, labels=np.where(has_label, data.labels, -1))
    left = TrainingData(
        pixels=data.pixels[has_label],
        labels=data.labels[has_label],
        domains=data.domains[has_label],
        image_embeddings=data.image_embeddings[has_label],
        bought=data.bought[has_label],
        text_embeddings=data.text_embeddings,
    )
    student = _train(METHODS[name], padded, validation, settings).student
    other = _train(METHODS[name], left, validation, settings).student
    if METHODS[name].parts[0][1] == "all":
        assert _differing(student, other) == []
    for (
        key,
        tensor,
    ) in student.state_dict().items():  # features are computed in other chunks, so not bit for bit
        torch.testing.assert_close(tensor, other.state_dict()[key], rtol=1e-3, atol=1e-4)


def test_missing_or_invalid_labels_are_refused(
    data: TrainingData, validation: LabelledImages, settings: TrainingOptions
) -> None:
    nothing = replace(data, labels=np.full(18, -1))
    with pytest.raises(BadInput, match="erm learns from labels, and no image has a label"):
        _train(METHODS["erm"], nothing, validation, settings)
    with pytest.raises(DataError, match="outside the 3 classes"):
        _train(ADIP, replace(data, labels=data.labels - 2), validation, settings)
    unlabelled_validation = replace(validation, labels=np.full(len(validation.labels), -1))
    with pytest.raises(DataError, match="validation label"):
        _train(ADIP, data, unlabelled_validation, settings)


def test_a_label_term_with_cosine_terms_learns_its_temperature(
    data: TrainingData, validation: LabelledImages, settings: TrainingOptions
) -> None:
    terms = LossWeights(labels=0.2, logit_scale=20.0, learns_scale=True)
    method = replace(ADIP, name="with-labels", terms=terms)
    student = _train(method, data, validation, settings.changed(backbone="test_vit")).student
    assert float(student.get_parameter("head.log_scale").exp()) != pytest.approx(20.0)
    assert student.architecture.learns_scale


def test_kd_takes_as_many_texts_as_there_are_classes(
    data: TrainingData, validation: LabelledImages, settings: TrainingOptions
) -> None:
    two = replace(data, text_embeddings=np.eye(2, 8, dtype=np.float32))
    with pytest.raises(DataError, match="3 classes and 2 text embeddings"):
        _train(METHODS["kd"], two, validation, settings)


def test_simkd_without_a_single_bought_embedding_is_refused(
    validation: LabelledImages, settings: TrainingOptions
) -> None:
    data = make_data(bought=np.zeros((18, 1), bool))
    with pytest.raises(BadInput, match="simkd learns from image embeddings only"):
        _train(METHODS["simkd"], data, validation, settings)


def test_weights_can_be_interpolated_after_any_method(
    data: TrainingData, validation: LabelledImages, settings: TrainingOptions
) -> None:
    """At 0 the backbone is the one that training began with, under the trained head."""
    settings = settings.changed(backbone="test_vit")
    start = starting_backbone(task_of(ADIP, data, validation, settings))
    probed = _train(METHODS["linear-probe"], data, validation, settings).student.state_dict()
    assert all(torch.equal(tensor, probed[name]) for name, tensor in start.items())
    student = _train(ADIP, data, validation, settings).student
    trained = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    student.load_state_dict(interpolate(start, trained, alpha=0.0))
    held = student.state_dict()
    assert all(torch.equal(held[name], tensor) for name, tensor in start.items())
    assert torch.equal(held["head.projection.weight"], trained["head.projection.weight"])
    student.load_state_dict(interpolate(start, trained, alpha=1.0))
    assert all(torch.equal(trained[name], tensor) for name, tensor in student.state_dict().items())
