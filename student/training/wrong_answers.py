"""What a teacher may teach of a domain that it does not know: its right answers alone.

Shapes: N images, K views, D teacher dimensions, C classes, M bought embeddings of labelled images.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from student.training.dataset import TrainingData
from student.training.metrics import wilson_interval
from student.training.unit import unit

DOUBTFUL: Final = 0.5
"""A teacher whose zero-shot accuracy on images is surely below this does not know them."""


def count_wrong_answers(data: TrainingData) -> int:
    """How many bought embeddings `without_wrong_answers` leaves out."""
    return int(data.bought.sum() - without_wrong_answers(data).bought.sum())


def without_wrong_answers(data: TrainingData) -> TrainingData:
    """The data as if wrong embeddings of domains that the teacher does not know were not bought.

    An embedding of a labelled image is wrong if the text of another class is nearer. The teacher
    does not know a domain if the whole Wilson 95% interval of its accuracy there is below
    `DOUBTFUL`. A teacher that knows the images teaches something by its few wrong answers too; one
    that does not drags its student below labels alone (docs/decisions/0042).
    """
    judged_NK = data.bought & (data.labels >= 0)[:, None]
    if not judged_NK.any() or not len(data.text_embeddings):
        return data
    text_CD = unit(data.text_embeddings)
    answers_M = (data.image_embeddings[judged_NK] @ text_CD.T).argmax(axis=1)
    right_M = answers_M == _of_each(data.labels, judged_NK)
    domains_M = _of_each(data.domains, judged_NK)
    heeded_M = right_M.copy()
    for domain in np.unique(domains_M):
        of_domain_M = domains_M == domain
        right = int(right_M[of_domain_M].sum())
        if wilson_interval(right, int(of_domain_M.sum())).high >= DOUBTFUL:
            heeded_M |= of_domain_M
    if heeded_M.all():
        return data
    bought_NK = data.bought.copy()
    bought_NK[judged_NK] = heeded_M
    return replace(data, bought=bought_NK)


def _of_each(facts_N: NDArray[np.int64], judged_NK: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The fact of the image of each embedding (M,)."""
    return np.broadcast_to(facts_N[:, None], judged_NK.shape)[judged_NK]
