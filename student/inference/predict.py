"""Classifies images with a stored student; no vendor is needed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from student.errors import DataError

if TYPE_CHECKING:
    from student.inference.trained_student import TrainedStudent

_SHOWN = 3  # classes of an image in a line of text; JSON has all
UNSURE = "unsure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The predicted class of one image, and the student's confidence in it (0 to 1).

    `likeliest` are all classes with their confidence, the predicted class first. The confidence is
    a softmax. If `is_calibrated`, its temperature was fitted on source validation when the student
    was made: on images of another domain it may still be too high. If not, it is often far too
    high.
    """

    image: Path
    class_name: str
    confidence: float
    is_calibrated: bool = False
    likeliest: tuple[tuple[str, float], ...] = ()


def predict_images(
    images: Sequence[Path],
    folder: Path,
    *,
    on_error: Callable[[DataError], None] | None = None,
) -> Iterator[Prediction]:
    """Yields a prediction for each image, in order, by the student in `folder`.

    Raises BadInput, before the first prediction, if the folder has no usable student, and DataError
    on reaching a file that is not an image; with `on_error`, that gets the error and the rest
    follows.
    """
    from student.inference.trained_student import load

    yield from predictions(load(folder), images, on_error=on_error)


def predictions(
    student: TrainedStudent,
    images: Sequence[Path],
    *,
    on_error: Callable[[DataError], None] | None = None,
) -> Iterator[Prediction]:
    """Yields a prediction for each image, as `predict_images`, by a student in memory."""
    for path in images:
        try:
            (answer,) = student.predict([path])
        except DataError as error:
            if on_error is None:
                raise
            on_error(error)
            continue
        yield Prediction(
            image=path,
            class_name=answer.classes[0],
            confidence=answer.confidences[0],
            is_calibrated=student.is_calibrated,
            likeliest=tuple(zip(answer.classes, answer.confidences, strict=True)),
        )


def describe(prediction: Prediction, *, as_json: bool, abstain: float = 0.0) -> str:
    """Formats a prediction as one line of output.

    Text has the image, its class and the confidence, then the next two classes with theirs,
    separated by tabs. JSON has all classes. If the confidence is below `abstain`, text has "unsure"
    in the place of the class, then the three likeliest classes, and JSON has "unsure": true.
    """
    is_unsure = prediction.confidence < abstain
    if as_json:
        return json.dumps(
            {
                "image": str(prediction.image),
                "class": prediction.class_name,
                "confidence": round(prediction.confidence, 4),
                "calibrated": prediction.is_calibrated,
                UNSURE: is_unsure,
                "classes": {name: round(share, 4) for name, share in prediction.likeliest},
            }
        )
    answer = (UNSURE if is_unsure else prediction.class_name, prediction.confidence)
    others = prediction.likeliest[0 if is_unsure else 1 : _SHOWN]
    named = [f"{name}\t{share:.1%}" for name, share in (answer, *others)]
    return "\t".join([str(prediction.image), *named])
