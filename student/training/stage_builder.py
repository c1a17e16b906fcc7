"""What each stage of a run trains on: its batches, its loss and its validation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

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
    that moment."""

    def __init__(self, task: TrainingTask, student: Student) -> None:
        self._task = task
        self._student = student
        self._terms = task.terms
        self._bought = task.bought
        table_CD = torch.tensor(task.data.text_embeddings).float()
        self._text_CD = functional.normalize(table_CD, dim=-1).to(student.device)

    def work(self, number: int) -> StageWork:
        """The work of the task's stage of this number."""
        task, stage = self._task, self._task.stages[number]
        return StageWork(
            stage=stage,
            validate=self._validation(stage),
            batches=self._batches(stage, number),
            loss=self._loss(stage),
            eval_every=task.options.eval_every,
            keep_batch_norm=task.options.freeze_batch_norm,
            seed=torch_seed(task.seed, _DROPOUT, number),
        )

    def _batches(self, stage: Stage, number: int) -> Batches:
        task = self._task
        sampler = BalancedSampler(
            task.data.domains,
            per_domain=task.options.batch_per_domain,
            seed=torch_seed(task.seed, _SAMPLE, number),
            useful=task.useful,
        )
        source = BatchSource(
            data=task.data, sampler=sampler, seed=(task.seed, _BATCH, number), bought=self._bought
        )
        if stage.uses_features:
            features, rows_NK = stored_view_features(self._student, task.data, self._bought)
            return FeatureBatches(source, features=features, rows_NK=rows_NK)
        return PixelBatches(source, device=self._student.device, options=task.options)

    def _loss(self, stage: Stage) -> Callable[[Batch], Tensor]:
        student = self._student

        def of_batch(batch: Batch) -> Tensor:
            features = batch.inputs if stage.uses_features else student.features(batch.inputs)
            return objective(
                self._terms,
                head=student.head,
                features_BF=features,
                batch=batch,
                text_CD=self._text_CD,
            )

        return of_batch

    def _validation(self, stage: Stage) -> Callable[[], Score]:
        student, images = self._student, self._task.validation
        if not stage.uses_features:
            return lambda: score_of(student, features_of(student, images.pixels), images)
        features = features_of(student, images.pixels)
        return lambda: score_of(student, features, images)
