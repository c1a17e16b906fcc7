"""The student's own features of the candidate images, computed once and kept on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cache.storage.atomic_file import replacing
from student.models.backbone import unlike_version_0_1
from student.models.timm_backbone import weights_name
from student.options import TrainingOptions
from student.training.features import untrained_features
from student.training.pixels import Pixels

_RECIPE = "features/1"


def frozen_features(
    digests: Sequence[str],
    pixels: Pixels,
    options: TrainingOptions,
    *,
    seed: int,
    folder: Path,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> NDArray[np.float32]:
    """The backbone's features (N, F) of clean images (N, S, S, 3), before it is trained.

    `digests` are the images' SHA-256 digests, row by row. The name of the file in `folder` is a
    digest of everything that decides the features, so that another backbone, size or image uses
    another file. `progress(done, total)` counts images. Raises BadInput and TrainingError as
    `load_network` does.
    """
    size = int(pixels.shape[1])
    path = folder / f"{_name(digests, options, size, seed)}.npy"
    if (stored := _read(path, len(digests))) is not None:
        return stored
    features = untrained_features(pixels, options, seed=seed, progress=progress)
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        np.save(file, features, allow_pickle=False)
    return features


def _name(digests: Sequence[str], options: TrainingOptions, size: int, seed: int) -> str:
    weights = weights_name(options.weights)
    if weights == "none":
        weights = f"none {seed}"
    network = unlike_version_0_1(options.backbone, options.weights)
    made_with = [json.dumps(network, sort_keys=True)] if network else []
    parts = [_RECIPE, options.backbone, weights, str(size), *made_with, *digests]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _read(path: Path, rows: int) -> NDArray[np.float32] | None:
    """The stored features; None if there is no file or it does not fit."""
    try:
        stored = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    is_whole = stored.dtype == np.float32 and stored.ndim == 2 and len(stored) == rows
    return stored if is_whole else None
