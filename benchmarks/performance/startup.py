"""How long the commands take to print their help, beside an interpreter that imports pydantic."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.performance.comparison import Comparison, Subject, compare

# The command's options are a pydantic-settings class, so no help can appear sooner than this.
_LIMIT = "import pydantic_settings.sources.providers.cli"


def measure(*, quick: bool, report: Callable[[Comparison], None]) -> None:
    """Report the seconds of `--help` of the three commands, over those of the imports alone."""
    for command, limit, goal in (
        ("distill-client", f"import argparse; {_LIMIT}", 1.5),
        ("cache-report", "import argparse", None),
        ("teacher-server", "import argparse", None),
    ):
        peer = "an interpreter that imports what parses the options: " + limit.split()[-1]
        subject = Subject(
            section="startup",
            name=f"{command} --help",
            unit="seconds",
            peer=peer,
            better="lower",
            goal=goal,
        )
        program = str(Path(sys.executable).with_name(command))
        report(
            compare(
                subject,
                partial(_seconds, program, "--help"),
                partial(_seconds, sys.executable, "-c", limit),
                rounds=5 if quick else 15,
            )
        )


def _seconds(*command: str) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started
