"""The criterion by which each selector chooses."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from student.acquisition.candidates import Candidates
from student.acquisition.herding import herd
from student.acquisition.kcenter import k_center_order
from student.acquisition.kmeans import k_means
from student.acquisition.margin import hybrid_rounds, margins
from student.acquisition.strategies import order
from tests.support.feature_clusters import CLASSES, DOMAINS, EACH, answers_for, blobs

STRATA = CLASSES * DOMAINS


def test_herding_minimises_the_distance_between_the_chosen_mean_and_the_overall_mean() -> None:
    """Against the definition, image by image."""
    points = np.random.default_rng(0).normal(size=(15, 4)).astype(np.float32)
    chosen: list[int] = []
    for row in herd(points):
        left = [other for other in range(15) if other not in chosen]
        gaps = {
            other: np.linalg.norm(points[[*chosen, other]].mean(axis=0) - points.mean(axis=0))
            for other in left
        }
        assert gaps[row] == pytest.approx(min(gaps.values()), abs=1e-5)
        chosen.append(row)


def test_herding_continues_from_earlier_choices() -> None:
    points = np.random.default_rng(0).normal(size=(15, 4)).astype(np.float32)
    whole = herd(points)
    assert herd(points, chosen=whole[:6]) == whole[6:]


def test_herding_is_balanced_over_class_and_domain() -> None:
    candidates = blobs()
    strata = candidates.strata
    first = order("herding", candidates, seed=0)[: 2 * STRATA]
    assert set(Counter(strata[row] for row in first).values()) == {2}


def test_herding_keeps_the_mean_better_than_random() -> None:
    candidates = blobs(spread=0.8, each=40)
    directions = candidates.directions()

    def gap(rows: list[int]) -> float:
        return float(np.linalg.norm(directions[rows].mean(axis=0) - directions.mean(axis=0)))

    at_random = [gap(order("random", candidates, seed=seed)[:24]) for seed in range(9)]
    assert gap(order("herding", candidates, seed=0)[:24]) < min(at_random)


def test_k_means_finds_well_separated_blobs() -> None:
    points = blobs(spread=0.02).directions()
    clusters = k_means(points, STRATA, seed=(0,))
    for start in range(0, len(points), EACH):
        assert len(set(clusters[start : start + EACH])) == 1
    assert len(set(clusters)) == STRATA


def test_k_means_lets_more_clusters_than_points_stay_empty() -> None:
    points = np.repeat(np.eye(2, dtype=np.float32), 3, axis=0)
    clusters = k_means(points, 5, seed=(0,))
    assert len(set(clusters[:3])) == len(set(clusters[3:])) == 1
    assert clusters[0] != clusters[3]


def test_k_center_always_takes_the_image_farthest_from_all_chosen() -> None:
    candidates = blobs(spread=0.5)
    points = candidates.directions()
    found = k_center_order(candidates, seed=0, length=20)
    for count in range(1, 20):
        gaps = np.linalg.norm(points[:, None] - points[found[:count]][None], axis=2).min(axis=1)
        assert gaps[found[count]] == pytest.approx(gaps.max(), abs=1e-5)


@pytest.mark.parametrize("name", ["centroid", "typiclust", "k-center"])
def test_a_covering_selector_chooses_from_every_blob_before_most_are_chosen_twice(
    name: str,
) -> None:
    """Twice as many clusters as classes, one image each: every class in every domain."""
    candidates = blobs(spread=0.02)
    first = order(name, candidates, seed=0)[: 2 * CLASSES]
    assert {row // EACH for row in first} == set(range(STRATA))


def _blob_with_outlier() -> Candidates:
    """One blob, in which the last image is an outlier."""
    source = np.random.default_rng(0)
    features = np.ones((30, 8)) + 0.05 * source.normal(size=(30, 8))
    features[-1] = -np.ones(8)
    return Candidates(
        features=features.astype(np.float32),
        labels=np.zeros(30, dtype=np.int64),
        domains=np.zeros(30, dtype=np.int64),
    )


def test_k_center_chooses_an_outlier_early_and_typiclust_chooses_it_late() -> None:
    candidates = _blob_with_outlier()
    assert order("k-center", candidates, seed=0).index(29) == 1
    assert order("typiclust", candidates, seed=0).index(29) >= 8


def test_typiclust_begins_where_the_cluster_is_densest() -> None:
    candidates = _blob_with_outlier()
    directions = candidates.directions()
    gaps = np.sort(np.linalg.norm(directions[:, None] - directions[None], axis=2), axis=1)
    assert order("typiclust", candidates, seed=0)[0] == int(gaps[:, 1:16].mean(axis=1).argmin())


def test_centroid_begins_at_the_middle_of_the_cluster() -> None:
    candidates = _blob_with_outlier()
    directions = candidates.directions()
    middle = directions.mean(axis=0)
    gaps = np.linalg.norm(directions - middle, axis=1)
    assert order("centroid", candidates, seed=0)[0] == int(gaps.argmin())


def test_margins_are_smallest_where_the_teacher_is_undecided() -> None:
    """Predicted from a third of the answers and compared with the margins of all of them."""
    candidates = blobs(spread=0.6, each=30)
    whole = answers_for(candidates)
    guessed = margins(candidates, whole.of(order("random", candidates, seed=0)[:60]))
    cosines = np.sort(whole.images @ whole.texts.T, axis=1)
    true = cosines[:, -1] - cosines[:, -2]
    unsure = np.argsort(guessed)[:30]
    assert true[unsure].mean() < 0.3 * true.mean()


def test_after_its_first_round_margin_takes_the_smallest_margins() -> None:
    candidates = blobs(spread=0.6)
    answers = answers_for(candidates)
    found = order("margin", candidates, seed=0, answers=answers)
    judged = margins(candidates, answers.of(found[:12]))
    left = sorted(set(range(len(candidates))) - set(found[:12]), key=lambda row: judged[row])
    assert found[12:24] == left[:12]


def test_rounds_double_what_was_chosen_before() -> None:
    candidates = blobs(each=20)
    answers = answers_for(candidates)
    rounds = hybrid_rounds(candidates, seed=0)
    sizes = [len(next(rounds))]
    while sum(sizes) < len(candidates):
        sizes.append(len(rounds.send(answers)))
    assert sizes == [3, 3, 6, 12, 24, 48, 24]


def test_half_of_each_round_of_the_hybrid_is_herded() -> None:
    candidates = blobs(spread=0.6)
    answers = answers_for(candidates)
    herded = order("herding", candidates, seed=0)
    found = order("hybrid", candidates, seed=0, answers=answers)
    assert found[:3] == herded[:3]
    for size in (6, 12, 24):
        fresh = [row for row in herded if row not in found[:size]]
        assert found[size : size + size // 2] == fresh[: size // 2]


def test_answers_to_images_that_were_not_chosen_are_ignored() -> None:
    answers = answers_for(blobs())
    held = replace(answers, known=np.arange(len(answers.known)) != 4)
    assert np.flatnonzero(held.of([2, 4, 7]).known).tolist() == [2, 7]
