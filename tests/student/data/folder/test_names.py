"""When two folder names are one name."""

import unicodedata

import pytest

from student.data.folder.names import class_names, folded, same_name
from student.errors import BadInput

NFC, NFD = unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café")


@pytest.mark.parametrize(
    ("name", "other"),
    [
        (NFC, NFD),
        ("Dog", "dog"),
        ("alarm_clock", "alarm clock"),
        ("alarm-clock", "Alarm  Clock"),
        ("dog", "dog "),
        ("\uff44\uff4f\uff47", "dog"),
        ("dog", "do\u200bg"),
    ],
)
def test_two_spellings_in_two_domains_are_one_class_and_both_are_named(
    name: str, other: str
) -> None:
    used, said = class_names([("photo", name), ("clipart", name), ("sketch", other)])
    assert set(used.values()) == {name}
    (line,) = said
    assert "sketch" in line
    assert "photo" in line


@pytest.mark.parametrize(
    ("name", "other"), [("-1", "1"), ("temp -5", "temp 5"), ("cat", "cats"), ("c++", "c")]
)
def test_names_that_differ_in_more_stay_two_classes(name: str, other: str) -> None:
    used, said = class_names([("photo", name), ("sketch", other)])
    assert used == {name: name, other: other}
    assert said == []


def test_two_spellings_in_one_domain_are_refused_with_both_folders() -> None:
    with pytest.raises(BadInput, match=r"'photo/Dog' and 'photo/dog'"):
        class_names([("photo", "Dog"), ("photo", "dog")])


def test_spellings_that_look_the_same_are_named_in_ascii() -> None:
    with pytest.raises(BadInput, match=r"cafe\\u0301"):
        class_names([("photo", NFC), ("photo", NFD)])


def test_two_domains_with_one_name_are_refused() -> None:
    with pytest.raises(BadInput, match="two domains"):
        class_names([("photo", "cat"), ("Photo", "cat")])


def test_a_name_of_blanks_alone_is_kept() -> None:
    assert folded("__") == "__"


def test_a_domain_is_found_by_another_spelling() -> None:
    assert same_name(NFC, ["photo", NFD]) == NFD
    assert same_name("sketch", ["photo"]) == "sketch"
