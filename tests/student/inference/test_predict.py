"""The confidence of a prediction, with and without a temperature in meta.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from student.commands.predict import main
from student.data.views import open_rgb, render
from student.errors import BadInput
from student.inference.predict import predict_images
from student.models.saved import load_student
from student.training.metrics import logits_of
from tests.support.pictures import write_picture
from tests.support.saved_student import saved_student
from tests.support.shaded_images import SIZE

HEADS = ("class", "text", "embedding", "joint")


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
    folder = saved_student(tmp_path / "new", {"calibration": {"temperature": 5.0}}, head=head)
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
    old = list(predict_images(images, saved_student(tmp_path / "old", meta)))
    at_one = saved_student(tmp_path / "one", {"calibration": {"temperature": 1.0}})
    assert [(one.class_name, one.confidence, True) for one in old] == [
        (one.class_name, one.confidence, one.is_calibrated)
        for one in predict_images(images, at_one)
    ]
    assert not any(one.is_calibrated for one in old)


def test_predict_says_once_that_a_confidence_is_not_calibrated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = [str(path) for path in pictures(tmp_path)]
    assert main(["--json", "--student", str(saved_student(tmp_path / "old", {})), *images]) == 0
    output = capsys.readouterr()
    assert output.err.count("not calibrated") == 1
    lines = [json.loads(line) for line in output.out.splitlines()]
    assert [line["calibrated"] for line in lines] == [False] * 3


def test_predict_says_nothing_of_a_calibrated_student(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = saved_student(tmp_path / "new", {"calibration": {"temperature": 2.0}})
    assert main(["--student", str(folder), *map(str, pictures(tmp_path))]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("temperature", [0, -1.0, float("nan"), float("inf"), "warm", [2.0]])
def test_a_temperature_that_is_not_a_positive_number_is_refused(
    tmp_path: Path, temperature: object
) -> None:
    folder = saved_student(tmp_path / "bad", {"calibration": {"temperature": temperature}})
    with pytest.raises(BadInput, match="a temperature is a positive number"):
        next(predict_images(pictures(tmp_path), folder))


def test_a_calibration_that_is_not_an_object_is_refused(tmp_path: Path) -> None:
    folder = saved_student(tmp_path / "bad", {"calibration": 3})
    with pytest.raises(BadInput, match="a temperature is a positive number"):
        next(predict_images(pictures(tmp_path), folder))


def test_a_line_of_text_has_the_three_likeliest_classes_and_json_has_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = saved_student(tmp_path / "new", {"calibration": {"temperature": 9.0}})
    image = str(pictures(tmp_path)[0])
    assert main(["--student", str(folder), image]) == 0
    fields = capsys.readouterr().out.rstrip("\n").split("\t")
    assert fields[0] == image
    assert set(fields[1::2]) == {"a", "b", "c"}
    assert main(["--json", "--student", str(folder), image]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert list(answer["classes"]) == fields[1::2]
    assert answer["class"] == fields[1]
    assert sum(answer["classes"].values()) == pytest.approx(1.0, abs=2e-4)


def test_below_the_confidence_of_abstain_the_answer_is_unsure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = saved_student(tmp_path / "new", {"calibration": {"temperature": 9.0}})
    image = str(pictures(tmp_path)[0])
    (prediction,) = predict_images([Path(image)], folder)
    for abstain, is_unsure in ((prediction.confidence, False), (1.0, True)):
        asked = ["--student", str(folder), "--abstain", repr(abstain), image]
        assert main(asked) == 0
        fields = capsys.readouterr().out.rstrip("\n").split("\t")
        assert fields[1] == ("unsure" if is_unsure else prediction.class_name)
        assert fields[2] == f"{prediction.confidence:.1%}"
        assert set(fields[3 if is_unsure else 1 :: 2]) == {"a", "b", "c"}
        assert main(["--json", *asked]) == 0
        assert json.loads(capsys.readouterr().out)["unsure"] is is_unsure


@pytest.mark.parametrize("confidence", ["80", "-0.1", "nan", "high"])
def test_a_confidence_to_abstain_at_is_a_number_from_0_to_1(confidence: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([f"--abstain={confidence}", "image.png"])
