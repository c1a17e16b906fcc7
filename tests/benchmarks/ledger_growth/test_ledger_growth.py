"""The tables of the growing ledger are those of its result, and the measurement runs whole."""

from __future__ import annotations

import json

from benchmarks.ledger_growth.__main__ import MARK, PAGE, RESULT, measured, tables
from benchmarks.support.measured_page import with_tables

_BYTES = {"table": 2_000_000, "indexes": 1_000_000}
RESULT_OF_A_RUN = {
    "command": "python -m benchmarks.ledger_growth",
    "commit": "0123456789abcdef",
    "machine": "2 hardware threads",
    "note": "Alone.",
    "postgresql": {"server_version": "18.1", "fsync": "on", "shared_buffers": "32MB"},
    "sizes": [
        {
            "sales": 1000,
            "bytes": {"ledger_entries": _BYTES, "requests": _BYTES},
            "requests": 600,
            "seconds": 2.0,
            "layouts": [
                {
                    "layout": "one table",
                    "partitions": 1,
                    "table_bytes": 3_000_000,
                    "index_bytes": 4_000_000,
                    "insert_us": 50.4,
                    "page_ms": 2.51,
                }
            ],
        }
    ],
    "deleting": {
        "alone": {"requests": 900, "seconds": 3.0, "slowest_ms": 20},
        "meanwhile": {"requests": 800, "seconds": 4.0, "slowest_ms": 30},
        "is_over_too_soon": False,
        "answers": 5000,
        "answer_bytes": 4096,
        "seconds": 2.0,
        "slowest_batch_ms": 9,
    },
}


def test_the_page_has_the_tables_of_the_result() -> None:
    result = json.loads(RESULT.read_text()) if RESULT.is_file() else None
    page = PAGE.read_text(encoding="utf-8")
    assert with_tables(page, MARK, tables(result)) == page


def test_the_tables_have_the_figures_of_their_run() -> None:
    made = tables(RESULT_OF_A_RUN)
    assert "| 1,000 | 300 | 2 | 1 | 2 | 1 |" in made
    assert "| 1,000 | one table | 3 | 4 | 50 | 2.5 |" in made
    assert "| nothing is deleted | 300 | 20 |\n| answers are deleted | 200 | 30 |" in made
    assert "5,000 answers of 4,096 bytes were deleted in 2 seconds, 2,500 a second. Alone." in made


def test_a_small_ledger_is_measured_in_both_layouts_and_forgets_all_old_answers() -> None:
    result = measured([200], 700, 0.1, inserts=20)
    assert [row["sales"] for row in result["sizes"]] == [0, 200]
    assert result["postgresql"]["fsync"] == "on"
    (whole, monthly) = result["sizes"][-1]["layouts"]
    assert whole["partitions"] == 1 < monthly["partitions"]
    assert min(whole["insert_us"], monthly["insert_us"], whole["page_ms"]) > 0
    assert result["deleting"]["answers"] == 700
