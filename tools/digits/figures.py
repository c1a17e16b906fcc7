"""Which digits are drawn: every figure's name, its class, and who may train on it.

A figure is one digit of one hand, one typeface or one display, in one pose. A printed figure wears
every printed look, as an emoji does every vendor's style. Who may train on a typeface, a hand or a
display is fixed here, never drawn at run time.
"""

import gzip
import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tools.digits.wheels import installed

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TAKES = 2  # poses of each digit of a typeface
HANDS = 50  # handwritten pictures of each digit
DISPLAYS = 30  # lit displays of each digit

Knower = Literal["student", "teacher", "nobody"]
Kind = Literal["print", "hand", "display"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Face:
    """A typeface: the wheel and file that it is read from, and its cut where the file has many."""

    name: str
    wheel: str
    file: str
    cut: str = ""
    known_to: Knower = "student"


def _dejavu(family: str, cuts: dict[str, str]) -> list[Face]:
    return [
        Face(name=f"DejaVu {family} {cut}".strip(), wheel="matplotlib", file=f"DejaVu{file}.ttf")
        for cut, file in cuts.items()
    ]


_SLANTED = {"": "", "Bold": "-Bold", "Oblique": "-Oblique", "Bold Oblique": "-BoldOblique"}
_SERIF = {"": "", "Bold": "-Bold", "Italic": "-Italic", "Bold Italic": "-BoldItalic"}
_STIX = {"": "", "Bold": "Bol", "Italic": "Italic", "Bold Italic": "BolIta"}
_KNUTH: dict[str, tuple[str, Knower]] = {
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
FACES: tuple[Face, ...] = (
    *_dejavu("Sans", {cut: f"Sans{file}" for cut, file in _SLANTED.items()}),
    *_dejavu("Sans Mono", {cut: f"SansMono{file}" for cut, file in _SLANTED.items()}),
    *_dejavu("Serif", {cut: f"Serif{file}" for cut, file in _SERIF.items()}),
    *(
        Face(name=name, wheel="manimgx-fonts", file=file, cut=cut)
        for name, (file, cut) in _NOTO.items()
    ),
    *(
        Face(
            name=f"STIX {cut}".strip(),
            wheel="matplotlib",
            file=f"STIXGeneral{file}.ttf",
            known_to="teacher",
        )
        for cut, file in _STIX.items()
    ),
    *(
        Face(name=name, wheel="matplotlib", file=f"{file}.ttf", known_to=known_to)
        for name, (file, known_to) in _KNUTH.items()
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One digit in one pose. `name` is what a person would call it; takes and hands share one."""

    stem: str
    name: str
    digit: int
    kind: Kind
    known_to: Knower
    face: Face | None = None  # of a printed figure
    row: int = 0  # of a handwritten figure, in scikit-learn's table

    @property
    def class_name(self) -> str:
        """The digit in letters."""
        return DIGITS[self.digit]


def hands() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The 1,797 handwritten digits (N, 8, 8), ink 0 to 16, and what they say (N,).

    UCI's optical recognition of handwritten digits, from the file in scikit-learn's wheel, which
    need not be imported. Raises BadInput where the wheel is missing.
    """
    with gzip.open(installed("scikit-learn", "digits.csv.gz"), "rt") as lines:
        table = np.loadtxt(lines, delimiter=",")
    ink: NDArray[np.uint8] = table[:, :-1].reshape(-1, 8, 8).astype(np.uint8)
    return ink, table[:, -1].astype(np.int64)


def all_figures() -> list[Figure]:
    """Every figure: printed, then handwritten, then lit."""
    return [*_printed(), *_handwritten(), *_lit()]


def _printed() -> list[Figure]:
    return [
        Figure(
            stem=f"{word}-{face.name.lower().replace(' ', '-')}-{take}",
            name=f"{word} in {face.name}",
            digit=digit,
            kind="print",
            known_to=face.known_to,
            face=face,
        )
        for digit, word in enumerate(DIGITS)
        for face in FACES
        for take in range(TAKES)
    ]


def _handwritten() -> list[Figure]:
    _, digits = hands()
    figures = []
    for digit, word in enumerate(DIGITS):
        rows = [int(row) for row in np.flatnonzero(digits == digit)]
        chosen = sorted(rows, key=lambda row: _share(f"hand {row}"))[:HANDS]
        figures += [
            Figure(
                stem=f"{word}-hand-{row:04d}",
                name=f"handwritten {word}",
                digit=digit,
                kind="hand",
                known_to=_knower(f"known {row}"),
                row=row,
            )
            for row in sorted(chosen)
        ]
    return figures


def _lit() -> list[Figure]:
    return [
        Figure(
            stem=f"{word}-display-{number:02d}",
            name=f"{word} on a display",
            digit=digit,
            kind="display",
            known_to=_knower(f"display {digit} {number}"),
        )
        for digit, word in enumerate(DIGITS)
        for number in range(DISPLAYS)
    ]


def _knower(text: str) -> Knower:
    """By a hash: 15% known to nobody, 15% to the teacher only."""
    share = _share(text)
    return "nobody" if share < 0.15 else "teacher" if share < 0.3 else "student"


def _share(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) / 2**64
