"""Writes a student's network as a folder that `timm.create_model("local-dir:FOLDER")` loads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from cache.storage.atomic_file import replace_file
from student.errors import BadInput
from student.models.heads import ClassHead, EmbeddingHead
from student.models.student import Student

WEIGHTS, CONFIG = "model.safetensors", "config.json"
CLASS_EMBEDDINGS = "class_embeddings.safetensors"


def timm_network(student: Student) -> nn.Module:
    """Return a timm model of the student's architecture with its weights.

    Its classifier is the student's projection, so that it gives (N, D) in the teacher's space, not
    of unit length; or the student's class head, which gives logits (N, C). Raises BadInput for a
    network that is not timm's, or whose classifier is more than a linear layer.
    """
    import timm

    architecture = student.architecture
    last = _last_layer(student)
    if not timm.is_model(architecture.backbone):
        message = f"{architecture.backbone} is no model of timm's: export it as onnx or torch"
        raise BadInput(message)
    model = timm.create_model(
        architecture.backbone,
        num_classes=0 if last is None else last.out_features,
        **_arguments(student),
    )
    get_classifier: Any = model.get_classifier  # timm has no types
    classifier = get_classifier()
    tensors: dict[str, Tensor] = dict(student.backbone.state_dict())
    if last is not None:
        name = next((key for key, module in model.named_modules() if module is classifier), "")
        if not isinstance(classifier, nn.Linear) or not name:
            message = (
                f"the classifier of {architecture.backbone} is more than a linear layer: "
                "export it as onnx or torch"
            )
            raise BadInput(message)
        tensors |= {f"{name}.{key}": tensor for key, tensor in last.state_dict().items()}
    model.load_state_dict(tensors)
    return model.eval()


def write_timm_folder(
    student: Student, model: nn.Module, folder: Path, about: Mapping[str, Any]
) -> None:
    """Write model.safetensors and config.json, with the student's own preprocessing.

    `about` is added to config.json, where timm ignores it. The class texts of a student with a
    projection are written beside them, as `class_embeddings` (C, D) of unit length. A student of
    centred embeddings has `embedding_offset` (D,) there too: added to its output of unit length, it
    gives the embedding in the teacher's space.
    """
    from safetensors.torch import save

    architecture, prepared = student.architecture, student.preprocessing
    last = _last_layer(student)
    size = architecture.image_size
    config = {
        "architecture": architecture.backbone,
        "num_classes": 0 if last is None else last.out_features,
        "num_features": architecture.num_features,
        "model_args": _arguments(student),
        "pretrained_cfg": {
            "input_size": [3, size, size],
            "interpolation": prepared["interpolation"],
            "crop_pct": prepared["crop_pct"],
            "crop_mode": prepared["resize"],
            "mean": prepared["mean"],
            "std": prepared["std"],
            "num_classes": 0 if last is None else last.out_features,
        },
        **about,
    }
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {key: tensor.cpu().contiguous() for key, tensor in model.state_dict().items()}
    replace_file(folder / WEIGHTS, save(tensors, metadata={"format": "pt"}))
    if isinstance(student.head, EmbeddingHead) and architecture.num_classes:
        texts = {"class_embeddings": student.head.text_CD.cpu().contiguous()}
        if student.head.is_centred:
            texts["embedding_offset"] = student.head.image_offset_D.cpu().contiguous()
        replace_file(folder / CLASS_EMBEDDINGS, save(texts))
    replace_file(folder / CONFIG, json.dumps(config, indent=2).encode())


def read_timm_folder(folder: Path) -> nn.Module:
    """Return the model that timm makes of the folder."""
    import timm

    return timm.create_model(f"local-dir:{folder}", pretrained=True).eval()


def normalised(student: Student, pixels_NSS3: Tensor) -> Tensor:
    """Return the pixels as the timm model takes them: float32 (N, 3, S, S)."""
    return (pixels_NSS3.permute(0, 3, 1, 2).float() - student.mean) / student.std


def _last_layer(student: Student) -> nn.Linear | None:
    """The layer that becomes timm's classifier; None if the features are the embedding."""
    head: nn.Module = student.head
    layer = head.projection if isinstance(head, EmbeddingHead) else None
    if isinstance(head, ClassHead):
        layer = head.linear
    return layer if isinstance(layer, nn.Linear) else None


def _arguments(student: Student) -> dict[str, Any]:
    import timm

    defaults = timm.get_pretrained_cfg(student.architecture.backbone)
    is_fixed = defaults is not None and defaults.fixed_input_size
    return {"img_size": student.architecture.image_size} if is_fixed else {}
