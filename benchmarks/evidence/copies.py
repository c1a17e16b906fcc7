"""Counts the pictures that the evidence measures on and, byte for byte, also trains on.

    python -m benchmarks.evidence.copies

Some vendors draw some emoji alike. Writes docs/results/copies.json.
"""

from __future__ import annotations

import json
from itertools import product

from benchmarks.evidence.__main__ import DOCS
from benchmarks.evidence.digits import LOOKS
from benchmarks.evidence.protocol import HOUSES, NEVER_TRAINED_ON, SEEDS, settings_for
from cache.storage.atomic_file import replace_file
from student.data.folder.image_folder import discover
from student.data.split import VALIDATION, split
from tools.provenance import commit


def main() -> int:
    """Writes the counts of every split of the headline, and of the digits' main lines."""
    held_out: dict[str, list[tuple[str, ...]]] = {
        "emoji": [(house, *NEVER_TRAINED_ON) for house in HOUSES],
        "digits": [(look,) for look in LOOKS],
    }
    splits = []
    for dataset, targets in held_out.items():
        catalogue = discover(settings_for(dataset).data.data)
        for names, seed in product(targets, SEEDS):
            division = split(catalogue, targets=names, seed=seed)
            copies = division.copies()
            splits.append(
                {
                    "dataset": dataset,
                    "targets": list(names),
                    "seed": seed,
                    "parts": {
                        name: {"pictures": len(items), "trained_on": copies.get(name, 0)}
                        for name, items in {
                            VALIDATION: division.validation,
                            **division.tests,
                        }.items()
                    },
                }
            )
    result = {
        "command": "python -m benchmarks.evidence.copies",
        "commit": commit(),
        "seeds": list(SEEDS),
        "splits": splits,
    }
    replace_file(DOCS / "results/copies.json", (json.dumps(result, indent=1) + "\n").encode())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
