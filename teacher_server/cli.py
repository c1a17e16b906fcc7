"""`teacher-server`: reads the command line and prints results."""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from teacher_server.errors import VendorError

if TYPE_CHECKING:
    from teacher_server.settings import VendorSettings

_DATABASE_HELP = "ledger database, as in serve --help (also TEACHER_DATABASE)"

_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand and return the exit code: 1, with one line on stderr, for an error."""
    argv = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal without UTF-8 gets escapes, not an error
            stream.reconfigure(errors="backslashreplace")
    arguments = _parser(asked=argv[0] if argv else "").parse_args(argv)
    try:
        result: int = arguments.run(arguments)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130  # what a shell reports for a program that Ctrl-C ended
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}{error.strerror or error}", file=sys.stderr)
        return 1
    except VendorError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return result


def _parser(*, asked: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="teacher-server",
        description="A vendor of CLIP embeddings, metered by the query.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="serve the model over HTTP")
    # Importing the settings takes half a second, for which other help need not wait.
    if asked in ("serve", "completion"):
        _add_serve(serve)
    doctor = commands.add_parser("doctor", help="find what would stop the vendor from selling")
    _add_doctor(doctor, has_options=asked in ("doctor", "completion"))
    _add_keys(commands.add_parser("keys", help="create, list, change and top up API keys"))
    _add_ledger(commands.add_parser("ledger", help="check, purge, correct and back up the ledger"))
    openapi = commands.add_parser("openapi", help="print the OpenAPI document")
    openapi.set_defaults(run=_openapi)
    completion = commands.add_parser("completion", help="print a script that completes in a shell")
    completion.add_argument("shell", choices=("bash", "zsh", "fish"))
    completion.set_defaults(run=_complete)
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, help="TOML file with any of serve's options")
    parser.add_argument("--database", default=argparse.SUPPRESS, help=_DATABASE_HELP)


def _add_serve(parser: argparse.ArgumentParser) -> None:
    from teacher_server.commands.serve_options import add_options, sources_of_options

    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = sources_of_options()
    parser.add_argument("--config", type=Path, help="TOML file with any of these options")
    add_options(parser)
    parser.set_defaults(run=_serve)


def _add_doctor(parser: argparse.ArgumentParser, *, has_options: bool) -> None:
    parser.usage = "teacher-server doctor [-h] [--json] [--config CONFIG] [OPTION ...]"
    parser.description = (
        "Look at everything that a vendor with these options needs before it sells: the settings, "
        "the port, open files, disks and memory, the clock, the database with its schema and "
        "rights, the pepper, the keys, and the model's weights. Each finding that is not "
        '"ok" names a fix. Nothing is changed or downloaded. The options are those of '
        "serve, from the command line, the environment and --config."
    )
    parser.epilog = "The exit code is 0 if no finding is an error, and 1 otherwise."
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--config", type=Path, help="TOML file with any of serve's options")
    if has_options:
        from teacher_server.commands.serve_options import add_options

        add_options(parser, shown=False)
    parser.set_defaults(run=_doctor)


def _add_keys(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    create = commands.add_parser("create", help="create a key; it is printed only once")
    create.add_argument("--name", required=True, help="name of the key's owner")
    create.add_argument("--budget", required=True, type=int, metavar="N", help="budget, in queries")
    create.add_argument(
        "--period",
        choices=("none", "day", "month"),
        default="none",
        help="renew the budget every day or month, UTC (default: none)",
    )
    create.set_defaults(command="create")
    listing = commands.add_parser("list", help="list every key with its budget and limits")
    listing.set_defaults(command="list_keys")
    limits = commands.add_parser(
        "limits", help="change a key's scopes and limits; 0 removes a limit"
    )
    limits.set_defaults(command="change_limits")
    revoke = commands.add_parser("revoke", help="revoke a key permanently")
    revoke.set_defaults(command="revoke")
    rotate = commands.add_parser(
        "rotate", help="replace a key's secret; the new key is printed only once"
    )
    rotate.set_defaults(command="rotate")
    topup = commands.add_parser("topup", help="add queries to a key's budget")
    topup.set_defaults(command="top_up")
    for command in (limits, revoke, rotate, topup):
        command.add_argument("id", help="the key's id: the part between sk_ and the next _")
    topup.add_argument("--units", required=True, type=int, metavar="N", help="queries to add")
    topup.add_argument(
        "--grant-id", help="any name for this top-up; a repetition with the same name adds nothing"
    )
    _add_limits(create, "embed and read", "never", "serve's option")
    _add_limits(limits, *["unchanged"] * 3)
    for command in (create, rotate, listing):
        command.add_argument("--json", action="store_true", help="print JSON")
    for command in (create, listing, limits, revoke, rotate, topup):
        _add_common(command)
        command.set_defaults(run=_run_admin_command, group="keys")


def _add_limits(parser: argparse.ArgumentParser, scopes: str, end: str, limit: str) -> None:
    parser.add_argument(
        "--scope",
        action="append",
        choices=("embed", "read", "admin"),
        help=f"what the key may do, repeatable (default: {scopes})",
    )
    for flag, text in (
        ("--expires-days", f"days until the key expires (default: {end})"),
        ("--requests-per-minute", f"requests per minute (default: {limit})"),
        ("--max-concurrent", f"concurrent requests (default: {limit})"),
    ):
        # A destination of its own: these limit one key, not the vendor's options of the same name.
        parser.add_argument(
            flag, type=int, metavar="N", dest="key_" + flag[2:].replace("-", "_"), help=text
        )


def _add_ledger(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    verify = commands.add_parser("verify", help="recompute every hash chain, balance and receipt")
    verify.set_defaults(command="verify")
    purge = commands.add_parser("purge", help="delete old stored answers; charges stay")
    purge.add_argument(
        "--older-than-days",
        required=True,
        type=int,
        metavar="N",
        help="delete answers older than this, in days",
    )
    purge.set_defaults(command="purge")
    correct = commands.add_parser("correct", help="refund a wrong charge, in part or in full")
    correct.add_argument("request_id", help="the charge's request id")
    correct.add_argument(
        "--units", type=int, default=0, metavar="N", help="queries to refund (default: 0)"
    )
    correct.add_argument(
        "--cost-micro-usd",
        type=int,
        default=0,
        help="cost to refund, in millionths of a US dollar (default: 0)",
    )
    correct.add_argument(
        "--correction-id",
        help="any name for this correction; a repetition with the same name refunds nothing",
    )
    correct.add_argument("--reason", required=True, help="reason, kept with the ledger entry")
    correct.set_defaults(command="correct")
    corrections = commands.add_parser(
        "corrections", help="list the corrections: how much, by whom and why"
    )
    corrections.add_argument("request_id", nargs="?", help="only the corrections of this charge")
    corrections.set_defaults(command="corrections")
    backup = commands.add_parser(
        "backup", help="copy a SQLite ledger and its pepper, also while the server runs"
    )
    backup.add_argument("file", type=Path, help="file to write; FILE.pepper is written beside it")
    backup.set_defaults(command="back_up")
    restore = commands.add_parser(
        "restore", help="put a backup in the place of a ledger that does not exist"
    )
    restore.add_argument("file", type=Path, help="the backup; its pepper is FILE.pepper")
    restore.set_defaults(command="restore")
    for command in (verify, purge, correct, corrections, backup, restore):
        _add_common(command)
        command.set_defaults(run=_run_admin_command, group="ledger")


def _run_admin_command(arguments: argparse.Namespace) -> int:
    from teacher_server.commands import keys, ledger

    module = {"keys": keys, "ledger": ledger}[arguments.group]
    output = getattr(module, arguments.command)(arguments, _settings(arguments))
    _print(output.text)
    if output.note:
        print(output.note, file=sys.stderr)
    code: int = output.code
    return code


def _settings(arguments: argparse.Namespace) -> VendorSettings:
    from teacher_server.settings import VendorSettings, load_settings, unread_variables

    # The log of `serve` and the findings of `doctor` name them, each in its own format.
    if arguments.run is _run_admin_command and (unread := unread_variables()):
        print(
            f"warning: no option reads {', '.join(unread)}: correct the name of the variable, or "
            "unset it",
            file=sys.stderr,
        )
    given = {k: v for k, v in vars(arguments).items() if k in VendorSettings.model_fields}
    return load_settings(given, config=arguments.config)


def _let_threads_spin_briefly() -> None:
    """Make OpenMP's threads sleep soon after they begin to wait, unless the user has decided it.

    A spinning thread keeps its core from the thread for which it waits, if another process is busy
    too: one image then took ten times as long. The library reads this when torch is imported.
    """
    if not any(name in os.environ for name in _WAITING):
        os.environ["GOMP_SPINCOUNT"] = "10000"


def _serve(arguments: argparse.Namespace) -> int:
    _let_threads_spin_briefly()
    # A fifth of the time to import torch would be spent on collections that find nothing; `serve`
    # turns them on again once the model is loaded.
    gc.disable()
    try:
        settings = _settings(arguments)
        if settings.serve_with == "ray":
            from teacher_server.ray_serve.run import serve
        else:
            from teacher_server.server.run import serve

        serve(
            settings,
            announce=lambda url: print(f"listening on {url}", flush=True),
            show=lambda line: print(line, flush=True),
        )
    finally:
        gc.enable()
        gc.unfreeze()  # otherwise libraries that count their objects report leaks at the end
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    from teacher_server.doctor.run import findings

    found = []
    for finding in findings(lambda: _settings(arguments)):
        found.append(finding)
        if not arguments.json:
            _print(finding.as_text())
    errors = sum(finding.level == "error" for finding in found)
    warnings = sum(finding.level == "warning" for finding in found)
    if arguments.json:
        listed = [finding.as_dict() for finding in found]
        _print(json.dumps({"findings": listed, "errors": errors, "warnings": warnings}, indent=2))
    else:
        _print(f"\n{errors} errors, {warnings} warnings; nothing was changed")
    return 1 if errors else 0


def _complete(arguments: argparse.Namespace) -> int:
    import shtab

    _print(shtab.complete(_parser(asked="completion"), arguments.shell))
    return 0


def _openapi(arguments: argparse.Namespace) -> int:
    from teacher_server.api.app import openapi_document

    _print(json.dumps(openapi_document(), indent=2, ensure_ascii=False))
    return 0


def _print(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:  # its reader, such as `head`, is gone: the exit code still counts
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
