"""A TCP proxy that injects network faults at random, reproducibly by seed.

Each connection works for a random number of bytes, then one of these faults happens:

refused     the connection is reset before the first byte
half-open   the connection is accepted and read, but never answered
latency     the next chunk is delayed
drip        a chunk is sent a few bytes at a time
reset       both sides receive RST in the middle of a request or an answer
truncated   the answer ends early with FIN
blackhole   the vendor receives everything, and its answers are dropped
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

AT_ACCEPT = ("refused", "half-open")
LATER = ("latency", "drip", "reset", "truncated", "blackhole")
_CHUNK = 16 * 1024
_DRIP_BYTES = 256


class _Broken(Exception):
    """This connection is to be closed."""


@dataclass(slots=True)
class FaultProxy:
    """Listens on `port` and forwards each connection to a random port of `backends()`.

    `faults` counts the faults by kind. If `is_calm` is set, the proxy only forwards.
    `accept_fault` is the share of connections that are refused or left half-open, `calm_bytes` the
    mean number of bytes between two other faults, `late_seconds` the longest delay.
    """

    backends: Callable[[], Sequence[int]]
    random: Random
    accept_fault: float = 0.04
    calm_bytes: int = 120_000
    late_seconds: float = 0.3
    kinds: tuple[str, ...] = LATER
    is_calm: bool = False
    port: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    connections: int = 0
    _server: asyncio.Server | None = None
    _open: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self) -> None:
        """Listen on a loopback port and set `port` to it."""
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and close every connection."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        self.connections += 1
        # Broken connections are the purpose of this proxy.
        with contextlib.suppress(_Broken, OSError, asyncio.CancelledError):
            await self._serve(reader, writer)
        _reset(writer)
        self._open.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.is_calm and self.random.random() < self.accept_fault:
            kind = self.random.choice(AT_ACCEPT)
            self.faults[kind] += 1
            if kind == "half-open":
                while await reader.read(_CHUNK):
                    continue
            return
        ports = self.backends()
        if not ports:
            return
        up_reader, up_writer = await asyncio.open_connection(
            "127.0.0.1", self.random.choice(list(ports))
        )
        pair = _ConnectionPair(self, _FaultClock(self.random, self.kinds, self.calm_bytes))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(pair.pump(reader, up_writer, is_answer=False))
                group.create_task(pair.pump(up_reader, writer, is_answer=True))
        except ExceptionGroup as failed:  # Python 3.11.2 wraps what an except* clause raises
            broken, other = failed.split((_Broken, OSError))
            if other is not None:
                raise other from None
            raise _Broken from broken
        finally:
            _reset(up_writer)


class _FaultClock:
    """Draws the kind of a connection's next fault and the bytes until it happens."""

    def __init__(self, random: Random, kinds: tuple[str, ...], calm_bytes: int) -> None:
        self._random = random
        self._kinds = kinds
        self._mean = calm_bytes
        self.roll()

    def roll(self) -> None:
        self.kind = self._random.choice(self._kinds)
        self.bytes_left = int(self._random.expovariate(1 / self._mean))

    def is_due(self, size: int) -> bool:
        self.bytes_left -= size
        return self.bytes_left < 0


@dataclass(slots=True)
class _ConnectionPair:
    """Both directions of one connection, with one sequence of faults."""

    proxy: FaultProxy
    clock: _FaultClock
    is_dropping_answers: bool = False

    async def pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool
    ) -> None:
        while chunk := await reader.read(_CHUNK):
            if is_answer and self.is_dropping_answers:
                continue
            if not self.proxy.is_calm and self.clock.is_due(len(chunk)):
                await self._break(chunk, writer, is_answer=is_answer)
            else:
                await _send(writer, chunk)
        if is_answer and self.is_dropping_answers:
            # The vendor has closed the connection; the client must not notice.
            await asyncio.Event().wait()
        raise _Broken

    async def _break(self, chunk: bytes, writer: asyncio.StreamWriter, *, is_answer: bool) -> None:
        kind, random = self.clock.kind, self.proxy.random
        if kind in {"truncated", "blackhole", "drip"} and not is_answer:
            # These faults apply to answers only: wait for one.
            await _send(writer, chunk)
            return
        self.proxy.faults[kind] += 1
        part = random.randrange(len(chunk))
        if kind == "latency":
            await asyncio.sleep(random.uniform(0, self.proxy.late_seconds))
            await _send(writer, chunk)
        elif kind == "drip":
            for start in range(0, len(chunk), _DRIP_BYTES):
                await _send(writer, chunk[start : start + _DRIP_BYTES])
                await asyncio.sleep(random.uniform(0, self.proxy.late_seconds / 30))
        elif kind == "blackhole":
            self.is_dropping_answers = True
        else:
            with contextlib.suppress(OSError):
                await _send(writer, chunk[:part])
            if kind == "truncated":
                writer.write_eof()
                await asyncio.sleep(0.05)
            raise _Broken
        self.clock.roll()


async def _send(writer: asyncio.StreamWriter, chunk: bytes) -> None:
    writer.write(chunk)
    await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST, so that buffered data is lost as it is when a machine fails."""
    sock: socket.socket | None = writer.get_extra_info("socket")
    if sock is not None:
        # A socket that is already closed needs no reset.
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
