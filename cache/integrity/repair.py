"""Putting a damaged cache right: nothing is thrown away, and no money record is lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cache.errors import CacheUnavailable
from cache.integrity.quarantine import Quarantine
from cache.integrity.repair_records import RecordRepair
from cache.integrity.salvage import rebuild
from cache.integrity.scan import Problem, scan
from cache.integrity.shortages import Shortage, shortages
from cache.integrity.verify import Verification, verification_of
from cache.paid_cache import now_ms
from cache.storage.fenced_diskcache import FencedCache
from cache.storage.folder import DATABASE, RECEIPTS
from cache.storage.reader import CacheReader
from cache.storage.run_locks import nobody_alive


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """What a repair did, a record and a sentence each, and how the cache is now.

    `moved` lie in `quarantine`; `restored` were written anew; `shortages` are the answers that are
    paid and not there, with what having them again costs.
    """

    quarantine: tuple[str, ...]
    moved: tuple[Problem, ...]
    restored: tuple[Problem, ...]
    copies_written: int
    shortages: tuple[Shortage, ...]
    verification: Verification

    @property
    def changed(self) -> bool:
        """Whether anything was wrong that this repair could change."""
        return bool(self.moved or self.restored or self.copies_written)


def repair(folder: Path, *, patience_s: float = 20.0, clock: Callable[[], int] = now_ms) -> Repair:
    """Move what is corrupt in `folder` aside and write anew what receipts.jsonl and sums tell.

    A database that SQLite calls malformed is moved aside whole, after a new one has been made of
    what can still be read. Doing it again finds nothing to do. Raises CacheUnavailable, with
    nothing changed, when no cache is there or a run is alive on it.
    """
    if not (folder / DATABASE).is_file() and not (folder / RECEIPTS).is_file():
        message = f"there is no cache in {folder} (no {DATABASE} and no {RECEIPTS})"
        raise CacheUnavailable(message)
    with nobody_alive(folder):
        aside = Quarantine(folder=folder, created_ms=clock())
        rebuilt = rebuild(folder, aside, patience_s=patience_s)
        with (
            FencedCache(folder, patience_s=patience_s) as store,
            CacheReader.open(folder) as records,
        ):
            mending = RecordRepair(store, records, aside)
            mending.mend(may_lack_intents=rebuilt is not None)
        with CacheReader.open(folder) as records:
            findings = scan(records)
            verification = verification_of(findings, records)
    moved, places = mending.moved, mending.places
    if rebuilt is not None:
        moved, places = [*rebuilt.moved, *moved], [*rebuilt.places, *places]
    return Repair(
        quarantine=tuple(dict.fromkeys(str(place) for place in places)),
        moved=tuple(moved),
        restored=tuple(mending.restored),
        copies_written=mending.copies_written,
        shortages=tuple(shortages(findings)),
        verification=verification,
    )
