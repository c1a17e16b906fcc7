"""Finding labelled images."""

import os
from pathlib import Path

import pytest

from student.data.folder.image_folder import discover
from student.errors import BadInput
from tests.support.pictures import write_domains, write_picture


def test_domains_and_classes_are_the_two_levels_of_folders(tmp_path: Path) -> None:
    catalogue = discover(write_domains(tmp_path / "set"))
    assert catalogue.domains == ("d0", "d1", "d2")
    assert catalogue.classes == ("c0", "c1")
    assert len(catalogue.items) == 3 * 2 * 5


def test_a_folder_of_classes_is_one_domain_named_after_the_root(tmp_path: Path) -> None:
    for seed in range(4):
        write_picture(tmp_path / "pets" / f"c{seed % 2}" / f"{seed}.png", seed)
    catalogue = discover(tmp_path / "pets")
    assert catalogue.domains == ("pets",)
    assert catalogue.classes == ("c0", "c1")


def test_identity_is_the_content_and_not_the_name(tmp_path: Path) -> None:
    first = write_picture(tmp_path / "d" / "a" / "one.png", 1)
    (tmp_path / "d" / "b").mkdir()
    (tmp_path / "d" / "b" / "two.png").write_bytes(first.read_bytes())
    item, other = discover(tmp_path).items
    assert item.digest == other.digest


def test_hidden_folders_and_other_files_are_not_images(tmp_path: Path) -> None:
    root = write_domains(tmp_path / "set", domains=1)
    (root / "d0" / "c0" / "notes.txt").write_text("x")
    write_picture(root / ".cache" / "c0" / "x.png", 99)
    assert len(discover(root).items) == 10


@pytest.mark.parametrize("names", [("train", "val"), ("Train", "Test"), ("TRAINING", "testing")])
def test_folders_that_look_like_splits_are_named_in_a_warning(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    root = write_domains(tmp_path / "set", domains=2)
    for old, new in zip(("d0", "d1"), names, strict=True):
        (root / old).rename(root / new)
    (note,) = discover(root).notes
    assert note.startswith(f"{', '.join(sorted(names))} are read as domains")


def test_a_missing_folder_names_the_layout_and_the_demo_data_command(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"<domain>/<class>.*distill-client demo-data"):
        discover(tmp_path / "nowhere")


def test_one_class_alone_is_refused(tmp_path: Path) -> None:
    write_picture(tmp_path / "d" / "only" / "a.png", 1)
    with pytest.raises(BadInput, match="1 classes"):
        discover(tmp_path)


def test_items_named_in_unseen_csv_carry_their_group(tmp_path: Path) -> None:
    root = write_domains(tmp_path / "set")
    (root / "unseen.csv").write_text("name,group\ni0,known to nobody\n")
    groups = {item.path.stem: item.unseen_group for item in discover(root).items}
    assert groups["i0"] == "known to nobody"
    assert groups["i1"] is None


def test_an_unseen_file_without_its_columns_is_refused(tmp_path: Path) -> None:
    root = write_domains(tmp_path / "set")
    (root / "unseen.csv").write_text("stem\ni0\n")
    with pytest.raises(BadInput, match="columns name and group"):
        discover(root)


def test_a_folder_that_holds_images_beside_folders_is_refused(tmp_path: Path) -> None:
    for seed in range(4):
        write_picture(tmp_path / f"c{seed % 2}" / f"{seed}.png", seed)
    (tmp_path / "c0" / "thumbs").mkdir()
    with pytest.raises(BadInput, match=r"c0 holds images \(0\.png\) and folders \(thumbs\)"):
        discover(tmp_path)


def test_a_broken_link_is_named(tmp_path: Path) -> None:
    root = write_domains(tmp_path / "set", domains=1)
    (root / "d0" / "c0" / "lost.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(BadInput, match=r"lost\.png cannot be opened .*nothing was bought"):
        discover(root)


def test_a_folder_or_a_pipe_named_like_an_image_is_not_an_image(tmp_path: Path) -> None:
    root = write_domains(tmp_path / "set", domains=1)
    (root / "d0" / "c0" / "odd.png").mkdir()
    os.mkfifo(root / "d0" / "c0" / "pipe.png")
    assert len(discover(root).items) == 10


def test_an_unseen_file_of_a_spreadsheet_may_name_whole_files(tmp_path: Path) -> None:
    root = write_domains(tmp_path / "set", domains=1)
    (root / "unseen.csv").write_text("name,group\ni0.png,rare\n", encoding="utf-8-sig")
    assert {i.path.stem for i in discover(root).items if i.unseen_group == "rare"} == {"i0"}


@pytest.mark.parametrize("line", ["i0,", "i0", "i9,rare", ",rare", "i9,rare\n,"])
def test_an_unseen_file_that_would_let_an_item_be_trained_on_is_refused(
    tmp_path: Path, line: str
) -> None:
    root = write_domains(tmp_path / "set")
    (root / "unseen.csv").write_text(f"name,group\n{line}\n")
    with pytest.raises(BadInput, match="no group or names no image"):
        discover(root)


def test_an_unseen_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    root = write_domains(tmp_path / "set")
    (root / "unseen.csv").write_bytes("name,group\ncafé,rare\n".encode("latin-1"))
    with pytest.raises(BadInput, match="not a table in UTF-8"):
        discover(root)


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    root = write_domains(tmp_path / "set", domains=1)
    Path(os.fsdecode(os.fsencode(root / "d0") + b"/caf\xe9")).mkdir()
    with pytest.raises(BadInput, match=r"caf\\udce9' has a name that is not UTF-8"):
        discover(root)
