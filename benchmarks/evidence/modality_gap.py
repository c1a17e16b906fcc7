"""The grid with the modality gap of a real CLIP, which has been added to the embedded teacher."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.evidence.protocol import MODALITY_GAP, ONE_QUERY, SEEDS, TWO_HOUSES, emoji
from student.bench.run import Run

METHODS = (ONE_QUERY, "vl2v-adip")
"""At one query an image: the recording that is sold has one answer for each image."""


def modality_gap(
    houses: Sequence[str] = TWO_HOUSES, seeds: Sequence[int] = SEEDS
) -> tuple[Run, ...]:
    """Students of the teacher with the gap, all seeds of the first style first.

    Those of the embedded teacher as it is are runs of `headline` and of `teachers`.
    """
    return tuple(
        emoji(method, house, seed, teacher=MODALITY_GAP)
        for house in houses
        for seed in seeds
        for method in METHODS
    )
