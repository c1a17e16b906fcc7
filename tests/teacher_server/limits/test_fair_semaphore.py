"""The images of one key do not delay those of another key."""

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


class HeldRequests:
    """Requests that hold their slot until the test releases them."""

    def __init__(self, semaphore: FairSemaphore) -> None:
        self.semaphore = semaphore
        self.served: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.ends: dict[str, asyncio.Event] = {}

    async def arrive(self, *names: str) -> None:
        """Start these requests; the first letter of a name is its key."""
        for name in names:
            self.ends[name] = asyncio.Event()
            self.tasks[name] = asyncio.create_task(self._request(name))
        await self.settle()

    async def finish(self, name: str) -> None:
        self.ends[name].set()
        await self.tasks[name]
        await self.settle()

    async def settle(self) -> None:
        """Let the event loop run until every request waits."""
        for _ in range(20):
            await asyncio.sleep(0)

    async def _request(self, name: str) -> None:
        async with self.semaphore.slot(name[0]):
            self.served.append(name)
            await self.ends[name].wait()


@pytest.fixture
def requests() -> HeldRequests:
    return HeldRequests(FairSemaphore(1, timeout=60))


async def test_slots_alternate_between_keys_and_keep_the_order_within_a_key(
    requests: HeldRequests,
) -> None:
    await requests.arrive("a1", "a2", "a3", "b1", "b2", "c1")
    for name in ("a1", "b1", "c1", "a2", "b2", "a3"):
        assert requests.served[-1] == name
        await requests.finish(name)
    assert requests.semaphore.is_idle


async def test_a_single_key_gets_all_slots_and_the_next_key_the_first_free_slot() -> None:
    requests = HeldRequests(FairSemaphore(2, timeout=60))
    await requests.arrive("a1", "a2", "a3", "a4")
    assert requests.served == ["a1", "a2"]
    await requests.arrive("b1", "b2")
    await requests.finish("a2")
    assert requests.served == ["a1", "a2", "b1"]
    await requests.finish("b1")
    assert requests.served[-1] == "a3"


async def test_a_cancelled_wait_or_holder_leaves_nothing_behind(
    requests: HeldRequests,
) -> None:
    await requests.arrive("a1", "b1", "c1")
    requests.tasks["b1"].cancel()
    await requests.settle()
    requests.tasks["a1"].cancel()
    await requests.settle()
    assert requests.served == ["a1", "c1"]
    await requests.finish("c1")
    assert requests.semaphore.is_idle


async def test_a_slot_assigned_to_a_cancelled_request_goes_to_the_next(
    requests: HeldRequests,
) -> None:
    await requests.arrive("a1", "b1", "c1")
    requests.ends["a1"].set()
    while not requests.tasks["a1"].done():
        await asyncio.sleep(0)
        if "b" not in requests.semaphore._waiting:
            requests.tasks["b1"].cancel()  # it holds the slot and has not resumed yet
    await requests.settle()
    assert requests.served == ["a1", "c1"]
    await requests.finish("c1")
    assert requests.semaphore.is_idle


async def test_waiting_for_a_slot_times_out() -> None:
    semaphore = FairSemaphore(1, timeout=0)
    async with semaphore.slot("a"):
        with pytest.raises(QueueTimeout):
            async with semaphore.slot("b"):
                raise AssertionError
    async with semaphore.slot("b"):
        pass
    assert semaphore.is_idle


class Decoder:
    """A `prepare` that waits until it may decode, and records the order."""

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
    """The vendor's services with this decoder and a single slot."""
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
        # Texts do not need the decoder.
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
        decoder.leave.release()  # for the image of the other key that is being decoded
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
