"""The list of figures: the name and class of each, and whether student or teacher may train on it.

A figure is one digit in one handwriting, typeface or display, in one pose. A printed figure is
drawn in every printed look, as an emoji is drawn in every style. Which figures the student and the
teacher may train on is fixed here and never random.
"""

import gzip
import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tools.digits.installed_files import installed

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
POSES_PER_TYPEFACE = 2  # poses of each digit in each typeface
HANDWRITTEN_PER_DIGIT = 50  # handwritten images of each digit
DISPLAYS_PER_DIGIT = 30  # displays of each digit

KnownTo = Literal["student", "teacher", "nobody"]
Kind = Literal["print", "hand", "display"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Typeface:
    """A typeface: the wheel and file that hold it, and its variation in a variable font."""

    name: str
    wheel: str
    file: str
    variation: str = ""
    known_to: KnownTo = "student"


def _dejavu(family: str, cuts: dict[str, str]) -> list[Typeface]:
    return [
        Typeface(
            name=f"DejaVu {family} {cut}".strip(), wheel="matplotlib", file=f"DejaVu{file}.ttf"
        )
        for cut, file in cuts.items()
    ]


_SLANTED = {"": "", "Bold": "-Bold", "Oblique": "-Oblique", "Bold Oblique": "-BoldOblique"}
_SERIF = {"": "", "Bold": "-Bold", "Italic": "-Italic", "Bold Italic": "-BoldItalic"}
_STIX = {"": "", "Bold": "Bol", "Italic": "Italic", "Bold Italic": "BolIta"}
_COMPUTER_MODERN: dict[str, tuple[str, KnownTo]] = {
    "Computer Modern": ("cmr10", "nobody"),
    "Computer Modern Bold": ("cmb10", "nobody"),
    "Computer Modern Italic": ("cmti10", "nobody"),
    "Computer Modern Old Style": ("cmmi10", "nobody"),
    "Computer Modern Sans": ("cmss10", "student"),
    "Computer Modern Typewriter": ("cmtt10", "student"),
}
_NOTO = {
    "Noto Sans": ("NotoSans[wght].ttf", "Regular"),
    "Noto Sans Bold": ("NotoSans[wght].ttf", "Bold"),
    "Noto Sans Italic": ("NotoSans-Italic[wght].ttf", "Italic"),
    "Noto Sans Bold Italic": ("NotoSans-Italic[wght].ttf", "Bold Italic"),
}
TYPEFACES: tuple[Typeface, ...] = (
    *_dejavu("Sans", {cut: f"Sans{file}" for cut, file in _SLANTED.items()}),
    *_dejavu("Sans Mono", {cut: f"SansMono{file}" for cut, file in _SLANTED.items()}),
    *_dejavu("Serif", {cut: f"Serif{file}" for cut, file in _SERIF.items()}),
    *(
        Typeface(name=name, wheel="manimgx-fonts", file=file, variation=variation)
        for name, (file, variation) in _NOTO.items()
    ),
    *(
        Typeface(
            name=f"STIX {cut}".strip(),
            wheel="matplotlib",
            file=f"STIXGeneral{file}.ttf",
            known_to="teacher",
        )
        for cut, file in _STIX.items()
    ),
    *(
        Typeface(name=name, wheel="matplotlib", file=f"{file}.ttf", known_to=known_to)
        for name, (file, known_to) in _COMPUTER_MODERN.items()
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One digit in one pose. `name` describes it; poses of the same digit share a name."""

    stem: str
    name: str
    digit: int
    kind: Kind
    known_to: KnownTo
    face: Typeface | None = None  # if printed
    row: int = 0  # in scikit-learn's table, if handwritten

    @property
    def class_name(self) -> str:
        """The digit as a word."""
        return DIGITS[self.digit]


def handwritten_digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the 1,797 handwritten digits (N, 8, 8) with ink from 0 to 16, and their labels (N,).

    Source: UCI, Optical Recognition of Handwritten Digits, in the file of scikit-learn's wheel.
    Raises BadInput if the wheel is not installed.
    """
    with gzip.open(installed("scikit-learn", "digits.csv.gz"), "rt") as lines:
        table = np.loadtxt(lines, delimiter=",")
    ink: NDArray[np.uint8] = table[:, :-1].reshape(-1, 8, 8).astype(np.uint8)
    return ink, table[:, -1].astype(np.int64)


def all_figures() -> list[Figure]:
    """Return every figure: printed, then handwritten, then displays."""
    return [*_printed(), *_handwritten(), *_displays()]


def _printed() -> list[Figure]:
    return [
        Figure(
            stem=f"{word}-{face.name.lower().replace(' ', '-')}-{pose}",
            name=f"{word} in {face.name}",
            digit=digit,
            kind="print",
            known_to=face.known_to,
            face=face,
        )
        for digit, word in enumerate(DIGITS)
        for face in TYPEFACES
        for pose in range(POSES_PER_TYPEFACE)
    ]


def _handwritten() -> list[Figure]:
    _, digits = handwritten_digits()
    figures = []
    for digit, word in enumerate(DIGITS):
        rows = [int(row) for row in np.flatnonzero(digits == digit)]
        chosen = sorted(rows, key=lambda row: _share(f"hand {row}"))[:HANDWRITTEN_PER_DIGIT]
        figures += [
            Figure(
                stem=f"{word}-hand-{row:04d}",
                name=f"handwritten {word}",
                digit=digit,
                kind="hand",
                known_to=_known_to(f"known {row}"),
                row=row,
            )
            for row in sorted(chosen)
        ]
    return figures


def _displays() -> list[Figure]:
    return [
        Figure(
            stem=f"{word}-display-{number:02d}",
            name=f"{word} on a display",
            digit=digit,
            kind="display",
            known_to=_known_to(f"display {digit} {number}"),
        )
        for digit, word in enumerate(DIGITS)
        for number in range(DISPLAYS_PER_DIGIT)
    ]


def _known_to(text: str) -> KnownTo:
    """Decide by a hash: 15% are known to nobody, 15% to the teacher only."""
    share = _share(text)
    return "nobody" if share < 0.15 else "teacher" if share < 0.3 else "student"


def _share(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) / 2**64
