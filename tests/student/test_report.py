"""The figures of a report."""

import pytest

from student.report.economics import Economics
from student.report.markdown import table
from student.results import Tally


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


def test_a_run_that_bought_nothing_measured_no_vendor() -> None:
    assert "not measured" in dict(_economics(None).rows())["vendor, one image in bulk"]


def test_a_markdown_table_has_a_line_a_row() -> None:
    assert table(["a", "b"], [["x", "1"]]) == ["| a | b |", "| --- | ---: |", "| x | 1 |"]
