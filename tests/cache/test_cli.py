"""`cache-report` as a person and a script use it."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import pytest

from cache.cli import CACHE_VARIABLE, main
from cache.commands import KEY_VARIABLE
from cache.paid_cache import PaidCache
from tests.support.cache_purchases import (
    MODEL,
    SECRET,
    Ledger,
    buy,
    image,
    intent_of,
    overwrite,
    tamper,
    vendor_of,
)


@pytest.mark.usefixtures("bought")
def test_summary_shows_what_was_bought(capsys: pytest.CaptureFixture[str]) -> None:
    """Per model and per run, with the sum."""
    assert main(["summary"]) == 0
    shown = capsys.readouterr().out
    assert MODEL in shown
    assert "run-1" in shown
    assert "3 queries paid in 2 requests: 300 micro-USD (0.000300 USD)." in shown


@pytest.mark.usefixtures("bought")
def test_summary_shows_open_and_refused_purchases(
    cache: PaidCache, capsys: pytest.CaptureFixture[str]
) -> None:
    """Markup in the vendor's text is printed as it is."""
    cache.reserve(intent_of(image(8), name="a-very-long-idempotency-key"), budget=100)
    cache.refuse(image(9), code="invalid_image", detail="[bold]torn[/bold]")
    assert main(["summary"]) == 0
    shown = capsys.readouterr().out
    assert "a-very-long-idem…" in shown
    assert "[bold]torn[/bold]" in shown


@pytest.mark.usefixtures("bought")
@pytest.mark.parametrize("command", ["summary", "by-day", "verify"])
def test_json_output_is_valid_json(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Scripts read it."""
    assert main([command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)


@pytest.mark.usefixtures("bought")
def test_by_day_shows_each_day(capsys: pytest.CaptureFixture[str]) -> None:
    """In UTC."""
    assert main(["by-day"]) == 0
    assert "2025-11-24" in capsys.readouterr().out


@pytest.mark.usefixtures("bought")
def test_verify_exits_with_0_for_a_sound_cache(capsys: pytest.CaptureFixture[str]) -> None:
    """And says what was checked."""
    assert main(["verify"]) == 0
    assert "3 embeddings and 2 receipts checked: sound." in capsys.readouterr().out


def test_verify_exits_with_1_for_a_corrupt_cache_and_names_the_row(
    bought: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In full, however long the name."""
    overwrite(bought, image(1).digest, b"rubbish")
    assert main(["verify"]) == 1
    shown = capsys.readouterr().out
    assert f"{image(1).digest.hex()}: its checksum does not match its bytes" in shown
    assert "NOT SOUND, 2 problems" in shown


@pytest.mark.parametrize("place", ["before", "after"])
def test_the_cache_can_be_named_before_or_after_the_command(
    bought: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And that wins over the environment."""
    monkeypatch.setenv(CACHE_VARIABLE, "/nowhere")
    named = ["--cache", str(bought)]
    assert main([*named, "verify"] if place == "before" else ["verify", *named]) == 0


def test_the_default_cache_is_in_the_working_folder(
    bought: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ./paid-cache."""
    monkeypatch.delenv(CACHE_VARIABLE)
    monkeypatch.chdir(bought.parent)
    assert main(["verify"]) == 0


def test_a_missing_cache_exits_with_2_and_a_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No empty report, no traceback, no new folder."""
    assert main(["--cache", str(tmp_path / "x"), "summary"]) == 2
    assert "error: there is no cache in" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_summary_exits_with_2_for_a_corrupt_receipt_and_names_it(
    bought: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A sum that leaves it out would be wrong."""
    tamper(bought, "UPDATE Cache SET value = x'00' WHERE tag = 'receipt'")
    assert main(["summary"]) == 2
    assert "error: stored record receipt/http://vendor:8000#k1/req_0002 is corrupt" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["export"], ["audit"], ["export", "-x"]])
