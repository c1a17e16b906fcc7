"""The results of a run; accuracies are stored as counts, from which intervals follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from student.evaluation.calibration import Calibration
from student.evaluation.embedding_map import EmbeddingMap
from student.evaluation.estimates import AccuracyCount as AccuracyCount
from student.evaluation.retrieval import RetrievalResult
from student.evaluation.unknown_classes import UnknownClasses
from student.selection.selection import Selection
from student.training.train import Trained


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MethodResult:
    """A trained method with its scores and its predicted classes (N,) on each part, and how well
    its confidence agrees with its accuracy.

    Without labels there is `retrieval` on each part instead. `unknown` has the parts with images of
    classes that were held out.
    """

    method: str
    trained: Trained
    scores: dict[str, AccuracyCount]
    answers: dict[str, NDArray[np.int64]]
    calibration: Calibration
    retrieval: Mapping[str, RetrievalResult] = field(default_factory=dict)
    unknown: Mapping[str, UnknownClasses] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """The cost of a run, or of one of its students, from the receipts in the cache.

    `units` (queries) and `cost_micro_usd` are the cost of the embeddings it was trained from,
    whichever run bought them; `receipts_digest` covers their receipts. The other fields describe
    the whole run: `bought_now` is the number of queries that this run bought, and
    `vendor_milliseconds` the time for one embedding in bulk by the vendor's clock, or None if the
    receipts do not show it; a request for `vendor_request_items` took `vendor_request_milliseconds`
    by the client's clock, or None where no run kept it. `measuring_units` (queries) paid for what
    measures a student without labels and is not trained on.
    """

    run: str
    model: str
    fingerprint: str
    units: int
    cost_micro_usd: int
    bought_now: int
    already_paid: int
    left_out: int
    micro_usd_per_image: int
    receipts_digest: str
    vendor_milliseconds: float | None
    measuring_units: int = 0
    vendor_request_milliseconds: int | None = None
    vendor_request_items: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Experiment:
    """The results of all methods on one choice of held-out domains, trained on the same images.

    Of the embeddings that were bought, `num_wrong` were not learnt from, because the teacher is
    wrong about most images of their domain. `selection` says how `--method auto` chose the first of
    the methods; `teacher` is the zero-shot accuracy of the teacher itself on the images that were
    bought; `shown` says whether the images were taken for icons, where the method asks. `map` has
    the student's embeddings beside the teacher's, where it has any.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    num_train: int
    num_bought: int
    results: tuple[MethodResult, ...]
    selection: Selection | None = None
    teacher: AccuracyCount | None = None
    shown: str = ""
    map: EmbeddingMap | None = None
    num_wrong: int = 0

    @property
    def student(self) -> MethodResult:
        """The result of the chosen method; the other methods are for comparison."""
        return self.results[0]

    @property
    def is_labelled(self) -> bool:
        """Whether the images have classes, so that there are accuracies."""
        return not self.student.retrieval
