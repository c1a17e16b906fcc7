"""Every selector gives a nested order of all images, determined by the seed."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from student.acquisition.candidates import Candidates
from student.acquisition.strategies import SELECTORS, order
from student.acquisition.stratified import stratified_order
from student.errors import BadInput
from student.options.purchase import SelectorName
from tests.support.feature_clusters import answers_for, blobs

NAMES = sorted(SELECTORS)


@pytest.mark.parametrize("name", NAMES)
def test_an_order_contains_every_image_once(name: str) -> None:
    candidates = blobs()
    found = order(name, candidates, seed=0, answers=answers_for(candidates))
    assert sorted(found) == list(range(len(candidates)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("length", [0, 1, 4, 5, 17, 40, 71, 500])
def test_a_bigger_budget_buys_a_superset(name: str, length: int) -> None:
    candidates = blobs()
    answers = answers_for(candidates)
    whole = order(name, candidates, seed=3, answers=answers)
    part = order(name, candidates, seed=3, answers=answers, length=length)
    assert part[:length] == whole[:length]
    assert sorted(part) == sorted(whole)


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides_the_order_and_nothing_else_does(name: str) -> None:
    candidates = blobs()
    answers = answers_for(candidates)
    first = order(name, candidates, seed=1, answers=answers)
    assert order(name, candidates, seed=1, answers=answers) == first
    assert order(name, candidates, seed=2, answers=answers) != first


@pytest.mark.parametrize("name", NAMES)
def test_images_that_look_the_same_are_all_ordered(name: str) -> None:
    candidates = blobs()
    same = replace(candidates, features=np.ones_like(candidates.features))
    found = order(name, same, seed=0, answers=answers_for(candidates))
    assert sorted(found) == list(range(len(candidates)))


@pytest.mark.parametrize("name", NAMES)
def test_one_image_is_an_order_of_its_own(name: str) -> None:
    whole = blobs()
    single = Candidates(
        features=whole.features[:1], labels=whole.labels[:1], domains=whole.domains[:1]
    )
    answers = answers_for(whole)
    alone = replace(answers, images=answers.images[:1], known=answers.known[:1])
    assert order(name, single, seed=0, answers=alone) == [0]


@settings(max_examples=12, deadline=None)
@given(name=st.sampled_from(NAMES), each=st.integers(1, 7), seed=st.integers(0, 9), data=st.data())
def test_nesting_holds_for_sets_of_any_size(
    name: str, each: int, seed: int, data: st.DataObject
) -> None:
    candidates = blobs(seed, each=each)
    length = data.draw(st.integers(0, len(candidates)))
    answers = answers_for(candidates)
    whole = order(name, candidates, seed=seed, answers=answers)
    part = order(name, candidates, seed=seed, answers=answers, length=length)
    assert part[:length] == whole[:length]
    assert sorted(part) == list(range(len(candidates)))


@pytest.mark.parametrize("name", [name for name in NAMES if SELECTORS[name].in_rounds])
def test_a_rule_in_rounds_reads_only_what_it_has_chosen_before(name: str) -> None:
    """So the order at the vendor equals the order replayed on a full purchase."""
    candidates = blobs()
    whole = answers_for(candidates)
    expected = order(name, candidates, seed=0, answers=whole)
    rule = SELECTORS[name].in_rounds
    assert rule is not None
    rounds = rule(candidates, seed=0)
    chosen = list(next(rounds))
    while len(chosen) < len(candidates):
        bought = np.full_like(whole.images, np.nan)
        bought[chosen] = whole.images[chosen]
        held = replace(whole, images=bought, known=~np.isnan(bought[:, 0]))
        chosen += rounds.send(held)
    assert chosen == expected


@pytest.mark.parametrize("name", [name for name in NAMES if SELECTORS[name].in_rounds])
def test_a_selector_in_rounds_cannot_be_replayed_without_answers(name: str) -> None:
    with pytest.raises(BadInput, match="reads what was bought"):
        order(name, blobs(), seed=0)


@pytest.mark.parametrize("name", [name for name in NAMES if SELECTORS[name].in_rounds])
def test_after_a_round_without_answers_the_next_is_chosen_freely(name: str) -> None:
    candidates = blobs()
    answers = answers_for(candidates)
    nothing = replace(answers, known=np.zeros_like(answers.known))
    found = order(name, candidates, seed=0, answers=nothing)
    assert sorted(found) == list(range(len(candidates)))


@pytest.mark.parametrize("name", [name for name in NAMES if not SELECTORS[name].reads_features])
def test_selectors_that_read_no_features_need_none(name: str) -> None:
    candidates = blobs()
    without_features = replace(
        candidates, features=np.zeros((len(candidates), 0), dtype=np.float32)
    )
    assert order(name, without_features, seed=5) == order(name, candidates, seed=5)


def test_random_is_the_stratified_order() -> None:
    candidates = blobs()
    assert order("random", candidates, seed=5) == stratified_order(candidates.strata, 5)


def test_an_unknown_selector_is_refused_with_the_list_of_names() -> None:
    with pytest.raises(BadInput, match="no selector magic; there are random, herding"):
        order("magic", blobs(), seed=0)


def test_the_option_offers_every_selector_and_no_other() -> None:
    assert get_args(SelectorName) == tuple(SELECTORS)


def test_candidates_of_different_lengths_are_refused() -> None:
    whole = blobs()
    with pytest.raises(ValueError, match="not of the same images"):
        Candidates(features=whole.features[1:], labels=whole.labels, domains=whole.domains)
