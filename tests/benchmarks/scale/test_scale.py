"""Lines through costs, what a machine has, and the stages through the real code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.scale.__main__ import evaluated, main
from benchmarks.scale.fit import COSTS, Line, fit_line, fit_stages
from benchmarks.scale.machine import Machine, predict
from benchmarks.scale.stages import STAGES, cost_of
from benchmarks.scale.tables import check_table, prediction_table


@given(st.floats(0.0, 1e6), st.floats(1e-6, 1e6))
def test_costs_on_a_line_give_that_line(fixed: float, each: float) -> None:
    found = fit_line({n: fixed + each * n for n in (1_000, 3_000, 10_000)})
    assert found.at(200_000) == pytest.approx(fixed + each * 200_000, rel=1e-6)


@given(st.lists(st.floats(1e-3, 1e6), min_size=2, max_size=6))
def test_no_part_of_a_line_is_negative(costs: list[float]) -> None:
    line = fit_line({10 ** (n + 1): cost for n, cost in enumerate(costs)})
    assert line.fixed >= 0
    assert line.each >= 0


def test_one_size_gives_no_line() -> None:
    with pytest.raises(ValueError, match="two sizes"):
        fit_line({1_000: 1.0})


def rows(*, held_out: float = 1.0) -> list[dict[str, Any]]:
    """Costs on lines; the held-out run costs `held_out` times what its line says."""
    found = []
    for stage in STAGES:
        for images in (1_000, 10_000, 100_000):
            is_held_out = images == 100_000
            factor = held_out if is_held_out else 1.0
            costs = dict(zip(COSTS, (factor * images, factor * 50 * images, 0), strict=True))
            found.append({"stage": stage, "images": images, **costs})
    return found


def test_the_least_of_repeated_measurements_counts() -> None:
    slow = [{**row, "cpu_seconds": 5 * row["cpu_seconds"]} for row in rows()]
    assert fit_stages([*slow, *rows()]) == fit_stages(rows())


def test_a_held_out_run_does_not_change_the_lines_and_shows_their_error() -> None:
    result = evaluated(rows(held_out=2.0))
    assert result["lines"] == evaluated(rows())["lines"]
    assert [row["error"] for row in result["check"]] == pytest.approx([-0.5] * 10)
    assert "-50%" in check_table(result["check"])


def lines(peak: float, disk: float) -> dict[str, dict[str, Line]]:
    costs = {"cpu_seconds": 0.001, "peak_bytes": peak, "disk_bytes": disk}
    return {s: {c: Line(fixed=0, each=each) for c, each in costs.items()} for s in STAGES}


@pytest.mark.parametrize(
    ("peak", "disk", "patience", "first"),
    [(1_000, 1, 1e6, "memory"), (1, 1_000_000, 1e6, "disk"), (1, 1, 0.001, "time")],
)
def test_what_breaks_first_is_the_limit_that_is_exceeded_most(
    peak: float, disk: float, patience: float, first: str
) -> None:
    machine = Machine(memory_bytes=10**9, disk_bytes=10**12, patience_days=patience)
    found = predict(10**7, lines(peak, disk), machine)
    used = found.used(machine)
    assert max(used, key=lambda name: used[name]) == first
    assert used[first] > 1
    assert found.micro_usd == 10**9


def test_buying_takes_as_long_as_the_slower_of_the_client_and_the_vendor() -> None:
    slow = predict(1_000, lines(1, 1), Machine(images_per_second=1.0))
    fast = predict(1_000, lines(1, 1), Machine(images_per_second=1e9))
    assert slow.seconds == pytest.approx(1_000 + 4)
    assert fast.seconds == pytest.approx(5)


def test_every_stage_runs_the_real_code_and_has_its_cost(tmp_path: Path) -> None:
    for stage in STAGES:
        cost = cost_of(stage, 130, tmp_path)
        assert set(cost) == set(COSTS)
        assert cost["cpu_seconds"] > 0
        assert cost["peak_bytes"] > 10**7
        assert (cost["disk_bytes"] > 0) == (stage in ("read", "buy", "table"))


def test_a_result_can_be_fitted_again_without_measuring(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    earlier, again = tmp_path / "earlier.json", tmp_path / "again.json"
    earlier.write_text(json.dumps({"provenance": {"seed": 0}, "rows": rows()}))
    assert main(["--fit", str(earlier), "--out", str(again)]) == 0
    result = json.loads(again.read_text())
    assert result["provenance"] == {"seed": 0}
    assert "| 1,000,000 | $100 |" in capsys.readouterr().out
    assert prediction_table(result).count("\n") == 5
