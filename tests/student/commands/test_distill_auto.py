"""A run that decides by its first images whether to buy the others."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cache.paid_cache import PaidCache
from student.commands import distill as command
from student.commands import distill_purchase
from student.console import Terminal
from student.options import Options
from student.selection import rule, selection
from tests.support.ledger_vendor import KEY, LedgerVendor
from tests.support.pictures import write_domains
from tests.support.purchase_setup import client_of
from tests.support.small_grid import settings

TEXTS = 2
TRAINED_ON = 2 * 2 * 33  # two source domains, two classes, four fifths of 41 pictures
FIRST = 64


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Noise: nothing can be better than anything else, but by chance."""
    return write_domains(tmp_path / "pets", each=41)


def distilled(
    options: Options, vendor: LedgerVendor, monkeypatch: pytest.MonkeyPatch
) -> tuple[dict[str, Any], str]:
    """What the command returns, and what it prints."""
    printed = StringIO()
    monkeypatch.setenv("TEACHER_API_KEY", KEY)
    monkeypatch.setattr(distill_purchase, "open_vendor", lambda *_, **__: client_of(vendor))
    terminal = Terminal(Console(file=printed, width=200))
    figures = command.run_distill(options, terminal, command="distill-client")
    return figures, " ".join(printed.getvalue().split())


def auto(pets: Path, **more: object) -> Options:
    return settings(pets, threads=1, target_domain=["d2"], method="auto", **more)


def test_where_labels_alone_do_as_well_only_the_first_images_are_bought(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Labels alone are right on few images of noise, so the rule is told that these are enough.
    monkeypatch.setattr(selection, "SOLVED", 0.0)
    vendor, options = LedgerVendor(), auto(pets)
    figures, printed = distilled(options, vendor, monkeypatch)
    rest = TRAINED_ON - FIRST
    assert vendor.spent == TEXTS + FIRST
    assert f"auto first buys {TEXTS + FIRST} of these queries" in printed
    assert f"{rest} queries for the other images were not bought" in printed
    assert [one["method"] for one in figures["students"]] == ["erm"]
    meta = json.loads((options.run.out / "meta.json").read_text())
    assert meta["selection"]["queries_kept_back"] == rest
    assert meta["selection"]["correct"].keys() == {"erm", "vl2v-adip-joint"}
    assert f"{rest} queries for the other images" in (options.run.out / "report.md").read_text()
    distilled(options, vendor, monkeypatch)  # again: the same choice, from what is stored
    assert vendor.spent == TEXTS + FIRST


def test_what_is_kept_back_is_bought_by_the_same_run_unless_labels_alone_are_better(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rule, "LEVEL", 0.0)  # whatever chance gives, it shows nothing
    vendor, options = LedgerVendor(), auto(pets)
    figures, printed = distilled(options, vendor, monkeypatch)
    assert vendor.spent == TEXTS + TRAINED_ON
    assert f"buying the other {TRAINED_ON - FIRST} queries" in printed
    assert [one["method"] for one in figures["students"]] == ["vl2v-adip-joint"]
    bought = figures["purchase"]
    assert (bought["bought"], bought["queries"]) == (TEXTS + TRAINED_ON, TEXTS + TRAINED_ON)
    assert (bought["left_out"], figures["plan"]["already_paid"]) == (0, 0)
    meta = json.loads((options.run.out / "meta.json").read_text())
    assert meta["selection"]["queries_kept_back"] == 0
    assert meta["embeddings_bought"] == TRAINED_ON
    with PaidCache.open(options.purchase.cache) as cache:
        runs = [one.run for one in cache.runs()]
    assert sorted(runs) == [runs[0], f"{runs[0]}.2"]
    assert meta["selection"]["validation_images"] == 32
    distilled(options, vendor, monkeypatch)
    assert vendor.spent == TEXTS + TRAINED_ON


def test_a_dry_run_says_what_would_be_bought_first(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor = LedgerVendor()
    figures, printed = distilled(auto(pets, dry_run=True), vendor, monkeypatch)
    assert vendor.spent == 0
    assert f"it buys the other {TRAINED_ON - FIRST} ($" in printed
    assert figures["plan"]["queries"] == TEXTS + TRAINED_ON


def test_a_few_images_are_bought_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vendor, pets = LedgerVendor(), write_domains(tmp_path / "few")
    _, printed = distilled(auto(pets), vendor, monkeypatch)
    assert "auto chooses between erm and vl2v-adip-joint after the purchase" in printed
    assert vendor.spent == TEXTS + 16
