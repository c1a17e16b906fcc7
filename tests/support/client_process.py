"""A whole client in its own process, for tests that kill it.

`client_process.py URL CACHE COUNT [POINT ...]`, the key in the environment. For each POINT a child
runs the client and kills itself, as `kill -9` does: at a number, when the purchase reports its
n-th change; at "before-send", when a purchase is in the journal; at "before-store", when its answer
has come; at "after-store", when it is in the cache. Then the process runs the client itself. It
prints how many children were killed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import uuid
from io import BytesIO
from pathlib import Path

from PIL import Image
from pydantic import SecretStr

from cache.paid_cache import PaidCache
from cache.records.embedding_key import EmbeddingKey, image_item
from student.purchase.buyer import buy
from student.purchase.embedding_requests import EmbeddingRequest
from student.purchase.journal import Payer, PurchaseJournal
from student.purchase.plan import make_plan
from student.purchase.progress import Progress
from student.purchase.recorder import PurchaseRecorder
from student.vendor.client import connect


def png(number: int) -> bytes:
    """A small image, different for each number."""
    file = BytesIO()
    Image.new("RGB", (4, 4), (number % 256, number // 256, 7)).save(file, "PNG")
    return file.getvalue()


class KillAtPoint:
    """Listens to a purchase and kills the process at its point; with "", never."""

    def __init__(self, point: str) -> None:
        self._point = point
        self._changes = 0
        self._last = Progress(planned=0, cached=0)

    def __call__(self, now: Progress) -> None:
        self._changes += 1
        points = {
            str(self._changes): True,
            "before-send": now.in_flight > self._last.in_flight,
            "before-store": now.in_flight < self._last.in_flight,
            "after-store": now.bought > self._last.bought,
        }
        self._last = now
        if points.get(self._point, False):
            os.kill(os.getpid(), signal.SIGKILL)


async def run(url: str, folder: Path, count: int, kill_at: str = "") -> None:

    async with connect(url, SecretStr(os.environ["TEST_KEY"])) as vendor:
        (model,) = await vendor.models()
        account = vendor.ledger_name(await vendor.account())
        wanted = []
        for number in range(count):
            data = png(number)
            key = EmbeddingKey(
                model_fingerprint=model.fingerprint, modality="image", item=image_item(data)
            )
            wanted.append(EmbeddingRequest(key=key, payload=lambda data=data: data))  # type: ignore[misc]
        with PaidCache.open(folder) as cache:
            budget = 1000
            prices = await vendor.prices()
            plan = make_plan(wanted, cache=cache, model=model, prices=prices, budget=budget)
            payer = Payer(run=uuid.uuid4().hex, account=account, budget=budget)
            journal = PurchaseJournal(plan, cache=cache, payer=payer)
            recorder = PurchaseRecorder(journal, listener=KillAtPoint(kill_at))
            await buy(recorder, vendor, batch_size=3, concurrency=2)


def main() -> None:
    url, folder, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    killed = 0
    for kill_at in sys.argv[4:]:
        # A fork of a process that has imported everything and opened nothing: quick and clean.
        child = os.fork()
        if child == 0:
            asyncio.run(run(url, folder, count, kill_at))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        killed += os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    asyncio.run(run(url, folder, count))
    sys.stdout.write(str(killed))


if __name__ == "__main__":
    main()
