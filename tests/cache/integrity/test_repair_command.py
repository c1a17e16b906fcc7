"""`cache-report verify --repair` as a person and a script use it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from cache.cli import main
from cache.paid_cache import PaidCache
from cache.storage.folder import DATABASE, RECEIPTS
from cache.storage.missing_rows import find_missing_rows
from tests.support.cache_purchases import ACCOUNT, image, intent_of, overwrite, rows_of, tamper


def test_repair_exits_with_0_for_a_sound_cache(
    bought: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And changes nothing."""
    assert bought.is_dir()
    assert main(["verify", "--repair"]) == 0
    shown = capsys.readouterr().out
    assert "Nothing to repair." in shown
    assert "3 embeddings and 2 receipts checked: sound." in shown


def test_repair_prints_what_it_moved_and_the_price_of_buying_it_again(
    bought: Path, cache: PaidCache, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 1 while a paid row is missing, 0 after the client's next run has fetched it."""
    overwrite(bought, image(1).digest, b"rubbish")
    assert main(["verify", "--repair"]) == 1
    shown = capsys.readouterr().out
    assert f"moved to quarantine: {image(1).digest.hex()}: its checksum does not match" in shown
    assert f"kept in {bought / 'quarantine'}" in shown
    assert "1 paid embeddings are missing. The client's next run fetches them again" in shown
    assert "or buy them again for 0.000100 USD." in shown
    assert main(["verify", "--repair"]) == 1
    assert "Nothing to repair." in capsys.readouterr().out
    (lost,) = find_missing_rows(cache)
    cache.restore(lost.purchase, rows_of(lost.purchase.intent, lost.purchase.receipt))
    assert main(["verify", "--repair"]) == 0


def test_repair_prints_json(bought: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With everything that it did."""
    tamper(bought, "UPDATE Cache SET value = x'00' WHERE tag IN ('receipt', 'totals')")
    assert main(["verify", "--repair", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["is_sound"], result["changed"]) == (True, True)
    assert len(result["moved"]) == 3
    assert {record["name"] for record in result["restored"]} >= {"totals"}


def test_repair_rebuilds_a_database_that_verify_cannot_open(
    bought: Path, cache: PaidCache, capsys: pytest.CaptureFixture[str]
) -> None:
    """verify exits with 2, then the repair succeeds."""
    cache.close()
    (bought / DATABASE).write_bytes(os.urandom(100_000))
    assert main(["verify"]) == 2
    assert main(["verify", "--repair"]) == 1
    assert "moved to quarantine: cache.db: file is not a database" in capsys.readouterr().out
    assert main(["summary"]) == 0


def test_repair_exits_with_2_while_a_run_is_running_and_names_it(
    bought: Path, cache: PaidCache, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is touched."""
    overwrite(bought, image(1).digest, b"rubbish")
    with cache.hold_run_lock("run-7"):
        assert main(["verify", "--repair"]) == 2
    assert "in use by run-7: stop it first" in capsys.readouterr().err


def test_verify_counts_receipts_without_a_second_copy(
    bought: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is not a problem, and --repair adds the copies."""
    (bought / RECEIPTS).unlink()
    assert main(["verify"]) == 0
    assert "2 receipts have no second copy" in capsys.readouterr().out
    assert main(["verify", "--repair"]) == 0
    assert "2 receipts copied to receipts.jsonl." in capsys.readouterr().out
    assert main(["verify"]) == 0
    assert "second copy" not in capsys.readouterr().out


@pytest.mark.usefixtures("bought")
def test_write_offs_are_shown(cache: PaidCache, capsys: pytest.CaptureFixture[str]) -> None:
    """By verify and by the summary."""
    cache.write_off(intent_of(image(9), name="lost-one"), account=ACCOUNT, detail="purged")
    assert main(["verify"]) == 0
    assert "1 purchases are written off." in capsys.readouterr().out
    assert main(["summary"]) == 0
    shown = capsys.readouterr().out
    assert "lost-one" in shown
    assert "Written off: counted as spent, no answer" in shown


def test_nothing_is_repaired_where_there_is_no_cache(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong name creates no folder."""
    assert main(["--cache", str(tmp_path / "x"), "verify", "--repair"]) == 2
    assert "there is no cache in" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
