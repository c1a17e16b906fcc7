"""Everything that affects the trained student affects the run digest of its checkpoint."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from student.options import TrainingOptions
from student.training.dataset import LabelledImages, TrainingData
from student.training.methods import METHODS
from student.training.run_digest import run_digest
from student.training.task import TrainingTask
from tests.support.shaded_images import make_data
from tests.support.training_tasks import task_of

CHANGED = ("pixels", "image_embeddings", "labels", "bought", "text_embeddings")


def _digest(
    data: TrainingData, validation: LabelledImages, settings: TrainingOptions, name: str = "erm"
) -> str:
    return run_digest(task_of(name, data, validation, settings))


def test_a_changed_file_under_the_same_name_is_another_run(
    data: TrainingData, validation: LabelledImages, settings: TrainingOptions, tmp_path: Path
) -> None:
    weights = tmp_path / "weights.safetensors"
    named = settings.changed(weights=str(weights))
    weights.write_bytes(b"one")
    before = _digest(data, validation, named)
    weights.write_bytes(b"two")
    assert _digest(data, validation, named) != before
    weights.write_bytes(b"one")
    assert _digest(data, validation, named) == before


def test_another_version_of_torch_makes_another_run(
    data: TrainingData,
    validation: LabelledImages,
    settings: TrainingOptions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = _digest(data, validation, settings)
    monkeypatch.setattr(torch, "__version__", "0.1")
    assert _digest(data, validation, settings) != before


@pytest.mark.parametrize("name", CHANGED)
def test_changing_a_single_number_in_the_data_makes_another_run(
    name: str, validation: LabelledImages, settings: TrainingOptions
) -> None:
    data = make_data(views=2)
    table = np.array(getattr(data, name))
    row = len(table) // 2
    table[row] = ~table[row] if table.dtype == bool else table[row] + 1
    changed = replace(data, **{name: table})
    assert _digest(changed, validation, settings) != _digest(data, validation, settings)


def test_rows_beyond_the_first_chunk_count(
    data: TrainingData, validation: LabelledImages, settings: TrainingOptions
) -> None:
    pixels = np.zeros((5000, 1, 1, 3), np.uint8)
    many = replace(validation, pixels=pixels, labels=np.zeros(5000, np.int64))
    before = _digest(data, many, settings)
    pixels[4999] = 1
    assert _digest(data, many, settings) != before


STORED = json.loads(
    (Path(__file__).parents[2] / "fixtures/version_0_1/run_digests.json").read_text()
)
SHOWN = {
    "clean_prob": 0.2,
    "line_drawing_prob": 0.1,
    "mean_target_prob": 0.3,
    "text_targets": True,
    "wise_ft": 0.5,
}
KEPT: dict[str, tuple[str, dict[str, Any], set[str]]] = {
    "erm": ("erm", {}, set()),
    "vl2v-adip": ("vl2v-adip", SHOWN, set()),
    "ours": ("vl2v-adip-1q", {}, set()),
    "ours, exact 0": ("vl2v-adip-1q", {}, {"clean_prob"}),
}


@pytest.mark.parametrize("name", KEPT)
def test_a_checkpoint_of_version_0_1_still_belongs_to_the_same_run(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "__version__", "2.0.0")
    data = TrainingData(
        pixels=np.arange(192, dtype=np.uint8).reshape(2, 2, 4, 4, 3),
        labels=np.array([0, 1]),
        domains=np.array([0, 1]),
        image_embeddings=np.arange(12, dtype=np.float32).reshape(2, 2, 3),
        bought=np.array([[True, True], [True, False]]),
        text_embeddings=np.eye(2, 3, dtype=np.float32),
    )
    images = LabelledImages(
        name="validation", pixels=np.zeros((1, 4, 4, 3), np.uint8), labels=np.array([1])
    )
    method, changed, yielded = KEPT[name]
    settings = TrainingOptions(
        backbone="test_efficientnet",
        weights="none",
        steps=7,
        lr=1e-3,
        schedule="one-cycle",
        device="cpu",
        threads=1,
        **changed,
    )
    trained = METHODS[method].yielding(yielded)
    task = TrainingTask(
        method=trained,
        data=data,
        validation=images,
        options=trained.settings_for(settings),
        seed=3,
        num_classes=2,
    )
    assert run_digest(task) == STORED[name]
