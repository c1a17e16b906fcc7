"""Load on an HTTP server from one cheap process: closed-loop clients on kept-alive connections."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Sequence
from dataclasses import dataclass

# A client's next request is built from these parts around its Idempotency-Key.
_KEY = b"@KEY@"


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What to send: `clients` connections send `requests` in all, each the next of `bodies`.

    A body holds `items` images. `headers` are sent with every request; each request has an
    Idempotency-Key of its own, which starts with `name`.
    """

    port: int
    path: str
    bodies: Sequence[bytes]
    items: int
    clients: int
    requests: int
    headers: tuple[tuple[str, str], ...] = ()
    name: str = "load"


@dataclass(frozen=True, slots=True)
class Measured:
    """The wall time of the whole load, and each request's latency, in seconds."""

    seconds: float
    latencies: tuple[float, ...]
    items: int

    @property
    def items_per_second(self) -> float:
        """Images answered in a second."""
        return len(self.latencies) * self.items / self.seconds

    def percentile(self, share: float) -> float:
        """The latency, in seconds, that `share` (0 to 1) of the requests do not exceed."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def send(load: Load) -> Measured:
    """Send the load from a process of its own; raises RuntimeError for an answer but 200."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(send_here, (load,))


def send_here(load: Load) -> Measured:
    """Send the load from this process."""
    return asyncio.run(_send(load))


async def _send(load: Load) -> Measured:
    numbers = iter(range(load.requests))
    latencies: list[float] = []
    connections = [
        await asyncio.open_connection("127.0.0.1", load.port, limit=2**24)
        for _ in range(min(load.clients, load.requests))
    ]
    whole = [_request(load, body) for body in load.bodies]
    started = time.perf_counter()

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number in numbers:
            key = f"{load.name}-{number}".encode()
            sent = time.perf_counter()
            writer.write(whole[number % len(whole)].replace(_KEY, key, 1))
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
            body = await reader.readexactly(length)
            latencies.append(time.perf_counter() - sent)
            if not head.startswith(b"HTTP/1.1 200"):
                message = f"the server answered {head[:60]!r}: {body[:300]!r}"
                raise RuntimeError(message)

    try:
        async with asyncio.TaskGroup() as tasks:
            for pair in connections:
                tasks.create_task(client(*pair))
    except ExceptionGroup as failed:  # Python 3.11.2 wraps what an except* clause raises
        raise failed.exceptions[0] from None
    finally:
        for _, writer in connections:
            writer.close()
            await writer.wait_closed()
    return Measured(time.perf_counter() - started, tuple(latencies), load.items)


def _request(load: Load, body: bytes) -> bytes:
    lines = [
        f"POST {load.path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in load.headers),
        f"Idempotency-Key: {_KEY.decode()}",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
