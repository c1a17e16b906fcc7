"""Fonts for the names in a picture, and numbers for names that no installed font can show."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

_USUAL = "DejaVu Sans"
# It has a box for every character, and nothing that can be read.
_NO_LETTERS = "Last Resort"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lettering:
    """The font families to draw with, and the names that are drawn as a number in brackets."""

    families: tuple[str, ...] = (_USUAL,)
    numbers: Mapping[str, str] = field(default_factory=dict)

    def drawn(self, name: str) -> str:
        """What is drawn for this name."""
        return self.numbers.get(name, name)

    def legend(self) -> str:
        """A sentence that says which number is which name; "" if all names are drawn."""
        pairs = ", ".join(f"{number} is {name}" for name, number in self.numbers.items())
        return f"No installed font has the characters of some names: {pairs}." if pairs else ""


def lettering(names: Iterable[str]) -> Lettering:
    """The fonts, of those that are installed, which have the characters of these names."""
    from matplotlib.font_manager import FontProperties, findfont, fontManager

    distinct = list(dict.fromkeys(names))
    missing = {char for name in distinct for char in name if char.isprintable()}
    missing -= _characters(findfont(FontProperties(family=_USUAL)))
    families = [_USUAL]
    for font in fontManager.ttflist if missing else ():
        if font.name.startswith(_NO_LETTERS) or font.name in families:
            continue
        if found := missing & _characters(font.fname):
            families.append(font.name)
            missing -= found
        if not missing:
            break
    unreadable = [name for name in distinct if missing.intersection(name)]
    numbers = {name: f"[{number}]" for number, name in enumerate(unreadable, start=1)}
    return Lettering(families=tuple(families), numbers=numbers)


def _characters(path: str) -> set[str]:
    from matplotlib.font_manager import get_font

    try:
        return set(map(chr, get_font(path).get_charmap()))
    except (OSError, RuntimeError) as error:  # a font file that FreeType cannot read
        logging.getLogger(__name__).debug("font %s: %s", path, error)
        return set()
