"""`predict` over many images, into a pipe and on a terminal without UTF-8."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from student.cli import main
from student.models.saved import save_student
from student.models.student import NewHead, new_student
from tests.support.pictures import write_domains

CLASSES = ["café", "猫"]


@pytest.fixture
def student(tmp_path: Path) -> Path:
    made = new_student(
        NewHead(num_classes=len(CLASSES), text_embeddings=None),
        backbone="test_efficientnet",
        weights="none",
        image_size=16,
    )
    meta = {"classes": CLASSES, "calibration": {"temperature": 2.0}}
    save_student(made, tmp_path / "student", meta)
    return tmp_path / "student"


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    return sorted(write_domains(tmp_path / "pets").rglob("*.png"))


def test_a_file_that_is_no_image_is_named_and_the_rest_is_classified(
    student: Path, images: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "torn.png").write_bytes(b"torn")
    asked = [images[0], tmp_path / "torn.png", tmp_path / "missing.png", tmp_path, images[1]]
    assert main(["predict", "--student", str(student), *map(str, asked)]) == 2
    printed = capsys.readouterr()
    assert [line.split("\t")[0] for line in printed.out.splitlines()] == [
        str(images[0]),
        str(images[1]),
    ]
    lines = printed.err.splitlines()
    assert len(lines) == 3
    for line, path in zip(lines, asked[1:4], strict=True):
        assert line.startswith(f"error: {path} cannot be read as an image")


def _program(*arguments: str, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "student", *arguments],
        env={**os.environ, "PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_a_terminal_without_utf_8_gets_escapes(student: Path, images: list[Path]) -> None:
    program = _program(
        "predict",
        "--student",
        str(student),
        str(images[0]),
        LANG="C",
        LC_ALL="C",
        PYTHONUTF8="0",
        PYTHONCOERCECLOCALE="0",
    )
    out, err = program.communicate(timeout=150)
    assert (program.returncode, err) == (0, b"")
    assert b"caf\\xe9" in out or b"\\u732b" in out


def test_a_pipe_that_its_reader_closes_is_quiet(student: Path, images: list[Path]) -> None:
    asked = ["--student", str(student), *map(str, images)]
    with _program("predict", *asked, PYTHONUNBUFFERED="1") as program:
        assert program.stdout is not None
        assert program.stderr is not None
        assert program.stdout.readline()
        program.stdout.close()
        assert program.stderr.read() == b""
    assert program.returncode == 0
