"""A data set learnt in seconds: each class is a colour and each view a shade."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from student.training.dataset import TrainingData

SIZE, DIM, CLASSES = 32, 8, 3


def make_data(
    *,
    views: int = 1,
    images: int = 18,
    seed: int = 0,
    bought: NDArray[np.bool_] | None = None,
) -> TrainingData:
    source = np.random.default_rng(seed)
    labels = np.arange(images) % CLASSES
    domains = np.arange(images) % 2
    colours = np.array([[220, 40, 40], [40, 220, 40], [40, 40, 220]])
    noise = source.normal(0, 20, (images, views, SIZE, SIZE, 3))
    pixels = (colours[labels][:, None, None, None] + noise).clip(0, 255).astype(np.uint8)
    text = np.eye(CLASSES, DIM, dtype=np.float32)
    image = text[labels][:, None] + source.normal(0, 0.1, (images, views, DIM))
    image /= np.linalg.norm(image, axis=-1, keepdims=True)
    return TrainingData(
        pixels=pixels,
        labels=labels,
        domains=domains,
        image_embeddings=image.astype(np.float32),
        bought=np.ones((images, views), dtype=bool) if bought is None else bought,
        text_embeddings=text,
    )
