"""Readiness follows a real probe; metrics count without naming keys or inputs."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from sqlalchemy import text

from benchmarks.support.vendor_in_process import HashEncoder, Vendor, vendor_at
from teacher_server.database.engine import write_transaction
from teacher_server.inference.batcher import Batcher
from teacher_server.operations.readiness import ReadinessProbe
from teacher_server.operations.storage import Storage


async def test_not_ready_until_the_probe_passed(tmp_path: Path, hashing: HashEncoder) -> None:
    hashing.may_encode.clear()
    async with vendor_at(tmp_path, hashing) as vendor:
        vendor.http.headers.pop("Authorization")
        waiting = await vendor.http.get("/readyz")
        assert (waiting.status_code, waiting.json()["code"]) == (503, "not_ready")
        assert "canary" in waiting.json()["detail"]
        assert waiting.headers["Retry-After"] == "2"
        assert (await vendor.http.get("/livez")).status_code == 200
        hashing.may_encode.set()
        while (ready := await vendor.http.get("/readyz")).status_code != 200:
            await asyncio.sleep(0)
        assert ready.json() == {
            "ready": True,
            "checks": {"canary": True, "worker": True, "database": True},
        }


async def test_not_ready_when_the_probe_failed(tmp_path: Path, hashing: HashEncoder) -> None:
    hashing.failing_text = "a canary"
    async with vendor_at(tmp_path, hashing) as vendor:
        await vendor.embed("after the probe")
        assert (await vendor.http.get("/readyz")).status_code == 503


async def test_not_ready_when_the_database_refuses_writes(vendor: Vendor) -> None:
    with write_transaction(vendor.engine) as connection:
        connection.execute(
            text(
                "CREATE TRIGGER broken BEFORE UPDATE ON boots "
                "BEGIN SELECT RAISE(ABORT, 'read-only'); END"
            )
        )
    response = await vendor.http.get("/readyz")
    assert response.status_code == 503
    assert "database" in response.json()["detail"]


async def test_simultaneous_readiness_requests_share_one_database_write(
    hashing: HashEncoder,
) -> None:
    batcher = Batcher(hashing, max_batch=1, max_delay=0, max_queue=1)
    may_end, probes = threading.Event(), []

    def probe() -> None:
        probes.append(may_end.wait(30))

    readiness = ReadinessProbe(hashing, batcher, Storage(probe, lambda _: False))
    asked = asyncio.gather(*(readiness.health() for _ in range(50)))
    # All requests have arrived before the first probe ends.
    await asyncio.sleep(0)
    may_end.set()
    answers = await asked
    assert len(probes) == 1
    assert all(answer.checks["database"] for answer in answers)


async def test_metrics_count_answers_units_and_batches(vendor: Vendor) -> None:
    await vendor.embed(["a", "b"], idempotency_key="k")
    await vendor.embed(["a", "b"], idempotency_key="k")
    await vendor.embed([])
    page = (await vendor.http.get("/metrics")).text
    assert 'teacher_billed_units_total{modality="text"} 2.0' in page
    assert "teacher_replays_total 1.0" in page
    labels = 'code="empty_input",method="POST",route="/v1/embeddings",status="400"'
    assert f"teacher_requests_total{{{labels}}} 1.0" in page
    assert 'teacher_batch_items_count{modality="text"}' in page
    assert vendor.key.id not in page


async def test_each_app_has_its_own_metrics(tmp_path: Path, hashing: HashEncoder) -> None:
    async with (
        vendor_at(tmp_path / "a", hashing) as first,
        vendor_at(tmp_path / "b", hashing) as other,
    ):
        await first.embed("a")
        page = (await other.http.get("/metrics")).text
        assert 'teacher_billed_units_total{modality="text"}' not in page
