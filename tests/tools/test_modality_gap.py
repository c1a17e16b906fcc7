"""The modality gap of a real CLIP: measured on embeddings, and added to a teacher's answers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from student.data.folder.image_folder import discover
from teacher_server.inference.encoder import load_encoder
from teacher_server.inference.recorded import RecordedEncoder
from tests.support.pictures import write_domains
from tools.emoji.add_modality_gap import clip_answers, embedded_answers, main, record
from tools.modality_gap import AddedGap, Geometry, Vectors, gap_towards, geometry

CLIP = Geometry(own_text=0.256, images=0.758, texts=0.872, distance=1.105)
GAP = AddedGap(image_scale=0.49, text_scale=0.36, angle=1.4)


@pytest.fixture
def space() -> tuple[Vectors, Vectors, NDArray[np.int64]]:
    """Images near the texts of their classes, as of a small CLIP: cosines of about 0.6."""
    draws = np.random.default_rng(0)
    texts = draws.normal(size=(10, 64))
    labels = np.arange(200) % 10
    images = texts[labels] + 1.3 * draws.normal(size=(200, 64))
    return _unit(images), _unit(texts), labels


def _unit(vectors: NDArray[np.float64]) -> Vectors:
    unit: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


def test_the_geometry_has_the_mean_cosines_of_different_vectors_and_the_distance_of_the_means() -> (
    None
):
    images = np.array([[1, 0, 0], [0, 1, 0], [0, 1, 0]], dtype=np.float32)
    texts = np.array([[1, 0, 0], [0, 0.6, 0.8]], dtype=np.float32)
    found = geometry(images, texts, np.array([0, 1, 1]))
    assert found.own_text == pytest.approx((1 + 0.6 + 0.6) / 3)
    assert found.images == pytest.approx(1 / 3)
    assert found.texts == pytest.approx(0, abs=1e-6)
    means = np.array([1 / 3, 2 / 3, 0]) - np.array([0.5, 0.3, 0.4])
    assert found.distance == pytest.approx(float(np.linalg.norm(means)))


def test_a_gap_changes_no_zero_shot_answer_and_no_length(
    space: tuple[Vectors, Vectors, NDArray[np.int64]],
) -> None:
    images, texts, labels = space
    gap = gap_towards(CLIP, images, texts, labels)
    moved, of_class = gap.to_images(images), gap.to_texts(texts)
    before, after = (images @ texts.T).argsort(axis=1), (moved @ of_class.T).argsort(axis=1)
    assert (after == before).all()
    for vectors in (moved, of_class):
        assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-6)


def test_a_gap_is_found_from_the_geometry_that_it_gives(
    space: tuple[Vectors, Vectors, NDArray[np.int64]],
) -> None:
    images, texts, labels = space
    wanted = geometry(GAP.to_images(images), GAP.to_texts(texts), labels)
    found = gap_towards(wanted, images, texts, labels)
    assert found.image_scale == pytest.approx(GAP.image_scale, abs=0.01)
    assert found.text_scale == pytest.approx(GAP.text_scale, abs=0.01)
    assert found.angle == pytest.approx(GAP.angle, abs=0.01)


def test_a_geometry_is_as_far_from_another_as_its_furthest_figure() -> None:
    assert CLIP.furthest_from(replace(CLIP, texts=0.9, images=0.75)) == pytest.approx(0.028)


def test_the_recording_sells_every_image_and_class_text_with_the_gap(tmp_path: Path) -> None:
    data = write_domains(tmp_path / "data", domains=2, classes=2, each=3)
    plain = embedded_answers(discover(data), load_encoder("embedded"))
    result = tmp_path / "result.json"
    result.write_text(json.dumps({"clip": {"geometry": CLIP.as_dict(), "command": "measured"}}))
    main(["--data", str(data), "--out", str(tmp_path / "sold"), "--result", str(result)])
    figures = json.loads(result.read_text())
    assert figures["clip"]["command"] == "measured"
    assert figures["zero_shot"] == {"images": 12, "answers_changed": 0}
    scale = figures["gap"]["image_scale"]
    sold = RecordedEncoder(tmp_path / "sold")
    assert sold.info.dim == plain.images.shape[1] + 2
    items = [sold.prepare_item(item.path.read_bytes()) for item in plain.items]
    answers = sold.encode(items)
    assert answers[:, :-2] == pytest.approx(scale * plain.images, abs=1e-4)
    texts = sold.encode([sold.prepare_item(f"a photo of a {name}") for name in ("c0", "c1")])
    assert ((answers @ texts.T).argmax(axis=1) == plain.zero_shot()).all()


def test_a_real_clips_geometry_is_measured_on_its_recording(tmp_path: Path) -> None:
    data = write_domains(tmp_path / "data", domains=1, classes=2, each=3)
    plain = embedded_answers(discover(data), load_encoder("embedded"))
    record(plain, tmp_path / "clip")
    found = clip_answers(data, tmp_path / "clip")
    assert geometry(*found.sample()).furthest_from(geometry(*plain.sample())) < 1e-4
