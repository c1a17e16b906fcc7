"""What the sections about the vendor share: loads on a server, and one request beside the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks.embedding_servers.bare import Bare
from benchmarks.embedding_servers.load import Measured
from benchmarks.embedding_servers.servers import Server
from benchmarks.performance.comparison import Comparison, Subject, compare

IMAGES_PER_SECOND, MILLISECONDS = "img/s", "ms"


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
