"""Each fault of the proxy is what it says, on a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random

import pytest

from benchmarks.chaos.proxy import LATER, FaultProxy

ANSWER = b"answer " * 1000


@asynccontextmanager
async def far_end(heard: list[bytes]) -> AsyncIterator[int]:
    """A server that answers each line with ANSWER."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                heard.append(line)
                writer.write(ANSWER)
                await writer.drain()
        except ConnectionError:
            heard.append(b"broken")
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def through(
    heard: list[bytes], *, kinds: Sequence[str] = LATER, accept_fault: float = 0.0
) -> AsyncIterator[FaultProxy]:
    """A proxy in front of the far end that breaks every connection at its first byte."""
    async with far_end(heard) as port:
        proxy = FaultProxy(
            lambda: [port],
            Random(1),
            accept_fault=accept_fault,
            calm_bytes=1,
            late_seconds=0.01,
            kinds=tuple(kinds),
        )
        await proxy.start()
        try:
            yield proxy
        finally:
            await proxy.stop()


async def ask(proxy: FaultProxy, *, patience: float = 5.0) -> bytes:
    """What comes back for one line, until as much as an answer came or the connection ended."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        writer.write(b"question\n")
        async with asyncio.timeout(patience):
            parts = b""
            while len(parts) < len(ANSWER) and (part := await reader.read(65536)):
                parts += part
            return parts
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("kind", ["latency", "drip"])
async def test_a_late_or_slow_answer_is_whole(kind: str) -> None:
    async with through([], kinds=[kind]) as proxy:
        assert await ask(proxy) == ANSWER
    assert proxy.faults[kind] > 0


async def test_a_truncated_answer_ends_early_without_an_error() -> None:
    async with through([], kinds=["truncated"]) as proxy:
        got = await ask(proxy)
    assert ANSWER.startswith(got)
    assert len(got) < len(ANSWER)
    assert proxy.faults["truncated"] == 1


async def test_a_reset_is_a_reset() -> None:
    async with through([], kinds=["reset"]) as proxy:
        with pytest.raises(ConnectionResetError):
            await ask(proxy)
    assert proxy.faults["reset"] == 1


async def test_a_black_hole_lets_the_question_through_and_swallows_the_answer() -> None:
    heard: list[bytes] = []
    async with through(heard, kinds=["blackhole"]) as proxy:
        with pytest.raises(TimeoutError):
            await ask(proxy, patience=0.2)
    assert heard[0] == b"question\n"
    assert proxy.faults["blackhole"] == 1


async def test_a_refused_or_half_open_connection_never_reaches_the_vendor() -> None:
    heard: list[bytes] = []
    async with through(heard, accept_fault=1.0) as proxy:
        while len(proxy.faults) < 2:
            with pytest.raises((ConnectionError, TimeoutError)):
                await ask(proxy, patience=0.2)
    assert heard == []
    assert set(proxy.faults) == {"refused", "half-open"}


async def test_a_calm_proxy_only_forwards() -> None:
    async with through([], accept_fault=1.0) as proxy:
        proxy.is_calm = True
        assert await ask(proxy) == ANSWER
    assert not proxy.faults


async def test_without_a_vendor_a_connection_is_reset() -> None:
    proxy = FaultProxy(lambda: [], Random(1), accept_fault=0.0)
    await proxy.start()
    with pytest.raises(ConnectionResetError):
        await ask(proxy)
    await proxy.stop()


async def test_the_same_seed_breaks_the_same_way() -> None:
    counts = []
    for _ in range(2):
        async with through([], kinds=["latency", "drip", "truncated"]) as proxy:
            for _ in range(10):
                await ask(proxy)
            counts.append(dict(proxy.faults))
    assert counts[0] == counts[1]
