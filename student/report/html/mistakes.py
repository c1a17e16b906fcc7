"""The images that most methods got wrong, small enough to stand in a page."""

from __future__ import annotations

import base64
import io
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from student.data.folder.names import shown_path
from student.data.image_set import ImageSet
from student.data.views import open_rgb
from student.evaluation.results import Experiment

MOST = 24
_SIDE = 96  # pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """A held-out image that the student got wrong: its file, a data-URI of it, its domain, its
    class, and the class that each method gave it."""

    name: str
    picture: str
    domain: str
    truth: str
    answers: Mapping[str, str]


def mistakes(experiment: Experiment, scanned: ImageSet, *, seed: int) -> list[Mistake]:
    """At most MOST images that the student got wrong, those first that most methods got wrong;
    a seeded draw among equals."""
    split = next(one for one in scanned.splits if one.targets == experiment.targets)
    classes = scanned.catalogue.classes
    wrong: list[tuple[int, float, str, int]] = []
    draw = random.Random(f"mistakes {seed}")
    for part, items in split.tests.items():
        for row, item in enumerate(items):
            answers = [classes[int(one.answers[part][row])] for one in experiment.results]
            if answers[0] != item.class_name:
                count = sum(answer != item.class_name for answer in answers)
                wrong.append((-count, draw.random(), part, row))
    return [
        _mistake(part, row, experiment, scanned, classes)
        for _, _, part, row in sorted(wrong)[:MOST]
    ]


def _mistake(
    part: str, row: int, experiment: Experiment, scanned: ImageSet, classes: Sequence[str]
) -> Mistake:
    split = next(one for one in scanned.splits if one.targets == experiment.targets)
    item = split.tests[part][row]
    return Mistake(
        name=shown_path(item.path, scanned.catalogue.root),
        picture=_data_uri(open_rgb(item.path, item.read_bytes())),
        domain=item.domain,
        truth=item.class_name,
        answers={one.method: classes[int(one.answers[part][row])] for one in experiment.results},
    )


def _data_uri(image: Image.Image) -> str:
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.BICUBIC)
    content = io.BytesIO()
    image.save(content, "PNG")
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode("ascii")
