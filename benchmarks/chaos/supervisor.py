"""Keeps vendors and clients running, and killed, until every client has come to its end."""

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
from benchmarks.chaos.process_pool import Child, ProcessPool
from benchmarks.chaos.proxy import FaultProxy
from benchmarks.chaos.scenario import ClientPlan, Scenario

MOST_CRASHES = 10  # a run with one is lost already; with so many there is nothing more to learn
VENDOR_FUSED, CLIENT_FUSED = 0.7, 0.6  # shares of lives that have a failpoint


class Stuck(Exception):
    """The clients did not come to their end in the time allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Where a run takes place and how rough it is; seconds are of wall clock."""

    folder: Path
    dsn: str
    vendors: int
    seed: int
    seconds: float
    patience: float
    kill_every: float
    vendor_nth: int
    client_nth: int
    calm_bytes: int
    options: dict[str, Any]


@dataclass(slots=True)
class Supervisor:
    """One run. `lives` counts starts by role, `crashes` are ends that no one caused."""

    scene: Scenario
    setting: Setting
    nursery: ProcessPool
    lives: Counter[str] = field(default_factory=Counter)
    crashes: list[str] = field(default_factory=list)
    killed: list[str] = field(default_factory=list)
    _alive: dict[str, Child] = field(default_factory=dict)
    _is_calm: bool = False
    _is_over: bool = False
    proxy: FaultProxy = field(init=False)

    def __post_init__(self) -> None:
        self.proxy = FaultProxy(
            self._ports, self._random("proxy"), calm_bytes=self.setting.calm_bytes
        )

    async def run(self) -> None:
        """Chaos until the clients are done or `seconds` are over, then calm until all is settled.

        Raises Stuck when the clients are not done `patience` seconds later.
        """
        await self.proxy.start()
        vendors = [asyncio.create_task(self._keep_vendor(n)) for n in range(self.setting.vendors)]
        killer = asyncio.create_task(self._kill_at_random())
        calm = asyncio.create_task(self._calm_down())
        try:
            async with asyncio.timeout(self.setting.seconds + self.setting.patience):
                await self._run_clients(
                    (basket, number)
                    for basket in self.scene.baskets
                    for number in range(basket.clients)
                )
                self._settle_down()
                # What a killed client left open is ended by the next run, as for any customer.
                await self._run_clients((basket, basket.clients) for basket in self.scene.baskets)
        except TimeoutError as error:
            message = f"after {self.setting.seconds + self.setting.patience:.0f} s: {self._state()}"
            raise Stuck(message) from error
        finally:
            self._is_over = True
            for task in (killer, calm):
                task.cancel()
            for child in self._alive.values():
                self.nursery.kill(child)
            await asyncio.gather(*vendors, killer, calm, return_exceptions=True)
            await self.proxy.stop()

    @property
    def kills(self) -> Counter[str]:
        """Processes killed, by role and point: "vendor after-commit", "client at random"."""
        counts: Counter[str] = Counter()
        for name in self.killed:
            points = [
                event["point"]
                for event in read_history(self.history_of(name))
                if event["kind"] == "killed"
            ]
            role = name.partition("-")[0]
            counts[f"{role} {points[0] if points else 'at random'}"] += 1
        return counts

    def history_of(self, name: str) -> Path:
        """The file in which a process writes what it does."""
        return self.setting.folder / "history" / f"{name}.jsonl"

    def _random(self, name: str) -> Random:
        return Random(f"{self.setting.seed}/{name}")

    def _settle_down(self) -> None:
        self._is_calm = self.proxy.is_calm = True

    async def _calm_down(self) -> None:
        await asyncio.sleep(self.setting.seconds)
        self._settle_down()

    def _port_file(self, number: int) -> Path:
        return self.setting.folder / f"vendor-{number}.port"

    def _ports(self) -> list[int]:
        found = []
        for number in range(self.setting.vendors):
            with suppress(FileNotFoundError):
                found.append(int(self._port_file(number).read_text()))
        return found

    async def _keep_vendor(self, number: int) -> None:
        random = self._random(f"vendor {number}")
        while not self._is_over:
            name = f"vendor-{number}-{self._next_life('vendor')}"
            spec = {
                "dsn": self.setting.dsn,
                "port_file": str(self._port_file(number)),
                "history": str(self.history_of(name)),
                "options": self.setting.options,
            }
            if not self._is_calm and random.random() < VENDOR_FUSED:
                point, nth = (
                    random.choice(vendor.POINTS),
                    random.randint(1, self.setting.vendor_nth),
                )
                spec["fuse"] = {"point": point, "nth": nth}
            await self._live("vendor", name, spec)
            self._port_file(number).unlink(missing_ok=True)
            await asyncio.sleep(random.uniform(0.0, 0.3))

    async def _run_clients(self, clients: Iterable[tuple[ClientPlan, int]]) -> None:
        async with asyncio.TaskGroup() as group:
            for basket, number in clients:
                group.create_task(self._keep_client(basket, number))

    async def _keep_client(self, basket: ClientPlan, number: int) -> None:
        """Start a client again and again, until it ends by itself and without an error."""
        random = self._random(f"client {basket.name} {number}")
        exit_code = None
        while exit_code != 0 and not self._is_over and len(self.crashes) < MOST_CRASHES:
            name = f"client-{basket.name}{number}-{self._next_life('client')}"
            spec = {
                "url": f"http://127.0.0.1:{self.proxy.port}",
                "key": basket.purse.key.token,
                "cache": str(self.setting.folder / "caches" / basket.name),
                "budget": basket.budget,
                "wares": list(range(basket.wants)),
                "run": uuid.UUID(int=random.getrandbits(128), version=4).hex,
                "batch_size": random.choice((1, 4, 8, 16, 32)),
                "concurrency": random.choice((1, 2, 4)),
                "history": str(self.history_of(name)),
            }
            if not self._is_calm and random.random() < CLIENT_FUSED:
                point, nth = (
                    random.choice(client.POINTS),
                    random.randint(1, self.setting.client_nth),
                )
                spec["fuse"] = {"point": point, "nth": nth}
            exit_code = await self._live("client", name, spec)
            await asyncio.sleep(random.uniform(0.0, 0.2))

    async def _live(self, role: str, name: str, spec: dict[str, Any]) -> int:
        child = await self.nursery.start(role, name, spec)
        self._alive[name] = child
        exit_code = await child.ended
        del self._alive[name]
        if self._is_over:
            return exit_code
        if exit_code == -9:
            self.killed.append(name)
        elif exit_code not in {0, client.GAVE_UP} or role == "vendor":
            self.crashes.append(f"{name} ended by itself with exit code {exit_code}")
        return exit_code

    def _next_life(self, role: str) -> int:
        self.lives[role] += 1
        return self.lives[role]

    async def _kill_at_random(self) -> None:
        random = self._random("killer")
        while True:
            await asyncio.sleep(random.expovariate(1 / self.setting.kill_every))
            # A vendor as often as a client, though there are more of these.
            role = random.choice(("vendor", "client"))
            names = sorted(name for name in self._alive if name.startswith(role))
            if names and not self._is_calm:
                self.nursery.kill(self._alive[random.choice(names)])

    def _state(self) -> str:
        return f"still running: {', '.join(sorted(self._alive))}; crashes: {self.crashes[:5]}"


def _fuse(random: Random, points: Sequence[str], *, most: int) -> dict[str, Any]:
    return {"point": random.choice(points), "nth": random.randint(1, most)}
