"""How a process finds its place among those of a launcher."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from student.cli import main
from student.distributed.join import joined
from student.distributed.launch import Launch, launched, speaker
from student.errors import BadInput

SECOND_OF_TWO = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
PLACE = Launch(rank=0, count=2, local_rank=0, local_count=2)


def test_a_process_without_a_launcher_is_alone() -> None:
    assert launched({}) is None
    assert launched({"WORLD_SIZE": "4"}) is None  # left over by another program
    assert launched({**SECOND_OF_TWO, "RANK": "0", "WORLD_SIZE": "1"}) is None


def test_a_process_of_a_launcher_has_its_rank_and_says_it() -> None:
    assert launched(SECOND_OF_TWO) == Launch(rank=1, count=2, local_rank=1, local_count=2)
    assert speaker(SECOND_OF_TWO) == "rank 1: "
    assert speaker({**SECOND_OF_TWO, "RANK": "0"}) == speaker({}) == ""


def test_several_processes_of_which_accelerate_started_one_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What `accelerate launch --num_processes 2` sets on a machine without GPUs."""
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    assert main(["--budget", "10"]) == 2
    assert "Nothing was bought. Start them with `accelerate launch --multi_gpu" in (
        capsys.readouterr().err
    )


def test_a_subcommand_refuses_several_processes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in SECOND_OF_TWO.items():
        monkeypatch.setenv(name, value)
    assert main(["bench"]) == 2
    assert capsys.readouterr().err.startswith("rank 1: error: distill-client bench runs in one")


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "mps"])
def test_processes_without_a_device_each_are_refused_before_they_meet(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(BadInput, match=r"Nothing was bought"), joined(PLACE, device=device):
        pass


def test_a_process_ends_when_its_launcher_is_killed(tmp_path: Path) -> None:
    child = "from student.distributed.launch import end_with_launcher as end; import time; end()"
    child += "; print('ready', flush=True); time.sleep(60); open('survived', 'w')"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    launcher = subprocess.Popen(
        [sys.executable, "-c", parent], stdout=subprocess.PIPE, cwd=tmp_path, text=True
    )
    assert launcher.stdout is not None
    assert launcher.stdout.readline() == "ready\n"
    started = time.monotonic()
    launcher.send_signal(signal.SIGKILL)
    launcher.wait()
    assert launcher.stdout.read() == ""  # the child has ended: nobody else has its output open
    assert time.monotonic() - started < 30
    launcher.stdout.close()
