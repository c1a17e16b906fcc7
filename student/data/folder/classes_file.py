"""The words for class folders whose own names are codes, from a table beside them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from student.data.folder.csv_table import read_csv
from student.data.folder.names import folded, listed, nfc
from student.errors import BadInput

# "n01440764", "c07" and "112", but neither the digits 0 to 9 nor "boeing 747".
_CODE = re.compile(r"[^\W\d_]?\d{2,}")
CLASSES_FILE = "classes.csv"
"""Columns `folder` (the name of a class folder, or a label) and `name` (what the prompt says)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassWords:
    """The word for each class folder, and the rows of the table that no folder has."""

    word_of: dict[str, str]
    unused: tuple[str, ...] = ()

    def facts(self) -> list[str]:
        """What the prompts will say, in a sentence; nothing without a table."""
        if not self.word_of:
            return []
        pairs = [f"{folder} is {word}" for folder, word in sorted(self.word_of.items())]
        return [f"{CLASSES_FILE} names all {len(pairs):,} classes: {listed(pairs)}"]

    def warnings(self) -> list[str]:
        """A sentence about the rows that no folder has, if there are any."""
        if not self.unused:
            return []
        count = f"{len(self.unused):,} {'row' if len(self.unused) == 1 else 'rows'}"
        return [f"{CLASSES_FILE}: no image has the class of {count}: {listed(self.unused)}"]


def read_class_words(root: Path, folders: Collection[str]) -> ClassWords:
    """The words for these class folders; none without a table. Names are compared as `folded`.

    Raises BadInput for a table that cannot be read, a row without a name, two rows for one folder,
    two folders with one name, and a folder without a row: its code would be bought as a word.
    """
    path = root / CLASSES_FILE
    if not path.exists():
        return ClassWords(word_of={})
    rows = [
        (line, nfc(row["folder"]).strip(), nfc(row["name"]).strip())
        for line, row in read_csv(path, ("folder", "name"), allowed=())
    ]
    of_folder: dict[str, str] = {}
    of_word: dict[str, str] = {}
    for line, folder, word in rows:
        problem = ""
        if not folder or not word:
            problem = "has no folder or no name"
        elif folded(folder) in of_folder:
            problem = f"is a second row for the folder {folder!r}"
        elif (other := of_word.setdefault(folded(word), folder)) != folder:
            problem = f"gives {folder!r} the name {word!r}, which {other!r} has"
        if problem:
            message = f"{path}: line {line} {problem}. Nothing was bought; mend the table"
            raise BadInput(message)
        of_folder[folded(folder)] = word
    if missing := sorted(name for name in folders if folded(name) not in of_folder):
        message = (
            f"{path} has no row for {listed(missing)}: a prompt would say the folder's name. "
            "Nothing was bought; add the rows (the folder's name in both columns keeps it)"
        )
        raise BadInput(message)
    used = {folded(name) for name in folders}
    return ClassWords(
        word_of={name: of_folder[folded(name)] for name in folders},
        unused=tuple(folder for _, folder, _ in rows if folded(folder) not in used),
    )


def require_words(names: Sequence[str]) -> None:
    """Raises BadInput for a class whose prompt would hold no word, or a control character."""
    for name in names:
        kinds = {unicodedata.category(char) for char in name if char not in " _"}
        fault = "holds a control character, such as the end of a line" if "Cc" in kinds else ""
        if kinds <= {"Cf", "Zs", "Zl", "Zp"}:
            fault = "holds no word"
        if fault:
            message = (
                f"the class {name!a} {fault}, and its prompt would be bought: rename it, or "
                f"name it in {CLASSES_FILE}. Nothing was bought"
            )
            raise BadInput(message)


def about_codes(names: Sequence[str]) -> list[str]:
    """A sentence about the classes that are named by codes, if there are any."""
    codes = [name for name in names if _CODE.fullmatch(name)]
    if not codes:
        return []
    return [
        f"{len(codes):,} of {len(names):,} class names look like codes ({listed(codes, most=3)}): "
        f"prompts say them as they stand, which may mean nothing to the teacher; words for "
        f"them go into {CLASSES_FILE}"
    ]
