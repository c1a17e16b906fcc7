"""What a command prints: for people, as JSON, or nothing but warnings and errors."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """How a run reports. `json`: one object on standard output, everything else on standard error;
    `quiet`: warnings alone, on standard error."""

    json: bool = False
    quiet: bool = False


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Adds --json and --quiet."""
    group = parser.add_argument_group("output")
    # No settings of a run, so not among the values that are read.
    group.add_argument(
        "--json",
        action="store_true",
        default=argparse.SUPPRESS,
        help="print one JSON object when all is done, and everything else to standard error",
    )
    group.add_argument(
        "--quiet",
        action="store_true",
        default=argparse.SUPPRESS,
        help="print nothing but warnings and errors",
    )


def output_options(arguments: Sequence[str]) -> tuple[Output, list[str]]:
    """How to report, and the other arguments: --json and --quiet are no settings of a run."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    add_output_options(parser)
    parser.set_defaults(json=False, quiet=False)
    own, others = parser.parse_known_args(arguments)
    return Output(json=own.json, quiet=own.quiet), others
