"""Reads a manifest, a CSV or Parquet table with a row for each image, and checks every row."""

from __future__ import annotations

import os.path
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from student.data.folder.csv_table import read_csv, require_columns
from student.data.folder.folder_tree import NO_CLASS, Found, Labelled, LeftOut
from student.data.folder.names import listed, nfc
from student.data.folder.splits import SPLITS, is_split, split_facts
from student.errors import BadInput

SUFFIXES = (".csv", ".parquet")
_NEEDED = ("path", "label")
_OPTIONAL = ("domain", "split")

_Row = tuple[int, dict[str, str]]


def in_manifest(path: Path, *, unlabelled: bool = False, own: Sequence[str] = ()) -> Found:
    """The images of a manifest, by domain, label and path, with what is not listed beside them.

    Columns: `path` (below the manifest's folder, or elsewhere if the file is there) and `label`;
    `domain` (without it, the name of the manifest's folder) and `split`. A column `domain` or
    `split` is filled in every row, or in none. `unlabelled` needs no labels and reads none. `own`
    are names of tables in the manifest's folder that the client itself reads.

    Raises BadInput, naming the lines, for other columns, a file that is not there, a row without a
    label, two rows for one file, and a split that is none of SPLITS.
    """
    needed = [name for name in _NEEDED if not (unlabelled and name == "label")]
    allowed = [name for name in (*_NEEDED, *_OPTIONAL) if name not in needed]
    is_csv = path.suffix == ".csv"
    rows = read_csv(path, needed, allowed=allowed) if is_csv else _parquet(path, needed, allowed)
    has_labels = any("label" in row for _, row in rows)
    if unlabelled:
        rows = [(line, row | {"label": NO_CLASS}) for line, row in rows]
    root = path.resolve().parent
    files = [_file(root, row["path"]) for _, row in rows]
    _require_sound(path, rows, files, unlabelled=unlabelled)
    images = [
        Labelled(
            path=file,
            domain=nfc(row.get("domain", "")) or root.name,
            class_name=nfc(row["label"]),
            is_below=False,
            split=row.get("split", ""),
        )
        for (_, row), file in zip(rows, files, strict=True)
        if file is not None
    ]
    folders = [Path(os.path.normpath(one.path.parent)) for one in images]
    outside = [str(folder) for folder in folders if not folder.is_relative_to(root)]
    warnings = []
    if outside:
        where = listed(list(dict.fromkeys(outside)))
        warnings.append(f"{len(outside):,} images lie outside {root}, in {where}")
    return Found(
        root=root,
        images=sorted(images, key=lambda one: (one.domain, one.class_name, one.path)),
        left_out=_not_listed(path, images, own),
        warnings=warnings,
        facts=[
            *split_facts(one.split for one in images),
            *(["the column label is not read (--unlabelled)"] if unlabelled and has_labels else []),
        ],
    )


def _file(root: Path, value: str) -> Path | None:
    """The file that a row names, in the spelling of the disk; None if it is not there."""
    for form in (value, nfc(value), unicodedata.normalize("NFD", value)):
        path = root / form
        try:
            if value and path.is_file():
                return path
        except OSError:  # a name that the system cannot have
            return None
    return None


def _require_sound(
    path: Path, rows: Sequence[_Row], files: Sequence[Path | None], *, unlabelled: bool
) -> None:
    faults: dict[str, list[str]] = defaultdict(list)
    for (line, row), file in zip(rows, files, strict=True):
        for fault in _faults(row, file, unlabelled=unlabelled):
            faults[fault].append(f"{line} ({row['path']!r})")
    for column in _OPTIONAL:
        empty = [str(line) for line, row in rows if not row.get(column, "")]
        if empty and len(empty) < len(rows):
            faults[f"no {column}, which other rows have"] = empty
    for fault, where in _twice(rows, files):
        faults[fault].append(where)
    if faults:
        unit = "line" if path.suffix == ".csv" else "row"
        said = "; ".join(f"{fault}: {unit} {listed(lines)}" for fault, lines in faults.items())
        message = f"{path}: {said}. Nothing was bought; mend the manifest"
        raise BadInput(message)


def _faults(row: dict[str, str], file: Path | None, *, unlabelled: bool) -> Iterator[str]:
    if file is None:
        yield "no such file" if row["path"] else "no path"
    if not (unlabelled or row["label"].strip()):
        yield "no label"
    if not is_split(row.get("split", "")):
        yield f"a split that is none of {', '.join(SPLITS)} ({row['split']!r})"


def _twice(rows: Sequence[_Row], files: Sequence[Path | None]) -> Iterator[tuple[str, str]]:
    first: dict[Path, _Row] = {}
    for (line, row), file in zip(rows, files, strict=True):
        if file is None:
            continue
        earlier, seen = first.setdefault(file.resolve(), (line, row))
        if earlier != line:
            same = seen["label"] == row["label"]
            fault = "a second row for one file" if same else "two labels for one file"
            yield fault, f"{line} ({row['path']!r}, as {earlier})"


def _not_listed(path: Path, images: Sequence[Labelled], own: Sequence[str]) -> list[LeftOut]:
    """The files beside the listed images; folders that hold no listed image are not looked at."""
    taken = {one.path.resolve() for one in images} | {path.resolve()}
    taken |= {path.resolve().parent / name for name in own}
    return [
        LeftOut(path=beside, reason="not in the manifest")
        for folder in sorted({one.path.parent for one in images})
        for beside in sorted(folder.iterdir())
        if beside.is_file() and beside.resolve() not in taken
    ]


def _parquet(path: Path, needed: Sequence[str], allowed: Sequence[str]) -> list[_Row]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        message = (
            f"{path}: Parquet needs pyarrow: pip install 'rented-teacher[parquet]', or use .csv"
        )
        raise BadInput(message) from error
    try:
        schema = parquet.read_schema(path)
        require_columns(path, schema.names, needed, allowed)
        rows = parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        message = f"{path} is not a Parquet file that can be read: {error}"
        raise BadInput(message) from error
    odd = {name for row in rows for name, cell in row.items() if not _is_text(cell)}
    if odd:
        message = (
            f"{path}: the column {listed(sorted(odd))} holds more than text. Nothing was bought"
        )
        raise BadInput(message)
    return [
        (number, {name: "" if cell is None else str(cell) for name, cell in row.items()})
        for number, row in enumerate(rows, 1)
    ]


def _is_text(cell: object) -> bool:
    # A whole number is a label that a CSV file would spell the same.
    return cell is None or (isinstance(cell, str | int) and not isinstance(cell, bool))
