"""Classes that a student was not trained on: bought once, planned before, within the budget."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from cache.storage.reader import CacheReader
from student.cli import main
from student.embeddings.keys import text_key
from tests.end_to_end.conftest import RunningVendor, invoke

TINY = (
    *("--backbone", "test_efficientnet", "--weights", "none", "--image-size", "32"),
    *("--steps", "2", "--align-steps", "2", "--eval-every", "1", "--device", "cpu"),
)


@pytest.fixture(scope="module")
def key(vendor: RunningVendor) -> str:
    return vendor.new_key(300)


@pytest.fixture(scope="module")
def made(
    vendor: RunningVendor, emoji: Path, key: str, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with a student of two classes (`out`) and its cache."""
    folder = tmp_path_factory.mktemp("classes")
    invoke(
        *("distill-client", "--vendor", vendor.url, "--data", str(emoji), "--budget", "100"),
        *("--target-domain", "outline", "--cache", str(folder / "cache")),
        *("--out", str(folder / "out"), *TINY),
        key=key,
    )
    return folder


def spent(made: Path) -> int:
    with CacheReader.open(made / "cache") as cache:
        return cache.spend_on_record().committed_units


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What the command printed, and its exit code."""

    code: int
    out: str
    err: str


@pytest.fixture
def predict(
    vendor: RunningVendor,
    made: Path,
    key: str,
    emoji: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Answered]:
    """Runs `distill-client predict` on one image, in this process: torch is loaded already."""
    monkeypatch.setenv("TEACHER_API_KEY", key)
    image = str(next((emoji / "outline").glob("*/*.png")))
    asked = ["predict", "--student", str(made / "out"), "--json", "--vendor", vendor.url, image]

    def run(*options: str) -> Answered:
        code = main([*asked, *options])
        printed = capsys.readouterr()
        return Answered(code=code, out=printed.out, err=printed.err)

    return run


def test_missing_prompts_are_planned_then_bought_once_and_predicted_over(
    predict: Callable[..., Answered], made: Path
) -> None:
    before = spent(made)
    asked = ("--classes", "zebra, okapi", "--budget", "100")

    dry = predict(*asked, "--dry-run")
    assert dry.code == 0
    assert "to buy: 2 texts, 0 images" in dry.err
    assert "nothing was bought (2 prompts to buy)" in dry.err
    assert spent(made) == before

    first = predict(*asked)
    assert first.code == 0
    assert "bought 2 queries, $0.0002" in first.err
    assert "not on those of --classes" in first.err
    answer = json.loads(first.out)
    assert set(answer["classes"]) == {"zebra", "okapi"}
    assert answer["calibrated"] is False
    assert spent(made) == before + 2

    again = predict("--classes", "okapi,zebra")
    assert json.loads(again.out)["classes"] == pytest.approx(answer["classes"])
    assert "bought" not in again.err
    assert spent(made) == before + 2


def test_the_students_own_classes_by_name_are_its_own_answer(
    predict: Callable[..., Answered], made: Path
) -> None:
    own = json.loads(predict().out)
    named = predict("--classes", ",".join(own["classes"]))
    assert json.loads(named.out)["classes"] == pytest.approx(own["classes"], abs=2e-4)


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--classes", "quagga"), 2, "1 prompts are not in"),
        (("--classes", "quagga,tapir", "--budget", "1"), 3, "this needs 2 queries"),
        (("--classes", "Emu,emu", "--budget", "100"), 2, "Emu and emu are one class"),
        (("--classes", " , ", "--budget", "100"), 2, "needs names between commas"),
        (("--classes", "emu", "--budget", "-1"), 2, "budget"),
    ],
)
def test_what_cannot_be_bought_is_refused_before_a_query_is_paid(
    predict: Callable[..., Answered],
    made: Path,
    options: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    before = spent(made)
    refused = predict(*options)
    assert refused.code == code, refused.err
    assert message in refused.err
    assert refused.out == ""
    assert spent(made) == before


def test_a_vendor_of_another_model_is_refused(predict: Callable[..., Answered], made: Path) -> None:
    meta_file = made / "out" / "meta.json"
    meta = json.loads(meta_file.read_text())
    other = {**meta, "teacher": {**meta["teacher"], "fingerprint": "sha256:" + "0" * 64}}
    before = spent(made)
    try:
        meta_file.write_text(json.dumps(other))
        refused = predict("--classes", "emu", "--budget", "100")
    finally:
        meta_file.write_text(json.dumps(meta))
    assert refused.code == 2
    assert "its texts lie in another space. Nothing was bought" in refused.err
    assert spent(made) == before


def test_evaluate_buys_the_prompts_of_the_folders_new_classes_and_measures_them(
    vendor: RunningVendor,
    made: Path,
    key: str,
    emoji: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TEACHER_API_KEY", key)
    data = tmp_path / "data"
    for name, other in (("heart", "heart"), ("bird", "okapi")):
        shutil.copytree(emoji / "apple" / name, data / "apple" / other)
    before = spent(made)
    asked = ["evaluate", "--student", str(made / "out"), "--data", str(data), "--json"]
    buying = ("--vendor", vendor.url, "--new-classes", "--budget", "100")
    known = {"heart", "okapi"} & prompts_on_hand(made)

    assert main([*asked, *buying]) == 0

    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert found["unknown_classes"] == {}
    assert found["parts"]["apple"]["images"] == 10
    assert spent(made) == before + 2 - len(known)


def prompts_on_hand(made: Path) -> set[str]:
    """Those of heart and okapi whose prompt is in the cache."""
    meta = json.loads((made / "out" / "meta.json").read_text())
    fingerprint = meta["teacher"]["fingerprint"]
    with CacheReader.open(made / "cache") as cache:
        return {
            name
            for name in ("heart", "okapi")
            if cache.get(text_key(fingerprint, f"a photo of a {name}")) is not None
        }
