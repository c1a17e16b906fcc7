"""Trains and measures the runs of a grid in a child process, from tables on disk."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cache.embedding_table import open_table
from cache.records.embedding_key import EmbeddingKey
from student.bench.constants import ZERO_SHOT
from student.bench.dataset import BenchDataset, gather, run_keys
from student.bench.run import Grid, Run, identity, options_of
from student.console import quiet
from student.data.folder.image_folder import Catalogue, Item
from student.data.split import VALIDATION
from student.embeddings.keys import original_key
from student.embeddings.lookup import TeacherEmbeddings
from student.evaluation.experiment import Experimenter
from student.evaluation.results import AccuracyCount
from student.models.architecture import SoldNetwork


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """The data that every process of a grid needs.

    `catalogue` is the folder as the parent has read and hashed it. `tables` has, for each teacher,
    the folder of its embedding table and the key of each row; `sold` has what its vendor says of
    its image network.
    """

    grid: Grid
    catalogue: Catalogue
    tables: dict[str, tuple[Path, tuple[EmbeddingKey, ...]]]
    sold: dict[str, SoldNetwork | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A run and the embeddings that it may read."""

    run: Run
    keys: tuple[EmbeddingKey, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result of a run: its accuracy and calibration error on every part, validation included.

    The teacher itself, whose answers are embeddings, has no calibration error.
    """

    counts: dict[str, AccuracyCount]
    calibration_errors: dict[str, float]
    chosen: str
    seconds: float


class Trainer:
    """Trains the runs of a grid one after another."""

    def __init__(self, shared: Shared) -> None:
        self._grid = shared.grid
        self._dataset: BenchDataset = gather(shared.grid, quiet(), shared.catalogue)
        self._paid = {
            teacher: TeacherEmbeddings(
                table=open_table(folder, keys),
                rows={k: n for n, k in enumerate(keys)},
                sold=shared.sold.get(teacher),
            )
            for teacher, (folder, keys) in shared.tables.items()
        }

    def train(self, task: Task) -> Outcome:
        """Trains the run, or resumes it from its checkpoint, and measures it on every part."""
        paid = self._paid.get(task.run.teacher)
        if paid is not None:
            paid = paid.only(task.keys)
        if task.run.method == ZERO_SHOT:
            assert paid is not None  # it is the teacher itself
            return self._zero_shot(task.run, paid)
        options = options_of(task.run, self._grid.base)
        folder = self._grid.base.run.out / "running" / identity(task.run, self._grid.base)
        experimenter = Experimenter(
            self._dataset.split_of(task.run),
            self._dataset.scanned,
            paid,
            options.changed(out=folder),
        )
        trained = experimenter.train(task.run.method, lambda *_: None)
        result = experimenter.measure(task.run.method, trained)
        return Outcome(
            counts=dict(result.scores),
            calibration_errors=result.calibration.errors(),
            chosen=trained.chosen.weights,
            seconds=round(trained.seconds, 1),
        )

    def _zero_shot(self, run: Run, paid: TeacherEmbeddings) -> Outcome:
        split, scanned = self._dataset.split_of(run), self._dataset.scanned
        texts = paid.class_embeddings(
            run_keys(run, self._grid.base, self._dataset, paid.fingerprint)
        )
        counts = {
            part: AccuracyCount(
                correct=int(
                    (_nearest(items, paid, texts) == [scanned.label(i) for i in items]).sum()
                ),
                images=len(items),
            )
            for part, items in {VALIDATION: split.validation, **split.tests}.items()
        }
        return Outcome(counts=counts, calibration_errors={}, chosen="none", seconds=0.0)


def forget(run: Run, grid: Grid) -> None:
    """Deletes the checkpoint of a run whose row has been written."""
    shutil.rmtree(grid.base.run.out / "running" / identity(run, grid.base), ignore_errors=True)


def _nearest(
    items: tuple[Item, ...], paid: TeacherEmbeddings, texts: NDArray[np.float32]
) -> NDArray[np.int64]:
    """Returns the class (N,) whose text embedding is nearest to each image; -1 if not bought."""
    predicted = np.full(len(items), -1, dtype=np.int64)
    for row, item in enumerate(items):
        at = paid.rows.get(original_key(paid.fingerprint, item))
        if at is not None:
            predicted[row] = int((texts @ paid.table.vectors[at]).argmax())
    return predicted
