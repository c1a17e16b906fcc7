"""`cache-report`: what was paid for, from nothing but the cache folder."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cache.records import Records

CACHE_VARIABLE: Final = "DISTILL_CACHE"
KEY_VARIABLE: Final = "TEACHER_API_KEY"
DEFAULT_CACHE: Final = "./paid-cache"

EXIT_SOUND: Final = 0
EXIT_DIFFERS: Final = 1
EXIT_CANNOT: Final = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command: 0 when all is well, 1 when something differs, 2 when it cannot be told."""
    arguments = _parser().parse_args(argv)
    from cache.errors import CacheError
    from cache.records import Records

    folder = getattr(arguments, "cache", None) or os.environ.get(CACHE_VARIABLE, DEFAULT_CACHE)
    try:
        with Records.open(folder) as cache:
            run: Callable[[Records, argparse.Namespace], int] = arguments.run
            return run(cache, arguments)
    except BrokenPipeError:
        # Whoever read us has had enough; Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_SOUND
    except (CacheError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_CANNOT


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

    def command(name: str, run: Callable[[Records, argparse.Namespace], int]) -> _Command:
        text = run.__doc__ or ""
        added = commands.add_parser(name, help=text, description=text, parents=[place])
        added.set_defaults(run=run)
        return added

    for name, run in (("summary", _summary), ("by-day", _by_day), ("verify", _verify)):
        command(name, run).add_argument("--json", action="store_true", help="print JSON")
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


def _summary(cache: Records, arguments: argparse.Namespace) -> int:
    """What was bought, of which model, for which run, at what price, and what the hits saved."""
    from cache.report import spend_summary
    from cache.show import console, show_summary

    summary = spend_summary(cache)
    if arguments.json:
        _print_json(summary)
    else:
        show_summary(console(), summary)
    return EXIT_SOUND


def _by_day(cache: Records, arguments: argparse.Namespace) -> int:
    """What was bought on each day (UTC)."""
    from cache.report import spend_by_day
    from cache.show import console, show_days

    days = spend_by_day(cache)
    if arguments.json:
        _print_json(days)
    else:
        show_days(console(), days)
    return EXIT_SOUND


def _verify(cache: Records, arguments: argparse.Namespace) -> int:
    """Check every checksum, every receipt's hash and links, and all sums; name what is wrong."""
    from dataclasses import asdict

    from cache.show import console, show_verification
    from cache.verify import verify

    result = verify(cache)
    if arguments.json:
        _print_json({"is_sound": result.is_sound, **asdict(result)})
    else:
        show_verification(console(), result)
    return EXIT_SOUND if result.is_sound else EXIT_DIFFERS


def _export(cache: Records, arguments: argparse.Namespace) -> int:
    """Write receipts, rows or runs as CSV or JSON."""
    from cache.export import export_csv, export_json

    write = export_csv if arguments.format == "csv" else export_json
    if arguments.out is None:
        write(cache, arguments.what, sys.stdout)
        return EXIT_SOUND
    part = arguments.out.with_name(f"{arguments.out.name}.part")
    file: IO[str]
    with part.open("w", encoding="utf-8", newline="") as file:
        count = write(cache, arguments.what, file)
    part.replace(arguments.out)
    print(f"{count} {arguments.what} written to {arguments.out}", file=sys.stderr)
    return EXIT_SOUND


def _audit(cache: Records, arguments: argparse.Namespace) -> int:
    """Compare the receipts with the vendor's ledger, line by line; non-zero on any difference."""
    from dataclasses import asdict

    from cache.audit import audit
    from cache.show import console, show_audit
    from cache.vendor_ledger import VendorLedger

    result = audit(cache, VendorLedger(url=arguments.vendor, key=_key(arguments.key_file)))
    if arguments.json:
        _print_json({"is_balanced": result.is_balanced, **asdict(result)})
    else:
        show_audit(console(), result)
    return EXIT_SOUND if result.is_balanced else EXIT_DIFFERS


def _key(key_file: Path | None) -> str:
    from cache.errors import AuditImpossible

    if key_file is not None:
        return key_file.read_text(encoding="utf-8").strip()
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not key:
        message = f"an audit needs the vendor's key: set {KEY_VARIABLE} or give --key-file"
        raise AuditImpossible(message)
    return key


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2))


if __name__ == "__main__":
    sys.exit(main())
