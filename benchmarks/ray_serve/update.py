"""Replaces all replicas of a vendor on Ray Serve while clients buy, and counts failed requests.

`python -m benchmarks.ray_serve.update --out docs/results/ray-update.json`. No request is tried
again. The exit code is 1 if one failed, or if the ledger does not have exactly the answers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from benchmarks.ray_serve.vendor_process import RayVendor, ray_vendor
from tools.provenance import commit

_CALM_SECONDS = 5.0  # of load before the first update, between two and after the last
_REQUEST_SECONDS = 60.0
_POLL_SECONDS = 0.2
_LONGEST_UPDATE_SECONDS = 300.0
ENVIRONMENT = {
    "TEACHER_MIN_API_REPLICAS": "2",
    "TEACHER_MAX_API_REPLICAS": "2",
    "TEACHER_MIN_ENCODER_REPLICAS": "2",
    "TEACHER_MAX_ENCODER_REPLICAS": "2",
    "TEACHER_REQUESTS_PER_MINUTE": "1000000",
}


class NotReplaced(Exception):
    """The replicas were not replaced in time."""


@dataclass(slots=True)
class Load:
    """Clients that buy one text after another, each under an idempotency key of its own."""

    vendor: RayVendor
    outcomes: Counter[str] = field(default_factory=Counter)
    calm: list[float] = field(default_factory=list)
    during_updates: list[float] = field(default_factory=list)
    is_updating: bool = False
    is_over: bool = False

    async def client(self, number: int) -> None:
        headers = {"Authorization": f"Bearer {self.vendor.key.token}"}
        async with httpx.AsyncClient(
            base_url=self.vendor.url, headers=headers, timeout=_REQUEST_SECONDS
        ) as http:
            count = 0
            while not self.is_over:
                count += 1
                await self._buy(http, f"{number}-{count}")

    async def _buy(self, http: httpx.AsyncClient, name: str) -> None:
        body = {"model": "embedded", "input": [f"a photo of thing {name}"]}
        started = time.monotonic()
        try:
            answer = await http.post("/v1/embeddings", json=body, headers={"Idempotency-Key": name})
        except httpx.HTTPError as error:
            self.outcomes[type(error).__name__] += 1
            return
        self.outcomes[str(answer.status_code)] += 1
        (self.during_updates if self.is_updating else self.calm).append(time.monotonic() - started)


async def measure(vendor: RayVendor, *, clients: int, updates: int) -> dict[str, Any]:
    """Replace the replicas `updates` times under the load of `clients`; the figures as JSON.

    Raises NotReplaced if an update does not end.
    """
    load = Load(vendor)
    *_, opened_before = vendor.books()
    seconds = []
    async with asyncio.TaskGroup() as group:
        for number in range(clients):
            group.create_task(load.client(number))
        await asyncio.sleep(_CALM_SECONDS)
        for number in range(1, updates + 1):
            load.is_updating = True
            started = time.monotonic()
            vendor.replace_replicas()
            while vendor.times_replaced() < number:
                if time.monotonic() - started > _LONGEST_UPDATE_SECONDS:
                    message = f"update {number} has not ended; see {vendor.log}"
                    raise NotReplaced(message)
                await asyncio.sleep(_POLL_SECONDS)
            seconds.append(round(time.monotonic() - started, 1))
            load.is_updating = False
            await asyncio.sleep(_CALM_SECONDS)
        load.is_over = True
    account, audit, opened_after = vendor.books()
    sold = load.outcomes["200"]
    return {
        "clients": clients,
        "updates": updates,
        "update_seconds": seconds,
        "requests": load.outcomes.total(),
        "failed": load.outcomes.total() - sold,
        "outcomes": dict(load.outcomes),
        "requests_during_updates": len(load.during_updates),
        "median_ms": _milliseconds(statistics.median(load.calm)),
        "median_ms_during_updates": _milliseconds(statistics.median(load.during_updates)),
        "longest_ms_during_updates": _milliseconds(max(load.during_updates)),
        # The look at the books before was itself counted once.
        "api_replicas_started_by_updates": opened_after - opened_before - 1,
        "charged": account.spent_units,
        "reserved": account.reserved_units,
        "ledger_faults": list(audit.faults),
    }


def is_right(found: dict[str, Any]) -> bool:
    """Whether no request failed, and the ledger has a charge for each answer and no other."""
    return not (
        found["failed"]
        or found["reserved"]
        or found["ledger_faults"]
        or found["charged"] != found["requests"]
        or found["api_replicas_started_by_updates"] < 2 * found["updates"]
    )


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def main(argv: Sequence[str] | None = None) -> int:
    """Run, write the result, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ray_serve.update")
    parser.add_argument("--clients", type=int, default=8, help="clients that buy at once")
    parser.add_argument("--updates", type=int, default=3, help="how often all are replaced")
    parser.add_argument("--out", type=Path, help="JSON file to write the result to")
    arguments = parser.parse_args(argv)
    with (
        tempfile.TemporaryDirectory(prefix="ray-") as scratch,
        ray_vendor(Path(scratch), ENVIRONMENT) as vendor,
    ):
        found = asyncio.run(measure(vendor, clients=arguments.clients, updates=arguments.updates))
    command = " ".join(
        ("python -m benchmarks.ray_serve.update", *(argv if argv is not None else sys.argv[1:]))
    )
    text = json.dumps({"command": command, "commit": commit()} | found, indent=2, sort_keys=True)
    if arguments.out is not None:
        arguments.out.write_text(text + "\n")
    sys.stdout.write(text + "\n")
    return 0 if is_right(found) else 1


if __name__ == "__main__":
    raise SystemExit(main())
