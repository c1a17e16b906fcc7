"""The student on disk: its tensors in one file, their meaning as JSON beside it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from student.errors import BadInput
from student.models.student import Architecture, Student, with_head
from student.models.timm_backbone import load_backbone


def save_student(student: Student, folder: Path, meta: Mapping[str, Any]) -> None:
    """Writes student.safetensors and meta.json, each under a temporary name that is then renamed.

    meta.json is `meta` with "architecture" and "weights_sha256" added; it is written last.
    """
    from safetensors.torch import save

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {key: tensor.cpu().contiguous() for key, tensor in student.state_dict().items()}
    weights = save(tensors)
    full = {
        **meta,
        "architecture": asdict(student.architecture),
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    replace_file(folder / "student.safetensors", weights)
    replace_file(folder / "meta.json", json.dumps(full, indent=2, sort_keys=True).encode())


def timm_network(architecture: Architecture) -> nn.Module:
    """The timm backbone of a student, its weights yet to come."""
    return load_backbone(architecture.backbone, "none", image_size=architecture.image_size)


def load_student(
    folder: Path, *, network: Callable[[Architecture], nn.Module] = timm_network
) -> tuple[Student, dict[str, Any]]:
    """The student of a folder, ready to predict, and its meta.json. `network` makes its backbone.

    Raises BadInput where a file is missing, damaged, or not the other's.
    """
    from safetensors.torch import load

    try:
        meta = json.loads((folder / "meta.json").read_text())
        weights = (folder / "student.safetensors").read_bytes()
        architecture = Architecture(**meta["architecture"])
        expected = meta["weights_sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"{folder} holds no student: it takes student.safetensors and meta.json ({error})"
        raise BadInput(message) from error
    if hashlib.sha256(weights).hexdigest() != expected:
        message = f"{folder}/student.safetensors is not the file that meta.json describes"
        raise BadInput(message)
    text = None
    if architecture.head != "class":
        text = torch.zeros(architecture.num_classes, architecture.dim)
    student = with_head(
        network(architecture),
        backbone=architecture.backbone,
        image_size=architecture.image_size,
        num_classes=architecture.num_classes,
        text_embeddings=text,
        head=architecture.head,
        logit_scale=architecture.logit_scale,
        learns_scale=architecture.learns_scale,
    )
    student.load_state_dict(load(weights))
    return student.eval(), meta


def replace_file(path: Path, content: bytes) -> None:
    """Writes under a temporary name, synced, then renamed: no reader ever sees half a file."""
    part = path.with_suffix(f"{path.suffix}.{os.getpid()}.part")
    with part.open("wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    part.replace(path)
