"""Of domains that the teacher does not know, a student learns from the right answers alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from student.options import TrainingOptions
from student.training.dataset import LabelledImages, TrainingData
from student.training.run_digest import run_digest
from student.training.wrong_answers import count_wrong_answers, without_wrong_answers
from tests.support.shaded_images import CLASSES, make_data
from tests.support.training_tasks import task_of

IMAGES = 60


def _wrong_on(rows: NDArray[np.int64] | slice, *, views: int = 1) -> TrainingData:
    """Images whose embeddings are near the class text, but those of these rows near the next."""
    data = make_data(images=IMAGES, views=views)
    embeddings = data.image_embeddings.copy()
    embeddings[rows] = np.roll(embeddings, -1, axis=0)[rows]  # classes follow one another
    return replace(data, image_embeddings=embeddings)


MOST, SOME = slice(0, 45), slice(0, 25)


def test_the_right_answers_alone_are_left_of_a_teacher_that_is_wrong_on_most_images() -> None:
    data = without_wrong_answers(_wrong_on(MOST))
    assert not data.bought[MOST].any()
    assert data.bought[45:].all()
    assert count_wrong_answers(_wrong_on(MOST)) == 45


def test_a_teacher_that_may_be_right_on_half_of_the_images_is_followed_in_everything() -> None:
    data = _wrong_on(SOME)  # 35 of 60 are right
    assert without_wrong_answers(data) is data
    perhaps = _wrong_on(slice(0, 36))  # 24 of 60: 40%, and the interval reaches 53%
    assert without_wrong_answers(perhaps) is perhaps
    assert count_wrong_answers(perhaps) == 0


def test_a_domain_that_the_teacher_does_not_know_is_told_from_one_that_it_knows() -> None:
    of_unknown, of_known = np.arange(1, IMAGES, 2), np.arange(0, IMAGES, 2)
    data = _wrong_on(np.array([*of_unknown[:25], *of_known[:5]]))
    assert set(data.domains[of_unknown]) == {1}
    found = without_wrong_answers(data)
    assert found.bought[of_known].all()  # its five wrong answers as well
    assert not found.bought[of_unknown[:25]].any()
    assert found.bought[of_unknown[25:]].all()
    assert count_wrong_answers(data) == 25


def test_each_view_is_judged_by_its_own_embedding() -> None:
    data = _wrong_on(MOST, views=2)
    embeddings = data.image_embeddings.copy()
    embeddings[0, 1] = data.text_embeddings[data.labels[0]]
    found = without_wrong_answers(replace(data, image_embeddings=embeddings))
    assert found.bought[0].tolist() == [False, True]
    assert not found.bought[1].any()


def test_what_was_not_bought_or_has_no_label_is_left_as_it_is() -> None:
    data = _wrong_on(MOST)
    labels, bought = data.labels.copy(), data.bought.copy()
    labels[:5], bought[50:] = -1, False
    found = without_wrong_answers(replace(data, labels=labels, bought=bought))
    assert found.bought[:5].all()
    assert not found.bought[5:45].any()
    assert not found.bought[50:].any()


@pytest.mark.parametrize("without", ["bought", "texts"])
def test_without_answers_there_is_nothing_to_judge(without: str) -> None:
    data = _wrong_on(MOST)
    changed = (
        replace(data, bought=np.zeros_like(data.bought))
        if without == "bought"
        else replace(data, text_embeddings=data.text_embeddings[:0])
    )
    assert without_wrong_answers(changed) is changed


def test_the_joint_method_puts_class_texts_in_the_place_of_wrong_answers(
    validation: LabelledImages, settings: TrainingOptions
) -> None:
    data = _wrong_on(MOST)
    joint = task_of("vl2v-adip-joint", data, validation, settings).ready().data
    assert joint.bought.all()
    texts = data.text_embeddings[data.labels[MOST]]
    np.testing.assert_allclose(joint.image_embeddings[MOST, 0], texts)
    for method in ("vl2v-adip", "vl2v-adip-1q", "vl2v-adip-erm"):
        other = task_of(method, data, validation, settings).ready().data
        np.testing.assert_array_equal(other.image_embeddings, data.image_embeddings)


def test_the_student_of_a_teacher_that_knows_the_images_is_the_same_as_without_the_rule(
    validation: LabelledImages, settings: TrainingOptions
) -> None:
    task = task_of("vl2v-adip-joint", _wrong_on(SOME), validation, settings)
    without = replace(task, method=replace(task.method, heeds_doubts=False))
    assert run_digest(task.ready()) == run_digest(without.ready())
    doubtful = replace(task, data=_wrong_on(MOST))
    of_doubtful = replace(without, data=_wrong_on(MOST))
    assert run_digest(doubtful.ready()) != run_digest(of_doubtful.ready())


def test_there_are_three_classes_that_follow_one_another() -> None:
    assert make_data(images=IMAGES).labels[: CLASSES + 1].tolist() == [0, 1, 2, 0]
