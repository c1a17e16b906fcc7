"""One key's images do not keep another key's waiting: by the order of events."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.support.vendor_in_process import HashEncoder, Vendor, b64, picture, vendor_at
from teacher_server.api.dependencies import Services
from teacher_server.inference.model_info import Prepared
from teacher_server.limits.fair_semaphore import FairSemaphore, QueueTimeout


class Crowd:
    """Requests that hold their slot until the test releases them."""

    def __init__(self, turns: FairSemaphore) -> None:
        self.turns = turns
        self.served: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.ends: dict[str, asyncio.Event] = {}

    async def come(self, *names: str) -> None:
        """Requests of the keys that their names begin with."""
        for name in names:
            self.ends[name] = asyncio.Event()
            self.tasks[name] = asyncio.create_task(self._request(name))
        await self.settle()

    async def go(self, name: str) -> None:
        self.ends[name].set()
        await self.tasks[name]
        await self.settle()

    async def settle(self) -> None:
        """Let everything happen that waits for nobody here."""
        for _ in range(20):
            await asyncio.sleep(0)

    async def _request(self, name: str) -> None:
        async with self.turns.slot(name[0]):
            self.served.append(name)
            await self.ends[name].wait()


@pytest.fixture
def crowd() -> Crowd:
    return Crowd(FairSemaphore(1, timeout=60))


async def test_slots_alternate_between_keys_and_keep_the_order_within_a_key(crowd: Crowd) -> None:
    await crowd.come("a1", "a2", "a3", "b1", "b2", "c1")
    for name in ("a1", "b1", "c1", "a2", "b2", "a3"):
        assert crowd.served[-1] == name
        await crowd.go(name)
    assert crowd.turns.is_idle


async def test_a_single_key_gets_all_slots_and_the_next_key_the_first_free_slot() -> None:
    crowd = Crowd(FairSemaphore(2, timeout=60))
    await crowd.come("a1", "a2", "a3", "a4")
    assert crowd.served == ["a1", "a2"]
    await crowd.come("b1", "b2")
    await crowd.go("a2")
    assert crowd.served == ["a1", "a2", "b1"]
    await crowd.go("b1")
    assert crowd.served[-1] == "a3"


async def test_a_cancelled_wait_or_holder_leaves_nothing_behind(
    crowd: Crowd,
) -> None:
    await crowd.come("a1", "b1", "c1")
    crowd.tasks["b1"].cancel()
    await crowd.settle()
    crowd.tasks["a1"].cancel()
    await crowd.settle()
    assert crowd.served == ["a1", "c1"]
    await crowd.go("c1")
    assert crowd.turns.is_idle


async def test_a_slot_assigned_to_a_cancelled_request_goes_to_the_next(
    crowd: Crowd,
) -> None:
    await crowd.come("a1", "b1", "c1")
    crowd.ends["a1"].set()
    while not crowd.tasks["a1"].done():
        await asyncio.sleep(0)
        if "b" not in crowd.turns._waiting:
            crowd.tasks["b1"].cancel()  # it has the place and does not know yet
    await crowd.settle()
    assert crowd.served == ["a1", "c1"]
    await crowd.go("c1")
    assert crowd.turns.is_idle


async def test_waiting_for_a_slot_times_out() -> None:
    turns = FairSemaphore(1, timeout=0)
    async with turns.slot("a"):
        with pytest.raises(QueueTimeout):
            async with turns.slot("b"):
                raise AssertionError
    async with turns.slot("b"):
        pass
    assert turns.is_idle


class Decoder:
    """A `prepare` that waits for leave before it decodes, and notes the order."""

    def __init__(self, hashing: HashEncoder) -> None:
        self.hashing = hashing
        self.begun: list[int] = []
        self.leave = threading.Semaphore(0)

    def __call__(self, items: Sequence[str | bytes]) -> list[Prepared]:
        if any(isinstance(item, bytes) for item in items):
            self.begun.append(len(items))
            assert self.leave.acquire(timeout=30)
        return [self.hashing.prepare_text(str(item)) for item in items]


def with_one_slot(vendor: Vendor, decoder: Decoder, *, timeout: float) -> Services:
    """The vendor's collaborators from now on: this decoder, at which there is one place."""
    services: Services = replace(
        vendor.app.state.services, prepare=decoder, decoding_slots=FairSemaphore(1, timeout=timeout)
    )
    vendor.app.state.services = services
    return services


async def test_images_of_one_key_do_not_delay_requests_of_another(
    tmp_path: Path, hashing: HashEncoder
) -> None:
    decoder, image = Decoder(hashing), {"image": b64(picture())}
    async with vendor_at(tmp_path, hashing) as vendor:
        services = with_one_slot(vendor, decoder, timeout=60)
        floods = [asyncio.create_task(vendor.embed([image])) for _ in range(8)]
        while not decoder.begun:
            await asyncio.sleep(0)
        # A text waits for no decoder.
        assert (await vendor.embed("a")).status_code == 200
        other = asyncio.create_task(
            vendor.http.post(
                "/v1/embeddings",
                json={"model": "hash", "input": [image, image]},
                headers=vendor.of(vendor.another_key()),
            )
        )
        while len(services.decoding_slots._waiting) < 2:
            await asyncio.sleep(0)
        decoder.leave.release()  # for the one of the flood that is at work
        decoder.leave.release()
        assert (await other).status_code == 200
        assert decoder.begun[:2] == [1, 2]
        decoder.leave.release(7)
        answers = await asyncio.gather(*floods)
        assert {answer.status_code for answer in answers} == {200}
        assert services.decoding_slots.is_idle


async def test_a_request_without_a_slot_in_time_is_429_and_free(
    tmp_path: Path, hashing: HashEncoder
) -> None:
    decoder, image = Decoder(hashing), {"image": b64(picture())}
    async with vendor_at(tmp_path, hashing) as vendor:
        services = with_one_slot(vendor, decoder, timeout=0)
        async with services.decoding_slots.slot("another"):
            refused = await vendor.embed([image])
        assert (refused.status_code, refused.json()["code"]) == (429, "overloaded")
        assert refused.headers["Retry-After"] == "1"
        assert (vendor.account.spent_units, vendor.account.reserved_units) == (0, 0)
        assert decoder.begun == []
