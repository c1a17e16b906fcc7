"""The JSON values of the spend reports.

The keys of these dictionaries are the output of `cache-report summary --json` and `by-day --json`.
Scripts read them, so they never change.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict


class Totals(TypedDict):
    """Receipts added up: `units` are queries, times are ISO 8601 in UTC."""

    receipts: int
    images: int
    texts: int
    units: int
    cost_micro_usd: int
    cost_usd: str
    first_purchase: str | None
    last_purchase: str | None


class ModelSpend(Totals):
    """The purchases of one model."""

    model: str
    model_fingerprint: str


class AccountSpend(Totals):
    """The purchases of one account (a vendor's address and a key id)."""

    account: str


class DaySpend(Totals):
    """The purchases of one day (UTC)."""

    day: str


class RunSpend(Totals):
    """The purchases of one run. The other fields are None if the run did not record itself."""

    run: str
    started: str | None
    command: str | None
    model: str | None
    planned: int | None
    already_paid: int | None
    saved_micro_usd: int


class OpenPurchase(TypedDict):
    """A purchase whose outcome is not known yet."""

    idempotency_key: str
    run: str
    items: int
    units: int
    created: str | None


class RefusedItem(TypedDict):
    """An item that the vendor refuses to embed."""

    item: str
    modality: str
    view: str
    code: str
    detail: str
    created: str | None


class WrittenOff(TypedDict):
    """A purchase that was written off."""

    idempotency_key: str
    run: str
    items: int
    units: int
    detail: str
    created: str | None


class VendorUsage(TypedDict):
    """What the client counted of a model behind a wire, and what its vendor said, by its names."""

    model: str
    wire: str
    receipts: int
    images: int
    texts: int
    cost_micro_usd: int
    usage: dict[str, int | float]


class SpendSummary(TypedDict):
    """Everything about the spend; `lost` lists the write-offs, `bought_twice` counts embeddings.

    `in_doubt_units` are those of `lost_units` that a vendor which knows no purchases never
    answered: what was bought again of them may have been paid twice. `vendor_usage` is what such
    vendors said of their work, added up. Both are left out of a cache that has no such purchases.
    """

    total: Totals
    in_flight_units: int
    lost_units: int
    receipts_digest: str
    models: list[ModelSpend]
    accounts: list[AccountSpend]
    runs: list[RunSpend]
    open_intents: list[OpenPurchase]
    refused: list[RefusedItem]
    lost: list[WrittenOff]
    bought_twice: int
    in_doubt_units: NotRequired[int]
    vendor_usage: NotRequired[list[VendorUsage]]
