"""A whole client in its own process, for tests that kill it.

`client_process.py URL CACHE COUNT [N ...]`, the key in the environment. For each N a child runs
the client and kills itself, as `kill -9` does, when the purchase tells of its n-th change: after
the journal and before the send, after the answer and before the store, after the store. Then the
process runs the client itself. It prints how many children were killed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import uuid
from pathlib import Path

from pydantic import SecretStr

from cache.identity import EmbeddingKey, image_item
from cache.paid import PaidCache
from student.purchase.buyer import buy
from student.purchase.plan import Wanted, make_plan
from student.purchase.progress import Progress
from student.purchase.vendor import connect


async def run(url: str, folder: Path, count: int, die_at: int = 0) -> None:
    changes = 0

    def tell(_: Progress) -> None:
        nonlocal changes
        changes += 1
        if changes == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    async with connect(url, SecretStr(os.environ["TEST_KEY"])) as vendor:
        (model,) = await vendor.models()
        account = vendor.ledger_name(await vendor.account())
        wanted = []
        for number in range(count):
            data = f"image {number}".encode()
            key = EmbeddingKey(
                model_fingerprint=model.fingerprint, modality="image", item=image_item(data)
            )
            wanted.append(Wanted(key=key, payload=lambda data=data: data))  # type: ignore[misc]
        with PaidCache.open(folder) as cache:
            budget = 1000
            prices = await vendor.prices()
            plan = make_plan(wanted, cache=cache, model=model, prices=prices, budget=budget)
            await buy(
                plan,
                cache=cache,
                vendor=vendor,
                budget=budget,
                run=uuid.uuid4().hex,
                account=account,
                batch_size=3,
                concurrency=2,
                progress=tell,
            )


def main() -> None:
    url, folder, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    killed = 0
    for die_at in map(int, sys.argv[4:]):
        # A fork of a process that has imported everything and opened nothing: quick and clean.
        child = os.fork()
        if child == 0:
            asyncio.run(run(url, folder, count, die_at))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        killed += os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    asyncio.run(run(url, folder, count))
    sys.stdout.write(str(killed))


if __name__ == "__main__":
    main()
