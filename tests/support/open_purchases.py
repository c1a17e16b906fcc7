"""Open purchases as killed runs leave them."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from cache.paid_cache import Intent, PaidCache
from student.purchase.embedding_requests import EmbeddingRequest
from student.purchase.recovery import ABANDONED_AFTER_MS
from student.vendor.request import Batch, purchase_key
from tests.support.purchase_setup import ACCOUNT, PurchaseSetup, client_of

OLD_MS = ABANDONED_AFTER_MS + 60_000


def leave_open_purchase(
    setup: PurchaseSetup,
    wanted: list[EmbeddingRequest],
    *,
    age_ms: int = 0,
    run: str = "killed",
    account: str = ACCOUNT,
) -> Intent:
    """Record an open purchase, as a run that is killed before sending leaves it."""
    keys = tuple(request.key for request in wanted)
    intent = Intent(
        idempotency_key=purchase_key(
            account=account,
            model_fingerprint=keys[0].model_fingerprint,
            digests=[key.digest for key in keys],
            epoch=run,
        ),
        keys=keys,
        units=len(keys),
        run=run,
        created_ms=setup.clock.now_ms() - age_ms,
    )
    with PaidCache.open(setup.folder) as cache:
        cache.reserve(intent, budget=10_000)
    return intent


async def charge(setup: PurchaseSetup, wanted: list[EmbeddingRequest], intent: Intent) -> None:
    """Let the vendor charge for an open purchase whose answer the killed run never stored."""
    items = tuple(request.item() for request in wanted)
    batch = Batch(model=setup.model, prices=setup.prices, items=items)
    async with client_of(setup.vendor, setup.clock) as client:
        await client.embed(batch, intent.idempotency_key)


def open_intents(setup: PurchaseSetup) -> list[Intent]:
    with PaidCache.open(setup.folder) as cache:
        return cache.open_intents()


def drop_rows(setup: PurchaseSetup, wanted: list[EmbeddingRequest]) -> None:
    """Delete these rows and keep their receipts, as a broken disk might."""
    with closing(sqlite3.connect(setup.folder / "cache.db", isolation_level=None)) as connection:
        (sql,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'paid_is_kept'")
        connection.execute("DROP TRIGGER paid_is_kept")
        for request in wanted:
            connection.execute("DELETE FROM Cache WHERE key = ?", (request.key.digest,))
        connection.execute(*sql)
