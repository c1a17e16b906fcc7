"""A run that decides by labels alone whether to buy image embeddings."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cache.paid_cache import PaidCache
from student.commands import distill as command
from student.commands import distill_purchase
from student.console import Terminal
from student.errors import BadInput, StudentError
from student.evaluation import before_training
from student.options import Options
from student.selection import first_answers, selection
from student.selection.first_answers import HANDFUL
from tests.support.ledger_vendor import KEY, LedgerVendor
from tests.support.pictures import write_domains
from tests.support.purchase_setup import client_of
from tests.support.small_grid import settings

TEXTS = 2
TRAINED_ON = 2 * 2 * 33  # two source domains, two classes, four fifths of 41 pictures


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


def test_nothing_but_class_texts_is_bought_where_labels_alone_leave_no_error(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Labels alone are right on few images of noise, so the rule is told that these are enough.
    monkeypatch.setattr(selection, "SOLVED", 0.0)
    vendor, options = LedgerVendor(), auto(pets)
    figures, printed = distilled(options, vendor, monkeypatch)
    assert vendor.spent == TEXTS
    assert "None is bought for it; --method vl2v-adip-joint buys them" in printed
    assert [one["method"] for one in figures["students"]] == ["erm"]
    meta = json.loads((options.run.out / "meta.json").read_text())
    assert (meta["selection"]["chosen"], meta["queries"]) == ("erm", TEXTS)
    assert "None is bought" in (options.run.out / "report.md").read_text()
    distilled(options, vendor, monkeypatch)  # again: the same choice, from what is stored
    assert vendor.spent == TEXTS


def test_everything_is_bought_where_labels_alone_leave_errors(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_answers, "FEWEST", TRAINED_ON)  # the vendor's answers are noise
    monkeypatch.setattr(before_training, "count_wrong_answers", lambda _: 7)
    vendor, options = LedgerVendor(), auto(pets)
    figures, printed = distilled(options, vendor, monkeypatch)
    assert vendor.spent == TEXTS + TRAINED_ON
    assert f"of the first {HANDFUL} images correctly (zero-shot" in printed
    assert "the images are not taken for icons: 0% of the images of d0" in printed
    assert "The images are not taken for icons" in (options.run.out / "report.md").read_text()
    assert [one["method"] for one in figures["students"]] == ["vl2v-adip-joint"]
    meta = json.loads((options.run.out / "meta.json").read_text())
    assert meta["embeddings_bought"] == TRAINED_ON
    assert meta["embeddings_not_learnt_from"] == 7
    assert "7 of the bought embeddings are nearer to the text of another class" in printed
    assert "7 of the bought embeddings are nearer" in (options.run.out / "report.md").read_text()
    assert meta["selection"]["validation_images"] == 32
    with PaidCache.open(options.purchase.cache) as cache:
        assert len(list(cache.runs())) == 2  # the first images, then the others
    distilled(options, vendor, monkeypatch)
    assert vendor.spent == TEXTS + TRAINED_ON


def test_the_first_images_alone_are_bought_of_a_teacher_that_guesses(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor, options = LedgerVendor(), auto(pets)
    figures, printed = distilled(options, vendor, monkeypatch)
    assert vendor.spent == TEXTS + HANDFUL
    assert figures["purchase"]["stop_reason"] == "teacher guesses"
    assert figures["purchase"]["left_out"] == TRAINED_ON - HANDFUL
    assert "auto takes erm: the teacher classifies" in printed
    assert "and no more are bought; --method vl2v-adip-joint does both" in printed
    assert [one["method"] for one in figures["students"]] == ["erm"]
    meta = json.loads((options.run.out / "meta.json").read_text())
    assert (meta["selection"]["chosen"], meta["queries"]) == ("erm", TEXTS + HANDFUL)
    assert meta["selection"]["guesses"]["images"] == HANDFUL
    assert "auto takes erm" in (options.run.out / "report.md").read_text()
    distilled(options, vendor, monkeypatch)  # again: the same answers, the same student
    assert vendor.spent == TEXTS + HANDFUL
    distilled(options.changed(method="vl2v-adip-joint"), vendor, monkeypatch)
    assert vendor.spent == TEXTS + TRAINED_ON
    again, _ = distilled(options, vendor, monkeypatch)  # with every answer there: the same still
    assert [one["method"] for one in again["students"]] == ["erm"]


@pytest.mark.parametrize("compare", [False, True])
def test_erm_is_the_student_if_the_distilled_one_is_far_behind_labels_alone(
    compare: bool, pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not compare:  # which buys everything, also of a teacher that guesses
        monkeypatch.setattr(first_answers, "FEWEST", TRAINED_ON)
    monkeypatch.setattr(selection, "BEHIND", -1.0)  # every student is so far behind
    vendor, options = LedgerVendor(), auto(pets, compare=compare)
    figures, printed = distilled(options, vendor, monkeypatch)
    assert vendor.spent == TEXTS + TRAINED_ON
    assert "auto takes erm: after" in printed
    assert "the teacher seems not to know these images" in printed
    assert [one["method"] for one in figures["students"]] == ["erm"]
    out = options.run.out
    meta = json.loads((out / "meta.json").read_text())
    assert (meta["method"], meta["selection"]["chosen"]) == ("erm", "erm")
    assert 0 <= meta["selection"]["distilled_correct"] <= 32
    other = json.loads((out / "vl2v-adip-joint/meta.json").read_text())
    assert other["method"] == "vl2v-adip-joint"
    plain, _ = distilled(
        auto(pets, out=out.parent / "erm").changed(method="erm"), vendor, monkeypatch
    )
    assert figures["students"][0]["scores"] == plain["students"][0]["scores"]


def test_images_that_no_student_learns_from_are_not_bought(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_answers, "FEWEST", TRAINED_ON)
    solved = selection.Selection(images=32, correct=32, steps=3)
    left = replace(solved, correct=16)
    choices = {("d0",): solved, ("d1",): left, ("d2",): solved}
    monkeypatch.setattr(command, "choose_methods", lambda *_: choices)
    vendor, options = LedgerVendor(), auto(pets).changed(target_domain=[])
    figures, _ = distilled(options, vendor, monkeypatch)
    assert vendor.spent == TEXTS + TRAINED_ON  # of d0 and d2, and not of d1
    assert figures["purchase"]["left_out"] == 0
    made = {
        one: json.loads((options.run.out / one / "meta.json").read_text())
        for one in ("d0", "d1", "d2")
    }
    assert {one: meta["method"] for one, meta in made.items()} == {
        "d0": "erm",
        "d1": "vl2v-adip-joint",
        "d2": "erm",
    }
    assert made["d1"]["queries"] == TEXTS + TRAINED_ON
    assert made["d1"]["embeddings_bought"] == TRAINED_ON
    for one in ("d0", "d2"):
        assert (made[one]["queries"], made[one]["embeddings_bought"]) == (TEXTS, 0)


def test_several_students_are_not_written_below_the_student_of_another_run(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "SOLVED", 0.0)
    vendor, options = LedgerVendor(), auto(pets)
    _, printed = distilled(options, vendor, monkeypatch)
    assert f"of each student are in {options.run.out}" in printed
    with pytest.raises(BadInput, match=r"has the student of another run.*Nothing was bought"):
        distilled(options.changed(target_domain=[]), vendor, monkeypatch)
    assert vendor.spent == TEXTS


def test_what_a_plan_refuses_is_refused_before_labels_alone_are_trained_on(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor, options = LedgerVendor(), auto(pets, budget=TEXTS - 1)
    with pytest.raises(StudentError, match="budget"):
        distilled(options, vendor, monkeypatch)
    assert vendor.spent == 0
    assert not (options.run.out / "selection").exists()


def test_a_dry_run_says_what_auto_would_buy_and_when_not(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor = LedgerVendor()
    figures, printed = distilled(auto(pets, dry_run=True), vendor, monkeypatch)
    assert vendor.spent == 0
    assert "auto buys this for vl2v-adip-joint, unless labels alone turn out" in printed
    assert figures["plan"]["queries"] == TEXTS + TRAINED_ON
