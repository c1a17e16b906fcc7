"""The selectors by name. Each gives an order of all images that does not depend on the budget.

| name       | reads                         | rule                                                |
| ---------- | ----------------------------- | --------------------------------------------------- |
| random     | class and domain              | stratified random                                   |
| herding    | class, domain, own features   | keeps the mean of each class x domain               |
| centroid   | own features                  | nearest to k-means centres, k doubling              |
| typiclust  | own features                  | most typical of k-means clusters, k doubling        |
| k-center   | own features                  | farthest from all chosen                            |
| margin     | own features, what was bought | least sure between two classes, in doubling rounds  |
| hybrid     | class, domain, features, what was bought | half herding, half margin in each round  |

The features are those of the student's backbone before training. They are free, unlike the
teacher's embeddings. A budget buys a prefix of the order, so that a larger budget buys a superset.
Each module names its paper. Random is the baseline: with distillation it is as good as elaborate
pruning at every fraction (arXiv 2403.07854).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from student.acquisition.candidates import AcquisitionRounds, Answers, Candidates
from student.acquisition.clusters import centroid_order, typiclust_order
from student.acquisition.herding import herding_order
from student.acquisition.kcenter import k_center_order
from student.acquisition.margin import hybrid_rounds, margin_rounds
from student.acquisition.stratified import stratified_order
from student.errors import BadInput


class Ranked(Protocol):
    """The first `length` rows of an order that does not depend on what is bought."""

    def __call__(self, candidates: Candidates, *, seed: int, length: int) -> list[int]: ...


class InRounds(Protocol):
    """An order that is made during the purchase."""

    def __call__(self, candidates: Candidates, *, seed: int) -> AcquisitionRounds: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """A name and its rule: either `ranked` or `in_rounds`."""

    name: str
    ranked: Ranked | None = None
    in_rounds: InRounds | None = None
    reads_features: bool = True


def _random(candidates: Candidates, *, seed: int, length: int) -> list[int]:
    return stratified_order(candidates.strata, seed)[:length]


SELECTORS: Mapping[str, Selector] = MappingProxyType(
    {
        rule.name: rule
        for rule in (
            Selector(name="random", ranked=_random, reads_features=False),
            Selector(name="herding", ranked=herding_order),
            Selector(name="centroid", ranked=centroid_order),
            Selector(name="typiclust", ranked=typiclust_order),
            Selector(name="k-center", ranked=k_center_order),
            Selector(name="margin", in_rounds=margin_rounds),
            Selector(name="hybrid", in_rounds=hybrid_rounds),
        )
    }
)


def selector(name: str) -> Selector:
    """The selector of this name. Raises BadInput, listing all names, if there is none."""
    if name not in SELECTORS:
        message = f"no selector {name}; there are {', '.join(SELECTORS)}"
        raise BadInput(message)
    return SELECTORS[name]


def order(
    name: str,
    candidates: Candidates,
    *,
    seed: int,
    answers: Answers | None = None,
    length: int | None = None,
) -> list[int]:
    """Every row once, best first; a budget for n images buys the first n.

    Only the first `length` rows (None: all) are ranked by the rule; the others follow at random. A
    rule in rounds is replayed on `answers`, which hold a full purchase; it reads only what it has
    chosen before. Raises BadInput if it gets no answers.
    """
    chosen = selector(name)
    most = len(candidates) if length is None else min(length, len(candidates))
    if chosen.ranked is not None:
        first = chosen.ranked(candidates, seed=seed, length=most)
    else:
        first = _replayed(chosen, candidates, seed=seed, answers=answers, length=most)
    taken = set(first)
    return first + [row for row in stratified_order(candidates.strata, seed) if row not in taken]


def _replayed(
    chosen: Selector, candidates: Candidates, *, seed: int, answers: Answers | None, length: int
) -> list[int]:
    if answers is None:
        message = f"the selector {chosen.name} reads what was bought, and nothing was bought"
        raise BadInput(message)
    assert chosen.in_rounds is not None  # one of the two is given
    rounds = chosen.in_rounds(candidates, seed=seed)
    first: list[int] = []
    while len(first) < length:
        first += rounds.send(answers) if first else next(rounds)
    return first[:length]
