"""How many requests may be in flight."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from student.vendor.concurrency import AimdLimiter


async def test_the_limit_halves_down_to_one_and_grows_by_one_per_full_window() -> None:
    limiter = AimdLimiter(8)
    limits = []
    for _ in range(5):
        limiter.decrease()
        limits.append(limiter.limit)
    assert limits == [4, 2, 1, 1, 1]
    grown = []
    for _ in range(1 + 2 + 3):
        await limiter.increase()
        grown.append(limiter.limit)
    assert grown == [2, 2, 3, 3, 3, 4]
    for _ in range(100):
        await limiter.increase()
    assert limiter.limit == 8


async def test_a_burst_of_rejected_requests_halves_the_limit_once() -> None:
    limiter = AimdLimiter(16)
    sent_at = limiter.halvings
    for _ in range(16):
        limiter.decrease(sent_at)
    assert limiter.limit == 8
    limiter.decrease(limiter.halvings)
    assert limiter.limit == 4


@given(
    most=st.integers(1, 64),
    events=st.lists(st.sampled_from(["answer", "pushback", "stale pushback"]), max_size=200),
)
def test_increase_is_additive_and_decrease_multiplicative_whatever_comes(
    most: int, events: list[str]
) -> None:
    async def run() -> None:
        limiter = AimdLimiter(most)
        answers = 0
        for event in events:
            before = limiter.limit
            if event == "answer":
                answers += 1
                await limiter.increase()
                is_full = answers == before
                assert limiter.limit == min(most, before + is_full)
                answers = 0 if is_full else answers
            elif event == "pushback":
                limiter.decrease(limiter.halvings)
                answers = 0
                assert limiter.limit == max(1, before // 2)
            else:
                limiter.decrease(limiter.halvings - 1)
                assert limiter.limit == before
            assert 1 <= limiter.limit <= most

    asyncio.run(run())


async def test_requests_beyond_the_limit_wait_for_a_free_slot() -> None:
    limiter = AimdLimiter(2)
    limiter.decrease()
    assert limiter.limit == 1
    entered: list[int] = []
    leave = asyncio.Event()

    async def visit(number: int) -> None:
        async with limiter:
            entered.append(number)
            await leave.wait()

    visits = [asyncio.create_task(visit(number)) for number in range(3)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(entered) == 1
    await limiter.increase()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(entered) == 2
    leave.set()
    await asyncio.gather(*visits)
    assert len(entered) == 3


async def test_a_slot_is_released_when_its_holder_fails() -> None:
    limiter = AimdLimiter(1)

    async def fail() -> None:
        async with limiter:
            raise KeyError

    for _ in range(3):
        with pytest.raises(KeyError):
            await fail()
    assert limiter.limit == 1
