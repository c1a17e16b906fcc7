"""The embedded model in bfloat16 sells nearly the embeddings of float32."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.support.vendor_in_process import picture
from teacher_server.inference.decode_image import ImageLimits, decode_image
from teacher_server.inference.encoder import load_encoder
from teacher_server.inference.model_info import Prepared

LIMITS = ImageLimits(max_bytes=10**6, max_pixels=10**6)


@pytest.mark.parametrize("modality", ["image", "text"])
def test_the_embedded_model_in_bfloat16_has_a_cosine_of_0_999_to_float32(modality: str) -> None:
    def items(prepare_in: str) -> list[Prepared]:
        encoder = {"fp32": exact, "bf16": rounded}[prepare_in]
        if modality == "text":
            return [encoder.prepare_text(f"a drawing of {word}") for word in ("a cat", "rain")]
        files = [picture(seed, size=(72, 72)) for seed in range(6)]
        return [encoder.prepare_image(decode_image(file, LIMITS)) for file in files]

    exact, rounded = load_encoder("embedded"), load_encoder("embedded", precision="bf16")
    cosines = np.sum(exact.encode(items("fp32")) * rounded.encode(items("bf16")), axis=1)
    assert cosines.min() >= 0.999
