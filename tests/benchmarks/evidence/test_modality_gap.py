"""The section on the modality gap compares two teachers that differ in their geometry alone."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.evidence.geometry import FIGURES, geometry_section
from benchmarks.evidence.grids import grid
from benchmarks.evidence.lines import Found
from benchmarks.evidence.modality_gap import METHODS
from benchmarks.evidence.protocol import MODALITY_GAP, SEEDS, TWO_HOUSES
from student.bench.run import identity
from tests.support.small_grid import row

RIGHT = {MODALITY_GAP: 40, "embedded": 43}


def test_the_grid_begins_with_every_seed_of_the_first_style() -> None:
    runs = grid("modality-gap").runs
    first = runs[: len(SEEDS) * len(METHODS)]
    assert [(run.seed, run.method) for run in first] == [(s, m) for s in SEEDS for m in METHODS]
    assert all(TWO_HOUSES[0] in run.targets for run in first)
    assert {(run.teacher, run.views) for run in runs} == {(MODALITY_GAP, 1)}


def test_the_section_shows_the_paired_difference_to_the_embedded_teacher() -> None:
    rows = {}
    for name in ("headline", "teachers", "modality-gap"):
        planned = grid(name)
        for run in planned.runs:
            counts = dict.fromkeys(run.targets, RIGHT.get(run.teacher, 0) + run.seed)
            made = row(run, planned.base, **counts)
            rows[made.id] = made
    text = "\n".join(geometry_section(Found(rows=rows)))
    for name in ("VL2V-ADiP-1q", "VL2V-ADiP"):
        assert f"| {name}, with the gap above {name}, embedded | -3.0 ± 0.0 | -3.0 ± 0.0 |" in text
    assert "not yet run" not in text


def test_without_rows_the_section_says_that_they_are_missing(tmp_path: Path) -> None:
    text = "\n".join(geometry_section(Found(rows={}), tmp_path / "none.json"))
    assert "| VL2V-ADiP-1q, with the gap |  |  |  |  | not yet run |" in text
    assert "(Geometry: not yet measured.)" in text


def test_a_student_of_the_teacher_with_the_gap_is_another_run() -> None:
    planned = grid("modality-gap")
    made = {identity(run, planned.base) for run in planned.runs}
    for name in ("headline", "teachers"):
        assert not made & grid(name).ids().keys()


def test_the_committed_figures_are_near_to_a_real_clips_and_change_no_answer() -> None:
    figures = json.loads(FIGURES.read_text())
    assert figures["zero_shot"]["answers_changed"] == 0
    assert figures["zero_shot"]["images"] > 4000
    assert figures["largest_difference_to_clip"] < 0.04
