"""Each fault of the proxy does what its name says, on a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random

import pytest

from benchmarks.chaos.proxy import LATER, FaultProxy

ANSWER = b"answer " * 1000


@asynccontextmanager
async def echo_server(received: list[bytes]) -> AsyncIterator[int]:
    """A server that answers each line with ANSWER."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                received.append(line)
                writer.write(ANSWER)
                await writer.drain()
        except ConnectionError:
            received.append(b"broken")
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def through(
    received: list[bytes], *, kinds: Sequence[str] = LATER, accept_fault: float = 0.0
) -> AsyncIterator[FaultProxy]:
    """A proxy in front of that server, with a fault at the first byte of every connection."""
    async with echo_server(received) as port:
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


async def ask(proxy: FaultProxy, *, timeout: float = 5.0) -> bytes:
    """What comes back for one line, until the answer is complete or the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        writer.write(b"question\n")
        async with asyncio.timeout(timeout):
            parts = b""
            while len(parts) < len(ANSWER) and (part := await reader.read(65536)):
                parts += part
            return parts
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("kind", ["latency", "drip"])
async def test_a_late_or_slow_answer_is_complete(kind: str) -> None:
    async with through([], kinds=[kind]) as proxy:
        assert await ask(proxy) == ANSWER
    assert proxy.faults[kind] > 0


async def test_a_truncated_answer_ends_early_without_an_error() -> None:
    async with through([], kinds=["truncated"]) as proxy:
        got = await ask(proxy)
    assert ANSWER.startswith(got)
    assert len(got) < len(ANSWER)
    assert proxy.faults["truncated"] == 1


async def test_a_reset_raises_a_connection_reset_at_the_client() -> None:
    async with through([], kinds=["reset"]) as proxy:
        with pytest.raises(ConnectionResetError):
            await ask(proxy)
    assert proxy.faults["reset"] == 1


async def test_a_black_hole_forwards_the_request_and_drops_the_answer() -> None:
    received: list[bytes] = []
    async with through(received, kinds=["blackhole"]) as proxy:
        with pytest.raises(TimeoutError):
            await ask(proxy, timeout=0.2)
    assert received[0] == b"question\n"
    assert proxy.faults["blackhole"] == 1


async def test_a_refused_or_half_open_connection_never_reaches_the_vendor() -> None:
    received: list[bytes] = []
    async with through(received, accept_fault=1.0) as proxy:
        while len(proxy.faults) < 2:
            with pytest.raises((ConnectionError, TimeoutError)):
                await ask(proxy, timeout=0.2)
    assert received == []
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


async def test_equal_seeds_inject_equal_faults() -> None:
    counts = []
    for _ in range(2):
        async with through([], kinds=["latency", "drip", "truncated"]) as proxy:
            for _ in range(10):
                await ask(proxy)
            counts.append(dict(proxy.faults))
    assert counts[0] == counts[1]
