"""Report on a cache of paid embeddings: purchases, cost, and whether everything is intact."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from cache import commands
from cache.reports import export_commands
from cache.standard_output import accept_any_text, discard_output

CACHE_VARIABLE: Final = "DISTILL_CACHE"
DEFAULT_CACHE: Final = "./paid-cache"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return 0 if all is well, 1 on differences or problems, 2 on errors, 130
    on Ctrl-C."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.run is commands.merge and hasattr(arguments, "cache"):
        parser.error("merge takes both caches as arguments and no --cache")
    if sys.stdout is None:
        print("error: standard output is closed", file=sys.stderr)
        return commands.EXIT_ERROR
    accept_any_text()
    if arguments.old_name:
        print(
            f"cache-report: {arguments.old_name} is now called {arguments.new_name}; the old name"
            " still works",
            file=sys.stderr,
        )
    from cache.errors import CacheError

    folder = Path(
        getattr(arguments, "cache", None) or os.environ.get(CACHE_VARIABLE, DEFAULT_CACHE)
    )
    try:
        status: int = arguments.run(folder, arguments)
        # Now, while an error can still be reported, and not at exit.
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of a pipe, such as `head`, has closed it.
        discard_output()
        return commands.EXIT_OK
    except KeyboardInterrupt:
        discard_output()
        print("interrupted", file=sys.stderr)
        return commands.EXIT_INTERRUPTED
    except (CacheError, OSError) as error:
        discard_output()
        print(f"error: {error}", file=sys.stderr)
        return commands.EXIT_ERROR
    except Exception:
        # Exit 2 on a bug: Python's own 1 would mean "differences found".
        traceback.print_exc()
        return commands.EXIT_ERROR
    return status


def _parser() -> argparse.ArgumentParser:
    cache_option = argparse.ArgumentParser(add_help=False)
    cache_option.add_argument(
        "--cache",
        metavar="DIR",
        default=argparse.SUPPRESS,
        help=f"cache folder (default: ${CACHE_VARIABLE} or {DEFAULT_CACHE})",
    )
    parser = argparse.ArgumentParser(
        prog="cache-report", description=__doc__, parents=[cache_option]
    )
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[..., int]) -> argparse.ArgumentParser:
        text = run.__doc__ or ""
        parents = [] if run is commands.merge else [cache_option]
        added = subparsers.add_parser(
            name, help=text.split("\n")[0].rstrip("."), description=text, parents=parents
        )
        added.set_defaults(run=run, old_name=None)
        if run is not export_commands.export:
            added.add_argument("--json", action="store_true", help="print JSON")
        return added

    command("summary", commands.summary)
    command("by-day", commands.by_day)
    verify = command("verify", commands.verify)
    verify.add_argument(
        "--repair",
        action="store_true",
        help="move corrupt records to DIR/quarantine and restore what receipts.jsonl proves;"
        " stop all runs first",
    )
    merge = command("merge", commands.merge)
    merge.add_argument("into", metavar="A", type=Path, help="cache folder to add to")
    merge.add_argument(
        "sources",
        metavar="B",
        type=Path,
        nargs="+",
        help="cache folder to read; not changed (several are added one after the other)",
    )
    write_off = command("write-off", commands.write_off)
    write_off.add_argument(
        "key",
        metavar="IDEMPOTENCY_KEY",
        help="idempotency key of an open purchase, or its first characters (see summary)",
    )
    # Without a help text, so that the list of commands has only the new name.
    give_up = subparsers.add_parser("give-up", parents=[write_off], add_help=False)
    give_up.set_defaults(run=commands.write_off, old_name="give-up", new_name="write-off")
    _add_export_options(command("export", export_commands.export))
    command("import", export_commands.import_cache).add_argument(
        "source", metavar="FROM", help="folder or address of an export of a whole cache"
    )
    _add_html_options(command("html", commands.html))
    _add_diff_options(command("diff", commands.diff))
    record = command("record", commands.record)
    record.add_argument("out", metavar="OUT", type=Path, help="folder to write the recording to")
    record.add_argument(
        "--model",
        metavar="FINGERPRINT",
        help="the model to record, if the cache has embeddings of several",
    )
    _add_audit_options(command("audit", commands.audit))
    reconcile = command("reconcile", commands.reconcile)
    reconcile.add_argument("file", metavar="FILE", type=Path, help="invoice or usage export, CSV")
    reconcile.add_argument(
        "--account",
        metavar="TEXT",
        default="",
        help="compare only receipts of accounts with this text in their name, such as the vendor's"
        " host (default: all)",
    )
    completion = subparsers.add_parser(
        "completion",
        help="Print a script with which a shell completes cache-report",
        description="Print a script with which a shell completes cache-report. For bash:"
        ' eval "$(cache-report completion bash)"',
    )
    completion.add_argument("shell", choices=("bash", "zsh", "fish"))
    completion.set_defaults(run=partial(_complete, parser), old_name=None)
    return parser


def _complete(parser: argparse.ArgumentParser, _: Path, arguments: argparse.Namespace) -> int:
    import shtab

    print(shtab.complete(parser, arguments.shell))
    return commands.EXIT_OK


def _add_export_options(export: argparse.ArgumentParser) -> None:
    export.add_argument(
        "--format", choices=("csv", "json", "parquet"), required=True, help="output format"
    )
    export.add_argument(
        "--what",
        choices=("receipts", "rows", "runs", "cache"),
        default="receipts",
        help="records to export; rows are embeddings without their vectors, cache is everything,"
        " with the vectors, in a folder that import reads (default: receipts)",
    )
    export.add_argument(
        "--out",
        metavar="FILE",
        help="output file (default: standard output); with --what cache, a new folder or address",
    )


def _add_html_options(html: argparse.ArgumentParser) -> None:
    html.add_argument("out", metavar="OUT", type=Path, help="file to write, such as spend.html")
    html.add_argument(
        "--data",
        metavar="PATH",
        type=Path,
        help="folder or manifest (CSV, Parquet) of the images, for the spend by domain and class: "
        "every file is hashed",
    )
    html.add_argument(
        "--student",
        metavar="FOLDER",
        type=Path,
        action="append",
        default=[],
        help="folder of a finished run, for the cost of its accuracy (may be repeated)",
    )
    _add_audit_options(html, why="also audit, and report the refunds in the vendor's ledger")


def _add_diff_options(diff: argparse.ArgumentParser) -> None:
    diff.add_argument(
        "a", metavar="A", type=Path, nargs="?", help="cache folder (default: that of --cache)"
    )
    diff.add_argument("b", metavar="B", type=Path, nargs="?", help="cache folder to compare with A")
    dates = "compare A before this date, in UTC, with A before --until (2026-01-31, or with a time)"
    diff.add_argument("--since", metavar="DATE", help=dates)
    diff.add_argument("--until", metavar="DATE", help="the later date (default: now)")


def _add_audit_options(audit: argparse.ArgumentParser, *, why: str = "") -> None:
    """`why` says what the vendor is for where an audit is optional."""
    audit.add_argument(
        "--vendor",
        metavar="URL",
        required=not why,
        help=f"address of the vendor: {why}" if why else "address of the vendor",
    )
    audit.add_argument(
        "--key-file",
        metavar="FILE",
        type=Path,
        help=f"file with the vendor's API key (default: the key in ${commands.KEY_VARIABLE})",
    )


if __name__ == "__main__":
    sys.exit(main())
