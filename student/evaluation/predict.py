"""Classifies images with a stored student; no vendor is needed."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from student.data.views import open_rgb, render
from student.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The predicted class of one image, and the student's confidence in it (0 to 1).

    The confidence is a softmax. If `is_calibrated`, its temperature was fitted on source validation
    when the student was made: on images of another domain it may still be too high. If not, it is
    often far too high.
    """

    image: Path
    class_name: str
    confidence: float
    is_calibrated: bool = False


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
    from student.models.saved import load_student, temperature_of
    from student.training.metrics import predict

    student, meta = load_student(folder)
    temperature = temperature_of(meta)
    size = student.architecture.image_size
    for path in images:
        try:
            pixels = render(open_rgb(path), "", 0, size)[None]
        except DataError as error:
            if on_error is None:
                raise
            on_error(error)
            continue
        labels, confidences = predict(student, pixels, temperature=temperature or 1.0)
        yield Prediction(
            image=path,
            class_name=meta["classes"][int(labels[0])],
            confidence=float(confidences[0]),
            is_calibrated=temperature is not None,
        )


def describe(prediction: Prediction, *, as_json: bool) -> str:
    """Formats a prediction as one line of output."""
    if as_json:
        return json.dumps(
            {
                "image": str(prediction.image),
                "class": prediction.class_name,
                "confidence": round(prediction.confidence, 4),
                "calibrated": prediction.is_calibrated,
            }
        )
    return f"{prediction.image}\t{prediction.class_name}\t{prediction.confidence:.1%}"
