"""Calls that finish even if their caller is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def run_uncancelled(call: Callable[[], T]) -> T:
    """Run `call` in a worker thread until it finishes, even if the caller is cancelled.

    A cancelled caller receives CancelledError only after the call has finished, so that its
    clean-up knows what the call did to the ledger.
    """
    task = asyncio.ensure_future(asyncio.to_thread(call))
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        task.exception()  # marks it as retrieved; the caller receives the cancellation
        raise cancelled
    return task.result()
