"""Starts vendors and clients, kills them and restarts them until every client has finished."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.chaos import client, vendor
from benchmarks.chaos.history import read_history
from benchmarks.chaos.process_pool import ChildProcess, ProcessPool
from benchmarks.chaos.proxy import FaultProxy
from benchmarks.chaos.scenario import ClientPlan, Scenario

MAX_CRASHES = 10  # one crash fails the test already; stop early when they repeat
VENDOR_KILL_SHARE, CLIENT_KILL_SHARE = 0.7, 0.6  # shares of processes with a kill switch
# Each vendor is killed here once for certain: in the middle of a batch, which it has embedded and
# not charged. A short run on a fast machine may not give it by chance.
MID_BATCH = "after-encode"


class Stuck(Exception):
    """The clients did not finish in the time allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChaosSettings:
    """The settings of one chaos test.

    Faults stop after `seconds` of wall clock; the test fails if the clients have not finished
    `grace_seconds` later. `kill_every` is the mean time in seconds between two random kills, and
    `calm_bytes` the mean number of bytes between two network faults.
    """

    folder: Path
    dsn: str
    vendors: int
    seed: int
    seconds: float
    grace_seconds: float
    kill_every: float
    vendor_nth: int
    client_nth: int
    calm_bytes: int
    options: dict[str, Any]


