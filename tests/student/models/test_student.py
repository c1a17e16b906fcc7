from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from student.errors import BadInput
from student.models.architecture import HeadKind
from student.models.heads import ClassHead, EmbeddingHead, TextHead
from student.models.saved import load_student, save_student
from student.models.student import NewHead, Student, count_features, new_student
from student.training.metrics import num_parameters
from tests.support.shaded_images import CLASSES, DIM, SIZE


def _student(*, texts: bool = True, backbone: str = "test_vit") -> Student:
    torch.manual_seed(0)
    return new_student(
        NewHead(num_classes=CLASSES, text_embeddings=torch.randn(CLASSES, DIM) if texts else None),
        backbone=backbone,
        weights="none",
        image_size=SIZE,
    ).eval()


def _pixels() -> torch.Tensor:
    source = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (4, SIZE, SIZE, 3), generator=source, dtype=torch.uint8)


def test_the_logits_are_a_hundred_cosines_to_the_class_texts() -> None:
    student = _student()
    head = student.head
    assert isinstance(head, EmbeddingHead)
    with torch.no_grad():
        projected = head.project(student.features(_pixels()))
        logits = student(_pixels())
    cosine = torch.nn.functional.cosine_similarity(projected[:, None], head.text_CD[None], dim=-1)
    torch.testing.assert_close(logits, 100 * cosine)


def test_pixels_are_normalised_by_the_weights_mean_and_deviation() -> None:
    """As torchvision's ToTensor and Normalize do, whether they come as uint8 or as float."""
    student = _student(backbone="test_efficientnet")  # whose weights were made with ImageNet's
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    normal = (_pixels().permute(0, 3, 1, 2) / 255 - mean) / std
    with torch.no_grad():
        torch.testing.assert_close(student.features(_pixels()), student.backbone(normal))
        torch.testing.assert_close(student(_pixels()), student(_pixels().float()))


def test_the_projection_is_an_ordinary_linear_layer_with_a_bias() -> None:
    torch.manual_seed(3)
    head = EmbeddingHead(16, torch.eye(CLASSES, DIM))
    torch.manual_seed(3)
    plain = torch.nn.Linear(16, DIM)
    assert torch.equal(head.get_parameter("projection.weight"), plain.weight)
    assert torch.equal(head.get_parameter("projection.bias"), plain.bias)


@pytest.mark.parametrize("texts", [True, False])
@pytest.mark.parametrize("backbone", ["test_vit", "test_efficientnet"])
def test_a_saved_student_predicts_the_same_when_loaded(
    backbone: str, *, texts: bool, tmp_path: Path
) -> None:
    student = _student(texts=texts, backbone=backbone)
    save_student(student, tmp_path / "run", {"classes": ["a", "b", "c"], "seed": 7})
    loaded, meta = load_student(tmp_path / "run")
    with torch.no_grad():
        torch.testing.assert_close(loaded(_pixels()), student(_pixels()), rtol=0, atol=0)
    assert isinstance(loaded.head, EmbeddingHead if texts else ClassHead)
    assert meta["classes"] == ["a", "b", "c"]
    assert meta["seed"] == 7
    assert not loaded.training
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "meta.json",
        "student.safetensors",
    ]


def test_a_folder_without_a_student_or_with_a_changed_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds no student"):
        load_student(tmp_path)
    save_student(_student(), tmp_path, {})
    weights = bytearray((tmp_path / "student.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "student.safetensors").write_bytes(weights)
    with pytest.raises(BadInput, match=r"not the file that meta.json describes"):
        load_student(tmp_path)
    (tmp_path / "meta.json").write_text(json.dumps({"seed": 1}))
    with pytest.raises(BadInput, match="holds no student"):
        load_student(tmp_path)


def test_a_backbone_without_pooled_features_is_refused() -> None:
    class Map(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images

    with pytest.raises(BadInput, match="not a row per image"):
        count_features(Map(), SIZE)


def test_text_embeddings_need_not_be_unit_length() -> None:
    head = EmbeddingHead(4, torch.tensor([[3.0, 4.0]]))
    np.testing.assert_allclose(head.text_CD.numpy(), [[0.6, 0.8]], rtol=1e-6)


def _text_student() -> Student:
    torch.manual_seed(0)
    return new_student(
        NewHead(num_classes=CLASSES, text_embeddings=torch.randn(CLASSES, DIM), kind="text"),
        backbone="test_vit",
        weights="none",
        image_size=SIZE,
    ).eval()


def test_a_student_with_a_text_head_keeps_its_classifier_and_not_the_texts(tmp_path: Path) -> None:
    student = _text_student()
    save_student(student, tmp_path, {})
    loaded, _ = load_student(tmp_path)
    assert isinstance(loaded.head, TextHead)
    assert "head.text_CD" not in student.state_dict()
    assert num_parameters(student) == sum(p.numel() for p in student.parameters())
    with torch.no_grad():
        assert torch.equal(loaded(_pixels()), student(_pixels()))


def test_a_learned_scale_is_saved_with_the_student(tmp_path: Path) -> None:
    torch.manual_seed(0)
    student = new_student(
        NewHead(num_classes=CLASSES, text_embeddings=torch.randn(CLASSES, DIM), learns_scale=True),
        backbone="test_vit",
        weights="none",
        image_size=SIZE,
    ).eval()
    student.get_parameter("head.log_scale").data.fill_(2.0)
    save_student(student, tmp_path, {})
    loaded, _ = load_student(tmp_path)
    with torch.no_grad():
        assert torch.equal(loaded(_pixels()), student(_pixels()))


def test_a_student_saved_before_scales_could_differ_is_still_read(tmp_path: Path) -> None:
    student = _student()
    save_student(student, tmp_path, {})
    meta = json.loads((tmp_path / "meta.json").read_text())
    del meta["architecture"]["logit_scale"], meta["architecture"]["learns_scale"]
    (tmp_path / "meta.json").write_text(json.dumps(meta))
    loaded, _ = load_student(tmp_path)
    with torch.no_grad():
        assert torch.equal(loaded(_pixels()), student(_pixels()))


def test_a_head_that_does_not_fit_the_network_is_refused() -> None:
    def make(head: HeadKind, texts: torch.Tensor | None) -> Student:
        return new_student(
            NewHead(num_classes=CLASSES, text_embeddings=texts, kind=head),
            backbone="test_vit",
            weights="none",
            image_size=SIZE,
        )

    with pytest.raises(BadInput, match="needs text embeddings"):
        make("text", None)
    with pytest.raises(BadInput, match="the two numbers must be equal"):
        make("identity", torch.eye(CLASSES, DIM))
    assert isinstance(make("class", torch.eye(CLASSES, DIM)).head, ClassHead)
