"""`teacher-server`: serve, keys, ledger, openapi. It translates; it does not think."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from teacher_server.errors import VendorError

_DATABASE_HELP = "the ledger's DSN (TEACHER_DATABASE; default sqlite:///./vendor/ledger.db)"


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, run, print; 1 and one line on stderr for what can be foreseen."""
    arguments = _parser().parse_args(argv)
    try:
        result: int = arguments.run(arguments)
    except VendorError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return result


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="teacher-server",
        description="A vendor of CLIP embeddings, metered by the query.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_serve(commands.add_parser("serve", help="serve the model over HTTP"))
    _add_keys(commands.add_parser("keys", help="create, list, change and top up API keys"))
    _add_ledger(commands.add_parser("ledger", help="check, purge and correct the books"))
    openapi = commands.add_parser("openapi", help="print the OpenAPI document")
    openapi.set_defaults(run=_openapi)
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, help="a TOML file of options")
    parser.add_argument("--database", default=argparse.SUPPRESS, help=_DATABASE_HELP)


def _add_serve(parser: argparse.ArgumentParser) -> None:
    _add_common(parser)
    for flag, kind, text in (
        ("--model", str, "embedded, a folder, a file, hf-hub:org/name or an open_clip name"),
        ("--pretrained", str, "a tag of that open_clip name, or a checkpoint file"),
        ("--device", str, "cpu or cuda (default cpu)"),
        ("--dtype", str, "fp32 (default) or bf16"),
        ("--threads", int, "CPU threads of the model"),
        ("--host", str, "address to listen on (default 127.0.0.1)"),
        ("--port", int, "port to listen on (default 8000; 0 takes a free one)"),
        ("--url-file", str, "write the URL here once the server listens"),
        ("--shutdown-seconds", int, "how long requests may finish after a stop (default 20)"),
        ("--lease-seconds", int, "how long a reservation holds without an answer (default 120)"),
        ("--max-items", int, "items per request (default 256)"),
        ("--max-image-bytes", int, "bytes per image (default 20 MiB)"),
        ("--max-image-pixels", int, "pixels per image (default 50 million)"),
        ("--max-text-chars", int, "characters per text (default 8192)"),
        ("--max-body-bytes", int, "bytes per request (default 64 MiB)"),
        ("--max-bytes-in-flight", int, "bytes of all requests at a time (default 1 GiB)"),
        ("--max-queue", int, "items that may wait (default 1024)"),
        ("--max-batch", int, "items per batch of the model (default 64)"),
        ("--max-delay-ms", int, "how long an item waits for company (default 3)"),
        ("--header-seconds", int, "for a request's headers to arrive (default 10)"),
        ("--body-seconds", int, "for a request's body to arrive (default 120)"),
        ("--keep-alive-seconds", int, "that an idle connection is kept (default 15)"),
        ("--max-connections", int, "connections at a time (default 20000)"),
        ("--requests-per-minute", int, "requests a minute of one key (default 6000)"),
        ("--max-concurrent", int, "requests of one key at a time (default 64)"),
        ("--answer-days", int, "how long paid answers are kept, 0 for ever (default 90)"),
        ("--price-version", str, "name of the price list"),
        ("--micro-usd-per-unit", int, "price of a query in millionths of a dollar (default 100)"),
    ):
        parser.add_argument(flag, type=kind, default=argparse.SUPPRESS, help=text)
    parser.epilog = (
        "Every option is also an environment variable (--max-items: TEACHER_MAX_ITEMS) and a key "
        "of the TOML file (max_items). TEACHER_FIRST_KEY=sk_<id>_<secret> with "
        "TEACHER_FIRST_KEY_BUDGET creates a key at the first start. TEACHER_PEPPER (32 characters "
        "or more) is what keys are hashed with; without it SQLite's lies beside the database. "
        "TEACHER_WEBHOOK_URL hears when 80% and 100% of a budget are used, signed with "
        "TEACHER_WEBHOOK_SECRET."
    )
    parser.set_defaults(run=_serve)


