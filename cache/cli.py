"""`cache-report`: what was paid for, from nothing but the cache folder."""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cache.storage.reader import CacheReader

CACHE_VARIABLE: Final = "DISTILL_CACHE"
KEY_VARIABLE: Final = "TEACHER_API_KEY"
DEFAULT_CACHE: Final = "./paid-cache"

EXIT_SOUND: Final = 0
EXIT_DIFFERS: Final = 1
EXIT_CANNOT: Final = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command: 0 when all is well, 1 when something differs, 2 when it cannot be told."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.run is _merge and hasattr(arguments, "cache"):
        parser.error("merge names both caches itself: it takes no --cache")
    if sys.stdout is None:
        print("error: standard output is closed", file=sys.stderr)
        return EXIT_CANNOT
    from cache.errors import CacheError
    from cache.storage.reader import CacheReader

    folder = getattr(arguments, "cache", None) or os.environ.get(CACHE_VARIABLE, DEFAULT_CACHE)
    try:
        if arguments.changes:
            change: Callable[[Path, argparse.Namespace], int] = arguments.run
            status = change(Path(folder), arguments)
        else:
            with CacheReader.open(folder) as cache:
                run: Callable[[CacheReader, argparse.Namespace], int] = arguments.run
                status = run(cache, arguments)
        # Here, where it can still be told, and not at exit.
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read us has had enough.
        _drop_output()
        return EXIT_SOUND
    except (CacheError, OSError) as error:
        _drop_output()
        print(f"error: {error}", file=sys.stderr)
        return EXIT_CANNOT
    except Exception:
        # A fault of this program is no difference, which Python's own 1 would say.
        traceback.print_exc()
        return EXIT_CANNOT
    return status


def _parser() -> argparse.ArgumentParser:
    place = argparse.ArgumentParser(add_help=False)
    place.add_argument(
        "--cache",
        metavar="DIR",
        default=argparse.SUPPRESS,
        help=f"the cache folder (default: ${CACHE_VARIABLE} or {DEFAULT_CACHE})",
    )
    parser = argparse.ArgumentParser(prog="cache-report", description=__doc__, parents=[place])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[..., int], *, changes: bool = False) -> _Command:
        text = run.__doc__ or ""
        parents = [] if run is _merge else [place]
        added = commands.add_parser(
            name, help=text.split("\n")[0], description=text, parents=parents
        )
        added.set_defaults(run=run, changes=changes)
        return added

    for name, run in (("summary", _summary), ("by-day", _by_day)):
        command(name, run).add_argument("--json", action="store_true", help="print JSON")
    verify = command("verify", _verify, changes=True)
    verify.add_argument(
        "--repair",
        action="store_true",
        help="move what is corrupt aside into DIR/quarantine and write anew what can be known;"
        " no run may be buying",
    )
    verify.add_argument("--json", action="store_true", help="print JSON")
    merge = command("merge", _merge, changes=True)
    merge.add_argument("into", metavar="A", type=Path, help="the cache that everything is added to")
    merge.add_argument("source", metavar="B", type=Path, help="the cache that is added, unchanged")
    merge.add_argument("--json", action="store_true", help="print JSON")
    write_off = command("give-up", _give_up, changes=True)
    write_off.add_argument(
        "key",
        metavar="IDEMPOTENCY_KEY",
        help="of an open purchase; its beginning will do, as summary shows it",
    )
    write_off.add_argument("--json", action="store_true", help="print JSON")
    export = command("export", _export)
    export.add_argument("--format", choices=("csv", "json"), required=True)
    export.add_argument("--what", choices=("receipts", "rows", "runs"), default="receipts")
    export.add_argument("--out", metavar="FILE", type=Path, help="instead of standard output")
    audit = command("audit", _audit)
    audit.add_argument("--vendor", metavar="URL", required=True)
    audit.add_argument(
        "--key-file",
        metavar="FILE",
        type=Path,
        help=f"a file with the vendor's key (default: ${KEY_VARIABLE}; never given as an argument)",
    )
    audit.add_argument("--json", action="store_true", help="print JSON")
    return parser


_Command = argparse.ArgumentParser


def _summary(cache: CacheReader, arguments: argparse.Namespace) -> int:
    """What was bought, of which model, for which run, at what price, and what the hits saved."""
    from cache.reports.spend import spend_summary
    from cache.reports.terminal import console, show_summary

    summary = spend_summary(cache)
    if arguments.json:
        _print_json(summary)
    else:
        show_summary(console(), summary)
    return EXIT_SOUND


def _by_day(cache: CacheReader, arguments: argparse.Namespace) -> int:
    """What was bought on each day (UTC)."""
    from cache.reports.spend import spend_by_day
    from cache.reports.terminal import console, show_days

    days = spend_by_day(cache)
    if arguments.json:
        _print_json(days)
    else:
        show_days(console(), days)
    return EXIT_SOUND


