"""A teacher guesses if its answers to the first images cannot be told from chance."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from numpy.typing import NDArray

from student.selection.first_answers import FEWEST, FirstAnswers


def _repeated(*numbers: int, times: int) -> NDArray[np.int64]:
    return np.array(list(numbers) * times, dtype=np.int64)


def test_chance_is_the_mean_accuracy_of_the_same_answers_in_every_order() -> None:
    answers = np.array([0, 0, 1, 2, 2, 2])
    labels = np.array([0, 1, 1, 1, 2, 3])
    of_all = [np.mean(np.array(order) == labels) for order in permutations(answers)]
    assert FirstAnswers.of(answers, labels).by_chance == pytest.approx(np.mean(of_all))


def test_one_answer_to_every_image_is_a_guess_however_often_it_is_right() -> None:
    labels = _repeated(0, 0, 0, 0, 0, 0, 0, 0, 0, 1, times=10)
    found = FirstAnswers.of(np.zeros_like(labels), labels)
    assert (found.correct, found.images) == (90, 100)
    assert found.by_chance == pytest.approx(0.9)
    assert found.p_value == 1
    assert found.are_guesses


def test_the_p_value_is_the_share_of_orders_with_as_many_right_answers() -> None:
    answers = np.array([0, 0, 1, 2, 2, 2])
    labels = np.array([0, 1, 1, 1, 2, 3])
    correct = (answers == labels).sum()
    exact = np.mean([(np.array(o) == labels).sum() >= correct for o in permutations(answers)])
    assert FirstAnswers.of(answers, labels).p_value == pytest.approx(exact, abs=0.01)


@pytest.mark.parametrize(
    ("rare", "right_of_rare", "right_of_others", "guessed"),
    [(6, 4, 52, False), (3, 2, 60, False), (6, 1, 52, True), (6, 0, 58, True)],
)
def test_a_teacher_that_tells_a_rare_class_from_a_common_one_does_not_guess(
    rare: int, right_of_rare: int, right_of_others: int, guessed: bool
) -> None:
    labels = np.array([1] * rare + [0] * (64 - rare))
    answers = np.zeros_like(labels)
    answers[:right_of_rare] = 1
    answers[rare + right_of_others :] = 1
    found = FirstAnswers.of(answers, labels)
    assert found.correct == right_of_rare + right_of_others
    assert found.are_guesses == guessed


@pytest.mark.parametrize(("p_value", "guessed"), [(0.5, True), (0.03, True), (0.02, False)])
def test_answers_are_guesses_if_as_many_are_right_in_one_order_of_forty(
    p_value: float, guessed: bool
) -> None:
    found = FirstAnswers(correct=11, images=64, by_chance=0.1, p_value=p_value)
    assert found.are_guesses == guessed


def test_a_perfect_teacher_of_two_classes_is_trusted_from_the_fewest_images_on() -> None:
    labels = _repeated(0, 1, times=FEWEST // 2)
    assert not FirstAnswers.of(labels, labels).are_guesses


def test_of_few_images_nothing_is_concluded() -> None:
    wrong = FirstAnswers(correct=0, images=FEWEST - 1, by_chance=0.5, p_value=1)
    assert not wrong.are_guesses
    assert replace(wrong, images=FEWEST).are_guesses


def test_the_sentence_has_the_interval() -> None:
    found = FirstAnswers(correct=6, images=64, by_chance=0.1, p_value=0.6)
    assert (
        "6 of the first 64 images correctly (zero-shot, 95% interval 4% to 19%)" in found.sentence
    )
