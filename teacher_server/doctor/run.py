"""Runs all checks, cheap ones first; one that fails does not stop those after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from teacher_server.doctor import ledger, machine, model
from teacher_server.doctor.finding import Finding, checked, fault, ok, warning
from teacher_server.errors import SettingsError
from teacher_server.settings import VendorSettings, unread_variables


def findings(read: Callable[[], VendorSettings]) -> Iterator[Finding]:
    """What was found with the settings that `read` returns; nothing else if it raises
    SettingsError."""
    try:
        settings = read()
    except SettingsError as error:
        yield fault("settings", str(error), "correct the option, the variable or the file")
        return
    yield ok("settings", "they can be read")
    if unread := unread_variables():
        detail = f"no option reads {', '.join(unread)}"
        yield warning("settings", detail, "correct the name of the variable, or unset it")
    checks = (
        ("clock", machine.clock, "set the clock"),
        ("port", machine.port, "stop what uses it, or choose another --host or --port"),
        ("serving", machine.serving, "install the extra, and use PostgreSQL"),
        ("open files", machine.open_files, "lower --max-connections"),
        ("disk", machine.folders, "name another place, or make it readable"),
        ("webhook", machine.webhook, "correct the environment variable"),
        ("first key", ledger.first_key, "correct TEACHER_FIRST_KEY"),
        ("ledger", ledger.ledger, "check --database, that it is up, and the secrets beside it"),
        ("model", model.model, "check --model and --pretrained"),
        ("device", model.device, "use --device cpu, --engine torch and --dtype fp32"),
    )
    for subject, check, fix in checks:
        yield from checked(subject, partial(check, settings), fix=fix)