def _add_keys(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    create = commands.add_parser("create", help="make a key; it is shown once")
    create.add_argument("--name", required=True, help="whose key it is")
    create.add_argument("--budget", required=True, type=int, help="queries that it may spend")
    create.add_argument(
        "--period", choices=("none", "day", "month"), default="none", help="grant the budget anew"
    )
    create.set_defaults(command="create")
    listing = commands.add_parser("list", help="every key and its standing")
    listing.set_defaults(command="list_keys")
    limits = commands.add_parser("limits", help="change what a key may do; 0 lifts a limit")
    limits.set_defaults(command="change_limits")
    revoke = commands.add_parser("revoke", help="refuse a key from now on")
    revoke.set_defaults(command="revoke")
    rotate = commands.add_parser("rotate", help="give a key a new secret; it is shown once")
    rotate.set_defaults(command="rotate")
    topup = commands.add_parser("topup", help="grant a key more queries")
    topup.set_defaults(command="top_up")
    for command in (limits, revoke, rotate, topup):
        command.add_argument("id", help="the key's id, the part after sk_")
    topup.add_argument("--units", required=True, type=int, help="queries to add")
    topup.add_argument("--grant-id", help="any name: under the same one a key is granted once")
    _add_limits(create, "embed and read", "never", "the vendor's")
    _add_limits(limits, *["unchanged"] * 3)
    for command in (create, rotate, listing):
        command.add_argument("--json", action="store_true", help="print JSON")
    for command in (create, listing, limits, revoke, rotate, topup):
        _add_common(command)
        command.set_defaults(run=_keep_books)


def _add_limits(parser: argparse.ArgumentParser, scopes: str, end: str, limit: str) -> None:
    parser.add_argument(
        "--scope",
        action="append",
        choices=("embed", "read", "admin"),
        help=f"what the key may do, repeatable (default {scopes})",
    )
    for flag, text in (
        ("--expires-days", f"days until the key is refused (default {end})"),
        ("--requests-per-minute", f"requests a minute (default {limit})"),
        ("--max-concurrent", f"requests at a time (default {limit})"),
    ):
        # Of a name of its own: these are a key's, the vendor's options go by the flag's name.
        parser.add_argument(flag, type=int, dest="key_" + flag[2:].replace("-", "_"), help=text)


def _add_ledger(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    verify = commands.add_parser("verify", help="recompute every chain, balance and stored receipt")
    verify.set_defaults(command="verify")
    purge = commands.add_parser("purge", help="drop old stored answers; charges stay")
    purge.add_argument("--older-than-days", required=True, type=int, help="age of an answer")
    purge.set_defaults(command="purge")
    correct = commands.add_parser("correct", help="give back what was charged wrongly")
    correct.add_argument("request_id", help="the charge's request id")
    correct.add_argument("--units", type=int, default=0, help="queries to give back (default 0)")
    correct.add_argument(
        "--cost-micro-usd", type=int, default=0, help="cost to give back, micro-USD (default 0)"
    )
    correct.add_argument("--correction-id", help="under one id a charge is corrected once")
    correct.add_argument("--reason", required=True, help="why; it is kept with the entry")
    correct.set_defaults(command="correct")
    corrections = commands.add_parser("corrections", help="what was given back, by whom and why")
    corrections.add_argument("request_id", nargs="?", help="of this charge alone")
    corrections.set_defaults(command="corrections")
    for command in (verify, purge, correct, corrections):
        _add_common(command)
        command.set_defaults(run=_keep_books)


def _keep_books(arguments: argparse.Namespace) -> int:
    from teacher_server import admin_commands as bookkeeping

    told = getattr(bookkeeping, arguments.command)(arguments, _settings(arguments))
    print(told.text)
    if told.note:
        print(told.note, file=sys.stderr)
    code: int = told.code
    return code


def _settings(arguments: argparse.Namespace) -> Any:
    from teacher_server.settings import VendorSettings, load_settings

    given = {k: v for k, v in vars(arguments).items() if k in VendorSettings.model_fields}
    return load_settings(given, config=arguments.config)


def _serve(arguments: argparse.Namespace) -> int:
    settings = _settings(arguments)
    from teacher_server.server.run import serve

    serve(settings, announce=lambda url: print(f"listening on {url}", flush=True))
    return 0


def _openapi(arguments: argparse.Namespace) -> int:
    from teacher_server.api.app import openapi_document

    print(json.dumps(openapi_document(), indent=2, ensure_ascii=False))
    return 0
