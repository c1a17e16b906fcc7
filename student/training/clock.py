"""How long training takes on this machine: from its first steps, or from a short trial."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from student.models.student import Student
from student.options import TrainingOptions
from student.training.device import training_device
from student.training.loop import FIRST_STEPS
from student.training.methods import Method
from student.training.metrics import logits_of
from student.training.random_task import TrialImages, random_task
from student.training.stage import Stage
from student.training.task import TrainingTask
from student.training.train import train

_TRIAL_PIXELS = 48 * 64 * 64  # in one step of a trial: half a second on a core
_TRIAL_STEPS = 5  # the first warms up; the last ends with a validation


class StageClock:
    """Estimates how long a run still trains, from the steps of its last stage.

    The stages before the last train on stored features, and take seconds.
    """

    def __init__(self, stages: Sequence[Stage], now: Callable[[], float] = time.perf_counter):
        self._last = stages[-1]
        self._now = now
        self._first: tuple[int, float] | None = None

    def seconds_left(self, stage: str, step: int) -> float | None:
        """Seconds of training after this step has ended; None until a few steps are measured."""
        if stage != self._last.name:
            return None
        now = self._now()
        if self._first is None:
            self._first = (step, now)  # the first step also prepares the kernels and validates
            return None
        measured = step - self._first[0]
        if measured < FIRST_STEPS - 2:
            return None
        return (now - self._first[1]) / measured * (self._last.steps - step)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSize:
    """What decides the time of a run beside its options: the images of its split."""

    image_size: int
    views: int
    domains: int
    training: int
    validation: int


def time_training(method: Method, options: TrainingOptions, size: RunSize) -> float:
    """Estimates the seconds of a run from a few steps on random images, which take seconds.

    Large images are tried in smaller batches, and the time is scaled. Raises what training raises.
    """
    most = max(1, _TRIAL_PIXELS // size.image_size**2 // size.domains)
    per_domain = min(options.batch_per_domain, most)
    images = TrialImages(
        image_size=size.image_size,
        domains=size.domains,
        per_domain=max(per_domain, -(-2 // size.domains)),  # batch norm needs two images
        views=size.views,
    )
    overrides: dict[str, object] = {
        "steps": _TRIAL_STEPS,
        "align_steps": _TRIAL_STEPS,
        "eval_every": _TRIAL_STEPS,
        "batch_per_domain": images.per_domain,
        "wise_ft": 1.0,
    }
    ends: dict[str, list[float]] = {}

    def note(*, stage: str, step: int, **_: object) -> None:
        ends.setdefault(stage, []).append(time.perf_counter())

    task = random_task(method, options, images, overrides)
    student = train(task, progress=note).student
    *early, last = method.stages(options)
    seconds = sum(stage.steps * _per_step(ends[stage.name]) for stage in early)
    larger = 1.0 if last.uses_features else options.batch_per_domain / images.per_domain
    seconds += last.steps * _per_step(ends[last.name]) * larger
    stored = size.training * size.views + size.validation  # computed before a stage on features
    validated = (1 + last.steps // options.eval_every) * size.validation
    shown = (0 if last.uses_features else validated) + (
        stored if last.uses_features or early else 0
    )
    return seconds + shown * _seconds_an_image(student, task)


def _seconds_an_image(student: Student, task: TrainingTask) -> float:
    shown = task.data.pixels[:, 0]
    with training_device(task.options):
        started = time.perf_counter()
        logits_of(student, shown)
        return (time.perf_counter() - started) / len(shown)


def _per_step(ends: Sequence[float]) -> float:
    return median(later - earlier for earlier, later in pairwise(ends[:-1]))


def in_words(seconds: float) -> str:
    """A duration for people: "40 seconds", "12 minutes", "31 hours"."""
    for unit, length in (("hour", 3600.0), ("minute", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}s"
    count = max(1, round(seconds))
    return f"{count} seconds" if count > 1 else "1 second"
