"""A table of images instead of folders: what is read of it, and what is refused."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from student.data.folder.image_folder import discover
from student.data.split import VALIDATION, split
from student.errors import BadInput
from tests.support.one_data_set import Rows, rows_of, write_csv
from tests.support.pictures import write_domains, write_picture


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_domains(tmp_path / "set", domains=2)


def write_parquet(path: Path, rows: Rows) -> Path:
    parquet.write_table(pyarrow.Table.from_pylist([dict(row) for row in rows]), path)
    return path


@pytest.mark.parametrize(("write", "name"), [(write_csv, "m.csv"), (write_parquet, "m.parquet")])
def test_a_manifest_is_the_folder_that_it_lists(
    root: Path, write: Callable[[Path, Rows], Path], name: str
) -> None:
    listed, walked = discover(write(root.parent / name, below(root))), discover(root)
    assert [(i.domain, i.class_name, i.path) for i in listed.items] == [
        (i.domain, i.class_name, i.path) for i in walked.items
    ]
    assert listed.digest == walked.digest
    assert listed.left_out == ()


def below(root: Path) -> Rows:
    return [{**row, "path": f"{root.name}/{row['path']}"} for row in rows_of(root)]


def test_without_a_domain_the_manifests_folder_is_the_domain(root: Path) -> None:
    rows = [{"path": row["path"], "label": row["label"]} for row in rows_of(root)]
    assert discover(write_csv(root / "m.csv", rows)).domains == ("set",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"path": "d0/c0/lost.png"}, r"no such file: line 2 \('d0/c0/lost\.png'\)"),
        ({"path": "d0/c0"}, r"no such file: line 2"),
        ({"path": "x" * 300}, r"no such file: line 2"),
        ({"path": ""}, r"no path: line 2"),
        ({"path": "d0/../d0/c0/i0.png"}, r"a second row for one file: line 21 \(.*, as 2\)"),
        ({"path": "d0/c0/i0.png", "label": "c1"}, r"two labels for one file: line 21 \(.*, as 2\)"),
        ({"label": ""}, r"no label: line 2"),
        ({"label": "  "}, r"no label: line 2"),
        ({"domain": ""}, r"no domain, which other rows have: line 2"),
        ({"split": "dev"}, r"none of train, validation, test \('dev'\): line 2"),
        ({"split": ""}, r"no split, which other rows have: line 2"),
    ],
)
def test_a_wrong_row_is_refused_with_its_line(
    root: Path, change: dict[str, str], message: str
) -> None:
    rows = [{**row, "split": "train"} for row in rows_of(root)]
    manifest = write_csv(root / "m.csv", [{**rows[0], "label": "c0", **change}, *rows[1:]])
    with pytest.raises(BadInput, match=message) as raised:
        discover(manifest)
    assert "Nothing was bought" in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,lable\n", "needs the columns path and label; it has path, lable"),
        ("path;label\n", "it has path;label"),
        ("", "it has none"),
        ("path,label,weight\n", "column 'weight', unknown or twice; it may have path, label, do"),
        ("path,label,label\n", "column 'label', 'label', unknown or twice"),
        ("path,label\na.png,cat,dog\n", "line 2 has more cells"),
    ],
)
def test_other_columns_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(BadInput, match=message):
        discover(tmp_path / "m.csv")


def test_a_table_that_is_no_parquet_or_holds_fractions_is_refused(root: Path) -> None:
    (root / "m.parquet").write_text("no")
    with pytest.raises(BadInput, match="is not a Parquet file"):
        discover(root / "m.parquet")
    table = pyarrow.table({"path": ["d0/c0/i0.png"], "label": [0.5]})
    parquet.write_table(table, root / "m.parquet")
    with pytest.raises(BadInput, match="column label holds more than text"):
        discover(root / "m.parquet")
    parquet.write_table(table.rename_columns(["path", "lable"]), root / "m.parquet")
    with pytest.raises(BadInput, match="needs the columns path and label"):
        discover(root / "m.parquet")


def test_whole_numbers_are_labels_in_either_format(root: Path) -> None:
    rows = rows_of(root)
    numbers = [int(row["label"][1:]) for row in rows]
    table = pyarrow.table({"path": [row["path"] for row in rows], "label": numbers})
    parquet.write_table(table, root / "m.parquet")
    assert discover(root / "m.parquet").classes == ("0", "1")


def test_without_pyarrow_the_extra_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_parquet(root / "m.parquet", rows_of(root))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(BadInput, match=r"pip install 'rented-teacher\[parquet\]'"):
        discover(root / "m.parquet")


def test_files_elsewhere_are_read_and_said(root: Path, tmp_path: Path) -> None:
    up = write_picture(tmp_path / "up" / "a.png", 900)
    absolute = write_picture(tmp_path / "far" / "b.png", 901)
    rows = [
        *rows_of(root),
        {"path": "../up/a.png", "label": "c0", "domain": "d0"},
        {"path": str(absolute), "label": "c1", "domain": "d0"},
    ]
    catalogue = discover(write_csv(root / "m.csv", rows))
    digests = {item.digest for item in catalogue.items}
    assert {item.digest for item in discover(root).items} < digests
    assert len(catalogue.items) == 22
    (note,) = catalogue.notes
    assert f"2 images lie outside {root.resolve()}" in note
    assert str(absolute.parent) in note
    assert up.exists()


def test_images_beside_the_listed_ones_are_left_out(root: Path) -> None:
    rows = [row for row in rows_of(root) if not row["path"].endswith("i4.png")]
    catalogue = discover(write_csv(root / "m.csv", rows))
    assert {one.path.name for one in catalogue.left_out} == {"i4.png"}
    assert {one.reason for one in catalogue.left_out} == {"not in the manifest"}
    assert len(catalogue.left_out) == 4


def test_a_path_may_be_composed_where_the_disk_has_it_decomposed(tmp_path: Path) -> None:
    name = "caf\u00e9"
    for number, class_name in enumerate(("x", "y")):
        write_picture(tmp_path / unicodedata.normalize("NFD", f"{name}{class_name}.png"), number)
    rows = [{"path": f"{name}{one}.png", "label": one} for one in ("x", "y")]
    assert len(discover(write_csv(tmp_path / "m.csv", rows)).items) == 2


def test_splits_are_kept_in_source_domains_and_a_held_out_domain_is_measured_whole(
    root: Path,
) -> None:
    of = {"i0": "test", "i1": "validation"}
    rows = [{**row, "split": of.get(Path(row["path"]).stem, "train")} for row in rows_of(root)]
    catalogue = discover(write_csv(root / "m.csv", rows))
    found = split(catalogue, targets=["d1"], seed=0)
    assert {item.path.stem for item in found.validation} == {"i1"}
    assert {item.path.stem for item in found.train} == {"i2", "i3", "i4"}
    assert {name: len(items) for name, items in found.tests.items()} == {
        "d1": 10,
        "test, source domains": 2,
    }
    assert catalogue.facts[0].startswith("split of the images: 12 train, 4 validation, 4 test")
    assert catalogue.digest != discover(root).digest


def test_without_a_validation_split_a_fifth_of_train_validates(root: Path) -> None:
    of = {"i0": "test"}
    rows = [{**row, "split": of.get(Path(row["path"]).stem, "train")} for row in rows_of(root)]
    found = split(discover(write_csv(root / "m.csv", rows)), targets=["d1"], seed=0)
    assert len(found.validation) == 2
    assert {item.split for item in found.validation} == {"train"}
    assert VALIDATION not in found.tests


def test_what_needs_folders_refuses_a_manifest(root: Path) -> None:
    manifest = write_csv(root / "m.csv", rows_of(root))
    with pytest.raises(BadInput, match=r"--unlabelled reads .*m\.csv is an imagefolder"):
        discover(manifest, unlabelled=True, imagefolder=True)
    with pytest.raises(BadInput, match=r"is a file: a manifest is \.csv or \.parquet"):
        discover(manifest, imagefolder=True)
    (root / "m.txt").write_text("")
    with pytest.raises(BadInput, match=r"is a file: a manifest is \.csv or \.parquet"):
        discover(root / "m.txt")
