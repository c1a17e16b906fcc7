"""The choice of `--method auto` for a split, and how it was made."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from student.options import TrainingOptions
from student.options.training import AUTO_METHODS, MethodName
from student.selection.rule import Comparison
from student.selection.short_runs import LabelledDomains, run_short, short_steps

PLAIN, DISTILLED = AUTO_METHODS
_SHORT: MethodName = "lp-ft"
"""Stands for ERM in the short runs: its classifier is first trained on stored features, as the
projection of the other is. A random classifier would lag behind by its start alone."""

SOLVED = 0.97
"""Where labels alone classify so many images of source validation correctly, these cannot show
what image embeddings are worth, and none are bought for it."""
UNCHANGED: Mapping[str, float] = MappingProxyType({"clean_prob": 0.7, "line_drawing_prob": 0.5})
"""Most images shown as they are, and half of the others as line drawings: what pictures need that
are always drawn at the same size and place (docs/decisions/0034)."""
_VIEWS = ("augmented", "mostly unchanged")

Progress = Callable[[str, int, int], None]
"""Called with what is trained, the number of finished short runs, and the most there may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What was chosen: the method, and how images are shown.

    `views` compares two students that were trained on labels alone, on augmented images and on
    mostly unchanged ones; None if the options say how images are shown. `methods` compares the
    methods on images shown as the former found. All were trained for `steps` steps; `seconds` is
    the time that this process took. `kept_back` are the queries that it advises against: it was
    made before they were bought.
    """

    methods: Comparison
    views: Comparison | None
    steps: int
    seconds: float = 0.0
    kept_back: int = 0

    @property
    def chosen(self) -> MethodName:
        """The method that is taken."""
        return PLAIN if self.is_solved or self.methods.takes_second else DISTILLED

    @property
    def is_solved(self) -> bool:
        """Whether labels alone are right on nearly all of source validation."""
        return self.methods.correct[1] >= SOLVED * self.methods.images

    @property
    def reads_images(self) -> bool:
        """Whether the chosen method learns from image embeddings."""
        return self.chosen == DISTILLED

    @property
    def settings(self) -> Mapping[str, Any]:
        """The options that the selection sets: the method, and how images are shown."""
        shown = UNCHANGED if self.views is not None and self.views.takes_second else {}
        return {"method": self.chosen, **shown}

    def as_dict(self) -> dict[str, Any]:
        """Returns the selection, ready for JSON."""
        return {
            "chosen": self.chosen,
            "steps": self.steps,
            **self.methods.as_dict(),
            "views": self.views and {"chosen": self.views.winner, **self.views.as_dict()},
            "seconds": round(self.seconds, 1),
            "queries_kept_back": self.kept_back,
        }

    def rows(self) -> tuple[list[str], list[list[str]]]:
        """Returns the columns and rows of a table of the short runs."""
        columns = [
            f"trained for {self.steps:,} steps",
            "source validation, %",
            "correct",
            "ahead, points",
        ]
        views = self.views.rows() if self.views else []
        return columns, [
            *([f"labels alone, {row[0]}", *row[1:]] for row in views),
            *self.methods.rows(),
        ]

    @property
    def explanation(self) -> str:
        """Returns how the method was chosen, in a few sentences."""
        shown = "" if self.methods.takes_second else "not "
        found = (
            f"auto takes {self.chosen}: on source validation, labels alone are {shown}shown to be "
            f"better than image embeddings with them (p = {self.methods.p:.2g} by McNemar's test)"
        )
        if self.is_solved:
            found = (
                f"auto takes {self.chosen}: labels alone classify {self.methods.correct[1]:,} of "
                f"{self.methods.images:,} images of source validation correctly, so that these "
                "cannot show what image embeddings are worth"
            )
        if self.views is not None:
            found += f". Images are shown {self.views.winner} (p = {self.views.p:.2g})"
        if self.kept_back:
            found += (
                f". {self.kept_back:,} queries for the other images were not bought (--method "
                f"{DISTILLED} buys them)"
            )
        return f"{found}. No held-out domain was read"


def select(
    labelled: LabelledDomains, options: TrainingOptions, *, folder: Path, progress: Progress
) -> Selection:
    """Chooses by short runs how images are shown, then whether image embeddings are learnt from.

    Each of the three runs takes a third of the student's steps. Equal data, options, seed and
    machine give an equal choice. Every run leaves its answers in `folder`: after a kill, the same
    call continues there. Raises StudentError.
    """
    started = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    progress("labels alone", 0, 3)
    plain = run_short(labelled, _SHORT, options, stored=folder / f"{_SHORT}.json")
    views, shown = None, options
    if not UNCHANGED.keys() & options.model_fields_set:
        progress("labels alone, images mostly unchanged", 1, 3)
        shown = options.changed(**UNCHANGED)
        unchanged = run_short(labelled, _SHORT, shown, stored=folder / f"{_SHORT}-unchanged.json")
        views = Comparison.of(_VIEWS, plain, unchanged)
        plain, shown = (unchanged, shown) if views.takes_second else (plain, options)
    progress(DISTILLED, 2, 3)
    distilled = run_short(labelled, DISTILLED, shown, stored=folder / f"{DISTILLED}.json")
    progress(DISTILLED, 3, 3)
    return Selection(
        methods=Comparison.of((DISTILLED, PLAIN), distilled, plain),
        views=views,
        steps=short_steps(options),
        seconds=time.perf_counter() - started,
    )
