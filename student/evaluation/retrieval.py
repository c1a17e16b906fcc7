"""How near a student comes to its teacher on images without labels: retrieval, and agreement.

Shapes: N images (the gallery), M captions, D dimensions of the teacher's space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from student.data.folder.image_folder import Item
from student.embeddings.keys import original_key, text_key
from student.embeddings.lookup import TeacherEmbeddings
from student.evaluation.estimates import Estimate

ALL_PARTS: Final = "all measured images"
RANKS: Final = (1, 5, 10)
NEIGHBOURS: Final = 10
_RESAMPLES: Final = 2_000

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieval:
    """The share of captions whose own image is among the first 1, 5 and 10, by rank."""

    student: Mapping[int, Estimate]
    teacher: Mapping[int, Estimate]
    same_first: Estimate  # share of captions for which both put the same image first


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalResult:
    """A student beside its teacher on one part.

    `cosine` is between the two embeddings of an image, and `constant` what it would be if the
    student gave every image the mean of the teacher's embeddings. `neighbours` is the share of an
    image's 10 nearest images by the teacher that are among its 10 nearest by the student, and
    `by_chance` what it would be for random neighbours. `retrieval` is None without captions.
    """

    images: int
    captions: int
    cosine: Estimate
    constant: float
    neighbours: Estimate
    by_chance: float
    retrieval: Retrieval | None

    def as_dict(self) -> dict[str, Any]:
        """Return the figures, ready for JSON."""
        found: dict[str, Any] = {
            "images": self.images,
            "captions": self.captions,
            "cosine": self.cosine.as_dict(),
            "cosine_of_a_constant": round(self.constant, 4),
            f"neighbours_shared_of_{NEIGHBOURS}": self.neighbours.as_dict(),
            "neighbours_shared_by_chance": round(self.by_chance, 4),
        }
        if self.retrieval is not None:
            for name, ranks in (
                ("student", self.retrieval.student),
                ("teacher", self.retrieval.teacher),
            ):
                found[name] = {f"recall_at_{k}": one.as_dict() for k, one in ranks.items()}
            found["same_first"] = self.retrieval.same_first.as_dict()
        return found


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Gallery:
    """The images of a part with the teacher's embeddings (N, D), and those of their captions (M, D)
    with the row of each caption's image (M,)."""

    images: NDArray[np.float32]
    captions: NDArray[np.float32]
    rows: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))


def gallery_of(items: Sequence[Item], paid: TeacherEmbeddings) -> tuple[list[int], Gallery]:
    """The items with a bought embedding, as places in `items`, and their gallery.

    Of two files with the same bytes, only the first is in it, with the captions of both.
    """
    vectors, is_here = paid.vectors([original_key(paid.fingerprint, item) for item in items])
    row_of: dict[str, int] = {}
    places: list[int] = []
    for place in np.flatnonzero(is_here).tolist():
        if row_of.setdefault(items[place].digest, len(places)) == len(places):
            places.append(place)
    pairs = {
        (caption, row_of[item.digest]): None
        for item in items
        if item.digest in row_of
        for caption in item.captions
    }
    texts, has_text = paid.vectors([text_key(paid.fingerprint, caption) for caption, _ in pairs])
    rows = np.array([row for _, row in pairs], dtype=np.int64)
    gallery = Gallery(images=vectors[places], captions=texts[has_text], rows=rows[has_text])
    return places, gallery


def joined(galleries: Sequence[Gallery]) -> Gallery:
    """One gallery of the images of several."""
    starts = np.cumsum([0, *(len(one.images) for one in galleries)])
    return Gallery(
        images=np.concatenate([one.images for one in galleries]),
        captions=np.concatenate([one.captions for one in galleries]),
        rows=np.concatenate(
            [one.rows + start for one, start in zip(galleries, starts, strict=False)]
        ),
    )


def compare(gallery: Gallery, student: NDArray[np.float32]) -> RetrievalResult:
    """Compare the student's embeddings of the gallery's images with the teacher's."""
    own, teacher = _unit(student), _unit(gallery.images)
    images = np.arange(len(own))
    shared = _neighbours_shared(own, teacher)
    return RetrievalResult(
        images=len(own),
        captions=len(gallery.rows),
        cosine=_estimate((own * teacher).sum(axis=1), images),
        constant=float((teacher @ _unit(teacher.mean(axis=0, keepdims=True)).T).mean()),
        neighbours=_estimate(shared, images),
        by_chance=min(1.0, NEIGHBOURS / max(1, len(own) - 1)),
        retrieval=_retrieval(gallery, own, teacher) if len(gallery.rows) else None,
    )


def _retrieval(gallery: Gallery, own: Floats, teacher: Floats) -> Retrieval:
    texts, rows = _unit(gallery.captions), gallery.rows
    by_student, by_teacher = texts @ own.T, texts @ teacher.T

    def recalls(scores: Floats) -> dict[int, Estimate]:
        own_score = np.take_along_axis(scores, rows[:, None], axis=1)
        rank = (scores >= own_score).sum(axis=1)  # of equal scores, the image's own is last
        return {k: _estimate((rank <= k).astype(np.float64), rows) for k in RANKS}

    same = by_student.argmax(axis=1) == by_teacher.argmax(axis=1)
    return Retrieval(
        student=recalls(by_student),
        teacher=recalls(by_teacher),
        same_first=_estimate(same.astype(np.float64), rows),
    )


def _neighbours_shared(own: Floats, teacher: Floats) -> Floats:
    count = len(own)
    k = min(NEIGHBOURS, count - 1)
    if k < 1:
        return np.ones(count)
    nearest = []
    for vectors in (own, teacher):
        cosines = vectors @ vectors.T
        np.fill_diagonal(cosines, -np.inf)
        chosen = np.zeros((count, count), dtype=bool)
        np.put_along_axis(chosen, np.argsort(-cosines, axis=1, kind="stable")[:, :k], True, axis=1)
        nearest.append(chosen)
    shared: Floats = (nearest[0] & nearest[1]).sum(axis=1) / k
    return shared


def _estimate(values: Floats, images: NDArray[np.int64]) -> Estimate:
    """The mean of the values, resampled with their images: captions of one image are not
    independent."""
    _, place = np.unique(images, return_inverse=True)
    sums, counts = np.bincount(place, weights=values), np.bincount(place)
    drawn = np.random.default_rng(0).integers(0, len(sums), (_RESAMPLES, len(sums)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return Estimate(value=float(values.mean()), low=float(low), high=float(high))


def _unit(rows: NDArray[np.floating]) -> Floats:
    wide = rows.astype(np.float64)
    unit: Floats = wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12)
    return unit
