"""The student on disk: its tensors in student.safetensors, their description in meta.json."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from cache.storage.atomic_file import replace_file
from student.errors import BadInput
from student.models.architecture import Architecture
from student.models.backbone import empty_network, tower_config
from student.models.clip_tower import CONFIG
from student.models.heads import Centre
from student.models.student import NewHead, Student, with_head


def save_student(student: Student, folder: Path, meta: Mapping[str, Any]) -> None:
    """Writes student.safetensors and meta.json, each under a temporary name that is then renamed.

    meta.json is `meta` with "architecture", "preprocessing" and "weights_sha256" added; it is
    written last. Beside
    a student on a local CLIP tower lies a copy of the file that describes the tower.
    """
    from safetensors.torch import save

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {key: tensor.cpu().contiguous() for key, tensor in student.state_dict().items()}
    # The weights alone say how their input is prepared, for whoever takes only this file.
    described = {"image_size": student.architecture.image_size, **student.preprocessing}
    weights = save(tensors, metadata={"preprocessing": json.dumps(described)})
    full = {
        **meta,
        "architecture": asdict(student.architecture),
        "preprocessing": student.preprocessing,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    if (config := tower_config(student.architecture.backbone)) is not None:
        replace_file(folder / CONFIG, config)
    replace_file(folder / "student.safetensors", weights)
    replace_file(folder / "meta.json", json.dumps(full, indent=2, sort_keys=True).encode())


def load_student(folder: Path) -> tuple[Student, dict[str, Any]]:
    """The student of a folder, ready to predict, and its meta.json.

    Raises BadInput if a file is missing or damaged, or if the two do not belong together.
    """
    from safetensors.torch import load

    try:
        meta = json.loads((folder / "meta.json").read_text("utf-8"))
        weights = (folder / "student.safetensors").read_bytes()
        architecture = _architecture(meta["architecture"])
        expected = meta["weights_sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"{folder} holds no student: it needs student.safetensors and meta.json ({error})"
        raise BadInput(message) from error
    if hashlib.sha256(weights).hexdigest() != expected:
        message = f"{folder}/student.safetensors is not the file that meta.json describes"
        raise BadInput(message)
    text = None
    if architecture.head != "class":
        text = torch.zeros(architecture.num_classes, architecture.dim)
    student = with_head(
        empty_network(architecture, folder),
        NewHead(
            num_classes=architecture.num_classes,
            text_embeddings=text,
            kind=architecture.head,
            logit_scale=architecture.logit_scale,
            learns_scale=architecture.learns_scale,
            centre=_empty_centre(architecture) if architecture.is_centred else None,
        ),
        backbone=architecture.backbone,
        image_size=architecture.image_size,
        settings=architecture.settings,
    )
    student.load_state_dict(load(weights))
    return student.eval(), meta


def _empty_centre(architecture: Architecture) -> Centre:
    """A centre to be replaced by that of the stored weights."""
    nothing_D = torch.zeros(architecture.dim)
    return Centre(images=nothing_D, texts=nothing_D, radius=1.0)


def temperature_of(meta: Mapping[str, Any]) -> float | None:
    """The temperature by which this student's logits are divided for a calibrated confidence.

    None for a student without one: made before temperatures were fitted, or with logits that
    allowed none. Raises BadInput if meta.json has something else than a positive number.
    """
    try:
        temperature = meta.get("calibration", {}).get("temperature")
        if temperature is None:
            return None
        number = float(temperature)
    except (AttributeError, TypeError, ValueError):
        number = math.nan
    if not 0.0 < number < math.inf:
        message = f"meta.json: a temperature is a positive number, not {meta['calibration']!r}"
        raise BadInput(message)
    return number


def _architecture(stored: dict[str, Any]) -> Architecture:
    """The architecture in a meta.json; JSON has lists where it has tuples."""
    plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in stored.items()}
    return Architecture(**plain)
