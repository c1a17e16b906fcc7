"""Text targets: the class's text embedding in place of an image embedding that was not bought.

Shapes: N images, K views, D teacher dimensions, C classes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from student.training.dataset import TrainingData
from student.training.unit import unit


def with_text_targets(data: TrainingData) -> TrainingData:
    """The same data with a target for every labelled image without a bought embedding.

    That target is the text embedding of its class, as the embedding of the clean view, so that the
    image counts as much as a bought image. Without it the image has only the text term, whose
    weight is small if lmd is large. CLIP's image and text embeddings are apart by nearly the same
    vector everywhere (the modality gap, arXiv 2203.02053). The gap is subtracted from the bought
    embeddings, which are then scaled to unit length, so that both kinds of target agree.
    """
    missing_N = ~data.bought.any(axis=1) & (data.labels >= 0)
    if not missing_N.any():
        return data
    images_NKD, bought_NK = data.image_embeddings.copy(), data.bought.copy()
    text_CD = unit(data.text_embeddings)
    unit_MD = unit(images_NKD[bought_NK])
    images_NKD[bought_NK] = unit(unit_MD - modality_gap(data, unit_MD, text_CD))
    images_NKD[missing_N, 0] = text_CD[data.labels[missing_N]]
    bought_NK[missing_N, 0] = True
    return replace(data, image_embeddings=images_NKD, bought=bought_NK)


def modality_gap(
    data: TrainingData, unit_MD: NDArray[np.float32], text_CD: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The mean of the bought embeddings minus the mean of their class texts (D,); 0 without labels.

    unit_MD are the embeddings of the M bought views, in the order of `data.bought`.
    """
    labels_M = np.broadcast_to(data.labels[:, None], data.bought.shape)[data.bought]
    labelled_M = labels_M >= 0
    if not labelled_M.any():
        return np.zeros(data.dim, dtype=np.float32)
    gap_D: NDArray[np.float32] = unit_MD[labelled_M].mean(axis=0) - text_CD[
        labels_M[labelled_M]
    ].mean(axis=0)
    return gap_D
