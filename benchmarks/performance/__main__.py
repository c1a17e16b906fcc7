"""Measures speed against peers and limits in the same run, and writes docs/performance.md.

    python -m benchmarks.performance [--section cache ...] [--quick] [--page]

Every comparison is printed and kept when it is ready. At the end, those are named that are more
than 15% worse than the committed results. --quick writes to build/ and leaves the page as it is.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.performance.comparison import Comparison
from benchmarks.performance.page import write_page
from benchmarks.performance.results import (
    fell,
    read_results,
    rows_of,
    with_section,
    write_results,
)
from benchmarks.performance.sections import NOT_QUICK, SECTIONS, run_section
from tools.provenance import ROOT, commit

RESULTS, PAGE = ROOT / "docs/results/performance.json", ROOT / "docs/performance.md"
QUICK = ROOT / "build/performance.json"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the sections, keep the results after each, and name what is worse than committed."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = _parser().parse_args(arguments)
    committed = read_results(RESULTS)
    path: Path = QUICK if options.quick else RESULTS
    results = read_results(path)
    provenance = {
        "command": shlex.join(["python", "-m", "benchmarks.performance", *arguments]),
        "commit": commit(),
        "machine": _machine(),
    }
    worse: list[str] = []
    sections = options.section or (
        [name for name in SECTIONS if not (options.quick and name in NOT_QUICK)]
    )
    for section in () if options.page else sections:
        found: list[Comparison] = []

        def add(
            comparison: Comparison,
            section: str = section,
            found: list[Comparison] = found,
            before: dict[str, Any] = results,
        ) -> None:
            # Kept one by one: a section may take long, and what it has measured is not lost.
            found.append(comparison)
            write_results(path, with_section(before, section, found, provenance=provenance))
            _say(_line(comparison))

        run_section(section, quick=options.quick, report=add)
        results = with_section(results, section, found, provenance=provenance)
        worse += fell(rows_of(results, section), rows_of(committed, section))
    if not options.quick:
        write_page(PAGE, results)
    if options.quick and not options.section:
        _say(f"left out of the quick mode: {', '.join(NOT_QUICK)} (--section runs it)")
    for line in worse:
        _say(f"more than 15% worse than the committed result: {line}")
    _say(f"results in {os.path.relpath(path)}")
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _line(comparison: Comparison) -> str:
    subject = comparison.subject
    met = {True: "meets", False: "misses", None: "no goal"}[comparison.meets_goal]
    goal = "" if subject.goal is None else f" the goal of {subject.goal:g}"
    return (
        f"{subject.section}: {subject.name}: {comparison.ratio:.2f} times {subject.peer} "
        f"({met}{goal}; {subject.better} is better)"
    )


def _machine() -> str:
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        name = lines[0].partition(": ")[2] if lines else name
    return f"{os.cpu_count()} hardware threads, {name}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.performance",
        description=(__doc__ or "").splitlines()[0],
    )
    parser.add_argument("--section", action="append", choices=SECTIONS, help="repeatable; all")
    parser.add_argument("--quick", action="store_true", help="smaller and fewer rounds: minutes")
    parser.add_argument("--page", action="store_true", help="only write the page from the results")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
