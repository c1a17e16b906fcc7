"""The results of a bench: an append-only file of JSON lines."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import portalocker
from portalocker import LockFlags
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from student.errors import BadInput
from student.evaluation.results import AccuracyCount
from student.options.renamed_options import renamed_method, renamed_options

Option = str | int | float | bool


class Row(BaseModel):
    """The result of one finished run, with the current names of methods and options.

    `accuracies` are on the parts that were used neither for training nor for model selection.
    `queries` is what the student's embeddings cost, whichever run bought them.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    kind: str
    dataset: str
    method: str
    seed: int
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    views: int
    fraction: float
    selector: str
    options: dict[str, Option]
    steps: int
    lmd: float
    images: int = Field(description="trained on")
    queries: int
    cost_micro_usd: int
    accuracies: dict[str, AccuracyCount]
    validation: AccuracyCount
    calibration_errors: dict[str, float] = Field(
        default_factory=dict,
        description="expected calibration error (0 to 1) of each part; the first rows have none",
    )
    chosen: str = Field(description="raw or average weights")
    seconds: float
    teacher: str
    fingerprint: str
    data_sha256: str
    command: str
    commit: str
    machine: str
    recipe: str = Field("", description="digest of the settings; the first rows have none")

    @field_validator("method")
    @classmethod
    def _method_today(cls, value: str) -> str:
        return renamed_method(value)

    @field_validator("options")
    @classmethod
    def _options_today(cls, value: dict[str, Option]) -> dict[str, Option]:
        return renamed_options(value)


def read_rows(path: Path) -> dict[str, Row]:
    """Returns the rows of a file by id; the first row of an id wins. Empty if there is no file.

    A last line without a newline, left by a killed process, is ignored. Raises BadInput for any
    other line that is not a row.
    """
    if not path.exists():
        return {}
    rows: dict[str, Row] = {}
    for number, line in enumerate(_whole_lines(path), start=1):
        try:
            row = Row.model_validate_json(line)
        except ValidationError as error:
            message = f"{path}, line {number} is not a row of a bench: {error.errors()[0]['msg']}"
            raise BadInput(message) from error
        rows.setdefault(row.id, row)
    return rows


def add_row(path: Path, row: Row) -> None:
    """Appends a row under an exclusive file lock, and syncs it to disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        portalocker.lock(file, LockFlags.EXCLUSIVE)
        _drop_torn_end(file)
        file.write(row.model_dump_json().encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _whole_lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n") and line.strip():
                yield line


def _drop_torn_end(file: BinaryIO) -> None:
    """Truncates an incomplete last line that a killed process left."""
    file.seek(0)
    written = file.read()
    whole = written.rfind(b"\n") + 1
    if whole < len(written):
        file.truncate(whole)
    file.seek(0, os.SEEK_END)
