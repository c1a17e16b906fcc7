"""`teacher-server`: serve, keys, ledger, openapi. Reads the command line and prints results."""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args, get_origin

from teacher_server.errors import VendorError

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from teacher_server.settings import VendorSettings

_DATABASE_HELP = "ledger database, as in serve --help (also TEACHER_DATABASE)"

_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand and return the exit code: 1, with one line on stderr, for an error."""
    argv = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal without UTF-8 gets escapes, not an error
            stream.reconfigure(errors="backslashreplace")
    arguments = _parser(is_serve=argv[:1] == ["serve"]).parse_args(argv)
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


def _parser(*, is_serve: bool) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="teacher-server",
        description="A vendor of CLIP embeddings, metered by the query.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="serve the model over HTTP")
    if is_serve:  # importing the settings takes half a second, which other help need not wait for
        _add_serve(serve)
    _add_keys(commands.add_parser("keys", help="create, list, change and top up API keys"))
    _add_ledger(commands.add_parser("ledger", help="check, purge, correct and back up the ledger"))
    openapi = commands.add_parser("openapi", help="print the OpenAPI document")
    openapi.set_defaults(run=_openapi)
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, help="TOML file with any of serve's options")
    parser.add_argument("--database", default=argparse.SUPPRESS, help=_DATABASE_HELP)


def _add_serve(parser: argparse.ArgumentParser) -> None:
    from teacher_server.settings import VendorSettings

    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--config", type=Path, help="TOML file with any of these options")
    only_elsewhere = []
    for name, field in VendorSettings.model_fields.items():
        if name in VendorSettings.not_flags:
            entry = textwrap.fill(f"TEACHER_{name.upper()}: {field.description}", 78)
            only_elsewhere.append(textwrap.indent(entry, "  "))
            continue
        parser.add_argument(
            "--" + name.replace("_", "-"),
            type=int if int in (field.annotation, *get_args(field.annotation)) else str,
            default=argparse.SUPPRESS,
            metavar=_metavar(field),
            help=f"{field.description}{_default(name, field)}",
        )
    parser.epilog = "\n".join(
        (
            "Every option is also an environment variable (--max-items: TEACHER_MAX_ITEMS) and",
            "a key of the TOML file (max_items). Flags override the environment, which",
            "overrides the file. The following have no flag, because other users of a machine",
            "can see its command lines:",
            *only_elsewhere,
        )
    )
    parser.set_defaults(run=_serve)


def _metavar(field: FieldInfo) -> str:
    types = (field.annotation, *get_args(field.annotation))  # an optional type, and its parts
    choices = [one for part in types for one in get_args(part) if isinstance(one, str)]
    if choices:
        return "{" + ",".join(dict.fromkeys(choices)) + "}"
    if any(get_origin(part) is tuple for part in types):
        return "R,G,B"
    return "N" if int in types else "VALUE"


def _default(name: str, field: FieldInfo) -> str:
    default = field.default
    if default is None:
        return ""
    if "bytes" in name:
        return f", in bytes (default: {default}, {default // 2**20} MiB)"
    return f" (default: {default})"


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
    from teacher_server.settings import VendorSettings, load_settings

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


def _openapi(arguments: argparse.Namespace) -> int:
    from teacher_server.api.app import openapi_document

    _print(json.dumps(openapi_document(), indent=2, ensure_ascii=False))
    return 0


def _print(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:  # its reader, such as `head`, is gone: the exit code still counts
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
