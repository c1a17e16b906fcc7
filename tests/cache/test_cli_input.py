"""Invalid input and output of `cache-report`: exit status 2 and one line, no traceback."""

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
def test_an_invalid_vendor_address_exits_with_2(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 1 would mean that differences were found."""
    assert main(["audit", "--vendor", url]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert len(shown.err.splitlines()) == 1
    assert SECRET not in shown.err


@pytest.mark.usefixtures("bought")
def test_a_key_file_that_is_not_text_exits_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message has its name and not its content."""
    (tmp_path / "key").write_bytes(b"\xff\xfe" + SECRET.encode())
    key = ["--key-file", str(tmp_path / "key")]
    assert main(["audit", "--vendor", "http://127.0.0.1:9", *key]) == 2
    shown = capsys.readouterr().err
    assert shown == f"error: key file {tmp_path / 'key'} is not valid UTF-8\n"


@pytest.mark.usefixtures("bought")
@pytest.mark.parametrize("out", [".", "", "folder", "loop"])
def test_an_export_to_a_folder_exits_with_2_and_leaves_nothing(
    out: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No file is created."""
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
def test_merge_rejects_the_cache_option(
    arguments: Sequence[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """It would be ignored."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "--cache" in capsys.readouterr().err


@pytest.mark.usefixtures("bought")
@pytest.mark.parametrize("output", [">&-", ">/dev/full"])
@pytest.mark.parametrize("command", ["summary", "verify --json"])
def test_an_unwritable_standard_output_exits_with_2(command: str, output: str) -> None:
    """The result was not printed."""
    shell = f"exec {sys.executable} -m cache.cli {command} {output}"
    # Buffered, as by default: a full disk causes an error when the buffer is flushed.
    buffered = {name: text for name, text in os.environ.items() if name != "PYTHONUNBUFFERED"}
    ended = subprocess.run(
        ["sh", "-c", shell], cwd=ROOT, env=buffered, stderr=subprocess.PIPE, text=True, check=False
    )
    assert (ended.returncode, len(ended.stderr.splitlines())) == (2, 1)
    assert ended.stderr.startswith("error: ")


@pytest.mark.usefixtures("bought")
def test_a_bug_in_the_program_exits_with_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a traceback."""

    def broken(_: object) -> None:
        raise RecursionError

    monkeypatch.setattr(report, "spend_summary", broken)
    assert main(["summary"]) == 2
    assert "RecursionError" in capsys.readouterr().err
