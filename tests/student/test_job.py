"""A whole job, with a vendor in memory: what it leaves behind of the money it spent."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from student import job
from student.settings import JobSettings
from student.terminal import quiet
from tests.pictures import write_domains
from tests.student.bench.small import settings
from tests.student.purchase.ledger_vendor import KEY, LedgerVendor
from tests.student.purchase.shop import client_of

TEXTS = 2
TRAINED_ON = 2 * 2 * 4  # two source domains, two classes, four of five pictures
Job = Callable[[JobSettings, LedgerVendor], None]


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    return write_domains(tmp_path / "pets")


@pytest.fixture
def run_job(monkeypatch: pytest.MonkeyPatch) -> Job:
    """Runs a job at a vendor in memory."""
    monkeypatch.setenv("TEACHER_API_KEY", KEY)

    def run(one: JobSettings, vendor: LedgerVendor) -> None:
        monkeypatch.setattr(job, "connect", lambda *_, **__: client_of(vendor))
        job.run_job(one, quiet(), command="distill-client")

    return run


def meta_of(folder: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((folder / "meta.json").read_text())
    return told


def test_old_answers_cost_what_their_receipts_say_after_a_change_of_price(
    pets: Path, run_job: Job
) -> None:
    one = settings(pets, budget=1000, threads=1, target_domain=["d2"])
    vendor = LedgerVendor(micro_usd=100)
    run_job(one, vendor)
    vendor.price |= {"version": "2027-01", "micro_usd_per_unit": 500}
    run_job(one, vendor)
    meta = meta_of(one.out)
    assert vendor.spent == TEXTS + TRAINED_ON
    assert (meta["queries"], meta["cost_micro_usd"]) == (18, 1800)
    # What is paid back is what was paid, in predictions at today's price.
    assert (meta["economics"]["cost_micro_usd"], meta["economics"]["break_even"]) == (1800, 4)
    assert "18 queries ($0.0018) in all" in (one.out / "report.md").read_text()


def test_each_student_of_leave_one_domain_out_counts_its_own_embeddings(
    pets: Path, run_job: Job
) -> None:
    one = settings(pets, budget=1000, threads=1)
    vendor = LedgerVendor()
    run_job(one, vendor)
    assert vendor.spent == TEXTS + 3 * 2 * 4  # each domain is a source of two of the three
    told = [meta_of(one.out / domain) for domain in ("d0", "d1", "d2")]
    for meta in told:
        assert (meta["queries"], meta["cost_micro_usd"]) == (18, 1800)
        assert meta["economics"]["cost_micro_usd"] == 1800
        assert meta["economics"]["break_even"] == 18
    assert "18 queries, $0.0018" in (one.out / "d0" / "MODEL_CARD.md").read_text()
    assert (
        "the students' embeddings cost 26 queries ($0.0026)" in (one.out / "report.md").read_text()
    )
