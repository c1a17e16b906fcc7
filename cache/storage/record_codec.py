"""The kinds of stored records: their names, and how values are encoded and decoded.

Names and header fields are the cache's format on disk: they never change. Every `decode_` function
raises CorruptRow, with the record's name, for a record that is not what its `encode_` function
wrote.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from enum import StrEnum
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from cache.errors import CorruptRow
from cache.records.canonical_json import canonical_json
from cache.records.embedding_key import EmbeddingKey, keys_json
from cache.records.purchase_records import (
    Intent,
    PaidEmbedding,
    Refusal,
    RunRecord,
    Spend,
    StoredReceipt,
    WriteOff,
)
from cache.records.receipt import Receipt
from cache.storage.row_codec import (
    decode_row,
    encode_row,
    seal,
    seal_json,
    unseal,
    unseal_damaged,
)

Value = TypeVar("Value")

TOTALS: Final = "totals"


class Tag(StrEnum):
    """The kind of a stored record, in diskcache's tag column."""

    ROW = "row"
    AGAIN = "again"
    RECEIPT = "receipt"
    PAID = "paid"
    INTENT = "intent"
    WRITE_OFF = "loss"
    REFUSAL = "refusal"
    RUN = "run"
    TOTALS = "totals"


def again_name(key: EmbeddingKey, request_id: str) -> str:
    """Name of the row that a request bought although another had already bought its key."""
    return f"again/{key.digest.hex()}/{request_id}"


def receipt_name(account: str, request_id: str) -> str:
    """Name of a receipt."""
    return f"receipt/{account}/{request_id}"


def paid_name(idempotency_key: str) -> str:
    """Name of the mark that a purchase is paid."""
    return f"paid/{idempotency_key}"


def intent_name(idempotency_key: str) -> str:
    """Name of an open purchase."""
    return f"intent/{idempotency_key}"


def write_off_name(idempotency_key: str) -> str:
    """Name of a write-off."""
    return f"loss/{idempotency_key}"


def refusal_name(key: EmbeddingKey) -> str:
    """Name of a refused item."""
    return f"refusal/{key.digest.hex()}"


def run_name(run: str) -> str:
    """Name of a recorded run."""
    return f"run/{run}"


def encode_again(row: PaidEmbedding) -> bytes:
    """Encode a row bought again: a record around the row's own record."""
    return seal({"digest": row.key.digest.hex()}, encode_row(row))


def decode_again(name: str, record: bytes) -> PaidEmbedding:
    """Decode a record of `encode_again`."""
    header, payload = unseal(name, record)
    return decode_row(_decode(name, header, lambda h: bytes.fromhex(h["digest"])), payload)


def decode_row_anywhere(name: str, record: bytes) -> PaidEmbedding:
    """Decode a record of `encode_row` that is stored under a wrong name."""
    header, _ = unseal(name, record)
    return decode_row(_decode(name, header, lambda h: EmbeddingKey(**h["key"]).digest), record)


def encode_receipt(stored: StoredReceipt) -> bytes:
    """Encode a receipt with its account and run."""
    return seal({"account": stored.account, "run": stored.run, "receipt": stored.receipt.entry()})


def decode_receipt(name: str, record: bytes) -> StoredReceipt:
    """Decode a record of `encode_receipt`."""
    return _decode(name, unseal(name, record)[0], _stored_receipt)


def decode_damaged_receipt(name: str, record: bytes) -> StoredReceipt:
    """Decode a record of `encode_receipt` without checking its checksum."""
    return _decode(name, unseal_damaged(name, record)[0], _stored_receipt)


def encode_paid(account: str, request_id: str) -> bytes:
    """Encode the mark of a paid purchase: the account and request id of its receipt."""
    return seal({"account": account, "request_id": request_id})


def decode_paid(name: str, record: bytes) -> tuple[str, str]:
    """Decode a record of `encode_paid` to account and request id."""
    return _decode(name, unseal(name, record)[0], lambda h: (h["account"], h["request_id"]))


def encode_intent(intent: Intent) -> bytes:
    """Encode an open purchase."""
    # The keys are nearly all of it, and each knows its canonical JSON.
    before = canonical_json(
        {"created_ms": intent.created_ms, "idempotency_key": intent.idempotency_key}
    )
    after = canonical_json({"run": intent.run, "units": intent.units})
    return seal_json(b'%b,"keys":%b,%b' % (before[:-1], keys_json(intent.keys), after[1:]))


