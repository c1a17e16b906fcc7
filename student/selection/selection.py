"""`--method auto`: chooses the method for a split, and says how."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from student.options import TrainingOptions
from student.selection.candidates import Candidate
from student.selection.clusters import clustered
from student.selection.rule import Measured, choose, measure
from student.selection.short_runs import (
    LabelledDomains,
    Progress,
    folds,
    run_candidates,
    short_steps,
)

PUBLISHED = Candidate(method="vl2v-adip")
"""What is trained where nothing can be compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The chosen candidate, and what it was chosen by.

    `measured` is empty, and `reason` says why, where nothing could be compared. `steps` are the
    steps of each short run, `runs` their number, and `seconds` the time that this process took.
    `of_clusters`: there was one domain only, and clusters of its images were left out in turn.
    `kept_back` are the queries that it advises against: it was made before they were bought.
    """

    chosen: Candidate
    measured: tuple[Measured, ...] = ()
    steps: int = 0
    runs: int = 0
    seconds: float = 0.0
    reason: str = ""
    of_clusters: bool = False
    kept_back: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Returns the selection, ready for JSON."""
        return {
            "chosen": self.chosen.name,
            "steps": self.steps,
            "runs": self.runs,
            "seconds": round(self.seconds, 1),
            "reason": self.reason,
            "of_clusters": self.of_clusters,
            "queries_kept_back": self.kept_back,
            "candidates": [one.as_dict() for one in self.measured],
        }

    def rows(self) -> tuple[list[str], list[list[str]]]:
        """Returns the columns and rows of a table: accuracy in percent, differences in points."""
        domains = list(self.measured[0].accuracies) if self.measured else []
        columns = ["left out, %", *domains, "mean", "behind the best", "standard error"]
        return columns, [
            [
                f"{one.name} (chosen)" if one.name == self.chosen.name else one.name,
                *(f"{100 * one.accuracies[domain]:.1f}" for domain in domains),
                f"{100 * one.mean:.1f}",
                f"{100 * one.behind:.1f}",
                f"{100 * one.error:.1f}",
            ]
            for one in self.measured
        ]

    @property
    def explanation(self) -> str:
        """Returns how the method was chosen, in a sentence or two."""
        if not self.measured:
            return f"auto takes {self.chosen.name}: {self.reason}"
        left_out = "on the labelled domains without those that it was measured on"
        if self.of_clusters:
            left_out = (
                "without one cluster of the labelled images, on which it was measured (they are of "
                "one domain, so that no domain could be left out)"
            )
        nothing_more = "nothing was bought for it"
        if self.kept_back:
            nothing_more = (
                f"{self.kept_back:,} queries for the other images were not bought, because these "
                "runs do not show that image embeddings help (--method vl2v-adip-1q buys them)"
            )
        return (
            f"auto takes {self.chosen.name}: of the methods that are behind the best by no more "
            f"than the standard error, the plainest. Each was trained {self.runs} times for "
            f"{self.steps:,} steps {left_out}; no held-out domain was read, and {nothing_more}"
        )


def select(
    labelled: LabelledDomains,
    options: TrainingOptions,
    *,
    found: Sequence[Candidate],
    folder: Path,
    progress: Progress,
) -> Selection:
    """Chooses one of the candidates `found` by leave-one-domain-out among the labelled domains.

    Equal data, options, seed and machine give an equal choice. Where there is one labelled domain
    only, clusters of its images are left out instead. If these are all alike, the published recipe
    is taken, and the reason says so. Raises StudentError.
    """
    started = time.perf_counter()
    if of_clusters := len(labelled.domains) < 2:
        labelled = clustered(labelled, options)
    if len(labelled.domains) < 2:
        reason = (
            "there is one labelled domain, and its images look alike: no short run can show which "
            "method carries over"
        )
        return Selection(chosen=PUBLISHED, reason=reason)
    results = run_candidates(labelled, found, options, folder=folder, progress=progress)
    measured = measure(results)
    name = choose(measured).name
    return Selection(
        chosen=next(one for one in found if one.name == name),
        measured=measured,
        steps=short_steps(options, len(labelled.domains), len(found)),
        runs=len(folds(len(labelled.domains))),
        seconds=time.perf_counter() - started,
        of_clusters=of_clusters,
    )
