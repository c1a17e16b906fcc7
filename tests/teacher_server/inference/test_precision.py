"""The embedded model in bfloat16 sells nearly the embeddings of float32."""

from __future__ import annotations

import re
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.support.vendor_in_process import picture
from teacher_server.errors import ModelUnavailable, SettingsError
from teacher_server.inference import precision
from teacher_server.inference.decode_image import ImageLimits, decode_image
from teacher_server.inference.encoder import load_encoder
from teacher_server.inference.model_info import Prepared
from teacher_server.inference.precision import in_bfloat16, require_bf16
from teacher_server.inference.processor import computes_in_bf16

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


class _Sensitive(nn.Module):
    """Its image embeddings hang on the digits that bfloat16 drops."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor([1.001, 1.0]))

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        return ((self.weights - 1) * pixels.sum() + pixels.new_tensor([0.0, 1e-4]))[None]

    def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.weights.expand(len(tokens), 2)


def test_a_model_that_bfloat16_changes_is_refused() -> None:
    pixels, tokens = torch.ones(1, 1, 1, 1), torch.ones(1, 1, dtype=torch.int64)
    with pytest.raises(ModelUnavailable, match="use --dtype fp32"):
        in_bfloat16(_Sensitive().requires_grad_(False), pixels, tokens)


def test_the_cosine_to_float32_is_stated_when_the_model_is_loaded(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level("INFO", "teacher_server"):
        load_encoder("embedded", precision="bf16")
    ((mean, least),) = re.findall(r"cosine to fp32 (\d\.\d+), at least (\d\.\d+)", caplog.text)
    assert 0.999 <= float(mean) <= 1.0001
    assert 0.99 < float(least) <= float(mean)


@pytest.mark.parametrize(
    ("cpuinfo", "computes"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16\n", True),
        ("flags\t\t: fpu amx_bf16\n", True),
        ("Features\t: fp asimd bf16\n", True),
        ("flags\t\t: fpu avx512f\nmodel name\t: bf16\n", False),
        ("processor\t: 0\n", True),  # it does not say
    ],
)
def test_bf16_is_refused_where_the_processor_is_known_to_lack_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpuinfo: str, computes: bool
) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(cpuinfo)
    assert computes_in_bf16(path) is computes
    monkeypatch.setattr(precision, "computes_in_bf16", lambda: computes_in_bf16(path))
    with nullcontext() if computes else pytest.raises(SettingsError, match="use --dtype fp32"):
        require_bf16("cpu")


def test_bf16_is_allowed_where_nothing_is_known_of_the_processor(tmp_path: Path) -> None:
    assert computes_in_bf16(tmp_path / "none")
