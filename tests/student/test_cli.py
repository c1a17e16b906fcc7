"""The command line as a whole: the subcommands and their old names."""

from __future__ import annotations

import pytest

from student.cli import main


@pytest.mark.parametrize("name", ["bench", "predict", "forecast", "demo-data"])
def test_every_subcommand_has_its_own_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    assert f"usage: distill-client {name}" in capsys.readouterr().out


def test_the_old_subcommand_plan_runs_forecast_and_prints_a_notice(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["plan", "/nowhere"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "distill-client plan is now called distill-client forecast"
    assert len(lines) == 2
