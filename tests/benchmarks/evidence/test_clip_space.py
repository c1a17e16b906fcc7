"""The section on the teacher in a real CLIP's space compares students on the same splits alone."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.evidence.choices import chosen_series
from benchmarks.evidence.clip_space import clip_space_section
from benchmarks.evidence.grids import grid
from benchmarks.evidence.lines import Found
from benchmarks.evidence.protocol import JOINT, MORE_SEEDS, PACS_AGAIN, PACS_CLIP_SPACE
from benchmarks.evidence.user_data import CLIP_SPACE, PACS
from tests.support.small_grid import row

CARD = {
    "answers": 1_711,
    "variance_of_held_out_answers_not_explained": 0.7,
    "embedding_spread": {"variance_within_classes": 0.69, "effective_rank": 35.6},
    "embedding_spread_of_clip_on_cifar": {"variance_within_classes": 0.69, "effective_rank": 75.4},
}
RIGHT = {"none": 50, "pacs": 90, PACS_AGAIN: 60, PACS_CLIP_SPACE: 70}
"""Of a hundred images, by the teacher that a student has."""


def found() -> Found:
    rows = {}
    for name in (*PACS, *CLIP_SPACE):
        planned = grid(name)
        for run in planned.runs:
            one = row(run, planned.base, **dict.fromkeys(run.targets, RIGHT[run.teacher]))
            rows[one.id] = one
    return Found(rows=rows)


def test_the_other_teachers_students_are_those_of_the_same_seeds(tmp_path: Path) -> None:
    card = tmp_path / "card.json"
    card.write_text(json.dumps(CARD))
    text = "\n".join(clip_space_section(found(), card))
    assert "explained" in text
    assert "at an\neffective rank of 36; the CLIP's own is 75." in text
    lines = {line.split("|")[1].strip(): line for line in text.splitlines() if "|" in line}
    # The first teacher's students, of other seeds, are right on 90: they are not among these.
    assert "60.0 ± 0.0" in lines["VL2V-ADiP-joint, class names alone"]
    assert "+20.0 ± 0.0" in lines["VL2V-ADiP-joint, in a real CLIP's space above ERM"]


def test_without_a_card_the_section_says_that_nothing_was_run(tmp_path: Path) -> None:
    assert "(Not yet run.)" in list(clip_space_section(found(), tmp_path / "none.json"))


def test_a_choice_is_bought_for_from_the_teacher_of_the_grid_that_asks() -> None:
    choice = {
        "dataset": "pacs-photo",
        "targets": ["photo", "photo-seen"],
        "seed": MORE_SEEDS[0],
        "method": JOINT,
    }
    rows = found()
    for names, right in ((PACS, 60), (tuple(CLIP_SPACE), 70)):
        (one,) = chosen_series(rows, names, [choice]).rows.values()
        assert one.accuracies["photo"].correct == right
    other = {**choice, "seed": 0}
    assert not chosen_series(rows, tuple(CLIP_SPACE), [other]).rows
