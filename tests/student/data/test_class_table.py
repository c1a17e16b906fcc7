"""What a user sees of classes and domains before paying."""

import io
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from student.console import Terminal
from student.data.image_set import load_image_set
from tests.support.pictures import write_domains, write_picture
from tests.support.small_grid import settings


def _printed(root: Path, out: Path, *targets: str, **more: object) -> str:
    options = settings(root, out=out, **more).changed(target_domain=list(targets), image_size=32)
    text = io.StringIO()
    load_image_set(options.data, options.run, Terminal(Console(file=text, width=200)))
    return text.getvalue()


@pytest.mark.parametrize("pixels", [None, "memory://two-classes"])
def test_an_image_in_two_classes_is_reported_before_anything_is_bought(
    pixels: str | None, tmp_path: Path
) -> None:
    root = write_domains(tmp_path / "set")
    for number in range(4):
        shutil.copy(root / "d0" / "c0" / f"i{number}.png", root / "d0" / "c1" / f"dup{number}.png")
    assert "4 images are in two classes" in _printed(root, tmp_path / "out", "d2", pixels=pixels)


def test_a_class_of_a_held_out_domain_alone_is_said_to_count_as_wrong(tmp_path: Path) -> None:
    root = write_domains(tmp_path / "set")
    for number in range(6):
        write_picture(root / "d2" / "zebra" / f"{number}.png", 100 + number)
    printed = _printed(root, tmp_path / "out", "d2")
    assert (
        "zebra is only in held-out d2: never trained on, 6 of its images count as wrong" in printed
    )
    assert "none in d0, d1" in printed


def test_a_class_of_one_domain_is_not_trained_on_where_that_is_held_out_in_turn(
    tmp_path: Path,
) -> None:
    root = write_domains(tmp_path / "set")
    for number in range(6):
        write_picture(root / "d2" / "zebra" / f"{number}.png", 100 + number)
    printed = _printed(root, tmp_path / "out")
    assert (
        "zebra is only in held-out d2: not trained on there, 6 of its images count as wrong"
        in printed
    )
    assert "never trained on" not in printed


def test_a_class_of_fewer_than_five_images_is_marked(tmp_path: Path) -> None:
    root = write_domains(tmp_path / "set", domains=1)
    write_picture(root / "d0" / "rare" / "x.png", 99)
    write_picture(root / "d0" / "rare" / "y.png", 98)
    assert "fewer than 5 images" in _printed(root, tmp_path / "out")


def test_unreadable_files_are_one_line_with_their_count(tmp_path: Path) -> None:
    root = write_domains(tmp_path / "set")
    for number in range(30):
        (root / "d0" / "c0" / f"bad{number}.jpg").write_bytes(b"%d is no image" % number)
    printed = _printed(root, tmp_path / "out", "d2")
    assert "cannot be read as an image: 30 files .jpg in d0/c0 (30)" in " ".join(printed.split())
