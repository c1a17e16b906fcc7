"""The grids on digits: another data set, with the very settings that were found on emoji."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.evidence.protocol import DIGITS_AGAIN, JOINT, ONE_QUERY, PUBLISHED_VIEWS, SEEDS
from benchmarks.evidence.user_data import ALIKE
from student.bench.constants import ZERO_SHOT
from student.bench.run import Run, normalised

LOOKS = ("noisy", "dots", "display", "handwritten")
"""The looks of digits that are held out. With print, inverted, coloured or outlined digits held out
ERM is at 97.8% or more: those four are only ever labelled."""


def digits(seeds: Sequence[int] = SEEDS) -> tuple[Run, ...]:
    """ERM, VL2V-ADiP as published, VL2V-ADiP-1q and the teacher, by the first teacher."""
    published = ("vl2v-adip", PUBLISHED_VIEWS)
    return tuple(
        digit(method, look, seed, views=views)
        for seed in seeds
        for look in LOOKS
        for method, views in (("erm", 1), published, (ONE_QUERY, 1), (ZERO_SHOT, 1))
    )


def digits_again(seeds: Sequence[int] = SEEDS) -> tuple[Run, ...]:
    """The joint method on digits, and the first one-query recipe beside it, by another teacher."""
    return tuple(
        digit(method, look, seed, teacher=DIGITS_AGAIN, options=options)
        for method, options in ((JOINT, ()), (ONE_QUERY, ()), (JOINT, ALIKE))
        for seed in seeds
        for look in LOOKS
    )


def digit(method: str, look: str, seed: int, **more: object) -> Run:
    """One look of the digits held out."""
    return normalised(
        Run(
            dataset="digits",
            targets=(look,),
            seed=seed,
            method=method,
            **{"teacher": "digits", **more},  # type: ignore[arg-type]  # checked by the callee
        )
    )
