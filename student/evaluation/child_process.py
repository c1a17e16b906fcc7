"""Children that do not outlive the process that spawned them."""

from __future__ import annotations

import os
from multiprocessing import parent_process
from threading import Thread


def end_with_parent() -> None:
    """Ends this process as soon as its parent is gone, however it went.

    For the initializer of a pool: a pool whose parent was killed would train to the end of its
    task, beside the run that goes on from its checkpoint. Does nothing in a process of no pool.
    """
    parent = parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    Thread(target=wait, name="end-with-parent", daemon=True).start()
