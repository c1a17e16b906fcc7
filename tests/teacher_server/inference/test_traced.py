"""A traced network gives the bits of the network itself, or is not used."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from teacher_server.inference.encoder import OpenClipEncoder
from teacher_server.inference.traced import traced_image_tower

EXAMPLE = torch.linspace(-1, 1, 2 * 3 * 4 * 4).reshape(2, 3, 4, 4)


class Network(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 5, 2)

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.layer(pixels).flatten(1)
        return found


class Counting(Network):
    """Its result depends on the number of images in a way that a trace does not record."""

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        return super().encode_image(pixels) * int(pixels.shape[0])


class Untraceable(Network):
    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        if not isinstance(pixels.shape[0], int):
            raise NotImplementedError
        return super().encode_image(pixels)


def test_the_vectors_of_a_served_model_are_those_of_its_network_bit_for_bit(
    encoder: OpenClipEncoder,
) -> None:
    encoder.trace()
    assert isinstance(encoder._encode_image, torch.jit.ScriptFunction | torch.jit.ScriptModule)
    random = np.random.default_rng(0)
    for count in (1, 2, 5):
        items = [
            encoder.prepare_image(Image.fromarray(random.integers(0, 256, (40, 40, 3), np.uint8)))
            for _ in range(count)
        ]
        with torch.inference_mode():
            stacked = torch.from_numpy(np.stack([item.array for item in items]))
            raw = encoder._network.encode_image(stacked)
            expected = torch.nn.functional.normalize(raw, dim=-1).numpy()
        np.testing.assert_array_equal(encoder.encode(items), expected)


@pytest.mark.parametrize("kind", [Counting, Untraceable])
def test_a_network_that_a_trace_would_change_runs_as_it_is(kind: type[Network]) -> None:
    network = kind().eval().requires_grad_(False)
    assert traced_image_tower(network, network.encode_image, EXAMPLE) == network.encode_image


def test_a_plain_network_is_traced() -> None:
    network = Network().eval().requires_grad_(False)
    traced = traced_image_tower(network, network.encode_image, EXAMPLE)
    assert traced != network.encode_image
    with torch.inference_mode():
        assert torch.equal(traced(EXAMPLE[:1]), network.encode_image(EXAMPLE[:1]))
