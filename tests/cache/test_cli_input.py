"""What `cache-report` cannot make sense of is two and a line, never "differs" and a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from cache.cli import main
from cache.reports import spend as report
from tests.support.cache_command import ROOT
from tests.support.cache_purchases import SECRET


@pytest.mark.usefixtures("bought")
@pytest.mark.parametrize(
    "url", ["http://[", "http://[::1", "http://", "http://vendor:port", "http://127.0.0.1/\u00fc"]
)
def test_an_address_that_is_none_is_two(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever reads 1 takes the books for unbalanced."""
    assert main(["audit", "--vendor", url]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert len(shown.err.splitlines()) == 1
    assert SECRET not in shown.err


@pytest.mark.usefixtures("bought")
def test_a_key_file_that_is_no_text_is_two(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its name is said, its bytes are not."""
    (tmp_path / "key").write_bytes(b"\xff\xfe" + SECRET.encode())
    key = ["--key-file", str(tmp_path / "key")]
    assert main(["audit", "--vendor", "http://127.0.0.1:9", *key]) == 2
    shown = capsys.readouterr().err
    assert shown == f"error: key file {tmp_path / 'key'} is not valid UTF-8\n"


@pytest.mark.usefixtures("bought")
@pytest.mark.parametrize("out", [".", "", "folder", "loop"])
def test_an_export_to_what_is_no_file_is_two_and_leaves_nothing(
    out: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither here nor beside it."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    monkeypatch.chdir(tmp_path)
    before = sorted(path.name for path in tmp_path.rglob("*"))
    assert main(["export", "--format", "csv", "--out", out]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "arguments", [["--cache", "X", "merge", "A", "B"], ["merge", "A", "B", "--cache", "X"]]
)
def test_a_merge_takes_no_third_cache(
    arguments: Sequence[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """It would be ignored, and whoever named it thinks of another cache."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "--cache" in capsys.readouterr().err


@pytest.mark.usefixtures("bought")
@pytest.mark.parametrize("output", [">&-", ">/dev/full"])
@pytest.mark.parametrize("command", ["summary", "verify --json"])
def test_an_output_that_takes_nothing_is_two(command: str, output: str) -> None:
    """Nobody has been told that all is well."""
    shell = f"exec {sys.executable} -m cache.cli {command} {output}"
    # Buffered, as it is where nobody says otherwise: a full disk is met when it is flushed.
    buffered = {name: text for name, text in os.environ.items() if name != "PYTHONUNBUFFERED"}
    ended = subprocess.run(
        ["sh", "-c", shell], cwd=ROOT, env=buffered, stderr=subprocess.PIPE, text=True, check=False
    )
    assert (ended.returncode, len(ended.stderr.splitlines())) == (2, 1)
    assert ended.stderr.startswith("error: ")


@pytest.mark.usefixtures("bought")
def test_a_fault_of_the_program_itself_is_two(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With where it is, for whoever mends it."""

    def broken(_: object) -> None:
        raise RecursionError

    monkeypatch.setattr(report, "spend_summary", broken)
    assert main(["summary"]) == 2
    assert "RecursionError" in capsys.readouterr().err
