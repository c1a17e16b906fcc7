"""A pool whose parent is killed ends with it, in the middle of its task."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import time
from multiprocessing import parent_process
from pathlib import Path

import pytest

from student.evaluation.child_process import end_with_parent

# To import torch and timm takes seconds, and nothing here trains.
WITHOUT_PRELOAD = """
from multiprocessing.context import ForkServerContext
ForkServerContext.set_forkserver_preload = lambda context, modules: None
"""

POOL = f"""{WITHOUT_PRELOAD}
import os, sys, time
from student.evaluation.child_process import end_with_parent, training_pool

def work(path):
    open(path, "w").write(str(os.getpid()))
    time.sleep(600)

if __name__ == "__main__":
    with training_pool(1, end_with_parent) as pool:
        pool.submit(work, sys.argv[1]).result()
"""


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().split(")")[1][:3]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_child_ends_when_its_parent_is_killed(how: signal.Signals, tmp_path: Path) -> None:
    program, pid_file = tmp_path / "pool.py", tmp_path / "pid"
    program.write_text(POOL)
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    parent = subprocess.Popen([sys.executable, str(program), str(pid_file)], env=environment)
    until = time.monotonic() + 60
    while not (pid_file.exists() and pid_file.read_text()) and time.monotonic() < until:
        time.sleep(0.02)
    child = int(pid_file.read_text())
    assert _is_there(child)
    parent.send_signal(how)
    parent.wait()
    while _is_there(child) and time.monotonic() < until:
        time.sleep(0.02)
    assert not _is_there(child)


SLEEPERS = f"""{WITHOUT_PRELOAD}
import sys, time
from student.cli import main
from student.evaluation.child_process import training_pool
from student.commands import predict

def nothing():
    pass

def work(path):
    open(path, "w").close()
    time.sleep(600)

def pool(_):
    with training_pool(2, nothing) as pool:
        for future in [pool.submit(work, path) for path in sys.argv[1:]]:
            future.result()

if __name__ == "__main__":
    predict.main = pool  # stands for any subcommand that trains
    sys.exit(main(["predict"]))
"""


def test_ctrl_c_ends_a_pool_at_once_with_one_line_and_exit_code_130(tmp_path: Path) -> None:
    program, marks = tmp_path / "pool.py", [tmp_path / "1", tmp_path / "2"]
    program.write_text(SLEEPERS)
    parent = subprocess.Popen(
        [sys.executable, str(program), *map(str, marks)],
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    until = time.monotonic() + 120
    while not all(mark.exists() for mark in marks) and time.monotonic() < until:
        time.sleep(0.05)
    os.killpg(parent.pid, signal.SIGINT)  # as a terminal sends it: to parent and children
    _, printed = parent.communicate(timeout=60)
    assert parent.returncode == 130
    assert printed.strip().splitlines() == [
        "interrupted: every paid answer is stored; run the same command again to resume"
    ]


def test_children_find_torch_and_timm_imported() -> None:
    program = (
        "import sys\n"
        "from student.evaluation.child_process import end_with_parent, training_pool\n"
        "if __name__ == '__main__':\n"
        "    assert 'torch' not in sys.modules\n"
        "    with training_pool(1, end_with_parent) as pool:\n"
        "        print(pool.submit(eval, 'sorted(__import__(\"sys\").modules)').result())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
    )
    assert {"torch", "timm"} <= set(ast.literal_eval(done.stdout))


def test_outside_a_pool_it_does_nothing() -> None:
    assert parent_process() is None
    end_with_parent()
