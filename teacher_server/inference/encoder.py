"""The encoder, built on open_clip; no other module of the vendor imports open_clip."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import nn

from teacher_server.errors import ModelUnavailable, SettingsError
from teacher_server.inference.model_info import ModelInfo, Prepared, Vectors
from teacher_server.inference.tokenizer import count_tokens, use_fast_merges
from teacher_server.inference.weights import (
    CONFIG_NAME,
    EMBEDDED,
    fetch_from_hub,
    find_checkpoint,
    model_unavailable,
    require_only_tensors,
    sha256_of,
)

if TYPE_CHECKING:
    from types import ModuleType

Precision = Literal["fp32", "bf16"]
_SAFE_NAME = "open_clip_model.safetensors"
_PICKLED_NAME = "open_clip_pytorch_model.bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """A model as files: the architecture that open_clip builds, and the checkpoint for it."""

    id: str
    architecture: str
    checkpoint: Path
    preprocess: dict[str, Any] | None = None
    uses_quick_gelu: bool = False
    is_embedded: bool = False


def resolve_model(model: str, pretrained: str | None, *, embedded: Path = EMBEDDED) -> ModelSource:
    """Find the configuration and the weights, and download them from the hub if necessary.

    `model` is `embedded`, a local folder, a checkpoint file beside its configuration,
    `hf-hub:org/name`, or an open_clip architecture, where `pretrained` is a tag or a checkpoint
    file. Raises ModelUnavailable, which lists the alternatives; no other model is used instead.
    """
    if model == "embedded":
        if not (embedded / CONFIG_NAME).is_file():
            message = f"the embedded model is not installed (no {embedded / CONFIG_NAME})"
            raise model_unavailable(message)
        checkpoint = find_checkpoint(embedded)
        return ModelSource(
            id=model, architecture=f"local-dir:{embedded}", checkpoint=checkpoint, is_embedded=True
        )
    path = Path(model).expanduser()
    if path.is_dir():
        path = path.resolve()
        return ModelSource(
            id=path.name, architecture=f"local-dir:{path}", checkpoint=find_checkpoint(path)
        )
    if path.is_file():
        path = path.resolve()
        if not (path.parent / CONFIG_NAME).is_file():
            message = (
                f"there is no {CONFIG_NAME} beside {path.name}: set TEACHER_MODEL to its "
                "architecture and TEACHER_PRETRAINED to the file"
            )
            raise ModelUnavailable(message)
        return ModelSource(id=path.stem, architecture=f"local-dir:{path.parent}", checkpoint=path)
    if model.startswith("hf-hub:"):
        repository = model.removeprefix("hf-hub:")
        config = fetch_from_hub(repository, CONFIG_NAME)
        checkpoint = fetch_from_hub(repository, _SAFE_NAME, _PICKLED_NAME)
        return ModelSource(
            id=model, architecture=f"local-dir:{config.parent}", checkpoint=checkpoint
        )
    return _resolve_pair(model, pretrained)


def _resolve_pair(model: str, pretrained: str | None) -> ModelSource:
    import open_clip

    architecture = model.replace("/", "-")
    if architecture not in open_clip.list_models():
        message = f"{model!r} is not a folder, a file, hf-hub:… or an open_clip architecture"
        raise model_unavailable(message)
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if not pretrained:
        message = f"{model} needs TEACHER_PRETRAINED: a checkpoint file or one of {', '.join(tags)}"
        raise ModelUnavailable(message)
    file = Path(pretrained).expanduser()
    if file.is_file():
        return ModelSource(
            id=f"{architecture}/{file.stem}", architecture=architecture, checkpoint=file.resolve()
        )
    config = open_clip.get_pretrained_cfg(architecture, pretrained)
    hub = config.get("hf_hub", "")
    if not hub:
        known = ", ".join(tags) or "none"
        message = f"{pretrained!r} is not a file or a tag of {model} on the hub (tags: {known})"
        raise model_unavailable(message)
    repository, _, filename = hub.rpartition("/")
    named = filename or _PICKLED_NAME
    safe = _SAFE_NAME if named == _PICKLED_NAME else str(Path(named).with_suffix(".safetensors"))
    return ModelSource(
        id=f"{architecture}/{pretrained}",
        architecture=architecture,
        checkpoint=fetch_from_hub(repository, safe, named),
        preprocess=config,
        uses_quick_gelu=bool(config.get("quick_gelu")),
    )


def load_encoder(
    model: str, pretrained: str | None = None, *, precision: Precision = "fp32", device: str = "cpu"
) -> OpenClipEncoder:
    """Find, check and load a model; weights stored in half precision run in float32 by default.

    Raises SettingsError if the device cannot be used, or ModelUnavailable.
    """
    import open_clip

    _check_device(device)
    source = resolve_model(model, pretrained)
    require_only_tensors(source.checkpoint)
    try:
        network = open_clip.create_model(
            source.architecture,
            load_weights=False,
            pretrained_text=False,
            force_quick_gelu=source.uses_quick_gelu,
            force_preprocess_cfg=source.preprocess,
        )
        open_clip.load_checkpoint(network, str(source.checkpoint), weights_only=True)
        tokenize = use_fast_merges(open_clip.get_tokenizer(source.architecture))
        return OpenClipEncoder(
            open_clip, network, tokenize, source=source, precision=precision, device=device
        )
    except Exception as error:
        message = f"{source.id} cannot be loaded from {source.checkpoint}: {_first_line(error)}"
        raise ModelUnavailable(message) from error


def _check_device(device: str) -> None:
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
        device: str = "cpu",
    ) -> None:
        self._dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self._device = torch.device(device)
        # TF32 convolutions are the default on a GPU, and would exceed the promised error of 1e-5.
        torch.backends.cudnn.allow_tf32 = False
        self._network = network.eval().requires_grad_(False).to(self._device, self._dtype)
        self._tokenize = tokenize
        config = open_clip.transform.PreprocessCfg(**self._network.visual.preprocess_cfg)
        self._transform = open_clip.transform.image_transform_v2(config, is_train=False)
        probe = tokenize(["probe"])
        with torch.inference_mode():
            dim = self._network.encode_text(probe.to(self._device)).shape[-1]
        self._info = ModelInfo(
            id=source.id if precision == "fp32" else f"{source.id}+{precision}",
            weights_sha256=sha256_of(source.checkpoint),
            dim=int(dim),
            image_size=int(max(config.input_size[1:])),
            context_length=int(probe.shape[-1]),
            preprocess=json.loads(json.dumps(asdict(config))),
            open_clip_version=str(open_clip.__version__),
            is_embedded=source.is_embedded,
            created=int(source.checkpoint.stat().st_mtime),
        )

    @property
    def info(self) -> ModelInfo:
        """The identity of the model."""
        return self._info

    def prepare_image(self, image: Image.Image) -> Prepared:
        """Pixels (3, H, W) float32 after the model's inference transform."""
        pixels: torch.Tensor = self._transform(image)
        return Prepared("image", pixels.numpy())

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

    def encode(self, items: Sequence[Prepared]) -> Vectors:
        """Unit vectors (N, dim) float32 of items of one modality."""
        stacked = torch.from_numpy(np.stack([item.array for item in items])).to(self._device)
        with torch.inference_mode():
            if items[0].modality == "image":
                raw = self._network.encode_image(stacked.to(self._dtype))
            else:
                raw = self._network.encode_text(stacked)
            unit = nn.functional.normalize(raw.float(), dim=-1)
        vectors: Vectors = unit.cpu().numpy()
        return vectors
