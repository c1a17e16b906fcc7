"""`distill-client shared-budget`: makes, shows, resizes and settles a budget of several caches."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from cache.reports.spend import iso_time
from student.options.section import user_path

if TYPE_CHECKING:
    from student.shared_budget.books import SharedBudget

_WHERE = "a file on this machine, or postgresql://USER@HOST/DATABASE for several machines"


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command's options."""
    made = argparse.ArgumentParser(
        "distill-client shared-budget",
        description=(
            "A budget that several caches share. Runs with --shared-budget lease parts of it, and "
            "together they never spend more than all of it, even if some are killed. Needs the "
            "extra shared-budget; PostgreSQL also needs the extra postgres, and takes a password "
            "from ~/.pgpass or PGPASSWORD."
        ),
    )
    commands = made.add_subparsers(required=True, metavar="COMMAND", dest="command")

    def command(name: str, help_text: str, more: str = "") -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=help_text, description=f"{help_text}. {more}")
        added.add_argument("where", metavar="WHERE", help=_WHERE)
        added.add_argument("--json", action="store_true", help="print JSON")
        return added

    create = command("create", "Make a shared budget")
    create.add_argument("total", metavar="QUERIES", type=int, help="most queries to pay for")
    create.add_argument(
        "--lease-size",
        metavar="QUERIES",
        type=int,
        help="queries that a run leases at a time (default: a fiftieth of the budget, and at least "
        "64). A killed run keeps at most so many from the others until its cache is read",
    )
    command("show", "Show what is free, spent and leased, and by which run")
    resize = command("resize", "Change the total", "It cannot be less than is leased or spent.")
    resize.add_argument("total", metavar="QUERIES", type=int, help="most queries to pay for")
    reclaim = command(
        "reclaim",
        "Free what ended runs of a cache have leased and not spent",
        "The cache says what they spent; nothing is freed by time alone. A run does the same for "
        "its own cache before it buys.",
    )
    reclaim.add_argument("--cache", metavar="FOLDER", type=user_path, default=Path("paid-cache"))
    reclaim.add_argument(
        "--ended",
        metavar="RUN",
        action="append",
        default=[],
        help="a run of a cache that was moved here, or merged into this one: you say that it has "
        "ended, because this machine cannot see it (repeatable)",
    )
    return made


def main(arguments: Sequence[str]) -> int:
    """Runs one of the commands. Raises BadInput, SharedBudgetError and CacheError."""
    options = parser().parse_args(arguments)
    from student.shared_budget.open import open_shared_budget, require_extra

    if options.command == "create":
        require_extra()
        from student.shared_budget.books import SharedBudget

        books = SharedBudget.create(
            options.where, total=options.total, lease_size=options.lease_size
        )
    else:
        books = open_shared_budget(options.where)
    if options.command == "resize":
        books.resize(options.total)
    if options.command == "reclaim":
        return _reclaim(books, options)
    return _show(books, as_json=options.json)


def _show(books: SharedBudget, *, as_json: bool) -> int:
    now, leases = books.balance(), books.leases()
    if as_json:
        print(json.dumps({**asdict(now), "free": now.free, "leases": [asdict(x) for x in leases]}))
        return 0
    print(
        f"{books.name}: {now.free:,} of {now.total:,} queries free, {now.spent:,} spent, "
        f"{now.leased:,} leased; a run leases {now.lease_size:,} at a time"
    )
    for lease in leases:
        state = "leased" if lease.is_open else "spent"
        print(
            f"{iso_time(lease.opened_ms)}  {lease.units:>9,} {state:6}  {lease.run}  {lease.place}"
        )
    return 0


def _reclaim(books: SharedBudget, options: argparse.Namespace) -> int:
    from cache.paid_cache import PaidCache
    from cache.storage.folder import DATABASE
    from student.errors import BadInput
    from student.shared_budget.reclaim import reclaim

    if not (options.cache / DATABASE).is_file():
        message = f"--cache {options.cache}: there is no cache; nothing was changed"
        raise BadInput(message)
    with PaidCache.open(options.cache) as cache:
        done = reclaim(books, cache, ended=options.ended)
    if options.json:
        print(json.dumps([asdict(one) for one in done]))
        return 0
    for one in done:
        print(f"{one.run}: spent {one.spent:,} queries, {one.freed:,} are free again")
    if not done:
        print("no ended run of this cache has leased more than it spent")
    return 0
