"""A process that has imported everything and opened nothing, so that its forks start at once.

It reads commands as JSON lines from stdin and writes reports as JSON lines to stdout. When stdin
ends, it kills every child, so none survives the process that started them. A role is a function
from a spec to an exit code. A child opens its own files, databases and sockets after the fork.
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

from benchmarks.chaos.items import Spec

Role = Callable[[Spec], int]
_CRASHED = 70  # exit code
_POLL_SECONDS = 0.02


def main() -> None:
    """Load the model, then start the processes that are requested."""
    import torch

    # Threads do not survive a fork, and the processes use all cores anyway.
    torch.set_num_threads(1)
    from benchmarks.chaos.client import run_client
    from benchmarks.chaos.doubtful_vendor import run_doubtful_vendor
    from benchmarks.chaos.reference import embed_items
    from benchmarks.chaos.vendor import run_vendor
    from benchmarks.chaos.wire_client import run_wire_client
    from teacher_server.inference.encoder import load_encoder

    encoder = load_encoder("embedded")
    roles: dict[str, Role] = {
        "vendor": lambda spec: run_vendor(spec, encoder),
        "reference": lambda spec: embed_items(spec, encoder),
        "client": run_client,
        "doubtful-vendor": run_doubtful_vendor,
        "wire-client": run_wire_client,
    }
    _report(ready=True, fingerprint=encoder.info.fingerprint)
    serve(roles)


def serve(roles: dict[str, Role]) -> None:
    """Start and kill processes and report their exits until stdin ends."""
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
                _execute(json.loads(line), roles, alive)
        _reap(alive)
    for pid in alive:
        os.kill(pid, signal.SIGKILL)


def _execute(command: Spec, roles: dict[str, Role], alive: set[int]) -> None:
    if "kill" in command:
        # Only a child that is not reaped: its PID cannot belong to another process.
        if command["kill"] in alive:
            os.kill(command["kill"], signal.SIGKILL)
        return
    pid = os.fork()
    if pid == 0:
        _run_role(command, roles)
    alive.add(pid)
    _report(started=command["name"], pid=pid)


def _run_role(command: Spec, roles: dict[str, Role]) -> None:
    code = _CRASHED
    try:
        with Path(command["log"]).open("ab") as log, Path(os.devnull).open("rb") as nothing:
            os.dup2(nothing.fileno(), 0)
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        code = roles[command["role"]](command["spec"])
    except BaseException:  # a child must never return into its parent's loop
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _reap(alive: set[int]) -> None:
    for pid in tuple(alive):
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            alive.discard(pid)
            _report(ended=pid, exit_code=os.waitstatus_to_exitcode(status))


def _report(**facts: object) -> None:
    os.write(1, (json.dumps(facts) + "\n").encode())


if __name__ == "__main__":
    main()
