"""Section "buying": the client's purchase beside a load generator that sends the same images.

Ours is what `distill-client` does with a folder of images: find and hash them, plan, reserve, send,
check and store. The peer sends requests that were made before, and keeps nothing. Both are measured
beside the vendor on all cores, and with a core of its own for the vendor, as if it were on another
machine.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
    with tempfile.TemporaryDirectory() as scratch:
        files = _written(Path(scratch, "images"), count)
        name = "a purchase from the embedded model"
        with vendor() as server:
            report(_compare(name, server, Path(scratch), files))
        vendors, *others = sorted(os.sched_getaffinity(0))
        if not others:
            return
        with vendor(threads=1, core=vendors) as server, _on(set(others)):
            report(_compare(f"{name}, which has a core of its own", server, Path(scratch), files))


def _written(images: Path, count: int) -> list[bytes]:
    files = photos(count, _PIXELS)
    for number, file in enumerate(files):
        path = images / f"class {number % 16}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file)
    return files


def _compare(name: str, server: Server, scratch: Path, files: list[bytes]) -> Comparison:
    def bought() -> float:
        with tempfile.TemporaryDirectory(dir=scratch) as cache:
            started = time.perf_counter()
            asyncio.run(_buy(server, scratch / "images", Path(cache, "paid")))
            return len(files) / (time.perf_counter() - started)

    def sent() -> float:
        return server.load(
            files,
            clients=_OPTIONS.concurrency,
            items=_OPTIONS.batch_size,
            requests=len(files) // _OPTIONS.batch_size,
        ).items_per_second

    subject = Subject(
        section="buying",
        name=name,
        unit="img/s",
        peer="load generator",
        better="higher",
        goal=0.95,
    )
    return compare(subject, bought, sent)


@contextmanager
def _on(cores: set[int]) -> Iterator[None]:
    """Runs this process on these cores alone until the block ends."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


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
