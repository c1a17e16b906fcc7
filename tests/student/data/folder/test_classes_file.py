"""Class folders with codes for names, and the words for them."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from student.data.folder.image_folder import discover
from student.embeddings.keys import prompts_for
from student.errors import BadInput
from tests.support.one_data_set import rows_of, write_csv
from tests.support.pictures import write_domains, write_picture

WORDS = "folder,name\nc0,tench\nc1,great white shark\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_domains(tmp_path / "set", domains=2)


def test_a_code_becomes_the_word_that_the_prompt_says(root: Path) -> None:
    (root / "classes.csv").write_text(WORDS)
    catalogue = discover(root)
    assert catalogue.classes == ("great white shark", "tench")
    assert {(i.path.parent.name, i.class_name) for i in catalogue.items} == {
        ("c0", "tench"),
        ("c1", "great white shark"),
    }
    assert prompts_for(catalogue.classes[1], (), "class") == ["a photo of a tench"]
    assert catalogue.facts == (
        "classes.csv names all 2 classes: c0 is tench, c1 is great white shark",
    )
    assert catalogue.left_out == ()


def test_the_labels_of_a_manifest_have_the_words_beside_it(root: Path) -> None:
    (root / "classes.csv").write_text(WORDS)
    assert discover(write_csv(root / "m.csv", rows_of(root))).digest == discover(root).digest


def test_a_row_that_no_folder_has_is_named_and_the_rest_is_used(root: Path) -> None:
    (root / "classes.csv").write_text(WORDS + "c2,goldfish\n")
    catalogue = discover(root)
    assert catalogue.notes == ("classes.csv: no image has the class of 1 row: c2",)
    assert catalogue.classes == ("great white shark", "tench")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("folder,name\nc0,tench\n", r"has no row for c1: a prompt would say the folder's name"),
        ("folder,name\nc0,Sea_Cat\nc1,sea cat\n", "line 3 gives 'c1' the name 'sea cat', which 'c"),
        ("folder,name\nc0,a\nC0,b\nc1,c\n", "line 3 is a second row for the folder 'C0'"),
        ("folder,name\nc0,\nc1,b\n", "line 2 has no folder or no name"),
        ("class,name\nc0,a\n", "needs the columns folder and name"),
        ("folder,name,colour\nc0,a,red\n", "column 'colour', unknown"),
    ],
)
def test_a_table_that_could_be_misread_is_refused(root: Path, text: str, message: str) -> None:
    (root / "classes.csv").write_text(text)
    with pytest.raises(BadInput, match=message):
        discover(root)


def test_a_folder_is_found_in_another_spelling_and_names_are_composed(tmp_path: Path) -> None:
    for number in range(4):
        write_picture(tmp_path / "d" / f"N0{number % 2}" / f"{number}.png", number)
    decomposed = unicodedata.normalize("NFD", "caf\u00e9")
    (tmp_path / "classes.csv").write_text(f"folder,name\nn00,{decomposed}\nn01,bar\n", "utf-8")
    assert discover(tmp_path).classes == ("bar", "caf\u00e9")


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("_", "holds no word"),
        (" _ ", "holds no word"),
        ("\u200b", "holds no word"),
        ("po\nny", "holds a control character"),
    ],
)
def test_a_class_whose_prompt_would_name_nothing_is_refused(
    root: Path, name: str, fault: str
) -> None:
    (root / "d0" / "c1").rename(root / "d0" / name)
    with pytest.raises(BadInput, match=fault):
        discover(root)


def test_a_class_folder_without_a_word_is_read_with_the_word_of_the_table(root: Path) -> None:
    (root / "classes.csv").write_text("folder,name\nc0,tench\nc1,great white shark\n_,pony\n")
    write_picture(root / "d0" / "_" / "0.png", 99)
    assert "pony" in discover(root).classes


@pytest.mark.parametrize("names", [("n01440764", "n01484850"), ("00", "01")])
def test_classes_that_are_named_by_codes_are_named_in_a_warning(
    root: Path, names: tuple[str, str]
) -> None:
    for domain in ("d0", "d1"):
        for old, new in zip(("c0", "c1"), names, strict=True):
            (root / domain / old).rename(root / domain / new)
    (note,) = discover(root).notes
    assert f"2 of 2 class names look like codes ({', '.join(names)})" in note
    (root / "classes.csv").write_text(f"folder,name\n{names[0]},tench\n{names[1]},shark\n")
    assert discover(root).notes == ()


@pytest.mark.parametrize("names", [("7", "8"), ("boeing 747", "3d model"), ("🐦", "é")])
def test_a_digit_a_word_and_an_emoji_are_no_codes(root: Path, names: tuple[str, str]) -> None:
    for domain in ("d0", "d1"):
        for old, new in zip(("c0", "c1"), names, strict=True):
            (root / domain / old).rename(root / domain / new)
    assert discover(root).notes == ()
