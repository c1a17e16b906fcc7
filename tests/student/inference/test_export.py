"""Exported students compute what the student computes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from student.cli import main
from student.data.views import open_rgb
from student.errors import BadInput, TrainingError
from student.inference import export as exporting
from student.inference.export import export
from student.inference.trained_student import load
from tests.support.pictures import write_picture
from tests.support.saved_student import saved_student
from tests.support.shaded_images import DIM, SIZE

META = {"calibration": {"temperature": 3.0}, "method": "vl2v-adip"}


def pixels_of(tmp_path: Path, count: int) -> list[Path]:
    paths = [tmp_path / f"{number}.png" for number in range(count)]
    for number, path in enumerate(paths):
        write_picture(path, number)
    return paths


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("backbone", ["test_vit", "test_resnet"])
def test_onnx_runtime_computes_confidences_and_embeddings_from_pixels(
    tmp_path: Path, backbone: str, count: int
) -> None:
    import onnxruntime

    trained = load(saved_student(tmp_path / "student", META, backbone=backbone))
    assert export(trained, "onnx", tmp_path / "s.onnx") <= 1e-4
    session = onnxruntime.InferenceSession(tmp_path / "s.onnx", providers=["CPUExecutionProvider"])
    pixels = trained.pixels(pixels_of(tmp_path, count))
    confidences, embedding = session.run(["confidences", "embedding"], {"pixels": pixels})
    assert np.abs(confidences - trained.class_shares(pixels)).max() <= 1e-4
    assert np.abs(embedding - trained.embeddings_of(pixels)).max() <= 1e-4
    described = session.get_modelmeta().custom_metadata_map
    assert json.loads(described["classes"]) == ["a", "b", "c"]
    prepared = json.loads(described["preprocessing"])
    assert prepared["image_size"] == SIZE
    assert prepared["resize"] == "squash"


def test_torch_export_gives_the_same_outputs(tmp_path: Path) -> None:
    trained = load(saved_student(tmp_path / "student", META))
    assert export(trained, "torch", tmp_path / "s.pt2") <= 1e-4
    described = {"description.json": ""}
    computed: Any = torch.export.load(tmp_path / "s.pt2", extra_files=described).module()
    pixels = trained.pixels(pixels_of(tmp_path, 4))
    confidences, embedding = computed(torch.from_numpy(pixels))
    assert np.abs(confidences.detach().numpy() - trained.class_shares(pixels)).max() <= 1e-4
    assert np.abs(embedding.detach().numpy() - trained.embeddings_of(pixels)).max() <= 1e-4
    assert json.loads(described["description.json"])["classes"] == ["a", "b", "c"]


def test_a_student_with_a_class_head_is_exported_without_an_embedding(tmp_path: Path) -> None:
    trained = load(saved_student(tmp_path / "student", META, head="class"))
    export(trained, "torch", tmp_path / "s.pt2")
    computed: Any = torch.export.load(tmp_path / "s.pt2").module()
    assert len(computed(torch.zeros(1, SIZE, SIZE, 3, dtype=torch.uint8))) == 1


@pytest.mark.parametrize("backbone", ["test_vit", "test_resnet", "test_efficientnet"])
def test_timm_loads_the_folder_and_prepares_images_as_the_student_does(
    tmp_path: Path, backbone: str
) -> None:
    import timm
    from safetensors.torch import load_file
    from timm.data.config import resolve_model_data_config
    from timm.data.transforms_factory import create_transform

    trained = load(saved_student(tmp_path / "student", META, backbone=backbone))
    folder = tmp_path / "timm"
    assert export(trained, "timm", folder) <= 1e-4
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    resolve: Any = resolve_model_data_config  # has no types
    prepare: Any = create_transform(**resolve(model))
    paths = pixels_of(tmp_path, 3)
    batch = torch.stack([prepare(open_rgb(path)) for path in paths])
    with torch.no_grad():
        unit = torch.nn.functional.normalize(model(batch), dim=1)
    assert unit.shape == (3, DIM)
    assert np.abs(unit.numpy() - trained.embed(paths)).max() <= 1e-4
    texts = load_file(folder / "class_embeddings.safetensors")["class_embeddings"]
    best = [trained.classes[int(place)] for place in (unit @ texts.T).argmax(dim=1)]
    assert best == [prediction.classes[0] for prediction in trained.predict(paths)]


def test_an_export_that_computes_something_else_is_refused_and_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = load(saved_student(tmp_path / "student", META))
    monkeypatch.setattr(exporting, "_differences", lambda *_: iter([2e-4]))
    with pytest.raises(TrainingError, match=r"differs from the student by 2\.0e-04"):
        export(trained, "torch", tmp_path / "s.pt2")
    assert not (tmp_path / "s.pt2").exists()


def test_the_command_says_how_near_the_outputs_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    student, out = str(saved_student(tmp_path / "student", META)), tmp_path / "new" / "s.pt2"
    assert main(["export", "--format", "torch", "--student", student, "--out", str(out)]) == 0
    assert capsys.readouterr().out.startswith(f"wrote {out}; its outputs are the student's within ")


def test_a_name_with_another_ending_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "--out", str(tmp_path / "s.pb")]) == 2
    assert "ends in .onnx" in capsys.readouterr().err


def test_without_its_packages_onnx_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match="needs onnx, onnxscript, onnxruntime: pip install"):
        exporting.require_exporter("onnx")
