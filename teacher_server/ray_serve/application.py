"""The Ray Serve application: a deployment of the API and one of the encoder.

A cluster's configuration imports `teacher_server.ray_serve.application:application`.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from teacher_server.inference.batcher import Vector
from teacher_server.inference.model_info import Preparation, Prepared
from teacher_server.ray_serve.api_replica import ApiReplica
from teacher_server.ray_serve.encoder_replica import EncoderReplica
from teacher_server.ray_serve.requirements import require_ray
from teacher_server.settings import VendorSettings, load_settings

if TYPE_CHECKING:
    from ray.serve import Application

NAME, API, ENCODER = "teacher", "api", "encoder"
# The vendor writes the access log; Serve says what is wrong.
QUIET = {"enable_access_log": False, "log_level": "WARNING"}
# Open requests of a replica from which on another one is started.
TARGET_API_REQUESTS = 32
# Requests that a replica of the API takes; the vendor's own limits refuse before, with a problem.
_MOST_API_REQUESTS = 1000
# A replica that is being replaced looks this often whether its last request has ended.
_DRAIN_SECONDS = 0.5


def application(_: dict[str, str]) -> Application:
    """The application with the settings of the environment; Ray passes the arguments, of which
    there are none."""
    settings = load_settings({})
    require_ray(settings)
    return build(settings)


def build(
    settings: VendorSettings,
    *,
    api: type[ApiReplica] = ApiReplica,
    encoder: type[EncoderReplica] = EncoderReplica,
) -> Application:
    """The application with these settings.

    They decide how many replicas there are and what they occupy. Each replica reads the others from
    the environment, because Ray shows and logs what an application is given.
    """
    from ray import serve

    def open_api() -> ApiReplica:
        return _connected(api)

    deployed: Any = serve.deployment(
        encoder,
        name=ENCODER,
        # The encoder's own queue refuses what is too much, so that requests wait where a batch is
        # formed, and not before the handle.
        max_ongoing_requests=settings.max_queue,
        autoscaling_config={
            "min_replicas": settings.min_encoder_replicas,
            "max_replicas": settings.max_encoder_replicas,
            "initial_replicas": settings.min_encoder_replicas,
            "target_ongoing_requests": settings.max_batch,
        },
        ray_actor_options=_resources(settings),
        **_running(settings),
    )
    ingress: Any = serve.deployment(
        serve.ingress(open_api)(),
        name=API,
        max_ongoing_requests=_MOST_API_REQUESTS,
        autoscaling_config={
            "min_replicas": settings.min_api_replicas,
            "max_replicas": settings.max_api_replicas,
            "initial_replicas": settings.min_api_replicas,
            "target_ongoing_requests": TARGET_API_REQUESTS,
        },
        ray_actor_options={"num_cpus": 1},
        **_running(settings),
    )
    # Bound, so that Serve deploys both; the API gets a handle of its own.
    bound: Application = ingress.bind(deployed.bind())
    return bound


def _connected(api: type[ApiReplica]) -> ApiReplica:
    """The API of this replica, connected with the encoders of its application."""
    from ray import serve

    name = serve.get_replica_context().app_name
    encoder: Any = serve.get_deployment_handle(ENCODER, app_name=name)

    async def preparation() -> Preparation:
        received: Preparation = await encoder.preparation.remote()
        return received

    async def encode(items: list[Prepared]) -> list[Vector]:
        response = encoder.encode.remote(items)
        try:
            vectors: list[Vector] = await response
        except asyncio.CancelledError:
            response.cancel()  # nobody waits for them: they leave the encoder's queue
            raise
        return vectors

    return api(preparation, encode)


def _resources(settings: VendorSettings) -> dict[str, float]:
    """What one encoder occupies."""
    threads = settings.threads or os.cpu_count() or 1
    return {"num_cpus": threads, "num_gpus": 1 if settings.device.startswith("cuda") else 0}


def _running(settings: VendorSettings) -> dict[str, Any]:
    return {
        "logging_config": QUIET,
        "graceful_shutdown_wait_loop_s": _DRAIN_SECONDS,
        "graceful_shutdown_timeout_s": settings.shutdown_seconds,
        # Most faults at the start, such as a model that is not there, are the same the next time.
        "max_constructor_retry_count": 3,
    }
