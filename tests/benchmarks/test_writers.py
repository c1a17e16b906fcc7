"""The table of writers is that of its result, and the measurement charges what it counts."""

from __future__ import annotations

import json

import pytest

from benchmarks.support.measured_page import with_tables
from benchmarks.writers import MARK, PAGE, RESULT, measured, table

RESULT_OF_A_RUN = {
    "command": "python -m benchmarks.writers",
    "commit": "0123456789abcdef",
    "machine": "2 hardware threads",
    "note": "",
    "postgresql": {"server_version": "18.1", "fsync": "on", "synchronous_commit": "on"},
    "rows": [
        {"keys": keys, "writers": writers, "requests": 100 * writers, "seconds": seconds}
        for keys, seconds in (("one each", 1.0), ("one together", 2.0))
        for writers in (1, 2)
    ],
    "faults": [],
}


def test_the_page_has_the_table_of_the_result() -> None:
    result = json.loads(RESULT.read_text()) if RESULT.is_file() else None
    page = PAGE.read_text(encoding="utf-8")
    assert with_tables(page, MARK, table(result)) == page


def test_the_table_has_the_requests_per_second_of_each_number_of_writers() -> None:
    assert "| 1 | 100 | 50 |\n| 2 | 200 | 100 |\n" in table(RESULT_OF_A_RUN)
    assert "fsync on" in table(RESULT_OF_A_RUN)


def test_a_page_without_a_place_for_the_table_is_refused() -> None:
    with pytest.raises(ValueError, match="no place"):
        with_tables("# A page\n", MARK, table(RESULT_OF_A_RUN))


def test_two_writers_that_sync_are_charged_for_what_they_made() -> None:
    result = measured(0.2, writers=(2,), kinds=("one together",))
    assert result["postgresql"]["fsync"] == result["postgresql"]["synchronous_commit"] == "on"
    assert result["faults"] == []
    (row,) = result["rows"]
    assert row["requests"] >= 2
    assert row["seconds"] > 0
