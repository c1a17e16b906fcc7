"""Write-off of an open purchase that no run can settle, for example because its key is revoked."""

from __future__ import annotations

from typing import Final

from cache.errors import CacheUnavailable, NotOpen
from cache.paid_cache import PaidCache
from cache.records.purchase_records import Intent

_DETAIL: Final = "written off by hand, without asking the vendor whether it was charged"
_ELLIPSIS: Final = "…"


def write_off(cache: PaidCache, idempotency_key: str) -> Intent:
    """Write off one open purchase: its queries stay spent, its items can be bought again.

    `idempotency_key` may be shortened, as in the summary, if only one open purchase matches.
    Returns the purchase. Raises NotOpen if not exactly one purchase matches and CacheUnavailable if
    its run is running, both with nothing changed.
    """
    intent = _open_intent(cache, idempotency_key.removesuffix(_ELLIPSIS))
    if cache.is_running(intent.run):
        message = (
            f"the run {intent.run} is running and may receive the answer to"
            f" {intent.idempotency_key}: stop it first; nothing was changed"
        )
        raise CacheUnavailable(message)
    # Hold the dead run's lock, so that no other process settles the purchase at the same time.
    with cache.hold_run_lock(intent.run):
        intent = _open_intent(cache, intent.idempotency_key)
        # The account is unknown: an open purchase does not record it.
        cache.write_off(intent, account="", detail=_DETAIL)
    return intent


def _open_intent(cache: PaidCache, prefix: str) -> Intent:
    found = [i for i in cache.open_intents() if i.idempotency_key.startswith(prefix)]
    exact = [intent for intent in found if intent.idempotency_key == prefix]
    if len(exact or found) != 1 or not prefix:
        count = len(found) or "no"
        message = (
            f"{count} open purchases have a key that begins with {prefix!r}: use a key that"
            " cache-report summary lists; nothing was changed"
        )
        raise NotOpen(message)
    return (exact or found)[0]
