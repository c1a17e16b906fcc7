"""Data sets of Hugging Face's `datasets`: on the disk, and as an imagefolder."""

from __future__ import annotations

import json
import pickle
import re
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pytest

from student.data.folder.image_folder import Catalogue, discover
from student.data.pixel_table import pixel_table
from student.data.split import split
from student.embeddings.keys import split_keys
from student.errors import BadInput
from student.options import DataOptions
from student.purchase.whole_image import whole_image
from tests.support.one_data_set import data_set, rows_of, write_csv
from tests.support.pictures import write_domains


@pytest.fixture(autouse=True)
def quiet_library() -> None:
    datasets.disable_progress_bars()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_domains(tmp_path / "set")


def as_manifest(root: Path) -> Catalogue:
    return discover(write_csv(root.parent / "m.csv", below(root)))


def below(root: Path) -> list[dict[str, str]]:
    return [{**row, "path": f"{root.name}/{row['path']}"} for row in rows_of(root)]


def as_saved(root: Path) -> Catalogue:
    data_set(root, rows_of(root)).save_to_disk(str(root.parent / "arrow"))
    return discover(root.parent / "arrow")


def as_imagefolder(root: Path) -> Catalogue:
    rows = [{**row, "file_name": row["path"]} for row in rows_of(root)]
    for row in rows:
        del row["path"]
    write_csv(root / "metadata.csv", rows)
    found = discover(root, imagefolder=True)
    (root / "metadata.csv").unlink()
    return found


@pytest.mark.parametrize("read", [as_manifest, as_saved, as_imagefolder])
def test_the_same_images_give_the_same_split_and_the_same_purchase(
    root: Path, read: Callable[[Path], Catalogue]
) -> None:
    def bought(catalogue: Catalogue) -> tuple[object, ...]:
        parts = split(catalogue, targets=["d2"], seed=7)
        keys = split_keys(parts, catalogue, DataOptions(views=2), "domain", "f" * 16)
        digests = [[item.digest for item in part] for part in (parts.validation, parts.tests["d2"])]
        return keys.keys(parts.train), digests, catalogue.digest

    assert bought(read(root)) == bought(discover(root))


def test_embedded_images_are_sent_and_rendered_from_where_they_are(root: Path) -> None:
    walked, saved = discover(root), as_saved(root)
    before = sorted(root.parent.rglob("*"))
    assert not saved.items[0].path.exists()
    assert whole_image(saved.items[3])() == walked.items[3].path.read_bytes()
    assert pickle.loads(pickle.dumps(saved.items[3])).read_bytes() == saved.items[3].read_bytes()
    tables = [
        pixel_table(one.items, size=8, views=2, folder=root.parent / name)
        for one, name in ((walked, "pixels"), (saved, "others"))
    ]
    np.testing.assert_array_equal(tables[0].pixels, tables[1].pixels)
    assert not tables[1].unreadable
    assert [path for path in before if path.suffix == ".png"] == sorted(root.rglob("*.png"))


def test_splits_of_the_data_set_are_those_of_its_images(root: Path) -> None:
    rows = rows_of(root)
    parts = {"train": rows[4:], "test": rows[:4]}
    whole = datasets.DatasetDict({name: data_set(root, part) for name, part in parts.items()})
    whole.save_to_disk(str(root.parent / "arrow"))
    catalogue = discover(root.parent / "arrow")
    held = {item.digest for item in catalogue.items if item.split == "test"}
    paths = {row["path"] for row in rows[:4]}
    assert held == {
        i.digest for i in discover(root).items if str(i.path.relative_to(root)) in paths
    }
    whole["dev"] = whole.pop("test")
    whole.save_to_disk(str(root.parent / "other"))
    with pytest.raises(BadInput, match="has the split dev; splits are train, validation, test"):
        discover(root.parent / "other")


def test_the_splits_of_an_imagefolder_are_folders_above_the_classes(tmp_path: Path) -> None:
    write_domains(tmp_path / "set", domains=2)
    for old, new in (("d0", "train"), ("d1", "test")):
        (tmp_path / "set" / old).rename(tmp_path / "set" / new)
    catalogue = discover(tmp_path / "set", imagefolder=True)
    assert catalogue.domains == ("set",)
    assert {(i.path.parent.parent.name, i.split) for i in catalogue.items} == {
        ("train", "train"),
        ("test", "test"),
    }
    assert "test, train are read as domains" in discover(tmp_path / "set").notes[0]


