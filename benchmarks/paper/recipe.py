"""The runs of `distill-client` that a recipe needs, and whether each is already done."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.paper.datasets import HERE, Dataset
from student.errors import BadInput
from student.options import Options
from student.options.options import NOT_IDENTIFYING
from student.options.read import read_options
from student.options.renamed_options import RENAMED_METHODS, renamed_options

STUDENTS = {"vit": HERE / "vit.toml", "resnet50": HERE / "resnet50.toml"}

# meta.json is moved last: if it exists, so do the others.
_KEPT = (
    *("student.safetensors", "MODEL_CARD.md", "report.md", "report.html", "curves.jsonl"),
    *("answers.png", "calibration.png"),
    "meta.json",
)
_SCRATCH = ("pixels", "embeddings", "features", "checkpoints")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A part of the tables: one data set and one student, with methods, targets and seeds.

    `options` are passed to `distill-client` unchanged and override those of the recipe.
    """

    dataset: Dataset
    data: Path
    student: str
    methods: tuple[str, ...]
    targets: tuple[str, ...]
    seeds: tuple[int, ...]
    views: int
    out: Path
    options: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """The folder of its runs: OUT/<set>/<student>/views-<K>."""
        return self.out / self.dataset.name / self.student_name / f"views-{self.views}"

    @property
    def student_name(self) -> str:
        """The name of the student's options file, without its suffix."""
        return Path(self.student).stem

    @property
    def cache(self) -> Path:
        """The cache of a data set, shared by every target, seed, method and student."""
        return self.out / self.dataset.name / "paid-cache"

    def runs(self) -> Iterator[Run]:
        """Yields the runs, ordered so that methods with the same images follow each other."""
        for target in self.targets:
            for seed in self.seeds:
                for method in self.methods:
                    yield Run(recipe=self, target=target, seed=seed, method=method)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One student: its held-out domain, its seed and its method."""

    recipe: Recipe
    target: str
    seed: int
    method: str

    @property
    def place(self) -> Path:
        """The folder that all methods with this target and seed share."""
        return self.recipe.folder / self.target / f"seed-{self.seed}"

    @property
    def kept(self) -> Path:
        """Where the results of this run are kept."""
        for old, new in RENAMED_METHODS.items():
            if new == self.method and (self.place / old / "meta.json").is_file():
                return self.place / old  # made by version 0.1
        return self.place / self.method

    def command(self, *, budget: int | None) -> tuple[str, ...]:
        """Returns the command and its arguments; without a budget it is a dry run."""
        recipe, dataset = self.recipe, self.recipe.dataset
        config = STUDENTS.get(recipe.student, Path(recipe.student))
        pay = ("--dry-run",) if budget is None else ("--budget", str(budget))
        return (
            *("distill-client", "--config", str(config), "--data", str(recipe.data)),
            *("--target-domain", self.target, "--method", self.method),
            *("--seed", str(self.seed), "--views", str(recipe.views)),
            *("--steps", str(dataset.steps), "--align-steps", str(dataset.steps)),
            *("--eval-every", str(dataset.eval_every)),
            *("--cache", str(recipe.cache), "--out", str(self.place)),
            *pay,
            *recipe.options,
        )

    def read_options(self) -> Options:
        """The options of the command, read as `distill-client` reads them. Raises BadInput."""
        return read_options(self.command(budget=None)[1:])

    def is_done(self) -> bool:
        """Whether the run's report exists. Raises BadInput if it was made with other settings."""
        report = self.kept / "meta.json"
        if not report.is_file():
            return False
        theirs, own = (
            {name: value for name, value in settings.items() if name not in NOT_IDENTIFYING}
            for settings in (read_report(report)["settings"], self.read_options().as_json())
        )
        changed = sorted(name for name in own if name in theirs and theirs[name] != own[name])
        if changed:
            listed = ", ".join(f"{name} {theirs[name]}, not {own[name]}" for name in changed)
            message = f"{self.kept} was made with other settings ({listed}): use another --out"
            raise BadInput(message)
        return True

    def keep(self) -> None:
        """Moves the results to the method's own folder, before the next method overwrites them."""
        self.kept.mkdir(parents=True, exist_ok=True)
        for name in _KEPT:
            if (self.place / name).exists():
                (self.place / name).replace(self.kept / name)


def clear_scratch(place: Path) -> None:
    """Deletes large files that can be rendered or computed again; the students are kept."""
    for name in _SCRATCH:
        shutil.rmtree(place / name, ignore_errors=True)


def read_report(path: Path) -> dict[str, Any]:
    """Reads a run's meta.json, with the current option names. Raises BadInput if it cannot."""
    try:
        report: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        message = f"{path} is not a report of a run: {error}"
        raise BadInput(message) from error
    return {**report, "settings": renamed_options(report.get("settings", {}))}


def targets_of(dataset: Dataset, named: Sequence[str]) -> tuple[str, ...]:
    """Returns the domains to hold out: those named, or all. Raises BadInput for an unknown name."""
    if unknown := [name for name in named if name not in dataset.domains]:
        message = f"{dataset.name} has no domain {', '.join(unknown)}: {', '.join(dataset.domains)}"
        raise BadInput(message)
    return tuple(named) or tuple(dataset.domains)
