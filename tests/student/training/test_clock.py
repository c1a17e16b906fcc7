"""How long training takes, from its first steps or from a trial."""

from __future__ import annotations

from dataclasses import replace

import pytest

from student.options import TrainingOptions
from student.training.clock import RunSize, StageClock, in_words, time_training
from student.training.dataset import LabelledImages, TrainingData
from student.training.methods import METHODS
from student.training.train import train
from tests.support.training_tasks import task_of

SIZE = RunSize(image_size=32, views=1, domains=2, training=18, validation=18)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 second"),
        (40, "40 seconds"),
        (119.6, "120 seconds"),
        (150, "2 minutes"),
        (40 * 60, "40 minutes"),
        (31.2 * 3600, "31 hours"),
    ],
)
def test_a_duration_is_said_in_one_unit(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def test_a_few_steps_of_the_last_stage_give_the_time_left(settings: TrainingOptions) -> None:
    time = 0.0
    stages = METHODS["vl2v-adip"].stages(settings.changed(steps=1000))
    clock = StageClock(stages, now=lambda: time)
    assert [clock.seconds_left("align", step) for step in range(1, 7)] == [None] * 6
    left = []
    for step in range(1, 7):
        time += 60.0 if step == 1 else 2.0  # the first step also prepares kernels
        left.append(clock.seconds_left("distill", step))
    assert left == [None, None, None, None, 2.0 * 995, 2.0 * 994]


def test_the_first_steps_of_a_stage_are_each_reported(
    data: TrainingData, validation: LabelledImages, settings: TrainingOptions
) -> None:
    seen: list[int] = []
    longer = settings.changed(align_steps=400, eval_every=1000)
    train(
        task_of("linear-probe", data, validation, longer),
        progress=lambda *, step, **_: seen.append(step),
    )
    assert seen[:8] == [1, 2, 3, 4, 5, 6, 8, 12]


@pytest.mark.parametrize("method", ["vl2v-adip", "linear-probe", "erm"])
def test_a_trial_takes_a_few_steps_and_its_estimate_grows_with_the_run(
    method: str, settings: TrainingOptions
) -> None:
    short = time_training(METHODS[method], settings, SIZE)
    many = settings.changed(steps=60_000, align_steps=60_000)
    assert time_training(METHODS[method], many, SIZE) > 100 * short > 0


def test_a_trial_of_large_images_takes_a_smaller_batch_and_scales_the_time(
    settings: TrainingOptions,
) -> None:
    large = replace(SIZE, image_size=256)
    few = time_training(METHODS["erm"], settings.changed(batch_per_domain=1), large)
    many = time_training(METHODS["erm"], settings.changed(batch_per_domain=1000), large)
    assert many > 20 * few
