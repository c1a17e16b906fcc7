"""The confidence of a prediction, with and without a temperature in meta.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from student.commands.predict import main
from student.data.views import open_rgb, render
from student.errors import BadInput
from student.evaluation.predict import predict_images
from student.models.saved import load_student, save_student
from student.models.student import NewHead, new_student
from student.training.metrics import logits_of
from tests.support.pictures import write_picture
from tests.support.shaded_images import CLASSES, DIM, SIZE

HEADS = ("class", "text", "embedding")


def saved(folder: Path, meta: dict[str, Any], *, head: Any = "embedding") -> Path:
    """A folder with a student."""
    torch.manual_seed(0)
    student = new_student(
        NewHead(num_classes=CLASSES, text_embeddings=torch.randn(CLASSES, DIM), kind=head),
        backbone="test_vit",
        weights="none",
        image_size=SIZE,
    ).eval()
    save_student(student, folder, {"classes": ["a", "b", "c"], **meta})
    return folder


def pictures(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for number, path in enumerate(paths):
        write_picture(path, number)
    return paths


@pytest.mark.parametrize("head", HEADS)
def test_a_confidence_is_the_softmax_of_the_logits_over_the_temperature(
    tmp_path: Path, head: str
) -> None:
    images = pictures(tmp_path)
    folder = saved(tmp_path / "new", {"calibration": {"temperature": 5.0}}, head=head)
    student, _ = load_student(folder)
    for prediction in predict_images(images, folder):
        pixels = render(open_rgb(prediction.image), "", 0, SIZE)[None]
        powers = np.exp(logits_of(student, pixels).double().numpy()[0] / 5.0)
        assert prediction.confidence == pytest.approx(powers.max() / powers.sum(), rel=1e-6)
        assert prediction.class_name == "abc"[int(powers.argmax())]
        assert prediction.is_calibrated


@pytest.mark.parametrize("meta", [{}, {"calibration": {"temperature": None}}])
def test_a_student_without_a_temperature_predicts_as_before_and_is_not_calibrated(
    tmp_path: Path, meta: dict[str, Any]
) -> None:
    images = pictures(tmp_path)
    old = list(predict_images(images, saved(tmp_path / "old", meta)))
    at_one = saved(tmp_path / "one", {"calibration": {"temperature": 1.0}})
    assert [(one.class_name, one.confidence, True) for one in old] == [
        (one.class_name, one.confidence, one.is_calibrated)
        for one in predict_images(images, at_one)
    ]
    assert not any(one.is_calibrated for one in old)


def test_predict_says_once_that_a_confidence_is_not_calibrated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = [str(path) for path in pictures(tmp_path)]
    assert main(["--json", "--student", str(saved(tmp_path / "old", {})), *images]) == 0
    output = capsys.readouterr()
    assert output.err.count("not calibrated") == 1
    lines = [json.loads(line) for line in output.out.splitlines()]
    assert [line["calibrated"] for line in lines] == [False] * 3


def test_predict_says_nothing_of_a_calibrated_student(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = saved(tmp_path / "new", {"calibration": {"temperature": 2.0}})
    assert main(["--student", str(folder), *map(str, pictures(tmp_path))]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("temperature", [0, -1.0, float("nan"), float("inf"), "warm", [2.0]])
def test_a_temperature_that_is_not_a_positive_number_is_refused(
    tmp_path: Path, temperature: object
) -> None:
    folder = saved(tmp_path / "bad", {"calibration": {"temperature": temperature}})
    with pytest.raises(BadInput, match="a temperature is a positive number"):
        next(predict_images(pictures(tmp_path), folder))


def test_a_calibration_that_is_not_an_object_is_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path / "bad", {"calibration": 3})
    with pytest.raises(BadInput, match="a temperature is a positive number"):
        next(predict_images(pictures(tmp_path), folder))
