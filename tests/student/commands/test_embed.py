"""`distill-client embed`: which files it writes, and what it refuses before it reads an image."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from student.cli import main
from student.inference.trained_student import load
from tests.support.pictures import write_picture
from tests.support.saved_student import saved_student


@pytest.fixture
def asked(tmp_path: Path) -> list[str]:
    """Two images with a file between them that is none."""
    images = [tmp_path / name for name in ("one.png", "bad.png", "two.png")]
    write_picture(images[0], 0)
    images[1].write_text("no image")
    write_picture(images[2], 1)
    return ["embed", "--student", str(saved_student(tmp_path / "student")), *map(str, images)]


def test_npy_holds_a_row_for_each_image_that_json_lists_and_the_bad_file_is_named(
    tmp_path: Path, asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "e.npy"
    assert main([*asked, "--out", str(out)]) == 2
    output = capsys.readouterr()
    assert "bad.png cannot be read as an image" in output.err
    assert "wrote 2 embeddings" in output.out
    assert "1 files left out" in output.out
    images = json.loads(out.with_suffix(".json").read_text())
    assert images == [asked[3], asked[5]]
    expected = load(tmp_path / "student").embed(images)
    assert np.array_equal(np.load(out, allow_pickle=False), expected)


def test_parquet_holds_the_same_embeddings_with_their_images(
    tmp_path: Path, asked: list[str]
) -> None:
    from pyarrow import parquet

    out = tmp_path / "e.parquet"
    assert main([*asked, "--out", str(out)]) == 2
    table = parquet.read_table(out)
    images = table["image"].to_pylist()
    assert images == [asked[3], asked[5]]
    expected = load(tmp_path / "student").embed(images)
    assert np.array_equal(np.array(table["embedding"].to_pylist(), np.float32), expected)


def test_a_name_that_parquet_cannot_hold_is_refused_before_an_image_is_read(
    tmp_path: Path, asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "e.parquet"
    assert main([*asked, "caf\udce9.png", "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert "Parquet takes names in UTF-8 alone: rename caf" in said
    assert "bad.png" not in said
    assert not out.exists()


def test_a_name_of_another_kind_is_refused_and_nothing_is_written(
    tmp_path: Path, asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "e.csv"
    assert main([*asked, "--out", str(out)]) == 2
    assert capsys.readouterr().err == (f"error: --out {out}: the name ends in .npy or .parquet\n")
    assert not out.exists()


def test_without_pyarrow_parquet_is_refused_before_an_image_is_read(
    tmp_path: Path,
    asked: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("student.inference.embedding_file.find_spec", lambda name: None)
    assert main([*asked, "--out", str(tmp_path / "e.parquet")]) == 2
    error = capsys.readouterr().err
    assert "pip install 'rented-teacher[parquet]'" in error
    assert "bad.png" not in error


def test_a_student_of_labels_alone_is_refused(
    tmp_path: Path, asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = saved_student(tmp_path / "erm", {"method": "erm"}, head="class")
    assert main([*asked, "--student", str(folder), "--out", str(tmp_path / "e.npy")]) == 2
    assert "trained by erm and cannot embed images" in capsys.readouterr().err
    assert not (tmp_path / "e.npy").exists()
