"""How many requests may be in flight."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from student.vendor.concurrency import AimdLimiter


async def test_it_halves_down_to_one_and_grows_by_one_a_gateful_up_to_the_most() -> None:
    pace = AimdLimiter(8)
    limits = []
    for _ in range(5):
        pace.slow_down()
        limits.append(pace.limit)
    assert limits == [4, 2, 1, 1, 1]
    grown = []
    for _ in range(1 + 2 + 3):
        await pace.speed_up()
        grown.append(pace.limit)
    assert grown == [2, 2, 3, 3, 3, 4]
    for _ in range(100):
        await pace.speed_up()
    assert pace.limit == 8


async def test_a_burst_that_is_pushed_back_together_halves_it_once() -> None:
    pace = AimdLimiter(16)
    sent_at = pace.halvings
    for _ in range(16):
        pace.slow_down(sent_at)
    assert pace.limit == 8
    pace.slow_down(pace.halvings)
    assert pace.limit == 4


@given(
    most=st.integers(1, 64),
    events=st.lists(st.sampled_from(["answer", "pushback", "stale pushback"]), max_size=200),
)
def test_increase_is_additive_and_decrease_multiplicative_whatever_comes(
    most: int, events: list[str]
) -> None:
    async def run() -> None:
        pace = AimdLimiter(most)
        answers = 0
        for event in events:
            before = pace.limit
            if event == "answer":
                answers += 1
                await pace.speed_up()
                is_full = answers == before
                assert pace.limit == min(most, before + is_full)
                answers = 0 if is_full else answers
            elif event == "pushback":
                pace.slow_down(pace.halvings)
                answers = 0
                assert pace.limit == max(1, before // 2)
            else:
                pace.slow_down(pace.halvings - 1)
                assert pace.limit == before
            assert 1 <= pace.limit <= most

    asyncio.run(run())


async def test_nobody_enters_a_full_gate_until_a_place_is_free() -> None:
    pace = AimdLimiter(2)
    pace.slow_down()
    assert pace.limit == 1
    entered: list[int] = []
    leave = asyncio.Event()

    async def visit(number: int) -> None:
        async with pace:
            entered.append(number)
            await leave.wait()

    visits = [asyncio.create_task(visit(number)) for number in range(3)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(entered) == 1
    await pace.speed_up()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(entered) == 2
    leave.set()
    await asyncio.gather(*visits)
    assert len(entered) == 3


async def test_a_place_is_given_back_when_its_holder_fails() -> None:
    pace = AimdLimiter(1)

    async def fail() -> None:
        async with pace:
            raise KeyError

    for _ in range(3):
        with pytest.raises(KeyError):
            await fail()
    assert pace.limit == 1
