"""Which methods train which networks; impossible options are refused before any request."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from student.acquisition.features import frozen_features
from student.cli import main
from student.errors import BadInput
from student.models.saved import load_student, save_student
from student.models.student import Student
from student.options import TrainingOptions
from student.training.dataset import LabelledImages, TrainingData
from student.training.methods import METHODS
from student.training.preflight import check_students
from student.training.student_factory import (
    check_space,
    foreign_weights,
    make_student,
)
from student.training.task import TrainingTask
from student.training.train import Trained, starting_backbone, train
from tests.support.pictures import write_domains
from tests.support.tiny_clip import DIM, SIZE, TinyClip, write_clip

CLASSES = 2
NOWHERE = (
    "http://127.0.0.1:9"  # a request there would fail with another error than the expected error
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def clip(tmp_path: Path) -> TinyClip:
    return write_clip(tmp_path / "clip")


@pytest.fixture
def settings(clip: TinyClip) -> TrainingOptions:
    return TrainingOptions(
        backbone=clip.backbone,
        weights=clip.weights,
        steps=4,
        align_steps=2,
        lr=1e-2,
        batch_per_domain=4,
        eval_every=2,
        device="cpu",
        threads=1,
    )


@pytest.fixture
def data() -> TrainingData:
    source = np.random.default_rng(0)
    image = source.normal(size=(8, 1, DIM)).astype(np.float32)
    return TrainingData(
        pixels=source.integers(0, 256, (8, 1, SIZE, SIZE, 3), dtype=np.uint8),
        labels=np.arange(8) % CLASSES,
        domains=np.zeros(8, dtype=np.int64),
        image_embeddings=image / np.linalg.norm(image, axis=-1, keepdims=True),
        bought=np.ones((8, 1), dtype=bool),
        text_embeddings=np.eye(CLASSES, DIM, dtype=np.float32),
    )


def _train(name: str, data: TrainingData, settings: TrainingOptions) -> Trained:
    return train(_task(name, data, settings))


def _task(name: str, data: TrainingData, settings: TrainingOptions) -> TrainingTask:
    return TrainingTask(
        method=METHODS[name],
        data=data,
        validation=LabelledImages(name="v", pixels=data.pixels[:, 0], labels=data.labels),
        options=settings,
        seed=0,
        num_classes=CLASSES,
    )


def _logits(student: Student, data: TrainingData) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = student(torch.tensor(data.pixels[:, 0]))
    return logits


@pytest.mark.parametrize("name", ["vl2v-sd", "clip-ft", "erm", "lp-ft", "kd"])
def test_the_tower_is_trained_without_a_projection(
    name: str, data: TrainingData, settings: TrainingOptions
) -> None:
    check_students([(METHODS[name], settings)], image_size=SIZE)
    trained = _train(name, data, settings.changed(averaging="none")).student
    start = starting_backbone(_task(name, data, settings))
    held = trained.state_dict()
    assert any(not torch.equal(held[key], tensor) for key, tensor in start.items())
    assert not any("projection" in key for key in held)


@pytest.mark.parametrize("name", ["vl2v-sd", "clip-ft"])
def test_at_wise_ft_zero_the_student_is_the_zero_shot_clip(
    name: str, data: TrainingData, settings: TrainingOptions
) -> None:
    untrained = make_student(_task(name, data, settings), pretrained=True).eval()
    zero, half, whole = (
        _train(name, data, settings.changed(wise_ft=share)).student for share in (0.0, 0.5, 1.0)
    )
    assert torch.equal(_logits(zero, data), _logits(untrained, data))
    first, last = untrained.state_dict(), whole.state_dict()
    for key, tensor in half.state_dict().items():
        assert torch.equal(tensor, 0.5 * first[key] + 0.5 * last[key])
    assert not torch.equal(_logits(half, data), _logits(whole, data))


def test_a_saved_student_no_longer_needs_the_teachers_folder(
    data: TrainingData, settings: TrainingOptions, clip: TinyClip, tmp_path: Path
) -> None:
    trained = _train("vl2v-sd", data, settings).student
    folder = tmp_path / "student"
    save_student(trained, folder, {})
    Path(clip.weights).parent.rename(tmp_path / "elsewhere")
    loaded, _ = load_student(folder)
    assert torch.equal(_logits(loaded, data), _logits(trained, data))
    assert loaded.architecture.backbone == settings.backbone


def test_a_timm_student_is_created_and_loaded_as_before(
    data: TrainingData, settings: TrainingOptions, tmp_path: Path
) -> None:
    timm = settings.changed(backbone="test_efficientnet", weights="none")
    trained = _train("vl2v-adip", data, timm).student
    save_student(trained, tmp_path / "student", {})
    loaded, _ = load_student(tmp_path / "student")
    assert torch.equal(_logits(loaded, data), _logits(trained, data))


def test_a_selector_reads_the_features_of_the_tower(
    settings: TrainingOptions, tmp_path: Path
) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8)
    digests = [f"{number:064x}" for number in range(3)]
    found = frozen_features(digests, pictures, settings, seed=0, folder=tmp_path / "features")
    assert found.shape == (3, DIM)


def test_a_tower_of_another_space_than_the_vendors_is_refused(settings: TrainingOptions) -> None:
    check_space(METHODS["vl2v-sd"], settings.backbone, DIM)
    check_space(METHODS["erm"], settings.backbone, 512)  # it reads no embedding
    with pytest.raises(BadInput, match="gives 8 numbers an image and the vendor's model 512"):
        check_space(METHODS["vl2v-sd"], settings.backbone, 512)


def test_weights_other_than_the_vendors_own_file_give_a_warning(
    settings: TrainingOptions,
) -> None:
    sold = hashlib.sha256(Path(settings.weights).read_bytes()).hexdigest()
    assert foreign_weights(settings, sold) == ""
    assert foreign_weights(settings.changed(weights="none"), "0" * 64) == ""
    assert foreign_weights(settings.changed(backbone="resnet18"), "0" * 64) == ""
    warning = foreign_weights(settings, "0" * 64)
    assert sold[:12] in warning
    assert "another model than that whose embeddings are bought" in warning


def test_weights_that_are_loaded_at_once_give_no_warning(
    data: TrainingData, settings: TrainingOptions, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.clear()  # the tiny CLIP itself was made with a warning
    trained = _train("vl2v-sd", data, settings).student
    save_student(trained, tmp_path / "student", {})
    load_student(tmp_path / "student")
    assert caplog.records == []


def _refusal(clip: TinyClip, tmp_path: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    """The error of the command line, without a request to the vendor or a new cache."""
    code = main(
        [
            *("--budget", "100", "--data", str(write_domains(tmp_path / "pets"))),
            *(
                "--vendor",
                NOWHERE,
                "--cache",
                str(tmp_path / "cache"),
                "--out",
                str(tmp_path / "o"),
            ),
            *("--backbone", clip.backbone, "--weights", clip.weights),
            *("--image-size", str(SIZE), *more),
        ]
    )
    printed = capsys.readouterr()
    assert (code, printed.out) == (2, "")
    assert not (tmp_path / "cache").exists()
    assert printed.err.startswith("error: ")
    return printed.err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            ("--method", "vl2v-sd", "--backbone", "tf_efficientnet_lite0"),
            "vl2v-sd trains the teacher's own image tower, and tf_efficientnet_lite0 is not a tower"
            ": name it with --backbone open_clip:ARCHITECTURE",
        ),
        (
            ("--method", "vl2v-adip-1q"),
            "is there already: use --method vl2v-sd or clip-ft, or a timm",
        ),
        (("--method", "vl2v-sd", "--weights", "wheel"), "name it with --weights FILE"),
        (("--method", "vl2v-sd", "--weights", "/nowhere.pt"), "no weights file /nowhere.pt"),
        (
            ("--method", "clip-ft", "--backbone", "open_clip:ViT-nowhere"),
            "not the name of a CLIP model",
        ),
        (("--method", "vl2v", "--compare"), "method: Input should be 'vl2v-adip', "),
    ],
)
def test_impossible_options_are_refused_before_any_request_is_sent(
    clip: TinyClip,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    more: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.setenv("TEACHER_API_KEY", "sk_x")
    assert said in _refusal(clip, tmp_path, capsys, *more)


def test_a_misspelt_tower_name_is_refused_with_the_list_of_names(
    clip: TinyClip,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TEACHER_API_KEY", "sk_x")
    assert "'vl2v-sd', 'clip-ft'" in _refusal(clip, tmp_path, capsys, "--method", "vl2v")


def test_without_the_extra_the_error_names_what_to_install(
    clip: TinyClip,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TEACHER_API_KEY", "sk_x")
    monkeypatch.setitem(sys.modules, "open_clip", None)  # Python's convention for: not installed
    message = _refusal(clip, tmp_path, capsys, "--method", "vl2v-sd")
    assert "open_clip, which is not installed: pip install '.[whitebox]' in a clone" in message
