"""Journals as killed runs leave them."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from cache.paid_cache import Intent, PaidCache
from student.purchase.embedding_requests import EmbeddingRequest
from student.purchase.recovery import ABANDONED_AFTER_MS
from student.vendor.request import Batch, purchase_key
from tests.support.purchase_setup import ACCOUNT, Shop, client_of

OLD_MS = ABANDONED_AFTER_MS + 60_000


def leave_intent(
    shop: Shop,
    wanted: list[EmbeddingRequest],
    *,
    age_ms: int = 0,
    run: str = "killed",
    account: str = ACCOUNT,
) -> Intent:
    """Journal a purchase as a run does that is killed before it sends."""
    keys = tuple(one.key for one in wanted)
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
        created_ms=shop.clock.now_ms() - age_ms,
    )
    with PaidCache.open(shop.folder) as cache:
        cache.reserve(intent, budget=10_000)
    return intent


async def charge(shop: Shop, wanted: list[EmbeddingRequest], intent: Intent) -> None:
    """Let the vendor charge for an intent, its answer being lost with the killed run."""
    items = tuple(one.item() for one in wanted)
    batch = Batch(model=shop.model, prices=shop.prices, items=items)
    async with client_of(shop.vendor, shop.clock) as client:
        await client.embed(batch, intent.idempotency_key)


def open_intents(shop: Shop) -> list[Intent]:
    with PaidCache.open(shop.folder) as cache:
        return cache.open_intents()


def drop_rows(shop: Shop, wanted: list[EmbeddingRequest]) -> None:
    """Damage the cache as a broken disk does: these rows are gone, their receipts are not."""
    with closing(sqlite3.connect(shop.folder / "cache.db", isolation_level=None)) as connection:
        (sql,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'paid_is_kept'")
        connection.execute("DROP TRIGGER paid_is_kept")
        for one in wanted:
            connection.execute("DELETE FROM Cache WHERE key = ?", (one.key.digest,))
        connection.execute(*sql)
