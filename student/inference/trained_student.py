"""A finished student in memory: it names what images show, and embeds them.

Shapes: N images, S pixels a side, C classes, D dimensions of the teacher's space.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFile

from student.data.rgb_conversion import load_rgb
from student.data.views import open_rgb, render
from student.errors import BadInput, DataError
from student.models.heads import EmbeddingHead, JointHead, TextHead
from student.models.saved import load_student, temperature_of
from student.models.student import Student
from student.training.features import features_of
from student.training.metrics import embeddings_of

ImageInput = Path | str | Image.Image | NDArray[np.uint8]
"""An image: the path of a file, a PIL image, or 8-bit RGB pixels (height, width, 3)."""

_CHUNK = 256  # images whose pixels are in memory at the same time


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePrediction:
    """The classes of one image, the likeliest first, with the student's confidence (0 to 1)."""

    classes: tuple[str, ...]
    confidences: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainedStudent:
    """A student that `load` has read. It needs no vendor, and nothing is bought.

    `meta` is its meta.json, and `classes` are the names of its C classes in the order of its
    logits. `temperature` divides the logits for a calibrated confidence; None for a student that
    was not calibrated. `is_calibrated` says whether it was fitted on these classes.
    """

    student: Student
    meta: dict[str, Any]
    classes: tuple[str, ...]
    temperature: float | None
    is_calibrated: bool

    @property
    def image_size(self) -> int:
        """Width and height of its input, in pixels."""
        return self.student.architecture.image_size

    @property
    def dim(self) -> int:
        """D, or 0 if it has no projection into the teacher's space."""
        return self.student.architecture.dim

    def predict(self, images: Sequence[ImageInput]) -> list[ImagePrediction]:
        """Return all classes of each image, the likeliest first.

        Raises DataError for an image that cannot be read, and BadInput for a student without
        classes.
        """
        self.require_classes()
        found: list[ImagePrediction] = []
        for chunk in _chunks(images):
            shares_NC = self.class_shares(self.pixels(chunk))
            for shares_C in shares_NC:
                order = np.argsort(-shares_C, kind="stable")
                found.append(
                    ImagePrediction(
                        classes=tuple(self.classes[place] for place in order),
                        confidences=tuple(float(shares_C[place]) for place in order),
                    )
                )
        return found

    def embed(self, images: Sequence[ImageInput]) -> NDArray[np.float32]:
        """Return the images in the teacher's space, with unit length: float32 (N, D).

        Raises DataError for an image that cannot be read, and BadInput for a student without a
        projection into the teacher's space, such as one that was trained on labels alone.
        """
        self.require_projection()
        chunks = [self.embeddings_of(self.pixels(chunk)) for chunk in _chunks(images)]
        return np.concatenate(chunks) if chunks else np.zeros((0, self.dim), dtype=np.float32)

    def with_classes(
        self, classes: Sequence[str], embeddings: NDArray[np.float32]
    ) -> TrainedStudent:
        """Return the same student with other classes, each described by a text embedding (C, D).

        The embeddings are the vendor's, of the model that taught the student. Nothing is trained:
        the class of an image is the one with the largest cosine, also for a student with a
        classifier beside its projection. The temperature stays, although it
        was fitted on other classes. Raises BadInput for a student whose classifier is trained.
        """
        self.require_class_texts()
        if embeddings.shape != (len(classes), self.dim) or not classes:
            message = (
                f"{len(classes)} classes need embeddings of the shape ({len(classes)}, {self.dim}),"
                f" not {embeddings.shape}"
            )
            raise BadInput(message)
        student = deepcopy(self.student)
        texts = torch.from_numpy(np.array(embeddings, dtype=np.float32)).to(student.device)
        head = student.head
        assert isinstance(head, EmbeddingHead)  # require_class_texts
        if isinstance(head, JointHead):  # its classifier knows its own classes only
            student.head = head = head.text_head()
        head.text_CD = head.unit_texts(texts)
        return replace(self, student=student, classes=tuple(classes), is_calibrated=False)

    def require_projection(self) -> None:
        """Raise BadInput unless the student has a projection into the teacher's space."""
        if not isinstance(self.student.head, EmbeddingHead):
            message = (
                "this student has a class head and no projection into the teacher's space: it was "
                f"trained by {self.meta.get('method', 'a method')} and cannot embed images"
            )
            raise BadInput(message)

    def require_classes(self) -> None:
        """Raise BadInput if the student was trained on images without labels, and has no class."""
        if not self.classes:
            message = (
                "this student has no classes, because it was trained on images without labels: "
                'name them, such as --classes "zebra,okapi" (evaluate takes --new-classes); their '
                "prompts are bought, one query each"
            )
            raise BadInput(message)

    def require_class_texts(self) -> None:
        """Raise BadInput unless the student can predict by the cosine to class texts."""
        head = self.student.head
        if not isinstance(head, EmbeddingHead) or isinstance(head, TextHead):
            message = (
                "this student's classifier is trained for its own classes: other classes need a "
                "student that predicts by the cosine to the class texts, such as vl2v-adip"
            )
            raise BadInput(message)

    def pixels(self, images: Iterable[ImageInput]) -> NDArray[np.uint8]:
        """Return the images as the student was trained on them: uint8 (N, S, S, 3)."""
        return np.stack([render(_as_rgb(image), "", 0, self.image_size) for image in images])

    def class_shares(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return the confidence in each class (N, C): the softmax at the fitted temperature."""
        with torch.no_grad():
            logits_NC = self.student.head(features_of(self.student, pixels)).cpu().double()
        shares_NC: NDArray[np.float64] = (
            (logits_NC / (self.temperature or 1.0)).softmax(dim=1).numpy()
        )
        return shares_NC

    def embeddings_of(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the embeddings of rendered images (N, S, S, 3), as `embed`."""
        return embeddings_of(self.student, pixels)


def load(folder: Path | str) -> TrainedStudent:
    """Return the student in the output folder of a finished run. Raises BadInput."""
    student, meta = load_student(Path(folder))
    temperature = temperature_of(meta)
    return TrainedStudent(
        student=student,
        meta=meta,
        classes=tuple(meta["classes"]),
        temperature=temperature,
        is_calibrated=temperature is not None,
    )


def _chunks(images: Sequence[ImageInput]) -> Iterator[Sequence[ImageInput]]:
    for start in range(0, len(images), _CHUNK):
        yield images[start : start + _CHUNK]


def _as_rgb(image: ImageInput) -> Image.Image:
    if isinstance(image, Path | str):
        return open_rgb(Path(image))
    if isinstance(image, Image.Image):
        try:
            return load_rgb(image, partial(_reopened, image))
        except Exception as error:  # Pillow's readers raise whatever a broken file makes them raise
            message = f"the image cannot be converted to RGB: {error}"
            raise DataError(message) from error
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        message = (
            "an array of pixels is uint8 of the shape (height, width, 3), not "
            f"{image.dtype} of {image.shape}"
        )
        raise DataError(message)
    return Image.fromarray(image)


def _reopened(image: Image.Image) -> ImageFile.ImageFile:
    """The same file, opened again: the transparent colour of a 16-bit PNG is read from it."""
    name = getattr(image, "filename", "")
    if not name:
        message = "its transparent colour can be read only from a file: pass the path instead"
        raise ValueError(message)
    return Image.open(name)
