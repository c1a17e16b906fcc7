"""1,000 requests at once, of 10 units each, against a cap of 500: who sells more than 500?

    python -m benchmarks.overshoot --out docs/results/overshoot.json

Everything runs on this machine in one go: check-then-add and the vendor's ledger on the same SQLite
file, then both on one PostgreSQL database, then the whole vendor over HTTP on either.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import multiprocessing
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.context import SpawnProcess
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import httpx

from benchmarks.chaos.run import database
from benchmarks.meters import NaiveMeter, books, meter, new_key
from tools.provenance import commit

REQUESTS, UNITS, CAP = 1000, 10, 500
PATIENCE = 120.0
_spawn = multiprocessing.get_context("spawn")


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How the requests are made: so many processes with so many threads each."""

    processes: int
    threads: int

    @property
    def requests(self) -> int:
        return self.processes * self.threads


# SQLite has one server process; PostgreSQL has replicas.
LOADS = {"sqlite": Load(processes=1, threads=1000), "postgresql": Load(processes=4, threads=250)}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, write, and exit with 1 when the ledger overshot or the naive meter did not."""
    parser = argparse.ArgumentParser(prog="benchmarks.overshoot", description=__doc__)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args(argv)
    rows: list[dict[str, Any]] = []
    for kind in LOADS:
        with tempfile.TemporaryDirectory() as folder, database(kind, Path(folder)) as (dsn, secret):
            rows += [
                measured("check-then-add", kind, dsn, secret),
                measured("ledger", kind, dsn, secret),
                over_http(kind, dsn, secret, Path(folder)),
            ]
            for row in rows[-3:]:
                sys.stderr.write(f"{json.dumps(row)}\n")
    result = {
        "command": "python -m benchmarks.overshoot",
        "commit": commit(),
        "machine": f"{os.cpu_count()} hardware threads, {platform.machine()}",
        "requests": REQUESTS,
        "units_each": UNITS,
        "cap": CAP,
        "rows": rows,
    }
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(result, indent=2, sort_keys=True) + "\n")
    is_kept = all(row["overshoot"] == 0 for row in rows if row["meter"] != "check-then-add")
    is_caught = all(row["overshoot"] > 0 for row in rows if row["meter"] == "check-then-add")
    return 0 if is_kept and is_caught else 1


def measured(kind: str, base: str, dsn: str, secret: dict[str, Any]) -> dict[str, Any]:
    """One meter under the load, called from threads of processes."""
    load = LOADS[base]
    with books(dsn, secret) as (engine, ledger):
        key_id = new_key(ledger, CAP).id
        NaiveMeter.create(engine, key_id=key_id, budget=CAP)
    barrier = _spawn.Barrier(load.processes + 1)
    results = _spawn.Queue()
    workers = [
        _spawn.Process(
            target=_work, args=((kind, dsn, secret, key_id), load.threads, barrier, results)
        )
        for _ in range(load.processes)
    ]
    with _running(workers):
        barrier.wait(PATIENCE)
        started = time.monotonic()
        sold = sum(results.get(timeout=PATIENCE) for _ in workers)
        seconds = time.monotonic() - started
    with books(dsn, secret) as (engine, ledger):
        account = ledger.keys.get(key_id)
        is_naive = kind == "check-then-add"
        spent = NaiveMeter.spent(engine, key_id) if is_naive else account.spent_units
    assert spent == sold * UNITS, (spent, sold)
    return _row(kind, base, load.requests, spent, seconds)


def _work(
    target: tuple[str, str, dict[str, Any], str], threads: int, barrier: Barrier, results: Any
) -> None:
    with meter(*target) as chosen, ThreadPoolExecutor(threads) as pool:
        barrier.wait(PATIENCE)
        results.put(sum(pool.map(lambda _: chosen.buy(UNITS), range(threads))))


def over_http(base: str, dsn: str, secret: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The real app on real sockets, one connection for each request."""
    with books(dsn, secret) as (_, ledger):
        key = new_key(ledger, CAP)
    servers = 1 if base == "sqlite" else 2
    files = [folder / f"port-{number}" for number in range(servers)]
    workers = [_spawn.Process(target=_serve, args=(dsn, secret, str(file))) for file in files]
    with _running(workers):
        until = time.monotonic() + PATIENCE
        while not all(file.exists() for file in files):
            assert time.monotonic() < until, "the vendor does not start"
            time.sleep(0.05)
        urls = [f"http://127.0.0.1:{file.read_text().strip()}" for file in files]
        started = time.monotonic()
        sold, asked_again = asyncio.run(_storm(urls, key.token))
        seconds = time.monotonic() - started
    with books(dsn, secret) as (_, ledger):
        spent = ledger.keys.get(key.id).spent_units
    assert spent == sold * UNITS, (spent, sold)
    row = _row("vendor over HTTP", base, REQUESTS, spent, seconds)
    return row | {"asked_again": asked_again}


def _serve(dsn: str, secret: dict[str, Any], port_file: str) -> None:
    # Only a server's process needs the app.
    from benchmarks.null_encoder import serve_null_encoder

    serve_null_encoder(dsn, secret, Path(port_file))


async def _storm(urls: Sequence[str], token: str) -> tuple[int, int]:
    """How many of the requests were sold, and how often one was asked again before 200 or 402."""
    limits = httpx.Limits(max_connections=REQUESTS, max_keepalive_connections=0)
    async with httpx.AsyncClient(timeout=PATIENCE, limits=limits) as http:
        ends = await asyncio.gather(
            *(_ask(http, urls[n % len(urls)], token, n) for n in range(REQUESTS))
        )
    return sum(status == 200 for status, _ in ends), sum(again for _, again in ends)


async def _ask(http: httpx.AsyncClient, url: str, token: str, number: int) -> tuple[int, int]:
    body = {"model": "still", "input": [f"text {number} {n}" for n in range(UNITS)]}
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": f"request-{number}"}
    for attempt in itertools.count():
        answer = await http.post(f"{url}/v1/embeddings", json=body, headers=headers)
        if answer.status_code != 429:
            assert answer.status_code in {200, 402}, answer.text
            return answer.status_code, attempt
        await asyncio.sleep(float(answer.headers["Retry-After"]))
    raise AssertionError  # itertools.count has no end


def _row(kind: str, base: str, requests: int, spent: int, seconds: float) -> dict[str, Any]:
    return {
        "meter": kind,
        "database": base,
        "requests": requests,
        "spent": spent,
        "overshoot": max(0, spent - CAP),
        "unspent": max(0, CAP - spent),
        "seconds": round(seconds, 2),
        "requests_per_second": round(requests / seconds),
    }


@contextmanager
def _running(workers: Sequence[SpawnProcess]) -> Iterator[None]:
    for worker in workers:
        worker.start()
    try:
        yield
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()


if __name__ == "__main__":
    raise SystemExit(main())
