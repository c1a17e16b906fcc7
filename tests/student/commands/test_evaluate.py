"""`distill-client evaluate`: what it measures on a labelled folder, and what it leaves out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from student.cli import main
from student.inference.trained_student import load
from tests.support.pictures import write_picture
from tests.support.saved_student import saved_student


@pytest.fixture
def student(tmp_path: Path) -> Path:
    meta = {"calibration": {"temperature": 2.0}, "sources": ["photo"], "method": "vl2v-adip"}
    return saved_student(tmp_path / "student", meta)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two domains with the classes A (the student's `a`), b and zebra; one file is no image."""
    root = tmp_path / "data"
    for number, place in enumerate(
        f"{domain}/{name}/{index}.png"
        for domain in ("photo", "sketch")
        for name in ("A", "b", "zebra")
        for index in range(4)
    ):
        write_picture(root / place, number)
    (root / "sketch" / "b" / "bad.png").write_text("no image")
    (root / "sketch" / "notes.md").write_text("hello")
    return root


def measured(student: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> tuple[Any, str]:
    assert main(["evaluate", "--json", "--student", str(student), "--data", str(data)]) == 2
    printed = capsys.readouterr()
    return json.loads(printed.out), printed.err


def test_each_domain_has_the_accuracy_of_predicting_each_of_its_images(
    student: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, _ = measured(student, data, capsys)
    trained = load(student)
    assert list(found["parts"]) == ["photo", "sketch", "all domains"]
    correct = {}
    for domain in ("photo", "sketch"):
        images = [(path, name) for name in "Ab" for path in (data / domain / name).glob("?.png")]
        answers = trained.predict([path for path, _ in images])
        correct[domain] = sum(
            answer.classes[0] == name.lower()
            for answer, (_, name) in zip(answers, images, strict=True)
        )
        part = found["parts"][domain]
        assert (part["correct"], part["images"]) == (correct[domain], 8)
        low, high = part["interval95"]
        assert low <= part["accuracy"] <= high
    whole = found["parts"]["all domains"]
    assert (whole["correct"], whole["images"]) == (sum(correct.values()), 16)
    assert sum(one["images"] for one in found["mistakes"]) == 16 - whole["correct"]


def test_unknown_classes_unreadable_images_and_other_files_are_named_and_counted(
    student: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, errors = measured(student, data, capsys)
    assert found["unknown_classes"] == {"zebra": 8}
    assert "8 images of classes that the student does not know: zebra (8)" in errors
    (unreadable,) = found["unreadable"]
    assert "bad.png cannot be read as an image" in unreadable
    assert unreadable in errors
    assert "1 file .md in sketch" in errors


def test_the_table_says_which_domains_were_trained_on(
    student: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "sketch" / "b" / "bad.png").unlink()
    assert main(["evaluate", "--student", str(student), "--data", str(data)]) == 0
    lines = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines() if line}
    assert lines["photo"][1:3] == ["yes", "8"]
    assert lines["sketch"][1] == "8"


def test_a_folder_without_a_class_of_the_student_is_refused(
    student: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("yak", "zebra"):
        write_picture(tmp_path / "other" / name / "0.png", 0)
    asked = ["evaluate", "--student", str(student), "--data", str(tmp_path / "other")]
    assert main(asked) == 2
    assert "it has the classes yak, zebra, and the student a, b, c" in capsys.readouterr().err


@pytest.fixture
def of_teacher(student: Path) -> Path:
    """The student, with the teacher that its meta.json names."""
    meta = json.loads((student / "meta.json").read_text())
    meta["teacher"] = {"fingerprint": "sha256:" + "0" * 64, "model": "m"}
    (student / "meta.json").write_text(json.dumps(meta))
    return student


@pytest.fixture
def others(tmp_path: Path) -> Path:
    """Images of classes that the student does not know."""
    for name in ("yak", "zebra"):
        write_picture(tmp_path / "others" / name / "0.png", 0)
    return tmp_path / "others"


def test_new_classes_need_a_budget(
    of_teacher: Path, others: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["evaluate", "--student", str(of_teacher), "--data", str(others), "--new-classes"]
    assert main([*asked, "--cache", str(tmp_path / "none")]) == 2
    assert "2 prompts are not in" in capsys.readouterr().err


def test_a_cache_that_is_not_there_is_not_made_anew_unless_it_is_named(
    of_teacher: Path,
    others: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)  # the cache of the student was another folder's paid-cache
    asked = ["evaluate", "--student", str(of_teacher), "--data", str(others), "--new-classes"]
    for more in (["--budget", "10"], ["--dry-run"]):
        assert main([*asked, *more]) == 2
        assert (
            "there is no cache in paid-cache, where this student's was" in capsys.readouterr().err
        )
    assert not (tmp_path / "paid-cache").exists()


def test_the_classes_that_the_student_was_trained_on_are_no_new_ones(
    of_teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, name in enumerate("abc"):
        write_picture(tmp_path / "same" / name / "0.png", number)
    asked = ["evaluate", "--student", str(of_teacher), "--data", str(tmp_path / "same"), "--json"]
    assert main(asked) == 0
    measured = capsys.readouterr()
    assert main([*asked, "--new-classes"]) == 0
    assert capsys.readouterr() == measured
