"""Routes for the model on sale and its price."""

from __future__ import annotations

from fastapi import APIRouter

from teacher_server.api.dependencies import Services, ServicesDep
from teacher_server.api.openapi import problem_responses
from teacher_server.api.problem_types import Code
from teacher_server.api.problems import Problem
from teacher_server.api.schemas import Limits, Model, ModelList, Prices, UnitPrices
from teacher_server.api.scopes import REFUSALS, Caller
from teacher_server.inference.decode_image import FORMATS, MAX_ASPECT_RATIO

router = APIRouter(tags=["catalogue"])


@router.get("/v1/models", summary="The models on sale", responses=problem_responses(*REFUSALS))
async def models(services: ServicesDep, caller: Caller) -> ModelList:
    """A vendor serves one model; this is its fingerprint and the limits on requests."""
    return ModelList(data=[_model(services)])


@router.get(
    "/v1/models/{model:path}",
    summary="One model",
    responses=problem_responses(Code.UNKNOWN_MODEL, *REFUSALS),
)
async def one_model(model: str, services: ServicesDep, caller: Caller) -> Model:
    """The model with this id."""
    if model != services.info.id:
        raise Problem(Code.UNKNOWN_MODEL, f"the model {model[:100]!r} is not served", param="model")
    return _model(services)


@router.get("/v1/prices", summary="The price list", responses=problem_responses(*REFUSALS))
async def prices(services: ServicesDep, caller: Caller) -> Prices:
    """Integers only. The version changes whenever a price does, and each charge records it."""
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
        fingerprint_v2=info.fingerprint_v2,
        weights_sha256=info.weights_sha256,
        dim=info.dim,
        image_size=info.image_size,
        context_length=info.context_length,
        preprocess=dict(info.preprocess),
        configuration=dict(info.configuration),
        open_clip_version=info.open_clip_version,
        embedded=info.is_embedded,
        limits=Limits(
            max_items=settings.max_items,
            max_image_bytes=settings.max_image_bytes,
            max_image_pixels=settings.max_image_pixels,
            max_body_bytes=settings.max_body_bytes,
            max_image_aspect_ratio=MAX_ASPECT_RATIO,
            image_formats=FORMATS,
        ),
    )
