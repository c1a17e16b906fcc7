"""Starts, kills and awaits the processes of a fork server."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
START_SECONDS = 300.0


class ForkServerDied(Exception):
    """The fork server has died, so no process can be started."""


@dataclass(slots=True)
class ChildProcess:
    """A forked process. `ended` resolves to its exit code; -9 means killed."""

    name: str
    pid: int
    ended: asyncio.Future[int]


@dataclass(slots=True)
class ProcessPool:
    """Sends commands to a fork server; each process that it starts has one role."""

    fork_server: asyncio.subprocess.Process
    log: Path
    fingerprint: str = ""
    _starting: dict[str, asyncio.Future[ChildProcess]] = field(default_factory=dict)
    _alive: dict[int, ChildProcess] = field(default_factory=dict)

    async def start(self, role: str, name: str, spec: dict[str, Any]) -> ChildProcess:
        """Start a process of this role. `name` must not have been used before."""
        future: asyncio.Future[ChildProcess] = asyncio.get_running_loop().create_future()
        self._starting[name] = future
        self._send(role=role, name=name, spec=spec, log=str(self.log))
        return await future

    def kill(self, child: ChildProcess) -> None:
        """Kill the process with SIGKILL, unless it has exited."""
        self._send(kill=child.pid)

    async def listen(self) -> None:
        """Read the reports of the fork server: until it is ready, then until it ends."""
        assert self.fork_server.stdout is not None
        while line := await self.fork_server.stdout.readline():
            report = json.loads(line)
            if "started" in report:
                ended = asyncio.get_running_loop().create_future()
                child = ChildProcess(report["started"], report["pid"], ended)
                self._alive[child.pid] = child
                self._starting.pop(child.name).set_result(child)
            elif "ended" in report:
                self._alive.pop(report["ended"]).ended.set_result(report["exit_code"])
            else:
                self.fingerprint = report["fingerprint"]
                return
        message = f"the fork server has died; see {self.log}"
        for starting in self._starting.values():
            starting.set_exception(ForkServerDied(message))
        for child in self._alive.values():
            child.ended.set_exception(ForkServerDied(message))
        raise ForkServerDied(message)

    def _send(self, **command: object) -> None:
        assert self.fork_server.stdin is not None
        self.fork_server.stdin.write((json.dumps(command) + "\n").encode())


@asynccontextmanager
async def process_pool(log: Path) -> AsyncIterator[ProcessPool]:
    """Start a fork server with the model loaded; kill it and its processes at the end."""
    with log.open("ab") as errors:
        fork_server = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.chaos.fork_server"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            start_new_session=True,
        )
    processes = ProcessPool(fork_server, log)
    try:
        await asyncio.wait_for(processes.listen(), START_SECONDS)
        listening = asyncio.create_task(processes.listen())
        try:
            yield processes
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
    finally:
        assert fork_server.stdin is not None
        fork_server.stdin.close()
        if fork_server.returncode is None:
            # The fork server leads its own session, so its group is itself and what it forked.
            os.killpg(fork_server.pid, signal.SIGKILL)
        await fork_server.wait()
