"""The errors of this package.

CacheError
├── CacheUnavailable      the cache cannot be locked, read or written
│   ├── UnsafeSettings    its settings would not keep what is stored
│   └── AnswerNotStored   the answer of a charged purchase could not be written
├── CorruptRow            a stored record is not what was written
├── PickleRefused         a value would have to be pickled or unpickled
├── ClientBudgetExceeded  a purchase does not fit the client's own budget
├── AlreadyPaid           the purchase is paid and its receipt is stored
├── AnswerWrittenOff      the purchase is written off
├── IntentConflict        one idempotency key, two different purchases
├── ReceiptConflict       one request id, two different receipts
├── InconsistentAnswer    rows and receipt of one answer do not belong together
├── NotOpen               no open purchase has the given key
├── NotPaid               an embedding is not in the cache
├── NothingToRecord       the cache has no embeddings of one model to record
├── ReportImpossible      a report cannot be made of what it was given
├── TransferFailed        an export cannot be written, or is not what was exported
├── StaleTable            a table on disk is not the requested table
├── AuditImpossible       the vendor's ledger could not be read
└── UnusableVariable      a proxy or certificate variable cannot be used
"""

from __future__ import annotations

from collections.abc import Sequence


class CacheError(Exception):
    """Base class of all errors that this package raises on purpose."""


class CacheUnavailable(CacheError):
    """The cache cannot be locked, read or written. Nothing in it was changed.

    What the vendor has charged by then is an open purchase: the next run fetches its answer again,
    free of charge.
    """


class UnsafeSettings(CacheUnavailable):
    """With the settings of this cache, paid rows could be lost."""


class AnswerNotStored(CacheUnavailable):
    """The disk does not take the answers of charged purchases; the next run fetches them again.

    Unless `can_be_fetched`, the vendor keeps no answers: then it buys them again. `purchases` are
    their idempotency keys with the queries that were charged for each.
    """

    def __init__(
        self, cause: str, purchases: Sequence[tuple[str, int]], *, can_be_fetched: bool = True
    ) -> None:
        if len(purchases) == 1:
            key, units = purchases[0]
            charged = f"The answer to {key} was charged ({units} queries) but is not stored"
            remedy = "it again under the same key"
        else:
            names = ", ".join(f"{key} ({units} queries)" for key, units in purchases)
            charged = f"{len(purchases)} answers were charged but are not stored: {names}"
            remedy = "them again under the same keys"
        end = (
            f"the next run fetches {remedy}, free of charge"
            if can_be_fetched
            else "the vendor keeps no answers, so the next run counts the queries as spent and "
            "buys the items again within the budget"
        )
        super().__init__(f"{cause}. {charged}: {end}")
        self.cause, self.purchases = cause, tuple(purchases)
        self.can_be_fetched = can_be_fetched


class CorruptRow(CacheError):
    """A stored record is not what was written: `name` is the record, `reason` the fault."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(
            f"stored record {name} is corrupt: {reason}. Run cache-report verify --repair (with"
            " --cache DIR): it moves the record to quarantine, and the next run fetches a paid"
            " answer again, free of charge"
        )
        self.name, self.reason = name, reason


class PickleRefused(CacheError):
    """Only bytes are stored and read; nothing is ever pickled or unpickled."""


class ClientBudgetExceeded(CacheError):
    """The client's own budget does not cover this purchase. Nothing was sent."""

    def __init__(self, *, needed: int, remaining: int) -> None:
        super().__init__(
            f"this purchase needs {needed} queries and the client's budget has {remaining} left;"
            " nothing was sent"
        )
        self.needed, self.remaining = needed, remaining


class AlreadyPaid(CacheError):
    """The purchase of this idempotency key is paid and its answer is in the cache."""

    def __init__(self, *, idempotency_key: str, request_id: str) -> None:
        super().__init__(
            f"the purchase {idempotency_key} was already paid by request {request_id};"
            " read its rows from the cache"
        )
        self.idempotency_key, self.request_id = idempotency_key, request_id


class AnswerWrittenOff(CacheError):
    """The purchase of this idempotency key is written off. Buy its items under a new key."""

    def __init__(self, *, idempotency_key: str, detail: str) -> None:
        super().__init__(
            f"the purchase {idempotency_key} is written off ({detail});"
            " buy its items again under a new key"
        )
        self.idempotency_key, self.detail = idempotency_key, detail


class IntentConflict(CacheError):
    """One idempotency key is used for two different purchases."""


class ReceiptConflict(CacheError):
    """A different receipt is stored under this request id; receipts never change."""


class InconsistentAnswer(CacheError):
    """Rows and receipt do not belong together. Nothing was stored; the purchase stays open."""


class NotOpen(CacheError):
    """No open purchase has this key, or several have. Nothing was changed."""


class NotPaid(CacheError):
    """Some embeddings are not in the cache; `digests` are the digests of their keys."""

    def __init__(self, digests: Sequence[bytes]) -> None:
        super().__init__(
            f"{len(digests)} of the requested embeddings are not in the cache;"
            f" the first is {digests[0].hex()}"
        )
        self.digests = tuple(digests)


class NothingToRecord(CacheError):
    """The cache has no embeddings, or those of several models, so nothing was recorded."""


class ReportImpossible(CacheError):
    """A report cannot be made of the files, folders or options that it was given."""


class TransferFailed(CacheError):
    """An export of a whole cache cannot be written or read, or is not what was exported."""


class StaleTable(CacheError):
    """The table on disk is not the requested table; building it again costs nothing."""


class AuditImpossible(CacheError):
    """The vendor's ledger could not be read, so the audit has no result."""


class UnusableVariable(CacheError):
    """A variable about proxies or certificates cannot be used. Nothing was sent."""
