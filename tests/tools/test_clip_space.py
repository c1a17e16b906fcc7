"""A stand-in for a CLIP in a real CLIP's own space: what it learns, and what is sold."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from student.data.folder.image_folder import discover
from teacher_server.inference.recorded import RecordedEncoder
from tests.support.pictures import write_picture
from tools.pacs.clip_space import (
    AnswersFromFeatures,
    stretched,
    unit,
    weight_for,
    with_classes,
)
from tools.pacs.lay_out import DOMAINS
from tools.pacs.lay_out import lay_out as lay_out_pacs
from tools.pacs.real_clip import RealClip
from tools.pacs.record_in_clip_space import class_shares, main, zero_shot
from tools.train_teacher.folder import save
from tools.train_teacher.measure import as_dict, embedding_spread
from tools.train_teacher.train import build

CLASSES = ("dog", "house")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A CLIP's answers of eight numbers, for 24 images and four words."""
    folder, draws = tmp_path / "real", np.random.default_rng(0)
    for number in range(4):
        write_picture(
            folder / f"cifar/bought/{('dog', 'ship')[number % 2]}/{number:03}.png",
            number,
            size=(32, 32),
        )
    for number in range(20):
        write_picture(folder / f"flickr8k/{number}.png", 10 + number)
    np.savez(
        folder / "answers.npz",
        cifar_test_first500_emb=draws.normal(2, 1, (4, 8)).astype(np.float16),
        flickr_names=np.array([f"{number}.png" for number in range(20)]),
        flickr_emb=draws.normal(2, 1, (20, 8)).astype(np.float16),
        detic_names=np.array([f"lvis:{n}" for n in ("dog", "dollhouse", "birdhouse", "houseboat")]),
        detic_text=draws.normal(size=(4, 8)).astype(np.float16),
    )
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """PACS, laid out with photographs held out, of two classes."""
    for seed in range(4 * 2 * 6):
        domain, rest = divmod(seed, 12)
        folder = tmp_path / "pacs" / DOMAINS[domain] / CLASSES[rest // 6]
        write_picture(folder / f"{rest}.png", 100 + seed)
    lay_out_pacs(discover(tmp_path / "pacs"), tmp_path / "out")
    return tmp_path / "out/pacs-photo"


def test_every_answer_has_unit_length_and_its_own_image(source: Path) -> None:
    clip = RealClip(source)
    assert [path.name for path in clip.images[:5]] == [*(f"00{n}.png" for n in range(4)), "0.png"]
    assert np.linalg.norm(clip.answers, axis=1) == pytest.approx(np.ones(24), abs=1e-6)
    stored = np.load(source / "answers.npz")["flickr_emb"][0].astype(np.float32)
    assert float(clip.answers[4] @ unit(stored)) == pytest.approx(1, abs=1e-6)


def test_a_class_without_a_text_of_its_own_is_the_mean_of_texts_that_are_near(source: Path) -> None:
    texts = unit(np.load(source / "answers.npz")["detic_text"].astype(np.float32))
    clip = RealClip(source)
    assert clip.text("dog") == pytest.approx(texts[0], abs=1e-6)
    assert clip.text("house") == pytest.approx(unit(texts[1:].mean(axis=0)), abs=1e-6)


def test_a_linear_relation_is_found_again() -> None:
    draws = np.random.default_rng(0)
    features = draws.normal(3, 2, (4000, 5)).astype(np.float32)
    features[:, 0] *= 100  # the size of a feature does not matter
    answers = np.asarray(features @ draws.normal(size=(5, 3)) + 1, np.float32)
    expected = AnswersFromFeatures(features[:3000], answers[:3000])
    assert expected.not_explained(features[3000:], answers[3000:]) == pytest.approx(4 / 9, abs=0.02)
    noise = draws.normal(size=(4000, 3)).astype(np.float32)
    of_noise = AnswersFromFeatures(features[:3000], noise[:3000])
    assert of_noise.not_explained(features[3000:], noise[3000:]) == pytest.approx(1, abs=0.01)


def test_predictions_are_given_the_variance_of_the_answers() -> None:
    embeddings = np.random.default_rng(0).normal(2, 0.1, (60, 16)).astype(np.float32)
    made = stretched(embeddings, 0.5)
    assert made.var(axis=0).sum() == pytest.approx(0.5, rel=1e-4)
    assert made.mean(axis=0) == pytest.approx(embeddings.mean(axis=0), abs=1e-5)


def test_an_embedding_is_nearest_to_the_text_of_the_class_that_it_is_given() -> None:
    draws = np.random.default_rng(0)
    texts = unit(draws.normal(2, 1, (3, 16)).astype(np.float32))
    embeddings = draws.normal(2, 1, (60, 16)).astype(np.float32)
    labels = np.arange(60) % 3
    shares = np.eye(3, dtype=np.float32)[labels]
    made = with_classes(embeddings, texts, shares, weight=0.1)
    assert np.array_equal((made @ texts.T).argmax(axis=1), labels)
    assert np.linalg.norm(made, axis=1) == pytest.approx(np.ones(60), abs=1e-6)
    # What is not along the differences of the texts is as it was, but for the length.
    differences = texts - texts.mean(axis=0)
    others = np.linalg.svd(differences)[2][2:]
    assert unit(made @ others.T) == pytest.approx(unit(embeddings @ others.T), abs=1e-5)


def test_the_weight_of_the_classes_gives_the_share_of_variance_that_is_asked_for() -> None:
    draws = np.random.default_rng(0)
    texts = unit(draws.normal(2, 1, (3, 16)).astype(np.float32))
    embeddings = draws.normal(2, 1, (60, 16)).astype(np.float32)
    labels = np.arange(60) % 3
    shares = np.eye(3, dtype=np.float32)[labels]
    weight = weight_for(0.6, embeddings, texts, shares, labels)
    made = with_classes(embeddings, texts, shares, weight=weight)
    assert embedding_spread(made, labels).within_classes == pytest.approx(0.6, abs=0.001)


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    """The folder of a teacher that was not trained at all."""
    folder = tmp_path / "teacher"
    save(build().eval(), folder, {"steps": 0})
    return folder


@pytest.mark.parametrize("is_taught", [True, False])
def test_all_images_are_sold_with_the_clips_own_texts(
    source: Path,
    data: Path,
    teacher: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_taught: bool,
) -> None:
    folder = tmp_path / "recording"
    asked = ["--real-clip", str(source), "--data", str(data), "--out", str(folder)]
    of_teacher = ["--teacher", str(teacher)] if is_taught else ["--without-teacher"]
    monkeypatch.setattr(sys, "argv", ["tool", *asked, *of_teacher])
    main()
    encoder, catalogue = RecordedEncoder(folder), discover(data)
    files = [item.path.read_bytes() for item in catalogue.items]
    images = encoder.encode([encoder.prepare_item(file) for file in files])
    prompts = [f"a photo of a {name}" for name in catalogue.classes]
    texts = encoder.encode([encoder.prepare_item(prompt) for prompt in prompts])
    assert texts[0] == pytest.approx(RealClip(source).text("dog"), abs=1e-6)
    card = json.loads((folder / "provenance.json").read_text())
    assert ("teacher" in card) == is_taught
    assert card["answers"] + card["answers_held_out"] == 24
    assert card["zero_shot"] == as_dict(zero_shot(catalogue, images, texts))
    assert card["zero_shot"].keys() == set(DOMAINS)
    assert card["embedding_spread"]["images"] == len(files)
    if is_taught:
        shares = class_shares(teacher, [item.path for item in catalogue.items], catalogue.classes)
        assert np.array_equal((images @ texts.T).argmax(axis=1), shares.argmax(axis=1))
