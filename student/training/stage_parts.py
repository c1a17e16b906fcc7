"""What a stage is fitted with: its batches, its loss, its validation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from student.training.align import features_of, stored_view_features
from student.training.batches import Batch, Batches, FeatureBatches, PixelBatches
from student.training.dataset import LabelledImages, TrainingData
from student.training.evaluate import Score, logits_of, score
from student.training.losses import adip_loss, label_loss
from student.training.methods import Method
from student.training.sampling import BalancedSampler, torch_seed
from student.training.settings import TrainingSettings
from student.training.stage import Stage
from student.training.student import EmbeddingHead, Student

_SAMPLE, _BATCH = 1, 2  # purposes of a random source


class StageParts:
    """Makes the parts of every stage of one run; those of a stage on features read the backbone
    as it stands when they are made."""

    def __init__(
        self,
        method: Method,
        data: TrainingData,
        validation: LabelledImages,
        settings: TrainingSettings,
        student: Student,
    ) -> None:
        self._data = data
        self._validation = validation
        self._settings = settings
        self._student = student
        self._lmd = method.image_weight(settings)
        self._bought = data.bought if self._lmd > 0 else np.zeros_like(data.bought)

    def batches(self, stage: Stage, number: int) -> Batches:
        seed = self._settings.seed
        sampler = BalancedSampler(
            self._data.domains,
            per_domain=self._settings.batch_per_domain,
            seed=torch_seed(seed, _SAMPLE, number),
        )
        batch_seed = (seed, _BATCH, number)
        if stage.uses_features:
            features, rows_NK = stored_view_features(self._student, self._data, self._bought)
            return FeatureBatches(
                self._data,
                sampler=sampler,
                seed=batch_seed,
                bought=self._bought,
                features=features,
                rows_NK=rows_NK,
            )
        return PixelBatches(
            self._data,
            sampler=sampler,
            seed=batch_seed,
            bought=self._bought,
            device=self._student.device,
        )

    def loss(self, stage: Stage) -> Callable[[Batch], Tensor]:
        student, head = self._student, self._student.head

        def of_batch(batch: Batch) -> Tensor:
            features = batch.inputs if stage.uses_features else student.features(batch.inputs)
            if isinstance(head, EmbeddingHead):
                return adip_loss(
                    head.project(features),
                    image_BD=batch.images,
                    bought_B=batch.bought,
                    text_BD=head.text_CD[batch.labels],
                    lmd=self._lmd,
                )
            return label_loss(head(features), batch.labels)

        return of_batch

    def validate(self, stage: Stage) -> Callable[[], Score]:
        student, images = self._student, self._validation
        if not stage.uses_features:
            return lambda: score(logits_of(student, images.pixels), images.labels)
        features = features_of(student, images.pixels)

        @torch.no_grad()
        def of_head() -> Score:
            return score(student.head(features).cpu(), images.labels)

        return of_head
