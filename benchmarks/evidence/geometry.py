"""The section on the modality gap: the geometry of the embeddings, and what it does to students."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.evidence.grids import grid
from benchmarks.evidence.lines import NAMES, SHIFTS, Found
from benchmarks.evidence.modality_gap import METHODS
from benchmarks.evidence.protocol import MODALITY_GAP
from student.bench.series import Series, series
from student.bench.tables import accuracy_table, difference_table
from student.report.markdown import table

FIGURES = Path(__file__).parents[2] / "docs/results/modality-gap.json"
"""The geometry of each teacher's embeddings, by `tools.emoji.add_modality_gap`."""

_TEXT = """\
The image embeddings of a web-scale CLIP lie in a narrow cone and its text embeddings in another,
apart from it: the *modality gap* (Liang et al., NeurIPS 2022). Those of the embedded teacher do
not. Here its embeddings have two more dimensions, with one constant for all images and another for
all texts, chosen so that the first four figures below come nearest to those of OpenAI's CLIP
ViT-B/32 on 500 images of CIFAR-10; two scales and an angle cannot meet all four. All embeddings
keep unit length, and no zero-shot answer changes, because the order of the cosines of an image with
the class texts stays. The students of both are trained alike, at one query an image, with nothing
tuned for the gap.
"""
_FIGURES = (
    ("own_text", "cosine of an image and its own class's text"),
    ("images", "cosine of two images"),
    ("texts", "cosine of two class texts"),
    ("distance", "distance of the mean image from the mean text"),
)


def geometry_section(found: Found, figures: Path = FIGURES) -> Iterator[str]:
    """The four figures of each space, and students of the teacher with and without the gap."""
    yield from ["## The modality gap of a real CLIP", "", _TEXT]
    yield from [*_geometries(figures), ""]
    pairs = [
        (_line(found, method, "embedded"), _line(found, method, MODALITY_GAP)) for method in METHODS
    ]
    yield from [*accuracy_table([line for pair in pairs for line in pair], SHIFTS), ""]
    first, *others = (
        difference_table([with_gap], [without], SHIFTS) for without, with_gap in pairs
    )
    yield from [*first, *(row for rows in others for row in rows[2:]), ""]


def _geometries(path: Path) -> list[str]:
    """The table of the four figures, means of random images."""
    if not path.exists():
        return ["(Geometry: not yet measured.)"]
    made = json.loads(path.read_text())
    spaces = (made["clip"]["geometry"], made["embedded"], made["with_gap"])
    rows = [[words, *(f"{space[name]:.2f}" for space in spaces)] for name, words in _FIGURES]
    zero_shot = made["zero_shot"]
    changed = ["zero-shot answers changed", "", ""]
    rows.append([*changed, f"{zero_shot['answers_changed']} of {zero_shot['images']:,}"])
    return table(["", "CLIP ViT-B/32", "embedded", "embedded, with the gap"], rows)


def _line(found: Found, method: str, teacher: str) -> Series:
    """The runs of a method in the grid, by one of the two teachers: a run of the embedded teacher
    has the same row in whatever grid it was made."""
    planned = grid("modality-gap")
    runs = [replace(run, teacher=teacher) for run in planned.runs if run.method == method]
    title = "with the gap" if teacher == MODALITY_GAP else teacher
    return series(f"{NAMES[method]}, {title}", runs, planned.base, found.rows)
