"""The evidence page is what its rows give, and its grids are what it says they are."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.evidence.__main__ import DOCS, ROWS
from benchmarks.evidence.grids import RUNS, grid
from benchmarks.evidence.lines import HOUSE, Found
from benchmarks.evidence.page import write_page
from benchmarks.evidence.protocol import (
    HOUSES,
    LINE_DRAWINGS,
    NEVER_TRAINED_ON,
    PUBLISHED_VIEWS,
    TEACHERS,
    settings_for,
)
from benchmarks.evidence.targets import kept_at_a_tenth
from student.bench.constants import NO_TEACHER, ZERO_SHOT
from student.bench.rows import Row, add_row
from student.bench.run import Run, identity
from student.data.demo.styles import styles
from tests.support.small_grid import row

GROUPS = [
    f"known to {who}, {where} domains"
    for who in ("the teacher only", "nobody")
    for where in ("source", "target")
]
LIFT = {"erm": 0, "kd": 2, "vl2v-adip": 6, "vl2v-adip-1q": 12, ZERO_SHOT: 20}


def right(run: Run) -> int:
    """Invented correct predictions of a hundred: more if more is bought, otherwise by seed."""
    share = run.fraction * (1 if run.views == 1 else 1.2)
    return round(50 + LIFT.get(run.method, 4) * max(share, 0.2) + run.seed)


def invented(name: str) -> Iterator[Row]:
    """A row for every run of a grid."""
    planned = grid(name)
    for run in planned.runs:
        parts = (*run.targets, *GROUPS)
        counts = {part.replace(" ", "_"): right(run) for part in parts}
        queries = 30 + round(2264 * run.fraction * run.views)
        yield row(run, planned.base, queries=queries, **counts)


def page_of(rows: list[Row], folder: Path) -> str:
    path = folder / "rows.jsonl"
    for result in {result.id: result for result in rows}.values():
        add_row(path, result)
    write_page(path, folder)
    return (folder / "evidence.md").read_text()


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The page of every grid's rows."""
    folder = tmp_path_factory.mktemp("full")
    return page_of([result for name in RUNS for result in invented(name)], folder), folder


def test_without_rows_every_figure_is_marked_as_missing(tmp_path: Path) -> None:
    text = page_of([], tmp_path)
    assert "| VL2V-ADiP-1q, 1 view |  |  |  |  | not yet run |" in text
    assert "±" not in text.split("## Unlabelled styles", 1)[1]
    assert not list(tmp_path.glob("images/*"))


def test_with_every_row_nothing_is_missing(full: tuple[str, Path]) -> None:
    assert "not yet run" not in full[0].split("## Unlabelled styles", 1)[1]
    names = ["ablation", "curves", "default", "headline", "methods", "teachers"]
    drawn = sorted(path.name for path in (full[1] / "images").iterdir())
    assert drawn == [f"evidence-{name}.png" for name in names]


def test_the_page_shows_the_gain_computed_from_the_rows(full: tuple[str, Path]) -> None:
    # 12 points above 0, as whole predictions of a hundred, for every seed.
    assert (
        "| VL2V-ADiP-1q, 1 view above ERM | +12.0 ± 0.0 | +12.0 ± 0.0 | +12.0 ± 0.0 | 21 |"
        in full[0]
    )
    assert (
        "| VL2V-ADiP-1q, 1 view above ERM, teacher only, seen styles: at least 3 points | +12"
        in full[0]
    )


def test_each_house_style_also_has_its_own_row(full: tuple[str, Path]) -> None:
    # Seeds 0, 1 and 2 are one point apart, so a mean of three has an interval of 2.5.
    of_house = [
        line
        for line in full[0].splitlines()
        if line.startswith(tuple(f"| {house} |" for house in HOUSES))
    ]
    assert len(of_house) == len(HOUSES)
    for line in of_house:
        assert line.split(" | ")[1:] == [
            "51.0 ± 2.5",
            "53.0 ± 2.5",
            "58.0 ± 2.5",
            "63.0 ± 2.5",
            "+5.0 ± 0.0 |",
        ]


def test_a_missed_target_is_reported_as_missed(full: tuple[str, Path]) -> None:
    line = next(x for x in full[0].splitlines() if "published above ERM, line drawings" in x)
    assert line.endswith("| **missed** |")


def test_the_gain_at_a_tenth_is_a_share_of_the_full_gain() -> None:
    rows = {result.id: result for name in ("headline", "curves") for result in invented(name)}
    kept = kept_at_a_tenth(Found(rows=rows), HOUSE)
    assert kept is not None
    assert kept.value == pytest.approx(2 / 12)


def test_equal_rows_give_equal_pages_and_charts(full: tuple[str, Path], tmp_path: Path) -> None:
    write_page(full[1] / "rows.jsonl", tmp_path)
    assert (tmp_path / "evidence.md").read_text() == full[0]
    for picture in (full[1] / "images").iterdir():
        assert (tmp_path / "images" / picture.name).read_bytes() == picture.read_bytes()


def test_the_committed_page_is_what_the_committed_rows_give(tmp_path: Path) -> None:
    write_page(ROWS, tmp_path)
    assert (tmp_path / "evidence.md").read_text() == (DOCS / "evidence.md").read_text()


def test_every_style_is_a_house_style_or_never_trained_on() -> None:
    assert sorted((*HOUSES, *NEVER_TRAINED_ON)) == sorted(styles())
    assert set(LINE_DRAWINGS) < set(NEVER_TRAINED_ON)


def test_the_published_views_are_the_epochs_of_both_stages() -> None:
    base = settings_for("emoji").training
    shown = (base.steps + base.align_steps) * base.batch_per_domain * (len(HOUSES) - 1)
    assert math.ceil(shown / 2264) == math.ceil(shown / 2241) == PUBLISHED_VIEWS


def test_the_headline_begins_with_a_whole_seed() -> None:
    runs = grid("headline").runs
    first = runs[: 4 * len(HOUSES)]
    assert {run.seed for run in first} == {0}
    held_out = Counter(next(iter(set(run.targets) & set(HOUSES))) for run in first)
    assert set(held_out) == set(HOUSES)
    assert len(set(held_out.values())) == 1


def test_grids_name_only_existing_teachers() -> None:
    named = {run.teacher for name in RUNS for run in grid(name).runs}
    assert named == {*TEACHERS, NO_TEACHER}


def test_grids_share_the_runs_that_they_have_in_common() -> None:
    headline, curves = grid("headline"), grid("curves")
    shared = headline.ids().keys() & curves.ids().keys()
    assert len(shared) == 3  # ours at one view of every image, with Windows held out


def test_the_environment_cannot_change_the_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    before = [identity(run, grid("headline").base) for run in grid("headline").runs[:3]]
    monkeypatch.setenv("DISTILL_STEPS", "7")
    assert [identity(run, grid("headline").base) for run in grid("headline").runs[:3]] == before
