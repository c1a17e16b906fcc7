"""Training that reads its pixels from archives gives the student that it gives from memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from student.errors import DataError
from student.options import TrainingOptions
from student.training.dataset import LabelledImages
from student.training.pixels import images_of
from student.training.run_digest import run_digest
from student.training.task import TrainingTask
from student.training.train import Trained, train
from tests.support.archived_pixels import archived
from tests.support.shaded_images import make_data
from tests.support.training_tasks import task_of


class Power(Exception):
    """Raised to simulate a power failure."""


@pytest.fixture
def task(settings: TrainingOptions) -> TrainingTask:
    """Two views of each image, half of them bought, in memory."""
    data = make_data(views=2, bought=np.random.default_rng(0).random((18, 2)) < 0.5)
    other = make_data(seed=1)
    validation = LabelledImages(name="validation", pixels=other.pixels[:, 0], labels=other.labels)
    return task_of("vl2v-adip", data, validation, settings)


def from_archives(task: TrainingTask, folder: Path) -> TrainingTask:
    data, validation = task.data, task.validation
    clean = np.asarray(validation.pixels)[:, None]
    return replace(
        task,
        data=replace(data, pixels=archived(np.asarray(data.pixels), folder, "stored")),
        validation=replace(validation, pixels=archived(clean, folder, "clean")[:, 0]),
    )


def assert_equal(one: Trained, other: Trained) -> None:
    first, second = one.student.state_dict(), other.student.state_dict()
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
    assert one.history == other.history
    assert one.chosen == other.chosen


def test_pixels_in_archives_give_the_same_student(task: TrainingTask, tmp_path: Path) -> None:
    assert_equal(train(task), train(from_archives(task, tmp_path)))


def test_a_killed_run_on_archives_resumes_in_the_same_student(
    task: TrainingTask, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "run.safetensors"
    steps: list[tuple[str, int]] = []

    def switch_off(*, stage: str, step: int, **_: Any) -> None:
        if (stage, step) == ("distill", 5):
            raise Power

    def follow(*, stage: str, step: int, **_: Any) -> None:
        steps.append((stage, step))

    with pytest.raises(Power):
        train(from_archives(task, tmp_path), progress=switch_off, checkpoint=checkpoint)
    again = from_archives(task, tmp_path)
    assert_equal(train(task), train(again, progress=follow, checkpoint=checkpoint))
    assert steps[0] == ("distill", 6)


def test_a_changed_view_ends_the_run_before_anything_is_learnt_from_it(
    task: TrainingTask, tmp_path: Path
) -> None:
    seen: list[int] = []
    changed = from_archives(task, tmp_path)
    file = tmp_path / "stored" / "000002.tar"
    content = np.fromfile(file, np.uint8)
    content[600:] ^= 1
    content.tofile(file)
    with pytest.raises(DataError, match=r"000002\.tar is not what was rendered"):
        train(changed, progress=lambda *, step, **_: seen.append(step))
    assert seen == []


def test_the_digest_of_a_run_on_archives_does_not_depend_on_where_they_are(
    task: TrainingTask, tmp_path: Path
) -> None:
    here, there = (from_archives(task, tmp_path / name) for name in ("here", "there"))
    assert run_digest(here.ready()) == run_digest(there.ready())


@pytest.mark.parametrize("part", ["data", "validation"])
def test_another_view_in_an_archive_makes_another_run(
    part: str, task: TrainingTask, tmp_path: Path
) -> None:
    of_part: Any = getattr(task, part)
    pixels = np.array(of_part.pixels)
    pixels[-1] ^= 1
    changed: dict[str, Any] = {part: replace(of_part, pixels=pixels)}
    other = replace(task, **changed)
    digests = {
        run_digest(from_archives(one, tmp_path / name).ready())
        for name, one in (("one", task), ("other", other))
    }
    assert len(digests) == 2


def test_images_that_are_chosen_from_a_mapped_file_are_the_run_that_a_copy_of_them_is(
    task: TrainingTask, tmp_path: Path
) -> None:
    """Checkpoints of runs that copied them are still continued."""
    pixels = np.asarray(task.data.pixels)
    np.save(tmp_path / "table.npy", pixels[::-1])
    mapped = np.load(tmp_path / "table.npy", mmap_mode="r")
    chosen = images_of(mapped, list(range(17, -1, -1)))[:, :2]
    same = replace(task, data=replace(task.data, pixels=chosen))
    assert run_digest(same.ready()) == run_digest(task.ready())
    assert_equal(train(same), train(task))
