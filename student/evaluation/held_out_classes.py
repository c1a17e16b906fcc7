"""Measures a student on images of the classes that were held out of its training.

Shapes: N images, C classes that it was trained on, H classes held out, D dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from student.data.image_set import ImageSet, rows_by_path
from student.data.split import VALIDATION, Split
from student.distributed.ranks import ALONE, Ranks
from student.embeddings.keys import held_out_keys, split_keys
from student.embeddings.lookup import TeacherEmbeddings
from student.evaluation.estimates import AccuracyCount
from student.evaluation.unknown_classes import UnknownClasses, rejection, threshold_of
from student.models.heads import EmbeddingHead, TextHead
from student.models.student import Student
from student.options import Options
from student.training.dataset import LabelledImages
from student.training.metrics import answers_of, logits_of, nearest_texts
from student.training.pixels import images_of


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeldOutClasses:
    """The images of held-out classes, by part, labelled from C on; and all class texts (C + H, D).

    `texts` is None if nothing was bought.
    """

    images: Mapping[str, LabelledImages] = field(default_factory=dict)
    texts: NDArray[np.float32] | None = None

    def measure(
        self,
        student: Student,
        known: Mapping[str, LabelledImages],
        logits: Mapping[str, Tensor],
        temperature: float,
        ranks: Ranks = ALONE,
    ) -> dict[str, UnknownClasses]:
        """Measures every part that has images of known and of held-out classes.

        `known` and their `logits` (N, C) are by part. The confidence is at this temperature.
        """
        if not self.images:
            return {}
        threshold = threshold_of(answers_of(logits[VALIDATION], temperature)[1])
        results: dict[str, UnknownClasses] = {}
        for part, unknown in self.images.items():
            if part not in known:
                continue
            answers, confidences = answers_of(logits[part], temperature)
            found = rejection(
                confidences,
                answers == known[part].labels,
                answers_of(logits_of(student, unknown.pixels, ranks), temperature)[1],
                threshold=threshold,
            )
            results[part] = replace(
                found,
                new=self._named(student, unknown, ranks),
                known_of_all=self._named(student, known[part], ranks),
            )
        return results

    def _named(
        self, student: Student, images: LabelledImages, ranks: Ranks
    ) -> AccuracyCount | None:
        """How many images are nearest to the text of their own class, of all C + H texts."""
        head = student.head
        predicts_by_texts = isinstance(head, EmbeddingHead) and not isinstance(head, TextHead)
        if self.texts is None or not predicts_by_texts:
            return None
        nearest = nearest_texts(student, images.pixels, self.texts, ranks)
        return AccuracyCount(
            correct=int((nearest == images.labels).sum()), images=len(images.labels)
        )


def held_out_classes(
    split: Split, scanned: ImageSet, paid: TeacherEmbeddings | None, options: Options
) -> HeldOutClasses:
    """The images of the split's held-out classes, and what was bought of all class prompts."""
    if not split.unknown:
        return HeldOutClasses()
    catalogue, row_of = scanned.catalogue, rows_by_path(scanned.measured)
    first = len(catalogue.classes)
    images = {
        part: LabelledImages(
            name=part,
            pixels=images_of(scanned.clean, [row_of[item.path] for item in items])[:, 0],
            labels=np.array([first + catalogue.held_out.index(item.class_name) for item in items]),
        )
        for part, items in split.unknown.items()
    }
    if paid is None:
        return HeldOutClasses(images=images)
    keys = split_keys(split, catalogue, options.data, options.purchase.prompts, paid.fingerprint)
    known, new = (paid.class_embeddings(one) for one in (keys, held_out_keys(keys, catalogue)))
    return HeldOutClasses(images=images, texts=np.concatenate([known, new]))
