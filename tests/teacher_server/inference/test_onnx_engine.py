"""ONNX Runtime sells nearly torch's embeddings, as a model of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.support.vendor_in_process import picture
from teacher_server.errors import ModelUnavailable, SettingsError
from teacher_server.inference import onnx_engine
from teacher_server.inference.decode_image import ImageLimits, decode_image
from teacher_server.inference.encoder import OpenClipEncoder, load_encoder
from teacher_server.inference.onnx_engine import onnx_image_tower
from teacher_server.settings import load_settings

LIMITS = ImageLimits(max_bytes=10**6, max_pixels=10**6)


@pytest.fixture(scope="module")
def by_torch() -> OpenClipEncoder:
    return load_encoder("embedded")


@pytest.fixture(scope="module")
def by_onnx() -> OpenClipEncoder:
    return load_encoder("embedded", engine="onnx")


@pytest.mark.parametrize("count", [1, 2, 7])
def test_embeddings_of_a_batch_of_any_size_have_a_cosine_of_0_999_to_those_of_torch(
    by_torch: OpenClipEncoder, by_onnx: OpenClipEncoder, count: int
) -> None:
    images = [decode_image(picture(seed, size=(72, 72)), LIMITS) for seed in range(count)]
    ours, theirs = (
        encoder.encode([encoder.prepare_image(image) for image in images])
        for encoder in (by_onnx, by_torch)
    )
    assert ours.shape == (count, by_torch.info.dim)
    assert np.sum(ours * theirs, axis=1).min() >= onnx_engine.LEAST_COSINE


def test_texts_are_embedded_by_torch_to_the_bit(
    by_torch: OpenClipEncoder, by_onnx: OpenClipEncoder
) -> None:
    ours, theirs = (
        encoder.encode([encoder.prepare_text("a photo of a cat")])
        for encoder in (by_onnx, by_torch)
    )
    assert np.array_equal(ours, theirs)


def test_the_engine_is_in_the_name_and_in_both_fingerprints(
    by_torch: OpenClipEncoder, by_onnx: OpenClipEncoder
) -> None:
    assert by_onnx.info.id == f"{by_torch.info.id}+onnx"
    assert by_onnx.info.fingerprint != by_torch.info.fingerprint
    assert by_onnx.info.fingerprint_v2 != by_torch.info.fingerprint_v2
    assert "engine" not in by_torch.info.configuration  # its fingerprint is that of version 0.1


def test_tracing_does_not_bring_torch_back(by_onnx: OpenClipEncoder) -> None:
    item = by_onnx.prepare_image(decode_image(picture(1, size=(72, 72)), LIMITS))
    before = by_onnx.encode([item])
    by_onnx.trace()
    assert np.array_equal(by_onnx.encode([item]), before)


@pytest.mark.parametrize("more", [{"precision": "bf16"}, {"device": "cuda"}])
def test_it_is_refused_in_bf16_and_on_a_gpu(
    more: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("teacher_server.inference.encoder.check_device", lambda device: None)
    load: Callable[..., object] = load_encoder
    with pytest.raises(SettingsError, match="runs in fp32 on the CPU"):
        load("embedded", engine="onnx", **more)


def test_a_missing_package_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_engine, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"needs onnx, .*rented-teacher\[onnx\]"):
        load_encoder("embedded", engine="onnx")


class Noise(nn.Module):
    """Another answer at each call, as a network that was converted wrongly gives."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.rand(pixels.shape[0], 8) - 0.5 + 0 * pixels.mean()


def test_a_network_whose_embeddings_change_is_refused() -> None:
    noise = Noise()
    with pytest.raises(ModelUnavailable, match=r"changes this model's embeddings|cannot be conv"):
        onnx_image_tower(noise.forward, noise, torch.zeros(2, 3, 8, 8))


def test_the_option_is_read_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TEACHER_ENGINE", "onnx")
    assert load_settings({}, config=None).engine == "onnx"
    assert load_settings({"engine": "torch"}, config=None).engine == "torch"
