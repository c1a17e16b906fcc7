"""Whether a cache can be taken as a whole, to merge or to export it."""

from __future__ import annotations

from cache.errors import CacheUnavailable
from cache.storage.folder import RECEIPTS
from cache.storage.reader import CacheReader
from cache.storage.run_locks import active_runs
from cache.storage.unstored_receipts import find_unstored_receipts


def require_whole(cache: CacheReader) -> None:
    """Raises CacheUnavailable if a run uses the cache, or its database lacks receipts."""
    if runs := active_runs(cache.folder):
        message = f"the cache in {cache.folder} is in use by {', '.join(runs)}: stop it first"
        raise CacheUnavailable(message)
    if unstored := find_unstored_receipts(cache):
        message = (
            f"{cache.folder} has {len(unstored)} receipts in {RECEIPTS} that its database does"
            " not have: run cache-report verify --repair on it"
        )
        raise CacheUnavailable(message)
