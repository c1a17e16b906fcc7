"""What each stage of a run trains on: its batches, its loss and its validation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from student.distributed.ranks import ALONE, Ranks
from student.errors import BadInput
from student.models.student import Student
from student.training.batches import Batch, Batches, BatchSource, FeatureBatches, PixelBatches
from student.training.features import features_of, stored_view_features
from student.training.loop import StageWork
from student.training.losses import objective
from student.training.metrics import Score, score_of
from student.training.sampling import BalancedSampler, torch_seed
from student.training.stage import Stage
from student.training.task import TrainingTask

# Purposes of a random source; 0 is the run's own. They decide every student and never change.
_SAMPLE, _BATCH, _DROPOUT = 1, 2, 3


class StageBuilder:
    """Builds the work of every stage of a task. Stages on features read the backbone as it is at
    that moment.

    Several ranks share the rows of every batch: the losses of a step on all ranks add up to that of
    the whole batch.
    """

    def __init__(self, task: TrainingTask, student: Student, ranks: Ranks = ALONE) -> None:
        self._task = task
        self._ranks = ranks
        self._student = student
        self._terms = task.terms
        self._bought = task.bought
        table_CD = torch.tensor(task.data.text_embeddings).float()
        self._text_CD = functional.normalize(table_CD, dim=-1).to(student.device)

    def work(self, number: int) -> StageWork:
        """The work of the task's stage of this number. Raises BadInput if a batch has fewer images
        than there are ranks."""
        task, stage = self._task, self._task.stages[number]
        sampler = BalancedSampler(
            task.data.domains,
            per_domain=task.options.batch_per_domain,
            seed=torch_seed(task.seed, _SAMPLE, number),
            useful=task.useful,
        )
        require_rows(sampler.rows, self._ranks.count)
        return StageWork(
            stage=stage,
            validate=self._validation(stage),
            batches=self._batches(stage, number, sampler),
            loss=self._loss(stage, sampler.rows),
            eval_every=task.options.eval_every,
            keep_batch_norm=task.options.freeze_batch_norm,
            seed=torch_seed(task.seed, _DROPOUT, number),
            ranks=self._ranks,
        )

    def _batches(self, stage: Stage, number: int, sampler: BalancedSampler) -> Batches:
        task = self._task
        source = BatchSource(
            data=task.data,
            sampler=sampler,
            seed=(task.seed, _BATCH, number),
            bought=self._bought,
            ranks=self._ranks,
        )
        if stage.uses_features:
            features, rows_NK = stored_view_features(
                self._student, task.data, self._bought, self._ranks
            )
            return FeatureBatches(source, features=features, rows_NK=rows_NK)
        return PixelBatches(source, device=self._student.device, options=task.options)

    def _loss(self, stage: Stage, rows: int) -> Callable[[Batch], Tensor]:
        student, ranks = self._student, self._ranks

        def of_batch(batch: Batch) -> Tensor:
            features = batch.inputs if stage.uses_features else student.features(batch.inputs)
            mean = objective(
                self._terms,
                head=student.head,
                features_BF=features,
                batch=batch,
                text_CD=self._text_CD,
            )
            if ranks.count == 1:
                return mean
            return mean * (len(batch.labels) / rows)

        return of_batch

    def _validation(self, stage: Stage) -> Callable[[], Score]:
        student, images, ranks = self._student, self._task.validation, self._ranks
        if not stage.uses_features:
            return lambda: score_of(student, features_of(student, images.pixels, ranks), images)
        features = features_of(student, images.pixels, ranks)
        return lambda: score_of(student, features, images)


def require_rows(rows: int, ranks: int) -> None:
    """Refuses a batch of so many images for more ranks than that. Raises BadInput."""
    if rows < ranks:
        message = (
            f"a batch has {rows} images, and {ranks} processes each need one of them at least: "
            "start fewer processes, or raise --batch-per-domain. Nothing is charged for this"
        )
        raise BadInput(message)
