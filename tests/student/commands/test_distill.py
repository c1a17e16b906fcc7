"""A whole run with a vendor in memory, and what it records about its spending."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from rich.console import Console

from cache.paid_cache import Intent, PaidCache, now_ms
from student.commands import distill as command
from student.commands import distill_purchase
from student.console import Terminal, quiet
from student.embeddings.keys import text_key
from student.errors import BadInput, PurchaseError, VendorUnreachable
from student.evaluation.parallel import run_experiment
from student.evaluation.results import Experiment
from student.models.saved import load_student
from student.options import Options
from student.vendor.request import purchase_key
from tests.support.ledger_vendor import KEY, Fault, LedgerVendor, problem
from tests.support.pictures import write_domains, write_picture
from tests.support.purchase_setup import ACCOUNT, client_of
from tests.support.small_grid import settings

TEXTS = 2
TRAINED_ON = 2 * 2 * 4  # two source domains, two classes, four of five pictures
RunDistill = Callable[[Options, LedgerVendor], None]


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    return write_domains(tmp_path / "pets")


@pytest.fixture
def run_distill(monkeypatch: pytest.MonkeyPatch) -> RunDistill:
    """Execute a run with a vendor in memory."""
    monkeypatch.setenv("TEACHER_API_KEY", KEY)

    def run(options: Options, vendor: LedgerVendor) -> None:
        monkeypatch.setattr(distill_purchase, "open_vendor", lambda *_, **__: client_of(vendor))
        command.run_distill(options, quiet(), command="distill-client")

    return run


def meta_of(folder: Path) -> dict[str, Any]:
    meta: dict[str, Any] = json.loads((folder / "meta.json").read_text())
    return meta


def test_old_answers_cost_what_their_receipts_say_after_a_change_of_price(
    pets: Path, run_distill: RunDistill
) -> None:
    options = settings(pets, budget=1000, threads=1, target_domain=["d2"])
    vendor = LedgerVendor(micro_usd=100)
    run_distill(options, vendor)
    vendor.price |= {"version": "2027-01", "micro_usd_per_unit": 500}
    run_distill(options, vendor)
    meta = meta_of(options.run.out)
    assert vendor.spent == TEXTS + TRAINED_ON
    assert (meta["queries"], meta["cost_micro_usd"]) == (18, 1800)
    # The break-even is computed from what was paid and today's price.
    assert (meta["economics"]["cost_micro_usd"], meta["economics"]["break_even"]) == (1800, 4)
    assert "18 queries ($0.0018) in all" in (options.run.out / "report.md").read_text()


def test_a_prediction_by_the_vendor_costs_the_price_of_an_image(
    pets: Path, run_distill: RunDistill
) -> None:
    options = settings(pets, budget=1000, threads=1, target_domain=["d2"])
    vendor = LedgerVendor()
    vendor.price["units"] = {"image": 3, "text": 1}
    run_distill(options, vendor)
    economics = meta_of(options.run.out)["economics"]
    assert economics["cost_micro_usd"] == 100 * (TEXTS + 3 * TRAINED_ON)
    assert (economics["micro_usd_per_image"], economics["break_even"]) == (300, 17)


def test_each_student_of_leave_one_domain_out_counts_its_own_embeddings(
    pets: Path, run_distill: RunDistill
) -> None:
    options = settings(pets, budget=1000, threads=1)
    vendor = LedgerVendor()
    run_distill(options, vendor)
    assert vendor.spent == TEXTS + 3 * 2 * 4  # each domain is a source of two of the three
    metas = [meta_of(options.run.out / domain) for domain in ("d0", "d1", "d2")]
    for meta in metas:
        assert (meta["queries"], meta["cost_micro_usd"]) == (18, 1800)
        assert meta["economics"]["cost_micro_usd"] == 1800
        assert meta["economics"]["break_even"] == 18
    assert "18 queries, $0.0018" in (options.run.out / "d0" / "MODEL_CARD.md").read_text()
    assert (
        "the students' embeddings cost 26 queries ($0.0026)"
        in (options.run.out / "report.md").read_text()
    )


def test_auto_chooses_by_the_labelled_domains_and_keeps_what_it_found(
    pets: Path, run_distill: RunDistill
) -> None:
    options = settings(pets, budget=1000, threads=1, target_domain=["d2"], method="auto")
    vendor = LedgerVendor()
    run_distill(options, vendor)
    assert vendor.spent == TEXTS + TRAINED_ON  # what its candidates read, and nothing for choosing
    meta = meta_of(options.run.out)
    selection = meta["selection"]
    assert selection["chosen"] == meta["method"]
    assert 0 <= selection["correct"] <= 4
    assert selection["validation_images"] == 4
    report = (options.run.out / "report.md").read_text()
    assert meta["teacher"]["zero_shot"]["images"] == TRAINED_ON
    assert f"of the {TRAINED_ON} bought images correctly (zero-shot, 95% interval" in report
    card = (options.run.out / "MODEL_CARD.md").read_text()
    assert "chosen on the labelled domains" in card
    assert "## How the method was chosen, held out: d2" in report
    run_distill(options, vendor)
    again = meta_of(options.run.out)["selection"]
    assert {**again, "seconds": 0} == {**selection, "seconds": 0}


def test_the_choice_of_auto_does_not_depend_on_the_held_out_domain(
    pets: Path, tmp_path: Path, run_distill: RunDistill
) -> None:
    selections = []
    for name in ("before", "after"):
        options = settings(
            pets, budget=1000, threads=1, target_domain=["d2"], method="auto", out=tmp_path / name
        )
        run_distill(options, LedgerVendor())
        selections.append(meta_of(options.run.out)["selection"] | {"seconds": 0})
        for number, path in enumerate(sorted((pets / "d2").glob("*/*.png"))):
            write_picture(path, 1000 + number)
    assert selections[0] == selections[1]


def refuse_texts(vendor: LedgerVendor, request: httpx.Request) -> httpx.Response:
    for index, item in enumerate(json.loads(request.content)["input"]):
        if "text" in item:
            return problem(422, "empty_input", index=index, detail="It says nothing.")
    return vendor.serve(request)


def no_money(*_: object) -> httpx.Response:
    return problem(402, "budget_exhausted")


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (refuse_texts, r"refuses 2 of them \(It says nothing\.\); rename the classes"),
        (no_money, "run again when the account at the vendor can pay"),
    ],
)
def test_a_run_without_its_prompts_says_what_to_do(
    fault: Fault, message: str, pets: Path, run_distill: RunDistill
) -> None:
    vendor = LedgerVendor()
    vendor.faults.extend([fault] * 40)
    with pytest.raises(PurchaseError, match=f"2 class prompts are not in the cache.*{message}"):
        run_distill(settings(pets, budget=1000, target_domain=["d2"]), vendor)


def test_prompts_in_a_recent_purchase_of_a_killed_run_end_the_run_with_advice_to_wait(
    pets: Path, run_distill: RunDistill
) -> None:
    options = settings(pets, budget=1000, target_domain=["d2"])
    vendor = LedgerVendor()
    model = vendor.model["fingerprint"]
    keys = (text_key(model, "a photo of a c0"), text_key(model, "a class that is gone"))
    name = purchase_key(
        account=ACCOUNT,
        model_fingerprint=model,
        digests=[key.digest for key in keys],
        epoch="killed",
    )
    with PaidCache.open(options.purchase.cache) as cache:
        recent = Intent(idempotency_key=name, keys=keys, units=2, run="killed", created_ms=now_ms())
        cache.reserve(recent, budget=1000)
    with pytest.raises(PurchaseError, match="run again in ten minutes"):
        run_distill(options, vendor)


def test_a_vendor_that_is_not_there_is_noticed_before_any_image_is_rendered(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(_: httpx.Request) -> httpx.Response:
        message = "refused"
        raise httpx.ConnectError(message)

    options = settings(pets, budget=1000, threads=1)
    monkeypatch.setenv("TEACHER_API_KEY", KEY)
    monkeypatch.setattr(distill_purchase, "open_vendor", lambda *_, **__: client_of(nobody))
    with pytest.raises(VendorUnreachable) as error:
        command.run_distill(options, quiet(), command="distill-client")
    for way_out in ("--vendor", "TEACHER_URL", "`docker compose up`", "`teacher-server serve`"):
        assert way_out in str(error.value)
    assert not options.run.out.exists()
    assert not options.purchase.cache.exists()


@pytest.mark.parametrize("option", ["--out", "--cache"])
def test_a_disk_without_room_for_the_embeddings_is_refused_before_they_are_bought(
    option: str, pets: Path, run_distill: RunDistill, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = settings(pets, budget=1000, threads=1, target_domain=["d2"])
    folder = options.run.out if option == "--out" else options.purchase.cache
    usage = shutil.disk_usage(pets)

    def disk_usage(path: Path) -> object:
        return usage._replace(free=100) if path == folder else usage

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    vendor = LedgerVendor(micro_usd=100)
    with pytest.raises(BadInput, match=f"{option} .* needs at least"):
        run_distill(options, vendor)
    assert vendor.posts == []


def test_the_folder_is_hashed_once_and_meta_json_says_the_threads_that_trained(
    pets: Path, run_distill: RunDistill, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The methods train in child processes, while the folder is not there."""
    away = pets.with_name("away")

    def without_the_folder(*arguments: Any) -> Experiment:
        pets.rename(away)
        try:
            return run_experiment(*arguments)
        finally:
            away.rename(pets)

    monkeypatch.setattr(command, "run_experiment", without_the_folder)
    options = settings(pets, budget=1000, threads=1, target_domain=["d2"], compare=True)
    run_distill(options, LedgerVendor())
    meta = meta_of(options.run.out)
    assert (meta["seed"], meta["threads"]) == (0, 1)
    assert meta_of(options.run.out / "erm")["threads"] == 1


