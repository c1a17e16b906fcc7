"""Retrieval and agreement, on embeddings whose order is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from student.evaluation.retrieval import Gallery, compare, joined

IMAGES = np.eye(12, dtype=np.float32)


def gallery(captions: NDArray[np.float32], rows: list[int]) -> Gallery:
    return Gallery(images=IMAGES, captions=captions, rows=np.array(rows))


def test_a_student_that_equals_its_teacher_retrieves_the_same_images() -> None:
    found = compare(gallery(IMAGES[[0, 1, 1]], [0, 1, 2]), IMAGES)

    assert found.cosine.value == pytest.approx(1.0)
    assert found.neighbours.value == 1.0
    assert found.retrieval is not None
    assert found.retrieval.same_first.value == 1.0
    # The third caption describes image 1 better than its own.
    assert found.retrieval.student[1].value == pytest.approx(2 / 3)
    assert found.retrieval.student[1] == found.retrieval.teacher[1]


def test_a_student_that_confuses_two_images_loses_the_captions_of_both() -> None:
    swapped = IMAGES.copy()
    swapped[[0, 1]] = swapped[[1, 0]]
    found = compare(gallery(IMAGES[:4], [0, 1, 2, 3]), swapped)

    assert found.retrieval is not None
    assert found.retrieval.teacher[1].value == 1.0
    assert found.retrieval.student[1].value == 0.5
    assert found.retrieval.same_first.value == 0.5
    assert found.cosine.value == pytest.approx(10 / 12)


def test_an_image_that_ties_with_others_is_ranked_behind_them() -> None:
    found = compare(gallery(IMAGES[:1], [0]), np.ones_like(IMAGES))

    assert found.retrieval is not None
    ranks = found.retrieval.student
    assert [ranks[1].value, ranks[5].value, ranks[10].value] == [0.0, 0.0, 0.0]


def test_captions_of_one_image_do_not_narrow_the_interval() -> None:
    one_each = compare(gallery(IMAGES[[0, 2, 1, 3]], [0, 1, 2, 3]), IMAGES).retrieval
    five_each = compare(
        gallery(np.repeat(IMAGES[[0, 2, 1, 3]], 5, axis=0), [r for r in range(4) for _ in "12345"]),
        IMAGES,
    ).retrieval
    assert one_each is not None
    assert five_each is not None
    assert one_each.student[1] == five_each.student[1]
    assert one_each.student[1].low < one_each.student[1].value < one_each.student[1].high


def test_a_joined_gallery_keeps_the_image_of_each_caption() -> None:
    parts = [
        Gallery(images=IMAGES[:6], captions=IMAGES[[2]], rows=np.array([2])),
        Gallery(images=IMAGES[6:], captions=IMAGES[[7]], rows=np.array([1])),
    ]
    found = compare(joined(parts), IMAGES)
    assert found.images == 12
    assert found.retrieval is not None
    assert found.retrieval.student[1].value == 1.0


def test_without_captions_there_is_agreement_and_no_retrieval() -> None:
    found = compare(Gallery(images=IMAGES, captions=IMAGES[:0]), IMAGES)
    assert found.retrieval is None
    assert "student" not in found.as_dict()
    assert found.constant == pytest.approx(12**-0.5)


def test_neighbours_are_compared_with_those_that_chance_would_share() -> None:
    source = np.random.default_rng(0)
    teacher, student = (source.normal(size=(400, 64)).astype(np.float32) for _ in range(2))
    found = compare(Gallery(images=teacher, captions=teacher[:0]), student)
    assert found.by_chance == pytest.approx(10 / 399)
    assert found.neighbours.value == pytest.approx(found.by_chance, abs=0.01)
