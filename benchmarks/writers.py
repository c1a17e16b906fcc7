"""How many requests per second several vendors charge on one PostgreSQL server that syncs.

    python -m benchmarks.writers [--seconds S] [--out FILE]

Each writer is a process that holds the ledger as a vendor does, and makes one purchase after
another: its limits, the reservation, the charge with its answer, and its limits again. Writers have
a key each, or one key together. The page docs/guides/scale.md gets its table from the result.
"""

from __future__ import annotations

import base64
import json
import multiprocessing
import secrets
import sys
import time
from collections.abc import Mapping, Sequence
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from typing import Any, Final

from sqlalchemy import text

from benchmarks.support.databases import open_ledger
from benchmarks.support.measured_page import described, page_parser, write_measured
from benchmarks.support.postgresql import running
from teacher_server.database.engine import read_transaction
from teacher_server.ledger.api_key import ApiKey
from teacher_server.ledger.entry import LedgerEntry
from teacher_server.ledger.ledger import Ledger
from teacher_server.ledger.purchase import Price, Purchase, Reservation
from tools.provenance import ROOT

PROGRAM: Final = "benchmarks.writers"
MARK: Final = "writers"
RESULT: Final = ROOT / "docs/results/writers.json"
PAGE: Final = ROOT / "docs/guides/scale.md"
WRITERS: Final = (1, 2, 4, 8)
KEYS: Final = ("one each", "one together")
_EMBEDDING_BYTES: Final = 512 * 4  # of one image
_PRICE: Final = Price(version="p1", micro_usd_per_unit=100)
_BUDGET: Final = 10**9


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and write the result and the page; 1 if the ledger has a fault afterwards."""
    given = list(sys.argv[1:] if argv is None else argv)
    parser = page_parser(PROGRAM, __doc__, result=RESULT, page=PAGE)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement")
    options = parser.parse_args(given)
    result = described(PROGRAM, given, options.note) | measured(options.seconds)
    write_measured(options, result, MARK, table(result))
    return 1 if result["faults"] else 0


def measured(
    seconds: float, *, writers: Sequence[int] = WRITERS, kinds: Sequence[str] = KEYS
) -> dict[str, Any]:
    """The rows for each number of writers, the server's own settings, and the ledger's faults."""
    rows, faults = [], []
    pepper = {"pepper": secrets.token_hex(32)}
    with running(fsync=True) as server:
        for keys in kinds:
            for number in writers:
                dsn = server.database()
                with open_ledger(dsn, pepper) as (engine, ledger):
                    made = [new_key(ledger) for _ in range(number)]
                    buyers = made if keys == "one each" else made[:1] * number
                    row = race(dsn, pepper, buyers, seconds)
                    charged = sum(ledger.keys.get(key).spent_units for key in set(buyers))
                    answered = row["requests"] + number  # each writer's first is not counted
                    if charged != answered:
                        faults.append(f"{charged} charged, {answered} answered")
                    faults += ledger.records.verify().faults
                    with read_transaction(engine) as connection:
                        settings = {
                            name: connection.scalar(text(f"SHOW {name}"))
                            for name in ("server_version", "fsync", "synchronous_commit")
                        }
                rows.append({"keys": keys, "writers": number, **row})
    return {"postgresql": settings, "rows": rows, "faults": faults}


def new_key(ledger: Ledger) -> str:
    """The id of a new key with a budget that no measurement uses up."""
    key = ApiKey.new()
    ledger.keys.create(key, name="writers", budget=_BUDGET, price_version=_PRICE.version)
    return key.id


def race(dsn: str, pepper: dict[str, Any], buyers: Sequence[str], seconds: float) -> dict[str, Any]:
    """All writers from the same moment on: how many requests they made in which time, and how long
    the slowest took."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.writers"])  # imported once, not by each writer
    start, made = context.Barrier(len(buyers)), context.Queue()
    processes = [
        context.Process(target=_write, args=(dsn, pepper, key, start, made, seconds))
        for key in buyers
    ]
    for process in processes:
        process.start()
    try:
        counts = [made.get(timeout=seconds + 300) for _ in processes]
    finally:
        for process in processes:
            process.join(60)
            process.kill()
    took = max(ended for *_, ended in counts) - min(began for *_, began, _ in counts)
    return {
        "requests": sum(count for count, *_ in counts),
        "seconds": round(took, 3),
        "slowest_ms": round(1000 * max(slowest for _, slowest, *_ in counts)),
    }


def _write(
    dsn: str,
    pepper: dict[str, Any],
    key_id: str,
    start: Barrier,
    made: Queue[tuple[int, float, float, float]],
    seconds: float,
) -> None:
    with open_ledger(dsn, pepper) as (_, ledger):
        _buy(ledger, key_id)  # connects, and is not counted
        start.wait(300)
        count, slowest, began = 0, 0.0, time.monotonic()
        ended = began
        while ended - began < seconds:
            started = ended
            _buy(ledger, key_id)
            ended = time.monotonic()
            count, slowest = count + 1, max(slowest, ended - started)
        # The first one was charged too.
        made.put((count, slowest, began, ended))


def _buy(ledger: Ledger, key_id: str) -> None:
    request_id = "req_" + secrets.token_hex(16)
    purchase = Purchase(
        request_id=request_id,
        key_id=key_id,
        idempotency_key=request_id,
        payload_sha256="f" * 64,
        images=1,
        texts=0,
    )
    assert ledger.key_use is not None
    use = ledger.key_use.take(
        key_id, request_id, interval_ns=1, window_ns=60 * 10**9, max_concurrent=1000
    )
    assert use.is_admitted
    reservation = ledger.charges.reserve(purchase, _PRICE)
    assert isinstance(reservation, Reservation)
    ledger.charges.post(reservation, model="m", model_fingerprint="sha256:f", render=_answer)
    ledger.key_use.give_back(request_id)


def _answer(entry: LedgerEntry) -> bytes:
    # Random, because PostgreSQL compresses.
    data = base64.b64encode(secrets.token_bytes(_EMBEDDING_BYTES)).decode()
    return json.dumps({"data": data, "receipt": entry.document()}).encode()


def table(result: Mapping[str, Any] | None) -> str:
    """Requests per second by the number of writers, in Markdown; None is no result yet."""
    if result is None:
        return "Not measured yet: the command writes its table here.\n"
    lines = ["| Writers | A key each | One key together |", "|--:|--:|--:|"]
    rate = {
        (row["writers"], row["keys"]): row["requests"] / row["seconds"] for row in result["rows"]
    }
    lines += [
        f"| {number} | {rate[number, 'one each']:,.0f} | {rate[number, 'one together']:,.0f} |"
        for number in sorted({row["writers"] for row in result["rows"]})
    ]
    note = f" {result['note']}" if result["note"] else ""
    lines += [
        "",
        f"Requests per second. PostgreSQL {result['postgresql']['server_version']}, fsync "
        f"{result['postgresql']['fsync']}, on {result['machine']}.{note} `{result['command']}` at "
        f"{result['commit'][:12]}.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
