from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from student.options import TrainingOptions
from student.training.dataset import LabelledImages, TrainingData
from tests.support.shaded_images import make_data


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def data() -> TrainingData:
    return make_data()


@pytest.fixture
def validation() -> LabelledImages:
    other = make_data(seed=1)
    return LabelledImages(name="validation", pixels=other.pixels[:, 0], labels=other.labels)


@pytest.fixture
def settings() -> TrainingOptions:
    return TrainingOptions(
        backbone="test_efficientnet",
        weights="none",
        steps=6,
        align_steps=6,
        lr=1e-3,
        align_lr=1e-2,
        batch_per_domain=4,
        eval_every=2,
        device="cpu",
        threads=1,
    )
