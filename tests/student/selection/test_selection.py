"""The short runs of `--method auto`: what they read, their cost, and that they can be repeated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from student.options import TrainingOptions
from student.options.training import AUTO_METHODS
from student.selection.rule import Comparison
from student.selection.selection import UNCHANGED, Selection, select
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


@pytest.mark.parametrize("steps", [3, 101, 840, 5001])
def test_the_three_short_runs_together_take_no_more_steps_than_the_student(steps: int) -> None:
    each = short_steps(SETTINGS.changed(steps=steps))
    assert 0 < 3 * each <= steps


def test_labels_alone_on_either_kind_of_views_and_the_joint_method_see_the_same_images(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tasks, images = seen(monkeypatch), labelled()
    selection = choice(images, tmp_path)
    # ERM, with a head that is trained on stored features first, as the other's projection is.
    assert [task.method.name for task in tasks] == ["lp-ft", "lp-ft", "vl2v-adip-joint"]
    assert all(task.data is images.data for task in tasks)
    assert all(task.validation is images.validation for task in tasks)
    assert all(task.options.steps == 6 for task in tasks)
    shown = [task.method.settings_for(task.options).clean_prob for task in tasks]
    assert selection.views is not None
    assert shown == [0.0, 0.7, 0.7 if selection.views.takes_second else 0.12]
    assert selection.methods.images == len(images.validation.labels)


def test_views_that_the_user_has_set_are_not_chosen(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tasks = seen(monkeypatch)
    options = SETTINGS.changed(clean_prob=0.25)
    selection = select(labelled(), options, folder=tmp_path, progress=lambda *_: None)
    assert selection.views is None
    assert [task.method.settings_for(task.options).clean_prob for task in tasks] == [0.25, 0.25]
    assert selection.settings == {"method": selection.chosen}


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
    assert len(tasks) == 2
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
    assert len(tasks) == 4


def selection_of(*, distilled: int, plain: int, p: float, **more: Any) -> Selection:
    """A selection by 200 images of source validation."""
    names = ("vl2v-adip-joint", "erm")
    methods = Comparison(names=names, images=200, correct=(distilled, plain), p=p)
    return Selection(methods=methods, views=more.pop("views", None), steps=9, **more)


def test_image_embeddings_are_learnt_from_unless_labels_alone_are_shown_to_be_better() -> None:
    assert selection_of(distilled=140, plain=150, p=0.06).chosen == "vl2v-adip-joint"
    assert selection_of(distilled=140, plain=160, p=0.001).chosen == "erm"


def test_labels_alone_are_taken_where_they_leave_nearly_no_error() -> None:
    assert selection_of(distilled=196, plain=193, p=0.9).chosen == "vl2v-adip-joint"
    solved = selection_of(distilled=200, plain=194, p=0.999)
    assert (solved.chosen, solved.reads_images) == ("erm", False)
    assert "labels alone classify 194 of 200 images" in solved.explanation


def test_what_was_found_is_told_in_a_table_and_a_sentence() -> None:
    views = Comparison(
        names=("augmented", "mostly unchanged"), images=200, correct=(120, 140), p=0.002
    )
    found = selection_of(distilled=160, plain=140, p=0.99, views=views)
    columns, rows = found.rows()
    assert columns[0] == "trained for 9 steps"
    assert rows[1] == ["labels alone, mostly unchanged", "70.0", "140 of 200", "+10.0"]
    assert rows[3] == ["erm", "70.0", "140 of 200", "-10.0"]
    assert "Images are shown mostly unchanged (p = 0.002)" in found.explanation
    assert found.settings == {"method": "vl2v-adip-joint", **UNCHANGED}
    assert found.as_dict()["views"]["chosen"] == "mostly unchanged"
    plain = selection_of(distilled=120, plain=140, p=0.01, kept_back=1234)
    assert "labels alone are shown to be better" in plain.explanation
    assert "1,234 queries for the other images were not bought" in plain.explanation
    assert plain.settings == {"method": "erm"}


def test_both_candidates_are_methods() -> None:
    assert set(AUTO_METHODS) <= set(METHODS)
    assert SETTINGS.methods == AUTO_METHODS
