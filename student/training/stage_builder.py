"""What a stage is fitted with: its batches, its loss, its validation; or its solution."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from student.models.student import Student
from student.training.batches import Batch, Batches, FeatureBatches, PixelBatches
from student.training.config import TrainingSettings
from student.training.dataset import LabelledImages, TrainingData
from student.training.features import features_of, stored_view_features
from student.training.loss_weights import LossWeights
from student.training.losses import objective
from student.training.metrics import Score, logits_of, score
from student.training.mixing import MixedBatches
from student.training.ridge import cosine_loss, solve_projection, stored_targets
from student.training.sampling import BalancedSampler, torch_seed
from student.training.stage import Stage

_SAMPLE, _BATCH, _MIX = 1, 2, 4  # purposes of a random source; 0 and 3 are of the run itself


class StageParts:
    """Makes the parts of every stage of one run; those of a stage on features read the backbone
    as it stands when they are made."""

    def __init__(
        self,
        terms: LossWeights,
        data: TrainingData,
        validation: LabelledImages,
        settings: TrainingSettings,
        student: Student,
    ) -> None:
        self._data = data
        self._validation = validation
        self._settings = settings
        self._student = student
        self._terms = terms
        self._bought = bought_for(terms, data)
        table_CD = torch.tensor(data.text_embeddings).float()
        self._text_CD = functional.normalize(table_CD, dim=-1).to(student.device)

    def batches(self, stage: Stage, number: int) -> Batches:
        seed = self._settings.seed
        sampler = BalancedSampler(
            self._data.domains,
            per_domain=self._settings.batch_per_domain,
            seed=torch_seed(seed, _SAMPLE, number),
            useful=useful_images(self._terms, self._data),
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
        pixels = PixelBatches(
            self._data,
            sampler=sampler,
            seed=batch_seed,
            bought=self._bought,
            device=self._student.device,
            between=self._settings.between,
            exact=self._settings.exact,
            drawn=self._settings.drawn,
        )
        mix = self._settings.mix
        if mix == "none":
            return pixels
        mix_seed = (seed, _MIX, number)
        return MixedBatches(pixels, mix=mix, alpha=self._settings.mix_alpha, seed=mix_seed)

    def loss(self, stage: Stage) -> Callable[[Batch], Tensor]:
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

    def solve(self) -> tuple[dict[str, Tensor], float]:
        """The projection in closed form, by name in the student, and the cosine loss there."""
        features_MF, rows_NK = stored_view_features(self._student, self._data, self._bought)
        targets = stored_targets(
            self._data, rows_NK, bought_NK=self._bought, text_CD=self._text_CD, terms=self._terms
        )
        weight, bias = solve_projection(features_MF, targets, ridge=self._settings.ridge)
        loss = cosine_loss(features_MF, targets, weight, bias)
        return {"head.projection.weight": weight, "head.projection.bias": bias}, loss

    def validate(self, stage: Stage) -> Callable[[], Score]:
        student, images = self._student, self._validation
        if not stage.uses_features:
            return lambda: score(logits_of(student, images.pixels), images.labels)
        features = features_of(student, images.pixels)

        @torch.no_grad()
        def of_head() -> Score:
            return score(student.head(features).cpu(), images.labels)

        return of_head


def bought_for(terms: LossWeights, data: TrainingData) -> NDArray[np.bool_]:
    """The bought views (N, K) that these terms read: all, or none."""
    return data.bought if terms.reads_images else np.zeros_like(data.bought)


def useful_images(terms: LossWeights, data: TrainingData) -> NDArray[np.bool_]:
    """The images (N,) to be shown: one without a label only where its bought embedding counts."""
    return (data.labels >= 0) | bought_for(terms, data).any(axis=1)
