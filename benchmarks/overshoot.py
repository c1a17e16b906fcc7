"""Send 1,000 concurrent requests of 10 queries each against a budget of 500 queries.

    python -m benchmarks.overshoot --out docs/results/overshoot.json

Measures how many queries are sold by check-then-add and by the vendor's ledger on the same
database, and by the complete vendor over HTTP; first on SQLite, then on PostgreSQL.
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

from benchmarks.meters import NaiveMeter, meter, new_key
from benchmarks.support.databases import empty_database, open_ledger
from tools.provenance import commit

REQUESTS, UNITS, CAP = 1000, 10, 500  # requests, queries per request, budget in queries
TIMEOUT_SECONDS = 120.0
_spawn = multiprocessing.get_context("spawn")


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Client processes, and threads in each; every thread makes one request."""

    processes: int
    threads: int

    @property
    def requests(self) -> int:
        return self.processes * self.threads


# SQLite has one server process; PostgreSQL has replicas.
LOADS = {"sqlite": Load(processes=1, threads=1000), "postgresql": Load(processes=4, threads=250)}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write; return 1 if the ledger overshot, or if check-then-add did not."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.overshoot", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--out", type=Path, help="JSON file to write the result to")
    arguments = parser.parse_args(argv)
    rows: list[dict[str, Any]] = []
    for kind in LOADS:
        with (
            tempfile.TemporaryDirectory() as folder,
            empty_database(kind, Path(folder)) as (dsn, secret),
        ):
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
    """Measure one meter, called from threads of several processes."""
    load = LOADS[base]
    with open_ledger(dsn, secret) as (engine, ledger):
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
        barrier.wait(TIMEOUT_SECONDS)
        started = time.monotonic()
        sold = sum(results.get(timeout=TIMEOUT_SECONDS) for _ in workers)
        seconds = time.monotonic() - started
    with open_ledger(dsn, secret) as (engine, ledger):
        account = ledger.keys.get(key_id)
        is_naive = kind == "check-then-add"
        spent = NaiveMeter.spent(engine, key_id) if is_naive else account.spent_units
    assert spent == sold * UNITS, (spent, sold)
    return _row(kind, base, load.requests, spent, seconds)


def _work(
    target: tuple[str, str, dict[str, Any], str], threads: int, barrier: Barrier, results: Any
) -> None:
    with meter(*target) as chosen, ThreadPoolExecutor(threads) as pool:
        barrier.wait(TIMEOUT_SECONDS)
        results.put(sum(pool.map(lambda _: chosen.buy(UNITS), range(threads))))


def over_http(base: str, dsn: str, secret: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Measure the complete vendor over HTTP, with one connection per request."""
    with open_ledger(dsn, secret) as (_, ledger):
        key = new_key(ledger, CAP)
    servers = 1 if base == "sqlite" else 2
    files = [folder / f"port-{number}" for number in range(servers)]
    workers = [_spawn.Process(target=_serve, args=(dsn, secret, str(file))) for file in files]
    with _running(workers):
        until = time.monotonic() + TIMEOUT_SECONDS
        while not all(file.exists() for file in files):
            assert time.monotonic() < until, "the vendor did not start"
            time.sleep(0.05)
        urls = [f"http://127.0.0.1:{file.read_text().strip()}" for file in files]
        started = time.monotonic()
        sold, retries = asyncio.run(_send_all(urls, key.token))
        seconds = time.monotonic() - started
    with open_ledger(dsn, secret) as (_, ledger):
        spent = ledger.keys.get(key.id).spent_units
    assert spent == sold * UNITS, (spent, sold)
    row = _row("vendor over HTTP", base, REQUESTS, spent, seconds)
    return row | {"asked_again": retries}


def _serve(dsn: str, secret: dict[str, Any], port_file: str) -> None:
    # Only the server's process needs the app.
    from benchmarks.null_encoder import serve_null_encoder

    serve_null_encoder(dsn, secret, Path(port_file))


async def _send_all(urls: Sequence[str], token: str) -> tuple[int, int]:
    """Return how many requests were sold, and the number of retries before 200 or 402."""
    limits = httpx.Limits(max_connections=REQUESTS, max_keepalive_connections=0)
    async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS, limits=limits) as http:
        ends = await asyncio.gather(
            *(_request(http, urls[n % len(urls)], token, n) for n in range(REQUESTS))
        )
    return sum(status == 200 for status, _ in ends), sum(retries for _, retries in ends)


async def _request(http: httpx.AsyncClient, url: str, token: str, number: int) -> tuple[int, int]:
    body = {"model": "null", "input": [f"text {number} {n}" for n in range(UNITS)]}
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
