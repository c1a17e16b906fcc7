"""The whole thing: `python -m benchmarks.chaos.run --queries 24000 --budget 20000 --out FILE`.

Real vendors, real clients, real caches, a fault proxy between them, and SIGKILL for all; afterwards
the checker. Exits with 1 when a single query is charged twice, lost, overspent or stuck, or when
anything else is not as one careful clerk would have done it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.chaos.checker import Verdict, check
from benchmarks.chaos.collect import gather
from benchmarks.chaos.observations import Evidence
from benchmarks.chaos.operations import operations
from benchmarks.chaos.process_pool import process_pool
from benchmarks.chaos.scenario import Scenario, make_scenario
from benchmarks.chaos.supervisor import Setting, Supervisor
from benchmarks.support.postgresql import running
from teacher_server.ledger.ledger import Ledger, opened, serving
from tools.provenance import commit

_PATIENCE_SECONDS = 240.0
_PROGRESS_SECONDS = 10.0
# The chaos is not about these two limits, and its clients come back faster than people do.
OPTIONS = {"requests_per_minute": 10**6, "max_concurrent": 1000}
_log = logging.getLogger("chaos")


def main(argv: Sequence[str] | None = None) -> int:
    """Run, write the result, say in one line how it ended."""
    arguments = parser().parse_args(argv)
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
    told = {name: result[name] for name in ("charged", "lost", "doubled", "overshoot", "stuck")}
    _log.info("%s, %d faults found", told, len(result["faults_found"]))
    for fault in result["faults_found"][:50]:
        _log.error("%s", fault)
    return 1 if result["faults_found"] else 0


def parser() -> argparse.ArgumentParser:
    """The options of a run."""
    made = argparse.ArgumentParser(prog="benchmarks.chaos.run", description=__doc__)
    made.add_argument("--queries", type=int, default=24_000, help="how many are wanted")
    made.add_argument("--budget", type=int, default=20_000, help="how many can be paid for")
    made.add_argument("--seconds", type=float, default=3600.0, help="calm after that, at most")
    made.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    made.add_argument("--seed", type=int, default=1)
    made.add_argument("--kill-every", type=float, default=1.5, help="mean seconds, at random")
    made.add_argument("--vendor-nth", type=int, default=25, help="failpoints: 1..N-th time")
    made.add_argument("--client-nth", type=int, default=10, help="failpoints: 1..N-th time")
    made.add_argument("--calm-bytes", type=int, default=80_000, help="between faults, mean")
    made.add_argument("--folder", type=Path, help="keep histories, ledger and caches here")
    made.add_argument("--out", type=Path, help="where the JSON goes")
    return made


async def chaos(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One run in `folder` and what came of it."""
    scene = make_scenario(queries=arguments.queries, budget=arguments.budget)
    with database(arguments.database, folder) as (dsn, own):
        open_books(dsn, scene, own)
        setting = Setting(
            folder=folder,
            dsn=dsn,
            vendors=1 if arguments.database == "sqlite" else 2,
            seed=arguments.seed,
            seconds=arguments.seconds,
            patience=_PATIENCE_SECONDS,
            kill_every=arguments.kill_every,
            vendor_nth=arguments.vendor_nth,
            client_nth=arguments.client_nth,
            calm_bytes=arguments.calm_bytes,
            options=OPTIONS | own,
        )
        async with process_pool(folder / "processes.log") as children:
            run = Supervisor(scene, setting, children)
            started = time.monotonic()
            telling = asyncio.create_task(_tell_progress(run, started))
            try:
                await run.run()
            finally:
                telling.cancel()
            seconds = time.monotonic() - started
            evidence, recovery = await gather(run, children)
        faults = await asyncio.to_thread(_ledger_faults, dsn, own)
        verdict = await asyncio.to_thread(check, evidence)
    return _result(arguments, run, evidence, verdict, seconds=seconds, recovery=recovery) | {
        "faults_found": [*faults, *verdict.faults]
    }


@contextmanager
def database(kind: str, folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """An empty database, and the vendor's options that go with it."""
    if kind == "sqlite":
        yield f"sqlite:///{folder}/ledger.db", {}
        return
    with running() as server:
        yield server.database(), {"pepper": secrets.token_hex(32)}


def open_books(dsn: str, scene: Scenario, options: dict[str, Any]) -> None:
    """Make the ledger and the keys of the scene."""
    with books(dsn, options) as ledger:
        for purse in scene.purses.values():
            ledger.keys.create(
                purse.key, name="chaos", budget=purse.budget, price_version="2026-11"
            )


@contextmanager
def books(dsn: str, options: dict[str, Any]) -> Iterator[Ledger]:
    """The ledger as a server holds it."""
    with (
        opened(dsn) as engine,
        serving(engine, lease_seconds=10, pepper=options.get("pepper")) as ledger,
    ):
        yield ledger


def _ledger_faults(dsn: str, options: dict[str, Any]) -> list[str]:
    """What `teacher-server ledger verify` says."""
    with books(dsn, options) as ledger:
        return [f"ledger verify: {fault}" for fault in ledger.books.verify().faults]


async def _tell_progress(run: Supervisor, started: float) -> None:
    while True:
        await asyncio.sleep(_PROGRESS_SECONDS)
        _log.info(
            "%4.0f s: %d vendor and %d client lives, %d killed, %d faults on the wire",
            time.monotonic() - started,
            run.lives["vendor"],
            run.lives["client"],
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
    asked = operations(evidence.processes)
    outcomes = Counter(f"{one.what} {one.status or 'unheard'}" for one in asked)
    counts = asdict(verdict)
    del counts["faults"]
    return counts | {
        "database": arguments.database,
        "vendors": run.setting.vendors,
        "clients": sum(basket.clients for basket in run.scene.baskets),
        "caches": len(run.scene.baskets),
        "seed": arguments.seed,
        "queries_wanted": arguments.queries,
        "budget": arguments.budget,
        "requests": len(asked),
        "purchases": len({one.key for one in asked if one.what == "buy"}),
        "replayed": sum(bool(one.outcome.get("replayed")) for one in asked),
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
