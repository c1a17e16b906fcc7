"""The same small images as a folder, as a manifest and as data sets of `datasets`."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import datasets

Rows = Sequence[Mapping[str, str]]


def rows_of(root: Path) -> list[dict[str, str]]:
    """A row of `path,label,domain` for each image of `root/<domain>/<class>/*`, out of order."""
    paths = sorted(root.glob("*/*/*.png"), reverse=True)
    return [
        {
            "path": path.relative_to(root).as_posix(),
            "label": path.parent.name,
            "domain": path.parent.parent.name,
        }
        for path in paths
    ]


def write_csv(path: Path, rows: Rows) -> Path:
    """A table with the columns of the first row."""
    with path.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def data_set(root: Path, rows: Rows) -> datasets.Dataset:
    """The rows with their images embedded, byte for byte."""
    images = [
        {"bytes": (root / row["path"]).read_bytes(), "path": Path(row["path"]).name} for row in rows
    ]
    columns: dict[str, list[object]] = {"image": list(images)}
    for name in ("label", "domain"):
        columns[name] = [row[name] for row in rows]
    features = datasets.Features(
        image=datasets.Image(),
        label=datasets.ClassLabel(names=sorted({row["label"] for row in rows})),
        domain=datasets.Value("string"),
    )
    return datasets.Dataset.from_dict(columns, features=features)
