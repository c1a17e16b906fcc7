"""The bare model in a process of its own: it decodes, prepares and encodes in a loop."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Literal

Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True, slots=True)
class Bare:
    """The model, waiting in its process for work."""

    _connection: Connection

    def seconds(self, files: Sequence[bytes], *, batch: int, batches: int) -> float:
        """The time for this many batches of these image files, one after the other."""
        self._connection.send((files, batch, batches))
        return float(self._connection.recv())

    def images_per_second(self, files: Sequence[bytes], *, batch: int, batches: int) -> float:
        """Images that the model embeds in a second, decoding included."""
        return batch * batches / self.seconds(files, batch=batch, batches=batches)


@contextmanager
def bare_model(model: str = "embedded", *, dtype: Precision = "fp32") -> Iterator[Bare]:
    """Load the model with a thread for each core, as the vendor does."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(model, dtype, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        yield Bare(ours)
    finally:
        ours.close()
        process.join(30)
        if process.is_alive():
            process.kill()


def _work(model: str, dtype: Precision, connection: Connection) -> None:
    import torch

    from teacher_server.inference.decode_image import ImageLimits, decode_image
    from teacher_server.inference.encoder import load_encoder

    torch.set_num_threads(os.cpu_count() or 1)
    encoder = load_encoder(model, precision=dtype)
    limits = ImageLimits(max_bytes=2**24, max_pixels=2**24)
    while True:
        try:
            files, batch, batches = connection.recv()
        except EOFError:
            return
        started = time.perf_counter()
        for number in range(batches):
            chosen = [files[(number * batch + n) % len(files)] for n in range(batch)]
            images = [decode_image(file, limits) for file in chosen]
            encoder.encode([encoder.prepare_image(image) for image in images])
        connection.send(time.perf_counter() - started)
