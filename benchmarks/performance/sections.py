"""The sections of the performance page, and what runs them."""

from __future__ import annotations

import importlib
import multiprocessing
from collections.abc import Callable
from multiprocessing.queues import Queue
from queue import Empty

from benchmarks.performance.comparison import Comparison

SECTIONS = ("startup", "vendor", "cores", "vit_b_32", "buying", "training", "cache", "growth")
"""The modules of this package that measure: each has `measure(quick=…, report=…)`."""
NOT_QUICK = ("vit_b_32",)
"""Left out of the quick mode unless they are named: they take minutes, and install a peer."""


def run_section(name: str, *, quick: bool, report: Callable[[Comparison], None]) -> None:
    """Measure one section in a process of its own and report each comparison when it is ready.

    A process of its own, because a section may set what torch and the C library read only once.
    Raises RuntimeError if the process fails.
    """
    context = multiprocessing.get_context("spawn")
    found: Queue[Comparison] = context.Queue()
    process = context.Process(target=_measure, args=(name, quick, found))
    process.start()
    while True:
        is_over = not process.is_alive()
        try:
            report(found.get(timeout=0.2))
        except Empty:
            if is_over:
                break
    process.join()
    if process.exitcode:
        message = f"the section {name} ended with exit code {process.exitcode}"
        raise RuntimeError(message)


def _measure(name: str, quick: bool, found: Queue[Comparison]) -> None:
    module = importlib.import_module(f"benchmarks.performance.{name}")
    module.measure(quick=quick, report=found.put)
