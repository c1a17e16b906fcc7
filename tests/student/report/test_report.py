"""The figures of a report, and its picture."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from cache.records.purchase_records import StoredReceipt
from student.console import quiet
from student.data.image_set import load_image_set
from student.evaluation.results import AccuracyCount, Experiment, MethodResult
from student.report.break_even import Economics, bulk_milliseconds, request_latency
from student.report.markdown import table
from student.report.pictures.gallery import draw_answers
from tests.support.cache_purchases import Ledger, images, intent_of, run_record
from tests.support.pictures import write_picture
from tests.support.small_grid import settings


def test_an_accuracy_count_has_a_wilson_interval() -> None:
    tally = AccuracyCount(correct=8, images=10)
    # Wilson, 1927, for 8 of 10: 0.490 to 0.943.
    assert tally.as_dict() == {
        "accuracy": 0.8,
        "interval95": [pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4)],
        "correct": 8,
        "images": 10,
    }
    assert str(tally) == "80.0 ± 22.7"


def test_a_perfect_accuracy_still_has_an_interval() -> None:
    low, high = AccuracyCount(correct=20, images=20).as_dict()["interval95"]
    assert low < 0.9 < high == 1.0


def _economics(vendor_milliseconds: float | None) -> Economics:
    return Economics(
        parameters=3_710_000,
        student_milliseconds=8.4,
        vendor_milliseconds=vendor_milliseconds,
        micro_usd_per_image=100,
        cost_micro_usd=887_000,
        break_even=8_870,
        student_images_per_second=212.4,
    )


def test_the_student_is_compared_with_the_vendors_price_and_latency() -> None:
    rows = dict(_economics(2.5).rows())
    assert rows["student"] == "3.71 million parameters"
    assert rows["student, batches of 32 on this CPU"] == "212 images a second"
    assert rows["vendor, one image in bulk"] == "2.5 ms (400 images a second), $0.0001"
    assert rows["paid back after"] == "8,870 predictions"


def test_a_single_request_gives_no_estimate_of_the_vendors_speed() -> None:
    (receipt,) = _bought("run-1", 1_000)
    assert bulk_milliseconds([receipt]) is None
    assert bulk_milliseconds([]) is None
    assert "not known" in dict(_economics(None).rows())["vendor, one image in bulk"]


def test_a_vendor_that_counts_in_nanoseconds_has_no_speed_in_milliseconds() -> None:
    second = 1_000_000_000
    assert bulk_milliseconds(_bought("run-1", 10**18, 10**18 + second)) is None
    assert bulk_milliseconds(_bought("run-1", -5, 1_000)) is None


def test_the_vendors_speed_is_computed_from_the_receipts_of_the_largest_run() -> None:
    # Two images a receipt, the last two of them within 60 milliseconds: 15 each.
    receipts = [*_bought("run-1", 1_000, 1_020, 1_060), *_bought("run-2", 0, 9_000)]
    assert bulk_milliseconds(receipts) == 15.0


def test_the_vendors_latency_is_that_of_the_run_that_bought_most_and_kept_it() -> None:
    stored = [*_bought("early", 1, 2, 3), *_bought("small", 4), *_bought("large", 5, 6)]
    runs = [
        run_record("early"),
        run_record("small", request_milliseconds=90, request_items=1),
        run_record("large", request_milliseconds=412, request_items=63),
        run_record("other", request_milliseconds=1, request_items=1),
    ]
    found = request_latency(stored, runs)
    assert found is not None
    assert found.run == "large"
    assert request_latency(_bought("early", 1), runs) is None


def test_the_latency_of_a_request_is_shown_beside_the_students() -> None:
    economics = replace(
        _economics(None), vendor_request_milliseconds=1_412, vendor_request_items=63
    )
    rows = dict(economics.rows())
    assert rows["student, one image on this CPU"] == "8.4 ms, free"
    assert rows["vendor, a request of 63 items with the network, median"] == "1,412 ms"
    assert not any("with the network" in label for label in dict(_economics(None).rows()))


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


def test_names_that_look_like_formulas_are_drawn_as_they_are_called(tmp_path: Path) -> None:
    domains, classes = ("photo", "cost_$_and_^$^"), ("bird", "a$_b$c^$d^^$")
    seed = 0
    for domain in domains:
        for class_name in classes:
            for number in range(5):
                seed += 1
                write_picture(tmp_path / "pets" / domain / class_name / f"{number}.png", seed)
    options = settings(tmp_path / "pets", target_domain=[domains[1]])
    scanned = load_image_set(options.data, options.run, quiet())
    (split,) = scanned.splits
    predicted = np.array([scanned.label(item) for item in split.tests[domains[1]]])
    result = MethodResult(
        method="kd",
        trained=cast(Any, None),  # no picture shows it
        scores={domains[1]: AccuracyCount(correct=10, images=10)},
        answers={domains[1]: predicted},
        calibration=cast(Any, None),
    )
    experiment = Experiment(
        sources=split.sources, targets=split.targets, num_train=8, num_bought=8, results=(result,)
    )
    draw_answers(tmp_path / "answers.png", experiment, scanned, seed=0)
    assert (tmp_path / "answers.png").stat().st_size > 0
