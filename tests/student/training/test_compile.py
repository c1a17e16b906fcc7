"""`--compile`: torch.compile changes how a backbone computes, and nothing else about a student."""

from __future__ import annotations

import importlib

import pytest
import torch

from student.errors import BadInput
from student.options import TrainingOptions
from student.training.dataset import LabelledImages, TrainingData
from student.training.methods import METHODS
from student.training.preflight import check_students
from student.training.train import train
from tests.support.training_tasks import task_of

TRAIN = importlib.import_module("student.training.train")  # its name is also a function's


@pytest.fixture(autouse=True)
def forgetful() -> None:
    torch.compiler.reset()


def test_a_compiled_backbone_trains_the_same_student(
    data: TrainingData,
    validation: LabelledImages,
    settings: TrainingOptions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # This backend runs what was captured as it is: no C++ compiler is needed, and sums are equal.
    monkeypatch.setattr(TRAIN, "COMPILER", "eager")
    graphs_before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    compiled = train(task_of("vl2v-adip", data, validation, settings.changed(compile=True)))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > graphs_before
    plain = train(task_of("vl2v-adip", data, validation, settings))
    expected = plain.student.state_dict()
    found = compiled.student.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.allclose(found[name], expected[name], atol=1e-6) for name in expected)


def test_a_compiler_that_does_not_work_is_refused_before_anything_is_bought(
    settings: TrainingOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TRAIN, "COMPILER", "no_such_compiler")
    asked = [(METHODS["erm"], settings.changed(compile=True))]
    with pytest.raises(BadInput, match=r"with --device cpu --compile: .*no_such_compiler"):
        check_students(asked, image_size=16)


def test_it_makes_another_run() -> None:
    assert "compile" in TrainingOptions.identifying()
