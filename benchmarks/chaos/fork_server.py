"""A process that has loaded everything and opened nothing, so that a fork of it starts at once.

Commands come as JSON lines on stdin, facts leave as JSON lines on stdout; when stdin ends, every
child is killed with it, whatever happened to the one who asked. A role is a function from a spec to
an exit code; a child opens its own files, databases and sockets, after the fork.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

Spec = dict[str, Any]
Role = Callable[[Spec], int]
_CRASHED = 70
_POLL_SECONDS = 0.02


def main() -> None:
    """Load the model, then fork what is asked for."""
    import torch

    # More threads would not survive the fork, and the machine is full of processes anyway.
    torch.set_num_threads(1)
    from benchmarks.chaos.client import run_client
    from benchmarks.chaos.reference import embed_items
    from benchmarks.chaos.vendor import run_vendor
    from teacher_server.inference.encoder import load_encoder

    encoder = load_encoder("embedded")
    # alembic reads its migrations by path: the first use compiles and caches them.
    roles: dict[str, Role] = {
        "vendor": lambda spec: run_vendor(spec, encoder),
        "reference": lambda spec: embed_items(spec, encoder),
        "client": run_client,
    }
    _tell(ready=True, fingerprint=encoder.info.fingerprint)
    serve(roles)


def serve(roles: dict[str, Role]) -> None:
    """Fork, kill and report until stdin ends."""
    alive: set[int] = set()
    pending = b""
    while True:
        readable, _, _ = select.select([0], [], [], _POLL_SECONDS)
        if readable:
            part = os.read(0, 65536)
            if not part:
                break
            *lines, pending = (pending + part).split(b"\n")
            for line in lines:
                _obey(json.loads(line), roles, alive)
        _reap(alive)
    for pid in alive:
        os.kill(pid, signal.SIGKILL)


def _obey(command: Spec, roles: dict[str, Role], alive: set[int]) -> None:
    if "kill" in command:
        # Only what has not been reaped: its number cannot be another process's yet.
        if command["kill"] in alive:
            os.kill(command["kill"], signal.SIGKILL)
        return
    pid = os.fork()
    if pid == 0:
        _become(command, roles)
    alive.add(pid)
    _tell(started=command["name"], pid=pid)


def _become(command: Spec, roles: dict[str, Role]) -> None:
    code = _CRASHED
    try:
        with Path(command["log"]).open("ab") as log, Path(os.devnull).open("rb") as nothing:
            os.dup2(nothing.fileno(), 0)
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        code = roles[command["role"]](command["spec"])
    except BaseException:  # a child must never return into the loop of its parent
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _reap(alive: set[int]) -> None:
    for pid in tuple(alive):
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            alive.discard(pid)
            _tell(ended=pid, exit_code=os.waitstatus_to_exitcode(status))


def _tell(**facts: object) -> None:
    os.write(1, (json.dumps(facts) + "\n").encode())


if __name__ == "__main__":
    main()
