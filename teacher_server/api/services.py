"""What the routes work with: built once by `create_app`, reached through the request's app."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import Depends
from starlette.requests import Request

from teacher_server.batcher import Batcher
from teacher_server.health import Canary
from teacher_server.images import ImageLimits
from teacher_server.ledger.ledger import Ledger
from teacher_server.metrics import Metrics
from teacher_server.model.info import Encoder
from teacher_server.settings import VendorSettings

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The collaborators of every route."""

    encoder: Encoder
    ledger: Ledger
    batcher: Batcher
    canary: Canary
    metrics: Metrics
    settings: VendorSettings
    decoding: asyncio.Semaphore

    @property
    def image_limits(self) -> ImageLimits:
        """The limits on one image."""
        return ImageLimits(
            max_bytes=self.settings.max_image_bytes, max_pixels=self.settings.max_image_pixels
        )


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


Serving = Annotated[Services, Depends(_services)]


async def settled(call: Callable[[], T]) -> T:
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
