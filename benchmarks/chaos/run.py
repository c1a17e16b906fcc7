"""Run the chaos test: `python -m benchmarks.chaos.run --out docs/results/chaos-sqlite.json`.

Real vendors, clients and caches run with a fault proxy between them, and all of them are killed
with SIGKILL. Afterwards the checker compares the ledger, the histories and the caches. The exit
code is 1 if a query was charged twice, lost, charged beyond a budget or left reserved, or if
anything else differs from what a vendor that serves one request at a time would have done.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, select

from benchmarks.chaos.checker import Verdict, check
from benchmarks.chaos.collect import gather
from benchmarks.chaos.observations import Evidence
from benchmarks.chaos.operations import operations
from benchmarks.chaos.process_pool import process_pool
from benchmarks.chaos.ray_supervisor import RaySupervisor
from benchmarks.chaos.scenario import Scenario, make_scenario
from benchmarks.chaos.supervisor import ChaosSettings, Supervisor
from benchmarks.support.databases import empty_database, open_ledger
from teacher_server.database.engine import read_transaction
from teacher_server.database.tables import key_use
from tools.provenance import commit

_GRACE_SECONDS = 240.0
_PROGRESS_SECONDS = 10.0
_LEASE_SECONDS = 10
# These two limits are not under test, and the clients retry faster than real ones.
VENDOR_OPTIONS = {"requests_per_minute": 10**6, "max_concurrent": 1000}
_log = logging.getLogger("chaos")


def main(argv: Sequence[str] | None = None) -> int:
    """Run, write the result and log a one-line summary; return 1 if a fault was found."""
    made = parser()
    arguments = made.parse_args(argv)
    if arguments.serve_with == "ray" and arguments.database == "sqlite":
        made.error("--serve-with ray: replicas share a ledger; use --database postgresql")
    if arguments.database == "sqlite" and arguments.vendors not in {None, 1}:
        made.error("--vendors: one SQLite file has one vendor; use --database postgresql")
    if arguments.database == "sqlite" and arguments.pooler:
        made.error("--pooler: PgBouncer needs --database postgresql")
    _log.setLevel(logging.INFO)
    _log.addHandler(logging.StreamHandler(sys.stderr))
    command = (
        f"python -m benchmarks.chaos.run {' '.join(argv if argv is not None else sys.argv[1:])}"
    )
    with tempfile.TemporaryDirectory(prefix="chaos-") as scratch:
        folder = arguments.folder or Path(scratch)
        result = asyncio.run(chaos(arguments, folder))
    result = {"command": command, "commit": commit()} | result
    if arguments.out is not None:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(result, indent=2, sort_keys=True) + "\n")
    summary = {name: result[name] for name in ("charged", "lost", "doubled", "overshoot", "stuck")}
    _log.info("%s, %d faults found", summary, len(result["faults_found"]))
    for fault in result["faults_found"][:50]:
        _log.error("%s", fault)
    return 1 if result["faults_found"] else 0


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.chaos.run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = made.add_argument
    add("--queries", type=int, default=24_000, help="queries that the clients want")
    add("--budget", type=int, default=20_000, help="queries that the budgets can pay for")
    add("--seconds", type=float, default=3600.0, help="stop all faults after this time, seconds")
    add("--database", choices=("sqlite", "postgresql"), default="sqlite", help="of the vendors")
    add(
        "--vendors",
        type=int,
        help="replicas on one database (default: 1 with sqlite, which has room for one, else 2)",
    )
    add("--pooler", action="store_true", help="PgBouncer before PostgreSQL, in transaction mode")
    add("--serve-with", choices=("uvicorn", "ray"), default="uvicorn", help="of the vendors")
    add("--replicas", type=int, default=2, help="of the API and of the model with ray, each")
    add("--seed", type=int, default=1, help="random seed for faults and kills")
    add("--kill-every", type=float, default=1.5, help="mean time between random kills, seconds")
    add(
        "--vendor-nth",
        type=int,
        default=25,
        help="a kill point ends a vendor at its 1st to N-th pass",
    )
    add(
        "--client-nth",
        type=int,
        default=10,
        help="a kill point ends a client at its 1st to N-th pass",
    )
    add("--calm-bytes", type=int, default=80_000, help="mean bytes between two network faults")
    add("--folder", type=Path, help="keep histories, ledger and caches in this folder")
    add("--out", type=Path, help="JSON file to write the result to")
    return made


async def chaos(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run the chaos test once in `folder` and return the result as a JSON object."""
    scenario = make_scenario(queries=arguments.queries, budget=arguments.budget)
    database = empty_database(arguments.database, folder, is_pooled=arguments.pooler)
    with database as (dsn, own):
        create_keys(dsn, scenario, own)
        settings = ChaosSettings(
            folder=folder,
            dsn=dsn,
            vendors=_vendors(arguments),
            seed=arguments.seed,
            seconds=arguments.seconds,
            grace_seconds=_GRACE_SECONDS,
            kill_every=arguments.kill_every,
            vendor_nth=arguments.vendor_nth,
            client_nth=arguments.client_nth,
            calm_bytes=arguments.calm_bytes,
            options=VENDOR_OPTIONS | own,
        )
        async with process_pool(folder / "processes.log") as processes:
            run = (
                RaySupervisor(scenario, settings, processes, replicas=arguments.replicas)
                if arguments.serve_with == "ray"
                else Supervisor(scenario, settings, processes)
            )
            started = time.monotonic()
            progress = asyncio.create_task(_log_progress(run, started))
            try:
                await run.run()
            finally:
                progress.cancel()
            seconds = time.monotonic() - started
            evidence, recovery = await gather(run, processes)
        faults = await asyncio.to_thread(_ledger_faults, dsn, own)
        verdict = await asyncio.to_thread(check, evidence)
    return _result(arguments, run, evidence, verdict, seconds=seconds, recovery=recovery) | {
        "faults_found": [*faults, *verdict.faults, *run.untested]
    }


