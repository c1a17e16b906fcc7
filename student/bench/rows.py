"""The results: one JSON object a line, only ever added to."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from student.errors import BadInput


class Counted(BaseModel):
    """So many right out of so many."""

    model_config = ConfigDict(frozen=True)

    correct: int = Field(ge=0)
    images: int = Field(gt=0)

    @property
    def accuracy(self) -> float:
        """Between 0 and 1."""
        return self.correct / self.images


class Row(BaseModel):
    """One finished run. `accuracies` are of the parts that nothing was trained or chosen on;
    `queries` is what the student's embeddings cost the first time, whichever run bought them."""

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
    options: dict[str, str | int | float | bool]
    steps: int
    lmd: float
    images: int = Field(description="trained on")
    queries: int
    cost_micro_usd: int
    accuracies: dict[str, Counted]
    validation: Counted
    chosen: str = Field(description="raw or average weights")
    seconds: float
    teacher: str
    fingerprint: str
    data_sha256: str
    command: str
    commit: str
    machine: str
    recipe: str = Field("", description="digest of the settings; rows from before it have none")


def read_rows(path: Path) -> dict[str, Row]:
    """The rows of a file by id, the first of each; none where there is no file.

    A last line that a kill cut short is not a row yet. Raises BadInput for any other line.
    """
    if not path.exists():
        return {}
    rows: dict[str, Row] = {}
    for number, line in enumerate(_whole_lines(path), start=1):
        try:
            row = Row.model_validate_json(line)
        except ValidationError as error:
            message = f"{path}, line {number} is no row of a bench: {error.errors()[0]['msg']}"
            raise BadInput(message) from error
        rows.setdefault(row.id, row)
    return rows


def add_row(path: Path, row: Row) -> None:
    """Writes a row behind the others, whoever else writes; when this returns, it is on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        _drop_torn_end(file.fileno())
        file.write(row.model_dump_json().encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _whole_lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n") and line.strip():
                yield line


def _drop_torn_end(descriptor: int) -> None:
    size = os.fstat(descriptor).st_size
    written = os.pread(descriptor, size, 0)
    whole = written.rfind(b"\n") + 1
    if whole < size:
        os.ftruncate(descriptor, whole)
