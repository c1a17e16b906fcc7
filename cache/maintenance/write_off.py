"""Giving up a purchase that no run will ever settle: the key that it was made with is gone."""

from __future__ import annotations

from typing import Final

from cache.errors import CacheUnavailable, NotOpen
from cache.paid_cache import PaidCache
from cache.records.purchase_records import Intent

_DETAIL: Final = "given up by hand, without asking the vendor whether it was charged"
_CUT: Final = "…"


def write_off(cache: PaidCache, idempotency_key: str) -> Intent:
    """Make a loss of one open purchase: its units stay spent, its items can be bought again.

    The beginning of its key will do, as summary shows it, when no other open purchase has it.
    Raises NotOpen when there is not one such purchase and CacheUnavailable when its run is alive,
    both with nothing changed.
    """
    intent = _open_intent(cache, idempotency_key.removesuffix(_CUT))
    if cache.is_alive(intent.run):
        message = f"the run {intent.run} is alive and waits for {intent.idempotency_key}: stop it"
        raise CacheUnavailable(message)
    # Whoever settles the purchase of a dead run stands in for it: as long as we do, nobody else.
    with cache.alive(intent.run):
        intent = _open_intent(cache, intent.idempotency_key)
        # No account: an intent does not say whose it is.
        cache.lose(intent, account="", detail=_DETAIL)
    return intent


def _open_intent(cache: PaidCache, beginning: str) -> Intent:
    found = [one for one in cache.open_intents() if one.idempotency_key.startswith(beginning)]
    exact = [one for one in found if one.idempotency_key == beginning]
    if len(exact or found) != 1 or not beginning:
        message = (
            f"{len(found) or 'no'} open purchases have a key that begins with {beginning!r}:"
            " cache-report summary lists them"
        )
        raise NotOpen(message)
    return (exact or found)[0]
