"""The chaos test of a vendor that knows no purchases.

`python -m benchmarks.chaos.doubtful --out docs/results/chaos-doubtful.json`: clients over `--wire
openai` and their vendor, with the fault proxy between them, are killed with SIGKILL. The exit code
is 1 if anything was charged over a budget, lost, or left without a record of doubt.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.chaos import doubtful_vendor, wire_client
from benchmarks.chaos.client import GAVE_UP
from benchmarks.chaos.doubtful_checker import check_doubts
from benchmarks.chaos.doubtful_facts import Buyer, facts_of, own_checks
from benchmarks.chaos.history import read_history
from benchmarks.chaos.process_pool import ChildProcess, ProcessPool, process_pool
from benchmarks.chaos.proxy import FaultProxy
from tools.provenance import commit

_EXPECTED = frozenset({"AnswerInDoubt", "VendorUnreachable", "VendorMisbehaved", "PurchaseError"})
_EXPECTED_OF_BUDGET = "PlanExceedsBudget"


def main(argv: Sequence[str] | None = None) -> int:
    """Run, write the result, and return 1 if a fault was found."""
    arguments = parser().parse_args(argv)
    given = " ".join(argv if argv is not None else sys.argv[1:])
    with tempfile.TemporaryDirectory(prefix="chaos-") as scratch:
        result = asyncio.run(chaos(arguments, arguments.folder or Path(scratch)))
    command = f"python -m benchmarks.chaos.doubtful {given}"
    text = json.dumps({"command": command, "commit": commit()} | result, indent=2, sort_keys=True)
    if arguments.out is not None:
        arguments.out.write_text(text + "\n")
    sys.stdout.write(text + "\n")
    return 1 if result["faults_found"] else 0


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.chaos.doubtful")
    add = made.add_argument
    add("--queries", type=int, default=6000, help="queries that the clients want")
    add("--seconds", type=float, default=600.0, help="stop all faults after this time")
    add("--seed", type=int, default=1, help="random seed for faults and kills")
    add("--kill-every", type=float, default=1.5, help="mean seconds between random kills")
    add("--calm-bytes", type=int, default=12_000, help="mean bytes between two network faults")
    add("--folder", type=Path, help="keep histories, the book and the caches in this folder")
    add("--out", type=Path, help="JSON file to write the result to")
    return made


async def chaos(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run the test once in `folder` and return the result as a JSON object."""
    third = arguments.queries // 3
    buyers = (
        Buyer("alone", 4 * third, third, 1),
        Buyer("shared", 4 * third, third, 2),
        Buyer("capped", third // 2, third, 2),
    )
    async with process_pool(folder / "processes.log") as processes:
        run = _Run(arguments, folder, buyers, processes)
        started = time.monotonic()
        await run.run()
        seconds = time.monotonic() - started
    facts = [facts_of(folder, buyer) for buyer in buyers]
    verdict = check_doubts(facts)
    counts = asdict(verdict)
    faults = [
        *run.crashes,
        *run.unexpected_ends(),
        *own_checks(folder, buyers),
        *counts.pop("faults"),
    ]
    return counts | {
        "seed": arguments.seed,
        "queries_wanted": arguments.queries,
        "budgets": {buyer.name: buyer.budget for buyer in buyers},
        "missing": sum(len(set(f.wanted) - {row.item for row in f.rows}) for f in facts),
        "connections": run.proxy.connections,
        "faults": dict(run.proxy.faults),
        "kills": dict(run.kills()),
        "lives": dict(run.starts),
        "seconds": round(seconds, 1),
        "faults_found": faults,
    }


@dataclass(slots=True)
class _Run:
    arguments: argparse.Namespace
    folder: Path
    buyers: Sequence[Buyer]
    processes: ProcessPool
    starts: Counter[str] = field(default_factory=Counter)
    crashes: list[str] = field(default_factory=list)
    killed: list[str] = field(default_factory=list)
    proxy: FaultProxy = field(init=False)
    _alive: dict[str, ChildProcess] = field(default_factory=dict)
    _is_over: bool = False

    def __post_init__(self) -> None:
        calm_bytes = self.arguments.calm_bytes
        self.proxy = FaultProxy(self._ports, self._random("proxy"), calm_bytes=calm_bytes)

    async def run(self) -> None:
        """Run until each cache has had a client that ended by itself, then once more in calm.

        One kill of each role does not wait for chance, which a short run on a fast machine may not
        give: a client after it has reserved, and the vendor after a charge that nobody hears of.
        """
        await self.proxy.start()
        tasks = [
            asyncio.create_task(self._restart_vendor()),
            asyncio.create_task(self._kill_at_random()),
            asyncio.create_task(self._stop_faults_in_time()),
        ]
        try:
            await self._clients([(b, n) for b in self.buyers for n in range(b.num_clients)])
            self.proxy.is_calm = True
            await self._clients([(buyer, buyer.num_clients) for buyer in self.buyers])
        finally:
            self._is_over = True
            for task in tasks[1:]:
                task.cancel()
            for child in self._alive.values():
                self.processes.kill(child)
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.proxy.stop()

    def kills(self) -> Counter[str]:
        """Killed processes by role and point."""
        counts: Counter[str] = Counter()
        for name in self.killed:
            events = read_history(self._history(name))
            points = [event["point"] for event in events if event["kind"] == "killed"]
            counts[f"{name.partition('-')[0]} {points[0] if points else 'at random'}"] += 1
        return counts

    def unexpected_ends(self) -> list[str]:
        """Errors of clients that neither a kill nor a network fault explains."""
        found = []
        for path in sorted(self._history("").parent.glob("client-*.jsonl")):
            for event in read_history(path):
                error = event.get("error")
                is_explained = error in _EXPECTED or error in (None, _EXPECTED_OF_BUDGET)
                if event["kind"] == "end" and not is_explained:
                    found.append(f"{path.stem} ended with {error}: {event['detail']}")
        return found

    async def _clients(self, clients: Sequence[tuple[Buyer, int]]) -> None:
        async with asyncio.TaskGroup() as group:
            for buyer, number in clients:
                group.create_task(self._restart_client(buyer, number))

    async def _restart_client(self, buyer: Buyer, number: int) -> None:
        random = self._random(f"client {buyer.name} {number}")
        while not self._is_over:
            name = self._name(f"client-{buyer.name}{number}")
            spec: dict[str, Any] = {
                "url": f"http://127.0.0.1:{self.proxy.port}",
                "key": f"key-{buyer.name}",
                "cache": str(self.folder / "caches" / buyer.name),
                "budget": buyer.budget,
                "items": list(range(buyer.num_items)),
                "run": uuid.UUID(int=random.getrandbits(128), version=4).hex,
                "batch_size": random.choice((1, 4, 8)),
                "concurrency": random.choice((1, 2, 4)),
                "history": str(self._history(name)),
            }
            if not self.kills()["client after-reserve"]:
                spec["kill_switch"] = {"point": "after-reserve", "nth": 1}
            elif not self.proxy.is_calm and random.random() < 0.6:
                point = random.choice(wire_client.POINTS)
                spec["kill_switch"] = {"point": point, "nth": random.randint(1, 10)}
            code = await self._to_end("wire-client", name, spec)
            if code == 0 or self._has_spent(name):
                return
            if code not in (-9, GAVE_UP):
                self.crashes.append(f"{name} exited by itself with code {code}")
                return

    def _has_spent(self, name: str) -> bool:
        """Whether the client ended because its budget does not even pay for a canary."""
        events = read_history(self._history(name))
        return any(event.get("error") == _EXPECTED_OF_BUDGET for event in events)

    async def _restart_vendor(self) -> None:
        random = self._random("vendor")
        while not self._is_over:
            name = self._name("vendor")
            spec: dict[str, Any] = {
                "port_file": str(self.folder / "vendor.port"),
                "book": str(self.folder / "book.jsonl"),
                "history": str(self._history(name)),
            }
            if not self.kills()["vendor after-charge"]:
                spec["kill_switch"] = {"point": "after-charge", "nth": 2}
            elif not self.proxy.is_calm and random.random() < 0.7:
                point = random.choice(doubtful_vendor.POINTS)
                spec["kill_switch"] = {"point": point, "nth": random.randint(1, 60)}
            await self._to_end("doubtful-vendor", name, spec)
            (self.folder / "vendor.port").unlink(missing_ok=True)

    async def _to_end(self, role: str, name: str, spec: dict[str, Any]) -> int:
        child = await self.processes.start(role, name, spec)
        self._alive[name] = child
        code = await child.ended
        del self._alive[name]
        if code == -9 and not self._is_over:
            self.killed.append(name)
        return code

    async def _kill_at_random(self) -> None:
        random = self._random("killer")
        while True:
            await asyncio.sleep(random.expovariate(1 / self.arguments.kill_every))
            role = random.choice(("vendor", "client"))
            names = sorted(name for name in self._alive if name.startswith(role))
            if names and not self.proxy.is_calm:
                self.processes.kill(self._alive[random.choice(names)])

    async def _stop_faults_in_time(self) -> None:
        await asyncio.sleep(self.arguments.seconds)
        self.proxy.is_calm = True

    def _ports(self) -> list[int]:
        try:
            return [int((self.folder / "vendor.port").read_text())]
        except FileNotFoundError:
            return []

    def _name(self, stem: str) -> str:
        role = stem.partition("-")[0]
        self.starts[role] += 1
        return f"{stem}-{self.starts[role]}"

    def _history(self, name: str) -> Path:
        return self.folder / "history" / f"{name}.jsonl"

    def _random(self, name: str) -> Random:
        return Random(f"{self.arguments.seed}/{name}")


if __name__ == "__main__":
    raise SystemExit(main())
