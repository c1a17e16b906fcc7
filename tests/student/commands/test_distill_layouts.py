"""Whole runs on images that lie in no folders of domains and classes."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import datasets
import pytest
from rich.console import Console

from student.cli import main
from student.commands import distill as command
from student.commands import distill_purchase
from student.console import Terminal, quiet
from student.errors import BadInput
from student.options import Options
from tests.support.ledger_vendor import KEY, LedgerVendor
from tests.support.one_data_set import data_set, rows_of, write_csv
from tests.support.pictures import write_domains
from tests.support.purchase_setup import client_of
from tests.support.small_grid import settings

WORDS = "folder,name\nc0,tench\nc1,great white shark\n"
NAMES = ("arrow", "all")
QUERIES = 2 + 2 * 2 * 4  # two prompts; of two source domains and two classes, four of five images


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    return write_domains(tmp_path / "pets")


def run(options: Options, vendor: LedgerVendor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEACHER_API_KEY", KEY)
    monkeypatch.setattr(distill_purchase, "open_vendor", lambda *_, **__: client_of(vendor))
    command.run_distill(options, quiet(), command="distill-client")


def test_what_a_data_set_paid_is_not_paid_again_for_a_manifest_of_the_same_images(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets.disable_progress_bars()
    vendor = LedgerVendor()
    (pets / "classes.csv").write_text(WORDS)
    arrow = pets.parent / "arrow"
    data_set(pets, rows_of(pets)).save_to_disk(str(arrow))
    (arrow / "classes.csv").write_text(WORDS)
    manifest = write_csv(pets / "all.csv", rows_of(pets))
    metas = []
    for data in (arrow, manifest):
        out = pets.parent / f"out-{data.stem}"
        options = settings(data, threads=1, target_domain=["d2"], out=out, method="vl2v-adip-joint")
        run(options.changed(cache=pets.parent / "cache"), vendor, monkeypatch)
        metas.append(json.loads((out / "meta.json").read_text()))
        assert vendor.spent == QUERIES
        assert {"report.md", "answers.png", "report.html"} <= {one.name for one in out.iterdir()}
    page = (pets.parent / "out-arrow" / "report.html").read_text()
    assert "embeddings of 16 bought images. They show" in page
    assert "Hollow: 4 images of source validation." in page
    for meta in metas:
        assert meta["classes"] == ["great white shark", "tench"]
        assert meta["data_sha256"] == metas[0]["data_sha256"]
    weights = {(pets.parent / f"out-{name}/student.safetensors").read_bytes() for name in NAMES}
    assert len(weights) == 1


def test_a_plan_prints_the_words_that_it_would_buy(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEACHER_API_KEY", KEY)
    vendor = LedgerVendor()
    monkeypatch.setattr(distill_purchase, "open_vendor", lambda *_, **__: client_of(vendor))
    (pets / "classes.csv").write_text(WORDS + "c2,goldfish\n")
    printed = StringIO()
    options = settings(pets, threads=1, target_domain=["d2"], dry_run=True)
    command.run_distill(options, Terminal(Console(file=printed, width=120)), command="")
    assert "classes.csv names all 2 classes: c0 is tench, c1 is great white shark" in (
        printed.getvalue()
    )
    assert "warning: classes.csv: no image has the class of 1 row: c2" in printed.getvalue()
    assert vendor.spent == 0


def test_a_manifest_with_a_wrong_row_is_refused_before_anything_is_bought(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor = LedgerVendor()
    rows = [*rows_of(pets), {"path": "lost.png", "label": "c0", "domain": "d0"}]
    manifest = write_csv(pets / "all.csv", rows)
    for dry_run in (True, False):
        with pytest.raises(BadInput, match=r"no such file: line 32 \('lost\.png'\)"):
            run(settings(manifest, threads=1, dry_run=dry_run), vendor, monkeypatch)
    assert vendor.spent == 0


def test_a_student_answers_in_the_words_and_measures_codes_by_them(
    pets: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (pets / "classes.csv").write_text(WORDS)
    options = settings(pets, threads=1, target_domain=["d2"])
    run(options, LedgerVendor(), monkeypatch)
    student = ("--student", str(options.run.out))
    image = next((pets / "d2").rglob("*.png"))
    assert main(["predict", *student, "--json", str(image)]) == 0
    assert json.loads(capsys.readouterr().out)["class"] in {"tench", "great white shark"}
    assert main(["evaluate", *student, "--json", "--data", str(pets)]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["parts"]["all domains"]["images"] == 30
    assert "note: classes.csv names all 2 classes" in printed.err
