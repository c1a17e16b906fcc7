"""Where images lie in the data that they were bought from: a folder, or a manifest that lists them.

The client reads the same layouts (docs/guides/data-layouts.md) with code of its own, because the
cache imports nothing of it. Here a file only has to be found; what the client would refuse before a
purchase is refused here where the report would otherwise be wrong.
"""

from __future__ import annotations

import csv
import hashlib
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cache.errors import ReportImpossible

_CLASSES_FILE: Final = "classes.csv"
# A hyphen between words; the sign of a number is kept.
_HYPHEN: Final = re.compile(r"(?<=\w)(?:[-\u2010-\u2015]| [-\u2010-\u2015] )(?=\w)")
_SAVED: Final = ("dataset_dict.json", "state.json")

Row = tuple[Path, str, str]  # a file, its domain and its class, "" for none


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an image file lies in the data: its domains and classes, usually one of each."""

    domains: frozenset[str]
    classes: frozenset[str]


def find_places(data: Path, items: Collection[str]) -> dict[str, Place]:
    """Return where the files with these SHA-256 digests lie in a folder or a manifest.

    A folder has domains of classes or, if a file lies directly below the first level, classes only.
    A manifest (CSV or Parquet) has the column `path`, and `label` and `domain` where there are
    classes and domains. Classes have the words of `classes.csv`. Raises ReportImpossible for data
    that is neither, and a table that cannot be read.
    """
    if data.is_file():
        root = data.resolve().parent
        rows = list(_of_these(_in_manifest(data), items))
    elif any((data / name).is_file() for name in _SAVED):
        message = (
            f"{data} is a data set of Hugging Face, whose images are in no files of their own: "
            "name the folder or the manifest that it was made from"
        )
        raise ReportImpossible(message)
    elif data.is_dir():
        root, rows = data, _in_folder(data, items)
    else:
        message = f"there is no data folder or manifest {data}"
        raise ReportImpossible(message)
    words = _words(root / _CLASSES_FILE)
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for digest, (_, domain, class_name) in rows:
        found[digest].append((domain, words.get(_folded(class_name), class_name)))
    return {
        digest: Place(
            domains=frozenset(domain for domain, _ in places if domain),
            classes=frozenset(class_name for _, class_name in places if class_name),
        )
        for digest, places in found.items()
    }


def _of_these(rows: Iterable[Row], items: Collection[str]) -> Iterator[tuple[str, Row]]:
    """The rows of which the file has one of these digests, each with its digest."""
    for row in rows:
        with row[0].open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest in items:
            yield digest, row


def _in_folder(root: Path, items: Collection[str]) -> list[tuple[str, Row]]:
    bought = [
        (digest, path, path.relative_to(root).parts)
        for digest, (path, _, _) in _of_these(((path, "", "") for path in _files(root)), items)
    ]
    bought = [one for one in bought if len(one[2]) > 1]
    has_domains = all(len(parts) > 2 for _, _, parts in bought)
    return [
        (digest, (path, parts[0] if has_domains else "", parts[1 if has_domains else 0]))
        for digest, path, parts in bought
    ]


def _files(folder: Path) -> Iterator[Path]:
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(where, name) for name in sorted(names) if not name.startswith("."))


def _in_manifest(manifest: Path) -> list[Row]:
    rows = _parquet(manifest) if manifest.suffix == ".parquet" else _csv(manifest)
    if not rows or "path" not in rows[0]:
        message = f"{manifest} is no manifest: it has no rows with the column path"
        raise ReportImpossible(message)
    found, lost = [], []
    for row in rows:
        path = _file(manifest.resolve().parent, row["path"])
        if path is None:
            lost.append(row["path"])
        else:
            found.append((path, row.get("domain", ""), row.get("label", "")))
    if lost:
        message = f"{manifest}: {len(lost):,} of {len(rows):,} files are not there: {lost[0]!r}, …"
        raise ReportImpossible(message)
    return found


def _file(root: Path, name: str) -> Path | None:
    """The file that a row names, in the spelling of the disk; None if it is not there."""
    for form in (name, *(unicodedata.normalize(way, name) for way in ("NFC", "NFD"))):
        path = root / form
        if name and path.is_file():
            return path
    return None


def _words(table: Path) -> dict[str, str]:
    """The word of each class folder, by the folder's folded name; {} without a table."""
    if not table.is_file():
        return {}
    rows = _csv(table)
    if not {"folder", "name"} <= set(rows[0] if rows else ()):
        message = f"{table} has no rows with the columns folder and name"
        raise ReportImpossible(message)
    return {_folded(row["folder"].strip()): row["name"].strip() for row in rows}


def _folded(name: str) -> str:
    """What the usual spellings of one name have in common, as the client compares them."""
    text = unicodedata.normalize("NFKC", name).casefold().replace("_", " ")
    return _HYPHEN.sub(" ", " ".join(text.split()))


def _csv(path: Path) -> list[dict[str, str]]:
    try:
        # utf-8-sig: spreadsheets write a byte order mark before the first column's name.
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, restkey="", restval=""))
    except (UnicodeError, csv.Error, OSError) as error:
        message = f"{path} is not a table in UTF-8: {error}"
        raise ReportImpossible(message) from error
    return [{name: str(cell) for name, cell in row.items()} for row in rows]


def _parquet(path: Path) -> list[dict[str, str]]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        message = f"{path}: Parquet needs pyarrow: pip install 'rented-teacher[parquet]'"
        raise ReportImpossible(message) from error
    try:
        rows = parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        message = f"{path} is not a Parquet file that can be read: {error}"
        raise ReportImpossible(message) from error
    return [{name: "" if cell is None else str(cell) for name, cell in row.items()} for row in rows]
