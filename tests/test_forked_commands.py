"""Commands of the tests that are forks end as a process of their own does."""

from __future__ import annotations

import subprocess

import pytest

from tests.support.forked_commands import forked_commands


def run(program: str) -> subprocess.CompletedProcess[str]:
    """A Python program on standard input, as a fork."""
    return subprocess.run(
        [str(forked_commands() / "python-block")],
        input=program,
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_waits_for_the_end_of_a_process_is_done() -> None:
    done = run(
        "import atexit, threading, time\n"
        "atexit.register(print, 'at the end')\n"
        "threading.Thread(target=lambda: (time.sleep(0.1), print('by a thread'))).start()\n"
        "print('by the program')\n"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["by the program", "by a thread", "at the end"]


@pytest.mark.parametrize(
    ("program", "code", "printed"),
    [
        ("raise SystemExit(3)", 3, ""),
        ("raise SystemExit", 0, ""),
        ("raise SystemExit('no images')", 1, "no images\n"),
        ("import os; os.kill(os.getpid(), 9)", -9, ""),
    ],
)
def test_the_exit_code_is_that_of_the_program(program: str, code: int, printed: str) -> None:
    done = run(program)
    assert (done.returncode, done.stderr) == (code, printed)


def test_an_error_is_a_traceback_and_exit_code_1() -> None:
    done = run("1 / 0")
    assert done.returncode == 1
    assert done.stderr.endswith("ZeroDivisionError: division by zero\n")
