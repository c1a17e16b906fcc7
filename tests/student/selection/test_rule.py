"""The rule of `--method auto`, as a function of the answers alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from student.selection.rule import LEVEL, p_value


def pair(*, both: int, only_first: int, only_second: int) -> tuple[NDArray[np.bool_], ...]:
    """The answers of two methods that agree on some images, and each alone is right on others."""
    first = np.array([True] * (both + only_first) + [False] * only_second, dtype=np.bool_)
    second = np.array([True] * both + [False] * only_first + [True] * only_second, dtype=np.bool_)
    return first, second


@pytest.mark.parametrize(
    ("only_first", "only_second", "expected"),
    # The tail of a binomial distribution of 8, 5 and 3 fair coins.
    [(1, 7, 9 / 256), (0, 5, 1 / 32), (3, 0, 1.0)],
)
def test_p_is_the_tail_of_the_binomial_distribution_over_the_images_that_differ(
    only_first: int, only_second: int, expected: float
) -> None:
    first, second = pair(both=40, only_first=only_first, only_second=only_second)
    assert p_value(first, second) == pytest.approx(expected)


@settings(deadline=None)
@given(st.integers(0, 500), st.integers(0, 30), st.integers(0, 30))
def test_images_on_which_both_agree_do_not_count(both: int, one: int, other: int) -> None:
    alone = pair(both=0, only_first=one, only_second=other)
    with_others = pair(both=both, only_first=one, only_second=other)
    assert p_value(*with_others) == pytest.approx(p_value(*alone))


@settings(deadline=None)
@given(st.integers(0, 30), st.integers(0, 30))
def test_a_method_that_is_not_ahead_is_never_chosen(one: int, other: int) -> None:
    if other <= one:
        assert p_value(*pair(both=3, only_first=one, only_second=other)) >= 0.5 > LEVEL


def test_equal_answers_tell_nothing() -> None:
    answers = np.array([True, False, True])
    assert p_value(answers, answers) == 1.0
