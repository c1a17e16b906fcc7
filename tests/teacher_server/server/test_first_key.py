"""The first key: given, or made once and left in a file for a client."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from benchmarks.support.vendor_in_process import ledger_at
from teacher_server.atomic_file import write_atomically
from teacher_server.errors import LedgerError, SettingsError
from teacher_server.ledger.api_key import ApiKey
from teacher_server.ledger.clock import unix_ms
from teacher_server.ledger.ledger import Ledger
from teacher_server.server.first_key import ensure_first_key
from teacher_server.settings import VendorSettings
from tests.support.racing import at_once

GIVEN = "sk_first_0123456789abcdef"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A ledger without keys."""
    with ledger_at(tmp_path) as (_, ledger):
        yield ledger


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the vendor leaves the first key; its folder does not exist yet."""
    return tmp_path / "keys" / "first-key"


def start(ledger: Ledger, **settings: object) -> list[str]:
    """Start the vendor with these settings; return what it shows."""
    shown: list[str] = []
    ensure_first_key(ledger, VendorSettings.model_validate(settings), show=shown.append)
    return shown


def key_in(file: Path) -> ApiKey:
    key = ApiKey.parse(file.read_text().strip())
    assert key is not None
    return key


def test_a_new_ledger_gets_a_first_key_that_is_shown_and_left_in_the_file(
    ledger: Ledger, file: Path
) -> None:
    (line,) = start(ledger, first_key_file=file, first_key_budget=70)
    key = key_in(file)
    assert line.endswith(f"70 queries (shown only now, and kept in {file}): {key.token}")
    account = ledger.keys.authenticate(key)
    assert account is not None
    assert (account.name, account.budget_units, account.remaining_units) == ("first", 70, 70)


def test_only_its_owner_reads_the_file_with_the_first_key(ledger: Ledger, file: Path) -> None:
    start(ledger, first_key_file=file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_second_start_makes_no_other_key_and_shows_none(
    ledger: Ledger, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    start(ledger, first_key_file=file)
    key = key_in(file)
    assert start(ledger, first_key_file=file) == []
    assert key_in(file) == key
    assert len(ledger.keys.all()) == 1
    assert f"clients can read their key from {file}" in caplog.text
    assert key.secret not in caplog.text


def test_no_first_key_is_made_unless_it_is_asked_for(ledger: Ledger) -> None:
    assert start(ledger) == []
    assert not ledger.keys.exist()


def test_a_given_first_key_wins_over_the_file(ledger: Ledger, file: Path) -> None:
    assert start(ledger, first_key=SecretStr(GIVEN), first_key_file=file) == []
    assert [account.id for account in ledger.keys.all()] == ["first"]
    assert not file.exists()


def test_a_key_can_be_given_after_one_was_made(ledger: Ledger, file: Path) -> None:
    start(ledger, first_key_file=file)
    start(ledger, first_key=SecretStr(GIVEN), first_key_file=file)
    given = ApiKey.parse(GIVEN)
    assert given is not None
    assert ledger.keys.authenticate(given) is not None
    assert ledger.keys.authenticate(key_in(file)) is not None


def test_a_ledger_that_has_keys_gets_no_first_key_and_the_log_says_what_to_do(
    ledger: Ledger, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = ApiKey.new()
    ledger.keys.create(made, name="lab", budget=1, price_version="p")
    ledger.keys.revoke(made.id)
    assert start(ledger, first_key_file=file) == []
    assert not file.exists()
    assert "this ledger has keys already" in caplog.text
    assert "set TEACHER_FIRST_KEY to a key that you have" in caplog.text


def test_a_key_that_was_written_but_not_registered_is_registered_at_the_next_start(
    ledger: Ledger, file: Path
) -> None:
    key = ApiKey.new()
    file.parent.mkdir()
    write_atomically(file, key.token + "\n", overwrite=False)  # the vendor was killed here
    assert start(ledger, first_key_file=file) == []
    assert ledger.keys.authenticate(key) is not None


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        ("rotate", "was rotated; take the key that rotating showed"),
        ("revoke", "was revoked; make a key with `teacher-server keys create"),
        ("expire", "has expired; `teacher-server keys limits default --expires-days 0`"),
    ],
)
def test_a_start_says_that_the_files_key_is_not_valid_and_what_to_do(
    ledger: Ledger, file: Path, caplog: pytest.LogCaptureFixture, change: str, advice: str
) -> None:
    start(ledger, first_key_file=file)
    changes: dict[str, Callable[[], object]] = {
        "rotate": lambda: ledger.keys.rotate("default"),
        "revoke": lambda: ledger.keys.revoke("default"),
        "expire": lambda: ledger.keys.set_limits("default", expires_ms=unix_ms()),
    }
    changes[change]()
    before = file.read_text()
    assert start(ledger, first_key_file=file) == []
    assert f"will be refused: the key default {advice}" in caplog.text
    assert file.read_text() == before
    assert key_in(file).secret not in caplog.text


def test_a_file_with_the_key_of_another_ledger_is_named(
    ledger: Ledger, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledger.keys.create(ApiKey.new(), name="lab", budget=1, price_version="p")
    file.parent.mkdir()
    write_atomically(file, ApiKey.new("elsewhere").token, overwrite=False)
    start(ledger, first_key_file=file)
    assert "the key elsewhere is not in this ledger" in caplog.text
    assert len(ledger.keys.all()) == 1


def test_servers_that_start_at_once_make_one_key_and_show_it_once(
    ledger: Ledger, file: Path
) -> None:
    shown = at_once([lambda: start(ledger, first_key_file=file)] * 6)
    assert sorted(len(lines) for lines in shown) == [0, 0, 0, 0, 0, 1]
    assert len(ledger.keys.all()) == 1
    assert ledger.keys.authenticate(key_in(file)) is not None


def test_of_servers_with_files_of_their_own_one_makes_a_key_and_the_others_leave_none(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(ledger.keys), "exist", lambda _: monkeypatch.undo())
    other = tmp_path / "other" / "first-key"
    start(ledger, first_key_file=other)
    # The ledger was read before the other server stored its key.
    monkeypatch.setattr(type(ledger.keys), "exist", lambda _: monkeypatch.undo())
    mine = tmp_path / "mine" / "first-key"
    assert start(ledger, first_key_file=mine) == []
    assert (other.exists(), mine.exists()) == (True, False)
    assert len(ledger.keys.all()) == 1


def test_a_budget_that_the_ledger_refuses_leaves_no_key_in_the_file(
    ledger: Ledger, file: Path
) -> None:
    with pytest.raises(LedgerError, match="a budget must be"):
        start(ledger, first_key_file=file, first_key_budget=2**60)
    assert not file.exists()


def test_a_file_that_cannot_be_written_stops_the_start_before_a_key_is_made(
    ledger: Ledger, tmp_path: Path
) -> None:
    (tmp_path / "occupied").write_text("")
    with pytest.raises(SettingsError, match=r"cannot be written .* no key was made"):
        start(ledger, first_key_file=tmp_path / "occupied" / "first-key")
    assert not ledger.keys.exist()


@pytest.mark.parametrize("content", [b"", b"sk_short", b"\xff secret-0123456789"])
def test_a_file_without_a_key_is_named_and_its_content_is_not_shown(
    ledger: Ledger, file: Path, content: bytes
) -> None:
    file.parent.mkdir()
    file.write_bytes(content)
    with pytest.raises(SettingsError, match="does not hold an API key") as caught:
        start(ledger, first_key_file=file)
    assert "secret" not in str(caught.value)
    assert not ledger.keys.exist()


def test_a_first_key_of_another_form_is_refused_without_being_shown(ledger: Ledger) -> None:
    with pytest.raises(SettingsError, match="TEACHER_FIRST_KEY is not of the form") as caught:
        start(ledger, first_key=SecretStr("hunter2"))
    assert "hunter2" not in str(caught.value)


VERBOSE = """
import logging, sys
from teacher_server.cli import main
for name in ("", "sqlalchemy", "alembic"):
    logging.getLogger(name).setLevel(1)
sys.exit(main(sys.argv[1:]))
"""


def test_the_whole_output_of_a_server_holds_the_first_key_once(tmp_path: Path, file: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TEACHER_")}
    # It stops before it loads its model, after it has made the first key.
    options = ["--port", "0", "--model", str(tmp_path / "absent"), "--first-key-file", str(file)]
    ended = subprocess.run(
        [sys.executable, "-c", VERBOSE, "serve", *options],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert (ended.stdout + ended.stderr).count(key_in(file).secret) == 1
    assert "sqlalchemy" in ended.stderr
