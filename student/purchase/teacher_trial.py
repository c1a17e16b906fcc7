"""Tells early in a purchase whether the teacher knows the images that are bought."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cache.storage.reader import CacheReader
from student.console import Terminal
from student.embeddings.zero_shot import DOUBTFUL, correct
from student.purchase.plan import Plan
from student.purchase.progress import Progress
from student.purchase.requirements import EmbeddingRequirements
from student.training.metrics import wilson_interval

HANDFUL: Final = 64
"""Images that are judged by: as many as one request takes by default."""


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
        self._rows = rows[:HANDFUL]
        self._cache = cache
        self._terminal = terminal

    def __call__(self, progress: Progress) -> None:
        """Look at the purchase again."""
        stored = progress.bought + progress.recovered
        if self._is_over or stored < self._first or not self._requirements.has_texts(self._cache):
            return
        answers = self._requirements.answers(self._rows, self._cache)
        known = [row for row in self._rows if answers.known[row]]
        # A few of them may have been refused: then what else was bought shows that they are over.
        if not known or (len(known) < len(self._rows) and stored < self._first + HANDFUL):
            return
        self._is_over = True
        labels = self._requirements.labels(known)
        right = correct(answers.images[known], answers.texts, labels)
        interval = wilson_interval(right, len(known))
        said = (
            f"the teacher classifies {right} of the first {len(known)} images correctly "
            f"(zero-shot, 95% interval {interval.low:.0%} to {interval.high:.0%})"
        )
        if interval.high >= DOUBTFUL:
            self._terminal.say(said)
            return
        self._terminal.warn(
            f"{said}: it may not know these images. Ctrl-C stops the purchase, and what is bought "
            "stays; --method erm buys nothing"
        )
