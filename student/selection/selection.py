"""The choice of `--method auto` for a split, and how it was made."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from student.options import TrainingOptions
from student.options.training import AUTO_METHODS, MethodName
from student.selection.short_runs import LabelledDomains, Progress, run_short, short_steps

PLAIN, DISTILLED = AUTO_METHODS
_SHORT: MethodName = "lp-ft"
"""Stands for ERM in the short run: its classifier is first trained on stored features, so that a
random one does not hold it back."""

SOLVED = 0.97
"""Where labels alone classify so many images of source validation correctly, these cannot show
what image embeddings are worth, and none are bought (docs/decisions/0034)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The chosen method, and what it was chosen by.

    A student that was trained on labels alone for `steps` steps classifies `correct` of `images`
    of source validation correctly. `seconds` is the time that this process took for it.
    """

    images: int
    correct: int
    steps: int
    seconds: float = 0.0

    @property
    def chosen(self) -> MethodName:
        """The method that is taken."""
        return PLAIN if self.correct >= SOLVED * self.images else DISTILLED

    @property
    def reads_images(self) -> bool:
        """Whether the chosen method learns from image embeddings."""
        return self.chosen == DISTILLED

    def as_dict(self) -> dict[str, Any]:
        """Returns the selection, ready for JSON."""
        return {
            "chosen": self.chosen,
            "steps": self.steps,
            "validation_images": self.images,
            "correct": self.correct,
            "seconds": round(self.seconds, 1),
        }

    @property
    def explanation(self) -> str:
        """Returns how the method was chosen, in a few sentences."""
        found = (
            f"auto takes {self.chosen}: after {self.steps:,} steps on labels alone, "
            f"{self.correct:,} of {self.images:,} images of source validation "
            f"({self.correct / self.images:.1%}) are classified correctly"
        )
        if self.reads_images:
            return f"{found}, below the {SOLVED:.0%} from which no image embedding is bought"
        return (
            f"{found}, so that these cannot show what image embeddings are worth. None is bought; "
            f"--method {DISTILLED} buys them"
        )


def select(
    labelled: LabelledDomains, options: TrainingOptions, *, folder: Path, progress: Progress
) -> Selection:
    """Chooses by a short run on labels alone, before anything is bought.

    No held-out domain is read. Equal data, options, seed and machine give an equal choice. The run
    leaves its answers in `folder`: after a kill, the same call continues there. Raises
    StudentError.
    """
    started = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    right = run_short(
        labelled, _SHORT, options, stored=folder / f"{_SHORT}.json", progress=progress
    )
    return Selection(
        images=len(right),
        correct=int(right.sum()),
        steps=short_steps(options),
        seconds=time.perf_counter() - started,
    )
