"""The services that routes use: built once by `create_app`, injected into each route."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from teacher_server.api.sale import MeteredEncoder
from teacher_server.inference.decode_image import ImageLimits
from teacher_server.inference.model_info import ModelInfo, Prepared
from teacher_server.ledger.ledger import Ledger
from teacher_server.limits.fair_semaphore import FairSemaphore
from teacher_server.limits.memory_budget import MemoryBudget
from teacher_server.limits.rate_limiter import RateLimiter
from teacher_server.limits.shared_rate_limiter import SharedRateLimiter
from teacher_server.operations.metrics import Metrics
from teacher_server.operations.readiness import Health
from teacher_server.operations.storage import Storage
from teacher_server.settings import VendorSettings

Prepare = Callable[[Sequence[str | bytes]], list[Prepared]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The services of all routes. Routes reach the model only through `metered_encoder`."""

    info: ModelInfo
    image_limits: ImageLimits
    prepare: Prepare
    ledger: Ledger
    metered_encoder: MeteredEncoder
    storage: Storage
    rate_limiter: RateLimiter | SharedRateLimiter
    health: Callable[[], Awaitable[Health]]
    metrics: Metrics
    settings: VendorSettings
    decoding_slots: FairSemaphore
    memory_budget: MemoryBudget


# `async`, because FastAPI calls other functions in a worker thread.
async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(_services)]
