"""Section "cores": how many cores the vendor's model should compute on, idle and beside others.

The model's threads share the cores with decoding, the event loop and the ledger, and in this
measurement with the clients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.embedding_servers.load import Measured
from benchmarks.embedding_servers.servers import Server, photos, vendor
from benchmarks.performance.comparison import Comparison, Subject, compare
from benchmarks.performance.loads import (
    IMAGES_PER_SECOND,
    batches,
    busy_process,
    singles,
    warm_up,
)

Report = Callable[[Comparison], None]
_ONE = "one thread for the model"
_LOADS = ((batches, "batches of 64"), (singles, "64 clients of one image"))


def measure(*, quick: bool, report: Report) -> None:
    """Report all cores for the model beside one thread, idle and beside a busy process."""
    files = photos(128, 72)
    size = 1 if quick else 4
    with vendor() as every, vendor(threads=1) as one:
        for server in (every, one):
            warm_up(server, files)
        for load, name in _LOADS:
            idle = _rate(load, every, files, size)
            report(
                compare(_subject(f"all cores, {name}", _ONE), idle, _rate(load, one, files, size))
            )
            subject = _subject(f"all cores, {name}, beside one busy process", _ONE)
            own = _beside(_rate(load, every, files, size))
            report(compare(subject, own, _beside(_rate(load, one, files, size))))
            subject = _subject(f"{name}, beside one busy process", "the same on an idle machine")
            report(compare(subject, own, idle))


def _rate(
    load: Callable[[Server, Sequence[bytes], int], Measured],
    server: Server,
    files: Sequence[bytes],
    size: int,
) -> Callable[[], float]:
    return lambda: load(server, files, size).items_per_second


def _beside(rate: Callable[[], float]) -> Callable[[], float]:
    def measured() -> float:
        with busy_process():
            return rate()

    return measured


def _subject(name: str, peer: str) -> Subject:
    return Subject(
        section="cores", name=name, unit=IMAGES_PER_SECOND, peer=peer, better="higher", goal=None
    )
