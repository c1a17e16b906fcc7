"""`distill-client doctor` against a real vendor: every fault is found, named with a fix, unpaid."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from student.cli import main
from tests.end_to_end.conftest import RunningVendor

SMALL = ("--backbone", "test_efficientnet", "--weights", "none", "--image-size", "32")
Doctor = Callable[..., tuple[int, dict[str, list[dict[str, str]]]]]


@pytest.fixture(scope="module")
def key(vendor: RunningVendor) -> str:
    return vendor.new_key(70)


@pytest.fixture
def doctor(
    vendor: RunningVendor,
    emoji: Path,
    key: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Doctor:
    """Runs the command with options that are right; returns its exit code and its findings by
    subject."""
    monkeypatch.setenv("TEACHER_API_KEY", key)
    right = ("--vendor", vendor.url, "--data", str(emoji), "--budget", "60", *SMALL)
    folders = ("--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "out"))

    def run(*more: str) -> tuple[int, dict[str, list[dict[str, str]]]]:
        code = main(["doctor", "--json", *right, *folders, *more])
        found: dict[str, list[dict[str, str]]] = {}
        for finding in json.loads(capsys.readouterr().out)["findings"]:
            found.setdefault(finding["subject"], []).append(finding)
        return code, found

    return run


def test_where_nothing_is_wrong_every_finding_is_ok(doctor: Doctor) -> None:
    code, found = doctor()
    assert code == 0
    assert {one["level"] for part in found.values() for one in part} == {"ok"}
    assert "70 of 70 queries left" in found["balance"][0]["detail"]
    assert "45 images of 3 classes in 3 domains" in found["data"][0]["detail"]
    assert "rendered views take at most 0.0 GiB" in found["views"][0]["detail"]
    assert {"API key", "vendor", "model", "device", "student", "images"} <= set(found)


def test_nothing_is_bought_and_no_folder_is_made(
    doctor: Doctor, tmp_path: Path, vendor: RunningVendor, key: str
) -> None:
    assert "70 of 70 queries left" in doctor()[1]["balance"][0]["detail"]
    doctor("--pixels", str(tmp_path / "views"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "subject", "detail", "fix"),
    [
        (("--vendor", "http://127.0.0.1:9"), "vendor", "could not be reached", "teacher-server"),
        (("--teacher", "ViT-Z"), "vendor", "no model ViT-Z", "--teacher"),
        (("--backbone", "no_such_net"), "student", "no_such_net", "--backbone"),
        (("--device", "cuda:9"), "device", "no device", "--device auto"),
        (("--data", "/nowhere"), "data", "no data folder", "--data"),
        (("--target-domain", "sketch"), "held-out domains", "no domain sketch", "apple"),
        (("--out", "/dev/null/x"), "disk", "--out", "--out"),
        (("--pixels", "nosuch://views"), "store, --pixels", "cannot be used", "--pixels"),
        (("--key-file", "/nowhere"), "API key", "key file", "--key-file"),
    ],
)
def test_what_stops_a_run_is_an_error_with_a_fix_and_exit_code_2(
    doctor: Doctor, options: tuple[str, ...], subject: str, detail: str, fix: str
) -> None:
    code, found = doctor(*options)
    assert code == 2
    (fault,) = [one for one in found[subject] if one["level"] == "error"]
    assert detail in fault["detail"]
    assert fix in fault["fix"]


def test_a_foreign_vendor_is_asked_for_nothing_that_it_would_charge(
    doctor: Doctor, vendor: RunningVendor
) -> None:
    code, found = doctor("--wire", "openai", "--teacher", "clip", "--price-image", "100")
    assert code == 0
    assert "has no free question" in found["vendor"][0]["detail"]
    assert "balance" not in found


def test_a_wrong_key_is_found_and_not_printed(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEACHER_API_KEY", "sk_wrong_secret")
    code, found = doctor()
    assert code == 2
    assert found["vendor"][0]["level"] == "error"
    assert "secret" not in json.dumps(found)


def test_faults_of_the_images_are_warnings_that_name_the_files(
    doctor: Doctor, emoji: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(emoji, data)
    first = next((data / "apple" / "bird").iterdir())
    Image.open(first).save(data / "apple" / "heart" / "copy.webp", lossless=True)
    (data / "google" / "drink" / "torn.png").write_bytes(first.read_bytes()[:90])
    (data / "google" / "notes.txt").write_text("hello")
    (data / "outline" / "clock").mkdir()
    shutil.copy(first, data / "outline" / "clock" / "one.png")
    code, found = doctor("--data", str(data))
    assert code == 0
    assert "torn.png" in found["unreadable images"][0]["detail"]
    (left_out,) = [one for one in found["left out"] if one["level"] == "warning"]
    assert "1 file .txt in google" in left_out["detail"]
    assert "copy.webp" in found["two labels"][0]["detail"]
    assert "clock (1)" in found["small classes"][0]["detail"]
    assert "clock in apple" in found["missing classes"][0]["detail"]
    assert all(one["fix"] for part in found.values() for one in part if one["level"] == "warning")


def test_findings_are_lines_for_people_with_the_fix_below(
    doctor: Doctor, vendor: RunningVendor, emoji: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--vendor", vendor.url, "--data", str(emoji), *SMALL]) == 0
    printed = capsys.readouterr().out
    assert "warning  budget: none is set" in printed
    assert "         fix: set --budget" in printed
    assert printed.endswith("0 errors, 1 warnings; nothing was bought\n")


def test_a_teacher_of_emoji_is_a_warning_for_other_images(
    doctor: Doctor, emoji: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    shutil.copytree(emoji, own, ignore=shutil.ignore_patterns(".*"))
    code, found = doctor("--data", str(own))
    assert code == 0
    (warned,) = [one for one in found["model"] if one["level"] == "warning"]
    assert "knows only emoji" in warned["detail"]
    assert "real CLIP" in warned["fix"]
