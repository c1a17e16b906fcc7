"""Tables and pages show the figures of the rows, and mark missing rows."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from student.bench.report import folder_grid, write_report
from student.bench.rows import Row, add_row
from student.bench.run import Run
from student.bench.series import Series, part, parts, series
from student.bench.tables import accuracy_table, difference_table, held_out_table
from student.commands.bench import run_bench
from student.commands.bench_options import parser
from student.console import Terminal
from student.errors import BadInput
from tests.support.pictures import write_domains
from tests.support.small_grid import row, run, settings

BASE = settings(Path("pets"))
COLUMN = parts("unseen domains", lambda item: item.targets)


def of(title: str, runs: list[Run], rows: list[Row]) -> Series:
    return series(title, runs, BASE, {result.id: result for result in rows})


ERM = [run("erm", seed=seed) for seed in (0, 1)]
OURS = [run("vl2v-adip-1q", seed=seed) for seed in (0, 1)]
ERM_ROWS = [row(ERM[0], BASE, d2=40), row(ERM[1], BASE, d2=50)]
OURS_ROWS = [row(OURS[0], BASE, queries=18, d2=50), row(OURS[1], BASE, queries=18, d2=60)]


def test_a_line_has_the_mean_over_seeds_its_interval_the_queries_and_the_runs() -> None:
    lines = accuracy_table([of("vl2v-adip-1q", OURS, OURS_ROWS)], [COLUMN])
    assert lines[-1] == "| vl2v-adip-1q | 18 | 55.0 ± 63.5 | 2 |"


def test_a_paired_difference_has_a_narrower_interval_than_unpaired_means() -> None:
    ours, erm = of("vl2v-adip-1q", OURS, OURS_ROWS), of("ERM", ERM, ERM_ROWS)
    lines = difference_table([ours], [erm], [COLUMN])
    assert lines[-1] == "| vl2v-adip-1q above ERM | +10.0 ± 0.0 | 2 |"


def test_a_difference_counts_the_runs_that_have_a_partner() -> None:
    ours, erm = of("vl2v-adip-1q", OURS, OURS_ROWS), of("ERM", ERM, ERM_ROWS[:1])
    lines = difference_table([ours], [erm, of("KD", ERM, [])], [COLUMN])
    assert lines[-2] == "| vl2v-adip-1q above ERM | +10.0 | 1 of 2 |"
    assert lines[-1] == "| vl2v-adip-1q above KD |  | not yet run |"


def test_missing_rows_are_reported_as_missing() -> None:
    none, half = of("vl2v-adip-1q", OURS, []), of("vl2v-adip-1q", OURS, OURS_ROWS[:1])
    lines = accuracy_table([none, half], [COLUMN])
    assert lines[-2:] == [
        "| vl2v-adip-1q |  |  | not yet run |",
        "| vl2v-adip-1q | 18 | 50.0 | 1 of 2 |",
    ]


def test_a_part_that_a_row_does_not_have_has_no_figure() -> None:
    assert of("vl2v-adip-1q", OURS, OURS_ROWS).mean(part("known to nobody, source domains")) is None


def test_a_series_of_one_held_out_style_has_only_its_own_rows() -> None:
    ours = of("vl2v-adip-1q", OURS, OURS_ROWS)
    assert ours.of_targets("d2").rows == ours.rows
    assert not ours.of_targets("d1").rows
    assert not ours.of_targets("d1", "d2").rows


def test_each_held_out_domain_has_a_line_and_the_gain_there() -> None:
    ours, erm = of("vl2v-adip-1q", OURS, OURS_ROWS), of("ERM", ERM, ERM_ROWS)
    lines = held_out_table([erm, ours], ["d2", "d1"], COLUMN, gain=(ours, erm))
    assert lines[0] == "| held out | ERM | vl2v-adip-1q | vl2v-adip-1q above ERM |"
    assert lines[2:] == ["| d2 | 45.0 ± 63.5 | 55.0 ± 63.5 | +10.0 ± 0.0 |", "| d1 |  |  |  |"]


def test_the_report_on_a_folder_is_made_only_from_its_rows(tmp_path: Path) -> None:
    pets = write_domains(tmp_path / "pets")
    base = settings(pets, method="vl2v-adip-1q", target_domain=["d2"])
    grid = folder_grid(base, methods=["erm", "vl2v-adip-1q"], seeds=[0, 1], shares=[0.5])
    for number, each in enumerate(grid.runs):
        add_row(tmp_path / "rows.jsonl", row(each, base, queries=number, d2=40 + number))
    page = write_report(grid, tmp_path / "rows.jsonl", tmp_path)
    text = page.read_text()
    assert "| vl2v-adip-1q, 1 view of 50.0% (random) |" in text
    assert "| vl2v-adip-1q, 1 view above erm |" in text
    assert "6 of 6 runs" in text
    assert (tmp_path / "bench-queries.png").stat().st_size > 5000
    assert write_report(grid, tmp_path / "rows.jsonl", tmp_path).read_text() == text


def test_a_folder_of_several_domains_holds_each_out_in_turn(tmp_path: Path) -> None:
    base = settings(write_domains(tmp_path / "pets"))
    grid = folder_grid(base, methods=["erm"], seeds=[0], shares=[])
    assert [each.targets for each in grid.runs] == [("d0",), ("d1",), ("d2",)]


@pytest.mark.parametrize("arguments", [[], ["--budget", "5", "--seeds", "0"]])
def test_an_impossible_bench_is_refused_before_it_starts(arguments: list[str]) -> None:
    options, rest = parser().parse_known_args(arguments)
    with pytest.raises(BadInput):
        run_bench(options, rest, Terminal(Console(file=StringIO())), command="")
