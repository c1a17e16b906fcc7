"""`teacher-server serve --serve-with ray` with a model that fails for some texts.

"poison" breaks the model, "full" finds the queue full, and "die" kills the first process that gets
it, in the middle of its batch.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from benchmarks.support.wrapped_encoder import WrappedEncoder
from teacher_server.inference.batcher import QueueFull, Vector
from teacher_server.inference.model_info import Prepared, Vectors
from teacher_server.ray_serve.application import build
from teacher_server.ray_serve.encoder_replica import EncoderReplica
from teacher_server.ray_serve.run import serve_application
from teacher_server.server.load_model import LoadedEncoder
from teacher_server.settings import VendorSettings, load_settings

DIED = "FAILING_VENDOR_DIED"  # the variable that names the file which says that one has died


class FailingModel(WrappedEncoder):
    """The model, unless a batch has one of the texts."""

    def __init__(self, encoder: LoadedEncoder) -> None:
        super().__init__(encoder)
        self._poison = encoder.prepare_text("poison").array.tobytes()
        self._death = encoder.prepare_text("die").array.tobytes()

    def encode(self, items: Sequence[Prepared]) -> Vectors:
        found = {item.array.tobytes() for item in items}
        if self._poison in found:
            message = "the model broke"
            raise ValueError(message)
        if self._death in found:
            with suppress(FileExistsError):
                Path(os.environ[DIED]).touch(exist_ok=False)
                os.kill(os.getpid(), signal.SIGKILL)
        return self._encoder.encode(items)


class FailingReplica(EncoderReplica):
    """The product's replica, with that model."""

    def load(self, settings: VendorSettings) -> LoadedEncoder:
        encoder = super().load(settings)
        self._full = encoder.prepare_text("full").array.tobytes()
        return FailingModel(encoder)

    async def encode(self, items: list[Prepared]) -> list[Vector]:
        if any(item.array.tobytes() == self._full for item in items):
            message = "9 items are already waiting"
            raise QueueFull(message)
        return await super().encode(items)


if __name__ == "__main__":
    serve_application(
        load_settings({"serve_with": "ray"}),
        partial(build, encoder=FailingReplica),
        announce=lambda url: print(f"listening on {url}", flush=True),  # noqa: T201
        show=lambda line: None,
    )
