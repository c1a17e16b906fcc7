"""The accuracy, size and speed of a student.

Shapes: N images, S pixels a side, C classes.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from student.distributed.ranks import ALONE, Ranks
from student.errors import BadInput
from student.models.heads import EmbeddingHead
from student.models.student import Student
from student.training.dataset import LabelledImages
from student.training.features import features_of
from student.training.pixels import Pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Accuracy and mean cross-entropy on one set of images.

    Without labels, `accuracy` is the mean cosine to the teacher's embeddings, and `loss` is 1 less
    that.
    """

    accuracy: float
    loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A confidence interval of a proportion, between 0 and 1."""

    low: float
    high: float


@torch.no_grad()
def logits_of(student: Student, pixels: Pixels, ranks: Ranks = ALONE) -> Tensor:
    """Logits of images (N, S, S, 3), on the CPU: (N, C). The student is left in eval mode.

    Here and below, several ranks share the images, and each gets the whole result.

    Raises BadInput if the images are not of the student's size.
    """
    size = student.architecture.image_size
    if pixels.shape[1:] != (size, size, 3):
        message = f"the student takes images of {size} x {size} pixels, not {pixels.shape[1:3]}"
        raise BadInput(message)
    logits: Tensor = student.head(features_of(student, pixels, ranks))
    return logits.cpu()


@torch.no_grad()
def score_of(student: Student, features_NF: Tensor, images: LabelledImages) -> Score:
    """The score of these features of the images: by their labels, or else by their embeddings."""
    if images.embeddings is None:
        return score(student.head(features_NF).cpu(), images.labels)
    head = student.head
    assert isinstance(head, EmbeddingHead)  # a method that reads image embeddings has a projection
    target_ND = torch.from_numpy(images.embeddings)
    cosine_N = functional.cosine_similarity(head.project(features_NF).float().cpu(), target_ND)
    mean = float(cosine_N.double().mean())
    return Score(accuracy=mean, loss=1.0 - mean)


@torch.no_grad()
def embeddings_of(student: Student, pixels: Pixels, ranks: Ranks = ALONE) -> NDArray[np.float32]:
    """Images (N, S, S, 3) in the teacher's space, of unit length: (N, D).

    The student has a projection, and is left in eval mode.
    """
    head = student.head
    assert isinstance(head, EmbeddingHead)
    unit_ND = functional.normalize(head.project(features_of(student, pixels, ranks)), dim=-1)
    vectors_ND: NDArray[np.float32] = unit_ND.float().cpu().numpy()
    return vectors_ND


@torch.no_grad()
def nearest_texts(
    student: Student,
    pixels: Pixels,
    text_CD: NDArray[np.float32],
    ranks: Ranks = ALONE,
) -> NDArray[np.int64]:
    """The nearest of these text embeddings of the teacher to each image (N, S, S, 3): (N,).

    The student predicts by the cosine to texts, and is left in eval mode.
    """
    head = student.head
    assert isinstance(head, EmbeddingHead)
    unit_ND = functional.normalize(head.align(features_of(student, pixels, ranks)), dim=-1)
    texts_CD = head.unit_texts(torch.from_numpy(text_CD).to(student.device))
    nearest_N: NDArray[np.int64] = (unit_ND @ texts_CD.T).argmax(dim=1).cpu().numpy()
    return nearest_N


def score(logits_NC: Tensor, labels: NDArray[np.int64]) -> Score:
    """Accuracy and mean cross-entropy of these logits."""
    labels_N = torch.tensor(labels)
    return Score(
        accuracy=float((logits_NC.argmax(dim=1) == labels_N).double().mean()),
        loss=float(functional.cross_entropy(logits_NC, labels_N)),
    )


def accuracy(student: Student, images: LabelledImages) -> float:
    """The share of the images that the student classifies correctly, between 0 and 1."""
    return score(logits_of(student, images.pixels), images.labels).accuracy


def answers_of(
    logits_NC: Tensor, temperature: float = 1.0
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Each image's class, and the confidence in it (0 to 1): (N,) and (N,).

    The confidence is the softmax of the logits divided by `temperature`, which changes no class.
    """
    labels_N = logits_NC.softmax(dim=1).max(dim=1).indices
    shares_NC = (logits_NC.double() / temperature).softmax(dim=1)
    return labels_N.numpy(), shares_NC.gather(1, labels_N[:, None])[:, 0].numpy()


def wilson_interval(correct: int, total: int) -> Interval:
    """The Wilson 95% interval of the proportion `correct` / `total` (E. Wilson, 1927).

    Raises BadInput if this is not a proportion.
    """
    if not 0 <= correct <= total or total == 0:
        message = f"{correct} of {total} is not a proportion"
        raise BadInput(message)
    # Imported here: scipy takes long to load, and most of the client's commands do not need it.
    from scipy.stats import binomtest

    interval = binomtest(correct, total).proportion_ci(method="wilson")
    return Interval(low=float(interval.low), high=float(interval.high))


def difference_interval(correct: int, other: int, total: int) -> Interval:
    """The 95% interval of `correct` / `total` - `other` / `total`, as of independent samples.

    Newcombe's, from the Wilson intervals of both (Statistics in Medicine 17, 1998, method 10).
    Raises BadInput as `wilson_interval` does.
    """
    first, second = wilson_interval(correct, total), wilson_interval(other, total)
    share, of_other = correct / total, other / total
    return Interval(
        low=share - of_other - math.hypot(share - first.low, second.high - of_other),
        high=share - of_other + math.hypot(first.high - share, of_other - second.low),
    )


def num_parameters(student: Student) -> int:
    """The number of values that the student predicts with: parameters and stored class texts."""
    head = student.head.state_dict()
    trained = {id(parameter): parameter.numel() for parameter in student.parameters()}
    return sum(trained.values()) + (head["text_CD"].numel() if "text_CD" in head else 0)


def latency(student: Student, *, repeats: int = 30, warm_up: int = 5) -> float:
    """The median time to classify one image, from uint8 pixels to a label, in milliseconds.

    A student without classes embeds it.
    """
    return _median_seconds(student, 1, repeats, warm_up) * 1e3


def images_per_second(student: Student, *, batch: int, repeats: int = 5) -> float:
    """How many images a second it classifies, or embeds, in batches of this size (median)."""
    return batch / _median_seconds(student, batch, repeats, warm_up=1)


@torch.no_grad()
def _median_seconds(student: Student, batch: int, repeats: int, warm_up: int) -> float:
    size = student.architecture.image_size
    pixels = torch.zeros(batch, size, size, 3, dtype=torch.uint8)
    student.eval()
    taken = []
    for _ in range(warm_up + repeats):
        started = time.perf_counter()
        features = student.features(pixels)
        if student.architecture.num_classes:
            student.head(features).argmax(dim=1).tolist()
        elif isinstance(student.head, EmbeddingHead):
            student.head.project(features).tolist()
        taken.append(time.perf_counter() - started)
    return float(np.median(taken[warm_up:]))
