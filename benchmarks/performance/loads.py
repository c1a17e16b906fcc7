"""What the sections about the vendor share: loads on a server, and one request beside the model."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from benchmarks.embedding_servers.bare import Bare
from benchmarks.embedding_servers.load import Measured
from benchmarks.embedding_servers.servers import Server
from benchmarks.performance.comparison import Comparison, Subject, compare

IMAGES_PER_SECOND, MILLISECONDS = "img/s", "ms"
_BUSY = "while True: pass"


@dataclass(slots=True)
class RepeatedLoad:
    """A load that keeps what it measured in each round."""

    run: Callable[[], Measured]
    rounds: list[Measured] = field(default_factory=list)

    def items_per_second(self) -> float:
        self.rounds.append(self.run())
        return self.rounds[-1].items_per_second

    def median_ms(self) -> float:
        self.rounds.append(self.run())
        return self.rounds[-1].percentile(0.5) * 1000


def one_request(
    section: str,
    model: str,
    server: Server,
    bare: Bare,
    files: Sequence[bytes],
    *,
    goal: float,
    count: int,
    rounds: int = 5,
) -> Comparison:
    """The median latency of one client's request, over decoding and encoding one image."""
    return compare(
        Subject(
            section=section,
            name=f"{model}, one request",
            unit=MILLISECONDS,
            peer="bare model",
            better="lower",
            goal=goal,
        ),
        RepeatedLoad(lambda: server.load(files, clients=1, items=1, requests=count)).median_ms,
        lambda: bare.seconds(files, batch=1, batches=count) / count * 1000,
        rounds=rounds,
    )


def batches(server: Server, files: Sequence[bytes], size: int) -> Measured:
    """Two clients of 64 images."""
    return server.load(files, clients=2, items=64, requests=4 * size)


def singles(server: Server, files: Sequence[bytes], size: int) -> Measured:
    """64 clients of one image."""
    return server.load(files, clients=64, items=1, requests=256 * size)


def warm_up(server: Server, files: Sequence[bytes]) -> None:
    """Let the server do what a process does once, such as tracing the model."""
    server.load(files, clients=8, items=1, requests=64)


@contextmanager
def busy_process() -> Iterator[None]:
    """Another process that uses a core all the time."""
    with subprocess.Popen([sys.executable, "-c", _BUSY]) as process:
        try:
            yield
        finally:
            process.kill()
