"""Child processes that train: they end when their parent ends, and leave Ctrl-C to it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import (
    active_children,
    get_all_start_methods,
    get_context,
    parent_process,
)
from multiprocessing.context import BaseContext
from threading import Thread
from typing import Any

from student.errors import TrainingError


@contextmanager
def training_pool(
    workers: int, initializer: Callable[..., None], initargs: tuple[Any, ...] = ()
) -> Iterator[ProcessPoolExecutor]:
    """A pool of child processes, which are ended at once if the block is interrupted or closed.

    Raises TrainingError if a child process is killed, for example because memory is short.
    """
    pool = ProcessPoolExecutor(workers, _context(), _begin, (initializer, *initargs))
    try:
        with pool:
            try:
                yield pool
            except (KeyboardInterrupt, GeneratorExit):
                for child in active_children():  # otherwise the pool would wait for their tasks
                    child.terminate()
                raise
    except BrokenProcessPool as error:
        message = (
            "a training process was killed, perhaps because memory is short: run the same command "
            "again, which resumes from the checkpoints"
        )
        raise TrainingError(message) from error


def _context() -> BaseContext:
    """Children are forks of a process that has imported torch and has no threads.

    A fork of this process, which has threads, may hang; a spawned child takes seconds to import
    torch and timm, for each child anew.
    """
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload(["student.evaluation.experiment", "timm"])
    return context


def _begin(initializer: Callable[..., None], *initargs: Any) -> None:
    # Ctrl-C reaches every process of a terminal; the parent says so once and ends its children.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    initializer(*initargs)


def end_with_parent() -> None:
    """Ends this process as soon as its parent has ended, even if the parent was killed.

    For use as the initializer of a pool. Otherwise the children of a killed run would train to the
    end of their tasks, next to the run that resumes its checkpoints. Does nothing in a process that
    is not a child of a pool.
    """
    parent = parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    Thread(target=wait, name="end-with-parent", daemon=True).start()
