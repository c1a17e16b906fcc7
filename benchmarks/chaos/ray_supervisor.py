"""Runs the vendor on Ray Serve while clients and replicas are killed; Ray starts the replicas."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.chaos.history import read_history
from benchmarks.chaos.process_pool import ROOT
from benchmarks.chaos.ray_vendor import MID_BATCH, history_of
from benchmarks.chaos.supervisor import Supervisor

KINDS = ("api", "encoder")
# A replica takes many seconds to start again: of those after the first, not all are killed.
_KILL_SHARE = 0.3
_NTH = 60
_STOP_SECONDS = 90.0
_STARTS = 3


class NotStarted(Exception):
    """Ray Serve did not start; its log says why."""


@dataclass(slots=True)
class RaySupervisor(Supervisor):
    """A chaos test of replicas of the API and of the model; `replicas` are those of each kind."""

    replicas: int = 2
    _port: int | None = None
    _shot: set[str] = field(default_factory=set)

    async def run(self) -> None:
        """As of vendors without Ray; it begins when Ray Serve answers requests."""
        async with self._vendor():
            await Supervisor.run(self)
        self.killed += [name for name, _ in self._replicas() if self._was_killed(name)]

    @property
    def is_behind_proxy(self) -> bool:
        """Serve's proxy answers 500 in plain text for a replica that was killed."""
        return True

    @property
    def lives(self) -> Counter[str]:
        """The processes started by role, those of Ray among them."""
        return self.starts + Counter(name.partition("-")[0] for name, _ in self._replicas())

    @property
    def untested(self) -> list[str]:
        """The kinds of which no replica was killed in the middle of a batch."""
        return [
            f"no replica was killed in the middle of a batch: {kind}"
            for kind, kills in zip(KINDS, self.mid_batch_kills, strict=True)
            if not kills
        ]

    @property
    def mid_batch_kills(self) -> list[int]:
        """How many replicas of the API, and of the model, were killed in the middle of a batch."""
        return [
            sum(
                name.startswith(kind) and self._point(name) == MID_BATCH[kind]
                for name, _ in self._replicas()
            )
            for kind in KINDS
        ]

    def _ports(self) -> list[int]:
        return [] if self._port is None else [self._port]

    def _stop_faults(self) -> None:
        Supervisor._stop_faults(self)
        (self.settings.folder / "calm").touch()

    @asynccontextmanager
    async def _vendor(self) -> AsyncIterator[None]:
        folder = self.settings.folder
        spec = {
            "dsn": self.settings.dsn,
            "folder": str(folder),
            "options": self.settings.options,
            "replicas": self.replicas,
            "seed": self.settings.seed,
            "kill_share": _KILL_SHARE,
            "nth": _NTH,
        }
        file = folder / "ray-vendor.json"
        file.touch(0o600)
        file.write_text(json.dumps(spec))
        process = await self._started(file)
        try:
            yield
        finally:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), _STOP_SECONDS)
            except TimeoutError:
                process.kill()
                await process.wait()
                self.crashes.append("the vendor on Ray Serve did not stop")

    async def _started(self, spec: Path) -> asyncio.subprocess.Process:
        """The vendor, once it answers requests; Ray does not always start on a busy machine."""
        log = self.settings.folder / "ray-vendor.log"
        for _ in range(_STARTS):
            with log.open("ab") as errors:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "benchmarks.chaos.ray_vendor", str(spec)),
                    stdout=asyncio.subprocess.PIPE,
                    stderr=errors,
                    cwd=ROOT,
                )
            assert process.stdout is not None
            async for line in process.stdout:
                if found := re.fullmatch(r"http://127\.0\.0\.1:(\d+)\n", line.decode()):
                    self._port = int(found[1])
                    return process
            await process.wait()
        message = f"the vendor did not start; see {log}"
        raise NotStarted(message)

    def _replicas(self) -> Iterator[tuple[str, int]]:
        """The replicas that were started, by name, with their process ids."""
        for kind in KINDS:
            for file in sorted(history_of(self.settings.folder, kind, 0).parent.glob(f"{kind}-*")):
                for event in read_history(file):
                    if event["kind"] == "start":
                        yield file.stem, event["pid"]

    def _was_killed(self, name: str) -> bool:
        events = read_history(self.history_of(name))
        return name in self._shot or any(event["kind"] == "killed" for event in events)

    async def _kill_at_random(self) -> None:
        random = self._random("killer")
        while True:
            await asyncio.sleep(random.expovariate(1 / self.settings.kill_every))
            if self._is_calm:
                continue
            kind = random.choice((*KINDS, "client"))
            if kind == "client":
                names = sorted(self._alive)
                if names:
                    self.processes.kill(self._alive[random.choice(names)])
                continue
            alive = [
                (name, pid)
                for name, pid in self._replicas()
                if name.startswith(kind) and not self._was_killed(name) and _is_replica(pid)
            ]
            # At least one of each kind is left to Ray, which needs many seconds for another.
            if len(alive) >= self.replicas:
                name, pid = random.choice(alive)
                self._shot.add(name)
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def _is_replica(pid: int) -> bool:
    """Whether this process is one of Ray's, and not another that was given the same number."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::")
    except OSError:
        return False
