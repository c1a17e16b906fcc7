"""A student bought over a wire that is not this project's own, by real processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.end_to_end.conftest import RunningVendor, invoke
from tests.end_to_end.test_distill import QUERIES, QUICK, SMALL, spent

MODEL = "embedded"
OVER_OPENAI = ("--wire", "openai", "--teacher")


@pytest.fixture(scope="module")
def key(vendor: RunningVendor) -> str:
    return vendor.new_key(50_000)


def command(vendor: RunningVendor, emoji: Path, folder: Path, *more: str) -> tuple[str, ...]:
    return (
        *("distill-client", "--budget", "50000", "--data", str(emoji), "--vendor", vendor.url),
        *("--cache", str(folder / "cache"), "--out", str(folder / "out"), *QUICK, *SMALL),
        *(*OVER_OPENAI, MODEL, "--price-image", "100", "--price-text", "100", *more),
    )


def test_a_student_is_bought_from_our_vendor_over_openais_shape_books_and_all(
    vendor: RunningVendor, emoji: Path, key: str, tmp_path: Path
) -> None:
    printed = invoke(*command(vendor, emoji, tmp_path, "--dry-run"), key=key).stdout
    plan = " ".join(printed.split())
    assert f"{QUERIES + 2}, 2 of them for the canary" in plan
    assert "your own figures, in micro-USD: 100 an image, 100 a text" in plan
    assert spent(vendor, key) == 0

    done = invoke(*command(vendor, emoji, tmp_path), key=key).stdout
    assert f"bought {QUERIES + 2} queries" in done
    assert spent(vendor, key) == QUERIES + 2
    meta = json.loads((tmp_path / "out" / "meta.json").read_text())
    assert (meta["queries"], meta["cost_micro_usd"]) == (QUERIES, 100 * QUERIES)
    assert meta["settings"]["wire"] == "openai"

    cache = ("cache-report", "--cache", str(tmp_path / "cache"))
    summary = json.loads(invoke(*cache, "summary", "--json").stdout)
    assert summary["total"]["units"] == QUERIES + 2
    (said,) = summary["vendor_usage"]
    assert said["usage"]["images"] == said["images"]
    assert said["usage"]["cost_micro_usd"] == said["cost_micro_usd"]
    assert "sound" in invoke(*cache, "verify").stdout

    again = invoke(*command(vendor, emoji, tmp_path), key=key).stdout
    assert "bought 0 queries" in again
    assert spent(vendor, key) == QUERIES + 2


def test_new_classes_are_bought_over_the_wire_that_the_student_was_bought_over(
    vendor: RunningVendor, emoji: Path, key: str, tmp_path: Path
) -> None:
    """Its address and options come from the student's folder: they are the model's identity."""
    invoke(*command(vendor, emoji, tmp_path), key=key)
    before = spent(vendor, key)
    image = str(next((emoji / "outline").glob("*/*.png")))
    predict = ("distill-client", "predict", "--student", str(tmp_path / "out"), "--json", image)
    more = ("--classes", "zebra,okapi", "--budget", "50000")
    told = invoke(*predict, *more, "--dry-run", key=key)
    assert "queries: 4, 2 of them for the canary" in told.stderr
    assert spent(vendor, key) == before
    done = invoke(*predict, *more, key=key)
    assert json.loads(done.stdout)["class"] in {"zebra", "okapi"}
    assert spent(vendor, key) == before + 4
