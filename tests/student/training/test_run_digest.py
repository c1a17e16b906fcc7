"""A checkpoint is of one run: whatever decides a student decides the digest."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from student.training.config import TrainingSettings
from student.training.dataset import LabelledImages, TrainingData
from student.training.methods import METHODS
from student.training.run_digest import run_digest
from tests.support.shaded_images import CLASSES, make_data

CHANGED = ("pixels", "image_embeddings", "labels", "bought", "text_embeddings")


def _digest(
    data: TrainingData, validation: LabelledImages, settings: TrainingSettings, name: str = "erm"
) -> str:
    return run_digest(METHODS[name], data, validation, settings, CLASSES)


def test_another_file_under_the_same_name_is_another_run(
    data: TrainingData, validation: LabelledImages, settings: TrainingSettings, tmp_path: Path
) -> None:
    weights = tmp_path / "weights.safetensors"
    named = replace(settings, weights=str(weights))
    weights.write_bytes(b"one")
    before = _digest(data, validation, named)
    weights.write_bytes(b"two")
    assert _digest(data, validation, named) != before
    weights.write_bytes(b"one")
    assert _digest(data, validation, named) == before


@pytest.mark.parametrize("name", CHANGED)
def test_one_number_anywhere_in_the_data_is_another_run(
    name: str, validation: LabelledImages, settings: TrainingSettings
) -> None:
    data = make_data(views=2)
    table = np.array(getattr(data, name))
    row = len(table) // 2
    table[row] = ~table[row] if table.dtype == bool else table[row] + 1
    changed = replace(data, **{name: table})
    assert _digest(changed, validation, settings) != _digest(data, validation, settings)


def test_rows_beyond_the_first_reading_count(
    data: TrainingData, validation: LabelledImages, settings: TrainingSettings
) -> None:
    pixels = np.zeros((5000, 1, 1, 3), np.uint8)
    many = replace(validation, pixels=pixels, labels=np.zeros(5000, np.int64))
    before = _digest(data, many, settings)
    pixels[4999] = 1
    assert _digest(data, many, settings) != before
