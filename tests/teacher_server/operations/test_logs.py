"""The log as JSON: one object a line, with the fields of a request, and without secrets."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from benchmarks.support.vendor_in_process import Vendor
from teacher_server.operations.logs import JsonFormatter, configure_logging

TOKEN = "sk_abc123_Zm9vYmFyYmF6cXV4-_0123456789"


def formatted(record: logging.LogRecord) -> dict[str, object]:
    line = JsonFormatter().format(record)
    assert "\n" not in line
    found: dict[str, object] = json.loads(line)
    return found


def test_a_line_is_an_object_with_time_level_logger_and_event() -> None:
    found = formatted(logging.LogRecord("a.b", logging.WARNING, "p", 1, "%d left", (3,), None))
    assert (found["level"], found["logger"], found["event"]) == ("warning", "a.b", "3 left")
    assert str(found["time"]).endswith("Z")


def test_secrets_are_redacted_in_fields_and_tracebacks() -> None:
    try:
        raise ValueError(TOKEN)  # noqa: TRY301 - a traceback is needed
    except ValueError:
        record = logging.LogRecord("n", logging.ERROR, "p", 1, "%s", (TOKEN,), sys.exc_info())
    record.header = f"Bearer {TOKEN}"
    line = json.dumps(formatted(record))
    assert "Zm9v" not in line
    assert line.count("sk_abc123_***") == 3
    assert "Traceback" in line


async def test_a_request_has_its_fields_in_the_access_log(
    vendor: Vendor, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        answer = await vendor.http.get("/livez")
    (record,) = [one for one in caplog.records if one.name == "teacher_server.access"]
    found = formatted(record)
    assert found["request_id"] == answer.headers["X-Request-Id"]
    assert (found["method"], found["route"], found["status"]) == ("GET", "/livez", 200)
    assert isinstance(found["milliseconds"], float)


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_the_format_is_chosen_when_logging_is_configured(
    log_format: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])
    configure_logging("json" if log_format == "json" else "text")
    logging.getLogger("teacher_server").info("hello")
    line = capsys.readouterr().err.strip()
    assert line.startswith("{") == (log_format == "json")
    assert "hello" in line
