"""The digits data set: its figures, who may train on them, and that every run is the same."""

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from student.data.folder.image_folder import discover
from student.data.split import split
from student.errors import BadInput
from student.options.read import read_options
from tools.digits import ink
from tools.digits.contact_sheet import COLUMNS, GAP, NAME_WIDTH, contact_sheet
from tools.digits.figures import (
    DIGITS,
    HANDWRITTEN_PER_DIGIT,
    TYPEFACES,
    Figure,
    all_figures,
    handwritten_digits,
)
from tools.digits.installed_files import installed
from tools.digits.lay_out import lay_out
from tools.digits.looks import looks

PRINTED_LOOKS = {"print", "inverted", "coloured", "outlined", "noisy", "dots"}


@pytest.fixture(scope="module")
def figures() -> list[Figure]:
    """Every figure, read once per module."""
    return all_figures()


def few(figures: list[Figure]) -> list[Figure]:
    """Three figures of each digit and kind for the student, for the teacher only, and hidden."""
    counted: Counter[tuple[int, str, str]] = Counter()
    chosen = []
    for figure in figures:
        counted[key := (figure.digit, figure.kind, figure.known_to)] += 1
        if counted[key] <= 3:
            chosen.append(figure)
    return chosen


@pytest.fixture(scope="module")
def laid_out(figures: list[Figure], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few figures of every kind, as files."""
    root = tmp_path_factory.mktemp("digits")
    lay_out(root, few(figures))
    return root


def kind(figures: list[Figure], name: str) -> list[Figure]:
    return [figure for figure in figures if figure.kind == name]


def test_no_two_figures_share_a_file_name(figures: list[Figure]) -> None:
    """A stem names one figure and begins with its class."""
    assert len({f.stem for f in figures}) == len(figures)
    assert all(f.stem.startswith(f"{f.class_name}-") for f in figures)


def test_every_digit_has_the_same_number_of_figures(figures: list[Figure]) -> None:
    """The classes are balanced in every kind."""
    for name in ("print", "hand", "display"):
        assert len(set(Counter(f.digit for f in kind(figures, name)).values())) == 1
    assert len(kind(figures, "hand")) == 10 * HANDWRITTEN_PER_DIGIT


def test_every_kind_has_figures_for_the_teacher_only_and_hidden_figures(
    figures: list[Figure],
) -> None:
    """In each of the ten classes; the student may train on most figures."""
    for name in ("print", "hand", "display"):
        per_class = {(f.digit, f.known_to) for f in kind(figures, name)}
        assert len(per_class) == 30
        shares = Counter(f.known_to for f in kind(figures, name))
        assert shares["student"] > shares["teacher"] + shares["nobody"]


def test_all_digits_of_a_typeface_are_known_to_the_same(figures: list[Figure]) -> None:
    """A whole typeface is unseen, not one of its digits."""
    groups = {(f.face.name, f.known_to) for f in kind(figures, "print") if f.face is not None}
    assert len(groups) == len(TYPEFACES)


def test_a_handwritten_figure_has_the_label_of_its_row_in_the_source(figures: list[Figure]) -> None:
    """Its class is that of its row in scikit-learn's file of 1,797 digits."""
    written, digits = handwritten_digits()
    assert written.shape == (1797, 8, 8)
    assert written.max() == 16
    assert all(digits[f.row] == f.digit for f in kind(figures, "hand"))


def test_each_kind_is_drawn_in_its_own_looks(figures: list[Figure]) -> None:
    """A printed figure has six looks, a handwritten figure and a display one each."""
    drawn = {
        name: {look for look, draw in looks().items() if draw(kind(figures, name)[0]) is not None}
        for name in ("print", "hand", "display")
    }
    assert drawn == {"print": PRINTED_LOOKS, "hand": {"handwritten"}, "display": {"display"}}


@pytest.mark.parametrize("face", TYPEFACES, ids=lambda face: face.name)
def test_a_typeface_draws_ten_different_digits_inside_the_square(
    face: object, figures: list[Figure]
) -> None:
    """No digit is empty, none is cut off at the edge, no two are the same."""
    drawn = [ink.printed(f) for f in figures if f.face is face and f.stem.endswith("-0")]
    assert len({drawing.tobytes() for drawing in drawn}) == len(DIGITS)
    for drawing in drawn:
        assert drawing.sum() > 50
        assert max(edge.max() for edge in (*drawing[[0, -1]], *drawing[:, [0, -1]].T)) == 0


def test_an_outline_leaves_the_inside_of_a_bold_digit_white(figures: list[Figure]) -> None:
    """It has ink around the filled glyph, not inside."""
    bold = next(f for f in figures if f.stem == "eight-dejavu-sans-bold-0")
    filled, edge = ink.printed(bold), ink.outline(bold)
    assert edge[filled == 1].mean() < 0.1
    assert edge.max() == 1


def test_a_display_slants_right_so_that_a_mirrored_two_is_not_a_five(figures: list[Figure]) -> None:
    """Views may mirror an image. The upper half of a display is to the right of its lower half,
    and in a mirrored display to the left.
    """
    columns = np.arange(ink.SIZE)
    for figure in kind(figures, "display"):
        upper, lower = (
            half.sum(axis=0) for half in np.split(ink.display(figure, lit="abcdefg"), 2)
        )
        assert columns @ upper / upper.sum() > columns @ lower / lower.sum() + 1


def test_the_client_reads_the_data_set(laid_out: Path) -> None:
    """Eight domains of ten classes, with the two groups of unseen.csv."""
    catalogue = discover(laid_out)
    assert catalogue.domains == tuple(sorted({*PRINTED_LOOKS, "display", "handwritten"}))
    assert catalogue.classes == tuple(sorted(DIGITS))
    assert {item.unseen_group for item in catalogue.items} == {
        None,
        "known to the teacher only",
        "known to nobody",
    }


def test_every_picture_is_64_pixels_of_colour(laid_out: Path) -> None:
    """In every look."""
    for path in laid_out.glob("*/seven/*.png"):
        with Image.open(path) as picture:
            assert (picture.size, picture.mode) == ((64, 64), "RGB")


def test_two_runs_write_equal_files(laid_out: Path, figures: list[Figure], tmp_path: Path) -> None:
    """Noise and colours depend on the name of the figure, not on the order of drawing."""
    lay_out(tmp_path, [f for f in reversed(few(figures)) if f.digit == 7])
    again = {p.relative_to(tmp_path): p.read_bytes() for p in tmp_path.glob("*/*/*.png")}
    assert len(again) > 20
    assert all((laid_out / path).read_bytes() == data for path, data in again.items())


def test_an_existing_image_is_not_written_again(figures: list[Figure], tmp_path: Path) -> None:
    """So an interrupted run can be continued, and a second run returns the same number."""
    first = few(figures)[:1]
    count = lay_out(tmp_path, first)
    path = tmp_path / "print" / "zero" / f"{first[0].stem}.png"
    path.write_bytes(b"mine")
    assert lay_out(tmp_path, first) == count == len(PRINTED_LOOKS)
    assert path.read_bytes() == b"mine"


def test_unseen_csv_lists_each_unseen_figure_once(laid_out: Path, figures: list[Figure]) -> None:
    """By its stem, which is the same in every look."""
    with (laid_out / "unseen.csv").open(newline="") as file:
        names = [row["name"] for row in csv.DictReader(file)]
    assert sorted(names) == sorted(f.stem for f in few(figures) if f.known_to != "student")


def test_the_example_configuration_fits_the_data_set(laid_out: Path) -> None:
    """Its target domains exist, and the other domains remain as sources."""
    settings = read_options(["--config", "examples/digits/distill.toml"])
    parts = split(discover(laid_out), targets=settings.data.target_domain, seed=settings.run.seed)
    assert parts.targets == ("display", "handwritten", "outlined")
    assert parts.sources == ("coloured", "dots", "inverted", "noisy", "print")


def test_a_missing_wheel_is_reported_with_the_install_command() -> None:
    """The error message contains the pip command."""
    with pytest.raises(
        BadInput, match=r"no-such-wheel is missing: pip install '\.\[demo\]' in a clone"
    ):
        installed("no-such-wheel", "digits.csv.gz")


def test_the_contact_sheet_has_a_row_for_each_look(laid_out: Path) -> None:
    """Twenty images per row, and ink in every cell."""
    sheet = contact_sheet(laid_out)
    cell = ink.SIZE + GAP
    assert sheet.size == (NAME_WIDTH + COLUMNS * cell, 8 * cell)
    pixels = np.asarray(sheet)[:, NAME_WIDTH:]
    for row in np.split(pixels, 8):
        assert all(square.std() > 0 for square in np.split(row, COLUMNS, axis=1))
