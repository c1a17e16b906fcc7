"""The folders that are laid out from data that a user has: PACS, and CIFAR-10 with a real CLIP."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from student.data.folder.image_folder import discover
from teacher_server.inference.recorded import RecordedEncoder
from tests.support.pictures import write_picture
from tools.cifar.lay_out import PROMPT, SHIFTS, record
from tools.cifar.lay_out import lay_out as lay_out_cifar
from tools.pacs.lay_out import DOMAINS, TEACHER, is_teachers
from tools.pacs.lay_out import lay_out as lay_out_pacs


@pytest.fixture
def pacs(tmp_path: Path) -> Path:
    """Images that have the same names in every domain and class."""
    for seed in range(4 * 2 * 6):
        domain, rest = divmod(seed, 12)
        name, number = divmod(rest, 6)
        folder = tmp_path / "pacs" / DOMAINS[domain] / ("dog", "guitar")[name]
        write_picture(folder / f"pic_{number}.png", seed)
    return tmp_path / "pacs"


def test_a_teacher_of_pacs_gets_the_half_that_the_held_out_domain_keeps_apart(
    pacs: Path, tmp_path: Path
) -> None:
    source = discover(pacs)
    assert lay_out_pacs(source, tmp_path) == len(source.items)
    assert lay_out_pacs(source, tmp_path) == len(source.items)  # again: nothing changes
    taught = {item.digest for item in discover(tmp_path / TEACHER).items}
    assert taught == {item.digest for item in source.items if is_teachers(item)}
    photos = discover(tmp_path / "pacs-photo")
    by_domain = {d: {i.digest for i in photos.items if i.domain == d} for d in photos.domains}
    assert by_domain["photo"]
    assert not by_domain["photo"] & taught
    assert by_domain["photo-seen"] <= taught
    assert set(photos.domains) == {*DOMAINS, "photo-seen"}
    assert len(photos.items) == len(source.items)


def test_no_two_images_of_the_teachers_half_have_one_name(pacs: Path, tmp_path: Path) -> None:
    lay_out_pacs(discover(pacs), tmp_path)
    names = [item.path.stem for item in discover(tmp_path / TEACHER).items]
    assert len(set(names)) == len(names)


def test_a_recording_sells_a_real_clips_answers_for_the_labelled_images_and_their_classes(
    tmp_path: Path,
) -> None:
    source, out = tmp_path / "real", tmp_path / "cifar"
    for number, name in enumerate(("automobile", "dog")):
        write_picture(source / "cifar/bought" / name / f"{number:03}.png", number, size=(32, 32))
        write_picture(source / "cifar/other" / name / f"{number}.png", 9 + number, size=(32, 32))
    draws = np.random.default_rng(0)
    np.savez(
        source / "answers.npz",
        cifar_test_first500_emb=draws.normal(size=(2, 8)).astype(np.float16),
        detic_names=np.array(["coco:dog", "coco:car"]),
        detic_text=draws.normal(size=(2, 8)).astype(np.float16),
    )
    assert lay_out_cifar(source / "cifar", out) == 2 + 2 * (1 + len(SHIFTS))
    assert record(source / "answers.npz", out / "labelled", tmp_path / "clip") == 4
    catalogue = discover(out)
    assert (catalogue.classes, len(catalogue.domains)) == (("car", "dog"), 2 + len(SHIFTS))
    encoder = RecordedEncoder(tmp_path / "clip")
    stored = np.load(source / "answers.npz")
    sold = encoder.encode([encoder.prepare_item(PROMPT.format("car"))])[0]
    assert float(sold @ stored["detic_text"][1]) == pytest.approx(
        float(np.linalg.norm(stored["detic_text"][1].astype(np.float32))), rel=1e-3
    )
    image = (out / "labelled/dog/001.png").read_bytes()
    encoder.prepare_item(image)


def test_a_shift_of_an_image_is_always_the_same_and_changes_it(tmp_path: Path) -> None:
    image = Image.open(write_picture(tmp_path / "a.png", 0, size=(32, 32)))
    seen = {hashlib.sha256(image.tobytes()).digest()}
    for shift in SHIFTS.values():
        first, second = shift(image), shift(image)
        assert first.tobytes() == second.tobytes()
        assert (first.mode, first.size) == ("RGB", (32, 32))
        seen.add(hashlib.sha256(first.tobytes()).digest())
    assert len(seen) == 1 + len(SHIFTS)
