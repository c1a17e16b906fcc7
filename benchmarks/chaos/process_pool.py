"""The supervisor's end of the zygote: start a process, kill it, hear of its end."""

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
PATIENCE_SECONDS = 120.0


class ForkServerDied(Exception):
    """Nothing can be started any more."""


@dataclass(slots=True)
class Child:
    """A forked process; `ended` resolves to its exit code (-9: killed)."""

    name: str
    pid: int
    ended: asyncio.Future[int]


@dataclass(slots=True)
class ProcessPool:
    """Starts the roles of the zygote, one process each."""

    zygote: asyncio.subprocess.Process
    log: Path
    fingerprint: str = ""
    _starting: dict[str, asyncio.Future[Child]] = field(default_factory=dict)
    _alive: dict[int, Child] = field(default_factory=dict)

    async def start(self, role: str, name: str, spec: dict[str, Any]) -> Child:
        """A new process of this role; `name` must be new."""
        future: asyncio.Future[Child] = asyncio.get_running_loop().create_future()
        self._starting[name] = future
        self._tell(role=role, name=name, spec=spec, log=str(self.log))
        return await future

    def kill(self, child: Child) -> None:
        """SIGKILL, unless it has ended by itself."""
        self._tell(kill=child.pid)

    async def listen(self) -> None:
        """Hear the zygote's facts until it ends."""
        assert self.zygote.stdout is not None
        while line := await self.zygote.stdout.readline():
            fact = json.loads(line)
            if "started" in fact:
                ended = asyncio.get_running_loop().create_future()
                child = Child(fact["started"], fact["pid"], ended)
                self._alive[child.pid] = child
                self._starting.pop(child.name).set_result(child)
            elif "ended" in fact:
                self._alive.pop(fact["ended"]).ended.set_result(fact["exit_code"])
            else:
                self.fingerprint = fact["fingerprint"]
                return
        message = f"the zygote has died; {self.log} may say of what"
        for starting in self._starting.values():
            starting.set_exception(ForkServerDied(message))
        for child in self._alive.values():
            child.ended.set_exception(ForkServerDied(message))
        raise ForkServerDied(message)

    def _tell(self, **command: object) -> None:
        assert self.zygote.stdin is not None
        self.zygote.stdin.write((json.dumps(command) + "\n").encode())


@asynccontextmanager
async def process_pool(log: Path) -> AsyncIterator[ProcessPool]:
    """A zygote with the model loaded; what it started dies with it at the end."""
    with log.open("ab") as errors:
        zygote = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.chaos.fork_server"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            start_new_session=True,
        )
    children = ProcessPool(zygote, log)
    try:
        await asyncio.wait_for(children.listen(), PATIENCE_SECONDS)
        listening = asyncio.create_task(children.listen())
        try:
            yield children
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
    finally:
        assert zygote.stdin is not None
        zygote.stdin.close()
        if zygote.returncode is None:
            # The zygote leads a session of its own: its group is itself and what it forked.
            os.killpg(zygote.pid, signal.SIGKILL)
        await zygote.wait()
