"""The command lines are completed by bash, and scripts for other shells are printed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from cache.cli import main as cache_report
from student.cli import main as distill_client
from student.commands.names import SUBCOMMANDS
from teacher_server.cli import main as teacher_server
from tests.support.shell_completion import completions

PROGRAMS: dict[str, Callable[[Sequence[str]], int]] = {
    "distill-client": distill_client,
    "cache-report": cache_report,
    "teacher-server": teacher_server,
}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("distill-client", "ev"), ["evaluate"]),
        (("distill-client", ""), sorted(SUBCOMMANDS)),
        (("distill-client", "--budg"), ["--budget"]),
        (("distill-client", "--data", "pic"), ["pictures"]),
        (("distill-client", "evaluate", "--imagef"), ["--imagefolder"]),
        (("distill-client", "predict", "pic"), ["pictures"]),
        (("distill-client", "doctor", "--budg"), ["--budget"]),
        (("distill-client", "export", "--format", "t"), ["torch", "timm"]),
        (("cache-report", "au"), ["audit"]),
        (("cache-report", "export", "--format", "p"), ["parquet"]),
        (("teacher-server", "keys", "cr"), ["create"]),
        (("teacher-server", "serve", "--engi"), ["--engine"]),
    ],
)
def test_bash_completes_subcommands_options_choices_and_files(
    words: tuple[str, ...],
    expected: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "pictures").mkdir()
    assert PROGRAMS[words[0]](["completion", "bash"]) == 0
    assert completions(capsys.readouterr().out, tmp_path, *words) == expected


@pytest.mark.parametrize("shell", ["zsh", "fish"])
@pytest.mark.parametrize("program", sorted(PROGRAMS))
def test_other_shells_have_a_script(
    program: str, shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert PROGRAMS[program](["completion", shell]) == 0
    assert {"zsh": "#compdef ", "fish": "complete -c "}[shell] in capsys.readouterr().out
