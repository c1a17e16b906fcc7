"""Starts a peer's server in its own environment, and ends it."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.embedding_servers.servers import answers


@contextmanager
def running(
    command: Sequence[str],
    environment: Mapping[str, str],
    port: int,
    *,
    ready_path: str,
    seconds: float,
) -> Iterator[float]:
    """A peer's server, killed at the end; yields the seconds until `ready_path` answered 200.

    Raises RuntimeError if it ends, or is not ready in `seconds`.
    """
    started = time.perf_counter()
    with subprocess.Popen(
        command, env=dict(environment), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            while not answers(port, ready_path):
                if process.poll() is not None or time.perf_counter() - started > seconds:
                    message = f"{Path(command[0]).name} did not start ({process.poll()})"
                    raise RuntimeError(message)
                time.sleep(0.1)
            yield time.perf_counter() - started
        finally:
            process.kill()


def free_port() -> int:
    """A TCP port that is free now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