def test_an_imagefolder_is_read_without_a_network_and_without_a_copy(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", root.parent / "hub")
    assert len(discover(root / "d0", imagefolder=True).items) == 10
    assert not (root.parent / "hub").exists()


def test_the_table_of_an_imagefolder_is_closed_once_it_is_read(root: Path) -> None:
    rows = [{"file_name": row["path"], "label": row["label"]} for row in rows_of(root)]
    write_csv(root / "metadata.csv", rows)
    assert discover(root, imagefolder=True).items
    files = [one for one in Path("/proc/self/fd").iterdir() if one.exists()]
    assert not [one for one in files if one.readlink().name == "metadata.csv"]


def test_files_that_an_imagefolder_does_not_list_are_left_out(root: Path) -> None:
    rows = [{"file_name": row["path"], "label": row["label"]} for row in rows_of(root)]
    write_csv(root / "metadata.csv", [row for row in rows if "i0" not in row["file_name"]])
    (root / "notes.txt").write_text("x")
    catalogue = discover(root, imagefolder=True)
    assert sorted({one.path.name for one in catalogue.left_out}) == ["i0.png", "notes.txt"]
    assert len(catalogue.left_out) == 6 + 1


def test_what_a_data_set_does_not_say_is_refused_and_columns_that_are_not_read_are_named(
    root: Path,
) -> None:
    whole = data_set(root, rows_of(root))
    place = root.parent / "arrow"
    whole.add_column("id", list(range(30))).save_to_disk(str(place / "a"))
    assert discover(place / "a").facts == ("columns that are not read: id",)
    whole.remove_columns("label").save_to_disk(str(place / "b"))
    with pytest.raises(
        BadInput, match=r"needs one column of images and the column label; it has im"
    ):
        discover(place / "b")
    rows = data_set(root, rows_of(root)).cast_column("label", datasets.Value("string"))
    rows = rows.remove_columns("label").add_column("label", [None, *["c0", "c1"] * 14, "c0"])
    rows.save_to_disk(str(place / "c"))
    with pytest.raises(BadInput, match=r"row 0 of the data set has no label"):
        discover(place / "c")
    (place / "a" / "state.json").write_text("{}")
    with pytest.raises(BadInput, match="cannot be opened as a data set"):
        discover(place / "a")


def test_an_image_that_is_not_in_the_data_set_is_refused(root: Path) -> None:
    images = [{"bytes": b"x", "path": "a.png"}, {"bytes": None, "path": "b.png"}, None]
    for number, image in enumerate(images[1:], 1):
        whole = datasets.Dataset.from_dict({"image": [images[0], image], "label": ["c0", "c1"]})
        whole.save_to_disk(str(root.parent / str(number)))
        info = root.parent / str(number) / "dataset_info.json"
        told = json.loads(info.read_text())
        told["features"]["image"] = {"_type": "Image"}
        info.write_text(json.dumps(told))
        with pytest.raises(BadInput, match=r"row 1 of the data set holds no image"):
            discover(root.parent / str(number))


def test_an_imagefolder_that_cannot_be_read_is_refused(root: Path) -> None:
    rows = [{"file_name": row["path"], "label": row["label"]} for row in rows_of(root)]
    for row, message in (
        (
            {"file_name": "d0/c0/lost.png", "label": "c0"},
            "there is no file|cannot be read as an im",
        ),
        ({"file_name": "../secret.png", "label": "c0"}, "cannot be read as an imagefolder"),
        (rows[0], "several rows are one file"),
    ):
        write_csv(root / "metadata.csv", [row, *rows])
        with pytest.raises(BadInput, match=re.compile(message)):
            discover(root, imagefolder=True)


def test_without_the_extra_its_name_is_said(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data_set(root, rows_of(root)).save_to_disk(str(root.parent / "arrow"))
    for name in ("datasets", "datasets.data_files"):
        monkeypatch.setitem(sys.modules, name, None)
    for path, flag in ((root.parent / "arrow", False), (root, True)):
        with pytest.raises(BadInput, match=r"pip install 'rented-teacher\[datasets\]'"):
            discover(path, imagefolder=flag)


def test_a_data_set_has_labels(root: Path) -> None:
    data_set(root, rows_of(root)).save_to_disk(str(root.parent / "arrow"))
    with pytest.raises(BadInput, match=r"--unlabelled reads .*is a data set on the disk"):
        discover(root.parent / "arrow", unlabelled=True)
