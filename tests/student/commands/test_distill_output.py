"""What a run prints: for people, as JSON, and with --quiet."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from student.cli import main
from student.commands import distill_purchase
from tests.support.ledger_vendor import KEY, LedgerVendor
from tests.support.pictures import write_domains
from tests.support.purchase_setup import client_of

QUERIES = 2 + 2 * 2 * 4  # two prompts; of two source domains and two classes, four of five images


@pytest.fixture
def vendor(monkeypatch: pytest.MonkeyPatch) -> LedgerVendor:
    made = LedgerVendor()
    monkeypatch.setenv("TEACHER_API_KEY", KEY)
    monkeypatch.setattr(distill_purchase, "open_vendor", lambda *_, **__: client_of(made))
    return made


@pytest.fixture
def run(tmp_path: Path) -> list[str]:
    pets = write_domains(tmp_path / "pets")
    (pets / "notes.txt").write_text("x")
    short = ("--image-size", "16", "--steps", "2", "--align-steps", "2", "--batch-per-domain", "2")
    student = ("--backbone", "test_efficientnet", "--weights", "none", "--threads", "1")
    folders = ("--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "out"))
    what = ("--data", str(pets), "--target-domain", "d2", "--budget", "1000")
    return [*what, *folders, *student, *short, "--device", "cpu"]


def test_json_is_one_object_on_standard_output_and_the_rest_on_standard_error(
    run: list[str], vendor: LedgerVendor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*run, "--json", "--dry-run"]) == 0
    planned = capsys.readouterr()
    told = json.loads(planned.out)
    assert told["plan"]["queries"] == QUERIES
    assert told["plan"]["cost_micro_usd"] == 100 * QUERIES
    assert (told["purchase"], told["students"]) == (None, [])
    assert told["data"]["images"] == 30
    assert told["data"]["left_out"] == {"not a suffix of an image format that is read": 1}
    assert "dry run: nothing was bought" in planned.err
    assert vendor.spent == 0

    assert main([*run, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["purchase"]["queries"] == vendor.spent == QUERIES
    (student,) = told["students"]
    assert (student["folder"], student["held_out"]) == (str(tmp_path / "out"), ["d2"])
    meta = json.loads((tmp_path / "out" / "meta.json").read_text())
    assert student["scores"] == meta["scores"]
    assert (student["queries"], student["cost_micro_usd"]) == (QUERIES, 1800)
    assert told["data"]["sha256"] == meta["data_sha256"]


@pytest.mark.usefixtures("vendor")
def test_quiet_leaves_warnings_and_errors_alone(
    run: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*run, "--quiet", "--dry-run"]) == 0
    assert capsys.readouterr() == ("", "")
    (tmp_path / "pets" / "d0" / "c0" / "broken.png").write_text("no image")
    assert main([*run, "--quiet", "--json", "--dry-run"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["plan"]["queries"] == QUERIES
    (warning,) = printed.err.splitlines()
    assert warning.startswith("warning: left out, cannot be read as an image: 1 file .png")
    assert main([*run, "--quiet", "--target-domain", "sketch"]) == 2
    assert capsys.readouterr().err.startswith("error: no domain sketch")


@pytest.mark.usefixtures("vendor")
def test_a_pipe_gets_plain_lines(run: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*run, "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "\r" not in printed
    assert "rendering views: " in printed


@pytest.mark.parametrize("subcommand", ["bench", "doctor"])
def test_a_command_that_has_no_quiet_output_refuses_the_option(
    subcommand: str, run: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([subcommand, *run, "--quiet"]) == 2
    assert "--json and --quiet are options of a run" in capsys.readouterr().err
