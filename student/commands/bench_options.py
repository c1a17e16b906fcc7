"""The options of `distill-client bench`, read before anything heavy is imported."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from student.bench.constants import ZERO_SHOT
from student.options.renamed_options import current_method
from student.options.training import AUTO_METHODS
from student.training.methods import METHODS

ONE_QUERY = "vl2v-adip-1q"
METHODS_COMPARED = ("erm", "kd", "vl2v-adip", ONE_QUERY, AUTO_METHODS[-1])
OUT = Path("runs/bench")


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the bench's own options; the others belong to `distill-client`."""
    made = argparse.ArgumentParser(
        "distill-client bench",
        allow_abbrev=False,
        description=(
            "Compare methods on your own folder: buy once what all runs need, train each, and "
            "write rows.jsonl and bench.md. A killed bench is resumed by the same command."
        ),
        epilog=(
            "Every option of distill-client is accepted too (--budget, --data, --target-domain, "
            "--views, --selector, --steps, …; see distill-client --help). --method is the method "
            f"that is also run at each of --shares (default: {ONE_QUERY}); --out defaults to {OUT}."
        ),
    )
    names = [*METHODS, ZERO_SHOT]
    made.add_argument(
        "--methods",
        nargs="+",
        type=current_method,
        choices=names,
        default=[*METHODS_COMPARED],
        metavar="NAME",
        help=f"methods to compare: {', '.join(names)} (default: {' '.join(METHODS_COMPARED)})",
    )
    made.add_argument(
        "--seeds",
        type=int,
        default=3,
        metavar="N",
        help="number of seeds, starting at --seed (default: 3)",
    )
    made.add_argument(
        "--shares",
        nargs="*",
        type=float,
        default=[0.1],
        metavar="SHARE",
        help="shares of the images, between 0 and 1, that --method also buys (default: 0.1)",
    )
    made.add_argument(
        "--processes",
        type=int,
        default=os.cpu_count() or 1,
        metavar="N",
        help="number of runs trained at the same time (default: one for each CPU)",
    )
    return made
