"""The accuracy and calibration of a finished student on any labelled folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from student.data.folder.image_folder import Catalogue, Item
from student.data.folder.names import folded
from student.data.views import open_rgb
from student.errors import BadInput, DataError
from student.evaluation.results import AccuracyCount
from student.inference.trained_student import TrainedStudent
from student.training.calibration import calibration_error, confidence_bins

_ALL: Final = "all domains"
_CHUNK: Final = 256  # images whose pixels are in memory at the same time
_MISTAKES: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredPart:
    """The result on one domain: the count, the mean confidence and the expected calibration error
    (both 0 to 1; the latter None if a confidence is not a number)."""

    count: AccuracyCount
    confidence: float
    calibration_error: float | None

    def as_dict(self) -> dict[str, Any]:
        """Return the figures, ready for JSON."""
        error = self.calibration_error
        return {
            **self.count.as_dict(),
            "mean_confidence": round(self.confidence, 4),
            "calibration_error": None if error is None else round(error, 4),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredFolder:
    """The result on each domain and, if there are several, on all images.

    `mistakes` are pairs of a class and a wrong answer with their number, the most frequent first.
    `unknown` counts the images of each class that the student does not have, and `unreadable` holds
    a message for each image that cannot be read; neither is measured.
    """

    parts: dict[str, MeasuredPart]
    mistakes: tuple[tuple[tuple[str, str], int], ...]
    unknown: dict[str, int]
    unreadable: tuple[str, ...]

    @property
    def not_measured(self) -> list[str]:
        """A sentence for each reason why images are not measured."""
        lines = list(self.unreadable)
        if self.unknown:
            shown = ", ".join(f"{name} ({count:,})" for name, count in self.unknown.items())
            total = sum(self.unknown.values())
            lines.append(f"{total:,} images of classes that the student does not know: {shown}")
        return lines

    def as_dict(self) -> dict[str, Any]:
        """Return everything, ready for JSON."""
        return {
            "parts": {name: part.as_dict() for name, part in self.parts.items()},
            "mistakes": [
                {"class": truth, "predicted": answer, "images": count}
                for (truth, answer), count in self.mistakes
            ],
            "unknown_classes": self.unknown,
            "unreadable": list(self.unreadable),
        }


def measure_folder(trained: TrainedStudent, catalogue: Catalogue) -> MeasuredFolder:
    """Measure the student on the images of the folder whose class it knows.

    Names are compared as `folded` has them. Raises BadInput if no image can be measured.
    """
    place_of = {folded(name): place for place, name in enumerate(trained.classes)}
    known = [item for item in catalogue.items if folded(item.class_name) in place_of]
    unknown = Counter(i.class_name for i in catalogue.items if folded(i.class_name) not in place_of)
    read, shares, unreadable = _answers(trained, known)
    if not read:
        message = (
            f"no image of {catalogue.root} can be measured: it has the classes "
            f"{', '.join(catalogue.classes)}, and the student {', '.join(trained.classes)}"
        )
        raise BadInput(message)
    truth = np.array([place_of[folded(item.class_name)] for item in read])
    domains = np.array([item.domain for item in read])
    parts = {name: domains == name for name in dict.fromkeys(item.domain for item in read)}
    if len(parts) > 1:
        parts[_ALL] = np.ones(len(read), dtype=bool)
    answer = shares.argmax(axis=1)
    mistakes = Counter(
        (trained.classes[t], trained.classes[a])
        for t, a in zip(truth, answer, strict=True)
        if t != a
    )
    return MeasuredFolder(
        parts={name: _part(shares[here], truth[here]) for name, here in parts.items()},
        mistakes=tuple(mistakes.most_common(_MISTAKES)),
        unknown=dict(sorted(unknown.items())),
        unreadable=tuple(unreadable),
    )


def _answers(
    trained: TrainedStudent, items: Sequence[Item]
) -> tuple[list[Item], NDArray[np.float64], list[str]]:
    """The items that can be read, the confidence in each class (N, C), and what failed."""
    read: list[Item] = []
    shares = [np.zeros((0, len(trained.classes)))]
    unreadable: list[str] = []
    for start in range(0, len(items), _CHUNK):
        pixels: list[NDArray[np.uint8]] = []
        for item in items[start : start + _CHUNK]:
            try:
                pixels.append(trained.pixels([open_rgb(item.path, item.read_bytes())]))
            except (DataError, OSError) as error:
                unreadable.append(str(error))
                continue
            read.append(item)
        if pixels:
            shares.append(trained.class_shares(np.concatenate(pixels)))
    return read, np.concatenate(shares), unreadable


def _part(shares: NDArray[np.float64], truth: NDArray[np.int64]) -> MeasuredPart:
    is_right = shares.argmax(axis=1) == truth
    confidences = shares.max(axis=1)
    return MeasuredPart(
        count=AccuracyCount(correct=int(is_right.sum()), images=len(truth)),
        confidence=float(confidences.mean()),
        calibration_error=calibration_error(confidence_bins(confidences, is_right)),
    )
