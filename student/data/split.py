"""A seeded, stratified split into training, validation and test images."""

import random
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from student.data.folder.image_folder import Catalogue, Item
from student.errors import BadInput

VALIDATION = "source validation"
"""The display name of the part on which weights are chosen."""
GIVEN_TEST = "test, source domains"
"""The display name of the images that the data's own split keeps for testing."""
HOLDOUT = 0.2  # DomainBed's holdout_fraction: one fifth of each source domain validates


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """One experiment's share-out; no item of the catalogue is in two parts.

    Every labelled item is in one. Without labels, those that are not trained on, beyond the most
    that are measured, are in none.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    train: tuple[Item, ...]
    validation: tuple[Item, ...]
    tests: dict[str, tuple[Item, ...]]  # display name of the part -> its items
    unknown: dict[str, tuple[Item, ...]] = field(default_factory=dict)  # of held-out classes

    def copies(self) -> dict[str, int]:
        """How many images of each part are also trained on, byte for byte; only parts with any.

        They are measured all the same: the user decides what a folder holds, and an image that two
        domains share belongs to both.
        """
        trained = {item.digest for item in self.train}
        parts = {VALIDATION: self.validation, **self.tests}
        found = {name: sum(i.digest in trained for i in items) for name, items in parts.items()}
        return {name: count for name, count in found.items() if count}


def split(
    catalogue: Catalogue,
    *,
    targets: Collection[str],
    seed: int,
    holdout: float = HOLDOUT,
    most: int | None = None,
) -> Split:
    """Hold out the target domains completely, and a stratified fifth of each source domain.

    Stratified by domain and class; a class keeps at least one item for training. Items listed in
    `unseen.csv` are in no training or validation part, whatever their domain. In the source domains
    an image keeps the split that the data give it. `most` limits the images of a source domain that
    validate, and of a part that tests; those with captions come first. Raises BadInput for a
    target that is not a domain, or if no source domain is left.
    """
    if missing := sorted(set(targets) - set(catalogue.domains)):
        message = f"no domain {', '.join(missing)}; the domains are {', '.join(catalogue.domains)}"
        raise BadInput(message)
    sources = tuple(d for d in catalogue.domains if d not in set(targets))
    if not sources:
        message = "every domain is held out: name fewer --target-domain"
        raise BadInput(message)
    strata: dict[tuple[str, str], list[Item]] = defaultdict(list)
    tests: dict[str, list[Item]] = defaultdict(list)
    unknown: dict[str, list[Item]] = defaultdict(list)
    for item in catalogue.items:
        is_source = item.domain in sources
        if item.class_name in catalogue.held_out:
            unknown[_part(item, is_source=is_source)].append(item)
        elif is_source and item.unseen_group is None and item.split != "test":
            strata[item.domain, item.class_name].append(item)
        else:
            tests[_part(item, is_source=is_source)].append(item)
    train, validation = _divided(strata, seed, holdout, most)
    if most is not None:
        # The same images whatever the seed: the results of several seeds are compared on them.
        tests = {name: _shuffled(items, name)[:most] for name, items in tests.items()}
    if clash := [name for name in tests if name == VALIDATION]:
        message = f"the held-out domain {clash[0]!r} has the name of another part: rename it"
        raise BadInput(message)
    if not train or not validation:
        message = f"too few images to split: {len(train)} to train, {len(validation)} to validate"
        raise BadInput(message)
    return Split(
        sources=sources,
        targets=tuple(d for d in catalogue.domains if d in set(targets)),
        train=tuple(train),
        validation=tuple(validation),
        tests={name: tuple(items) for name, items in sorted(tests.items())},
        unknown={name: tuple(items) for name, items in sorted(unknown.items())},
    )


def _divided(
    strata: Mapping[tuple[str, str], Sequence[Item]], seed: int, holdout: float, most: int | None
) -> tuple[list[Item], list[Item]]:
    """What is trained on and what validates: as the data say, or a seeded share of each stratum."""
    whole = [item for items in strata.values() for item in items]
    validation = [item for item in whole if item.split == "validation"]
    if validation:
        train = [item for item in whole if item.split != "validation"]
        return train, validation if most is None else _most_of_each_domain(validation, most)
    train = []
    for stratum, items in strata.items():
        shuffled = _shuffled(items, f"{seed} {stratum}")
        held = min(round(holdout * len(shuffled)), len(shuffled) - 1, most or len(shuffled))
        validation.extend(shuffled[:held])
        train.extend(shuffled[held:])
    return train, validation


def _most_of_each_domain(items: Sequence[Item], most: int) -> list[Item]:
    """The same images whatever the seed, as those of a test."""
    domains = sorted({item.domain for item in items})
    return [
        item
        for domain in domains
        for item in _shuffled([one for one in items if one.domain == domain], domain)[:most]
    ]


def _part(item: Item, *, is_source: bool) -> str:
    """The display name of the part that measures an item which is not trained on."""
    if item.unseen_group is not None:
        return f"{item.unseen_group}, {'source' if is_source else 'target'} domains"
    if is_source:
        return GIVEN_TEST if item.split == "test" else VALIDATION
    return item.domain


def _shuffled(items: Iterable[Item], seed: str) -> list[Item]:
    """The items in a seeded order, those with captions first."""
    shuffled = sorted(items, key=lambda item: item.digest)  # not by path: names may change
    random.Random(seed).shuffle(shuffled)
    return sorted(shuffled, key=lambda item: not item.captions)
