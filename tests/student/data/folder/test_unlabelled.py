"""Images without labels: the layouts that are read, and the captions beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from student.data.folder.image_folder import discover
from student.data.split import VALIDATION, split
from student.errors import BadInput
from tests.support.one_data_set import write_csv
from tests.support.pictures import write_domains, write_picture


def write(root: Path, *names: str) -> Path:
    for seed, name in enumerate(names):
        write_picture(root / name, seed)
    return root


def captions(root: Path, *rows: str) -> None:
    (root / "captions.csv").write_text("\n".join(("file,caption", *rows)) + "\n")


def test_images_at_the_root_are_one_domain_without_classes(tmp_path: Path) -> None:
    root = write(tmp_path / "photos", "a.png", "b.png")
    found = discover(root, unlabelled=True)
    assert (found.domains, found.classes) == (("photos",), ())
    assert [item.class_name for item in found.items] == ["", ""]
    assert not found.is_labelled


def test_a_folder_of_images_is_a_domain_and_not_a_class(tmp_path: Path) -> None:
    root = write(tmp_path, "photo/a.png", "sketch/b.png")
    found = discover(root, unlabelled=True)
    assert found.domains == ("photo", "sketch")
    assert found.classes == ()


def test_folders_below_a_domain_are_named_and_refused(tmp_path: Path) -> None:
    root = write_domains(tmp_path / "pets")
    with pytest.raises(BadInput, match=r"images in d0/c0, d0/c1.* leave out --unlabelled"):
        discover(root, unlabelled=True)


def test_images_beside_folders_of_images_are_named_and_refused(tmp_path: Path) -> None:
    root = write(tmp_path, "a.png", "photo/b.png", "sketch/c.png")
    with pytest.raises(BadInput, match=r"holds images \(a.png\) and folders .*\(photo, sketch\)"):
        discover(root, unlabelled=True)


def test_a_folder_without_an_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(BadInput, match="holds no image; 1 files are left out"):
        discover(tmp_path, unlabelled=True)


def test_without_the_option_a_flat_folder_is_refused_and_the_option_is_named(
    tmp_path: Path,
) -> None:
    root = write(tmp_path, "a.png", "b.png")
    with pytest.raises(BadInput, match="need --unlabelled"):
        discover(root)


def test_captions_belong_to_the_path_or_the_only_file_of_a_name(tmp_path: Path) -> None:
    root = write(tmp_path, "photo/a.png", "photo/b.png", "sketch/b.png")
    captions(
        root, "a.png,A cat.", 'photo/b.png,"A dog, asleep."', "a.png,Whiskers.", "a.png,A cat."
    )
    found = {str(i.path.relative_to(root)): i for i in discover(root, unlabelled=True).items}
    assert found["photo/a.png"].captions == ("A cat.", "Whiskers.")
    assert found["photo/b.png"].captions == ("A dog, asleep.",)
    assert found["sketch/b.png"].captions == ()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("file,caption\nc.png,A cat.\n", "'c.png' has no caption"),
        ("file,caption\nb.png,A cat.\n", "'b.png' has no caption, or is not the path"),
        ("file,caption\na.png,  \n", "'a.png' has no caption"),
        ("name,caption\na.png,A cat.\n", "needs the columns file and caption"),
        ("file,caption\na.png,\xe9\n".encode("latin-1"), "not a table in UTF-8"),
    ],
)
def test_a_table_that_names_no_image_or_no_caption_is_refused(
    tmp_path: Path, table: str | bytes, message: str
) -> None:
    root = write(tmp_path, "photo/a.png", "photo/b.png", "sketch/b.png")
    (root / "captions.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
    with pytest.raises(BadInput, match=message):
        discover(root, unlabelled=True)


def test_images_with_captions_are_measured_first_and_never_more_than_asked(tmp_path: Path) -> None:
    root = write(tmp_path, *(f"photo/{n}.png" for n in range(20)), "sketch/x.png", "sketch/y.png")
    captions(root, *(f"photo/{n}.png,Number {n}." for n in (3, 7)), "sketch/y.png,A letter.")
    catalogue = discover(root, unlabelled=True)

    for seed in range(3):
        found = split(catalogue, targets=["sketch"], seed=seed, most=3)
        assert [len(item.captions) for item in found.validation] == [1, 1, 0]
        assert len(found.train) == 17
        assert next(item.path.name for item in found.tests["sketch"]) == "y.png"
    few = split(catalogue, targets=["sketch"], seed=0, most=1)
    assert len(few.validation) == len(few.tests["sketch"]) == 1
    assert VALIDATION not in few.tests


@pytest.mark.parametrize("has_labels", [False, True])
def test_a_manifest_needs_no_labels_and_is_the_folder_that_it_lists(
    tmp_path: Path, has_labels: bool
) -> None:
    root = write(tmp_path / "set", "photo/a.png", "photo/b.png", "sketch/c.png")
    captions(root, "photo/a.png,A cat.", "c.png,A dog.")
    rows = [
        {"path": path, "domain": path.partition("/")[0]} | ({"label": "cat"} if has_labels else {})
        for path in ("sketch/c.png", "photo/a.png", "photo/b.png")
    ]
    listed = discover(write_csv(root / "m.csv", rows), unlabelled=True)
    (root / "m.csv").rename(tmp_path / "m.csv")
    walked = discover(root, unlabelled=True)
    assert listed.items == walked.items
    assert listed.digest == walked.digest
    assert not listed.is_labelled
    assert listed.left_out == ()
    assert listed.facts == (("the column label is not read (--unlabelled)",) if has_labels else ())


def test_a_manifest_beside_its_images_takes_them_as_one_domain_and_captions_by_path(
    tmp_path: Path,
) -> None:
    outside = write(tmp_path / "other", "z.png") / "z.png"
    root = write(tmp_path / "set", "a.png", "b.png")
    captions(root, "a.png,A cat.", f"{outside},A dog.")
    found = discover(
        write_csv(root / "m.csv", [{"path": "a.png"}, {"path": str(outside)}]), unlabelled=True
    )
    assert found.domains == ("set",)
    assert [item.captions for item in found.items] == [("A dog.",), ("A cat.",)]
    assert [(one.path.name, one.reason) for one in found.left_out] == [
        ("b.png", "not in the manifest")
    ]


def test_of_the_validation_images_of_a_manifest_no_more_are_measured_than_asked(
    tmp_path: Path,
) -> None:
    names = [f"{domain}/{n}.png" for domain in ("photo", "sketch") for n in range(6)]
    root = write(tmp_path / "set", *names)
    captions(root, "photo/5.png,A cat.")
    rows = [
        {
            "path": name,
            "domain": name.partition("/")[0],
            "split": "train" if name.endswith(("0.png", "1.png")) else "validation",
        }
        for name in names
    ]
    catalogue = discover(write_csv(root / "m.csv", rows), unlabelled=True)
    first, second = (split(catalogue, targets=[], seed=seed, most=2) for seed in (0, 1))
    assert len(first.train) == 4
    assert [item.domain for item in first.validation] == ["photo"] * 2 + ["sketch"] * 2
    assert first.validation[0].captions == ("A cat.",)
    assert first.validation == second.validation


def test_a_data_set_of_datasets_has_labels_and_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises(BadInput, match=r"or a manifest, and .* is a data set on the disk"):
        discover(tmp_path, unlabelled=True)
