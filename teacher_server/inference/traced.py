"""Runs a network as one call, without Python between its operations.

Each operation of an eager network takes Python's lock again. While other threads parse requests, a
network of two hundred small operations waits for them two hundred times.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

_log = logging.getLogger("teacher_server")
Network = Callable[[torch.Tensor], torch.Tensor]


class _ImageTower(nn.Module):
    """`encode_image` as the forward pass of a module, which tracing needs."""

    def __init__(self, encode_image: Network, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self._encode_image = encode_image

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self._encode_image(pixels)


def traced_image_tower(network: nn.Module, encode_image: Network, example: torch.Tensor) -> Network:
    """`encode_image` of the network, traced; or as it is, if the trace changes a single bit.

    `example` are pixels (2, 3, H, W) of the model's size, type and device.
    """
    other = torch.cat([example, example.flip(0)[:1]])  # another number of images
    try:
        with warnings.catch_warnings(), torch.inference_mode():
            # That tracing is deprecated, and that shapes are compared in Python.
            warnings.simplefilter("ignore")
            tower = _ImageTower(encode_image, network)
            trace: Any = torch.jit.trace  # it has no types
            traced: Network = trace(tower, example, check_trace=False)
            is_same = all(torch.equal(traced(other), encode_image(other)) for _ in range(2))
    # Any architecture may be served: what cannot be traced runs as it did before.
    except Exception as error:
        _log.info("the model runs untraced: %s", type(error).__name__)
        return encode_image
    return traced if is_same else encode_image