def _vendors(arguments: argparse.Namespace) -> int:
    """The vendors that run as processes of their own; with Ray, all are its replicas."""
    if arguments.serve_with == "ray":
        return 0
    return int(arguments.vendors or (1 if arguments.database == "sqlite" else 2))


def create_keys(dsn: str, scenario: Scenario, options: dict[str, Any]) -> None:
    """Create the ledger and the scenario's keys."""
    with open_ledger(dsn, options, lease_seconds=_LEASE_SECONDS) as (_, ledger):
        for account in scenario.accounts.values():
            ledger.keys.create(
                account.key, name="chaos", budget=account.budget, price_version="2026-11"
            )


def _ledger_faults(dsn: str, options: dict[str, Any]) -> list[str]:
    """The faults that `teacher-server ledger verify` reports, and limits that are still in use."""
    with open_ledger(dsn, options, lease_seconds=_LEASE_SECONDS) as (engine, ledger):
        faults = [f"ledger verify: {fault}" for fault in ledger.records.verify().faults]
        deadline = time.monotonic() + _LEASE_SECONDS
        # The database takes a moment to notice the end of the last vendor.
        while (held := _concurrent(engine)) and time.monotonic() < deadline:
            time.sleep(0.1)
            ledger.sweep()
        return [*faults, *(f"limits: {count} requests of {key} count still" for key, count in held)]


def _concurrent(engine: Engine) -> list[tuple[str, int]]:
    """The keys for which the database counts concurrent requests, and how many."""
    with read_transaction(engine) as connection:
        rows = connection.execute(select(key_use).where(key_use.c.concurrent > 0)).all()
    return [(row.key_id, row.concurrent) for row in rows]


async def _log_progress(run: Supervisor, started: float) -> None:
    while True:
        await asyncio.sleep(_PROGRESS_SECONDS)
        _log.info(
            "%4.0f s: %d vendors and %d clients started, %d processes killed, %d network faults",
            time.monotonic() - started,
            run.starts["vendor"],
            run.starts["client"],
            len(run.killed),
            run.proxy.faults.total(),
        )


def _result(
    arguments: argparse.Namespace,
    run: Supervisor,
    evidence: Evidence,
    verdict: Verdict,
    *,
    seconds: float,
    recovery: float,
) -> dict[str, Any]:
    """The JSON result; docs/results holds files with these names, so they stay."""
    requests = operations(evidence.processes)
    outcomes = Counter(f"{op.what} {op.status or 'unheard'}" for op in requests)
    counts = asdict(verdict)
    del counts["faults"]
    return counts | {
        "database": arguments.database,
        "pooler": "PgBouncer" if arguments.pooler else None,
        "serve_with": arguments.serve_with,
        "vendors": run.settings.vendors or arguments.replicas,
        "mid_batch_kills": run.mid_batch_kills,
        "clients": sum(plan.num_clients for plan in run.scenario.plans),
        "caches": len(run.scenario.plans),
        "seed": arguments.seed,
        "queries_wanted": arguments.queries,
        "budget": arguments.budget,
        "requests": len(requests),
        "purchases": len({op.key for op in requests if op.what == "buy"}),
        "replayed": sum(bool(op.outcome.get("replayed")) for op in requests),
        "outcomes": dict(outcomes),
        "connections": run.proxy.connections,
        "faults": dict(run.proxy.faults),
        "kills": dict(run.kills),
        "lives": dict(run.lives),
        "seconds": round(seconds, 1),
        "recovery_seconds": round(recovery, 1),
    }


if __name__ == "__main__":
    raise SystemExit(main())
