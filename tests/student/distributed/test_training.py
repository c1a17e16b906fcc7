"""Real processes over gloo: together they train the student that one process trains."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch import Tensor

ROOT = Path(__file__).parents[3]
RUNS: list[dict[str, Any]] = [
    {"name": "one", "method": "vl2v-adip-1q", "ranks": 1},
    {"name": "two", "method": "vl2v-adip-1q", "ranks": 2},
    {"name": "erm-one", "method": "erm", "ranks": 1},
    {"name": "erm-two", "method": "erm", "ranks": 2},
    {"name": "three", "method": "vl2v-adip-1q", "ranks": 3},
    {"name": "killed", "method": "vl2v-adip-1q", "ranks": 3, "kill_at": 8},
    {"name": "killed", "method": "vl2v-adip-1q", "ranks": 3},
    {"name": "other", "method": "vl2v-adip-1q", "ranks": 2, "other_data": True},
    {"name": "failed", "method": "vl2v-adip-1q", "ranks": 2, "fails": True},
    {"name": "bought-by-one", "method": "vl2v-adip", "ranks": 1, "command": True},
    {"name": "bought-by-two", "method": "vl2v-adip", "ranks": 2, "command": True},
]
# Of weights up to 1.7 after twelve steps of Adam at 1e-2 and 1e-3; the losses are about 1.
WEIGHTS, LOSSES = 1e-4, 1e-5


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[list[int]]]:
    """The folder of all students, and the exit codes of the ranks of each run."""
    out = tmp_path_factory.mktemp("ranks")
    script = ROOT / "tests" / "support" / "rank_processes.py"
    made = subprocess.run(
        [sys.executable, str(script), str(out), json.dumps(RUNS)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    (out / "stderr").write_text(made.stderr)
    codes: list[list[int]] = json.loads(made.stdout)
    return out, codes


def _student(out: Path, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    meta: dict[str, Any] = json.loads((out / name / "meta.json").read_text())
    return load_file(out / name / "student.safetensors"), meta


@pytest.mark.parametrize(
    ("one", "several"), [("one", "two"), ("one", "three"), ("erm-one", "erm-two")]
)
def test_several_processes_train_the_student_of_one_within_the_tolerance(
    one: str, several: str, trained: tuple[Path, list[list[int]]]
) -> None:
    """Batches and validation images that do not divide by the number of processes."""
    out, _ = trained
    (first, alone), (second, shared) = _student(out, one), _student(out, several)
    worst = max(float((first[name] - second[name]).abs().max()) for name in first)
    assert 0.0 < worst < WEIGHTS  # equal bits would mean that nothing was shared
    assert alone["history"][-1]["step"] == shared["history"][-1]["step"] == 7
    for ours, theirs in zip(alone["history"], shared["history"], strict=True):
        assert ours["validation_accuracy"] == theirs["validation_accuracy"]
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=LOSSES)
        assert ours["validation_loss"] == pytest.approx(theirs["validation_loss"], abs=LOSSES)


def test_a_student_says_how_many_processes_trained_it(
    trained: tuple[Path, list[list[int]]],
) -> None:
    assert [_student(trained[0], name)[1]["processes"] for name in ("one", "two", "three")] == [
        *(1, 2, 3)
    ]


def test_the_others_end_when_a_rank_is_killed_and_the_same_run_ends_in_the_same_student(
    trained: tuple[Path, list[list[int]]],
) -> None:
    out, codes = trained
    assert codes[5:7] == [[8, 8, -signal.SIGKILL], [0, 0, 0]]
    assert "rank 0: another process of this run has ended" in (out / "stderr").read_text()
    (whole, meta), (resumed, again) = _student(out, "three"), _student(out, "killed")
    assert [name for name in whole if not whole[name].equal(resumed[name])] == []
    assert meta["history"] == again["history"]


def test_ranks_that_do_not_have_the_same_data_are_refused(
    trained: tuple[Path, list[list[int]]],
) -> None:
    out, codes = trained
    assert codes[7] == [8, 8]
    said = (out / "stderr").read_text()
    assert "rank 1 of 2 does not have the same data, options and torch as rank 0" in said
    assert not (out / "other.checkpoint").exists()


def test_an_error_of_the_first_rank_ends_the_others_which_wait_for_work(
    trained: tuple[Path, list[list[int]]],
) -> None:
    """Without an error of their own, so that a launcher reports the first."""
    out, codes = trained
    assert codes[8] == [2, 0]
    assert "rank 0: the account cannot pay" in (out / "stderr").read_text()


def test_a_whole_run_of_two_processes_buys_once_and_measures_the_student_of_one(
    trained: tuple[Path, list[list[int]]],
) -> None:
    out, codes = trained
    assert codes[9:] == [[0], [0, 0]]
    metas = []
    for name in ("bought-by-one", "bought-by-two"):
        assert (out / name / "spent").read_text() == "18"  # two texts and sixteen images
        metas.append(json.loads((out / name / "out" / "meta.json").read_text()))
    one, two = metas
    assert (one["processes"], two["processes"]) == (1, 2)
    assert one["scores"] == two["scores"]
    assert one["scores"].keys() == {"source validation", "d2"}
    assert not list((out / "bought-by-two" / "out").glob(".seen-by-all-*"))
