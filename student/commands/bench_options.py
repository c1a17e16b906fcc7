"""The options of `distill-client bench`, read before anything heavy is imported."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from student.bench.constants import ZERO_SHOT
from student.training.methods import METHODS

METHODS_COMPARED = ("erm", "kd", "vl2v-adip", "ours")
OUT = Path("runs/bench")


def parser() -> argparse.ArgumentParser:
    """The options of the bench alone; every other is the job's."""
    made = argparse.ArgumentParser(
        "distill-client bench",
        allow_abbrev=False,
        description=(
            "Compare methods on your own folder: buy once what all runs need, train each, and "
            "write rows.jsonl and bench.md. Resumable."
        ),
        epilog=(
            "Every option of distill-client is taken, too (--budget, --data, --target-domain, "
            "--views, --selector, --steps, …; see distill-client --help). --method names the one "
            f"that is also run at each of --shares (ours); --out is {OUT} unless named."
        ),
    )
    names = [*METHODS, ZERO_SHOT]
    made.add_argument(
        "--methods",
        nargs="+",
        choices=names,
        default=[*METHODS_COMPARED],
        metavar="NAME",
        help=f"of {', '.join(names)} (default {' '.join(METHODS_COMPARED)})",
    )
    made.add_argument("--seeds", type=int, default=3, help="seeds, from --seed on (default 3)")
    made.add_argument(
        "--shares",
        nargs="*",
        type=float,
        default=[0.1],
        metavar="SHARE",
        help="shares of the images, between 0 and 1, of which --method buys (default 0.1)",
    )
    made.add_argument(
        "--processes",
        type=int,
        default=os.cpu_count() or 1,
        help="runs at once (default one a CPU)",
    )
    return made
