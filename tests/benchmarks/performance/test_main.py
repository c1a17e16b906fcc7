"""Runs of the measurement: what is kept, and what is left out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.performance import __main__ as program
from benchmarks.performance.comparison import Comparison, Subject
from benchmarks.performance.results import read_results, rows_of
from benchmarks.performance.sections import NOT_QUICK, SECTIONS

Report = Callable[[Comparison], None]


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "performance.json"
    monkeypatch.setattr(program, "QUICK", path)
    return path


def test_an_interrupted_section_keeps_the_comparisons_that_it_had_finished(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(section: str, *, quick: bool, report: Report) -> None:
        subject = Subject(section=section, name="first", unit="s", peer="peer", better="lower")
        report(Comparison(subject=subject, ours=(1.0,), peers=(2.0,)))
        raise KeyboardInterrupt

    monkeypatch.setattr(program, "run_section", interrupted)
    with pytest.raises(KeyboardInterrupt):
        program.main(["--quick", "--section", "cache"])
    (kept,) = rows_of(read_results(results), "cache")
    assert (kept["name"], kept["ratio"]) == ("first", 0.5)


@pytest.mark.parametrize(
    ("named", "run", "says"),
    [
        ([], [one for one in SECTIONS if one not in NOT_QUICK], True),
        (["--section", *NOT_QUICK], [*NOT_QUICK], False),
    ],
)
@pytest.mark.usefixtures("results")
def test_the_quick_mode_leaves_out_what_installs_a_peer_unless_it_is_named(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    named: list[str],
    run: list[str],
    says: bool,
) -> None:
    ran: list[str] = []

    def measured(section: str, *, quick: bool, report: Report) -> None:
        ran.append(section)

    monkeypatch.setattr(program, "run_section", measured)
    assert program.main(["--quick", *named]) == 0
    assert ran == run
    assert ("left out of the quick mode: vit_b_32" in capsys.readouterr().out) is says
