"""Groups to leave out where all labelled images are of one domain: clusters of free features."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from student.options import TrainingOptions
from student.selection.short_runs import MOST_FOLDS, LabelledDomains
from student.training.features import untrained_features


def clustered(labelled: LabelledDomains, options: TrainingOptions) -> LabelledDomains:
    """The same images in groups that k-means finds in the features of the untrained backbone.

    Each feature is taken less the mean of its class: what is left is how an image looks, and every
    class falls into several groups, as it does with domains. Equal images, options and seed give
    equal groups; there is one only, where fewer images than groups differ. Raises BadInput and
    TrainingError as `load_network` does.
    """
    # Imported here: scipy takes long to load, and most of the client's commands do not need it.
    from scipy.cluster.vq import kmeans2

    validation = labelled.validation
    pixels = np.concatenate([labelled.data.pixels[:, 0], validation.pixels])
    labels = np.concatenate([labelled.data.labels, validation.labels])
    features = _within_classes(untrained_features(pixels, options, seed=labelled.seed), labels)
    found = np.zeros(len(labels), dtype=np.int64)
    if len(np.unique(pixels.reshape(len(pixels), -1), axis=0)) >= MOST_FOLDS:
        _, found = kmeans2(features, MOST_FOLDS, minit="++", seed=labelled.seed)
    names, numbers = np.unique(found, return_inverse=True)
    return replace(
        labelled,
        domains=tuple(f"cluster {number + 1}" for number in range(len(names))),
        groups=numbers[: len(labelled.data.labels)],
        validation_groups=numbers[len(labelled.data.labels) :],
    )


def _within_classes(
    features: NDArray[np.float32], labels: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Unit vectors (N, F) of what distinguishes each image from the mean of its class."""
    centred = features.copy()
    for label in np.unique(labels):
        centred[labels == label] -= centred[labels == label].mean(axis=0)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    unit: NDArray[np.float32] = centred / np.maximum(lengths, np.finfo(np.float32).tiny)
    return unit
