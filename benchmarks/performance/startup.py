"""Section "startup": `--help` and the vendor's start, beside the imports that they cannot avoid."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.embedding_servers.servers import vendor
from benchmarks.performance.comparison import Comparison, Subject, compare

# The command's options are a pydantic-settings class, so no help can appear sooner than this.
_LIMIT = "import pydantic_settings.sources.providers.cli"


def measure(*, quick: bool, report: Callable[[Comparison], None]) -> None:
    """Report the seconds of `--help` of the three commands and of the vendor's start."""
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
    report(_start(rounds=2 if quick else 5))


def _start(*, rounds: int) -> Comparison:
    """The vendor's start until `/readyz` is 200, beside the two imports that it cannot avoid."""

    def until_ready() -> float:
        with vendor() as server:
            return server.start_seconds

    subject = Subject(
        section="startup",
        name="teacher-server serve, start to ready",
        unit="seconds",
        peer="an interpreter that imports torch and open_clip",
        better="lower",
    )
    importing = partial(_seconds, sys.executable, "-c", "import open_clip, torch")
    return compare(subject, until_ready, importing, rounds=rounds)


def _seconds(*command: str) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started
