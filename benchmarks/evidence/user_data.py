"""Grids on data that is not the project's to give: PACS, and CIFAR-10 with a real CLIP's answers.

Their folders are laid out from a copy that the user has, by `tools.pacs.lay_out` and
`tools.cifar.lay_out`. Methods and settings are those of emoji; nothing was tuned here. A step shows
24 images, as on emoji, whatever the number of labelled domains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType

from benchmarks.evidence.protocol import (
    CIFAR_CLIP,
    CIFAR_CLIP_AGAIN,
    JOINT,
    MORE_SEEDS,
    ONE_QUERY,
    PACS_AGAIN,
    PACS_CLIP_SPACE,
    SEEDS,
)
from student.bench.constants import ZERO_SHOT
from student.bench.rows import Option
from student.bench.run import Run, normalised
from tools.cifar.lay_out import SHIFTS
from tools.pacs.lay_out import DOMAINS, SEEN

CIFAR = "cifar"
PACS = tuple(f"pacs-{domain}" for domain in DOMAINS)
"""A data set for each held-out domain, whose two halves are in two folders."""
CLIP_SPACE = MappingProxyType({f"{name}-clip-space": name for name in PACS})
"""The same data sets with a teacher in a real CLIP's own space, by grid."""

LINES: tuple[tuple[str, tuple[tuple[str, Option], ...]], ...] = (
    ("erm", ()),
    (JOINT, ()),
    ("vl2v-adip", ()),
    (ONE_QUERY, ()),
)
"""The methods that are compared, at one query an image."""
ALIKE: tuple[tuple[str, Option], ...] = (
    ("plain_clean_prob", 0.12),
    ("plain_line_drawing_prob", 0.17),
)
"""VL2V-ADiP-joint as it was first: images on a plain background are shown as all others."""
AS_ONE_QUERY: tuple[tuple[str, Option], ...] = (
    ("clean_prob", 0.7),
    ("line_drawing_prob", 0.5),
    ("lmd", 0.9),
)
TRIED: tuple[tuple[str, tuple[tuple[str, Option], ...]], ...] = (
    (JOINT, ALIKE),
    ("vl2v-adip-erm", AS_ONE_QUERY),
)
"""VL2V-ADiP-joint as it was first, and labels at full weight, with images as VL2V-ADiP-1q shows
them."""
SETTINGS: Mapping[str, Mapping[str, object]] = MappingProxyType(
    {
        **{name: {"batch_per_domain": 8} for name in PACS},
        CIFAR: {"batch_per_domain": 24, "image_size": 32},
    }
)
"""What differs from the protocol's settings, by data set."""


def held_out(dataset: str) -> tuple[str, ...]:
    """The domains of a data set that are never trained on."""
    if dataset == CIFAR:
        return ("other", *SHIFTS)
    domain = dataset.removeprefix("pacs-")
    return domain, domain + SEEN


def _teacher(dataset: str, method: str, options: tuple[tuple[str, Option], ...], seed: int) -> str:
    """The teacher of a run: some rows of CIFAR-10 are older than the rounding of its answers, and
    the later seeds of PACS were made where its command makes other weights."""
    if dataset == CIFAR:
        is_older = (method, options) in (("vl2v-adip", ()), (JOINT, ALIKE))
        return CIFAR_CLIP if is_older else CIFAR_CLIP_AGAIN
    return PACS_AGAIN if seed in MORE_SEEDS else "pacs"


def _run(
    dataset: str,
    method: str,
    seed: int,
    teacher: str,
    options: tuple[tuple[str, Option], ...] = (),
) -> Run:
    """A run that holds out what the data set keeps for that."""
    return normalised(
        Run(
            dataset=dataset,
            targets=held_out(dataset),
            seed=seed,
            method=method,
            teacher=teacher,
            options=options,
        )
    )


def runs_on(dataset: str, seeds: Sequence[int] = SEEDS) -> tuple[Run, ...]:
    """Every method, and the teacher itself where its vendor can answer for the test images.

    What the default is made of, ERM and VL2V-ADiP-joint, has more seeds than the others.
    """
    is_recorded = dataset == CIFAR
    others = (*LINES[3:], *TRIED, *(() if is_recorded else ((ZERO_SHOT, ()),)))
    parts = ((LINES[:3], seeds), (LINES[:2], MORE_SEEDS), (others, seeds))
    return tuple(
        _run(dataset, method, seed, _teacher(dataset, method, options, seed), options)
        for part, its_seeds in parts
        for seed in its_seeds
        for method, options in part
    )


def runs_in_clip_space(dataset: str, seeds: Sequence[int] = MORE_SEEDS) -> tuple[Run, ...]:
    """ERM and the default by the teacher in a real CLIP's own space, on the seeds on which the
    other teacher's students were trained by the same machine; then that teacher itself."""
    return tuple(
        _run(dataset, method, seed, PACS_CLIP_SPACE)
        for methods, its_seeds in ((("erm", JOINT), seeds), ((ZERO_SHOT,), seeds[:1]))
        for seed in its_seeds
        for method in methods
    )


GRIDS: Mapping[str, Callable[[], tuple[Run, ...]]] = MappingProxyType(
    {
        **{name: partial(runs_on, name) for name in (*PACS, CIFAR)},
        **{name: partial(runs_in_clip_space, dataset) for name, dataset in CLIP_SPACE.items()},
    }
)
