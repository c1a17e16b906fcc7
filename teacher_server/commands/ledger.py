"""`teacher-server ledger`: verify, purge, correct, list corrections, back up and restore."""

from __future__ import annotations

import argparse
import os

from teacher_server.commands.output import DAY_MS, CommandOutput, format_minute
from teacher_server.database.engine import open_engine
from teacher_server.errors import SettingsError
from teacher_server.ledger.backup import Copy
from teacher_server.ledger.backup import back_up as copy_ledger
from teacher_server.ledger.backup import restore as restore_ledger
from teacher_server.ledger.clock import unix_ms
from teacher_server.ledger.ledger import open_database
from teacher_server.ledger.records import Records
from teacher_server.settings import VendorSettings


def verify(arguments: argparse.Namespace, settings: VendorSettings) -> CommandOutput:
    """Recompute all hash chains, balances, receipts and the embeddings of stored answers; exit
    code 1 if there is a fault."""
    with open_database(settings.database) as engine:
        audit = Records(engine).verify()
    lines = [f"FAULT {fault}" for fault in audit.faults]
    refunded = f" ({audit.units_corrected} refunded)" if audit.units_corrected else ""
    if audit.charges_without_digest:
        lines.append(
            f"{audit.charges_without_digest} charges are without a digest: they are from before "
            "receipts committed to the embeddings, so a changed embedding in their stored answers "
            "would not be found"
        )
    verdict = f"{len(audit.faults)} faults" if audit.faults else "the ledger balances"
    lines.append(
        f"{audit.keys} keys, {audit.entries} entries, {audit.units_charged} queries "
        f"charged{refunded}: {verdict}"
    )
    return CommandOutput("\n".join(lines), code=1 if audit.faults else 0)


def purge(arguments: argparse.Namespace, settings: VendorSettings) -> CommandOutput:
    """Delete old stored answers; their charges and Idempotency-Keys stay forever."""
    now = unix_ms()
    oldest = now // DAY_MS  # days since 1970, where Unix time starts
    if not 0 <= arguments.older_than_days <= oldest:
        message = f"--older-than-days must be from 0 to {oldest}, not {arguments.older_than_days}"
        raise SettingsError(message)
    with open_database(settings.database) as engine:
        purged = Records(engine).purge(now - arguments.older_than_days * DAY_MS)
    return CommandOutput(
        f"{purged} answers older than {arguments.older_than_days} days were purged"
    )


def correct(arguments: argparse.Namespace, settings: VendorSettings) -> CommandOutput:
    """Refund queries or cost of a charge, as a new ledger entry."""
    with open_database(settings.database) as engine:
        entry = Records(engine).correct(
            arguments.request_id,
            units=arguments.units,
            cost_micro_usd=arguments.cost_micro_usd,
            reason=arguments.reason,
            actor=f"command line, uid {os.getuid()}",
            correction_id=arguments.correction_id,
        )
    return CommandOutput(
        f"{entry.request_id} refunds {-entry.units} queries and {-entry.cost_micro_usd} "
        f"micro-USD of {arguments.request_id}; {entry.balance_units} queries are unspent"
    )


def corrections(arguments: argparse.Namespace, settings: VendorSettings) -> CommandOutput:
    """List the corrections of one charge or of all: how much, by whom and why."""
    with open_database(settings.database) as engine:
        found = Records(engine).corrections(arguments.request_id)
    lines = (
        f"{format_minute(correction.created_ms)}  {correction.request_id} refunds "
        f"{correction.units} queries and {correction.cost_micro_usd} micro-USD of "
        # Quoted, so that free text cannot break the line or control the terminal.
        f"{correction.corrects}, by {correction.actor}: {correction.reason!r}"
        for correction in found
    )
    return CommandOutput("\n".join(lines) or "there are no corrections")


def back_up(arguments: argparse.Namespace, settings: VendorSettings) -> CommandOutput:
    """Copy a SQLite ledger and its pepper while the server may be selling; verify the copy."""
    with open_database(settings.database) as engine:
        copy = copy_ledger(engine, arguments.file)
    return CommandOutput(f"wrote {arguments.file}: {_of(copy)}", note=_without_pepper(copy))


def restore(arguments: argparse.Namespace, settings: VendorSettings) -> CommandOutput:
    """Put a copy in the place of a ledger that does not exist."""
    engine = open_engine(settings.database)
    try:
        copy = restore_ledger(arguments.file, engine)
    finally:
        engine.dispose()
    note = (
        "what was sold after the last entry is not in this ledger: customers keep the receipts, "
        "and their `cache-report audit` names them"
    )
    return CommandOutput(
        f"restored {engine.url.database}: {_of(copy)}",
        note="\n".join(filter(None, (note, _without_pepper(copy)))),
    )


def _of(copy: Copy) -> str:
    audit = copy.audit
    return (
        f"{audit.keys} keys, {audit.entries} entries, {audit.units_charged} queries charged, no "
        f"faults; the last entry is of {format_minute(copy.last_ms)} UTC"
    )


def _without_pepper(copy: Copy) -> str:
    if copy.has_pepper:
        return ""
    return "there is no pepper file: keep TEACHER_PEPPER, without which no key can be verified"
