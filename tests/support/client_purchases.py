"""A run's purchase from a vendor in memory, for tests of what it buys and records."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx

from cache.paid_cache import PaidCache
from student.console import quiet
from student.data.image_set import ImageSet, load_image_set
from student.options import Options
from student.purchase.requirements import EmbeddingRequirements
from student.purchase.rounds import PurchaseResult, run_purchase
from tests.support.purchase_setup import client_of

TEXTS = 2
IMAGES = 3 * 2 * 4  # three domains, two classes, four of five pictures


def run_options(pets: Path, **more: object) -> Options:
    """Options as a user would give them, for images of 16 pixels."""
    folder = pets.parent
    values: dict[str, object] = {
        "data": pets,
        "cache": folder / "cache",
        "out": folder / "out",
        "target_domain": ["d3"],
        "backbone": "test_efficientnet",
        "weights": "none",
        "image_size": 16,
        "batch_size": 4,
        "threads": 1,
        "device": "cpu",
    }
    return Options.of({**values, **more})


async def bought(
    options: Options, vendor: Callable[[httpx.Request], httpx.Response]
) -> tuple[PurchaseResult, list[int]]:
    """Buy; return the purchase and the rows of all images that are then paid for."""
    scanned = load_image_set(options.data, options.run, quiet())
    with PaidCache.open(options.purchase.cache) as cache:
        async with client_of(vendor) as client:
            settled = await run_purchase(client, options, scanned, cache, quiet(), "distill-client")
        assert isinstance(settled, PurchaseResult)
        return settled, paid_rows(options, scanned, cache, settled)


def paid_rows(
    options: Options, scanned: ImageSet, cache: PaidCache, settled: PurchaseResult
) -> list[int]:
    requirements = EmbeddingRequirements(
        options.data, options.purchase.prompts, scanned, settled.plan.model
    )
    return [
        row
        for row in range(len(scanned.training))
        if not cache.missing([request.key for request in requirements.wanted([row])])
    ]
