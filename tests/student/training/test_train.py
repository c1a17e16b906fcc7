from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from student.errors import BadInput, DataError
from student.models.architecture import Part
from student.models.heads import EmbeddingHead
from student.models.student import Student
from student.options import TrainingOptions
from student.training.dataset import LabelledImages, TrainingData
from student.training.methods import METHODS, Method
from student.training.metrics import accuracy
from student.training.train import Trained, train
from tests.support.shaded_images import make_data
from tests.support.training_tasks import task_of


class Power(Exception):
    """Raised to simulate a power failure."""


def _train(
    data: TrainingData,
    validation: LabelledImages,
    settings: TrainingOptions,
    method: str = "vl2v-adip",
    checkpoint: Path | None = None,
    *,
    seed: int = 0,
) -> Trained:
    return train(task_of(method, data, validation, settings, seed=seed), checkpoint=checkpoint)


def _assert_equal(student: Student, other: Student) -> None:
    first, second = student.state_dict(), other.state_dict()
    assert first.keys() == second.keys()
    assert [key for key in first if not torch.equal(first[key], second[key])] == []


def _parts(method: Method) -> Iterable[Part]:
    return (part for _, part in method.parts)


def test_vl2v_adip_trains_the_projection_then_the_backbone_alone() -> None:
    assert tuple(_parts(METHODS["vl2v-adip"])) == ("projection", "backbone")


@pytest.mark.parametrize(
    "name", [method for method in METHODS if METHODS[method].head != "identity"]
)
def test_every_method_learns_colours(
    name: str, validation: LabelledImages, settings: TrainingOptions
) -> None:
    """Better than one in three on other shades of the same colours, from random weights."""
    longer = settings.changed(backbone="test_vit", steps=40, align_steps=40, eval_every=10)
    trained = _train(make_data(views=2), validation, longer, name)
    assert accuracy(trained.student, validation) >= 0.6
    stages = METHODS[name].stages(longer)
    assert list(dict.fromkeys(row["stage"] for row in trained.history)) == [s.name for s in stages]


@pytest.mark.parametrize("name", ["vl2v-adip", "lp-ft"])
def test_two_equal_runs_give_bit_identical_students(
    name: str, data: TrainingData, validation: LabelledImages, settings: TrainingOptions
) -> None:
    first = _train(data, validation, settings, name)
    torch.manual_seed(123)
    second = _train(data, validation, settings, name)
    _assert_equal(first.student, second.student)
    assert first.history == second.history
    other = _train(data, validation, settings, name, seed=1)
    assert not torch.equal(
        first.student.get_parameter("backbone.conv_stem.weight"),
        other.student.get_parameter("backbone.conv_stem.weight"),
    )


def test_training_leaves_torchs_own_random_numbers_and_threads_alone(
    data: TrainingData, validation: LabelledImages, settings: TrainingOptions
) -> None:
    torch.set_num_threads(2)
    before = torch.get_rng_state()
    _train(data, validation, settings)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("keep_batch_norm", [True, False])
@pytest.mark.parametrize(
    ("killed_at", "goes_on_at"),
    [
        (("align", 4), ("align", 4)),  # validated, and saved, after 1, 3, 5 and 6 steps
        (("distill", 1), ("distill", 2)),
        (("distill", 5), ("distill", 6)),
        (("distill", 6), None),
    ],
)
def test_a_killed_run_resumes_and_gives_the_same_student(
    killed_at: tuple[str, int],
    goes_on_at: tuple[str, int] | None,
    *,
    keep_batch_norm: bool,
    validation: LabelledImages,
    settings: TrainingOptions,
    tmp_path: Path,
) -> None:
    bought = np.random.default_rng(0).random((18, 2)) < 0.5
    data = make_data(views=2, bought=bought)
    settings = settings.changed(freeze_batch_norm=keep_batch_norm)
    path = tmp_path / "run.safetensors"

    def switch_off(*, stage: str, step: int, **_: object) -> None:
        if (stage, step) == killed_at:
            raise Power

    whole = _train(data, validation, settings)
    with pytest.raises(Power):
        train(
            task_of("vl2v-adip", data, validation, settings),
            progress=switch_off,
            checkpoint=path,
        )
    steps: list[tuple[str, int]] = []
    resumed = train(
        task_of("vl2v-adip", data, validation, settings),
        progress=lambda *, stage, step, **_: steps.append((stage, step)),
        checkpoint=path,
    )
    _assert_equal(whole.student, resumed.student)
    assert whole.history == resumed.history
    assert whole.chosen == resumed.chosen
    assert next(iter(steps), None) == goes_on_at


def test_a_finished_run_is_loaded_without_training(
    data: TrainingData, validation: LabelledImages, settings: TrainingOptions, tmp_path: Path
) -> None:
    path = tmp_path / "run.safetensors"
    first = _train(data, validation, settings, checkpoint=path)
    reported_steps: list[int] = []
    again = train(
        task_of("vl2v-adip", data, validation, settings),
        progress=lambda *, step, **_: reported_steps.append(step),
        checkpoint=path,
    )
    _assert_equal(first.student, again.student)
    assert reported_steps == []


