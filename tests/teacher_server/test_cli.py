"""The command line: one-line errors, and keys that are shown once."""

from __future__ import annotations

import errno
import json
import logging
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from teacher_server import cli
from teacher_server.atomic_file import write_atomically
from teacher_server.cli import main
from teacher_server.ledger.account import LAST_MS
from teacher_server.ledger.ledger import open_database, open_ledger
from teacher_server.ledger.purchase import Price, Purchase, Reservation
from teacher_server.operations.logs import RedactingFormatter, redact
from teacher_server.settings import VendorSettings
from tests.support.ledger_operations import body_of


@pytest.fixture
def dsn(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/vendor/ledger.db"


def run(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def create(dsn: str, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    arguments = ["keys", "create", "--name", "lab", "--budget", "9", "--json", "--database", dsn]
    code, out, err = run(*arguments, capsys=capsys)
    assert (code, err) == (0, "")
    made: dict[str, str] = json.loads(out)
    return made


def test_a_variable_that_no_option_reads_is_named_and_the_command_goes_on(
    dsn: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEACHER_DATABSE", "postgresql://ledger")
    code, out, err = run("keys", "list", "--json", "--database", dsn, capsys=capsys)
    assert (code, json.loads(out)) == (0, [])
    assert err.startswith("warning: no option reads TEACHER_DATABSE: ")


def test_a_key_is_created_shown_once_and_listed(
    dsn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made = create(dsn, capsys)
    assert made["key"].startswith(f"sk_{made['id']}_")
    code, out, _ = run("keys", "list", "--database", dsn, capsys=capsys)
    assert code == 0
    assert made["id"] in out
    assert made["key"] not in out
    _, out, _ = run("keys", "list", "--json", "--database", dsn, capsys=capsys)
    (listed,) = json.loads(out)
    assert (listed["name"], listed["budget_units"], listed["remaining_units"]) == ("lab", 9, 9)
    assert "secret_hash" not in listed


def test_without_json_the_key_alone_is_on_stdout(
    dsn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(
        "keys", "create", "--name", "n", "--budget", "1", "--database", dsn, capsys=capsys
    )
    assert code == 0
    assert out.startswith("sk_")
    assert len(out.splitlines()) == 1
    assert "shown only now" in err


def test_keys_are_topped_up_and_revoked(dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
    made = create(dsn, capsys)
    code, out, _ = run(
        "keys", "topup", made["id"], "--units", "5", "--database", dsn, capsys=capsys
    )
    assert (code, "14 queries left" in out) == (0, True)
    code, out, _ = run("keys", "revoke", made["id"], "--database", dsn, capsys=capsys)
    assert (code, "revoked" in out) == (0, True)
    _, out, _ = run("keys", "list", "--database", dsn, capsys=capsys)
    assert "(revoked)" in out
    code, out, err = run("keys", "revoke", "nobody", "--database", dsn, capsys=capsys)
    assert (code, out, err) == (1, "", "error: no key has the id 'nobody'\n")


def test_a_key_is_made_with_limits_and_they_are_changed(
    dsn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    create = ["keys", "create", "--name", "ops", "--budget", "7", "--period", "month", "--json"]
    create += ["--scope", "admin", "--scope", "read", "--expires-days", "2"]
    create += ["--requests-per-minute", "30", "--max-concurrent", "4", "--database", dsn]
    code, out, _ = run(*create, capsys=capsys)
    made = json.loads(out)
    assert code == 0
    assert (made["scopes"], made["budget_period"], made["period_units"]) == (
        ["read", "admin"],
        "month",
        7,
    )
    assert (made["requests_per_minute"], made["max_concurrent"]) == (30, 4)
    assert made["expires_ms"] - made["created_ms"] <= 2 * 86_400_000 + 60_000
    _, out, _ = run("keys", "list", "--database", dsn, capsys=capsys)
    assert "read,admin" in out
    assert "(each month)" in out
    change = ["keys", "limits", made["id"], "--expires-days", "0", "--requests-per-minute", "0"]
    code, out, _ = run(*change, "--scope", "embed", "--database", dsn, capsys=capsys)
    assert code == 0
    assert out.strip().endswith("embed, expires never, 6000 requests per minute, 4 concurrent")
    code, _, err = run("keys", "limits", made["id"], "--database", dsn, capsys=capsys)
    assert (code, "nothing to change" in err) == (1, True)


def test_an_expiry_that_no_date_can_name_is_refused_and_one_on_record_is_listed(
    dsn: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = create(dsn, capsys)
    change = ["keys", "limits", made["id"], "--database", dsn, "--expires-days"]
    code, out, err = run(*change, "3000000", capsys=capsys)
    assert (code, out) == (1, "")
    assert err.startswith("error: expires_ms must be a time up to the year 9999")
    code, out, _ = run(*change, "2900000", capsys=capsys)
    assert (code, "expires 9" in out) == (0, True)
    for expires_ms, shown in ((LAST_MS, "9999-12-31"), (LAST_MS + 1, "after 9999")):
        connection = sqlite3.connect(tmp_path / "vendor" / "ledger.db")
        connection.execute("UPDATE accounts SET expires_ms = ?", (expires_ms,))
        connection.commit()
        connection.close()
        code, out, _ = run("keys", "list", "--database", dsn, capsys=capsys)
        assert (code, shown in out) == (0, True)


def test_a_rotated_key_is_shown_once_and_keeps_its_id(
    dsn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made = create(dsn, capsys)
    code, out, err = run("keys", "rotate", made["id"], "--database", dsn, capsys=capsys)
    assert code == 0
    assert out.startswith(f"sk_{made['id']}_")
    assert out.strip() != made["key"]
    assert "shown only now" in err


def test_a_top_up_under_one_grant_id_is_made_once(
    dsn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made = create(dsn, capsys)
    top_up = ["keys", "topup", made["id"], "--units", "5", "--grant-id", "invoice-1"]
    for _ in range(2):
        code, out, _ = run(*top_up, "--database", dsn, capsys=capsys)
        assert (code, "14 queries left" in out) == (0, True)


def test_a_charge_is_corrected_and_old_answers_are_purged(
    dsn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made = create(dsn, capsys)
    with open_database(dsn) as engine, open_ledger(engine, lease_seconds=60) as ledger:
        purchase = Purchase(
            request_id="req_1",
            key_id=made["id"],
            idempotency_key="k",
            payload_sha256="f" * 64,
            images=0,
            texts=3,
        )
        held = ledger.charges.reserve(purchase, Price(version="p", micro_usd_per_unit=100))
        assert isinstance(held, Reservation)
        ledger.charges.post(held, model="m", model_fingerprint="f", render=body_of)
    correct = ["ledger", "correct", "req_1", "--units", "2", "--cost-micro-usd", "200"]
    code, out, _ = run(*correct, "--reason", "too\n\x1bdear", "--database", dsn, capsys=capsys)
    assert code == 0
    assert "refunds 2 queries and 200 micro-USD of req_1; 8 queries are unspent" in out
    for which in ([], ["req_1"]):
        code, out, _ = run("ledger", "corrections", *which, "--database", dsn, capsys=capsys)
        assert (code, len(out.splitlines())) == (0, 1)
        assert " refunds 2 queries and 200 micro-USD of req_1, by command line, uid " in out
        assert out.endswith(": 'too\\n\\x1bdear'\n")
    code, out, _ = run("ledger", "corrections", "req_2", "--database", dsn, capsys=capsys)
    assert (code, out) == (0, "there are no corrections\n")
    code, _, err = run(*correct, "--reason", "again", "--database", dsn, capsys=capsys)
    assert code == 1
    assert err.startswith("error: 1 queries and 100 micro-USD of the charge 'req_1'")
    purge = ["ledger", "purge", "--older-than-days"]
    _, out, _ = run(*purge, "1", "--database", dsn, capsys=capsys)
    assert out == "0 answers older than 1 days were purged\n"
    for age in ("-1", "999999999999999"):
        code, _, err = run(*purge, age, "--database", dsn, capsys=capsys)
        assert code == 1
        assert err.startswith("error: --older-than-days must be from 0 to ")
    code, out, _ = run("ledger", "verify", "--database", dsn, capsys=capsys)
    assert code == 0
    undigested, balance = out.splitlines()
    assert undigested.startswith("1 charges are without a digest")  # `post` was given none
    assert balance == "1 keys, 3 entries, 3 queries charged (2 refunded): the ledger balances"


def test_verify_reports_a_balanced_ledger_or_the_altered_entry(
    dsn: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    create(dsn, capsys)
    code, out, _ = run("ledger", "verify", "--database", dsn, capsys=capsys)
    assert (code, out) == (0, "1 keys, 1 entries, 0 queries charged: the ledger balances\n")
    connection = sqlite3.connect(tmp_path / "vendor" / "ledger.db")
    connection.execute("DROP TRIGGER ledger_entries_no_update")
    connection.execute("UPDATE ledger_entries SET units = 900")
    connection.commit()
    connection.close()
    code, out, _ = run("ledger", "verify", "--database", dsn, capsys=capsys)
    assert code == 1
    assert "seq 1: the entry was altered" in out


def test_serving_a_model_that_cannot_be_found_is_a_one_line_error(
    dsn: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    handlers, level = logging.root.handlers[:], logging.root.level
    try:
        code, out, err = run("serve", "--model", str(tmp_path), "--database", dsn, capsys=capsys)
    finally:
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert "holds no open_clip_config.json" in err
    assert "TEACHER_MODEL=embedded" in err
    assert len(err.splitlines()) == 1


def test_a_bad_option_is_a_one_line_error(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run("serve", "--port", "70000", capsys=capsys)
    assert code == 1
    assert err.startswith("error: option port: ")


# The settings class, and so pydantic, is what the help of `serve` is made from.
@pytest.mark.parametrize(
    ("command", "flag", "heavy"),
    [
        ("serve", "--max-batch", "torch open_clip timm sqlalchemy fastapi PIL numpy"),
        ("keys", "create", "torch open_clip timm sqlalchemy fastapi pydantic PIL numpy"),
    ],
)
def test_help_is_quick_because_nothing_heavy_is_imported(
    command: str, flag: str, heavy: str
) -> None:
    program = (
        "import sys, contextlib\n"
        "from teacher_server.cli import main\n"
        f"with contextlib.suppress(SystemExit): main(['{command}', '--help'])\n"
        f"print([name for name in '{heavy}'.split() if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert flag in done.stdout


def test_serve_has_a_flag_with_help_for_every_option_that_is_not_secret(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    out = " ".join(capsys.readouterr().out.split())
    for name, field in VendorSettings.model_fields.items():
        flag = "--" + name.replace("_", "-")
        assert (f" {flag} " in out) == (name not in VendorSettings.not_flags)
        assert field.description is not None
        assert field.description in out


def test_serve_has_no_flag_for_a_secret() -> None:
    secret = {name for name, field in VendorSettings.model_fields.items() if "Secret" in str(field)}
    assert secret <= VendorSettings.not_flags


def test_every_option_of_serve_reaches_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, object] = {}
    monkeypatch.setattr(
        "teacher_server.ray_serve.run.serve",
        lambda settings, **_: given.update(dict(settings)),
    )
    wanted: dict[str, object] = {}
    values = {
        "dtype": "bf16",
        "engine": "onnx",
        "log_format": "json",
        "serve_with": "ray",
        "url_file": "url",
        "threads": "3",
    }
    values |= {"image_mean": "0.5,0.4,0.3", "image_std": "0.3,0.2,0.1"}
    values |= {"interpolation": "bilinear", "resize_mode": "squash"}
    arguments = ["serve"]
    for name, field in VendorSettings.model_fields.items():
        if name in VendorSettings.not_flags:
            continue
        value = values.get(name)
        if value is None:
            value = str(field.default + 1) if isinstance(field.default, int) else "other"
        wanted[name] = value
        arguments += ["--" + name.replace("_", "-"), value]
    assert main(arguments) == 0
    taken = {name: str(given[name]).strip("()").replace(", ", ",") for name in wanted}
    assert taken == wanted


def test_secrets_are_redacted_in_log_lines_and_tracebacks() -> None:
    token = "sk_abc123_Zm9vYmFyYmF6cXV4-_0123456789"
    assert redact(f"header Bearer {token}!") == "header Bearer sk_abc123_***!"
    try:
        raise ValueError(token)  # noqa: TRY301 - a traceback is needed
    except ValueError:
        record = logging.LogRecord(
            "n", logging.ERROR, "p", 1, "it was %s", (token,), sys.exc_info()
        )
    line = RedactingFormatter("%(message)s").format(record)
    assert "Zm9v" not in line
    assert line.count("sk_abc123_***") == 2


def test_a_file_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "url"
    write_atomically(path, "http://127.0.0.1:1\n")
    write_atomically(path, "http://127.0.0.1:2\n")
    assert path.read_text() == "http://127.0.0.1:2\n"
    assert [file.name for file in path.parent.iterdir()] == ["url"]


def test_a_closed_pipe_hides_no_exit_code() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "teacher_server", "openapi"],
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        program.stdout.close()
        assert program.stderr.read() == b""
    assert program.returncode == 0


def test_a_file_that_cannot_be_written_and_ctrl_c_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(error: BaseException) -> Callable[[object], NoReturn]:
        def run(_: object) -> NoReturn:
            raise error

        return run

    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/vendor/url")
    monkeypatch.setattr(cli, "_openapi", fail(full))
    assert main(["openapi"]) == 1
    assert capsys.readouterr().err == "error: /vendor/url: No space left on device\n"
    monkeypatch.setattr(cli, "_openapi", fail(KeyboardInterrupt()))
    assert main(["openapi"]) == 130
    assert capsys.readouterr().err == "interrupted\n"
