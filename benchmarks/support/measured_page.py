"""A measurement whose result is a file of JSON, and whose tables stand in a page between marks."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tools.provenance import commit


def page_parser(
    program: str, description: str | None, *, result: Path, page: Path
) -> argparse.ArgumentParser:
    """The parser of `python -m PROGRAM`, with the first line of the description."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {program}", description=(description or "").splitlines()[0]
    )
    parser.add_argument("--note", default="", help="what else the machine was doing")
    parser.add_argument("--out", type=Path, default=result, help="(default: %(default)s)")
    parser.add_argument("--page", type=Path, default=page, help="(default: %(default)s)")
    return parser


def described(program: str, given: Sequence[str], note: str) -> dict[str, Any]:
    """What a result says of how it was measured."""
    return {
        "command": shlex.join(["python", "-m", program, *given]),
        "commit": commit(),
        "machine": f"{os.cpu_count()} hardware threads",
        "note": note,
    }


def write_measured(
    options: argparse.Namespace, result: dict[str, Any], mark: str, tables: str
) -> None:
    """Write the result, and its tables into the page; print the tables."""
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    page = options.page.read_text(encoding="utf-8")
    options.page.write_text(with_tables(page, mark, tables), encoding="utf-8")
    sys.stdout.write(tables)


def with_tables(page: str, mark: str, tables: str) -> str:
    """The page with these tables between `<!-- MARK -->` and `<!-- end -->`."""
    before, _, rest = page.partition(f"<!-- {mark} -->\n")
    _, end, after = rest.partition("<!-- end -->")
    if not end:
        message = f"the page has no place for the tables: <!-- {mark} --> and <!-- end -->"
        raise ValueError(message)
    return f"{before}<!-- {mark} -->\n{tables}{end}{after}"
