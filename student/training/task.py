"""One student to be trained: by which method, on which images, with which options and seed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from student.errors import BadInput, DataError
from student.models.architecture import CENTRED_HEADS, SoldNetwork
from student.models.heads import Centre
from student.options import TrainingOptions
from student.training.backgrounds import background_options
from student.training.centring import centred
from student.training.dataset import LabelledImages, TrainingData
from student.training.loss_weights import LossWeights
from student.training.methods import Method
from student.training.stage import Stage
from student.training.text_targets import with_text_targets
from student.training.wrong_answers import without_wrong_answers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingTask:
    """All that decides a student. Make it `ready` before it is trained."""

    method: Method
    data: TrainingData
    validation: LabelledImages
    options: TrainingOptions
    seed: int
    num_classes: int
    sold: SoldNetwork | None = None
    centre: Centre | None = None

    def ready(self) -> TrainingTask:
        """The task with the method's own settings and, if the options ask for them, with centred
        embeddings and with text targets.

        Settings for images on a plain background are unset unless all domains are of such images.
        What the teacher answers wrongly of a domain that it does not know counts as not bought,
        where the method heeds that.

        Raises DataError if shapes or labels do not fit, BadInput if there is nothing to learn from.
        """
        task = replace(self, options=self.method.settings_for(self.options))
        task._check()
        task = replace(task, options=background_options(task.options, task.data))
        if task.method.heeds_doubts and task.terms.reads_images:
            task = replace(task, data=without_wrong_answers(task.data))
        if task.options.centre_embeddings and task.method.head in CENTRED_HEADS:
            data, centre = centred(task.data)
            task = replace(task, data=data, centre=centre)
        if task.options.text_targets and task.terms.reads_images:
            return replace(task, data=with_text_targets(task.data))
        return task

    @property
    def terms(self) -> LossWeights:
        """The weights of the loss terms."""
        return self.method.terms_for(self.options)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages, in order."""
        return self.method.stages(self.options)

    @property
    def bought(self) -> NDArray[np.bool_]:
        """The bought views (N, K) that the terms read: all, or none."""
        return self.data.bought if self.terms.reads_images else np.zeros_like(self.data.bought)

    @property
    def useful(self) -> NDArray[np.bool_]:
        """The images (N,) to train on: those with a label or a bought embedding that counts."""
        return (self.data.labels >= 0) | self.bought.any(axis=1)

    def _check(self) -> None:
        method, data, size = self.method, self.data, self.validation.pixels.shape[1]
        if size != data.image_size:
            message = (
                f"the validation images have {size} pixels a side, and the training images "
                f"{data.image_size}"
            )
            raise DataError(message)
        for name, labels, least in (
            ("training", data.labels, -1),
            ("validation", self.validation.labels, 0 if self.validation.embeddings is None else -1),
        ):
            if labels.min() < least or labels.max() >= self.num_classes:
                message = f"a {name} label lies outside the {self.num_classes} classes"
                raise DataError(message)
        reads_texts = self.terms.kd > 0 or method.head != "class"
        if reads_texts and len(data.text_embeddings) != self.num_classes:
            message = f"{self.num_classes} classes and {len(data.text_embeddings)} text embeddings"
            raise DataError(message)
        takes_answers = self.terms.kd > 0 or method.head in ("text", "identity")
        if self.options.centre_embeddings and takes_answers:
            message = (
                f"{method.name} takes the teacher's answers as they are, and centred embeddings "
                "would be others: leave --centre-embeddings out"
            )
            raise BadInput(message)
        if not self.terms.reads_labels and not data.bought.any():
            message = f"{method.name} learns from image embeddings only, and none was bought"
            raise BadInput(message)
        if not self.useful.any():
            message = f"{method.name} learns from labels, and no image has a label"
            raise BadInput(message)
