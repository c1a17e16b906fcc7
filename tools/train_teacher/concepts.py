"""What a teacher may learn: each concept of a data set, in every style that it is shown in."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from student.data.image_folder import discover
from student.errors import BadInput
from tools.train_teacher.recipe import SIZE

HIDDEN_GROUP = "known to nobody"
"""The group of `unseen.csv` that no teacher is ever shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Concept:
    """One thing the teacher may learn: its picture in every style that has it."""

    name: str
    label: int
    pictures: dict[str, NDArray[np.uint8]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lessons:
    """The concepts that may be learnt, the classes they fall in, and the styles in use."""

    concepts: tuple[Concept, ...]
    classes: tuple[str, ...]
    styles: tuple[str, ...]


def read(data: Path, names: Mapping[str, str], *, left_out: Collection[str] = ()) -> Lessons:
    """Everything but what nobody knows and the left-out styles, whose names are not heard either.

    A file whose stem has no name in `names` is called by its stem. Raises BadInput for a
    style that the data does not have.
    """
    catalogue = discover(data)
    if unknown := sorted(set(left_out) - set(catalogue.domains)):
        message = f"no style {', '.join(unknown)}; there are {', '.join(catalogue.domains)}"
        raise BadInput(message)
    pictures: dict[str, dict[str, NDArray[np.uint8]]] = {}
    label_of: dict[str, int] = {}
    for item in catalogue.items:
        stem = item.path.stem
        if item.unseen_group == HIDDEN_GROUP or item.domain in left_out:
            continue
        image = Image.open(item.path).convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        pictures.setdefault(stem, {})[item.domain] = np.asarray(image)
        label_of[stem] = catalogue.classes.index(item.class_name)
    return Lessons(
        concepts=tuple(
            Concept(
                name=names.get(stem, stem.replace("-", " ")),
                label=label_of[stem],
                pictures=by_style,
            )
            for stem, by_style in sorted(pictures.items())
        ),
        classes=catalogue.classes,
        styles=tuple(style for style in catalogue.domains if style not in left_out),
    )
