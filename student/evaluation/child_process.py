"""Child processes that end when their parent ends."""

from __future__ import annotations

import os
from multiprocessing import parent_process
from threading import Thread


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
