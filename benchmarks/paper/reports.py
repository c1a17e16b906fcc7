"""Reads the finished runs under a folder from their meta.json files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.paper.datasets import DATASETS, Dataset
from benchmarks.paper.recipe import read_report
from student.bench.statistics import Mean, mean_of
from student.data.split import VALIDATION
from student.errors import BadInput
from student.options.renamed_options import renamed_method
from student.training.methods import METHODS

# The paper's training settings; the number of steps depends on the data set.
_PAPERS = {
    "image_size": 224,
    "lr": 5e-5,
    "align_lr": 5e-5,
    "schedule": "constant",
    "batch_per_domain": 32,
    "lmd": 0.5,
    "averaging": "swad",
    "prompts": "class",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A student's accuracies (0 to 1); `changed` lists how its settings differ from the paper's."""

    dataset: str
    student: str
    views: int
    method: str
    target: str
    seed: int
    unseen: float
    validation: float
    images: int
    teacher: str
    backbone: str
    changed: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A table cell: the mean over seeds, with a note, or a note on the runs still missing."""

    mean: Mean | None
    note: str

    def __str__(self) -> str:
        figure = "" if self.mean is None else self.mean.percent()
        return " ".join(part for part in (figure, f"({self.note})" if self.note else "") if part)


EMPTY = Cell(mean=None, note="")


def read_reports(out: Path) -> list[Report]:
    """Reads each report under OUT/<set>/<student>/views-<K>/<target>/seed-<n>/<method>/.

    They are in path order. Raises BadInput if a report does not match its folder.
    """
    paths = sorted(out.glob("*/*/views-*/*/seed-*/*/meta.json"))
    return [_report(path, read_report(path)) for path in paths]


def _report(path: Path, meta: dict[str, Any]) -> Report:
    dataset, student, views, target, seed, method, _ = path.parts[-7:]
    where = (target, f"seed-{meta['seed']}", meta["method"], f"views-{meta['settings']['views']}")
    if dataset not in DATASETS or where != (meta["targets"][0], seed, method, views):
        message = f"{path} is of another run than its folder says"
        raise BadInput(message)
    scores, settings = meta["scores"], meta["settings"]
    return Report(
        dataset=dataset,
        student=student,
        views=settings["views"],
        method=renamed_method(method),
        target=target,
        seed=meta["seed"],
        unseen=scores[target]["correct"] / scores[target]["images"],
        validation=scores[VALIDATION]["correct"] / scores[VALIDATION]["images"],
        images=scores[target]["images"],
        teacher=f"{meta['teacher']['model']} {meta['teacher']['fingerprint']}",
        backbone=settings["backbone"],
        changed=(*_changed(DATASETS[dataset], settings), *_left_out(meta)),
    )


def _changed(dataset: Dataset, settings: dict[str, Any]) -> tuple[str, ...]:
    papers = {
        **_PAPERS,
        "steps": dataset.steps,
        "align_steps": dataset.steps,
        "eval_every": dataset.eval_every,
    }
    return tuple(
        f"{name} {settings[name]} (paper: {value})"
        for name, value in papers.items()
        if settings[name] != value
    )


def _left_out(meta: dict[str, Any]) -> tuple[str, ...]:
    """Notes views that were not bought, because of the account's budget or a refused image."""
    if not METHODS[renamed_method(meta["method"])].reads_images:
        return ()
    wanted = meta["images_trained_on"] * meta["settings"]["views"]
    left_out = wanted - meta["embeddings_bought"]
    return (f"{left_out:,} of {wanted:,} views not bought",) if left_out else ()


def dataset_accuracy(
    reports: Sequence[Report], dataset: str, method: str, *, part: str = "unseen"
) -> Cell:
    """Returns the accuracy of a method on a data set.

    It is the mean over targets, as in DomainBed, then over the seeds that have all targets. `part`
    is "unseen" or "validation".
    """
    by_seed = _by_seed(reports, dataset, method, part)
    if not by_seed:
        return EMPTY
    targets = len(DATASETS[dataset].domains)
    whole = [_mean(accuracies) for accuracies in by_seed.values() if len(accuracies) == targets]
    if not whole:
        most = max(len(accuracies) for accuracies in by_seed.values())
        return Cell(mean=None, note=f"{most} of {targets} targets")
    return Cell(mean=mean_of(whole), note=_seeds(len(whole)))


def average_accuracy(reports: Sequence[Report], method: str, *, part: str = "unseen") -> Cell:
    """Returns the mean over the five data sets, over the seeds that have all their targets."""
    whole: dict[int, list[float]] = {}
    for name, dataset in DATASETS.items():
        for seed, accuracies in _by_seed(reports, name, method, part).items():
            if len(accuracies) == len(dataset.domains):
                whole.setdefault(seed, []).append(_mean(accuracies))
    full = [_mean(values) for values in whole.values() if len(values) == len(DATASETS)]
    return Cell(mean=mean_of(full), note=_seeds(len(full))) if full else EMPTY


def target_accuracy(reports: Sequence[Report], dataset: str, method: str, target: str) -> Cell:
    """Returns the accuracy on one target domain: the mean over seeds."""
    values = [
        report.unseen
        for report in reports
        if (report.dataset, report.method, report.target) == (dataset, method, target)
    ]
    return Cell(mean=mean_of(values), note=_seeds(len(values))) if values else EMPTY


def _by_seed(
    reports: Sequence[Report], dataset: str, method: str, part: str
) -> dict[int, list[float]]:
    found: dict[int, list[float]] = {}
    for report in reports:
        if (report.dataset, report.method) == (dataset, method):
            value = report.unseen if part == "unseen" else report.validation
            found.setdefault(report.seed, []).append(value)
    return found


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _seeds(count: int) -> str:
    return f"{count} seed" if count == 1 else f"{count} seeds"
