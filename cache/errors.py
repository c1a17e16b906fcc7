"""What can go wrong with paid answers.

CacheError
├── CacheUnavailable      the store cannot be locked, read or written
│   └── UnsafeSettings    the store is not set up to keep what it is given
├── CorruptRow            a stored record is not what was written
├── PickleRefused         somebody tried to put a pickle in, or planted one
├── ClientBudgetExceeded  a reservation would pass the client's own budget
├── AlreadyPaid           a reservation for a purchase whose receipt is already stored
├── AnswerLost            a reservation for a purchase whose answer is on record as lost
├── IntentConflict        one idempotency key, two different purchases
├── ReceiptConflict       one request id, two different receipts
├── InconsistentAnswer    rows and receipt of one answer do not belong together
├── NotOpen               no open purchase has the key that was named
├── NotPaid               a key that was never bought was asked for
├── StaleTable            a table on disk is not the one that was asked for
└── AuditImpossible       the vendor's ledger could not be read
"""

from __future__ import annotations

from collections.abc import Sequence


class CacheError(Exception):
    """Root of everything that this package raises on purpose."""


class CacheUnavailable(CacheError):
    """The store cannot be locked, read or written; nothing in it was changed.

    What the vendor has charged by then is an open purchase: the next run gets it again, free.
    """


class UnsafeSettings(CacheUnavailable):
    """The store's settings would let paid rows be lost."""


class CorruptRow(CacheError):
    """A stored record is not what was written; it names the record and what is wrong."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"stored record {name} is corrupt: {reason}")
        self.name, self.reason = name, reason


class PickleRefused(CacheError):
    """Only bytes are stored and only bytes are read; nothing here is ever unpickled."""


class ClientBudgetExceeded(CacheError):
    """The client's own budget does not cover this purchase; nothing was sent."""

    def __init__(self, *, needed: int, remaining: int) -> None:
        super().__init__(
            f"this purchase needs {needed} queries and the client's budget has {remaining} left;"
            " nothing was sent"
        )
        self.needed, self.remaining = needed, remaining


class AlreadyPaid(CacheError):
    """The purchase under this idempotency key is finished and its answer is in the cache."""

    def __init__(self, *, idempotency_key: str, request_id: str) -> None:
        super().__init__(
            f"the purchase {idempotency_key} was already paid by request {request_id};"
            " read its rows from the cache"
        )
        self.idempotency_key, self.request_id = idempotency_key, request_id


class AnswerWrittenOff(CacheError):
    """The purchase under this key was charged and its answer is gone; buy under a new key."""

    def __init__(self, *, idempotency_key: str, detail: str) -> None:
        super().__init__(
            f"the answer to the purchase {idempotency_key} is on record as lost ({detail});"
            " buy its items again under another key"
        )
        self.idempotency_key, self.detail = idempotency_key, detail


class IntentConflict(CacheError):
    """One idempotency key names two different purchases."""


class ReceiptConflict(CacheError):
    """A receipt is stored under this request id and it is not this one; receipts never change."""


class InconsistentAnswer(CacheError):
    """Rows and receipt do not belong together; nothing was stored and the intent stays open."""


class NotOpen(CacheError):
    """There is no open purchase of that key, or there are several; nothing was changed."""


class NotPaid(CacheError):
    """Some keys were never bought."""

    def __init__(self, digests: Sequence[bytes]) -> None:
        super().__init__(
            f"{len(digests)} of the embeddings asked for are not in the cache,"
            f" the first is {digests[0].hex()}"
        )
        self.digests = tuple(digests)


class StaleTable(CacheError):
    """The table on disk is not the one that was asked for; build it again, which costs nothing."""


class AuditImpossible(CacheError):
    """The vendor's ledger could not be read, so nothing can be said about the balance."""
