"""`teacher-server serve --serve-with ray` with a model that takes a while for each batch.

Each replica of the model leaves a file with its process id as its name.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.support.wrapped_encoder import WrappedEncoder
from teacher_server.inference.model_info import Prepared, Vectors
from teacher_server.ray_serve.application import build
from teacher_server.ray_serve.encoder_replica import EncoderReplica
from teacher_server.ray_serve.run import serve_application
from teacher_server.server.load_model import LoadedEncoder
from teacher_server.settings import VendorSettings, load_settings

STARTED = "SLOW_VENDOR_STARTED"  # the variable that names the folder of these files
_BATCH_SECONDS = 0.2


class SlowModel(WrappedEncoder):
    """The model, on a slower machine."""

    def encode(self, items: Sequence[Prepared]) -> Vectors:
        time.sleep(_BATCH_SECONDS)
        return self._encoder.encode(items)


class SlowReplica(EncoderReplica):
    """The product's replica, with that model."""

    def load(self, settings: VendorSettings) -> LoadedEncoder:
        encoder = SlowModel(super().load(settings))
        (Path(os.environ[STARTED]) / str(os.getpid())).touch()
        return encoder


if __name__ == "__main__":
    serve_application(
        load_settings({"serve_with": "ray"}),
        partial(build, encoder=SlowReplica),
        announce=lambda url: print(f"listening on {url}", flush=True),  # noqa: T201
        show=lambda line: None,
    )
