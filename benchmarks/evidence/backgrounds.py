"""Counts the images on a plain background in every domain that the evidence trains on.

    python -m benchmarks.evidence.backgrounds

Writes docs/results/plain-backgrounds.json.
"""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
from rich.console import Console

from benchmarks.evidence.__main__ import DOCS
from benchmarks.evidence.grids import grid
from cache.storage.atomic_file import replace_file
from student.bench.dataset import gather
from student.bench.run import Grid
from student.console import Terminal
from student.training.backgrounds import PlainBackgrounds
from tools.provenance import commit

GRIDS = ("joint", "digits-again", "cifar", "pacs-sketch", "pacs-photo")
"""These train on every domain that any grid trains on."""


def main() -> int:
    """Renders the images at one view, at the size at which students see them, and counts."""
    shares: dict[str, dict[str, dict[str, int]]] = {}
    for name in GRIDS:
        planned = grid(name)
        one_view = Grid(name=name, base=planned.base, runs=planned.runs[:2])
        scanned = gather(one_view, Terminal(Console(stderr=True))).scanned
        rows = np.arange(len(scanned.training))
        plain = PlainBackgrounds(scanned.stored)(rows)
        images = Counter(item.domain for item in scanned.training)
        found = Counter(scanned.training[row].domain for row in np.flatnonzero(plain))
        of_set = shares.setdefault(planned.base.data.data.name.split("-")[0], {})
        for domain in sorted(images):
            of_set[domain] = {"images": images[domain], "plain": found[domain]}
    result = {
        "command": "python -m benchmarks.evidence.backgrounds",
        "commit": commit(),
        "seed": 0,
        "trained_on": shares,
    }
    path = DOCS / "results/plain-backgrounds.json"
    replace_file(path, (json.dumps(result, indent=1) + "\n").encode())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
