"""Runs a model with its weights in bfloat16, where the processor computes in it."""

from __future__ import annotations

import logging
import math
from typing import Any

import torch
from torch import nn

from teacher_server.errors import ModelUnavailable, SettingsError
from teacher_server.inference.onnx_engine import LEAST_COSINE
from teacher_server.inference.processor import computes_in_bf16

_log = logging.getLogger("teacher_server")


def require_bf16(device: str) -> None:
    """Raise SettingsError where bf16 would be emulated, and so be slower than fp32.

    Where the system does not say what the processor computes, bf16 is allowed.
    """
    kind = torch.device(device).type
    if kind == "cuda":
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    elif kind == "cpu":
        has_bf16 = computes_in_bf16()
    else:
        has_bf16 = True
    if not has_bf16:
        message = (
            f"--dtype bf16: {device} does not compute in bf16 (AVX512_BF16, AMX_BF16, ARM's BF16, "
            "or CUDA 8.0), and would be slower than in fp32; use --dtype fp32"
        )
        raise SettingsError(message)


# Any: open_clip's modules carry attributes that nn.Module does not declare.
def in_bfloat16(network: Any, pixels: torch.Tensor, tokens: torch.Tensor) -> Any:
    """The network with its weights in bfloat16.

    Its embeddings of the example, float32 `pixels` (N, 3, H, W) and `tokens` (M, L), are held
    against those of float32, and the cosines are logged. Raises ModelUnavailable if their mean is
    below 0.999 for images or for texts.
    """
    exact = _embeddings(network, pixels, tokens)
    rounded = network.to(torch.bfloat16)
    computed = _embeddings(rounded, pixels.to(torch.bfloat16), tokens)
    cosines = [
        nn.functional.cosine_similarity(ours, theirs)
        for ours, theirs in zip(computed, exact, strict=True)
    ]
    mean = min(float(found.mean()) for found in cosines)
    least = min(float(found.min()) for found in cosines)
    if math.isnan(mean) or mean < LEAST_COSINE:
        message = (
            f"--dtype bf16 changes this model's embeddings: cosine {mean:.4f} to fp32's, and "
            f"{LEAST_COSINE} is needed; use --dtype fp32"
        )
        raise ModelUnavailable(message)
    _log.info("the model runs in bf16: cosine to fp32 %.5f, at least %.5f", mean, least)
    return rounded


def example_images(height: int, width: int) -> torch.Tensor:
    """Smooth random colours (8, 3, H, W) float32, in the range of prepared pixels."""
    colours = torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 4 - 2
    return nn.functional.interpolate(colours, size=(height, width), mode="bicubic")


def _embeddings(
    network: Any, pixels: torch.Tensor, tokens: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.inference_mode():
        return network.encode_image(pixels).float(), network.encode_text(tokens).float()
