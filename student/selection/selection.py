"""The choice of `--method auto` for a split, and how it was made."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from student.options import TrainingOptions
from student.options.training import AUTO_METHODS, MethodName
from student.selection.first_answers import FirstAnswers
from student.selection.short_runs import LabelledDomains, Progress, run_short, short_steps
from student.training.metrics import difference_interval

PLAIN, DISTILLED = AUTO_METHODS
_SHORT: MethodName = "lp-ft"
"""Stands for ERM in the short run: its classifier is first trained on stored features, so that a
random one does not hold it back."""

SOLVED = 0.97
"""Where labels alone classify so many images of source validation correctly, these cannot show
what image embeddings are worth, and none are bought (docs/decisions/0034)."""


BEHIND = 0.05
"""A distilled student that is surely so far behind labels alone on source validation has a teacher
that does not know the images (docs/decisions/0042)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The chosen method, and what it was chosen by.

    A student that was trained on labels alone for `steps` steps classifies `correct` of `images`
    of source validation correctly. `seconds` is the time that this process took for it. `guesses`
    are the teacher's answers to the first images that were bought, if they are no better than
    chance. `distilled` is how many images of source validation the distilled student classified
    correctly, if it was trained and is surely far behind.
    """

    images: int
    correct: int
    steps: int
    seconds: float = 0.0
    guesses: FirstAnswers | None = None
    distilled: int | None = None

    @property
    def is_solved(self) -> bool:
        """Whether labels alone leave too few errors to show what image embeddings are worth."""
        return self.correct >= SOLVED * self.images

    @property
    def chosen(self) -> MethodName:
        """The method that is taken."""
        if self.is_solved or self.guesses is not None or self.distilled is not None:
            return PLAIN
        return DISTILLED

    def is_far_behind(self, distilled: int) -> bool:
        """Whether a student with so many correct answers is surely far behind labels alone.

        The whole 95% interval of the difference of the two accuracies is below -`BEHIND`.
        """
        return difference_interval(distilled, self.correct, self.images).high < -BEHIND

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
            **({"guesses": self.guesses.as_dict()} if self.guesses else {}),
            **({} if self.distilled is None else {"distilled_correct": self.distilled}),
        }

    @property
    def explanation(self) -> str:
        """Returns how the method was chosen, in a few sentences."""
        found = (
            f"auto takes {self.chosen}: after {self.steps:,} steps on labels alone, "
            f"{self.correct:,} of {self.images:,} images of source validation "
            f"({self.correct / self.images:.1%}) are classified correctly"
        )
        if self.guesses is not None and not self.is_solved:
            return (
                f"auto takes {self.chosen}: {self.guesses.sentence}, where guessing would be right "
                f"on {self.guesses.by_chance:.0%}: it does not know these images, or the class "
                "names are not the words for them (classes.csv gives others). Their embeddings are "
                f"not learnt from, and no more are bought; --method {DISTILLED} does both"
            )
        if self.distilled is not None:
            return (
                f"{found}, and after a whole run with the bought embeddings only "
                f"{self.distilled:,} ({self.distilled / self.images:.1%}): the teacher seems "
                "not to know these images"
            )
        if self.reads_images:
            return f"{found}, below the {SOLVED:.0%} from which no image embedding is bought"
        return (
            f"{found}, so that these cannot show what image embeddings are worth. None is bought "
            f"for it; --method {DISTILLED} buys them"
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
