"""An encoder that behaves otherwise in `encode`, and in all else as the one in it."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from teacher_server.inference.model_info import ModelInfo, Preparation, Prepared, Vectors
from teacher_server.server.load_model import LoadedEncoder


class WrappedEncoder:
    """Forwards everything; a subclass changes `encode`."""

    def __init__(self, encoder: LoadedEncoder) -> None:
        self._encoder = encoder

    @property
    def info(self) -> ModelInfo:
        return self._encoder.info

    @property
    def preparation(self) -> Preparation:
        return self._encoder.preparation

    def prepare_image(self, image: Image.Image) -> Prepared:
        return self._encoder.prepare_image(image)

    def prepare_text(self, text: str) -> Prepared:
        return self._encoder.prepare_text(text)

    def encode(self, items: Sequence[Prepared]) -> Vectors:
        return self._encoder.encode(items)
