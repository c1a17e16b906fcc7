"""A vendor whose model takes no time, so that a benchmark measures the metering alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from PIL import Image

from benchmarks.chaos.vendor import AnnouncingServer
from benchmarks.support.databases import open_ledger
from teacher_server.api.app import create_app
from teacher_server.inference.model_info import ModelInfo, Prepared, Vectors
from teacher_server.settings import VendorSettings

_DIM = 8
# All requests use one key; rate and connection limits are not measured.
_OPTIONS: dict[str, Any] = {
    "requests_per_minute": 10**6,
    "max_concurrent": 10**4,
    "max_queue": 10**5,
}


class NullEncoder:
    """An encoder that returns the same unit vector for every item."""

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(
            id="null",
            weights_sha256="0" * 64,
            dim=_DIM,
            image_size=1,
            context_length=1,
            preprocess={},
            open_clip_version="none",
            is_embedded=False,
            created=0,
        )

    def prepare_image(self, image: Image.Image) -> Prepared:
        return Prepared("image", np.zeros((3, 1, 1), dtype=np.float32))

    def prepare_text(self, text: str) -> Prepared:
        return Prepared("text", np.zeros(1, dtype=np.int64), num_tokens=1)

    def encode(self, items: Sequence[Prepared]) -> Vectors:
        return np.full((len(items), _DIM), _DIM**-0.5, dtype=np.float32)


def serve_null_encoder(dsn: str, options: dict[str, Any], port_file: Path) -> None:
    """Serve on a free port until terminated; the port is written to `port_file`."""
    settings = VendorSettings(**_OPTIONS | options | {"database": dsn, "max_delay_ms": 0})
    with open_ledger(dsn, options) as (_, ledger):
        app = create_app(encoder=NullEncoder(), ledger=ledger, settings=settings)
        config = uvicorn.Config(
            app, host="127.0.0.1", port=0, log_config=None, access_log=False, backlog=4096
        )
        AnnouncingServer(config, port_file).run()
