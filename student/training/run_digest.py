"""Fingerprint of a training run; decides whether a checkpoint can be resumed."""

from __future__ import annotations

import hashlib
import json

import numpy as np
from numpy.typing import NDArray

from student.models.timm_backbone import weights_name
from student.training.config import TrainingSettings
from student.training.dataset import LabelledImages, TrainingData
from student.training.methods import Method
from student.training.serial import stored_method, stored_settings

_FORMAT = "training/3"  # 3: all rows, and what is in the file of the weights
_AFTERWARDS = frozenset({"wise_ft"})  # after the last checkpoint: one training serves every share
_ROWS = 4096  # of pixels and embeddings at once: tables may be larger than memory


def run_digest(
    method: Method,
    data: TrainingData,
    validation: LabelledImages,
    settings: TrainingSettings,
    num_classes: int,
) -> str:
    """SHA-256 over the method, the settings, the weights' file and all data."""
    import torch

    hashed = hashlib.sha256()
    plain = {
        "format": _FORMAT,
        "torch": torch.__version__,
        "method": stored_method(method),
        "settings": {k: v for k, v in stored_settings(settings).items() if k not in _AFTERWARDS},
        "weights": weights_name(settings.weights),
        "classes": num_classes,
    }
    hashed.update(json.dumps(plain, sort_keys=True).encode())
    for whole in (data.labels, data.domains, data.bought, data.text_embeddings, validation.labels):
        _feed(hashed, np.asarray(whole))
    for large in (data.pixels, data.image_embeddings, validation.pixels):
        for first in range(0, len(large), _ROWS):
            _feed(hashed, np.asarray(large[first : first + _ROWS]))
    return hashed.hexdigest()


def _feed(hashed: hashlib._Hash, array: NDArray[np.generic]) -> None:
    hashed.update(f"{array.dtype} {array.shape}".encode())
    hashed.update(np.ascontiguousarray(array).tobytes())
