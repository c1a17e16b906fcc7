"""The figures of a report."""

import pytest

from cache.values import StoredReceipt
from student.report.economics import Economics, bulk_milliseconds
from student.report.markdown import table
from student.results import Tally
from tests.cache.purchases import Ledger, images, intent_of


def test_a_tally_is_an_accuracy_with_its_wilson_interval() -> None:
    tally = Tally(correct=8, images=10)
    # Wilson, 1927, for 8 of 10: 0.490 to 0.943.
    assert tally.as_dict() == {
        "accuracy": 0.8,
        "interval95": [pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4)],
        "correct": 8,
        "images": 10,
    }
    assert str(tally) == "80.0 ± 22.7"


def test_every_answer_right_still_has_an_interval() -> None:
    low, high = Tally(correct=20, images=20).as_dict()["interval95"]
    assert low < 0.9 < high == 1.0


def _economics(vendor_milliseconds: float | None) -> Economics:
    return Economics(
        parameters=3_710_000,
        student_milliseconds=8.4,
        vendor_milliseconds=vendor_milliseconds,
        micro_usd_per_unit=100,
        cost_micro_usd=887_000,
        break_even=8_870,
    )


def test_the_student_is_set_beside_the_vendors_price_and_latency() -> None:
    rows = dict(_economics(2.5).rows())
    assert rows["student"] == "3.71 million parameters"
    assert rows["vendor, one image in bulk"] == "2.5 ms, $0.0001"
    assert rows["paid back after"] == "8,870 predictions"


def test_a_single_request_says_nothing_of_the_vendors_speed() -> None:
    (receipt,) = _bought("run-1", 1_000)
    assert bulk_milliseconds([receipt]) is None
    assert bulk_milliseconds([]) is None
    assert "too few" in dict(_economics(None).rows())["vendor, one image in bulk"]


def test_the_vendors_speed_is_read_off_the_receipts_of_the_largest_run() -> None:
    # Two images a receipt, the last two of them within 60 milliseconds: 15 each.
    receipts = [*_bought("run-1", 1_000, 1_020, 1_060), *_bought("run-2", 0, 9_000)]
    assert bulk_milliseconds(receipts) == 15.0


def _bought(run: str, *created_ms: int) -> list[StoredReceipt]:
    ledger = Ledger()
    return [
        StoredReceipt(
            account="a",
            run=run,
            receipt=ledger.charge(intent_of(*images(2 * n, 2 * n + 1))).model_copy(
                update={"created_ms": at}
            ),
        )
        for n, at in enumerate(created_ms)
    ]


def test_a_markdown_table_has_a_line_a_row() -> None:
    assert table(["a", "b"], [["x", "1"]]) == ["| a | b |", "| --- | ---: |", "| x | 1 |"]
