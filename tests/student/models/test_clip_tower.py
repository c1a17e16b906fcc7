from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn import functional

from student.errors import BadInput
from student.models.clip_tower import PREFIX, load_tower
from student.models.heads import EmbeddingHead
from student.models.saved import load_student, save_student
from student.models.student import Student
from student.options import TrainingOptions
from student.training.dataset import LabelledImages, TrainingData
from student.training.methods import METHODS, Method
from student.training.student_factory import make_student
from student.training.task import TrainingTask
from student.training.train import starting_backbone, train
from teacher_server.inference.encoder import load_encoder

MODEL = Path(__file__).resolve().parents[3] / "teacher_server" / "embedded"
WEIGHTS = MODEL / "open_clip_model.safetensors"
SIZE, DIM, CLASSES = 64, 256, 2
VL2V_SD = METHODS["vl2v-sd"]
SETTINGS = TrainingOptions(
    backbone=f"{PREFIX}local-dir:{MODEL}",
    weights=str(WEIGHTS),
    steps=2,
    lr=1e-4,
    batch_per_domain=2,
    eval_every=1,
    device="cpu",
    threads=1,
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def data() -> TrainingData:
    source = np.random.default_rng(0)
    image = source.normal(size=(4, 1, DIM)).astype(np.float32)
    return TrainingData(
        pixels=source.integers(0, 256, (4, 1, SIZE, SIZE, 3), dtype=np.uint8),
        labels=np.arange(4) % CLASSES,
        domains=np.zeros(4, dtype=np.int64),
        image_embeddings=image / np.linalg.norm(image, axis=-1, keepdims=True),
        bought=np.ones((4, 1), dtype=bool),
        text_embeddings=np.eye(CLASSES, DIM, dtype=np.float32),
    )


def _student(data: TrainingData, settings: TrainingOptions = SETTINGS) -> Student:
    return make_student(_task(data, settings), pretrained=True).eval()


def _task(
    data: TrainingData, settings: TrainingOptions = SETTINGS, method: Method = VL2V_SD
) -> TrainingTask:
    return TrainingTask(
        method=method,
        data=data,
        validation=LabelledImages(name="v", pixels=data.pixels[:, 0], labels=data.labels),
        options=settings,
        seed=0,
        num_classes=CLASSES,
    )


@torch.no_grad()
def test_before_training_the_student_gives_the_vendors_embeddings(data: TrainingData) -> None:
    """The same images, through the vendor's own encoder and through the tower."""
    encoder = load_encoder("embedded")
    images = [encoder.prepare_image(Image.fromarray(pixels)) for pixels in data.pixels[:, 0]]
    sold = torch.tensor(np.asarray(encoder.encode(images)))
    student = _student(data)
    own = functional.normalize(student.features(torch.tensor(data.pixels[:, 0])), dim=-1)
    torch.testing.assert_close(own, sold.float(), rtol=0, atol=1e-4)


def test_the_same_loop_trains_the_tower_and_its_weights_are_saved(
    data: TrainingData, tmp_path: Path
) -> None:
    trained = train(_task(data)).student
    assert isinstance(trained.head, EmbeddingHead)
    assert list(trained.head.parameters()) == []
    start = starting_backbone(_task(data))
    held = trained.state_dict()
    assert any(not torch.equal(held[name], tensor) for name, tensor in start.items())
    save_student(trained, tmp_path, {})
    loaded, _ = load_student(tmp_path)
    pixels = torch.tensor(data.pixels[:, 0])
    with torch.no_grad():
        assert torch.equal(loaded(pixels), trained(pixels))


def test_a_model_that_is_not_clip_or_does_not_fit_is_refused(
    data: TrainingData, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match="not the name of a CLIP model"):
        load_tower("tf_efficientnet_lite0", str(WEIGHTS), image_size=SIZE)
    with pytest.raises(BadInput, match="not the name of a CLIP model"):
        _student(data, SETTINGS.changed(backbone=f"{PREFIX}ViT-nowhere"))
    with pytest.raises(BadInput, match="open_clip cannot make local-dir"):
        _student(data, SETTINGS.changed(backbone=f"{PREFIX}local-dir:{tmp_path}"))
    with pytest.raises(BadInput, match="use --method vl2v-sd or clip-ft"):
        make_student(_task(data, method=METHODS["vl2v-adip-1q"]), pretrained=True)
    with pytest.raises(BadInput, match="come from a file of the teacher's, not from 'hub'"):
        _student(data, SETTINGS.changed(weights="hub"))
    tensors = {key: t for key, t in load_file(WEIGHTS).items() if not key.startswith("visual.")}
    save_file(tensors, tmp_path / "text.safetensors")
    with pytest.raises(BadInput, match="it lacks"):
        _student(data, SETTINGS.changed(weights=str(tmp_path / "text.safetensors")))
    other_space = replace(
        data,
        text_embeddings=np.eye(2, 8, dtype=np.float32),
        image_embeddings=np.zeros((4, 1, 8), np.float32),
    )
    with pytest.raises(BadInput, match="the two numbers must be equal"):
        _student(other_space)
