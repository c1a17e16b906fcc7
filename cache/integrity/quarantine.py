"""The quarantine folder: repair moves what it removes from a cache here and deletes nothing."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from cache.storage.atomic_file import open_owner_only, sync_folder
from cache.storage.database import StoredRecord
from cache.storage.receipts_file import DamagedLine

QUARANTINE: Final = "quarantine"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantine:
    """The quarantine files of one repair, named after its time; created when first needed."""

    folder: Path
    created_ms: int

    @property
    def stamp(self) -> str:
        """The time of the repair (UTC), as part of a file name."""
        seconds, rest = divmod(self.created_ms, 1000)
        return f"{datetime.fromtimestamp(seconds, UTC):%Y%m%dT%H%M%S}.{rest:03d}Z"

    def keep_records(self, corrupt: list[tuple[StoredRecord, str]]) -> Path:
        """Write each record, its bytes in base64, with the reason; durable when it returns."""
        return self._keep([_record(record, reason) for record, reason in corrupt])

    def keep_lines(self, damaged: tuple[DamagedLine, ...]) -> Path:
        """Write each damaged line of receipts.jsonl; durable when it returns."""
        return self._keep(
            [
                {
                    "name": f"receipts.jsonl line {line.number}",
                    "reason": line.reason,
                    "value_base64": _base64(line.content),
                }
                for line in damaged
            ]
        )

    def keep_database(self, names: list[str]) -> Path:
        """Move these files of the cache into a folder of their own."""
        target = self._root() / self.stamp
        target.mkdir(mode=0o700, exist_ok=True)
        for name in names:
            if (self.folder / name).exists():
                (self.folder / name).replace(target / name)
        for folder in (target, target.parent, self.folder):
            sync_folder(folder)
        return target

    def _keep(self, entries: list[dict[str, Any]]) -> Path:
        path = self._root() / f"{self.stamp}.jsonl"
        lines = [json.dumps(entry, sort_keys=True) + "\n" for entry in entries]
        with open_owner_only(path, "ab") as file:
            file.writelines(line.encode("ascii") for line in lines)
            file.flush()
            os.fsync(file.fileno())
        sync_folder(path.parent)
        return path

    def _root(self) -> Path:
        root = self.folder / QUARANTINE
        root.mkdir(mode=0o700, exist_ok=True)
        return root


def _record(record: StoredRecord, reason: str) -> dict[str, Any]:
    entry = {"name": record.name, "reason": reason, "raw": record.raw, "mode": record.mode}
    for column in ("key", "tag", "filename", "value"):
        value = getattr(record, column)
        is_bytes = isinstance(value, bytes)
        entry[f"{column}_base64" if is_bytes else column] = _base64(value) if is_bytes else value
    return entry


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
