"""Calls that finish even if their caller is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


async def run_uncancelled(call: Callable[[], T]) -> T:
    """Run `call` in a worker thread until it finishes, even if the caller is cancelled."""
    return await _finished(asyncio.ensure_future(asyncio.to_thread(call)))


async def uncancelled(future: Future[T]) -> T:
    """The result of a future that another thread resolves, waited for even if cancelled."""
    return await _finished(asyncio.wrap_future(future))


async def _finished(task: asyncio.Future[T]) -> T:
    """The result of `task`, once it is done.

    A cancelled caller receives CancelledError only after that, so that its clean-up knows what the
    call did to the ledger.
    """
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
