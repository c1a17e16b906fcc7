"""Runs a model's image tower by ONNX Runtime instead of torch; the text tower stays with torch.

On CPUs ONNX Runtime takes less processor time than torch, most for batches of small networks
(docs/performance.md). Its sums are in another order, so that the last bits of an embedding differ:
the engine is part of the model's name and fingerprint.
"""

from __future__ import annotations

import logging
import math
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from teacher_server.errors import ModelUnavailable, SettingsError

Network = Callable[[torch.Tensor], torch.Tensor]
LEAST_COSINE = 0.999
_NEEDED = ("onnx", "onnxscript", "onnxruntime")


def require_onnx(*, precision: str, device: str) -> None:
    """Raise SettingsError where the engine cannot run: packages, precision, device."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        message = (
            f"--engine onnx needs {', '.join(missing)}: pip install 'rented-teacher[onnx]', or use "
            "--engine torch"
        )
        raise SettingsError(message)
    if precision != "fp32" or device != "cpu":
        message = (
            f"--engine onnx runs in fp32 on the CPU, not in {precision} on {device}: use --engine "
            "torch"
        )
        raise SettingsError(message)


def onnx_image_tower(encode_image: Network, network: nn.Module, example: torch.Tensor) -> Network:
    """`encode_image` of the network, computed by ONNX Runtime on as many threads as torch has.

    `example` are pixels (2, 3, H, W). Raises ModelUnavailable if the network cannot be converted,
    or if an embedding of the example has a cosine below 0.999 to torch's.
    """
    tower = _Tower(network, encode_image).eval()
    try:
        with tempfile.TemporaryDirectory() as folder, _quiet():
            session = _session(tower, example, Path(folder, "image.onnx"))
        computed = _run(session, example)
    # torch's exporter and ONNX Runtime raise errors of their own for what they do not know.
    except Exception as error:
        message = f"the model cannot be converted for --engine onnx: {type(error).__name__}"
        raise ModelUnavailable(message) from error
    with torch.inference_mode():
        cosine = float(nn.functional.cosine_similarity(computed, encode_image(example)).min())
    if math.isnan(cosine) or cosine < LEAST_COSINE:
        message = f"--engine onnx changes this model's embeddings: cosine {cosine:.4f} to torch's"
        raise ModelUnavailable(message)
    return lambda pixels: _run(session, pixels)


class _Tower(nn.Module):
    """`encode_image` as the forward pass of a module, which the exporter needs."""

    def __init__(self, network: nn.Module, encode_image: Network) -> None:
        super().__init__()
        self.network = network
        self._encode_image = encode_image

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self._encode_image(pixels)


# Any: ONNX Runtime has no types.
def _session(tower: nn.Module, example: torch.Tensor, path: Path) -> Any:
    import onnxruntime

    program: Any = torch.onnx.export(
        tower,
        (example,),
        dynamo=True,
        verbose=False,
        input_names=["pixels"],
        output_names=["embeddings"],
        dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=4096)},),
    )
    # A file may hold 2 GiB; weights beside it may be of any size.
    program.save(str(path), external_data=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _run(session: Any, pixels: torch.Tensor) -> torch.Tensor:
    (embeddings,) = session.run(None, {"pixels": pixels.numpy()})
    return torch.from_numpy(embeddings)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks about itself."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "torch.export")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
