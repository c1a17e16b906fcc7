"""Classes that are held out of a whole run, with a vendor in memory."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from student.commands import bench, distill_purchase
from student.commands import distill as command
from student.console import Terminal
from student.errors import BadInput, PlanExceedsBudget
from student.options import Options
from student.options.read import read_options
from tests.support.ledger_vendor import KEY, LedgerVendor
from tests.support.pictures import write_domains
from tests.support.purchase_setup import client_of
from tests.support.small_grid import settings

TEXTS = 3  # of two classes that are trained on and one that is held out
TRAINED_ON = 2 * 2 * 4  # two source domains, two classes, four of five pictures


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    return write_domains(tmp_path / "pets", classes=3)


def run(options: Options, vendor: LedgerVendor, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs the client; returns what it printed."""
    printed = StringIO()
    monkeypatch.setenv("TEACHER_API_KEY", KEY)
    monkeypatch.setattr(distill_purchase, "open_vendor", lambda *_, **__: client_of(vendor))
    command.run_distill(options, Terminal(Console(file=printed, width=200)), command="the command")
    return printed.getvalue()


def holding_out(pets: Path, *names: str, **more: object) -> Options:
    asked: dict[str, object] = {"threads": 1, "target_domain": ["d2"], **more}
    return settings(pets, hold_out_classes=list(names), **asked)


def test_a_held_out_class_costs_its_prompt_and_none_of_its_images(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor, options = LedgerVendor(), holding_out(pets, "c1", method="vl2v-adip")
    said = run(options, vendor, monkeypatch)

    assert vendor.spent == TEXTS + TRAINED_ON
    assert "held out as unknown: 15 images of c1" in said
    meta = json.loads((options.run.out / "meta.json").read_text())
    assert (meta["classes"], meta["held_out_classes"]) == (["c0", "c2"], ["c1"])
    assert (meta["queries"], meta["queries_for_measuring"]) == (2 + TRAINED_ON, 1)
    assert meta["scores"]["d2"]["images"] == 10
    # Of the held-out class, all ten images of the source domains and five of the held-out one.
    rejected = {p: one["unknown_rejected"]["images"] for p, one in meta["unknown_classes"].items()}
    assert rejected == {"source validation": 10, "d2": 5}
    found = meta["unknown_classes"]["d2"]
    for name in ("auroc", "h_score"):
        low, high = found[name]["interval95"]
        assert 0 <= low <= found[name]["value"] <= high <= 1
    assert found["new_classes_over_all_prompts"]["images"] == 5
    assert found["known_classes_over_all_prompts"]["images"] == 10
    report = (options.run.out / "report.md").read_text()
    for text in (said, report):
        assert "d2 (5 unknown, 10 known images)" in text
        assert "H-score" in text


def test_a_class_head_rejects_and_names_no_new_class(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = holding_out(pets, "c1", method="kd")
    run(options, LedgerVendor(), monkeypatch)
    found = json.loads((options.run.out / "meta.json").read_text())["unknown_classes"]["d2"]
    assert "auroc" in found
    assert "new_classes_over_all_prompts" not in found


def test_methods_that_train_in_parallel_hold_out_the_same_classes(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = holding_out(pets, "c1", compare=True, threads=2)
    said = run(options, LedgerVendor(), monkeypatch)
    columns = next(line for line in said.splitlines() if "unknown classes, %" in line)
    assert all(name in columns for name in ("vl2v-adip", "erm", "lp-ft"))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("okapi",), "no class okapi in"),
        (("c0", "c1"), "leaves 1 of 3 classes"),
    ],
)
def test_what_cannot_be_held_out_is_refused_before_buying(
    pets: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], message: str
) -> None:
    vendor = LedgerVendor()
    with pytest.raises(BadInput, match=message):
        run(holding_out(pets, *names), vendor, monkeypatch)
    assert vendor.spent == 0


def test_a_budget_without_room_for_the_prompt_of_a_held_out_class_is_refused(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor = LedgerVendor()
    with pytest.raises(PlanExceedsBudget):
        run(holding_out(pets, "c1", budget=2), vendor, monkeypatch)
    assert vendor.spent == 0


@pytest.mark.parametrize("option", [("--unlabelled",), ("--hold-out-classes", "c1")])
def test_a_bench_refuses_what_it_would_not_do(option: tuple[str, ...]) -> None:
    with pytest.raises(BadInput, match="leave out --unlabelled and --hold-out-classes"):
        bench.main([*option, "--budget", "10"])


def test_the_command_line_takes_the_names_between_commas() -> None:
    options = read_options(["--hold-out-classes", "zebra,okapi", "--unlabelled"])
    assert options.data.hold_out_classes == ["zebra", "okapi"]
    with pytest.raises(BadInput, match="--hold-out-classes names classes"):
        command.run_distill(options, Terminal(Console(file=StringIO())), command="")
