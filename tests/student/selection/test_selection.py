"""The short runs of `--method auto`: what they read, their cost, and that they can be repeated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from student.options import TrainingOptions
from student.options.training import AUTO_METHODS
from student.selection.selection import Comparison, Selection, select
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


def seen(monkeypatch: pytest.MonkeyPatch, *, stop_after: int = 1000) -> list[TrainingTask]:
    """The tasks of the short runs from now on; training is interrupted after so many."""
    tasks: list[TrainingTask] = []

    def watched(task: TrainingTask, *, checkpoint: Path) -> Trained:
        if len(tasks) == stop_after:
            raise KeyboardInterrupt
        tasks.append(task)
        return train(task, checkpoint=checkpoint)

    monkeypatch.setattr("student.selection.short_runs.train", watched)
    return tasks


@pytest.mark.parametrize("steps", [2, 101, 840, 5001])
def test_both_short_runs_together_take_no_more_steps_than_the_student(steps: int) -> None:
    each = short_steps(SETTINGS.changed(steps=steps))
    assert 0 < 2 * each <= steps


def test_labels_alone_and_the_one_query_recipe_are_trained_on_the_same_images(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tasks, images = seen(monkeypatch), labelled()
    selection = choice(images, tmp_path)
    # ERM, with a head that is trained on stored features first, as the other's projection is.
    assert [task.method.name for task in tasks] == ["lp-ft", "vl2v-adip-1q"]
    assert all(task.data is images.data for task in tasks)
    assert all(task.validation is images.validation for task in tasks)
    assert all(task.options.steps == 10 for task in tasks)
    assert selection.short.images == len(images.validation.labels)
    assert selection.chosen == ("vl2v-adip-1q" if selection.short.p < 0.05 else "erm")


def test_an_interrupted_selection_continues_and_ends_in_the_same_choice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = choice(labelled(), tmp_path / "whole")
    with monkeypatch.context() as patched:
        seen(patched, stop_after=1)
        with pytest.raises(KeyboardInterrupt):
            choice(labelled(), tmp_path / "killed")
    tasks = seen(monkeypatch)
    resumed = choice(labelled(), tmp_path / "killed")
    assert len(tasks) == 1
    assert replace(resumed, seconds=0) == replace(whole, seconds=0)
    assert not list((tmp_path / "killed").glob("*.checkpoint"))


def test_the_answers_of_other_data_or_a_damaged_file_are_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    images = labelled()
    choice(images, tmp_path)
    (tmp_path / "lp-ft.json").write_bytes(b"damaged")
    tasks = seen(monkeypatch)
    choice(images, tmp_path)
    assert len(tasks) == 1
    inverted = replace(images.data, pixels=255 - images.data.pixels)
    choice(replace(images, data=inverted), tmp_path)
    assert len(tasks) == 3


HELPS = Comparison(images=200, plain=140, distilled=160, p=0.001)
DOES_NOT = Comparison(images=200, plain=140, distilled=141, p=0.5)


def test_what_was_found_is_told_in_a_table_and_a_sentence() -> None:
    found = Selection(chosen="vl2v-adip-1q", short=HELPS, steps=9)
    _, rows = found.rows()
    assert rows[1] == ["vl2v-adip-1q, 9 steps", "80.0", "160 of 200", "+10.0"]
    assert "show that image embeddings help (p = 0.001" in found.explanation
    plain = Selection(chosen="erm", short=DOES_NOT, steps=9, kept_back=1234)
    assert "do not show" in plain.explanation
    assert "1,234 queries for the other images were not bought" in plain.explanation


def test_the_finished_students_have_the_last_word() -> None:
    found = Selection(chosen="vl2v-adip-1q", short=HELPS, steps=9)
    right = np.arange(200) < 150
    again = found.after(right, right)
    assert (again.helps, again.chosen) == (True, "erm")
    assert len(again.rows()[1]) == 4
    assert again.as_dict()["whole"]["correct"] == {"erm": 150, "vl2v-adip-1q": 150}
    assert found.after(right, np.arange(200) < 170).chosen == "vl2v-adip-1q"


def test_both_candidates_are_methods() -> None:
    assert set(AUTO_METHODS) <= set(METHODS)
    assert SETTINGS.methods == AUTO_METHODS
