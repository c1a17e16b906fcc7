"""What `--method auto` gives is read from its choices and from the rows of the chosen methods."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.evidence import __main__ as command
from benchmarks.evidence.choices import auto_section, chosen_series, pacs_section, read_choices
from benchmarks.evidence.grids import RUNS, grid
from benchmarks.evidence.lines import Found
from benchmarks.evidence.page import CHOICES
from benchmarks.evidence.protocol import JOINT, ONE_QUERY
from benchmarks.evidence.selections import missing
from benchmarks.evidence.user_data import GRIDS, PACS, held_out
from student.bench.rows import Row
from student.options.training import AUTO_METHODS
from tests.support.small_grid import row

RIGHT = {"erm": 50, ONE_QUERY: 60, JOINT: 60}


def rows_of(name: str) -> Iterator[Row]:
    """A row for each run: of a hundred images ERM is right on 50, this project's methods on 60."""
    planned = grid(name)
    for run in planned.runs:
        counts = dict.fromkeys(run.targets, RIGHT.get(run.method, 40))
        yield row(run, planned.base, **counts)


def choice(dataset: str, targets: tuple[str, ...], seed: int, method: str) -> dict[str, Any]:
    return {
        "dataset": dataset,
        "targets": list(targets),
        "seed": seed,
        "method": method,
        "correct": 98 if method == "erm" else 60,
        "validation_images": 100,
    }


@pytest.fixture
def found() -> Found:
    return Found(
        rows={one.id: one for name in ("digits", "digits-again", *PACS) for one in rows_of(name)}
    )


def test_auto_is_the_student_of_the_chosen_method_on_each_split_with_a_choice(
    found: Found,
) -> None:
    choices = [
        choice("digits", ("noisy",), 0, "erm"),
        choice("digits", ("dots",), 0, JOINT),
        choice("digits", ("noisy",), 1, "erm"),
        choice("digits", ("dots",), 1, "erm"),
    ]
    auto = chosen_series(found, ("digits-again",), choices)
    assert {at: one.method for at, one in auto.rows.items()} == {
        (("noisy",), 0): "erm",
        (("dots",), 0): JOINT,
        (("noisy",), 1): "erm",
        (("dots",), 1): "erm",
    }
    text = "\n".join(auto_section(found, choices))
    assert "Digits: of 4 choices, 3 took ERM and bought no image embedding, and 1 took" in text
    assert "Labels alone were right on 60.0% to 98.0% of source validation." in text
    assert "PACS: no choice has been made yet." in text
    line = next(x for x in text.splitlines() if x.startswith("| auto above ERM |"))
    assert line.split("|")[2].strip().startswith("+2.5")  # of the seeds +5 and 0


def test_a_split_with_a_choice_is_not_chosen_for_again() -> None:
    planned = grid("digits-again")
    before = missing(planned, [])
    assert {(run.method, run.options) for run in before} == {(JOINT, ())}
    first = before[0]
    after = missing(planned, [choice("digits", first.targets, first.seed, "erm")])
    assert after == before[1:]


def test_pacs_has_a_row_for_every_candidate_of_auto() -> None:
    planned = grid("pacs-photo")
    there = {(run.method, run.options) for run in planned.runs}
    assert {(method, ()) for method in AUTO_METHODS} <= there
    assert {run.targets for run in planned.runs} == {("photo", "photo-seen")}


def test_the_section_on_pacs_shows_the_gain_over_erm(found: Found) -> None:
    text = "\n".join(pacs_section(found))
    assert "Photo held out:" in text
    line = next(x for x in text.splitlines() if x.startswith("| VL2V-ADiP-1q above ERM |"))
    assert line.split("|")[2].strip() == "+10.0 ± 0.0"


def test_a_grid_on_data_that_is_not_there_is_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command._possible(RUNS) == [name for name in RUNS if name not in GRIDS]


def test_every_committed_choice_is_of_a_planned_split() -> None:
    for one in read_choices(CHOICES):
        name = {"emoji": "headline", "digits": "digits-again"}.get(one["dataset"], one["dataset"])
        places = {(run.targets, run.seed) for run in grid(name).runs}
        assert (tuple(one["targets"]), one["seed"]) in places


def test_the_other_half_of_a_domain_is_named_first() -> None:
    assert held_out("pacs-photo") == ("photo", "photo-seen")
