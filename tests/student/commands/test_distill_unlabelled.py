"""A whole run on images without labels, with a vendor in memory: what it buys, and what it says."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from student.commands import distill as command
from student.commands import distill_purchase
from student.console import Terminal
from student.doctor.images import images as doctor_images
from student.errors import BadInput, PlanExceedsBudget
from student.inference.trained_student import load
from student.options import Options
from student.options.unlabelled import without_classes
from tests.support.ledger_vendor import KEY, LedgerVendor
from tests.support.pictures import write_picture
from tests.support.purchase_setup import client_of
from tests.support.small_grid import settings

# Of 12 images of a source domain 2 validate and 10 are trained on; 4 of the held-out domain test.
MEASURED, CAPTIONS, TRAINED_ON = 2 + 4, 3, 10


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    for n in range(12):
        write_picture(root / "photo" / f"p{n}.png", n)
    for n in range(4):
        write_picture(root / "sketch" / f"s{n}.png", 100 + n)
    rows = ("photo/p1.png,One.", "sketch/s1.png,Two.", "s1.png,Three.")
    (root / "captions.csv").write_text("\n".join(("file,caption", *rows)))
    return root


def run(options: Options, vendor: LedgerVendor, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs the client; returns what it printed."""
    printed = StringIO()
    monkeypatch.setenv("TEACHER_API_KEY", KEY)
    monkeypatch.setattr(distill_purchase, "open_vendor", lambda *_, **__: client_of(vendor))
    command.run_distill(options, Terminal(Console(file=printed, width=200)), command="the command")
    return printed.getvalue()


def of_photos(photos: Path, **more: object) -> Options:
    return settings(photos, threads=1, target_domain=["sketch"], unlabelled=True, **more)


def test_a_student_without_classes_is_measured_by_retrieval_and_agreement(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor, options = LedgerVendor(), of_photos(photos)
    said = run(options, vendor, monkeypatch)

    assert vendor.spent == MEASURED + CAPTIONS + TRAINED_ON
    meta = json.loads((options.run.out / "meta.json").read_text())
    assert (meta["method"], meta["classes"], meta["scores"]) == ("image-only", [], {})
    assert (meta["queries"], meta["embeddings_bought"]) == (TRAINED_ON, TRAINED_ON)
    assert meta["queries_for_measuring"] == MEASURED + CAPTIONS
    sketch = meta["retrieval"]["sketch"]
    assert (sketch["images"], sketch["captions"]) == (4, 2)
    for who in ("student", "teacher"):
        for k in (1, 5, 10):
            low, high = sketch[who][f"recall_at_{k}"]["interval95"]
            assert 0 <= low <= sketch[who][f"recall_at_{k}"]["value"] <= high <= 1
    assert meta["retrieval"]["all measured images"]["images"] == MEASURED
    assert "cosine" in sketch
    assert "same_first" in sketch
    report = (options.run.out / "report.md").read_text()
    for text in (report, said):
        assert "sketch (4 images, 2 captions)" in text
        assert "mean cosine" in text
    assert "validation cosine" in said
    assert (options.run.out / "MODEL_CARD.md").exists()


def test_the_plan_says_how_many_queries_measure(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor = LedgerVendor()
    said = run(of_photos(photos, dry_run=True), vendor, monkeypatch)
    assert "6 images and 3 captions measure the student" in said
    assert "9 of the 19 queries, and the first to be bought" in said
    assert "training image-only takes about" in said
    assert vendor.spent == 0


def test_a_smaller_budget_measures_the_same_and_trains_on_less(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor, options = LedgerVendor(), of_photos(photos, budget=14)
    run(options, vendor, monkeypatch)
    assert vendor.spent == 14
    meta = json.loads((options.run.out / "meta.json").read_text())
    assert meta["queries"] == 14 - MEASURED - CAPTIONS
    assert meta["retrieval"]["all measured images"]["images"] == MEASURED


@pytest.mark.parametrize("budget", [2, 8, 9])
def test_a_budget_that_leaves_nothing_to_train_on_is_refused_before_buying(
    photos: Path, monkeypatch: pytest.MonkeyPatch, budget: int
) -> None:
    vendor = LedgerVendor()
    with pytest.raises(PlanExceedsBudget):
        run(of_photos(photos, budget=budget), vendor, monkeypatch)
    assert vendor.spent == 0


def test_an_image_without_captions_needs_no_table(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photos / "captions.csv").unlink()
    options = of_photos(photos)
    said = run(options, LedgerVendor(), monkeypatch)
    meta = json.loads((options.run.out / "meta.json").read_text())
    assert "student" not in meta["retrieval"]["sketch"]
    assert "R@1" not in said.split("retrieval, held out")[1].split("Percent")[0]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"method": "vl2v-adip"}, "--method vl2v-adip learns from classes"),
        ({"method": "erm"}, "use image-only or simkd"),
        ({"compare": True}, "--compare trains on classes"),
        ({"selector": "margin"}, "--selector margin reads class texts"),
        ({"text_targets": True}, "--text-targets reads class texts"),
    ],
)
def test_what_needs_classes_is_refused_before_anything_is_read(
    photos: Path, more: dict[str, object], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        without_classes(of_photos(photos, **more))


def test_a_finished_student_embeds_and_names_nothing(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = of_photos(photos, method="simkd", wise_ft=0.5)
    run(options, LedgerVendor(), monkeypatch)
    student = load(options.run.out)
    images = sorted(photos.glob("sketch/*.png"))
    assert student.embed(images).shape == (4, student.dim)
    with pytest.raises(BadInput, match="no classes, because it was trained on images without"):
        student.predict(images)
    named = student.with_classes(["a", "b"], student.embed(images[:2]))
    assert set(named.predict(images[:1])[0].classes) == {"a", "b"}


def test_doctor_reads_the_folder_as_the_run_does(photos: Path) -> None:
    found = list(doctor_images(of_photos(photos)))
    assert "16 images of 0 classes in 2 domains" in found[0].detail
    assert not [one for one in found if one.level == "error"]


def test_the_same_run_again_buys_nothing(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vendor, options = LedgerVendor(), of_photos(photos)
    run(options, vendor, monkeypatch)
    spent = vendor.spent
    assert "bought 0 queries" in run(options, vendor, monkeypatch)
    assert vendor.spent == spent
