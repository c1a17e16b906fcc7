"""Grids on data that is not the project's to give: PACS, and CIFAR-10 with a real CLIP's answers.

Their folders are laid out from a copy that the user has, by `tools.pacs.lay_out` and
`tools.cifar.lay_out`. Methods and settings are those of emoji; nothing was tuned here. A step shows
24 images, as on emoji, whatever the number of labelled domains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType

from benchmarks.evidence.protocol import CIFAR_CLIP, JOINT, ONE_QUERY, SEEDS
from student.bench.constants import ZERO_SHOT
from student.bench.rows import Option
from student.bench.run import Run, normalised
from tools.cifar.lay_out import SHIFTS
from tools.pacs.lay_out import DOMAINS, SEEN

CIFAR = "cifar"
PACS = tuple(f"pacs-{domain}" for domain in DOMAINS)
"""A data set for each held-out domain, whose two halves are in two folders."""

NO_DRAWINGS: tuple[tuple[str, Option], ...] = (("line_drawing_prob", 0.0),)
AUGMENTED: tuple[tuple[str, Option], ...] = (("clean_prob", 0.0), ("line_drawing_prob", 0.0))
"""No image unchanged and no line drawing."""
FIRST: tuple[tuple[str, tuple[tuple[str, Option], ...]], ...] = (
    ("erm", ()),
    (JOINT, ()),
    ("vl2v-adip", ()),
)
"""What a machine with little time should make, of every seed."""
LINES: tuple[tuple[str, tuple[tuple[str, Option], ...]], ...] = (
    *FIRST,
    (ONE_QUERY, ()),
    (ONE_QUERY, NO_DRAWINGS),
    ("text-only", ()),
    (JOINT, AUGMENTED),
)
"""The candidates of `--method auto`, at one query an image."""
AS_ONE_QUERY: tuple[tuple[str, Option], ...] = (
    ("clean_prob", 0.7),
    ("line_drawing_prob", 0.5),
    ("lmd", 0.9),
)
CENTRED: tuple[tuple[str, Option], ...] = (("centre_embeddings", True),)
TRIED: tuple[tuple[str, tuple[tuple[str, Option], ...]], ...] = (
    ("vl2v-adip-erm", ()),
    ("vl2v-adip-erm", AS_ONE_QUERY),
    ("vl2v-adip", CENTRED),
    (ONE_QUERY, CENTRED),
    ("vl2v-adip-erm", CENTRED),
    ("vl2v-adip-erm", (*CENTRED, *AS_ONE_QUERY)),
)
"""A classifier on labels beside the projection, as published and with the one-query recipe; and
embeddings from which the mean of their kind is subtracted."""
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


def runs_on(dataset: str, seeds: Sequence[int] = SEEDS) -> tuple[Run, ...]:
    """Every candidate, and the teacher itself where its vendor can answer for the test images."""
    is_recorded = dataset == CIFAR
    lines = (*LINES, *TRIED) if is_recorded else (*LINES, *TRIED, (ZERO_SHOT, ()))
    return tuple(
        normalised(
            Run(
                dataset=dataset,
                targets=held_out(dataset),
                seed=seed,
                method=method,
                teacher=CIFAR_CLIP if is_recorded else "pacs",
                options=options,
            )
        )
        for part in (lines[: len(FIRST)], lines[len(FIRST) :])
        for seed in seeds
        for method, options in part
    )


GRIDS: Mapping[str, Callable[[], tuple[Run, ...]]] = MappingProxyType(
    {name: partial(runs_on, name) for name in (*PACS, CIFAR)}
)
