"""`cache-report diff`: two caches, or one cache at two dates."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cache.cli import CACHE_VARIABLE, main
from cache.paid_cache import PaidCache
from cache.storage import row_codec
from tests.support.cache_purchases import (
    ACCOUNT,
    Ledger,
    buy,
    image,
    images,
    intent_of,
    overwrite,
    rows_of,
)

DAY = 24 * 3_600_000


@pytest.fixture
def copy(bought: Path, cache: PaidCache) -> Path:
    """A copy of a cache with two purchases."""
    return Path(shutil.copytree(bought, bought.with_name("copy")))


def diff(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    """The exit code and the JSON of `diff`."""
    status = main(["diff", *map(str, arguments), "--json"])
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return status, result


def test_a_cache_equals_its_copy(
    bought: Path, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, result = diff(capsys, bought, copy)
    assert (status, result["is_equal"]) == (0, True)
    assert (result["a"]["receipts"], result["a"]["rows"], result["a"]["units"]) == (2, 3, 3)
    assert result["a"] == {**result["b"], "name": str(bought)}


def test_what_only_one_cache_has_is_listed_with_its_receipt(
    cache: PaidCache, ledger: Ledger, bought: Path, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    receipt = buy(cache, ledger, *images(4, 5), run="run-2")
    status, result = diff(capsys, copy, bought)
    assert status == 1
    (found,) = result["only_in_b"]["receipts"]
    assert (found["request_id"], found["run"], found["cost_micro_usd"]) == (
        *(receipt.request_id, "run-2", 200),
    )
    assert {row["item"] for row in result["only_in_b"]["rows"]} == {
        image(4).item,
        image(5).item,
    }
    assert not any(result["only_in_a"].values())
    (model,) = result["spend_by_model"]
    assert (model["cost_micro_usd_in_a"], model["cost_micro_usd_in_b"]) == (300, 500)
    assert (model["difference_micro_usd"], model["difference_usd"]) == (200, "0.000200")


def test_open_purchases_and_write_offs_are_compared(
    cache: PaidCache, bought: Path, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both count as spent."""
    cache.reserve(intent_of(image(8), name="open"), budget=100)
    cache.write_off(intent_of(image(9), name="gone"), account=ACCOUNT, detail="deleted")
    status, result = diff(capsys, bought, copy)
    assert status == 1
    assert [one["idempotency_key"] for one in result["only_in_a"]["open_purchases"]] == ["open"]
    assert [one["idempotency_key"] for one in result["only_in_a"]["write_offs"]] == ["gone"]


def test_a_row_with_another_vector_is_a_difference(
    cache: PaidCache, bought: Path, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = cache.get(image(1))
    assert row is not None
    other = replace(row, vector=-row.vector)
    overwrite(copy, image(1).digest, row_codec.encode_row(other))
    status, result = diff(capsys, bought, copy)
    assert (status, [one["item"] for one in result["rows_that_differ"]]) == (1, [image(1).item])
    assert not any([*result["only_in_a"].values(), *result["only_in_b"].values()])


def test_one_cache_at_two_dates_shows_what_was_bought_between(
    cache: PaidCache, ledger: Ledger, bought: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the beginning of the first date to before the second, in UTC."""
    intent = intent_of(image(4))
    receipt = ledger.charge(intent, created_ms=ledger.entries[0].created_ms + DAY)
    cache.commit(intent, rows_of(intent, receipt), receipt, account=ACCOUNT)
    cache.reserve(intent_of(image(8)), budget=100)
    for dates, only, status in (
        (["--since", "2025-11-25"], [receipt.request_id], 1),
        (["--since", "2025-11-24", "--until", "2025-11-25"], ["req_0002", "req_0003"], 1),
        (["--since", "2025-11-25", "--until", "2025-11-25T12:00:00+00:00"], [], 0),
    ):
        exit_code, result = diff(capsys, *dates)
        assert exit_code == status
        found = [one["request_id"] for one in result["only_in_b"]["receipts"]]
        assert found == only
        assert len(result["only_in_b"]["rows"]) == sum(
            {"req_0002": 2}.get(request, 1) for request in only
        )


def test_the_table_says_which_side_has_more(
    cache: PaidCache, ledger: Ledger, bought: Path, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    buy(cache, ledger, *map(image, range(100, 125)))
    assert main(["diff", str(bought), str(copy)]) == 1
    shown = capsys.readouterr().out
    assert "receipts only in A: 1" in shown
    assert "rows only in A: 25" in shown
    assert "and 5 more: --json lists all of them." in shown
    assert "28 queries, 2800 micro-USD (0.002800 USD)." in shown
    assert shown.endswith("A and B are DIFFERENT.\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "diff compares two caches, A and B, or one with itself --since a date"),
        (["--since", "yesterday"], "'yesterday' is not a date: write 2026-01-31"),
        (["--since", "2026-01-02", "--until", "2026-01-01"], "is before --since"),
        (["A", "A", "--since", "2026-01-02"], "name one folder"),
    ],
)
def test_a_comparison_that_cannot_be_made_exits_with_2(
    arguments: list[str],
    message: str,
    bought: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(bought))
    named = [str(bought) if argument == "A" else argument for argument in arguments]
    assert main(["diff", *named]) == 2
    assert message in capsys.readouterr().err