@dataclass(slots=True)
class Supervisor:
    """One chaos test.

    `starts` counts the processes started by role. `crashes` are exits that no kill caused.
    """

    scenario: Scenario
    settings: ChaosSettings
    processes: ProcessPool
    starts: Counter[str] = field(default_factory=Counter)
    crashes: list[str] = field(default_factory=list)
    killed: list[str] = field(default_factory=list)
    _alive: dict[str, ChildProcess] = field(default_factory=dict)
    _is_calm: bool = False
    _is_over: bool = False
    proxy: FaultProxy = field(init=False)

    def __post_init__(self) -> None:
        self.proxy = FaultProxy(
            self._ports, self._random("proxy"), calm_bytes=self.settings.calm_bytes
        )

    async def run(self) -> None:
        """Run until every client has finished.

        Faults and kills stop when the clients are done or `seconds` are over. Raises Stuck if the
        clients are not done `grace_seconds` later.
        """
        allowed = self.settings.seconds + self.settings.grace_seconds
        await self.proxy.start()
        vendors = [
            asyncio.create_task(self._restart_vendor(number))
            for number in range(self.settings.vendors)
        ]
        killer = asyncio.create_task(self._kill_at_random())
        calm = asyncio.create_task(self._stop_faults_in_time())
        try:
            async with asyncio.timeout(allowed):
                await self._run_clients(
                    (plan, number)
                    for plan in self.scenario.plans
                    for number in range(plan.num_clients)
                )
                self._stop_faults()
                # The next run settles what a killed client left open, as for any customer.
                await self._run_clients((plan, plan.num_clients) for plan in self.scenario.plans)
        except TimeoutError as error:
            message = f"after {allowed:.0f} s: {self._state()}"
            raise Stuck(message) from error
        finally:
            self._is_over = True
            for task in (killer, calm):
                task.cancel()
            for child in self._alive.values():
                self.processes.kill(child)
            await asyncio.gather(*vendors, killer, calm, return_exceptions=True)
            await self.proxy.stop()

    @property
    def is_behind_proxy(self) -> bool:
        """Whether a proxy of the vendor may answer for a vendor that was killed."""
        return False

    @property
    def kills(self) -> Counter[str]:
        """Killed processes by role and point: "vendor after-commit", "client at random"."""
        return Counter(f"{name.partition('-')[0]} {self._point(name)}" for name in self.killed)

    @property
    def mid_batch_kills(self) -> list[int]:
        """How often each vendor was killed in the middle of a batch, by its number."""
        killed = [name for name in self.killed if self._point(name) == MID_BATCH]
        return [
            sum(name.startswith(f"vendor-{number}-") for name in killed)
            for number in range(self.settings.vendors)
        ]

    @property
    def lives(self) -> Counter[str]:
        """The processes started by role."""
        return self.starts

    @property
    def untested(self) -> list[str]:
        """What the test did not test, as sentences: it is to be run again for longer."""
        return []

    def _point(self, name: str) -> str:
        """The kill point that ended a killed process, or "at random"."""
        events = read_history(self.history_of(name))
        return next((e["point"] for e in events if e["kind"] == "killed"), "at random")

    def history_of(self, name: str) -> Path:
        """The file that a process writes its events to."""
        return self.settings.folder / "history" / f"{name}.jsonl"

    def _random(self, name: str) -> Random:
        return Random(f"{self.settings.seed}/{name}")

    def _stop_faults(self) -> None:
        self._is_calm = self.proxy.is_calm = True

    async def _stop_faults_in_time(self) -> None:
        await asyncio.sleep(self.settings.seconds)
        self._stop_faults()

    def _port_file(self, number: int) -> Path:
        return self.settings.folder / f"vendor-{number}.port"

    def _ports(self) -> list[int]:
        found = []
        for number in range(self.settings.vendors):
            with suppress(FileNotFoundError):
                found.append(int(self._port_file(number).read_text()))
        return found

    async def _restart_vendor(self, number: int) -> None:
        random = self._random(f"vendor {number}")
        while not self._is_over:
            name = f"vendor-{number}-{self._next_number('vendor')}"
            spec = {
                "dsn": self.settings.dsn,
                "port_file": str(self._port_file(number)),
                "history": str(self.history_of(name)),
                "options": self.settings.options,
            }
            if not self.mid_batch_kills[number]:  # also after the faults, on a slow machine
                spec["kill_switch"] = {"point": MID_BATCH, "nth": 2}
            elif not self._is_calm and random.random() < VENDOR_KILL_SHARE:
                spec["kill_switch"] = _kill_point(random, vendor.POINTS, self.settings.vendor_nth)
            await self._run_to_end("vendor", name, spec)
            self._port_file(number).unlink(missing_ok=True)
            await asyncio.sleep(random.uniform(0.0, 0.3))

    async def _run_clients(self, clients: Iterable[tuple[ClientPlan, int]]) -> None:
        async with asyncio.TaskGroup() as group:
            for plan, number in clients:
                group.create_task(self._restart_client(plan, number))

    async def _restart_client(self, plan: ClientPlan, number: int) -> None:
        """Start a client again until it exits by itself without an error."""
        random = self._random(f"client {plan.name} {number}")
        exit_code = None
        while exit_code != 0 and not self._is_over and len(self.crashes) < MAX_CRASHES:
            name = f"client-{plan.name}{number}-{self._next_number('client')}"
            spec = {
                "url": f"http://127.0.0.1:{self.proxy.port}",
                "key": plan.account.key.token,
                "cache": str(self.settings.folder / "caches" / plan.name),
                "budget": plan.budget,
                "items": list(range(plan.num_items)),
                "run": uuid.UUID(int=random.getrandbits(128), version=4).hex,
                "batch_size": random.choice((1, 4, 8, 16, 32)),
                "concurrency": random.choice((1, 2, 4)),
                "history": str(self.history_of(name)),
                "is_behind_proxy": self.is_behind_proxy,
            }
            if not self._is_calm and random.random() < CLIENT_KILL_SHARE:
                spec["kill_switch"] = _kill_point(random, client.POINTS, self.settings.client_nth)
            exit_code = await self._run_to_end("client", name, spec)
            await asyncio.sleep(random.uniform(0.0, 0.2))

    async def _run_to_end(self, role: str, name: str, spec: dict[str, Any]) -> int:
        child = await self.processes.start(role, name, spec)
        self._alive[name] = child
        exit_code = await child.ended
        del self._alive[name]
        if self._is_over:
            return exit_code
        if exit_code == -9:
            self.killed.append(name)
        elif exit_code not in {0, client.GAVE_UP} or role == "vendor":
            self.crashes.append(f"{name} exited by itself with code {exit_code}")
        return exit_code

    def _next_number(self, role: str) -> int:
        self.starts[role] += 1
        return self.starts[role]

    async def _kill_at_random(self) -> None:
        random = self._random("killer")
        while True:
            await asyncio.sleep(random.expovariate(1 / self.settings.kill_every))
            # Kill vendors as often as clients, although there are more clients.
            role = random.choice(("vendor", "client"))
            names = sorted(name for name in self._alive if name.startswith(role))
            if names and not self._is_calm:
                self.processes.kill(self._alive[random.choice(names)])

    def _state(self) -> str:
        return f"still running: {', '.join(sorted(self._alive))}; crashes: {self.crashes[:5]}"


def _kill_point(random: Random, points: Sequence[str], max_nth: int) -> dict[str, Any]:
    return {"point": random.choice(points), "nth": random.randint(1, max_nth)}
