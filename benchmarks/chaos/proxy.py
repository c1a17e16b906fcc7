"""A TCP proxy that breaks connections on purpose, by dice that a seed decides.

Every connection is quiet for a random number of bytes, then something happens to it. What can:

refused     reset at once, before a byte
half-open   accepted, read, never answered
latency     the next pieces come late
drip        a piece comes a few bytes at a time
reset       RST both ways, in the middle of a request or an answer
truncated   the answer ends early, politely (FIN)
blackhole   the vendor hears everything, and its answers vanish
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
    """This connection is over."""


@dataclass(slots=True)
class FaultProxy:
    """Listens on `port`; each connection goes to a random one of `backends()`, the ports alive.

    `faults` counts what was done to connections by kind. With `is_calm` set, or without `random`
    saying so, it only forwards. `accept_fault` is the share of connections that are refused or
    left half-open, `calm_bytes` the mean number of bytes between two other faults.
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
        """Listen on loopback; `port` says where."""
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and cut every connection."""
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
        # A broken connection is what this proxy is for.
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
        wire = _Wire(self, _Fate(self.random, self.kinds, self.calm_bytes))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(wire.pump(reader, up_writer, is_answer=False))
                group.create_task(wire.pump(up_reader, writer, is_answer=True))
        except* (_Broken, OSError) as broken:
            raise _Broken from broken
        finally:
            _reset(up_writer)


class _Fate:
    """When the next fault of a connection comes, and which."""

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
class _Wire:
    """Both directions of one connection, under one fate."""

    proxy: FaultProxy
    fate: _Fate
    is_swallowing: bool = False

    async def pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool
    ) -> None:
        while chunk := await reader.read(_CHUNK):
            if is_answer and self.is_swallowing:
                continue
            if not self.proxy.is_calm and self.fate.is_due(len(chunk)):
                await self._break(chunk, writer, is_answer=is_answer)
            else:
                await _send(writer, chunk)
        if is_answer and self.is_swallowing:
            # The vendor hung up; the client must not hear of it.
            await asyncio.Event().wait()
        raise _Broken

    async def _break(self, chunk: bytes, writer: asyncio.StreamWriter, *, is_answer: bool) -> None:
        kind, random = self.fate.kind, self.proxy.random
        if kind in {"truncated", "blackhole", "drip"} and not is_answer:
            # These are done to answers: wait for one.
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
            self.is_swallowing = True
        else:
            with contextlib.suppress(OSError):
                await _send(writer, chunk[:part])
            if kind == "truncated":
                writer.write_eof()
                await asyncio.sleep(0.05)
            raise _Broken
        self.fate.roll()


async def _send(writer: asyncio.StreamWriter, chunk: bytes) -> None:
    writer.write(chunk)
    await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST: what lies in the buffers is gone, as when a machine is."""
    sock: socket.socket | None = writer.get_extra_info("socket")
    if sock is not None:
        # An end that is closed already has nothing to reset.
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
