"""Tells early in a purchase whether the teacher knows the images that are bought."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cache.storage.reader import CacheReader
from student.console import Terminal
from student.embeddings.zero_shot import nearest
from student.purchase.plan import Plan
from student.purchase.progress import Progress
from student.purchase.requirements import EmbeddingRequirements
from student.selection.first_answers import HANDFUL, FirstAnswers
from student.training.wrong_answers import DOUBTFUL


def handful(rows: Sequence[int]) -> Sequence[int]:
    """The images that the teacher is judged by: the first that are bought."""
    return rows[:HANDFUL]


def has_handful(rows: Sequence[int]) -> bool:
    """Whether there are enough images to judge the teacher by."""
    return len(rows) >= HANDFUL


def first_answers(
    requirements: EmbeddingRequirements, rows: Sequence[int], cache: CacheReader
) -> FirstAnswers | None:
    """The teacher's zero-shot answers to those of these training images that are in the cache.

    Images without a label are left out. None without labels or the class texts, or where no image
    is there.
    """
    if not requirements.has_labels or not requirements.has_texts(cache):
        return None
    answers = requirements.answers(rows, cache)
    at, labels = np.asarray(rows, dtype=np.int64), requirements.labels(rows)
    known = answers.known[at] & (labels >= 0)
    if not known.any():
        return None
    images = answers.images[at[known]]
    return FirstAnswers.of(nearest(images, answers.texts), labels[known])


class TeacherTrial:
    """Follows a purchase, and says once what share of its first images the teacher classifies
    correctly (zero-shot, with the 95% interval).

    `rows` are the training images in the order in which they are bought. Says nothing of a purchase
    of `HANDFUL` images or fewer, or of images without labels.
    """

    def __init__(
        self,
        plan: Plan,
        requirements: EmbeddingRequirements,
        rows: Sequence[int],
        *,
        cache: CacheReader,
        terminal: Terminal,
    ) -> None:
        images = sum(request.key.modality == "image" for request in plan.to_buy)
        self._is_over = images <= HANDFUL or not requirements.has_labels
        self._first = len(plan.to_buy) - images + HANDFUL  # the texts are bought before them
        self._requirements = requirements
        self._rows = handful(rows)
        self._cache = cache
        self._terminal = terminal

    def __call__(self, progress: Progress) -> None:
        """Look at the purchase again."""
        stored = progress.bought + progress.recovered
        if self._is_over or stored < self._first:
            return
        found = first_answers(self._requirements, self._rows, self._cache)
        # A few of them may have been refused: then what else was bought shows that they are over.
        if found is None or (found.images < len(self._rows) and stored < self._first + HANDFUL):
            return
        self._is_over = True
        say_first_answers(found, self._terminal)


def say_first_answers(found: FirstAnswers, terminal: Terminal) -> None:
    """Says what was found before the rest is bought; warns where the teacher may not know them."""
    if found.interval.high >= DOUBTFUL:
        terminal.say(found.sentence)
    else:
        terminal.warn(
            f"{found.sentence}: it may not know these images. Ctrl-C stops the purchase, and what "
            "is bought stays; --method erm buys nothing"
        )
