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
from tools.pacs.clip_space import Lessons, Vectors, train_tower
from tools.pacs.lay_out import DOMAINS, is_teachers
from tools.pacs.lay_out import lay_out as lay_out_pacs
from tools.pacs.real_clip import RealClip
from tools.pacs.train_in_clip_space import lessons, main, zero_shot
from tools.train_teacher.recipe import SIZE

CLASSES = ("dog", "house")


def unit(vectors: Vectors) -> Vectors:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), np.float32)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A CLIP's answers of eight numbers, for 24 images and four words."""
    folder, draws = tmp_path / "real", np.random.default_rng(0)
    for number in range(4):
        write_picture(folder / f"cifar/bought/dog/{number:03}.png", number, size=(32, 32))
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


def test_held_out_answers_are_not_trained_on(source: Path, data: Path) -> None:
    clip, catalogue = RealClip(source), discover(data)
    held_out = clip.held_out()
    assert held_out.any()
    known = lessons(clip, catalogue.items, catalogue.classes)
    assert len(known.answered) == len(known.answers) == 24 - held_out.sum()
    assert np.array_equal(known.answers, clip.answers[~held_out])
    assert len(np.unique(known.groups)) == len(DOMAINS) * len(CLASSES)


def test_the_tower_comes_nearer_to_the_answers_and_to_the_texts_of_the_labels() -> None:
    pixels = np.zeros((12, SIZE, SIZE, 3), dtype=np.uint8)
    pixels[3:6] = pixels[9:] = 255
    texts = unit(np.random.default_rng(0).normal(1, 1, (2, 8)).astype(np.float32))
    known = Lessons(
        answered=pixels[:6],
        answers=texts[[0, 0, 0, 1, 1, 1]],
        labelled=pixels[6:],
        labels=np.array([0, 0, 0, 1, 1, 1]),
        groups=np.array([0, 0, 0, 1, 1, 1]),
        texts=texts,
    )
    told: list[str] = []
    tower = train_tower(known, steps=25, batch=6, seed=0, progress=told.append)
    assert told[0].startswith("step 25/25")
    assert float(told[0].split()[4]) < 0.8  # the mean of the answers explains nothing: 1
    assert float(told[0].split()[-1]) < 0.1
    found = tower.embed(pixels)
    assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(12), abs=1e-5)
    again = train_tower(known, steps=25, batch=6, seed=0, progress=told.append)
    assert np.array_equal(again.embed(pixels), found)


@pytest.mark.parametrize("labels", [(), ("--without-labels",)])
def test_all_images_are_sold_with_the_clips_own_texts(
    source: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, labels: tuple[str]
) -> None:
    folder = tmp_path / "recording"
    asked = ["--real-clip", str(source), "--data", str(data), "--out", str(folder)]
    monkeypatch.setattr(sys, "argv", ["tool", *asked, *labels, "--steps", "2", "--batch", "4"])
    main()
    encoder, catalogue = RecordedEncoder(folder), discover(data)
    files = [item.path.read_bytes() for item in catalogue.items]
    images = encoder.encode([encoder.prepare_item(file) for file in files])
    prompts = [f"a photo of a {name}" for name in catalogue.classes]
    texts = encoder.encode([encoder.prepare_item(prompt) for prompt in prompts])
    assert texts[0] == pytest.approx(RealClip(source).text("dog"), abs=1e-6)
    card = json.loads((folder / "provenance.json").read_text())
    taught = sum(is_teachers(item) for item in catalogue.items)
    assert card["labelled_images"] == (0 if labels else taught)
    counted = zero_shot(catalogue, images, texts)
    assert card["zero_shot"]["photo"].keys() == counted["photo"].keys()
    assert set(counted) == set(DOMAINS)
    assert sum(one.images for by in counted.values() for one in by.values()) == len(files)
    assert card["embedding_spread"]["images"] == len(files)
    assert card["variance_of_held_out_answers_not_explained"] > 0
