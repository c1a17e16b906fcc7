"""A stage of training: which part of the student is trained, for how long, and how fast."""

from __future__ import annotations

import math
from dataclasses import dataclass

from student.models.architecture import Part
from student.options.training import Schedule

_WARM_UP = 0.3  # torch.optim.lr_scheduler.OneCycleLR's own defaults, checked against it in a test
_START_DIVISOR = 25.0
_END_DIVISOR = 1e4


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Trains the named part with Adam for `steps` steps; the rest of the student is frozen."""

    name: str
    trains: Part
    steps: int
    lr: float
    schedule: Schedule = "constant"

    @property
    def uses_features(self) -> bool:
        """Whether the backbone is frozen, so that its features are computed once."""
        return self.trains in ("projection", "head")

    def rate(self, step: int) -> float:
        """The learning rate at a step: a function of the step, so that resuming needs no state."""
        if self.schedule == "constant":
            return self.lr
        if self.schedule == "cosine":
            return _cosine(self.lr, 0.0, step / self.steps)
        start, end = self.lr / _START_DIVISOR, self.lr / _START_DIVISOR / _END_DIVISOR
        peak = _WARM_UP * self.steps - 1
        if step <= peak:
            return _cosine(start, self.lr, step / peak)
        return _cosine(self.lr, end, (step - peak) / (self.steps - 1 - peak))


def _cosine(first: float, last: float, part: float) -> float:
    return last + (first - last) / 2 * (1 + math.cos(math.pi * part))