def test_a_wrong_command_line_exits_with_2(
    arguments: Sequence[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """With the usage."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: cache-report" in capsys.readouterr().err


@pytest.mark.usefixtures("bought")
def test_export_writes_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    """Only the data; receipts by default."""
    assert main(["export", "--format", "csv"]) == 0
    records = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [record["units"] for record in records] == ["2", "1"]
    assert main(["export", "--format", "json", "--what", "rows"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 3


@pytest.mark.usefixtures("bought")
def test_export_writes_to_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Under its name only when it is whole."""
    out = tmp_path / "runs.json"
    assert main(["export", "--format", "json", "--what", "runs", "--out", str(out)]) == 0
    assert [record["run"] for record in json.loads(out.read_text())] == ["run-1"]
    assert "1 runs written to" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.usefixtures("bought")
def test_an_export_that_cannot_be_written_exits_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And a sentence."""
    out = str(tmp_path / "no" / "such" / "file")
    assert main(["export", "--format", "csv", "--out", out]) == 2
    assert "error:" in capsys.readouterr().err


@pytest.mark.usefixtures("bought")
def test_an_audit_without_differences_exits_with_0(
    ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    """It shows both sides' sums, and never the key."""
    with vendor_of(ledger.entries).serving() as url:
        assert main(["audit", "--vendor", url]) == 0
    shown = capsys.readouterr()
    assert "vendor: 2 charges in 3 entries, 3 queries, 0.000300 USD" in shown.out
    assert "cache:  2 receipts, 3 queries, 0.000300 USD" in shown.out
    assert f"{url}#k1: balanced" in shown.out
    assert "bought at another address of this key: 2, http://vendor:8000#k1" in shown.out
    assert SECRET not in shown.out + shown.err


@pytest.mark.usefixtures("bought")
def test_an_audit_with_a_difference_exits_with_1_and_names_the_entry(
    ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    """Here an entry that only the cache has."""
    with vendor_of(ledger.entries[:-1]).serving() as url:
        assert main(["audit", "--vendor", url]) == 1
        shown = capsys.readouterr().out
        assert "seq 3, request req_0003: missing in the vendor's ledger" in shown
        assert "NOT BALANCED, 3 differ" in shown
        assert main(["audit", "--vendor", url, "--json"]) == 1
    result = json.loads(capsys.readouterr().out)
    assert result["is_balanced"] is False
    assert result["differences"][0]["line"] == "seq 3, request req_0003"


@pytest.mark.usefixtures("bought")
def test_receipts_of_other_accounts_are_listed_as_not_audited(
    cache: PaidCache, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    """With their number."""
    buy(cache, Ledger(), image(70), account="https://other#k9", name="other")
    with vendor_of(ledger.entries).serving() as url:
        assert main(["audit", "--vendor", url]) == 0
    assert "not audited: 1 receipts of https://other#k9" in capsys.readouterr().out


@pytest.mark.usefixtures("bought")
def test_the_key_may_come_from_a_file(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the line break that editors add; it wins over the environment."""
    monkeypatch.setenv(KEY_VARIABLE, "sk_wrong_key")
    (tmp_path / "key").write_text(f"{SECRET}\n")
    with vendor_of(ledger.entries).serving() as url:
        assert main(["audit", "--vendor", url, "--key-file", str(tmp_path / "key")]) == 0


@pytest.mark.usefixtures("bought")
def test_an_impossible_audit_exits_with_2_and_a_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong key, no vendor, no key file, no key: never "balanced" and never "differs"."""
    vendor = vendor_of([])
    vendor.secret = "sk_k1_another"
    with vendor.serving() as url:
        assert main(["audit", "--vendor", url]) == 2
    assert "answered 401" in capsys.readouterr().err
    assert main(["audit", "--vendor", "vendor:8000"]) == 2
    assert "not an http or https address" in capsys.readouterr().err
    assert main(["audit", "--vendor", url, "--key-file", str(tmp_path / "no")]) == 2
    assert "No such file" in capsys.readouterr().err
    monkeypatch.delenv(KEY_VARIABLE)
    assert main(["audit", "--vendor", url]) == 2
    message = capsys.readouterr().err
    assert KEY_VARIABLE in message
    assert SECRET not in message


def _program(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "cache", "--cache", str(folder), *arguments],
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize("arguments", [["verify"], ["verify", "--json"]])
def test_a_closed_pipe_does_not_hide_that_a_cache_is_damaged(
    arguments: list[str], bought: Path
) -> None:
    overwrite(bought, image(1).digest, b"not what was paid for")
    with _program(bought, *arguments) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        program.stdout.close()
        assert program.stderr.read() == b""
    assert program.returncode == 1


@pytest.mark.usefixtures("bought")
def test_ctrl_c_is_one_line_and_exit_code_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: object) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr("cache.integrity.verify.verify", interrupted)
    assert main(["verify"]) == 130
    assert capsys.readouterr().err == "interrupted\n"
