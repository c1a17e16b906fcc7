"""Names of folders in tables, links, pictures and file names are what the user called them."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from student.console import Terminal
from student.evaluation.file_names import named
from student.report.markdown import plain
from student.report.pictures import lettering as lettering_module
from student.report.pictures.lettering import lettering


def test_a_name_in_brackets_is_printed_whole_in_a_table_and_a_bar() -> None:
    text = io.StringIO()
    terminal = Terminal(Console(file=text, width=80))
    terminal.table(("part [x]", ""), [["photo [old]", "1"], ["photo [new]", "2"]])
    with terminal.bar("training [bold]") as update:
        update(1, 2, "[red]")
    for name in ("part [x]", "photo [old]", "photo [new]", "training [bold]", "[red]"):
        assert name in text.getvalue()


@pytest.mark.parametrize(
    ("name", "markdown"),
    [
        ("photo [old]", "photo [old]"),
        ("a|b", r"a\|b"),
        ("[a](b)", r"[a\](b)"),
        ("<b>", r"\<b>"),
        ("location_001", "location_001"),
        ("_x_", r"\_x\_"),
        ("two\nlines", "two lines"),
    ],
)
def test_markdown_shows_a_name_as_it_is(name: str, markdown: str) -> None:
    assert plain(name) == markdown


def test_names_that_no_installed_font_shows_are_numbers_with_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lettering_module, "_characters", lambda _: set(map(chr, range(128))))
    letters = lettering(["写真", "photo", "猫"])
    assert [letters.drawn(name) for name in ("写真", "photo", "猫")] == ["[1]", "photo", "[2]"]
    assert letters.legend().endswith("[1] is 写真, [2] is 猫.")


def test_a_font_that_has_the_characters_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def characters(path: str) -> set[str]:
        return {"写", "真"} if "STIXGeneral" in path else set(map(chr, range(128)))

    monkeypatch.setattr(lettering_module, "_characters", characters)
    letters = lettering(["写真"])
    assert letters.families == ("DejaVu Sans", "STIXGeneral")
    assert letters.drawn("写真") == "写真"


def test_a_short_name_makes_a_file_of_that_name(tmp_path: Path) -> None:
    assert named(tmp_path, "erm+sketch") == tmp_path / "erm+sketch"


def test_a_long_name_is_cut_and_two_long_names_stay_two(tmp_path: Path) -> None:
    long = "+".join(f"location_{number:03d}" for number in range(40))
    path = named(tmp_path, long)
    assert len(path.name.encode()) <= 100
    assert path.name.startswith("location_000+")
    assert named(tmp_path, long + "x") != path
    path.write_bytes(b"")


def test_a_long_name_that_version_0_1_wrote_is_still_found(tmp_path: Path) -> None:
    long = "x" * 230
    (tmp_path / long).write_bytes(b"")
    assert named(tmp_path, long) == tmp_path / long
