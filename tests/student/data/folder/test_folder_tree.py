"""Every file under a data folder is read, or named as left out."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from student.data.folder.folder_tree import left_out_lines
from student.data.folder.image_file import image_suffixes, read_image_file
from student.data.folder.image_folder import discover
from student.data.folder.unseen import UNSEEN_FILE
from student.errors import BadInput
from tests.support.pictures import write_domains, write_picture

FOLDERS = st.sampled_from(["", "d0", "d0/c0", "d0/c0/2023", ".git", "d1/__MACOSX", "notes/x"])
FILES = st.sampled_from(
    [
        "a.png",
        "b.TIF",
        "c.heic",
        ".DS_Store",
        "Thumbs.db",
        "labels.csv",
        "noend",
        "._a.jpg",
        "z.PNG",
    ]
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(FOLDERS, FILES), max_size=12))
def test_no_file_under_a_data_folder_is_unaccounted_for(extra: list[tuple[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = write_domains(Path(folder) / "set", domains=2, each=1)
        (root / UNSEEN_FILE).write_text("name,group\n")
        for place, name in extra:
            (root / place).mkdir(parents=True, exist_ok=True)
            (root / place / name).write_bytes(b"")
        try:
            catalogue = discover(root)
        except BadInput:
            return
        taken = {item.path for item in catalogue.items}
        left_out = {file.path for file in catalogue.left_out}
        files = {path for path in root.rglob("*") if path.is_file()} - {root / UNSEEN_FILE}
        assert taken | left_out == files
        assert not taken & left_out


@pytest.mark.parametrize(
    ("suffix", "image_format"),
    [("tif", "TIFF"), ("jfif", "JPEG"), ("jpe", "JPEG"), ("ppm", "PPM"), ("jp2", "JPEG2000")],
)
def test_every_still_image_that_pillow_reads_is_read(
    tmp_path: Path, suffix: str, image_format: str
) -> None:
    root = write_domains(tmp_path / "set", domains=1, each=1)
    Image.new("RGB", (8, 8), "red").save(root / "d0" / "c0" / f"x.{suffix}", image_format)
    item = next(item for item in discover(root).items if item.path.stem == "x")
    assert item.image_format == image_format
    assert item.is_sent_as_file == (image_format == "JPEG")


def test_pages_films_and_stubs_are_no_still_images() -> None:
    assert not image_suffixes() & {".pdf", ".eps", ".mpg", ".h5", ".flc"}


def test_an_mpo_is_sent_as_the_jpeg_that_it_is(tmp_path: Path) -> None:
    path = tmp_path / "stereo.jpg"
    first, second = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    first.save(path, "MPO", save_all=True, append_images=[second])
    file = read_image_file(path)
    assert (file.image_format, file.is_sent_as_file) == ("JPEG", True)


def test_images_below_a_class_are_of_that_class_and_reported(tmp_path: Path) -> None:
    root = write_domains(tmp_path / "set", domains=1, each=1)
    write_picture(root / "d0" / "c0" / "2023" / "x.png", 99)
    catalogue = discover(root)
    assert [item.class_name for item in catalogue.items] == ["c0", "c0", "c1"]
    assert "1 images in folders below a class" in catalogue.notes[0]


def test_a_folder_too_high_is_refused_with_the_folder_to_name(tmp_path: Path) -> None:
    write_domains(tmp_path / "set" / "train")
    with pytest.raises(BadInput, match=r"a folder too high, name .*set/train"):
        discover(tmp_path / "set")


def test_a_stray_folder_of_images_beside_domains_is_refused(tmp_path: Path) -> None:
    root = write_domains(tmp_path / "set")
    write_picture(root / "unsorted" / "x.png", 99)
    with pytest.raises(BadInput, match="images in unsorted, and folders of images in d0, d1, d2"):
        discover(root)


def test_a_link_to_a_folder_above_ends(tmp_path: Path) -> None:
    root = write_domains(tmp_path / "set", domains=1)
    (root / "d0" / "c0" / "up").symlink_to(root)
    catalogue = discover(root)
    assert len(catalogue.items) == 10
    assert [file.path.name for file in catalogue.left_out] == ["up"]


def test_an_unreadable_folder_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_domains(tmp_path / "set", domains=1)
    listing = Path.iterdir

    def refusing(folder: Path) -> object:
        if folder.name == "c1":
            raise PermissionError(13, "Permission denied", os.fspath(folder))
        return listing(folder)

    monkeypatch.setattr(Path, "iterdir", refusing)
    with pytest.raises(BadInput, match=r"c1 cannot be read \(Permission denied\)"):
        discover(root)


def test_what_is_left_out_is_counted_by_suffix_and_folder(tmp_path: Path) -> None:
    root = write_domains(tmp_path / "set", domains=1)
    for name in ("a.heic", "b.heic"):
        (root / "d0" / "c0" / name).touch()
    (line,) = left_out_lines(root, discover(root).left_out)
    assert "2 files .heic in d0/c0 (2)" in line
