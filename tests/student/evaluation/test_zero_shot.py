"""The teacher's own accuracy on the bought images is found out before any training."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from student.console import Terminal
from student.embeddings.zero_shot import correct
from student.evaluation import before_training
from student.evaluation.before_training import say_teacher_accuracy, teacher_sentence
from student.evaluation.results import AccuracyCount
from student.options import Options


def test_an_image_counts_as_right_if_the_text_of_its_label_is_the_nearest() -> None:
    texts = np.eye(2, 3, dtype=np.float32)
    images = np.array([[0.9, 0.1, 0], [0.4, 0.6, 0], [0.7, 0.2, 0]], dtype=np.float32)
    assert correct(images, texts, np.array([0, 1, 1])) == 2


def test_the_sentence_has_the_accuracy_and_its_interval() -> None:
    text = teacher_sentence(AccuracyCount(correct=90, images=100))
    assert "90.0% of the 100 bought images" in text
    assert "95% interval 82.6% to 94.5%" in text


@pytest.mark.parametrize(
    ("right", "method", "warned"),
    [
        (20, "vl2v-adip", True),
        (80, "vl2v-adip", False),
        (48, "vl2v-adip", False),
        (20, "vl2v-adip-joint", True),
        (20, "erm", False),  # which is not taught by it
    ],
)
def test_a_teacher_that_is_surely_wrong_on_half_of_the_images_is_warned_of(
    right: int, method: str, warned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = AccuracyCount(correct=right, images=100)
    monkeypatch.setattr(before_training, "teacher_accuracy", lambda *_: teacher)
    written = StringIO()
    terminal = Terminal(Console(file=written, width=400))
    unused: object = Path()
    options = Options.of({"method": method})
    found = say_teacher_accuracy(
        unused,  # type: ignore[arg-type]
        unused,  # type: ignore[arg-type]
        unused,  # type: ignore[arg-type]
        options,
        terminal,
        num_wrong=1_234 if method == "vl2v-adip-joint" else 0,
    )
    assert found == teacher
    assert ("compare with --method erm" in written.getvalue()) == warned
    left_out = "1,234 of the bought embeddings are nearer to the text of another class"
    assert (left_out in written.getvalue()) == (method == "vl2v-adip-joint")
