"""Measure how the source tree is organised, and pick functions for a finding test.

    python -m tools.structure --commit 0045b43 --out docs/results/structure.json
    python -m tools.structure --pick 12 --seed 1 [--answer]

A finding test shows a newcomer the names and promises of a few functions, picked by a seed. Can
they name the file that holds each? `--answer` prints the files.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import json
import random
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from tools.provenance import ROOT, commit
from tools.structure.measure import PACKAGES, measure, read_modules


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = _parser().parse_args(argv)
    with _tree(options.commit) as (root, revision):
        if options.pick:
            for number, (name, promise, path) in enumerate(
                pick(root, options.pick, options.seed), start=1
            ):
                print(f"{number:2} {name}: {path if options.answer else promise}")
            return 0
        results = {revision: measure(root)}
    if options.out is not None:
        if options.out.exists():
            results = json.loads(options.out.read_text()) | results
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(results, indent=2) + "\n")
    print(table(results))
    return 0


def pick(root: Path, count: int, seed: int) -> list[tuple[str, str, str]]:
    """Return the name, first docstring sentence and path of `count` random public functions.

    Only module-level functions of the three packages are picked, except `main`. Equal trees and
    seeds give equal picks. Raises ValueError if there are fewer than `count`.
    """
    found = [
        (node.name, _promise(node), module.path.relative_to(root).as_posix())
        for package in PACKAGES
        for module in read_modules(root, package).values()
        for node in module.tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if not node.name.startswith("_") and node.name != "main"
    ]
    return random.Random(seed).sample(sorted(found), count)


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Render a Markdown table with one column per commit."""
    heads = [commit[:7] for commit in results]
    columns = [dict(_rows(result)) for result in results.values()]
    names = list(dict.fromkeys(name for column in columns for name in column))
    lines = [f"| | {' | '.join(heads)} |", f"|---|{'--:|' * len(heads)}"]
    for name in names:
        lines.append(f"| {name} | {' | '.join(str(c.get(name, '')) for c in columns)} |")
    return "\n".join(lines)


def _rows(result: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    folders = result["folders"]
    yield "words in README.md", result["readme_words"]
    yield "most loose files beside folders", max(result["loose_files"].values(), default=0)
    for name in PACKAGES:
        figures = folders[name]
        yield f"`{name}`: loose files", result["loose_files"].get(name, 0)
        yield f"`{name}`: arrows between rooms", figures["arrows"]
        yield f"`{name}`: circles between rooms", len(figures["circles_of_rooms"])
        yield f"`{name}`: circles between files", len(figures["circles_of_files"])
        over = len(figures["functions_over_6_parameters"])
        yield f"`{name}`: functions with more than 6 parameters", over
        yield f"`{name}`: files under 40 lines", figures["files_under_40_lines"]
        yield f"`{name}`: median file length, lines", figures["median_file_lines"]
        yield f"`{name}`: longest function, lines", figures["longest_function"]["lines"]


@contextmanager
def _tree(revision: str | None) -> Iterator[tuple[Path, str]]:
    """The folder to measure and its commit: the working tree, or a revision in a temp folder."""
    if revision is None:
        yield ROOT, commit()
        return
    found = _git("rev-parse", f"{revision}^{{commit}}").decode().strip()
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=BytesIO(_git("archive", found))) as archive:
            archive.extractall(folder, filter="data")
        yield Path(folder), found


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=True).stdout


def _promise(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    text = inspect.cleandoc(ast.get_docstring(node) or "(no docstring)").split("\n\n")[0]
    return " ".join(text.split()).split(". ")[0].removesuffix(".") + "."


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.structure", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--commit", help="revision to read (default: the working tree)")
    parser.add_argument(
        "--out", type=Path, help="JSON file to update; other commits in it are kept"
    )
    parser.add_argument("--pick", type=int, metavar="N", help="print N random public functions")
    parser.add_argument(
        "--seed", type=int, default=0, help="random seed of --pick (default: %(default)s)"
    )
    parser.add_argument(
        "--answer", action="store_true", help="with --pick: print each function's file"
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
