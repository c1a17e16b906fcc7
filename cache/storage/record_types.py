"""The names and forms under which receipts, intents, refusals, runs and totals are stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from enum import StrEnum
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from cache.errors import CorruptRow
from cache.records.embedding_key import EmbeddingKey
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
from cache.storage.codec import decode_row, encode_row, read_damaged, seal, unseal

Value = TypeVar("Value")

TOTALS: Final = "totals"


class Tag(StrEnum):
    """The kind of a stored record, kept in diskcache's tag column."""

    ROW = "row"
    AGAIN = "again"
    RECEIPT = "receipt"
    PAID = "paid"
    INTENT = "intent"
    LOSS = "loss"
    REFUSAL = "refusal"
    RUN = "run"
    TOTALS = "totals"


def again_name(row: PaidEmbedding) -> str:
    """Where a row is kept whose key another request had already bought."""
    return f"again/{row.key.digest.hex()}/{row.request_id}"


def receipt_name(account: str, request_id: str) -> str:
    """Where a receipt is kept."""
    return f"receipt/{account}/{request_id}"


def paid_name(idempotency_key: str) -> str:
    """Where it is kept that a purchase is finished."""
    return f"paid/{idempotency_key}"


def intent_name(idempotency_key: str) -> str:
    """Where an intent is kept while it is open."""
    return f"intent/{idempotency_key}"


def loss_name(idempotency_key: str) -> str:
    """Where it is kept that the answer to a purchase is lost."""
    return f"loss/{idempotency_key}"


def refusal_name(key: EmbeddingKey) -> str:
    """Where it is kept that an item is refused."""
    return f"refusal/{key.digest.hex()}"


def run_name(run: str) -> str:
    """Where a run is kept."""
    return f"run/{run}"


def write_again(row: PaidEmbedding) -> bytes:
    """A row bought again, as a record around the row's own record."""
    return seal({"digest": row.key.digest.hex()}, encode_row(row))


def read_again(name: str, record: bytes) -> PaidEmbedding:
    """The row in a record of `write_again`."""
    header, payload = unseal(name, record)
    return decode_row(_read(name, header, lambda h: bytes.fromhex(h["digest"])), payload)


def read_row_anywhere(name: str, record: bytes) -> PaidEmbedding:
    """The row in a whole record of `encode_row`, wherever it is filed."""
    header, _ = unseal(name, record)
    return decode_row(_read(name, header, lambda h: EmbeddingKey(**h["key"]).digest), record)


def write_receipt(stored: StoredReceipt) -> bytes:
    """A receipt with its account and run."""
    return seal({"account": stored.account, "run": stored.run, "receipt": stored.receipt.entry()})


def read_receipt(name: str, record: bytes) -> StoredReceipt:
    """The receipt in a record of `write_receipt`."""
    return _read(name, unseal(name, record)[0], _stored_receipt)


def read_damaged_receipt(name: str, record: bytes) -> StoredReceipt:
    """As `read_receipt` for a record whose checksum is wrong; CorruptRow when nothing is left."""
    return _read(name, read_damaged(name, record)[0], _stored_receipt)


def write_paid(account: str, request_id: str) -> bytes:
    """Which receipt a finished purchase has."""
    return seal({"account": account, "request_id": request_id})


def read_paid(name: str, record: bytes) -> tuple[str, str]:
    """The account and request id in a record of `write_paid`."""
    return _read(name, unseal(name, record)[0], lambda h: (h["account"], h["request_id"]))


def write_intent(intent: Intent) -> bytes:
    """An open purchase."""
    return seal(asdict(intent))


def read_intent(name: str, record: bytes) -> Intent:
    """The intent in a record of `write_intent`."""
    return _read(name, unseal(name, record)[0], _intent)


def read_damaged_intent(name: str, record: bytes) -> Intent:
    """As `read_intent` for a record whose checksum is wrong; CorruptRow when nothing is left."""
    return _read(name, read_damaged(name, record)[0], _intent)


def write_loss(loss: WriteOff) -> bytes:
    """A purchase whose answer is lost."""
    return seal(asdict(loss))


def read_loss(name: str, record: bytes) -> WriteOff:
    """The loss in a record of `write_loss`."""
    return _read(name, unseal(name, record)[0], _loss)


def read_damaged_loss(name: str, record: bytes) -> WriteOff:
    """As `read_loss` for a record whose checksum is wrong; CorruptRow when nothing is left."""
    return _read(name, read_damaged(name, record)[0], _loss)


def write_refusal(refusal: Refusal) -> bytes:
    """An item that the vendor will not embed."""
    return seal(asdict(refusal))


def read_refusal(name: str, record: bytes) -> Refusal:
    """The refusal in a record of `write_refusal`."""
    header, _ = unseal(name, record)
    return _read(name, header, lambda h: Refusal(**{**h, "key": EmbeddingKey(**h["key"])}))


def write_run(run: RunRecord) -> bytes:
    """One run of a client."""
    return seal(asdict(run))


def read_run(name: str, record: bytes) -> RunRecord:
    """The run in a record of `write_run`."""
    return _read(name, unseal(name, record)[0], lambda h: RunRecord(**h))


def write_totals(spend: Spend) -> bytes:
    """The running totals."""
    return seal(asdict(spend))


def read_totals(record: bytes) -> Spend:
    """The totals in a record of `write_totals`."""
    return _read(TOTALS, unseal(TOTALS, record)[0], lambda h: Spend(**h))


def with_receipt(spend: Spend, receipt: Receipt) -> Spend:
    """The totals after one more receipt."""
    return replace(
        spend,
        receipt_units=spend.receipt_units + receipt.units,
        cost_micro_usd=spend.cost_micro_usd + receipt.cost_micro_usd,
    )


def with_in_flight(spend: Spend, units: int) -> Spend:
    """The totals after `units` more (or, negative, fewer) queries are in flight."""
    return replace(spend, in_flight_units=spend.in_flight_units + units)


def with_lost(spend: Spend, units: int) -> Spend:
    """The totals after `units` more (or, negative, fewer) queries are lost."""
    return replace(spend, lost_units=spend.lost_units + units)


def _stored_receipt(header: dict[str, Any]) -> StoredReceipt:
    receipt = Receipt.model_validate(header["receipt"])
    return StoredReceipt(account=header["account"], run=header["run"], receipt=receipt)


def _intent(header: dict[str, Any]) -> Intent:
    keys = tuple(EmbeddingKey(**key) for key in header["keys"])
    return Intent(**{**header, "keys": keys})


def _loss(header: dict[str, Any]) -> WriteOff:
    keys = tuple(EmbeddingKey(**key) for key in header["keys"])
    return WriteOff(**{**header, "keys": keys})


def _read(name: str, header: dict[str, Any], read: Callable[[dict[str, Any]], Value]) -> Value:
    try:
        return read(header)
    except (KeyError, TypeError, ValueError, ValidationError) as error:
        reason = f"its fields cannot be read ({type(error).__name__})"
        raise CorruptRow(name, reason) from error
