"""The white-box grid: the teacher's own image tower is the student."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from benchmarks.evidence.protocol import (
    SEEDS,
    STYLES_UNSEEN,
    TEACHERS,
    TWO_HOUSES,
    emoji,
)
from student.bench.rows import Option
from student.bench.run import Run

_HALF: Mapping[str, Option] = MappingProxyType({"wise_ft": 0.5})
_GENTLY: Mapping[str, Option] = MappingProxyType({"lr": 1e-4})
_GENTLY_HALF: Mapping[str, Option] = MappingProxyType({**_GENTLY, **_HALF})
_NONE: Mapping[str, Option] = MappingProxyType({})

WHITE_BOX_SEEDS = SEEDS[:1]
PIXELS = 64
"""What the teachers' towers were trained at: at the protocol's 48 such a tower knows half as much,
and training would mostly teach it the size."""

LINES: Mapping[str, tuple[str, Mapping[str, Option]]] = MappingProxyType(
    {
        "VL2V-SD": ("vl2v-sd", _NONE),
        "VL2V-SD, half way back (WiSE-FT)": ("vl2v-sd", _HALF),
        "VL2V-SD at lr 0.0001": ("vl2v-sd", _GENTLY),
        "VL2V-SD at lr 0.0001, half way back": ("vl2v-sd", _GENTLY_HALF),
        "fine-tuned on labels": ("clip-ft", _NONE),
        "fine-tuned on labels, half way back (WiSE-FT)": ("clip-ft", _HALF),
        "fine-tuned on labels at lr 0.0001": ("clip-ft", _GENTLY),
        "fine-tuned on labels at lr 0.0001, half way back": ("clip-ft", _GENTLY_HALF),
    }
)
"""Title to method and options. The protocol's learning rate was chosen for a student that starts
from ImageNet; a tower that is already the teacher's is usually trained more gently."""


def white_box(
    houses: Sequence[str] = TWO_HOUSES[:1], seeds: Sequence[int] = WHITE_BOX_SEEDS
) -> tuple[Run, ...]:
    """The tower of the teacher that never saw the held-out styles, for the other has no gap."""
    return tuple(
        of_line(title, house, seed) for seed in seeds for house in houses for title in LINES
    )


def of_line(title: str, house: str, seed: int) -> Run:
    """The run of this line with this house style held out."""
    method, options = LINES[title]
    folder = TEACHERS[STYLES_UNSEEN].model
    tower: Mapping[str, Option] = {
        "backbone": f"open_clip:local-dir:{folder}",
        "weights": f"{folder}/open_clip_model.safetensors",
    }
    return emoji(method, house, seed, options={**tower, **options}, teacher=STYLES_UNSEEN)