def test_a_dry_run_says_how_long_training_would_take(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEACHER_API_KEY", KEY)
    monkeypatch.setattr(distill_purchase, "open_vendor", lambda *_, **__: client_of(LedgerVendor()))
    options = settings(pets, dry_run=True, threads=1, method="vl2v-adip", compare=True, steps=10**8)
    text = StringIO()
    command.run_distill(options, Terminal(Console(file=text, width=300)), command="distill-client")
    said = text.getvalue().partition("dry run: nothing was bought")[2]
    assert "training vl2v-adip, erm and lp-ft takes about" in said
    assert "warning: 100,000,000 steps at 16 pixels: about" in said
    assert [path.name for path in options.run.out.iterdir()] == ["pixels"]


def test_views_in_archives_give_the_same_students_as_one_file(
    tmp_path: Path, run_distill: RunDistill
) -> None:
    """Each domain is held out in turn, so that every student reads a part of the table."""
    pets = write_domains(tmp_path / "pets", domains=2)
    students = []
    for pixels in (None, str(tmp_path / "views")):
        out = tmp_path / ("mapped" if pixels is None else "archived")
        options = settings(pets, budget=1000, threads=1, views=2, out=out, pixels=pixels)
        run_distill(options, LedgerVendor())
        students.append([load_student(out / domain)[0].state_dict() for domain in ("d0", "d1")])
        assert (out / "pixels").exists() == (pixels is None)
    assert len(list((tmp_path / "views").glob("*/*.tar"))) == 2  # what is trained on, and measured
    for one, other in zip(*students, strict=True):
        assert one.keys() == other.keys()
        assert [name for name in one if not torch.equal(one[name], other[name])] == []
