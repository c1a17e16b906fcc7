"""What a wire is, and what the purchase asks of any vendor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from student.vendor.request import Batch, ExpectedAnswer, Item
from student.vendor.response import Answer
from student.vendor.schemas import Account, Limits, Model, Prices
from student.vendor.transport import OnRetry


class WireLimits(Limits):
    """The limits of a vendor that is bought from over a wire."""

    converts_formats: ClassVar[bool] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class WireAnswer:
    """An answer as a vendor sends it: a vector for each item, and what it says of its work.

    `usage` is in the vendor's own words. `tokens` and `pixels` are those of it that are billed,
    None where the vendor does not say.
    """

    vectors: Sequence[Sequence[float]]
    usage: Mapping[str, Any] = field(default_factory=dict)
    model: str = ""
    tokens: int | None = None
    pixels: int | None = None


class Wire(Protocol):
    """How one kind of vendor is spoken to; it sends nothing itself.

    `endpoint` is the whole URL that requests are posted to. `identity` are the settings that change
    an embedding: they are part of the model's fingerprint.
    """

    @property
    def name(self) -> str: ...

    @property
    def endpoint(self) -> str: ...

    @property
    def limits(self) -> WireLimits: ...

    @property
    def identity(self) -> Mapping[str, object]: ...

    def authorise(self, secret: str) -> dict[str, str]:
        """The headers that carry the key."""
        ...

    def fit(self, items: Sequence[Item]) -> int:
        """How many of these items one request may carry, from the first on; at least 1."""
        ...

    def body(self, items: Sequence[Item]) -> dict[str, Any]:
        """The JSON body for these items, which fit into one request."""
        ...

    def read(self, document: Mapping[str, Any]) -> WireAnswer:
        """The answer in a JSON document. Raises KeyError, TypeError or ValueError."""
        ...


class Vendor(Protocol):
    """A vendor as the purchase sees it, natively or over a wire.

    `knows_purchases`: whether it can be asked what became of a purchase. If not, what was sent and
    never answered stays in doubt.
    """

    proxy: str

    @property
    def knows_purchases(self) -> bool: ...

    @property
    def url(self) -> str: ...

    @property
    def patience_seconds(self) -> float: ...

    def fit(self, items: Sequence[Item], limits: Limits) -> int: ...

    async def turn(self) -> None:
        """Return when the next request may be sent."""
        ...

    def ledger_name(self, account: Account) -> str: ...

    async def ready(self) -> bool: ...

    async def models(self) -> tuple[Model, ...]: ...

    async def prices(self) -> Prices: ...

    async def account(self) -> Account: ...

    async def token_counts(self, model: Model, texts: Sequence[str]) -> list[int] | None: ...

    async def embed(
        self, batch: Batch, idempotency_key: str, *, on_retry: OnRetry | None = None
    ) -> Answer: ...

    async def recover(self, expected: ExpectedAnswer) -> Answer | None: ...
