"""Buys one list of images by Ray Data: one task for each shard, within one shared budget.

    python -m examples.ray_data.buy_shards --shards 3 --caches paid-caches
        --shared-budget budget.db --data data ...

The other arguments are those of `distill-client`. Shard K buys into the cache `shard-K` in
`--caches`, which every task of that shard has to find again: a task whose worker was killed is run
again by Ray, settles what its cache has open, and continues. The API key comes from the environment
of the workers, or from `--key-file`. Prints the exit code of each shard; join the caches with
`cache-report merge`.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from student.cli import main as distill_client
from student.shared_budget.open import open_shared_budget

ELSEWHERE = 2
"""The exit code of a shard that another machine has begun."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run all shards, and return the largest of their exit codes."""
    options, others = _parser().parse_known_args(argv)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
    import ray

    # Without an address Ray would join whatever runs on this machine.
    ray.init(address=os.environ.get("RAY_ADDRESS", "local"), include_dashboard=False)
    shards = [
        {
            "shard": f"{number}/{options.shards}",
            "cache": str(options.caches.resolve() / f"shard-{number}"),
            "shared_budget": options.shared_budget,
            "others": others,
        }
        for number in range(1, options.shards + 1)
    ]
    # A block for each shard, so that each is a task of its own.
    data = ray.data.from_items(shards, override_num_blocks=len(shards))
    found = data.map(buy_shard, num_cpus=options.cpus).take_all()
    for row in sorted(found, key=lambda row: str(row["shard"])):
        print(f"shard {row['shard']}: exit code {row['exit_code']}")
    return max(int(row["exit_code"]) for row in found)


def buy_shard(row: dict[str, Any]) -> dict[str, Any]:
    """Buy one shard in this process, which holds the cache's locks: they end with it."""
    cache = Path(row["cache"])
    if (machine := begun_elsewhere(row["shared_budget"], cache)) is not None:
        # An empty cache would buy again what the one on that machine has paid for.
        print(
            f"shard {row['shard']} was begun on {machine}: run it there, or bring {cache} here and "
            "name its ended runs to `distill-client shared-budget reclaim`. Nothing was bought",
            file=sys.stderr,
        )
        return {"shard": row["shard"], "exit_code": ELSEWHERE}
    code = distill_client(
        [
            *("--shard", row["shard"], "--cache", row["cache"]),
            *("--out", f"{row['cache']}.out", "--shared-budget", row["shared_budget"]),
            *(str(one) for one in row["others"]),
        ]
    )
    return {"shard": row["shard"], "exit_code": code}


def begun_elsewhere(shared_budget: str, cache: Path) -> str | None:
    """The machine on which a cache of this path has bought, if there is none on this one."""
    if cache.exists():
        return None
    for lease in open_shared_budget(shared_budget).leases():
        machine, _, folder = lease.place.partition(":")
        if folder == str(cache) and machine != socket.gethostname():
            return machine
    return None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m examples.ray_data.buy_shards", description=__doc__)
    parser.add_argument("--shards", type=int, required=True, help="how many tasks buy")
    parser.add_argument("--caches", type=Path, required=True, help="a folder on a local disk")
    parser.add_argument("--shared-budget", required=True, help="what they may spend together")
    parser.add_argument("--cpus", type=float, default=1.0, help="of each task (default: 1)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
