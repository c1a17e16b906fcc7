"""Section "buying": the client's purchase beside a load generator that sends the same images.

Ours is what `distill-client` does with a folder of images: find and hash them, plan, reserve, send,
check and store. The peer sends requests that were made before, and keeps nothing.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from pydantic import SecretStr

from benchmarks.embedding_servers.servers import Server, photos, vendor
from benchmarks.performance.comparison import Comparison, Subject, compare
from cache.paid_cache import PaidCache
from student.data.folder.image_folder import discover
from student.embeddings.keys import view_keys
from student.options import PurchaseOptions
from student.options.section import build
from student.purchase.embedding_requests import whole_image_request
from student.purchase.journal import Payer, PurchaseJournal
from student.purchase.plan import make_plan
from student.purchase.recorder import PurchaseRecorder
from student.purchase.run_record import buy_and_record
from student.wires.open import open_vendor

_OPTIONS = PurchaseOptions()
_PIXELS = 72


def measure(*, quick: bool, report: Callable[[Comparison], None]) -> None:
    """Report the images that are bought and stored in a second, beside the load generator's."""
    count = 256 if quick else 2048
    files = photos(count, _PIXELS)
    with tempfile.TemporaryDirectory() as scratch, vendor() as server:
        for number, file in enumerate(files):
            path = Path(scratch, "images", f"class {number % 16}", f"{number}.jpg")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file)

        def bought() -> float:
            with tempfile.TemporaryDirectory(dir=scratch) as cache:
                started = time.perf_counter()
                asyncio.run(_buy(server, Path(scratch, "images"), Path(cache, "paid")))
                return count / (time.perf_counter() - started)

        def sent() -> float:
            return server.load(
                files,
                clients=_OPTIONS.concurrency,
                items=_OPTIONS.batch_size,
                requests=count // _OPTIONS.batch_size,
            ).items_per_second

        subject = Subject(
            section="buying",
            name="a purchase from the embedded model",
            unit="img/s",
            peer="load generator",
            better="higher",
            goal=0.95,
        )
        report(compare(subject, bought, sent))


async def _buy(server: Server, images: Path, folder: Path) -> None:
    """Buy every image of the folder into a new cache, as one run of the client does."""
    key = SecretStr(dict(server.headers)["Authorization"].removeprefix("Bearer "))
    url = f"http://127.0.0.1:{server.port}"
    async with open_vendor(build(PurchaseOptions, {"vendor": url}), key) as seller:
        (model,) = await seller.models()
        account = await seller.account()
        found = discover(images).items
        requests = []
        for item in found:
            (view,) = view_keys(model.fingerprint, item, views=1, size=_PIXELS)
            requests.append(whole_image_request(view, item, None, item.path.name))
        with PaidCache.open(folder) as cache:
            plan = make_plan(
                requests,
                cache=cache,
                model=model,
                prices=await seller.prices(),
                budget=len(requests),
            )
            payer = Payer(
                run=uuid.uuid4().hex,
                account=seller.ledger_name(account),
                budget=len(requests),
                is_known_to_vendor=seller.knows_purchases,
            )
            recorder = PurchaseRecorder(PurchaseJournal(plan, cache=cache, payer=payer))
            summary = await buy_and_record(
                recorder,
                seller,
                command="benchmark",
                batch_size=_OPTIONS.batch_size,
                concurrency=_OPTIONS.concurrency,
            )
        if summary.bought != len(requests):
            message = f"only {summary.bought} of {len(requests)} images were bought"
            raise RuntimeError(message)
