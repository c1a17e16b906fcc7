"""The rule of `--method auto`, as a function of the answers alone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from student.selection.rule import Correct, choose, measure, standard_error

NAMES = ("plain", "middle", "elaborate")


def answers(share: float, images: int = 200) -> np.ndarray:
    return np.arange(images) < share * images


@st.composite
def results(draw: st.DrawFn) -> dict[str, Correct]:
    sizes = draw(st.lists(st.integers(1, 12), min_size=1, max_size=4))
    return {
        name: {f"d{n}": draw(arrays(np.bool_, size)) for n, size in enumerate(sizes)}
        for name in NAMES
    }


@settings(deadline=None)
@given(results())
def test_the_choice_is_within_the_standard_error_of_the_best_and_none_before_it_is(
    found: Mapping[str, Correct],
) -> None:
    measured = measure(found)
    chosen = choose(measured)
    assert chosen.behind <= chosen.error
    before = measured[: measured.index(chosen)]
    assert all(one.behind > one.error for one in before)
    assert max(one.mean for one in measured) == pytest.approx(chosen.mean + chosen.behind)


@settings(deadline=None)
@given(results())
def test_equal_answers_choose_the_plainest(found: Mapping[str, Correct]) -> None:
    same = dict.fromkeys(NAMES, found["plain"])
    assert choose(measure(same)).name == "plain"


@settings(deadline=None)
@given(results())
def test_the_standard_error_does_not_depend_on_the_order_of_a_pair(
    found: Mapping[str, Correct],
) -> None:
    first, second = found["plain"], found["middle"]
    assert standard_error(first, second) == pytest.approx(standard_error(second, first))
    assert standard_error(first, first) == 0.0


def test_a_method_that_is_ahead_on_every_domain_alike_is_chosen_over_a_plainer_one() -> None:
    found = {
        "plain": {"a": answers(0.5), "b": answers(0.4)},
        "elaborate": {"a": answers(0.7), "b": answers(0.61)},
    }
    assert choose(measure(found)).name == "elaborate"


def test_a_method_that_is_ahead_on_one_domain_and_behind_on_another_is_not_chosen() -> None:
    found = {
        "plain": {"a": answers(0.5), "b": answers(0.5)},
        "elaborate": {"a": answers(0.8), "b": answers(0.4)},
    }
    assert choose(measure(found)).name == "plain"


def test_every_domain_counts_alike_whatever_its_number_of_images() -> None:
    (only,) = measure({"plain": {"large": answers(1.0, 1000), "small": answers(0.0, 10)}})
    assert only.mean == 0.5
