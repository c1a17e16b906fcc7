"""Makes the student that a run starts from, and checks that its method can train it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from student.errors import BadInput
from student.models.architecture import SoldNetwork
from student.models.backbone import LOCAL_TOWER, is_tower, network_settings
from student.models.clip_tower import PREFIX, embedding_dim, misfit
from student.models.student import NewHead, Student, new_student
from student.options import TrainingOptions
from student.training.methods import METHODS, Method
from student.training.task import TrainingTask


def check_pair(method: Method, backbone: str) -> None:
    """Refuses a method on a network that it cannot train. Raises BadInput."""
    if is_tower(backbone) and method.head in ("embedding", "text", "joint"):
        own = " or ".join(known.name for known in METHODS.values() if known.head == "identity")
        message = (
            f"{method.name} projects into the teacher's space, and {backbone} is there already: "
            f"use --method {own}, or a timm model as --backbone"
        )
        raise BadInput(message)
    if not is_tower(backbone) and method.head == "identity":
        message = (
            f"{method.name} trains the teacher's own image tower, and {backbone} is not a tower: "
            f"name it with --backbone {PREFIX}ARCHITECTURE (or {LOCAL_TOWER}FOLDER) and its "
            "weights with --weights FILE"
        )
        raise BadInput(message)


def check_space(method: Method, backbone: str, dim: int) -> None:
    """Refuses a tower whose embeddings have another size than the vendor's `dim`, where the method
    has no projection between the two. Raises BadInput."""
    if method.head != "identity":
        return
    own = embedding_dim(backbone)
    if own != dim:
        message = (
            f"{backbone} gives {own} numbers an image and the vendor's model {dim}: "
            f"{method.name} takes the vendor's own architecture and weights"
        )
        raise BadInput(message)


def foreign_weights(options: TrainingOptions, sold_sha256: str) -> str:
    """A warning where a tower's weights are not, byte for byte, the file that the vendor sells
    embeddings of; "" where they are, or where there is no tower.

    Not an error: a file of another format may hold the same weights.
    """
    file = Path(options.weights)
    if not is_tower(options.backbone) or not file.is_file():
        return ""
    with file.open("rb") as opened:
        own = hashlib.file_digest(opened, "sha256").hexdigest()
    if own == sold_sha256:
        return ""
    return (
        f"{file} (sha256 {own[:12]}) is not the file that the vendor sells by "
        f"({sold_sha256[:12]}): unless it holds the same weights in another format, the student "
        "starts from another model than that whose embeddings are bought"
    )


def foreign_network(backbone: str, sold: SoldNetwork) -> str:
    """A warning where a tower cannot follow the network that the vendor sells; "" otherwise."""
    reason = misfit(backbone, sold) if is_tower(backbone) else ""
    if not reason:
        return ""
    return (
        f"{reason}: {backbone} is built with the activation, mean and deviation of its own name, "
        "which may be another network than the one whose answers are bought"
    )


def make_student(task: TrainingTask, *, pretrained: bool) -> Student:
    """The student that a run starts from, on the network that the options name.

    Without `pretrained` its weights are random, to be replaced by those of a checkpoint. Raises
    BadInput if the method cannot train this network, and BadInput or TrainingError as
    `new_student` does.
    """
    method, options = task.method, task.options
    check_pair(method, options.backbone)
    texts = torch.tensor(task.data.text_embeddings) if method.head != "class" else None
    return new_student(
        NewHead(
            num_classes=task.num_classes,
            text_embeddings=texts,
            kind=method.head,
            logit_scale=task.terms.logit_scale,
            learns_scale=task.terms.learns_scale,
            centre=task.centre,
        ),
        settings=network_settings(options.backbone, options.weights, task.sold),
        backbone=options.backbone,
        weights=options.weights if pretrained else "none",
        image_size=task.data.image_size,
    )
