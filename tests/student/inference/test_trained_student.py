"""A finished student from Python: it predicts and embeds paths, PIL images and arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from student import load
from student.data.views import open_rgb
from student.errors import BadInput, DataError
from tests.support.pictures import write_picture
from tests.support.saved_student import saved_student


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for number, path in enumerate(paths):
        write_picture(path, number)
    return paths


def test_a_path_a_pil_image_and_an_array_of_the_same_picture_are_the_same_input(
    tmp_path: Path, pictures: list[Path]
) -> None:
    trained = load(saved_student(tmp_path / "student"))
    array = np.asarray(open_rgb(pictures[0]))
    by_path = trained.embed([pictures[0]])
    for same in (str(pictures[0]), Image.open(pictures[0]), array):
        assert np.array_equal(by_path, trained.embed([same]))


def test_embeddings_have_unit_length_and_predict_as_the_student_does(
    tmp_path: Path, pictures: list[Path]
) -> None:
    trained = load(saved_student(tmp_path / "student", {"calibration": {"temperature": 5.0}}))
    embeddings = trained.embed(pictures)
    assert embeddings.dtype == np.float32
    assert embeddings.shape == (3, trained.dim)
    assert np.linalg.norm(embeddings, axis=1) == pytest.approx(np.ones(3), abs=1e-6)
    texts = trained.student.head.state_dict()["text_CD"].numpy()
    shares = torch.softmax(torch.from_numpy(100 * embeddings @ texts.T).double() / 5.0, dim=1)
    for share, prediction in zip(shares, trained.predict(pictures), strict=True):
        found = dict(zip(prediction.classes, prediction.confidences, strict=True))
        assert [found[name] for name in trained.classes] == pytest.approx(share.tolist(), abs=1e-4)
        assert list(prediction.confidences) == sorted(prediction.confidences, reverse=True)
        assert sum(prediction.confidences) == pytest.approx(1.0)


def test_no_images_give_no_rows(tmp_path: Path) -> None:
    trained = load(saved_student(tmp_path / "student"))
    assert trained.embed([]).shape == (0, trained.dim)
    assert trained.predict([]) == []


def test_a_student_with_a_class_head_predicts_and_is_refused_for_embeddings(
    tmp_path: Path, pictures: list[Path]
) -> None:
    trained = load(saved_student(tmp_path / "student", {"method": "erm"}, head="class"))
    assert len(trained.predict(pictures)) == 3
    with pytest.raises(BadInput, match="trained by erm and cannot embed"):
        trained.embed(pictures)


@pytest.mark.parametrize(
    "array", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3))]
)
def test_an_array_that_is_not_8_bit_rgb_is_refused(tmp_path: Path, array: np.ndarray) -> None:
    trained = load(saved_student(tmp_path / "student"))
    with pytest.raises(DataError, match=r"uint8 of the shape \(height, width, 3\)"):
        trained.predict([array])


@pytest.mark.parametrize("head", ["embedding", "joint"])
def test_other_classes_are_predicted_by_the_cosine_to_their_embeddings(
    tmp_path: Path, pictures: list[Path], head: str
) -> None:
    meta = {"calibration": {"temperature": 5.0}}
    trained = load(saved_student(tmp_path / "student", meta, head=head))
    texts = np.random.default_rng(0).normal(size=(2, trained.dim)).astype(np.float32)
    other = trained.with_classes(["zebra", "okapi"], texts)
    assert (trained.is_calibrated, other.is_calibrated) == (True, False)
    unit = texts / np.linalg.norm(texts, axis=1, keepdims=True)
    cosines = trained.embed(pictures) @ unit.T
    best = [("zebra", "okapi")[int(place)] for place in cosines.argmax(axis=1)]
    assert [prediction.classes[0] for prediction in other.predict(pictures)] == best
    assert np.array_equal(other.embed(pictures), trained.embed(pictures))
    assert trained.predict(pictures)[0].classes[0] in "abc"


@pytest.mark.parametrize("head", ["text", "class"])
def test_a_trained_classifier_takes_no_other_classes(tmp_path: Path, head: str) -> None:
    trained = load(saved_student(tmp_path / "student", head=head))
    with pytest.raises(BadInput, match="trained for its own classes"):
        trained.with_classes(["zebra"], np.ones((1, 8), np.float32))


def test_embeddings_of_another_length_are_refused(tmp_path: Path) -> None:
    trained = load(saved_student(tmp_path / "student"))
    with pytest.raises(BadInput, match="need embeddings of the shape"):
        trained.with_classes(["zebra"], np.ones((1, trained.dim + 1), np.float32))
