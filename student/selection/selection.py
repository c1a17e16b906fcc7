"""The choice of `--method auto` for a split, and how it was made."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from student.options import TrainingOptions
from student.options.training import AUTO_METHODS, MethodName
from student.selection.rule import LEVEL, p_value
from student.selection.short_runs import LabelledDomains, run_short, short_steps

PLAIN, DISTILLED = AUTO_METHODS
_SHORT: MethodName = "lp-ft"
"""Stands for ERM in the short runs: its classifier is first trained on stored features, as the
projection of the other is. A random classifier would lag behind by its start alone."""

Progress = Callable[[str, int, int], None]
"""Called with the name of a method, the number of finished short runs, and their total."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How many of `images` of source validation each method classifies correctly, and the p of the
    rule."""

    images: int
    plain: int
    distilled: int
    p: float

    @classmethod
    def of(cls, plain_M: NDArray[np.bool_], distilled_M: NDArray[np.bool_]) -> Comparison:
        """The comparison of two methods by whether each classifies the same images correctly."""
        return cls(
            images=len(plain_M),
            plain=int(plain_M.sum()),
            distilled=int(distilled_M.sum()),
            p=p_value(plain_M, distilled_M),
        )

    @property
    def chosen(self) -> MethodName:
        """The method that the rule chooses."""
        return DISTILLED if self.p < LEVEL else PLAIN

    def as_dict(self) -> dict[str, Any]:
        """Returns the figures, ready for JSON."""
        return {
            "validation_images": self.images,
            "correct": {PLAIN: self.plain, DISTILLED: self.distilled},
            "p": float(f"{self.p:.3g}"),
        }

    def rows(self, title: str) -> list[list[str]]:
        """Returns the rows of a table of both methods."""
        return [
            [
                f"{name}, {title}",
                f"{100 * right / self.images:.1f}",
                f"{right:,} of {self.images:,}",
                f"{100 * (right - self.plain) / self.images:+.1f}",
            ]
            for name, right in ((PLAIN, self.plain), (DISTILLED, self.distilled))
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The chosen method, and what it was chosen by.

    `short` compares the methods after `steps` steps of each; `seconds` is the time that this
    process took for it. `kept_back` are the queries that it advises against: it was made before
    they were bought. `whole` compares the finished students, where there are both.
    """

    chosen: MethodName
    short: Comparison
    steps: int
    seconds: float = 0.0
    kept_back: int = 0
    whole: Comparison | None = None

    @property
    def helps(self) -> bool:
        """Whether the short runs showed that image embeddings help."""
        return self.short.chosen == DISTILLED

    def after(self, plain_M: NDArray[np.bool_], distilled_M: NDArray[np.bool_]) -> Selection:
        """The selection by the answers of the finished students: the last word on the method."""
        whole = Comparison.of(plain_M, distilled_M)
        return replace(self, chosen=whole.chosen, whole=whole)

    def as_dict(self) -> dict[str, Any]:
        """Returns the selection, ready for JSON."""
        return {
            "chosen": self.chosen,
            "steps": self.steps,
            **self.short.as_dict(),
            "seconds": round(self.seconds, 1),
            "queries_kept_back": self.kept_back,
            **({"whole": self.whole.as_dict()} if self.whole else {}),
        }

    def rows(self) -> tuple[list[str], list[list[str]]]:
        """Returns the columns and rows of a table of both methods."""
        columns = ["trained", "source validation, %", "correct", "ahead, points"]
        whole = self.whole.rows("whole training") if self.whole else []
        return columns, [*self.short.rows(f"{self.steps:,} steps"), *whole]

    @property
    def explanation(self) -> str:
        """Returns how the method was chosen, in a few sentences."""
        said = self.whole or self.short
        shown = "show" if self.chosen == DISTILLED else "do not show"
        kept = ""
        if self.kept_back:
            kept = (
                f". {self.kept_back:,} queries for the other images were not bought (--method "
                f"{DISTILLED} buys them)"
            )
        return (
            f"auto takes {self.chosen}: the images of source validation {shown} that image "
            f"embeddings help (p = {said.p:.2g} by McNemar's test; below {LEVEL} they would be "
            f"taken to). No held-out domain was read{kept}"
        )


def select(
    labelled: LabelledDomains, options: TrainingOptions, *, folder: Path, progress: Progress
) -> Selection:
    """Says by short runs whether image embeddings help, or labels alone should be trained on.

    Both methods are trained for half of the student's steps. Equal data, options, seed and machine
    give an equal choice. Every short run leaves its answers in `folder`: after a kill, the same
    call continues there. Raises StudentError.
    """
    started = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    answers = []
    for number, method in enumerate((_SHORT, DISTILLED)):
        progress(AUTO_METHODS[number], number, 2)
        answers.append(run_short(labelled, method, options, stored=folder / f"{method}.json"))
    progress(DISTILLED, 2, 2)
    short = Comparison.of(*answers)
    return Selection(
        chosen=short.chosen,
        short=short,
        steps=short_steps(options),
        seconds=time.perf_counter() - started,
    )
