"""The file of rows keeps every row that was written and adds no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from student.bench.rows import add_row, read_rows
from student.errors import BadInput
from tests.support.small_grid import row, run, settings

BASE = settings(Path("pets"))
FIRST = row(run(seed=0), BASE, queries=3, d2=50)
SECOND = row(run(seed=1), BASE, queries=4, d2=60)


def test_rows_come_back_as_they_were_added(tmp_path: Path) -> None:
    for each in (FIRST, SECOND):
        add_row(tmp_path / "rows.jsonl", each)
    assert read_rows(tmp_path / "rows.jsonl") == {FIRST.id: FIRST, SECOND.id: SECOND}


def test_a_missing_file_has_no_rows(tmp_path: Path) -> None:
    assert read_rows(tmp_path / "rows.jsonl") == {}


def test_a_line_cut_short_by_a_kill_is_skipped_and_affects_no_other_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    add_row(path, FIRST)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:40])
    assert read_rows(path) == {FIRST.id: FIRST}
    add_row(path, SECOND)
    assert path.read_bytes().startswith(whole)
    assert read_rows(path) == {FIRST.id: FIRST, SECOND.id: SECOND}


def test_a_line_that_is_not_a_row_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    add_row(path, FIRST)
    path.write_bytes(path.read_bytes() + b'{"id": 1}\n')
    with pytest.raises(BadInput, match="line 2"):
        read_rows(path)
