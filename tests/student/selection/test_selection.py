"""The short runs of `--method auto`: what they read, their cost, and that they can be repeated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from student.options import TrainingOptions
from student.options.training import AUTO_METHODS
from student.selection.candidates import BEFORE_PURCHASE, candidates
from student.selection.clusters import clustered
from student.selection.selection import Selection, select
from student.selection.short_runs import LabelledDomains, folds, short_steps
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


def labelled(domains: int = 2) -> LabelledDomains:
    data, other = make_data(), make_data(seed=1)
    numbers = np.arange(data.num_images) % domains
    return LabelledDomains(
        domains=tuple("abcdefgh"[:domains]),
        data=replace(data, domains=numbers),
        validation=LabelledImages(name="v", pixels=other.pixels[:, 0], labels=other.labels),
        groups=numbers,
        validation_groups=numbers,
        num_classes=CLASSES,
        sold=None,
        seed=0,
    )


def choice(images: LabelledDomains, folder: Path) -> Selection:
    return select(
        images,
        SETTINGS,
        found=candidates(SETTINGS),
        folder=folder,
        progress=lambda *_: None,
    )


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


@pytest.mark.parametrize("domains", [2, 3, 4, 7])
def test_each_domain_is_left_out_once_and_each_fold_keeps_a_domain(domains: int) -> None:
    left_out = folds(domains)
    assert sorted(number for fold in left_out for number in fold) == list(range(domains))
    assert all(len(fold) < domains for fold in left_out)


@pytest.mark.parametrize("steps", [100, 840, 5001])
@pytest.mark.parametrize("domains", [2, 3, 6])
def test_all_short_runs_of_both_choices_take_no_more_steps_than_the_student(
    steps: int, domains: int
) -> None:
    options = SETTINGS.changed(steps=steps)
    counts = (len(BEFORE_PURCHASE), len(candidates(options)))
    each = [short_steps(options, domains, count) for count in counts]
    assert min(each) > 0
    together = sum(steps * count for steps, count in zip(each, counts, strict=True))
    assert together * len(folds(domains)) <= steps


def test_no_short_run_trains_or_validates_on_the_domain_that_it_is_measured_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tasks, images = seen(monkeypatch), labelled(3)
    choice(images, tmp_path)
    assert len(tasks) == 3 * len(candidates(SETTINGS))
    assert tasks[0].method.name == "lp-ft"  # ERM, with a head that is trained as the others' is
    for number, task in enumerate(tasks):
        kept = images.data.domains != number % 3
        assert set(task.data.domains) == {0, 1, 2} - {number % 3}
        assert (task.data.pixels == images.data.pixels[kept]).all()
        assert (task.validation.labels == images.validation.labels[kept]).all()


def test_an_interrupted_selection_continues_and_ends_in_the_same_choice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = choice(labelled(), tmp_path / "whole")
    with monkeypatch.context() as patched:
        seen(patched, stop_after=3)
        with pytest.raises(KeyboardInterrupt):
            choice(labelled(), tmp_path / "killed")
    tasks = seen(monkeypatch)
    resumed = choice(labelled(), tmp_path / "killed")
    assert len(tasks) == 2 * len(candidates(SETTINGS)) - 3
    assert replace(resumed, seconds=0) == replace(whole, seconds=0)
    assert not list((tmp_path / "killed").glob("*.checkpoint"))


def test_the_answers_of_other_data_or_a_damaged_file_are_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    images = labelled()
    choice(images, tmp_path)
    (tmp_path / "0-0.json").write_bytes(b"damaged")
    tasks = seen(monkeypatch)
    choice(images, tmp_path)
    assert len(tasks) == 1
    inverted = replace(images.data, pixels=255 - images.data.pixels)
    choice(replace(images, data=inverted), tmp_path)
    assert len(tasks) == 1 + 2 * len(candidates(SETTINGS))


def test_with_one_labelled_domain_clusters_of_its_images_are_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tasks, images = seen(monkeypatch), labelled(1)
    selection = choice(images, tmp_path)
    accuracies = selection.measured[0].accuracies
    assert list(accuracies) == [f"cluster {number + 1}" for number in range(len(accuracies))]
    assert len(accuracies) > 1
    assert len(tasks) == len(accuracies) * len(candidates(SETTINGS))
    count = images.data.num_images
    trained_on = [len(task.data.labels) for task in tasks[: len(accuracies)]]
    assert sum(count - kept for kept in trained_on) == count  # each image is left out once
    assert all(set(task.data.domains) == {0} for task in tasks)  # and a batch stays as large
    assert "one cluster of the labelled images" in selection.explanation
    assert choice(images, tmp_path).chosen == selection.chosen


def test_clusters_cut_across_the_classes() -> None:
    images = labelled(1)
    pixels = images.data.pixels.copy()
    light = np.arange(len(pixels)) % 2 == 0
    pixels[light] = 255 - (255 - pixels[light]) // 4
    of = clustered(replace(images, data=replace(images.data, pixels=pixels)), SETTINGS)
    for label in range(CLASSES):
        assert len(set(of.groups[of.data.labels == label])) > 1


def test_one_labelled_domain_of_equal_images_gets_the_published_recipe_and_the_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tasks, images = seen(monkeypatch), labelled(1)
    grey = replace(images.data, pixels=np.full_like(images.data.pixels, 127))
    same = replace(images.validation, pixels=np.full_like(images.validation.pixels, 127))
    selection = choice(replace(images, data=grey, validation=same), tmp_path)
    assert (selection.chosen.name, selection.measured, tasks) == ("vl2v-adip", (), [])
    assert "its images look alike" in selection.explanation


def test_an_option_that_the_user_names_holds_for_every_candidate() -> None:
    names = [one.name for one in candidates(SETTINGS)]
    assert "vl2v-adip-1q without drawings" in names
    named = SETTINGS.changed(line_drawing_prob=0.3)
    for one in candidates(named):
        assert one.options(named).line_drawing_prob == 0.3


def test_every_candidate_is_a_method() -> None:
    assert set(AUTO_METHODS) <= set(METHODS)
    assert SETTINGS.methods == AUTO_METHODS
