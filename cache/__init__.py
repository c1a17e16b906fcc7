"""A cache of paid embeddings on disk, with receipts, and reports that prove what was spent.

The names in `__all__` are the public Python API. Open a cache with `PaidCache.open` to buy into it
or with `CacheReader.open` to read it; `materialise` makes a matrix of its embeddings; `verify`,
`repair` and `audit_cache` check it. Each name is imported when it is first used, so that
`import cache` stays quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from cache.audit.audit import Audit, audit_cache
    from cache.audit.ledger_client import VendorLedger
    from cache.embedding_table import EmbeddingTable, materialise, open_table
    from cache.errors import CacheError
    from cache.integrity.repair import Repair, repair
    from cache.integrity.verify import Verification, verify
    from cache.maintenance.merge import Merged, merge
    from cache.maintenance.write_off import write_off
    from cache.paid_cache import PaidCache
    from cache.records.embedding_key import EmbeddingKey, image_item, text_item
    from cache.records.purchase_records import (
        Intent,
        MissingRows,
        PaidEmbedding,
        Purchase,
        Refusal,
        RunRecord,
        Spend,
        StoredReceipt,
        WriteOff,
    )
    from cache.records.receipt import Receipt, account_name
    from cache.reports.markdown import markdown_report
    from cache.reports.spend import spend_by_day, spend_summary
    from cache.storage.missing_rows import find_missing_rows
    from cache.storage.reader import CacheReader

__all__ = [
    "Audit",
    "CacheError",
    "CacheReader",
    "EmbeddingKey",
    "EmbeddingTable",
    "Intent",
    "Merged",
    "MissingRows",
    "PaidCache",
    "PaidEmbedding",
    "Purchase",
    "Receipt",
    "Refusal",
    "Repair",
    "RunRecord",
    "Spend",
    "StoredReceipt",
    "VendorLedger",
    "Verification",
    "WriteOff",
    "account_name",
    "audit_cache",
    "find_missing_rows",
    "image_item",
    "markdown_report",
    "materialise",
    "merge",
    "open_table",
    "repair",
    "spend_by_day",
    "spend_summary",
    "text_item",
    "verify",
    "write_off",
]

_NAMES_BY_MODULE: Final = {
    "cache.audit.audit": ("Audit", "audit_cache"),
    "cache.audit.ledger_client": ("VendorLedger",),
    "cache.embedding_table": ("EmbeddingTable", "materialise", "open_table"),
    "cache.errors": ("CacheError",),
    "cache.integrity.repair": ("Repair", "repair"),
    "cache.integrity.verify": ("Verification", "verify"),
    "cache.maintenance.merge": ("Merged", "merge"),
    "cache.maintenance.write_off": ("write_off",),
    "cache.paid_cache": ("PaidCache",),
    "cache.records.embedding_key": ("EmbeddingKey", "image_item", "text_item"),
    "cache.records.purchase_records": (
        "Intent",
        "MissingRows",
        "PaidEmbedding",
        "Purchase",
        "Refusal",
        "RunRecord",
        "Spend",
        "StoredReceipt",
        "WriteOff",
    ),
    "cache.records.receipt": ("Receipt", "account_name"),
    "cache.reports.markdown": ("markdown_report",),
    "cache.reports.spend": ("spend_by_day", "spend_summary"),
    "cache.storage.missing_rows": ("find_missing_rows",),
    "cache.storage.reader": ("CacheReader",),
}
_MODULES: Final = {name: module for module, names in _NAMES_BY_MODULE.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a public name from its module when it is first used."""
    if name not in _MODULES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
