"""From images and prompts to what is bought and trained on."""

import hashlib
from pathlib import Path

import pytest

from student.data.folder.image_folder import discover
from student.data.pixel_table import pixel_table
from student.data.views import png
from student.embeddings.keys import prompts_for, view_keys
from student.purchase.embedding_requests import image_requests, text_requests
from tests.support.pictures import write_domains

MODEL = "sha256:" + "0" * 64


def test_the_class_prompt_is_the_papers() -> None:
    assert prompts_for("road_vehicle", ["art", "photo"], "class") == ["a photo of a road vehicle"]


def test_domain_prompts_name_each_source_domain() -> None:
    assert prompts_for("dog", ["line_art", "photo"], "domain") == [
        "A line art of a dog",
        "A photo of a dog",
    ]


def test_view_0_is_sent_as_the_file_and_the_others_as_the_pixels_trained_on(
    tmp_path: Path,
) -> None:
    items = discover(write_domains(tmp_path / "set")).items
    pixels = pixel_table(items, size=8, views=2, folder=tmp_path / "pixels").pixels
    wanted = {
        request.key: request for request in image_requests(MODEL, items, pixels, range(len(items)))
    }
    original, rendered = view_keys(MODEL, items[4], views=2, size=8)
    assert wanted[original].item().payload == items[4].path.read_bytes()
    assert wanted[rendered].item().payload == png(pixels[4, 1])


def test_a_text_is_identified_by_its_normal_form() -> None:
    composed, combined = text_requests(MODEL, ["caf\u00e9", "cafe\u0301"])
    assert composed.key == combined.key
    assert composed.key.item == hashlib.sha256("caf\u00e9".encode()).hexdigest()


@pytest.mark.parametrize("size", [8, 16])
def test_a_rendered_view_of_another_size_is_another_purchase(size: int, tmp_path: Path) -> None:
    item = discover(write_domains(tmp_path / "set")).items[0]
    original, rendered = view_keys(MODEL, item, views=2, size=size)
    assert original == view_keys(MODEL, item, views=1, size=99)[0]
    assert rendered.view == f"crop-flip-colour/1@{size}#1"
