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
    _add_keys(commands.add_parser("keys", help="create, list, revoke and top up API keys"))
    ledger = commands.add_parser("ledger", help="check the books")
    ledger_commands = ledger.add_subparsers(required=True, metavar="COMMAND")
    verify = ledger_commands.add_parser("verify", help="recompute every chain and balance")
    _add_common(verify)
    verify.set_defaults(run=_verify)
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
        ("--max-queue", int, "items that may wait (default 1024)"),
        ("--max-batch", int, "items per batch of the model (default 64)"),
        ("--max-delay-ms", int, "how long an item waits for company (default 3)"),
        ("--price-version", str, "name of the price list"),
        ("--micro-usd-per-unit", int, "price of a query in millionths of a dollar (default 100)"),
    ):
        parser.add_argument(flag, type=kind, default=argparse.SUPPRESS, help=text)
    parser.epilog = (
        "Every option is also an environment variable (--max-items: TEACHER_MAX_ITEMS) and a key "
        "of the TOML file (max_items). TEACHER_FIRST_KEY=sk_<id>_<secret> with "
        "TEACHER_FIRST_KEY_BUDGET creates a key at the first start."
    )
    parser.set_defaults(run=_serve)


def _add_keys(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    create = commands.add_parser("create", help="make a key; it is shown once")
    create.add_argument("--name", required=True, help="whose key it is")
    create.add_argument("--budget", required=True, type=int, help="queries that it may spend")
    create.add_argument("--json", action="store_true", help="print JSON")
    create.set_defaults(run=_create)
    listing = commands.add_parser("list", help="every key and its standing")
    listing.add_argument("--json", action="store_true", help="print JSON")
    listing.set_defaults(run=_list)
    revoke = commands.add_parser("revoke", help="refuse a key from now on")
    revoke.add_argument("id", help="the key's id, the part after sk_")
    revoke.set_defaults(run=_revoke)
    topup = commands.add_parser("topup", help="grant a key more queries")
    topup.add_argument("id", help="the key's id, the part after sk_")
    topup.add_argument("--units", required=True, type=int, help="queries to add")
    topup.set_defaults(run=_topup)
    for command in (create, listing, revoke, topup):
        _add_common(command)


def _settings(arguments: argparse.Namespace) -> Any:
    from teacher_server.settings import VendorSettings, load_settings

    given = {k: v for k, v in vars(arguments).items() if k in VendorSettings.model_fields}
    return load_settings(given, config=arguments.config)


def _serve(arguments: argparse.Namespace) -> int:
    settings = _settings(arguments)
    from teacher_server.serve import serve

    serve(settings, announce=lambda url: print(f"listening on {url}", flush=True))
    return 0


def _create(arguments: argparse.Namespace) -> int:
    from teacher_server.ledger.keys import ApiKey, Keys
    from teacher_server.ledger.ledger import opened, unix_ms

    settings = _settings(arguments)
    key = ApiKey.new()
    with opened(settings.database) as engine:
        Keys(engine, clock=unix_ms).create(
            key,
            name=arguments.name,
            budget=arguments.budget,
            price_version=settings.price_version,
        )
    if arguments.json:
        shown = {
            "id": key.id,
            "name": arguments.name,
            "budget_units": arguments.budget,
            "key": key.token,
        }
        print(json.dumps(shown))
    else:
        print(f"{key.token}")
        print(f"key {key.id}: {arguments.budget} queries. It is shown only now.", file=sys.stderr)
    return 0


def _list(arguments: argparse.Namespace) -> int:
    from dataclasses import asdict

    from teacher_server.ledger.keys import Keys
    from teacher_server.ledger.ledger import opened, unix_ms

    with opened(_settings(arguments).database) as engine:
        found = Keys(engine, clock=unix_ms).all()
    if arguments.json:
        print(json.dumps([asdict(a) | {"remaining_units": a.remaining_units} for a in found]))
        return 0
    print(f"{'id':<20} {'budget':>10} {'spent':>10} {'reserved':>9} {'left':>10}  name")
    for account in found:
        note = "" if account.revoked_ms is None else "  (revoked)"
        print(
            f"{account.id:<20} {account.budget_units:>10} {account.spent_units:>10} "
            f"{account.reserved_units:>9} {account.remaining_units:>10}  {account.name}{note}"
        )
    return 0


def _revoke(arguments: argparse.Namespace) -> int:
    from teacher_server.ledger.keys import Keys
    from teacher_server.ledger.ledger import opened, unix_ms

    with opened(_settings(arguments).database) as engine:
        account = Keys(engine, clock=unix_ms).revoke(arguments.id)
    print(f"key {account.id} ({account.name}) is revoked; {account.spent_units} queries were spent")
    return 0


def _topup(arguments: argparse.Namespace) -> int:
    from teacher_server.ledger.keys import Keys
    from teacher_server.ledger.ledger import opened, unix_ms

    settings = _settings(arguments)
    with opened(settings.database) as engine:
        account = Keys(engine, clock=unix_ms).top_up(
            arguments.id, units=arguments.units, price_version=settings.price_version
        )
    print(f"key {account.id} ({account.name}): {account.remaining_units} queries left")
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    from teacher_server.ledger.books import Books
    from teacher_server.ledger.ledger import opened

    with opened(_settings(arguments).database) as engine:
        audit = Books(engine).verify()
    for fault in audit.faults:
        print(f"FAULT {fault}")
    print(
        f"{audit.keys} keys, {audit.entries} entries, {audit.units_charged} queries charged: "
        + (f"{len(audit.faults)} faults" if audit.faults else "the books balance")
    )
    return 1 if audit.faults else 0


def _openapi(arguments: argparse.Namespace) -> int:
    from teacher_server.api.app import openapi_document

    print(json.dumps(openapi_document(), indent=2, ensure_ascii=False))
    return 0
