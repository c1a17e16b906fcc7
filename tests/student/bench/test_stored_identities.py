"""Runs keep the identities that version 0.1 gave them, so that their rows count as made."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.evidence.__main__ import ROWS
from benchmarks.evidence.grids import RUNS, grid, quick
from student.bench.rows import read_rows
from student.bench.run import Grid, identity
from student.bench.runner import missing_runs, recipe

FIXTURE = Path(__file__).parents[2] / "fixtures/version_0_1/run_identities.json"
STORED = json.loads(FIXTURE.read_text())
GRIDS: dict[str, Callable[[], Grid]] = {
    **{name: lambda name=name: grid(name) for name in RUNS},  # type: ignore[misc]
    "quick": quick,
}
OF_VERSION_0_1 = tuple(STORED["identities"])


@pytest.mark.parametrize("name", OF_VERSION_0_1)
def test_every_run_of_the_evidence_keeps_its_identity(name: str) -> None:
    stored = GRIDS[name]()
    assert [identity(run, stored.base) for run in stored.runs] == STORED["identities"][name]


@pytest.mark.parametrize("name", OF_VERSION_0_1)
def test_every_run_of_the_evidence_keeps_its_recipe(name: str) -> None:
    stored = GRIDS[name]()
    assert sorted({recipe(run, stored.base) for run in stored.runs}) == STORED["recipes"][name]


def test_no_grid_of_version_0_1_is_gone() -> None:
    assert set(OF_VERSION_0_1) == set(STORED["recipes"])
    assert set(OF_VERSION_0_1) <= set(GRIDS)


@pytest.mark.parametrize("name", sorted(set(OF_VERSION_0_1) & set(RUNS)))
def test_no_run_with_a_stored_row_would_be_repeated(name: str) -> None:
    made = set(read_rows(ROWS)) & set(STORED["identities"][name])
    missing = {identity(run, grid(name).base) for run in missing_runs(grid(name), ROWS)}
    assert missing == set(STORED["identities"][name]) - made


def test_every_recipe_named_in_a_row_can_be_computed() -> None:
    known = {digest for of_grid in STORED["recipes"].values() for digest in of_grid}
    known |= {
        recipe(run, GRIDS[name]().base)
        for name in GRIDS.keys() - set(OF_VERSION_0_1)
        for run in GRIDS[name]().runs
    }
    named = {row.recipe for row in read_rows(ROWS).values() if row.recipe}
    assert named <= known


def test_the_first_rows_of_digits_are_still_read() -> None:
    path = ROWS.with_name("digits-seed-0.jsonl")
    rows = read_rows(path)
    assert len(rows) == len(path.read_text().splitlines())
