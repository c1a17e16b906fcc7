"""The training loops that are compared, on the same random images: ours and its peers'.

Shapes: B batch, S pixels a side, D teacher dimensions, N images, C classes, K views.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import open_clip
import timm
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from student.models.student import Student
from student.options import TrainingOptions
from student.training.averaging import LossValley
from student.training.batches import Batch
from student.training.dataset import LabelledImages, TrainingData
from student.training.loop import StageState, StageWork, fit, thaw
from student.training.methods import METHODS
from student.training.metrics import Score
from student.training.stage_builder import StageBuilder
from student.training.student_factory import make_student
from student.training.task import TrainingTask
from student.training.train import silent

SIZE, DOMAINS, PER_DOMAIN = 64, 3, 20
BATCH = DOMAINS * PER_DOMAIN
_IMAGES, _VIEWS, _CLASSES, _DIM = 600, 2, 10, 512
_TEACHER, _TEACHER_SIZE = "ViT-B-32", 224
Steps = Callable[[int], None]
"""Trains so many steps."""


def ours(method: str) -> Steps:
    """The last stage of a method by the product's own loop, without its validations."""
    student, work = _last_stage(method)
    return _by_fit(student, work)


def synthetic(method: str) -> Steps:
    """The same network, loss and optimiser on one batch that is there already: the limit."""
    student, work = _last_stage(method)
    batch = work.batches(0)
    thaw(student, work.stage)
    weights = [parameter for parameter in student.parameters() if parameter.requires_grad]
    optimiser = torch.optim.Adam(weights, lr=work.stage.lr, fused=True)

    def train(steps: int) -> None:
        for _ in range(steps):
            loss = work.loss(batch)
            optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimiser.step()

    return train


def teacher_at_every_step(method: str) -> Steps:
    """The product's loop, but the teacher embeds the images of every step, as in the published
    recipe: open_clip's ViT-B/32 in fp32, with random weights."""
    student, work = _last_stage(method)
    teacher = open_clip.create_model(_TEACHER).eval().requires_grad_(False)

    def embedded(step: int) -> Batch:
        batch = work.batches(step)
        pixels_B3SS = batch.inputs.permute(0, 3, 1, 2).float() / 255
        large_B3SS = functional.interpolate(pixels_B3SS, size=_TEACHER_SIZE, mode="bicubic")
        with torch.no_grad():
            images_BD = functional.normalize(teacher.encode_image(large_B3SS), dim=-1)
        return replace(batch, images=images_BD)

    return _by_fit(student, replace(work, batches=embedded))


def plain(_: str) -> Steps:
    """A plain PyTorch loop: a DataLoader with two workers, transforms of one image at a time,
    tensors in the contiguous layout, cross-entropy and Adam."""
    loader: DataLoader[tuple[Tensor, int]] = DataLoader(
        _Pictures(), batch_size=BATCH, shuffle=True, num_workers=2, persistent_workers=True
    )
    network: nn.Module = timm.create_model("tf_efficientnet_lite0", num_classes=_CLASSES)
    optimiser = torch.optim.Adam(network.parameters(), lr=5e-5)
    batches = _for_ever(loader)

    def train(steps: int) -> None:
        for _ in range(steps):
            pixels_B3SS, labels_B = next(batches)
            loss = functional.cross_entropy(network(pixels_B3SS), labels_B)
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()

    return train


LOOPS: dict[str, Callable[[str], Steps]] = {
    "ours": ours,
    "synthetic": synthetic,
    "teacher": teacher_at_every_step,
    "plain": plain,
}


class _Pictures(Dataset[tuple[Tensor, int]]):
    """Random images in memory, augmented one at a time."""

    def __init__(self) -> None:
        self._pixels = _data().pixels[:, 0]
        self._augment: Callable[[Any], Any] = transforms.Compose(
            [
                transforms.RandomResizedCrop(SIZE, scale=(0.7, 1.0)),
                transforms.RandomHorizontalFlip(),
                transforms.ColorJitter(0.3, 0.3, 0.3, 0.3),
                transforms.RandomGrayscale(),
                transforms.ToTensor(),
                transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
            ]
        )

    def __len__(self) -> int:
        return len(self._pixels)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return self._augment(Image.fromarray(self._pixels[row])), row % _CLASSES


def _for_ever(loader: DataLoader[tuple[Tensor, int]]) -> Iterator[Any]:
    while True:
        yield from loader


def _data() -> TrainingData:
    source = np.random.default_rng(0)
    images_NKD = source.normal(size=(_IMAGES, _VIEWS, _DIM)).astype(np.float32)
    text_CD = source.normal(size=(_CLASSES, _DIM)).astype(np.float32)
    return TrainingData(
        pixels=source.integers(0, 256, (_IMAGES, _VIEWS, SIZE, SIZE, 3), dtype=np.uint8),
        labels=np.arange(_IMAGES) % _CLASSES,
        domains=np.arange(_IMAGES) % DOMAINS,
        image_embeddings=images_NKD / np.linalg.norm(images_NKD, axis=-1, keepdims=True),
        bought=np.ones((_IMAGES, _VIEWS), dtype=bool),
        text_embeddings=text_CD / np.linalg.norm(text_CD, axis=-1, keepdims=True),
    )


def _last_stage(method: str) -> tuple[Student, StageWork]:
    """A student from ImageNet weights, and the work of the stage that trains its backbone."""
    never = 10**9
    data = _data()
    task = TrainingTask(
        method=METHODS[method],
        data=data,
        validation=LabelledImages(
            name="validation", pixels=data.pixels[:2, 0], labels=data.labels[:2]
        ),
        options=TrainingOptions(
            steps=never, eval_every=never, batch_per_domain=PER_DOMAIN, device="cpu"
        ),
        seed=0,
        num_classes=_CLASSES,
    ).ready()
    student = make_student(task, pretrained=True)
    return student, StageBuilder(task, student).work(len(task.stages) - 1)


def _by_fit(student: Student, work: StageWork) -> Steps:
    state = StageState(valley=LossValley())
    work = replace(work, validate=lambda: Score(accuracy=0.0, loss=0.0))

    def train(steps: int) -> None:
        timed = replace(work, stage=replace(work.stage, steps=state.step + steps))
        fit(timed, student, state=state, report=silent, save=lambda _: None)

    return train