def test_another_runs_checkpoint_is_not_resumed(
    data: TrainingData,
    validation: LabelledImages,
    settings: TrainingOptions,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = tmp_path / "run.safetensors"
    _train(data, validation, settings, checkpoint=path)
    _assert_equal(
        _train(data, validation, settings, checkpoint=path, seed=5).student,
        _train(data, validation, settings, seed=5).student,
    )
    assert "training starts from the beginning" in caplog.text


def test_a_damaged_checkpoint_restarts_the_run(
    data: TrainingData, validation: LabelledImages, settings: TrainingOptions, tmp_path: Path
) -> None:
    path = tmp_path / "run.safetensors"
    path.write_bytes(b"half a file")
    damaged = _train(data, validation, settings, checkpoint=path)
    _assert_equal(damaged.student, _train(data, validation, settings).student)


def test_the_text_head_is_the_vendors_text_and_is_never_trained(
    data: TrainingData, validation: LabelledImages, settings: TrainingOptions
) -> None:
    head = _train(data, validation, settings).student.head
    assert isinstance(head, EmbeddingHead)
    np.testing.assert_array_equal(head.text_CD.numpy(), data.text_embeddings)


def test_training_without_bought_images_equals_training_without_the_image_term(
    validation: LabelledImages, settings: TrainingOptions
) -> None:
    """With nothing bought lmd only scales the loss, and the embeddings are not looked at."""
    nothing = np.zeros((18, 1), dtype=bool)
    data = make_data(bought=nothing)
    without_values = replace(data, image_embeddings=np.full_like(data.image_embeddings, np.nan))
    _assert_equal(
        _train(data, validation, settings).student,
        _train(without_values, validation, settings).student,
    )


def test_without_averaging_the_best_raw_weights_are_the_student(
    data: TrainingData, validation: LabelledImages, settings: TrainingOptions
) -> None:
    chosen = _train(data, validation, settings.changed(averaging="none")).chosen
    assert chosen.weights == "raw"
    assert chosen.average is None


def test_swad_only_takes_the_average_and_still_reports_the_best_raw_weights(
    data: TrainingData, validation: LabelledImages, settings: TrainingOptions
) -> None:
    either, only = (
        _train(data, validation, settings.changed(averaging=averaging)).chosen
        for averaging in ("swad", "swad-only")
    )
    assert only.weights == "average"
    assert (only.average, only.raw, only.step) == (either.average, either.raw, either.step)


def test_memory_mapped_read_only_tables_train_as_arrays_do(
    data: TrainingData, validation: LabelledImages, settings: TrainingOptions, tmp_path: Path
) -> None:
    for name in ("pixels", "image_embeddings", "text_embeddings"):
        np.save(tmp_path / name, getattr(data, name))
    mapped = replace(
        data,
        pixels=np.load(tmp_path / "pixels.npy", mmap_mode="r"),
        image_embeddings=np.load(tmp_path / "image_embeddings.npy", mmap_mode="r"),
        text_embeddings=np.load(tmp_path / "text_embeddings.npy", mmap_mode="r"),
    )
    seen = LabelledImages(name="validation", pixels=mapped.pixels[:, 0], labels=validation.labels)
    same = LabelledImages(name="validation", pixels=data.pixels[:, 0], labels=validation.labels)
    _assert_equal(_train(mapped, seen, settings).student, _train(data, same, settings).student)


def test_what_cannot_be_trained_is_refused_with_a_reason(
    data: TrainingData, validation: LabelledImages, settings: TrainingOptions
) -> None:
    small = replace(validation, pixels=validation.pixels[:, ::2, ::2])
    with pytest.raises(DataError, match="images have 16 pixels a side, and the training images 32"):
        _train(data, small, settings)
    with pytest.raises(DataError, match="outside the 3 classes"):
        _train(replace(data, labels=data.labels + 1), validation, settings)
    with pytest.raises(DataError, match="text embeddings"):
        _train(replace(data, text_embeddings=np.eye(2, 8, dtype=np.float32)), validation, settings)
    with pytest.raises(BadInput, match="none was bought"):
        _train(make_data(bought=np.zeros((18, 1), bool)), validation, settings, "image-only")
    with pytest.raises(BadInput, match="no device"):
        _train(data, validation, settings.changed(device="abacus"))


@pytest.mark.parametrize(
    ("name", "array", "reason"),
    [
        ("pixels", np.zeros((18, 32, 32, 3), np.uint8), r"\(N, K, S, S, 3\)"),
        ("pixels", np.zeros((18, 1, 32, 16, 3), np.uint8), "square"),
        ("pixels", np.zeros((0, 1, 32, 32, 3), np.uint8), "no image"),
        ("labels", np.zeros(17, np.int64), "labels"),
        ("bought", np.zeros((18, 2), bool), "bought"),
        ("bought", np.zeros((18, 1), np.int64), "bool"),
        ("image_embeddings", np.zeros((18, 1, 7), np.float32), "image_embeddings"),
    ],
)
def test_tables_that_do_not_fit_together_are_refused(
    data: TrainingData, name: str, array: Any, reason: str
) -> None:
    with pytest.raises(DataError, match=reason):
        replace(data, **{name: array})


def test_evaluation_images_need_labels() -> None:
    with pytest.raises(DataError, match="2 images with 1 labels"):
        LabelledImages(
            name="x", pixels=np.zeros((2, 4, 4, 3), np.uint8), labels=np.zeros(1, np.int64)
        )
    with pytest.raises(DataError, match="uint8"):
        LabelledImages(name="x", pixels=np.zeros((2, 4, 4), np.uint8), labels=np.zeros(2, np.int64))
