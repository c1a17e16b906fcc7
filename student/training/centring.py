"""Centred embeddings: what an embedding says beyond what all of its kind have in common.

A CLIP's image embeddings lie in one narrow cone and its text embeddings in another (arXiv
2203.02053). The cosine to a target is then mostly the cosine to the cone, which no image and no
class is told apart by. Shapes: N images, K views, D teacher dimensions, C classes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from student.models.heads import Centre
from student.training.dataset import TrainingData
from student.training.unit import unit


def centred(data: TrainingData) -> tuple[TrainingData, Centre]:
    """The same data with centred embeddings, and the means that were subtracted.

    The mean of the images is that of the bought embeddings, and the mean of the texts that of the
    class texts; a kind of which there are less than two is left as it is. What is left has unit
    length.
    """
    bought_MD = unit(data.image_embeddings[data.bought])
    images_D = _mean(bought_MD, data.dim)
    text_CD = unit(data.text_embeddings)
    texts_D = _mean(text_CD, data.dim)
    rest_MD = bought_MD - images_D
    images_NKD = data.image_embeddings.copy()
    images_NKD[data.bought] = unit(rest_MD)
    centre = Centre(
        images=torch.from_numpy(images_D),
        texts=torch.from_numpy(texts_D),
        radius=float(np.linalg.norm(rest_MD, axis=1).mean()) if len(rest_MD) else 1.0,
    )
    centred_data = replace(
        data, image_embeddings=images_NKD, text_embeddings=unit(text_CD - texts_D)
    )
    return centred_data, centre


def _mean(rows: NDArray[np.float32], dim: int) -> NDArray[np.float32]:
    mean_D: NDArray[np.float32] = rows.mean(axis=0) if len(rows) > 1 else np.zeros(dim, np.float32)
    return mean_D
