"""Trains methods on the data of one split, and measures them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import numpy as np

from student.data.folder.image_folder import Item
from student.data.image_set import ImageSet, rows_by_path
from student.data.split import VALIDATION, Split
from student.distributed.ranks import ALONE, Ranks
from student.embeddings.lookup import TeacherEmbeddings
from student.errors import BadInput
from student.evaluation.calibration import NOT_CALIBRATED, calibrate
from student.evaluation.file_names import named
from student.evaluation.held_out_classes import held_out_classes
from student.evaluation.results import AccuracyCount, MethodResult
from student.evaluation.retrieval import (
    ALL_PARTS,
    Gallery,
    RetrievalResult,
    compare,
    gallery_of,
    joined,
)
from student.evaluation.split_data import labelled_images, training_data
from student.options import Options
from student.selection.short_runs import LabelledDomains
from student.training.clock import StageClock
from student.training.dataset import LabelledImages
from student.training.methods import method_of
from student.training.metrics import answers_of, embeddings_of, logits_of
from student.training.process import keep_freed_memory
from student.training.stored_names import stored_method_name
from student.training.task import TrainingTask
from student.training.train import Trained, train


class Point(NamedTuple):
    """A validation: the step, counted over all stages, the loss since the last one and the accuracy
    on source validation (without labels, the mean cosine)."""

    step: int
    loss: float
    accuracy: float


class MethodProgress(NamedTuple):
    """How far a method is trained: its steps so far and in all, a note on the last of them, and
    the seconds left to train if they are known; `point` if it was just validated."""

    method: str
    step: int
    steps: int
    note: str
    seconds_left: float | None
    point: Point | None = None


class Experimenter:
    """Trains and measures methods on one split's images; the network is not used.

    `scanned` may hold more views than the options ask for; the first are used. If `paid` is None,
    only methods without a teacher can be trained. `ranks` train and measure together.
    """

    def __init__(
        self,
        split: Split,
        scanned: ImageSet,
        paid: TeacherEmbeddings | None,
        options: Options,
        ranks: Ranks = ALONE,
    ) -> None:
        self._split = split
        self._options = options
        self._ranks = ranks
        self._sold = paid.sold if paid else None
        self._num_classes = len(scanned.catalogue.classes)
        self.data = training_data(split, scanned, paid, options)
        row_of = rows_by_path(scanned.measured)
        parts = {VALIDATION: split.validation, **split.tests}
        self._held_out = held_out_classes(split, scanned, paid, options)
        self._galleries: dict[str, Gallery] = {}
        if scanned.catalogue.is_labelled or paid is None:
            self._images = {
                name: labelled_images(name, items, scanned, row_of) for name, items in parts.items()
            }
        else:
            self._images = self._unlabelled(parts, scanned, paid, row_of)

    def _unlabelled(
        self,
        parts: Mapping[str, Sequence[Item]],
        scanned: ImageSet,
        paid: TeacherEmbeddings,
        row_of: dict[Path, int],
    ) -> dict[str, LabelledImages]:
        """The images of each part that have the teacher's embedding; their galleries are kept.

        Raises BadInput if source validation has none.
        """
        found: dict[str, LabelledImages] = {}
        for name, items in parts.items():
            places, gallery = gallery_of(items, paid)
            if places:
                labelled = labelled_images(
                    name, [items[place] for place in places], scanned, row_of
                )
                found[name] = replace(labelled, embeddings=gallery.images)
                self._galleries[name] = gallery
        if VALIDATION not in found:
            message = (
                "no image of source validation has an embedding, and weights are chosen there: "
                "what was bought is stored; see why the vendor refused them, or raise --budget"
            )
            raise BadInput(message)
        return found

    def labelled(self) -> LabelledDomains:
        """The images that may be used to choose a method: those of the source domains."""
        return LabelledDomains(
            data=self.data,
            validation=self._images[VALIDATION],
            num_classes=self._num_classes,
            sold=self._sold,
            seed=self._options.run.seed,
        )

    def train(self, method: str, report: Callable[[MethodProgress], None]) -> Trained:
        """Trains one method, or resumes it from its checkpoint; freed memory is kept from then on.

        Raises StudentError.
        """

        def follow(stage: str, step: int, steps: int, loss: float, accuracy: float | None) -> None:
            seen = "" if accuracy is None else f", validation {accuracy:.1%}"
            if self._galleries and accuracy is not None:
                seen = f", validation cosine {accuracy:.3f}"
            left = clock.seconds_left(stage, step)
            note = f"{stage}, loss {loss:.3f}{seen}"
            point = None
            if accuracy is not None:
                point = Point(before[stage] + step - 1, loss, accuracy)
            report(MethodProgress(method, step, steps, note, left, point))

        keep_freed_memory()
        before = self._steps_before(method)
        task = TrainingTask(
            method=method_of(method, self._options.training),
            data=self.data,
            validation=self._images[VALIDATION],
            options=self._options.training,
            seed=self._options.run.seed,
            num_classes=self._num_classes,
            sold=self._sold,
        )
        clock = StageClock(task.stages)
        # A checkpoint made with other data or options is ignored: training then restarts.
        name = "+".join((stored_method_name(method), *self._split.targets))
        checkpoint = named(self._options.run.out / "checkpoints", name)
        return train(task, progress=follow, checkpoint=checkpoint, ranks=self._ranks)

    def points(self, method: str, trained: Trained) -> list[Point]:
        """Every validation of a trained method, also those of a run that it resumed."""
        before = self._steps_before(method)
        return [
            Point(
                before[str(row["stage"])] + int(row["step"]),
                float(row["loss"]),
                float(row["validation_accuracy"]),
            )
            for row in trained.history
        ]

    def _steps_before(self, method: str) -> dict[str, int]:
        """The steps of all earlier stages, by stage."""
        stages = method_of(method, self._options.training).stages(self._options.training)
        ends = accumulate((stage.steps for stage in stages), initial=0)
        return {stage.name: start for stage, start in zip(stages, ends, strict=False)}

    def measure(self, method: str, trained: Trained) -> MethodResult:
        """Measures the accuracy and the calibration of a trained method on every part; without
        labels, its retrieval and its agreement with the teacher."""
        if self._galleries:
            return MethodResult(
                method=method,
                trained=trained,
                scores={},
                answers={},
                calibration=NOT_CALIBRATED,
                retrieval=self._retrieval(trained),
            )
        logits = {
            part: logits_of(trained.student, labelled.pixels, self._ranks)
            for part, labelled in self._images.items()
        }
        answers = {part: answers_of(logits_NC)[0] for part, logits_NC in logits.items()}
        scores = {
            part: AccuracyCount(
                correct=int((answers[part] == labelled.labels).sum()), images=len(labelled.labels)
            )
            for part, labelled in self._images.items()
        }
        labels = {part: labelled.labels for part, labelled in self._images.items()}
        calibration = calibrate(logits, labels)
        temperature = calibration.fit.temperature or 1.0
        return MethodResult(
            method=method,
            trained=trained,
            scores=scores,
            answers=answers,
            calibration=calibration,
            unknown=self._held_out.measure(
                trained.student, self._images, logits, temperature, self._ranks
            ),
        )

    def _retrieval(self, trained: Trained) -> dict[str, RetrievalResult]:
        embeddings = {
            part: embeddings_of(trained.student, images.pixels, self._ranks)
            for part, images in self._images.items()
        }
        results = {
            part: compare(gallery, embeddings[part]) for part, gallery in self._galleries.items()
        }
        if len(results) > 1:
            whole = np.concatenate([embeddings[part] for part in self._galleries])
            results[ALL_PARTS] = compare(joined(list(self._galleries.values())), whole)
        return results
