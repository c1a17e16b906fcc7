"""Repair of a damaged cache: nothing is deleted, and every record of money is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cache.errors import CacheUnavailable
from cache.integrity.quarantine import Quarantine
from cache.integrity.repair_records import RecordRepair
from cache.integrity.salvage import salvage_database
from cache.integrity.scan import Problem, scan
from cache.integrity.shortages import Shortage, find_shortages
from cache.integrity.verify import Verification, verification_of
from cache.paid_cache import now_ms
from cache.storage.fenced_diskcache import FencedCache
from cache.storage.folder import DATABASE, RECEIPTS, user_path
from cache.storage.reader import CacheReader
from cache.storage.run_locks import exclude_runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """The outcome of a repair.

    `moved` lists the records that were moved to the files in `quarantine`, `restored` those that
    were written again, `copies_written` counts receipts that were added to receipts.jsonl.
    `shortages` lists paid answers with missing rows and what buying those again would cost.
    """

    quarantine: tuple[str, ...]
    moved: tuple[Problem, ...]
    restored: tuple[Problem, ...]
    copies_written: int
    shortages: tuple[Shortage, ...]
    verification: Verification

    @property
    def changed(self) -> bool:
        """Whether the repair changed anything."""
        return bool(self.moved or self.restored or self.copies_written)


def repair(folder: Path, *, patience_s: float = 20.0, clock: Callable[[], int] = now_ms) -> Repair:
    """Move what is corrupt in `folder` to quarantine and restore what receipts.jsonl proves.

    If SQLite calls the database malformed, a new database is made of what can still be read, and
    the old file is moved to quarantine. A second repair finds nothing to do. Raises
    CacheUnavailable, with nothing changed, if `folder` holds no cache or a run is using it.
    """
    folder = user_path(folder)
    if not (folder / DATABASE).is_file() and not (folder / RECEIPTS).is_file():
        message = f"there is no cache in {folder} (no {DATABASE} and no {RECEIPTS})"
        raise CacheUnavailable(message)
    with exclude_runs(folder):
        quarantine = Quarantine(folder=folder, created_ms=clock())
        salvaged = salvage_database(folder, quarantine, patience_s=patience_s)
        with (
            FencedCache(folder, patience_s=patience_s) as store,
            CacheReader.open(folder) as reader,
        ):
            record_repair = RecordRepair(store, reader, quarantine)
            record_repair.run(may_lack_intents=salvaged is not None)
        with CacheReader.open(folder) as reader:
            scan_result = scan(reader)
            verification = verification_of(scan_result, reader)
    moved, files = record_repair.moved, record_repair.quarantine_files
    if salvaged is not None:
        moved, files = [*salvaged.moved, *moved], [*salvaged.quarantine_folders, *files]
    return Repair(
        quarantine=tuple(dict.fromkeys(str(path) for path in files)),
        moved=tuple(moved),
        restored=tuple(record_repair.restored),
        copies_written=record_repair.copies_written,
        shortages=tuple(find_shortages(scan_result)),
        verification=verification,
    )
