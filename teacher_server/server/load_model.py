"""Loads the model that the settings name."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from teacher_server.inference.model_info import Encoder, Preparation
from teacher_server.inference.recorded import PREFIX, RecordedEncoder
from teacher_server.server.freed_memory import keep_freed_memory
from teacher_server.settings import VendorSettings


class LoadedEncoder(Encoder, Protocol):
    """An encoder whose preparation can be sent to another process."""

    @property
    def preparation(self) -> Preparation: ...


def load_model(settings: VendorSettings) -> LoadedEncoder:
    """The encoder, ready to embed.

    Raises ModelUnavailable, or SettingsError for a device, a precision or an engine that cannot be
    used.
    """
    if settings.model.startswith(PREFIX):
        return RecordedEncoder(Path(settings.model.removeprefix(PREFIX)).expanduser())
    keep_freed_memory()
    # torch takes seconds to import: errors of the ledger or the port are reported before that.
    import torch

    from teacher_server.inference.encoder import load_encoder
    from teacher_server.inference.precision import require_bf16

    if settings.dtype == "bf16":
        require_bf16(settings.device)
    torch.set_num_threads(settings.threads or os.cpu_count() or 1)
    # A thread that has computed keeps a team of OpenMP threads until it ends. With the team of this
    # thread beside the encoder's there would be more threads than cores, and OpenMP then lets all
    # of them sleep at once when they wait: an image took 13 ms and not 5.
    with ThreadPoolExecutor(1) as loading:
        encoder = loading.submit(
            load_encoder,
            settings.model,
            settings.pretrained,
            precision=settings.dtype,
            engine=settings.engine,
            device=settings.device,
            preprocess=settings.preprocess,
        ).result()
    # The first requests need not wait for it. No daemon: the process waits for it before it ends,
    # because torch must not be computing then.
    threading.Thread(target=encoder.trace, name="trace").start()
    return encoder
