"""What a teacher that does not know the images may teach: its right answers alone.

Shapes: N images, K views, D teacher dimensions, C classes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from student.training.dataset import TrainingData
from student.training.metrics import wilson_interval
from student.training.unit import unit

DOUBTFUL: Final = 0.5
"""A teacher whose zero-shot accuracy is surely below this does not know the images."""


def count_wrong_answers(data: TrainingData) -> int:
    """How many bought embeddings `without_wrong_answers` leaves out."""
    return int(data.bought.sum() - without_wrong_answers(data).bought.sum())


def without_wrong_answers(data: TrainingData) -> TrainingData:
    """The data as if the embeddings that are wrong had not been bought, if the teacher is doubtful.

    An embedding of a labelled image is wrong if the text of another class is nearer. The teacher is
    doubtful if the whole Wilson 95% interval of its accuracy is below `DOUBTFUL`. A teacher that
    knows the images teaches something by its few wrong answers too; one that does not drags its
    student below labels alone (docs/decisions/0042).
    """
    judged_NK = data.bought & (data.labels >= 0)[:, None]
    if not judged_NK.any() or not len(data.text_embeddings):
        return data
    text_CD = unit(data.text_embeddings)
    answers_M = (data.image_embeddings[judged_NK] @ text_CD.T).argmax(axis=1)
    right_M = answers_M == np.broadcast_to(data.labels[:, None], judged_NK.shape)[judged_NK]
    if wilson_interval(int(right_M.sum()), len(right_M)).high >= DOUBTFUL:
        return data
    bought_NK = data.bought.copy()
    bought_NK[judged_NK] = right_M
    return replace(data, bought=bought_NK)
