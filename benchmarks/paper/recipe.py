"""What is asked of `distill-client`, run by run, and whether a run is already there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.paper.datasets import HERE, Dataset
from student.config import JobSettings, read_settings
from student.errors import BadInput

STUDENTS = {"vit": HERE / "vit.toml", "resnet50": HERE / "resnet50.toml"}

# meta.json last: where it lies, the rest does.
_KEPT = ("student.safetensors", "MODEL_CARD.md", "report.md", "answers.png", "meta.json")
_SCRATCH = ("pixels", "embeddings", "features", "checkpoints")
_NOT_OF_THE_STUDENT = frozenset(
    {
        *("budget", "data", "vendor", "key_file", "cache", "out", "config", "dry_run"),
        *("batch_size", "concurrency", "compare", "device", "threads"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A part of the tables: one set and one student, each method at each target and seed.

    `options` go to `distill-client` as they stand and win over the recipe's own.
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
        """Where its runs lie, below OUT: <set>/<student>/views-<K>."""
        return self.out / self.dataset.name / self.student_name / f"views-{self.views}"

    @property
    def student_name(self) -> str:
        """The name of the student's file."""
        return Path(self.student).stem

    @property
    def cache(self) -> Path:
        """The paid answers of a set serve every target, seed, method and student."""
        return self.out / self.dataset.name / "paid-cache"

    def runs(self) -> Iterator[Run]:
        """Place after place, so that the methods of one share its rendered images."""
        for target in self.targets:
            for seed in self.seeds:
                for method in self.methods:
                    yield Run(recipe=self, target=target, seed=seed, method=method)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One student: the target domain that it never sees, the seed of all that is drawn."""

    recipe: Recipe
    target: str
    seed: int
    method: str

    @property
    def place(self) -> Path:
        """What the methods share."""
        return self.recipe.folder / self.target / f"seed-{self.seed}"

    @property
    def kept(self) -> Path:
        """What stays of this one."""
        return self.place / self.method

    def command(self, *, budget: int | None) -> tuple[str, ...]:
        """As a person would type it; without a budget it is a dry run."""
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

    def settings(self) -> JobSettings:
        """The same, read as `distill-client` reads it. Raises BadInput."""
        return read_settings(self.command(budget=None)[1:])

    def is_done(self) -> bool:
        """Whether its report is there. BadInput where one of other settings is in its place."""
        report = self.kept / "meta.json"
        if not report.is_file():
            return False
        theirs, ours = (
            {name: value for name, value in of_one.items() if name not in _NOT_OF_THE_STUDENT}
            for of_one in (read_report(report)["settings"], self.settings().model_dump(mode="json"))
        )
        changed = sorted(name for name in ours if name in theirs and theirs[name] != ours[name])
        if changed:
            told = ", ".join(f"{name} {theirs[name]}, not {ours[name]}" for name in changed)
            message = f"{self.kept} was made with other settings ({told}): name another --out"
            raise BadInput(message)
        return True

    def keep(self) -> None:
        """Moves what the command left to its own folder, out of the next method's way."""
        self.kept.mkdir(parents=True, exist_ok=True)
        for name in _KEPT:
            if (self.place / name).exists():
                (self.place / name).replace(self.kept / name)


def clear_scratch(place: Path) -> None:
    """Deletes what can be rendered or computed again: it is large, and the students are kept."""
    for name in _SCRATCH:
        shutil.rmtree(place / name, ignore_errors=True)


def read_report(path: Path) -> dict[str, Any]:
    """A run's meta.json. Raises BadInput where it is none."""
    try:
        report: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        message = f"{path} is no report of a run: {error}"
        raise BadInput(message) from error
    return report


def targets_of(dataset: Dataset, named: Sequence[str]) -> tuple[str, ...]:
    """The domains to hold out: those named, else all. Raises BadInput for another name."""
    if unknown := [name for name in named if name not in dataset.domains]:
        message = f"{dataset.name} has no domain {', '.join(unknown)}: {', '.join(dataset.domains)}"
        raise BadInput(message)
    return tuple(named) or tuple(dataset.domains)
