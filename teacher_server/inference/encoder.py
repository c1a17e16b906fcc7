"""The encoder, built on open_clip."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import nn

from teacher_server.errors import ModelUnavailable, SettingsError
from teacher_server.inference.model_info import ModelInfo, Prepared, Vectors
from teacher_server.inference.model_source import ModelSource, resolve_model
from teacher_server.inference.onnx_engine import onnx_image_tower, require_onnx
from teacher_server.inference.open_clip_preparation import OpenClipPreparation
from teacher_server.inference.precision import example_images, in_bfloat16
from teacher_server.inference.preprocessing import preprocessing_of
from teacher_server.inference.tokenizer import describe_tokenizer, use_fast_merges
from teacher_server.inference.traced import Network, traced_image_tower
from teacher_server.inference.weights import require_only_tensors, sha256_of

if TYPE_CHECKING:
    from types import ModuleType

Precision = Literal["fp32", "bf16"]
Engine = Literal["torch", "onnx"]
# Which weights open_clip would start from; the checkpoint replaces them.
_NOT_OF_THE_NETWORK = ("timm_model_pretrained", "hf_model_pretrained")


def load_encoder(
    model: str,
    pretrained: str | None = None,
    *,
    precision: Precision = "fp32",
    engine: Engine = "torch",
    device: str = "cpu",
    preprocess: Mapping[str, Any] | None = None,
) -> OpenClipEncoder:
    """Find, check and load a model; weights stored in half precision run in float32 by default.

    `preprocess` are fields of open_clip's PreprocessCfg that the operator has given, or None for
    each; they win over the model's own. Raises SettingsError if the device or the engine cannot be
    used, or ModelUnavailable, also if bf16 changes the embeddings.
    """
    import open_clip

    check_device(device)
    if engine == "onnx":
        require_onnx(precision=precision, device=device)
    source = resolve_model(model, pretrained)
    require_only_tensors(source.checkpoint)
    prepared = preprocessing_of(source, preprocess or {})
    try:
        network = open_clip.create_model(
            source.architecture,
            load_weights=False,
            pretrained_text=False,
            force_quick_gelu=source.uses_quick_gelu,
            force_preprocess_cfg=prepared,
        )
        open_clip.load_checkpoint(network, str(source.checkpoint), weights_only=True)
        tokenize = use_fast_merges(open_clip.get_tokenizer(source.architecture))
        return OpenClipEncoder(
            open_clip,
            network,
            tokenize,
            source=source,
            precision=precision,
            engine=engine,
            device=device,
        )
    except ModelUnavailable:
        raise
    except Exception as error:
        message = f"{source.id} cannot be loaded from {source.checkpoint}: {_first_line(error)}"
        raise ModelUnavailable(message) from error


def _network_configuration(open_clip: ModuleType, source: ModelSource) -> dict[str, Any]:
    """The architecture as it was built, and its activation, whoever decided it."""
    model_cfg = open_clip.get_model_config(source.architecture)
    quick_gelu = bool(model_cfg.pop("quick_gelu", False)) or source.uses_quick_gelu
    for part in ("vision_cfg", "text_cfg"):
        for name in _NOT_OF_THE_NETWORK:
            model_cfg.get(part, {}).pop(name, None)
    return {"model_cfg": json.loads(json.dumps(model_cfg)), "quick_gelu": quick_gelu}


def check_device(device: str) -> None:
    """Raise SettingsError for a device that does not compute."""
    try:
        total = float(torch.ones(2, device=device).sum())
    # Devices fail differently: RuntimeError without a driver, for an unknown name and on `meta`,
    # which holds no numbers; AssertionError or NotImplementedError without support.
    except Exception as error:
        message = f"the device {device!r} cannot be used: {_first_line(error)}"
        raise SettingsError(message) from error
    if total != 2:
        message = f"the device {device!r} cannot be used: it computed 1 + 1 = {total}"
        raise SettingsError(message)


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__


class OpenClipEncoder:
    """An open_clip model with its own preprocessing, as an Encoder."""

    def __init__(
        self,
        open_clip: ModuleType,
        # Any: open_clip's modules carry attributes that nn.Module does not declare.
        network: Any,
        tokenize: Callable[[list[str]], torch.Tensor],
        *,
        source: ModelSource,
        precision: Precision = "fp32",
        engine: Engine = "torch",
        device: str = "cpu",
    ) -> None:
        self._dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self._device = torch.device(device)
        # TF32 convolutions are the default on a GPU, and would exceed the promised error of 1e-5.
        torch.backends.cudnn.allow_tf32 = False
        self._network = network.eval().requires_grad_(False).to(self._device, torch.float32)
        config = open_clip.transform.PreprocessCfg(**self._network.visual.preprocess_cfg)
        self._input_size = config.input_size
        self._engine = engine
        probe = tokenize(["probe"])
        if precision == "bf16":
            images = example_images(*self._input_size[1:]).to(self._device)
            self._network = in_bfloat16(self._network, images, probe.to(self._device))
        self._encode_image: Network = self._network.encode_image
        if engine == "onnx":
            self._encode_image = onnx_image_tower(
                self._encode_image, self._network, self._example()
            )
        with torch.inference_mode():
            dim = self._network.encode_text(probe.to(self._device)).shape[-1]
        # What runs by default is not named: names and fingerprints of version 0.1 stay.
        variant = [one for one in (precision, engine) if one not in ("fp32", "torch")]
        info = ModelInfo(
            id="+".join((source.id, *variant)),
            weights_sha256=sha256_of(source.checkpoint),
            dim=int(dim),
            image_size=int(max(config.input_size[1:])),
            context_length=int(probe.shape[-1]),
            preprocess=json.loads(json.dumps(asdict(config))),
            open_clip_version=str(open_clip.__version__),
            is_embedded=source.is_embedded,
            created=int(source.checkpoint.stat().st_mtime),
            configuration={
                **_network_configuration(open_clip, source),
                "tokenizer": describe_tokenizer(tokenize),
                "precision": precision,
                **({"engine": engine} if engine != "torch" else {}),
            },
        )
        transform = open_clip.transform.image_transform_v2(config, is_train=False)
        self.preparation = OpenClipPreparation(info, transform, tokenize)

    @property
    def info(self) -> ModelInfo:
        """The identity of the model."""
        return self.preparation.info

    def trace(self) -> None:
        """Run images without Python's lock from now on, if that gives the same bits.

        Takes a second. Images may be encoded in the meantime.
        """
        if self._engine == "torch":
            self._encode_image = traced_image_tower(
                self._network, self._network.encode_image, self._example()
            )

    def _example(self) -> torch.Tensor:
        # Pixels that differ, so that a tower that mixes up images is noticed.
        flat = torch.linspace(-1, 1, 2 * math.prod(self._input_size))
        return flat.reshape(2, *self._input_size).to(self._device, self._dtype)

    def prepare_image(self, image: Image.Image) -> Prepared:
        """Pixels (3, H, W) float32 after the model's inference transform."""
        return self.preparation.prepare_image(image)

    def prepare_text(self, text: str) -> Prepared:
        """Token ids (L,), cut at the model's context length as in open_clip."""
        return self.preparation.prepare_text(text)

    def encode(self, items: Sequence[Prepared]) -> Vectors:
        """Unit vectors (N, dim) float32 of items of one modality."""
        stacked = torch.from_numpy(np.stack([item.array for item in items]))
        if self._device.type == "cuda":
            stacked = stacked.pin_memory()  # page-locked, so that the copy needs no second one
        stacked = stacked.to(self._device, non_blocking=True)
        with torch.inference_mode():
            if items[0].modality == "image":
                raw = self._encode_image(stacked.to(self._dtype))
            else:
                raw = self._network.encode_text(stacked)
            unit = nn.functional.normalize(raw.float(), dim=-1)
        vectors: Vectors = unit.cpu().numpy()
        return vectors
