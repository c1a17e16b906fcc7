"""The stages of a client's run whose cost grows with the images, each through the real code."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks.embedding_servers.servers import photos
from benchmarks.support.synthetic_cache import (
    DIM,
    FINGERPRINT,
    MODEL,
    SyntheticVendor,
    buy,
    image_key,
)
from cache.embedding_table import materialise
from cache.integrity.verify import verify
from cache.paid_cache import PaidCache
from cache.storage.reader import CacheReader
from student.data.folder.image_folder import discover
from student.data.pixel_table import pixel_table
from student.purchase.embedding_requests import EmbeddingRequest
from student.purchase.plan import make_plan
from student.vendor.schemas import Model, Prices

VIEW_PIXELS: Final = 224
PHOTO_PIXELS: Final = 448
"""Width and height of the photographs that `read` decodes."""
_EVERY_S: Final = 0.02
_LIMITS: Final = ("max_items", "max_image_bytes", "max_image_pixels", "max_body_bytes")


def cost_of(stage: str, images: int, folder: Path) -> dict[str, float]:
    """Run one stage in this process; its cost in seconds of processor time, the peak of memory, and
    bytes on disk. `plan`, `table` and `verify` read the cache that `buy` made in the folder."""
    run = STAGES[stage](images, folder)
    memory = PeakMemory()
    started = time.process_time()
    disk_bytes = run()
    return {
        "cpu_seconds": time.process_time() - started,
        "peak_bytes": memory.stop(),
        "disk_bytes": disk_bytes,
    }


class PeakMemory:
    """Looks at the process's own memory until it is stopped; mapped files do not count, because
    the system takes their pages back when it needs them."""

    def __init__(self) -> None:
        self._peak = 0
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        """The most that was seen, in bytes."""
        self._is_over.set()
        self._thread.join()
        return self._peak

    def _watch(self) -> None:
        while True:
            self._peak = max(self._peak, anonymous_bytes())
            if self._is_over.wait(_EVERY_S):
                self._peak = max(self._peak, anonymous_bytes())
                return


def anonymous_bytes() -> int:
    """The memory of this process that belongs to no file."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return 1024 * int(line.split()[1])
    message = "/proc/self/status has no RssAnon: memory is measured on Linux only"
    raise RuntimeError(message)


def _read(images: int, folder: Path) -> Callable[[], int]:
    """Find, hash and decode photographs, and render one view of each."""
    for number, file in enumerate(photos(images, PHOTO_PIXELS)):
        path = folder / "photos" / f"class {number % 4}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file)

    def run() -> int:
        items = discover(folder / "photos").items
        pixel_table(items, size=VIEW_PIXELS, views=1, folder=folder / "pixels")
        return _bytes(folder / "pixels")

    return run


def _buy(images: int, folder: Path) -> Callable[[], int]:
    """Record, commit and store purchases of 64; the vendor is a function in the same process."""
    keys = [image_key(number) for number in range(images)]

    def run() -> int:
        with PaidCache.open(folder / "cache") as cache:
            buy(cache, SyntheticVendor(), keys)
        return _bytes(folder / "cache")

    return run


def _plan(images: int, folder: Path) -> Callable[[], int]:
    """Plan as many images again as the cache holds: half are paid, half are to be bought."""
    model = Model.model_validate(
        {
            "id": MODEL,
            "fingerprint": FINGERPRINT,
            "weights_sha256": "",
            "dim": DIM,
            "image_size": VIEW_PIXELS,
            "context_length": 77,
            "preprocess": {},
            "embedded": False,
            "limits": dict.fromkeys(_LIMITS, 64),
        }
    )
    units = {"image": 1, "text": 1}
    prices = Prices.model_validate(
        {"version": "1", "currency": "USD", "units": units, "micro_usd_per_unit": 100}
    )

    def run() -> int:
        requests = [
            EmbeddingRequest(key=image_key(number), payload=bytes, name=f"{number}.jpg")
            for number in range(images // 2, images + images // 2)
        ]
        with CacheReader.open(folder / "cache") as cache:
            plan = make_plan(requests, cache=cache, model=model, prices=prices, budget=2**40)
        if plan.already_paid != images - images // 2:
            message = f"{plan.already_paid} of {images} images were found in the cache"
            raise RuntimeError(message)
        return 0

    return run


def _table(images: int, folder: Path) -> Callable[[], int]:
    """Write the table of all embeddings that training reads."""
    keys = [image_key(number) for number in range(images)]

    def run() -> int:
        with CacheReader.open(folder / "cache") as cache:
            materialise(cache, keys, folder / "table")
        return _bytes(folder / "table")

    return run


def _verify(images: int, folder: Path) -> Callable[[], int]:
    """Check every checksum, receipt and sum."""

    def run() -> int:
        with CacheReader.open(folder / "cache") as cache:
            found = verify(cache)
        if found.problems or found.rows != images:
            message = f"{len(found.problems)} problems, {found.rows} rows of {images}"
            raise RuntimeError(message)
        return 0

    return run


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


STAGES: Final = {"read": _read, "buy": _buy, "plan": _plan, "table": _table, "verify": _verify}