def _verify(folder: Path, arguments: argparse.Namespace) -> int:
    """Check every checksum, every receipt's hash and links, and all sums; name what is wrong.

    Exit status: 0 the cache is sound (after --repair: it is now); 1 something is wrong (after
    --repair: still, as paid rows that must first come back); 2 it cannot be told or repaired.
    """
    from cache.integrity.verify import verify
    from cache.reports.terminal import console, show_verification

    if arguments.repair:
        return _repair(folder, arguments)
    with _records(folder) as cache:
        result = verify(cache)
    if arguments.json:
        _print_json({"is_sound": result.is_sound, **asdict(result)})
    else:
        show_verification(console(), result)
    return EXIT_SOUND if result.is_sound else EXIT_DIFFERS


def _repair(folder: Path, arguments: argparse.Namespace) -> int:
    from cache.integrity.repair import repair
    from cache.reports.terminal import console, show_repair

    result = repair(folder)
    is_sound = result.verification.is_sound
    if arguments.json:
        _print_json({"is_sound": is_sound, "changed": result.changed, **asdict(result)})
    else:
        show_repair(console(), result)
    return EXIT_SOUND if is_sound else EXIT_DIFFERS


def _merge(_: Path, arguments: argparse.Namespace) -> int:
    """Add everything of cache B to cache A, each receipt once; B stays as it is.

    Exit status: 0 all of B is in A; 2 nothing was added, as on two different receipts of one name.
    """
    from cache.maintenance.merge import merge
    from cache.paid_cache import PaidCache
    from cache.reports.terminal import console, show_merge

    _records(arguments.into).close()  # PaidCache would make a new cache where there is none
    with _records(arguments.source) as source, PaidCache.open(arguments.into, to_mend=True) as into:
        result = merge(source, into)
    if arguments.json:
        _print_json(asdict(result))
    else:
        show_merge(console(), result)
    return EXIT_SOUND


def _give_up(folder: Path, arguments: argparse.Namespace) -> int:
    """Give up one open purchase: its queries stay counted as spent, its items can be bought again.

    For a purchase that no run settles, as its key is revoked or its vendor gone; any other the
    client's next run asks for, free of charge. Exit status: 0 it is on record as lost; 2 nothing
    was changed, as there is no such purchase or its run is alive.
    """
    from cache.maintenance.write_off import write_off
    from cache.paid_cache import PaidCache

    _records(folder).close()  # PaidCache would make a new cache where there is none
    with PaidCache.open(folder) as cache:
        intent = write_off(cache, arguments.key)
    key, units, items = intent.idempotency_key, intent.units, len(intent.keys)
    if arguments.json:
        _print_json({"idempotency_key": key, "run": intent.run, "items": items, "units": units})
    else:
        print(
            f"purchase {key} given up: {units} queries stay counted as spent,"
            f" {items} items can be bought again."
        )
    return EXIT_SOUND


def _records(folder: Path) -> CacheReader:
    from cache.storage.reader import CacheReader

    return CacheReader.open(folder)


def _export(cache: CacheReader, arguments: argparse.Namespace) -> int:
    """Write receipts, rows or runs as CSV or JSON."""
    from cache.reports.export import export_csv, export_json, replacing

    write = export_csv if arguments.format == "csv" else export_json
    if arguments.out is None:
        write(cache, arguments.what, sys.stdout)
        return EXIT_SOUND
    with replacing(arguments.out) as file:
        count = write(cache, arguments.what, file)
    print(f"{count} {arguments.what} written to {arguments.out}", file=sys.stderr)
    return EXIT_SOUND


def _audit(cache: CacheReader, arguments: argparse.Namespace) -> int:
    """Compare the receipts with the vendor's ledger, line by line; non-zero on any difference."""
    from cache.audit.audit import audit
    from cache.audit.ledger_client import VendorLedger
    from cache.reports.terminal import console, show_audit

    result = audit(cache, VendorLedger(url=arguments.vendor, key=_key(arguments.key_file)))
    if arguments.json:
        _print_json({"is_balanced": result.is_balanced, **asdict(result)})
    else:
        show_audit(console(), result)
    return EXIT_SOUND if result.is_balanced else EXIT_DIFFERS


def _key(key_file: Path | None) -> str:
    from cache.errors import AuditImpossible

    if key_file is not None:
        try:
            return key_file.read_text(encoding="utf-8").strip()
        except UnicodeDecodeError as error:
            message = f"{key_file} is not a file with a key: it is not text"
            raise AuditImpossible(message) from error
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not key:
        message = f"an audit needs the vendor's key: set {KEY_VARIABLE} or give --key-file"
        raise AuditImpossible(message)
    return key


def _drop_output() -> None:
    """Flush what was printed, or let it go: else Python would complain again at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2))


if __name__ == "__main__":
    sys.exit(main())
