"""What stands in for an embedding that was not bought: the text of the image's class.

Shapes: N images, K views, D teacher dimensions, C classes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from student.training.dataset import TrainingData


def with_text_stand_ins(data: TrainingData) -> TrainingData:
    """The same data, in which a labelled image that was not bought has its class's text as the
    embedding of its clean view, so that it counts as much as one that was bought.

    Without this it has the text term alone, which weighs little where lmd is large.
    """
    missing_N = ~data.bought.any(axis=1) & (data.labels >= 0)
    if not missing_N.any():
        return data
    images_NKD, bought_NK = data.image_embeddings.copy(), data.bought.copy()
    text_CD = data.text_embeddings
    unit_CD = text_CD / np.linalg.norm(text_CD, axis=1, keepdims=True)
    images_NKD[missing_N, 0] = unit_CD[data.labels[missing_N]]
    bought_NK[missing_N, 0] = True
    return replace(data, image_embeddings=images_NKD, bought=bought_NK)
