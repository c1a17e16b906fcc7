"""Calls that end before their caller is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def run_uncancelled(call: Callable[[], T]) -> T:
    """Run `call` in a worker thread to its end, even when the caller is cancelled meanwhile.

    A cancelled caller gets its CancelledError only after the call has ended, so that what the
    call did to the books is known when the clean-up runs.
    """
    task = asyncio.ensure_future(asyncio.to_thread(call))
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        task.exception()  # marks it as seen; the cancellation is what the caller hears of
        raise cancelled
    return task.result()
