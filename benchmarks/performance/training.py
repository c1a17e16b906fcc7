"""How fast a student trains: over the limit, beside a busy process, and over other loops.

tf_efficientnet_lite0 at 64 pixels, batches of 60 random images, on the CPU. Every loop runs in a
process of its own, and waits while the other is measured.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from benchmarks.performance.comparison import Comparison, Subject, compare
from benchmarks.performance.loads import busy_process

_METHODS = ("vl2v-adip", "vl2v-adip-1q", "one-stage", "simkd", "rise", "kd", "erm")
_QUICK_METHODS = ("vl2v-adip-1q",)
_USUAL_SPINS = "300000"  # what libgomp takes if nothing is set


@dataclass(frozen=True, slots=True)
class _Worker:
    """A loop in a process of its own; `rate` trains so many steps: images per second."""

    process: subprocess.Popen[str]

    def rate(self, steps: int) -> float:
        """The speed of the next steps."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        return float(self.line())

    def line(self) -> str:
        """What the process prints next. Raises RuntimeError if it has ended."""
        assert self.process.stdout is not None
        if not (line := self.process.stdout.readline()):
            message = f"{self.process.args!r} has ended"
            raise RuntimeError(message)
        return line.strip()


def measure(*, quick: bool, report: Callable[[Comparison], None]) -> None:
    """Measures the comparisons of this section and reports each."""
    steps = 2 if quick else 10
    for method in _QUICK_METHODS if quick else _METHODS:
        with _started("ours", method) as ours, _started("synthetic", method) as limit:
            subject = _subject(f"{method}, lite0 at 64 pixels", "synthetic tensors", goal=0.95)
            report(compare(subject, _rate(ours, steps), _rate(limit, steps)))
    with ExitStack() as stack:
        ours = stack.enter_context(_started("ours", "vl2v-adip"))
        subject = _subject("beside one busy process", "the same on an idle machine", goal=0.45)

        def beside() -> float:
            with busy_process():
                return ours.rate(steps)

        report(compare(subject, beside, _rate(ours, steps)))
        if not quick:
            _over_spinning(stack, ours, steps, report)
        plain = stack.enter_context(_started("plain", "erm"))
        subject = _subject(
            "over a plain loop", "DataLoader, a transform per image, contiguous layout", goal=5.0
        )
        report(compare(subject, _rate(ours, steps), _rate(plain, 1 if quick else 3)))
        if quick:
            return
        teacher = stack.enter_context(_started("teacher", "vl2v-adip"))
        subject = _subject(
            "over a teacher at every step", "the same loop with open_clip's ViT-B/32", goal=5.0
        )
        report(compare(subject, _rate(ours, steps), _rate(teacher, 2)))


def _over_spinning(
    stack: ExitStack, ours: _Worker, steps: int, report: Callable[[Comparison], None]
) -> None:
    """What sleeping threads gain beside a busy process, and what they cost without one."""
    spinning = stack.enter_context(_started("ours", "vl2v-adip", GOMP_SPINCOUNT=_USUAL_SPINS))
    peer = "threads that spin, as GNU OpenMP's do by default"
    subject = _subject("idle, threads that sleep", peer)
    report(compare(subject, _rate(ours, steps), _rate(spinning, steps)))
    subject = _subject("beside one busy process, threads that sleep", peer)
    with busy_process():
        report(compare(subject, _rate(ours, steps), _rate(spinning, steps)))


def _subject(name: str, peer: str, *, goal: float | None = None) -> Subject:
    return Subject(
        section="training", name=name, unit="images/s", peer=peer, better="higher", goal=goal
    )


def _rate(worker: _Worker, steps: int) -> Callable[[], float]:
    return lambda: worker.rate(steps)


@contextmanager
def _started(loop: str, method: str, **environment: str) -> Iterator[_Worker]:
    """A worker that has warmed up; it is ended after the block."""
    command = [sys.executable, "-m", "benchmarks.performance.training_worker", loop, method]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    ) as process:
        try:
            worker = _Worker(process)
            worker.line()
            yield worker
        finally:
            process.kill()
