"""How many requests may be in flight."""

from __future__ import annotations

import asyncio

import pytest

from student.purchase.pace import Pace


async def test_it_halves_down_to_one_and_grows_by_one_up_to_the_most() -> None:
    pace = Pace(8)
    limits = []
    for _ in range(5):
        pace.slow_down()
        limits.append(pace.limit)
    assert limits == [4, 2, 1, 1, 1]
    for _ in range(10):
        await pace.speed_up()
    assert pace.limit == 8


async def test_nobody_enters_a_full_gate_until_a_place_is_free() -> None:
    pace = Pace(2)
    pace.slow_down()
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
    pace = Pace(1)

    async def fail() -> None:
        async with pace:
            raise KeyError

    for _ in range(3):
        with pytest.raises(KeyError):
            await fail()
    assert pace.limit == 1
