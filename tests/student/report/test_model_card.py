"""The model card: what Hugging Face reads of it, and what it says of the purchase."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard, ModelCardData

from student.commands.export import main as export
from student.report.model_card import model_card
from tests.support.saved_student import saved_student

INTERVAL = [0.49, 0.9433]
META: dict[str, Any] = {
    "method": "vl2v-adip",
    "classes": ["a", "b", "c"],
    "sources": ["photo"],
    "seed": 3,
    "settings": {"backbone": "test_vit", "views": 1, "wise_ft": 1.0},
    "images_trained_on": 20,
    "embeddings_bought": 18,
    "teacher": {"model": "clip/big", "fingerprint": "sha256:" + "0" * 64},
    "queries": 21,
    "cost_micro_usd": 2100,
    "receipts_digest": "1" * 64,
    "data_sha256": "2" * 64,
    "scores": {
        'outline: \u00e9 "x" \U0001f600\x7f': {
            "accuracy": 0.8,
            "interval95": INTERVAL,
            "correct": 8,
            "images": 10,
        }
    },
    "calibration": {"temperature": 1.5, "errors": {}},
}
RETRIEVED: dict[str, Any] = {
    **META,
    "classes": [],
    "scores": {},
    "queries_for_measuring": 7,
    "retrieval": {
        "photo": {
            "cosine": {"value": 0.7, "interval95": [0.6, 0.8]},
            "student": {"recall_at_1": {"value": 0.3, "interval95": [0.2, 0.4]}},
        }
    },
}


def read(text: str) -> ModelCardData:
    """What Hugging Face reads in the front matter."""
    data = ModelCard(text).data
    assert isinstance(data, ModelCardData)
    return data


def test_hugging_face_reads_the_results_with_their_parts_and_intervals() -> None:
    data = read(model_card(META))
    assert data.library_name == "timm"
    assert data.pipeline_tag == "image-classification"
    assert data.eval_results is not None
    (result,) = data.eval_results
    assert result.metric_type == "accuracy"
    assert result.metric_value == 0.8
    assert result.metric_name == "accuracy, 95% interval 0.49 to 0.9433"
    assert result.dataset_name == next(iter(META["scores"]))


def test_the_card_says_what_was_paid_to_whom_and_warns_of_the_vendors_terms() -> None:
    text = model_card(META)
    for said in (
        "21 queries, $0.0021",
        "20 images of photo, 18 of their views with a bought embedding, which equal images share",
        "`clip/big`",
        "2" * 64,
        "1" * 64,
        "80.0 ± 22.7",
        "temperature 1.5",
        "forbid training a model on their answers",
        "license: other",
    ):
        assert said in text


@pytest.mark.parametrize("method", ["erm", "lp-ft", "linear-probe"])
def test_a_student_of_labels_alone_is_not_called_distilled(method: str) -> None:
    text = model_card({**META, "method": method, "embeddings_bought": 0})
    assert "# test_vit trained on labels" in text
    assert "distill" not in text.split("## Use")[0]
    assert "Terms of the vendor" not in text
    data = read(text)
    assert (data.license, data.tags) == ("unknown", ["rented-teacher"])


def test_only_the_student_that_was_chosen_is_said_to_be_chosen() -> None:
    chosen = {**META, "method": "erm", "selection": {"chosen": "erm", "guesses": {}}}
    said = "Method `erm`, chosen on the labelled domains and by the teacher's answers, 20 images"
    assert said in model_card(chosen)
    assert "chosen" not in model_card({**chosen, "method": "vl2v-adip-joint"})


def test_a_student_without_classes_has_a_card_of_its_retrieval() -> None:
    card = model_card(RETRIEVED)
    assert read(card).pipeline_tag == "image-feature-extraction"
    results = {one.metric_type: one.metric_value for one in read(card).eval_results or ()}
    assert results == {"recall": 0.3, "cosine": 0.7}
    assert "7 further queries only measured it" in card
    assert "has no classes" in card


def test_a_student_of_an_early_version_has_a_card_that_says_what_is_not_recorded() -> None:
    text = model_card({"classes": ["a", "b"]})
    assert read(text).library_name == "timm"
    assert "not recorded" in text


@pytest.mark.parametrize(
    ("form", "out", "card", "library"),
    [
        ("torch", "student.pt2", "student.pt2.md", "pytorch"),
        ("timm", "for-timm", "for-timm/README.md", "timm"),
    ],
)
def test_an_exported_student_lies_beside_its_card(
    tmp_path: Path, form: str, out: str, card: str, library: str
) -> None:
    student = saved_student(tmp_path / "student", META)
    asked = ["--student", str(student), "--format", form, "--out", str(tmp_path / out)]
    assert export(asked) == 0
    written = (tmp_path / card).read_text()
    assert read(written).library_name == library
    assert "21 queries" in written
    assert export(asked) == 0  # its own card is replaced


def test_a_readme_of_the_users_own_is_kept(tmp_path: Path) -> None:
    student = saved_student(tmp_path / "student", META)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text("my notes")
    assert (
        export(["--student", str(student), "--format", "timm", "--out", str(tmp_path / "mine")])
        == 0
    )
    assert (tmp_path / "mine" / "README.md").read_text() == "my notes"
    assert "21 queries" in (tmp_path / "mine" / "MODEL_CARD.md").read_text()
