"""The training data of a teacher: the concepts of a data set with their images by style."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from student.data.folder.image_folder import discover
from student.errors import BadInput
from tools.train_teacher.recipe import SIZE

HIDDEN_GROUP = "known to nobody"
"""The group of `unseen.csv` that no teacher is trained on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Concept:
    """One thing with a name and a class label, and its image (SIZE, SIZE, 3) in each style."""

    name: str
    label: int
    pictures: dict[str, NDArray[np.uint8]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingData:
    """The concepts, classes and styles that a teacher is trained on."""

    concepts: tuple[Concept, ...]
    classes: tuple[str, ...]
    styles: tuple[str, ...]


def read(data: Path, names: Mapping[str, str], *, left_out: Collection[str] = ()) -> TrainingData:
    """Read the data set without the left-out styles and the images of HIDDEN_GROUP.

    The names of left-out styles do not occur in captions either. `names` maps a file stem to its
    name; other files are named by their stem. Raises BadInput if a left-out style does not exist.
    """
    catalogue = discover(data)
    if unknown := sorted(set(left_out) - set(catalogue.domains)):
        message = f"no style {', '.join(unknown)}; the data has {', '.join(catalogue.domains)}"
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
    return TrainingData(
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
