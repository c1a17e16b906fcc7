"""The commands of `cache-report`. Their docstrings are its help texts.

Every import is inside a function, so that `cache-report --help` does not load numpy.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from cache.standard_output import discard_output

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from cache.storage.reader import CacheReader

KEY_VARIABLE: Final = "TEACHER_API_KEY"

EXIT_OK: Final = 0
EXIT_DIFFERS: Final = 1
EXIT_ERROR: Final = 2
EXIT_INTERRUPTED: Final = 130  # what a shell reports for a program that Ctrl-C ended

_Result = TypeVar("_Result")


def summary(folder: Path, arguments: argparse.Namespace) -> int:
    """Show what was bought, by model and by run, what it cost, and what the cache saved."""
    from cache.reports.spend import spend_summary
    from cache.reports.terminal import show_summary

    with _open(folder) as cache:
        _print(arguments, spend_summary(cache), show_summary)
    return EXIT_OK


def by_day(folder: Path, arguments: argparse.Namespace) -> int:
    """Show what was bought on each day (UTC)."""
    from cache.reports.spend import spend_by_day
    from cache.reports.terminal import show_days

    with _open(folder) as cache:
        _print(arguments, spend_by_day(cache), show_days)
    return EXIT_OK


def verify(folder: Path, arguments: argparse.Namespace) -> int:
    """Check every checksum, all receipts and the embeddings that they pay for, and all sums.

    Lists every problem. A purchase that was erased from the cache and from receipts.jsonl alike
    leaves no trace: only audit finds it.

    With --repair, check again after the repair. Exit status: 0 if the cache is sound; 1 if there
    are problems (after --repair: such as missing rows that a run must fetch again); 2 on errors.
    """
    from cache.integrity.verify import verify
    from cache.reports.as_json import verification_json
    from cache.reports.terminal import show_verification

    if arguments.repair:
        return _repair(folder, arguments)
    with _open(folder) as cache:
        result = verify(cache)
    _print(arguments, result, show_verification, verification_json)
    return EXIT_OK if result.is_sound else EXIT_DIFFERS


def _repair(folder: Path, arguments: argparse.Namespace) -> int:
    from cache.integrity.repair import repair
    from cache.reports.as_json import repair_json
    from cache.reports.terminal import show_repair

    result = repair(folder)
    _print(arguments, result, show_repair, repair_json)
    return EXIT_OK if result.verification.is_sound else EXIT_DIFFERS


def merge(_: Path, arguments: argparse.Namespace) -> int:
    """Add everything in cache B to cache A, each receipt once; B is not changed.

    Several B, such as the shards of one purchase, are added one after the other. Exit status: 0 if
    everything in every B is in A; 2 if nothing was added of the B that the message names, for
    example because one request has two different receipts; what came before it was added.
    """
    from cache.maintenance.merge import Merged, merge
    from cache.paid_cache import PaidCache
    from cache.reports.as_json import merge_json
    from cache.reports.terminal import show_merge

    _require_cache(arguments.into)
    result = Merged()
    with PaidCache.open(arguments.into, for_repair=True) as into:
        for folder in arguments.sources:
            with _open(folder) as source:
                result += merge(source, into)
    _print(arguments, result, show_merge, merge_json)
    return EXIT_OK


def write_off(folder: Path, arguments: argparse.Namespace) -> int:
    """Write off one open purchase: its queries stay spent, its items can be bought again.

    Use it for a purchase that no run can settle, because its API key is revoked or its vendor is
    gone. The client's next run settles every other open purchase, free of charge. Exit status: 0 if
    the purchase is written off; 2 if nothing was changed, because there is no such purchase or its
    run is running.
    """
    from cache.maintenance.write_off import write_off
    from cache.paid_cache import PaidCache

    _require_cache(folder)
    with PaidCache.open(folder) as cache:
        intent = write_off(cache, arguments.key)
    key, units, items = intent.idempotency_key, intent.units, len(intent.keys)
    if arguments.json:
        _print_json({"idempotency_key": key, "run": intent.run, "items": items, "units": units})
    else:
        sys.stdout.write(
            f"purchase {key} written off: {units} queries stay counted as spent,"
            f" {items} items can be bought again.\n"
        )
    return EXIT_OK


def html(folder: Path, arguments: argparse.Namespace) -> int:
    """Write the spend as one HTML file, in which every figure leads to its receipts.

    By day, run, model, account and modality; cache hits, retries, refused items, write-offs and
    open purchases. The file loads nothing from the network. Exit status: 0 if it is written; 2 on
    errors.
    """
    from cache.audit.ledger_client import VendorLedger
    from cache.html_report.page import Sources, write_html_report
    from cache.storage.folder import user_path

    vendor = None
    if arguments.vendor is not None:
        vendor = VendorLedger(url=arguments.vendor, key=_api_key(arguments.key_file))
    data = None if arguments.data is None else user_path(arguments.data)
    students = tuple(user_path(student) for student in arguments.student)
    out = user_path(arguments.out)
    with _open(folder) as cache:
        sources = Sources(data=data, students=students, vendor=vendor)
        count = write_html_report(cache, sources, out)
    if arguments.json:
        _print_json({"file": str(out), "receipts": count})
    else:
        sys.stdout.write(f"{count} receipts reported in {out}\n")
    return EXIT_OK


def diff(folder: Path, arguments: argparse.Namespace) -> int:
    """Compare two caches, or one cache at two dates, by receipts, rows and spend.

    Lists what only one of them has, rows with different vectors, and the spend by model. With
    --since, compares what the cache held before that date with what it held before --until. Exit
    status: 0 if both are equal; 1 if not; 2 on errors.
    """
    from cache.reports.comparison import compare, comparison_json, show_comparison, sides_of

    with ExitStack() as opened:
        folders = [path for path in (arguments.a or folder, arguments.b) if path is not None]
        caches = [opened.enter_context(_open(path)) for path in folders]
        result = compare(*sides_of(caches, since=arguments.since, until=arguments.until))
    _print(arguments, result, show_comparison, comparison_json)
    return EXIT_OK if result.is_equal else EXIT_DIFFERS


def record(folder: Path, arguments: argparse.Namespace) -> int:
    """Write the embeddings of one model as a recording, which a vendor sells without the model.

    `teacher-server serve --model recorded:OUT` sells it: the same answers to the same image files
    and texts, and to no others. For tests, classrooms and CI.
    """
    from cache.reports.recording import write_recording
    from cache.storage.folder import user_path

    out = user_path(arguments.out)
    with _open(folder) as cache:
        count = write_recording(cache, out, fingerprint=arguments.model)
    if arguments.json:
        _print_json({"embeddings": count, "folder": str(out)})
    else:
        sys.stdout.write(f"{count} embeddings recorded in {out}\n")
    return EXIT_OK


def reconcile(folder: Path, arguments: argparse.Namespace) -> int:
    """Compare the receipts with a vendor's invoice or usage export, a CSV file.

    The file has a line of names. date and model say which receipts a line is about; requests,
    images, texts, queries, micro_usd or usd are compared with what was counted here, and any other
    column of numbers with the vendor's usage of that name (total_tokens, image_pixels). A figure
    agrees if it lies between what was answered and that with all purchases in doubt. Exit status: 0
    if all agree; 1 on any difference; 2 on errors.
    """
    from cache.audit.invoice import read_invoice
    from cache.audit.reconcile import reconcile
    from cache.reports.reconciliation import reconciliation_json, show_reconciliation
    from cache.storage.folder import user_path

    with _open(folder) as cache:
        invoice = read_invoice(user_path(arguments.file))
        result = reconcile(cache, invoice, account=arguments.account)
    _print(arguments, result, show_reconciliation, reconciliation_json)
    return EXIT_DIFFERS if result.differences else EXIT_OK


def audit(folder: Path, arguments: argparse.Namespace) -> int:
    """Compare the receipts, and the embeddings that they pay for, with the vendor's ledger.

    Run it while no client is buying. Exit status: 0 if cache and ledger agree; 1 on any difference;
    2 on errors.
    """
    from cache.audit.audit import audit_cache
    from cache.audit.ledger_client import VendorLedger
    from cache.reports.as_json import audit_json
    from cache.reports.terminal import show_audit

    with _open(folder) as cache:
        vendor = VendorLedger(url=arguments.vendor, key=_api_key(arguments.key_file))
        result = audit_cache(cache, vendor)
    _print(arguments, result, show_audit, audit_json)
    return EXIT_OK if result.is_balanced else EXIT_DIFFERS


def _open(folder: Path) -> CacheReader:
    from cache.storage.reader import CacheReader

    return CacheReader.open(folder)


def _require_cache(folder: Path) -> None:
    """Raise CacheUnavailable if there is no cache; PaidCache would create it."""
    _open(folder).close()


def _api_key(key_file: Path | None) -> str:
    from cache.errors import AuditImpossible
    from cache.storage.folder import user_path

    if key_file is not None:
        try:
            return user_path(key_file).read_text(encoding="utf-8").strip()
        except UnicodeDecodeError as error:
            message = f"key file {key_file} is not valid UTF-8"
            raise AuditImpossible(message) from error
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not key:
        message = f"an audit needs the vendor's API key: set {KEY_VARIABLE} or use --key-file"
        raise AuditImpossible(message)
    return key


def _print(
    arguments: argparse.Namespace,
    result: _Result,
    show: Callable[[Console, _Result], None],
    as_json: Callable[[_Result], object] = lambda result: result,
) -> None:
    """Print a result as JSON, if that was asked for, or as tables and lines."""
    from cache.reports.terminal import console

    if arguments.json:
        _print_json(as_json(result))
    else:
        show(console(), result)


def _print_json(value: object) -> None:
    try:
        sys.stdout.write(json.dumps(value, indent=2) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:  # the exit code still says what was found
        discard_output()
