"""Fingerprint of a training run; decides whether a checkpoint can be resumed."""

from __future__ import annotations

import hashlib
import json

import numpy as np
from numpy.typing import NDArray

from student.models.backbone import unlike_version_0_1
from student.models.timm_backbone import weights_name
from student.training.pixels import Pixels, checksums_of
from student.training.stored_names import stored_method, stored_settings
from student.training.task import TrainingTask

_FORMAT = "training/3"  # 3: all rows, and the content of the weights file
_AFTERWARDS = frozenset({"wise_ft"})  # applied after the last checkpoint
_ROWS = 4096  # of pixels and embeddings after each note of their shape
_PIECE = 256  # of these rows are read at a time: tables may be larger than memory


def run_digest(task: TrainingTask, processes: int = 1) -> str:
    """SHA-256 over the method, the options, the file of the initial weights and all data.

    Also over the number of processes that train, if it is not 1: sums depend on it in their last
    bits, as they do on the number of threads.
    """
    import torch

    data, validation = task.data, task.validation
    hashed = hashlib.sha256()
    settings = stored_settings(task.options, image_size=data.image_size, seed=task.seed)
    plain = {
        "format": _FORMAT,
        "torch": torch.__version__,
        "method": stored_method(task.method),
        "settings": {k: v for k, v in settings.items() if k not in _AFTERWARDS},
        "weights": weights_name(task.options.weights),
        "classes": task.num_classes,
        **unlike_version_0_1(task.options.backbone, task.options.weights, task.sold),
    }
    if processes > 1:
        plain["processes"] = processes
    if validation.embeddings is not None:
        plain["validated_on"] = hashlib.sha256(validation.embeddings.tobytes()).hexdigest()
    hashed.update(json.dumps(plain, sort_keys=True).encode())
    for whole in (data.labels, data.domains, data.bought, data.text_embeddings, validation.labels):
        _feed(hashed, np.asarray(whole))
    _feed_pixels(hashed, data.pixels)
    _feed_chunks(hashed, data.image_embeddings)
    _feed_pixels(hashed, validation.pixels)
    return hashed.hexdigest()


def _feed_pixels(hashed: hashlib._Hash, pixels: Pixels) -> None:
    """The pixels, or, where these are read from archives, the checksum of each view instead: it is
    compared with the view whenever that is read."""
    if (checksums := checksums_of(pixels)) is None:
        _feed_chunks(hashed, pixels)
    else:
        hashed.update(b"checksums of the pixels")
        _feed(hashed, checksums)


def _feed_chunks(hashed: hashlib._Hash, large: Pixels | NDArray[np.float32]) -> None:
    for first in range(0, len(large), _ROWS):
        last = min(first + _ROWS, len(large))
        hashed.update(f"{large.dtype} {(last - first, *large.shape[1:])}".encode())
        for at in range(first, last, _PIECE):
            piece = np.ascontiguousarray(large[at : min(at + _PIECE, last)])
            hashed.update(piece.reshape(-1).data)


def _feed(hashed: hashlib._Hash, array: NDArray[np.generic]) -> None:
    hashed.update(f"{array.dtype} {array.shape}".encode())
    hashed.update(np.ascontiguousarray(array).tobytes())
