"""A process that trains a few steps for each number on its input, and prints images per second.

`python -m benchmarks.performance.training_worker LOOP METHOD`: it prints "ready" after two steps.
"""

from __future__ import annotations

import sys
import time

from student.training.process import keep_freed_memory, let_waiting_threads_sleep

_DEFAULTS = ("plain",)  # runs as PyTorch does if nothing is set


def main(loop: str, method: str) -> None:
    """Serves the numbers until the input ends. All loops but the plain one wait and keep memory as
    the product does."""
    if loop not in _DEFAULTS:
        let_waiting_threads_sleep()
        keep_freed_memory()
    from benchmarks.performance.training_loops import BATCH, LOOPS  # loads torch

    train = LOOPS[loop](method)
    train(2)
    _answer("ready")
    for line in sys.stdin:
        steps = int(line)
        started = time.perf_counter()
        train(steps)
        _answer(str(steps * BATCH / (time.perf_counter() - started)))


def _answer(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
