"""A whole client over a wire in its own process, for tests that kill it.

`python -m tests.support.wire_client_process URL CACHE COUNT BUDGET [POINT ...]`, with the points of
`client_process`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import uuid
from contextlib import suppress
from pathlib import Path

from pydantic import SecretStr

from cache.paid_cache import PaidCache
from cache.records.embedding_key import EmbeddingKey, image_item
from student.errors import PlanExceedsBudget
from student.options import PurchaseOptions
from student.options.section import build
from student.purchase.canary import canary_units
from student.purchase.embedding_requests import EmbeddingRequest
from student.purchase.journal import Payer, PurchaseJournal
from student.purchase.plan import make_plan
from student.purchase.recorder import PurchaseRecorder
from student.purchase.run_record import buy_and_record
from student.wires.open import open_vendor
from tests.support.client_process import KillAtPoint, png


async def run(url: str, folder: Path, count: int, budget: int, kill_at: str = "") -> None:
    """Buy `count` images as one run of the client does."""
    options = build(PurchaseOptions, {"wire": "openai", "vendor": url, "teacher": "clip"})
    async with open_vendor(options, SecretStr(os.environ["TEST_KEY"])) as vendor:
        (model,) = await vendor.models()
        prices = await vendor.prices()
        wanted = []
        for number in range(count):
            data = png(number)
            key = EmbeddingKey(
                model_fingerprint=model.fingerprint, modality="image", item=image_item(data)
            )
            wanted.append(EmbeddingRequest(key=key, payload=lambda data=data: data))  # type: ignore[misc]
        with PaidCache.open(folder) as cache:
            plan = make_plan(
                wanted,
                cache=cache,
                model=model,
                prices=prices,
                budget=budget,
                canary_units=canary_units(vendor, prices),
            )
            payer = Payer(
                run=uuid.uuid4().hex,
                account=vendor.ledger_name(await vendor.account()),
                budget=budget,
                is_known_to_vendor=vendor.knows_purchases,
            )
            journal = PurchaseJournal(plan, cache=cache, payer=payer)
            recorder = PurchaseRecorder(journal, listener=KillAtPoint(kill_at))
            with suppress(PlanExceedsBudget):
                await buy_and_record(recorder, vendor, command="test", batch_size=3, concurrency=2)


def main() -> None:
    url, folder = sys.argv[1], Path(sys.argv[2])
    count, budget = int(sys.argv[3]), int(sys.argv[4])
    killed = 0
    for kill_at in sys.argv[5:]:
        child = os.fork()
        if child == 0:
            asyncio.run(run(url, folder, count, budget, kill_at))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        killed += os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    asyncio.run(run(url, folder, count, budget))
    sys.stdout.write(str(killed))


if __name__ == "__main__":
    main()
