"""The results on classes that were held out: rejected as unknown, and named as new."""

from __future__ import annotations

from collections.abc import Callable

from student.evaluation.results import Experiment
from student.evaluation.unknown_classes import KEPT, UnknownClasses

EXPLANATION = (
    "Classes that were held out, in percent with 95% intervals. AUROC: the chance that an image of "
    "a known class gets a higher confidence than one of an unknown class. H-score: the harmonic "
    "mean of the next two rows, where an image is rejected below the confidence that "
    f"{KEPT:.0%} of source validation reaches; no unknown image decides that threshold. Over all "
    "prompts: the prompts of known and new classes together, for a student that predicts by class "
    "texts; it was trained on no image of the new ones."
)
_MEASURES: tuple[tuple[str, Callable[[UnknownClasses], object]], ...] = (
    ("AUROC", lambda found: found.auroc),
    ("H-score", lambda found: found.h_score),
    ("known: kept and right", lambda found: found.known),
    ("unknown: rejected", lambda found: found.rejected),
    ("new classes, over all prompts", lambda found: found.new),
    ("known classes, over all prompts", lambda found: found.known_of_all),
)


def unknown_rows(experiment: Experiment) -> tuple[list[str], list[list[str]]]:
    """The columns and rows of a table: a column for each method; no rows if nothing is unknown."""
    columns = ["part", "unknown classes, %", *(result.method for result in experiment.results)]
    rows = [
        [
            f"{part} ({found.rejected.images:,} unknown, {found.known.images:,} known images)",
            title,
            *(_cell(read(result.unknown[part])) for result in experiment.results),
        ]
        for part, found in experiment.student.unknown.items()
        for title, read in _MEASURES
    ]
    return columns, rows


def _cell(figure: object) -> str:
    return "" if figure is None else str(figure)
