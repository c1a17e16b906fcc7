"""Makes an open_clip model's input of images and texts, without the model's weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
from PIL import Image

from teacher_server.inference.model_info import ModelInfo, Prepared
from teacher_server.inference.tokenizer import count_tokens


class OpenClipPreparation:
    """The inference transform and the tokenizer of one model.

    It can be sent to another process, which then prepares what this one embeds.
    """

    def __init__(
        self,
        info: ModelInfo,
        transform: Callable[[Image.Image], torch.Tensor],
        tokenize: Callable[[list[str]], torch.Tensor],
    ) -> None:
        self._info = info
        self._transform = transform
        self._tokenize = tokenize

    @property
    def info(self) -> ModelInfo:
        """The identity of the model."""
        return self._info

    def prepare_image(self, image: Image.Image) -> Prepared:
        """Pixels (3, H, W) float32 after the model's inference transform."""
        return Prepared("image", self._transform(image).numpy())

    def prepare_text(self, text: str) -> Prepared:
        """Token ids (L,), cut at the model's context length as in open_clip."""
        tokens = self._tokenize([text])[0]
        context, length = len(tokens), count_tokens(self._tokenize, text, tokens)
        return Prepared(
            "text",
            tokens.numpy(),
            num_tokens=min(length, context),
            cut_tokens=max(0, length - context),
        )
