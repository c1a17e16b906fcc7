"""Replicas are added while requests queue, and no request fails meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from benchmarks.ray_serve.update import ENVIRONMENT, Load
from benchmarks.ray_serve.vendor_process import ray_vendor
from teacher_server.ray_serve.application import TARGET_API_REQUESTS
from tests.with_ray.slow_vendor import STARTED

pytestmark = pytest.mark.timeout(900)
# Ray Serve adds a replica once 30 seconds of load ask for it.
_MOST_SECONDS = 400.0
_POLL_SECONDS = 2.0
_FEW = {
    "TEACHER_MIN_API_REPLICAS": "1",
    "TEACHER_MIN_ENCODER_REPLICAS": "1",
    "TEACHER_MAX_BATCH": "4",
    "TEACHER_MAX_CONCURRENT": "1000",
}


async def test_a_replica_of_each_kind_is_added_under_queued_load_and_no_request_fails(
    tmp_path: Path,
) -> None:
    encoders = tmp_path / "encoders"
    encoders.mkdir()
    environment = ENVIRONMENT | _FEW | {STARTED: str(encoders)}
    with ray_vendor(tmp_path, environment, command=("-m", "tests.with_ray.slow_vendor")) as vendor:
        assert len(list(encoders.iterdir())) == 1
        load, looks = Load(vendor), 0
        *_, opened_before = vendor.books()

        async def api_replicas_added() -> int:
            nonlocal looks
            looks += 1  # each look at the books opens the ledger, as a replica does
            *_, opened = await asyncio.to_thread(vendor.books)
            return opened - opened_before - looks

        async def encoders_added() -> int:
            return len(list(encoders.iterdir())) - 1

        async with asyncio.timeout(_MOST_SECONDS), asyncio.TaskGroup() as group:
            for number in range(TARGET_API_REQUESTS + 8):
                group.create_task(load.client(number))
            for added in (encoders_added, api_replicas_added):
                await _until_one(added)
            await asyncio.sleep(_POLL_SECONDS)  # the new ones answer, too
            load.is_over = True
        account, audit, _ = vendor.books()
    assert set(load.outcomes) == {"200"}, load.outcomes
    assert account.spent_units == load.outcomes["200"]
    assert (account.reserved_units, audit.faults) == (0, ())


async def _until_one(added: Callable[[], Awaitable[int]]) -> None:
    while await added() < 1:
        await asyncio.sleep(_POLL_SECONDS)
