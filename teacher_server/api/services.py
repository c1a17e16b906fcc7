"""What the routes work with: built once by `create_app`, reached through the request's app."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from teacher_server.api.gate import Gate
from teacher_server.health import Health
from teacher_server.images import ImageLimits
from teacher_server.ledger.ledger import Ledger
from teacher_server.metrics import Metrics
from teacher_server.model.info import ModelInfo, Prepared
from teacher_server.rates import Rates
from teacher_server.room import Room
from teacher_server.settings import VendorSettings
from teacher_server.turns import Turns

Prepare = Callable[[Sequence[str | bytes]], list[Prepared]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The collaborators of every route. The model is not among them: `gate` sells its answers."""

    info: ModelInfo
    image_limits: ImageLimits
    prepare: Prepare
    ledger: Ledger
    gate: Gate
    rates: Rates
    health: Callable[[], Awaitable[Health]]
    metrics: Metrics
    settings: VendorSettings
    decoding: Turns
    room: Room


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


Serving = Annotated[Services, Depends(_services)]