def decode_intent(name: str, record: bytes) -> Intent:
    """Decode a record of `encode_intent`."""
    return _decode(name, unseal(name, record)[0], _intent)


def decode_damaged_intent(name: str, record: bytes) -> Intent:
    """Decode a record of `encode_intent` without checking its checksum."""
    return _decode(name, unseal_damaged(name, record)[0], _intent)


def encode_write_off(write_off: WriteOff) -> bytes:
    """Encode a write-off."""
    return seal(asdict(write_off))


def decode_write_off(name: str, record: bytes) -> WriteOff:
    """Decode a record of `encode_write_off`."""
    return _decode(name, unseal(name, record)[0], _write_off)


def decode_damaged_write_off(name: str, record: bytes) -> WriteOff:
    """Decode a record of `encode_write_off` without checking its checksum."""
    return _decode(name, unseal_damaged(name, record)[0], _write_off)


def encode_refusal(refusal: Refusal) -> bytes:
    """Encode an item that the vendor refuses to embed."""
    return seal(asdict(refusal))


def decode_refusal(name: str, record: bytes) -> Refusal:
    """Decode a record of `encode_refusal`."""
    header, _ = unseal(name, record)
    return _decode(name, header, lambda h: Refusal(**{**h, "key": EmbeddingKey(**h["key"])}))


def encode_run(run: RunRecord) -> bytes:
    """Encode the record of one run of a client."""
    return seal(asdict(run))


def decode_run(name: str, record: bytes) -> RunRecord:
    """Decode a record of `encode_run`."""
    return _decode(name, unseal(name, record)[0], lambda h: RunRecord(**h))


def encode_totals(spend: Spend) -> bytes:
    """Encode the running totals."""
    return seal(
        {
            "receipt_units": spend.receipt_units,
            "in_flight_units": spend.open_units,
            "cost_micro_usd": spend.cost_micro_usd,
            "lost_units": spend.written_off_units,
        }
    )


def decode_totals(record: bytes) -> Spend:
    """Decode a record of `encode_totals`."""
    return _decode(TOTALS, unseal(TOTALS, record)[0], _spend)


def with_receipt(spend: Spend, receipt: Receipt) -> Spend:
    """Return the totals after one more receipt."""
    return replace(
        spend,
        receipt_units=spend.receipt_units + receipt.units,
        cost_micro_usd=spend.cost_micro_usd + receipt.cost_micro_usd,
    )


def with_open_units(spend: Spend, units: int) -> Spend:
    """Return the totals after `units` more queries (fewer, if negative) are open."""
    return replace(spend, open_units=spend.open_units + units)


def with_written_off_units(spend: Spend, units: int) -> Spend:
    """Return the totals after `units` more queries (fewer, if negative) are written off."""
    return replace(spend, written_off_units=spend.written_off_units + units)


def _stored_receipt(header: dict[str, Any]) -> StoredReceipt:
    receipt = Receipt.model_validate(header["receipt"])
    return StoredReceipt(account=header["account"], run=header["run"], receipt=receipt)


def _intent(header: dict[str, Any]) -> Intent:
    keys = tuple(EmbeddingKey(**key) for key in header["keys"])
    return Intent(**{**header, "keys": keys})


def _write_off(header: dict[str, Any]) -> WriteOff:
    keys = tuple(EmbeddingKey(**key) for key in header["keys"])
    return WriteOff(**{**header, "keys": keys})


_TOTALS_FIELDS: Final = {"in_flight_units": "open_units", "lost_units": "written_off_units"}


def _spend(header: dict[str, Any]) -> Spend:
    return Spend(**{_TOTALS_FIELDS.get(name, name): units for name, units in header.items()})


def _decode(name: str, header: dict[str, Any], decode: Callable[[dict[str, Any]], Value]) -> Value:
    try:
        return decode(header)
    except (KeyError, TypeError, ValueError, ValidationError) as error:
        reason = f"its fields cannot be read ({type(error).__name__})"
        raise CorruptRow(name, reason) from error
