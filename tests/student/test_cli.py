"""The command line as a whole: the subcommands and their old names."""

from __future__ import annotations

import warnings

import pytest
from PIL import Image

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


def test_pillows_own_warning_of_a_large_image_is_not_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The plan says which images are too large for the vendor."""
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        assert main(["completion", "bash"]) == 0
        message = "Image size (9 pixels) exceeds limit of 1 pixels, could be decompression bomb DOS"
        warnings.warn(message, Image.DecompressionBombWarning, stacklevel=1)
        warnings.warn("another", UserWarning, stacklevel=1)
    assert [str(one.message) for one in shown] == ["another"]
    assert capsys.readouterr().out
