"""What is on sale, and for how much."""

from __future__ import annotations

from fastapi import APIRouter

from teacher_server.api.dependencies import Services, Serving
from teacher_server.api.openapi import problems
from teacher_server.api.problems import Code, Problem
from teacher_server.api.schemas import Limits, Model, ModelList, Prices, UnitPrices
from teacher_server.api.scopes import REFUSALS, Caller

router = APIRouter(tags=["catalogue"])


@router.get("/v1/models", summary="The models on sale", responses=problems(*REFUSALS))
async def models(services: Serving, caller: Caller) -> ModelList:
    """One model per vendor, with its fingerprint and the limits on what may be sent."""
    return ModelList(data=[_model(services)])


@router.get(
    "/v1/models/{model:path}",
    summary="One model",
    responses=problems(Code.UNKNOWN_MODEL, *REFUSALS),
)
async def one_model(model: str, services: Serving, caller: Caller) -> Model:
    """The model of this id."""
    if model != services.info.id:
        raise Problem(Code.UNKNOWN_MODEL, f"the model {model[:100]!r} is not served", param="model")
    return _model(services)


@router.get("/v1/prices", summary="The price list", responses=problems(*REFUSALS))
async def prices(services: Serving, caller: Caller) -> Prices:
    """Integers only; the version changes whenever a figure does, and every charge carries it."""
    price = services.settings.price
    return Prices(
        version=price.version,
        currency="USD",
        units=UnitPrices(image=price.image_units, text=price.text_units),
        micro_usd_per_unit=price.micro_usd_per_unit,
        answers_kept_days=services.settings.answer_days,
    )


def _model(services: Services) -> Model:
    info, settings = services.info, services.settings
    return Model(
        id=info.id,
        created=info.created,
        owned_by="teacher-server",
        fingerprint=info.fingerprint,
        weights_sha256=info.weights_sha256,
        dim=info.dim,
        image_size=info.image_size,
        context_length=info.context_length,
        preprocess=dict(info.preprocess),
        open_clip_version=info.open_clip_version,
        embedded=info.is_embedded,
        limits=Limits(
            max_items=settings.max_items,
            max_image_bytes=settings.max_image_bytes,
            max_image_pixels=settings.max_image_pixels,
            max_body_bytes=settings.max_body_bytes,
        ),
    )
