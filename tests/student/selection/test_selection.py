"""The short run of `--method auto`: what it reads, its cost, and that it can be repeated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from student.options import TrainingOptions
from student.options.training import AUTO_METHODS
from student.selection.selection import Selection, select
from student.selection.short_runs import LabelledDomains, short_steps
from student.training.dataset import LabelledImages
from student.training.methods import METHODS
from student.training.task import TrainingTask
from student.training.train import Trained, train
from tests.support.shaded_images import CLASSES, make_data

SETTINGS = TrainingOptions(
    method="auto",
    backbone="test_efficientnet",
    weights="none",
    steps=20,
    align_steps=4,
    lr=1e-3,
    align_lr=1e-2,
    batch_per_domain=2,
    device="cpu",
    threads=1,
)


def labelled() -> LabelledDomains:
    data, other = make_data(), make_data(seed=1)
    return LabelledDomains(
        data=data,
        validation=LabelledImages(name="v", pixels=other.pixels[:, 0], labels=other.labels),
        num_classes=CLASSES,
        sold=None,
        seed=0,
    )


def choice(images: LabelledDomains, folder: Path) -> Selection:
    return select(images, SETTINGS, folder=folder, progress=lambda *_: None)


def seen(monkeypatch: pytest.MonkeyPatch) -> list[TrainingTask]:
    """The tasks of the short runs from now on."""
    tasks: list[TrainingTask] = []

    def watched(task: TrainingTask, *, progress: Any, checkpoint: Path) -> Trained:
        tasks.append(task)
        return train(task, progress=progress, checkpoint=checkpoint)

    monkeypatch.setattr("student.selection.short_runs.train", watched)
    return tasks


@pytest.mark.parametrize("steps", [2, 101, 840, 5001])
def test_the_short_run_takes_no_more_than_half_of_the_students_steps(steps: int) -> None:
    each = short_steps(SETTINGS.changed(steps=steps))
    assert 0 < 2 * each <= steps


def test_labels_alone_are_trained_on_without_any_embedding(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tasks, images = seen(monkeypatch), labelled()
    selection = choice(images, tmp_path)
    # ERM, with a head that is first trained on stored features.
    assert [task.method.name for task in tasks] == ["lp-ft"]
    assert tasks[0].data is images.data
    assert tasks[0].validation is images.validation
    assert tasks[0].options.steps == 10
    assert not tasks[0].bought.any()
    assert selection.images == len(images.validation.labels)


def test_a_selection_that_is_made_again_reads_its_answers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = choice(labelled(), tmp_path / "whole")
    tasks = seen(monkeypatch)
    again = choice(labelled(), tmp_path / "whole")
    assert not tasks
    assert replace(again, seconds=0) == replace(whole, seconds=0)
    assert not list((tmp_path / "whole").glob("*.checkpoint"))


def test_the_answers_of_other_data_or_a_damaged_file_are_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    images = labelled()
    choice(images, tmp_path)
    (tmp_path / "lp-ft.json").write_bytes(b"damaged")
    tasks = seen(monkeypatch)
    choice(images, tmp_path)
    assert len(tasks) == 1
    inverted = replace(images.data, pixels=255 - np.asarray(images.data.pixels))
    choice(replace(images, data=inverted), tmp_path)
    assert len(tasks) == 2


def test_embeddings_are_learnt_from_unless_labels_alone_leave_nearly_no_error() -> None:
    open_question = Selection(images=200, correct=193, steps=9)
    assert (open_question.chosen, open_question.reads_images) == ("vl2v-adip-joint", True)
    solved = Selection(images=200, correct=194, steps=9)
    assert (solved.chosen, solved.reads_images) == ("erm", False)
    assert solved.as_dict() | {"seconds": 0} == {
        "chosen": "erm",
        "steps": 9,
        "validation_images": 200,
        "correct": 194,
        "seconds": 0,
    }


def test_the_choice_is_told_in_sentences() -> None:
    taken = Selection(images=200, correct=120, steps=9).explanation
    assert "120 of 200 images of source validation (60.0%)" in taken
    kept = Selection(images=200, correct=200, steps=9).explanation
    assert "None is bought for it; --method vl2v-adip-joint buys them" in kept


def test_both_candidates_are_methods() -> None:
    assert set(AUTO_METHODS) <= set(METHODS)
    assert SETTINGS.methods == AUTO_METHODS


@pytest.mark.parametrize(
    ("correct", "distilled", "behind"),
    [
        (58, 24, True),  # a teacher of emoji, on photographs
        (56, 51, False),  # five points behind on 99 images: a real CLIP, ahead elsewhere
        (58, 43, False),  # perhaps within five points
        (58, 99, False),
    ],
)
def test_a_student_is_far_behind_if_it_is_surely_five_points_worse(
    correct: int, distilled: int, behind: bool
) -> None:
    selection = Selection(images=99, correct=correct, steps=420)
    assert selection.is_far_behind(distilled) == behind
    after = replace(selection, distilled=distilled if behind else None)
    assert (after.chosen == "erm") == behind


def test_more_images_make_a_smaller_distance_sure() -> None:
    few, many = (Selection(images=n, correct=n // 2, steps=1) for n in (200, 20_000))
    assert not few.is_far_behind(int(0.44 * 200))
    assert many.is_far_behind(int(0.44 * 20_000))
    assert not many.is_far_behind(int(0.455 * 20_000))


def test_why_the_plain_method_was_taken_after_all_has_both_accuracies() -> None:
    selection = Selection(images=100, correct=60, steps=420, distilled=20)
    assert "60 of 100 images of source validation (60.0%)" in selection.explanation
    assert "with the bought embeddings only 20 (20.0%)" in selection.explanation
    assert selection.as_dict()["distilled_correct"] == 20
