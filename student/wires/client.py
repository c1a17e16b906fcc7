"""Sells over a wire what the native client sells: a model, prices, and answers with receipts."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import httpx
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, SecretStr

from cache.records.canonical_json import json_sha256
from cache.records.embeddings_digest import embeddings_sha256
from cache.records.receipt import account_name
from student.errors import VendorError, VendorMisbehaved
from student.vendor.request import Batch, ExpectedAnswer, Item, items_that_fit
from student.vendor.response import NORM_TOLERANCE, Answer
from student.vendor.schemas import Account, Amounts, Limits, Model, Prices
from student.vendor.transport import Conventions, OnRetry, Reply, Timing, Transport
from student.wires.items import amounts_of
from student.wires.own_prices import OwnPrices
from student.wires.own_receipt import OwnCharge
from student.wires.protocol import Wire, WireAnswer
from student.wires.refusals import REFUSED, may_ask_again, read_refusal

NO_LIMIT = 10**15
"""The queries that an account may spend whose vendor states no limit."""

_log = logging.getLogger(__name__)


class WireModel(Model):
    """A model behind a wire, of which only what the user names is known; 0 is unknown.

    Its fingerprint is over the wire, the address, the name and the settings that change an
    embedding. It says nothing about the weights: for that there is the canary.
    """

    dim: int = Field(ge=0)
    image_size: int = 0
    context_length: int = 0


@dataclass(slots=True, kw_only=True)
class Pace:
    """Keeps the starts of requests apart, for a vendor that takes only so many a minute."""

    requests_per_minute: int
    sleep: Callable[[float], Any]
    clock: Callable[[], float]
    _next: float = 0.0
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def wait(self) -> None:
        """Return when the next request may start."""
        if not self.requests_per_minute:
            return
        async with self._turn:
            now = self.clock()
            if self._next > now:
                await self.sleep(self._next - now)
            self._next = max(now, self._next) + 60.0 / self.requests_per_minute


class WireClient:
    """A vendor that is bought from over a wire; it knows no purchases by a key.

    Every method raises VendorError or a subclass, which says whether anything was charged. Nothing
    that may have been charged is sent again here.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        key: SecretStr,
        wire: Wire,
        *,
        model: WireModel,
        prices: OwnPrices,
        timing: Timing | None = None,
        requests_per_minute: int = 0,
        proxy: str = "",
    ) -> None:
        self.proxy = proxy
        self._wire = wire
        self._model = model
        self._prices = prices
        timing = timing or Timing()
        self._pace = Pace(
            requests_per_minute=requests_per_minute, sleep=timing.sleep, clock=timing.clock
        )
        self._transport = Transport(
            http,
            key,
            timing,
            Conventions(
                authorise=wire.authorise,
                read_problem=read_refusal,
                may_retry=may_ask_again,
                repeats_in_doubt=False,
                readiness_path="/",
                any_answer_is_ready=True,
            ),
        )
        self._dim = model.dim
        self._is_normalised = False

    def __repr__(self) -> str:
        return f"WireClient({self._wire.name!r}, {self.url!r})"

    @property
    def knows_purchases(self) -> bool:
        """Never: what was sent and not answered stays in doubt."""
        return False

    @property
    def url(self) -> str:
        """The address that requests are posted to."""
        return self._wire.endpoint

    @property
    def patience_seconds(self) -> float:
        """How long a vendor that cannot be reached is tried before the run ends."""
        return self._transport.patience_seconds

    async def turn(self) -> None:
        """Return when the next request may be sent, at the rate that the options state."""
        await self._pace.wait()

    def fit(self, items: Sequence[Item], limits: Limits) -> int:
        """How many of these items one request may carry; at least 1."""
        count = min(self._wire.fit(items), limits.max_items, len(items))
        return items_that_fit(items[: max(1, count)], limits.max_body_bytes)

    def ledger_name(self, account: Account) -> str:
        """The name under which the client's own receipts are kept in the cache."""
        return account_name(self.url, account.id)

    async def ready(self) -> bool:
        """Whether a server answers at the address, whatever it says; nothing is charged."""
        return await self._transport.is_ready()

    async def models(self) -> tuple[Model, ...]:
        """The one model that the options name; nothing is sent."""
        return (self._model,)

    async def prices(self) -> Prices:
        """The user's own figures; nothing is sent."""
        return self._prices

    async def account(self) -> Account:
        """An account without a limit, because the vendor states none; nothing is sent."""
        return Account(
            id=self._wire.name,
            name=self._wire.name,
            budget_units=NO_LIMIT,
            spent_units=0,
            reserved_units=0,
            remaining_units=NO_LIMIT,
            created_ms=0,
        )

    async def token_counts(self, model: Model, texts: Sequence[str]) -> list[int] | None:
        """None: only the vendor can count, and it would charge for that."""
        return None

    async def recover(self, expected: ExpectedAnswer) -> Answer | None:
        """None: the vendor keeps no answers."""
        return None

    async def embed(
        self, batch: Batch, idempotency_key: str, *, on_retry: OnRetry | None = None
    ) -> Answer:
        """Buy the embeddings of a batch.

        Raises BudgetExhausted for 402, VendorError with `charged` None where the request may have
        been charged, and VendorMisbehaved for an answer that fails a check.
        """
        try:
            body = json.dumps(self._wire.body(batch.items), separators=(",", ":")).encode("ascii")
        except ValueError as error:
            detail = f"The request cannot be written: {error}."
            raise VendorError(detail, charged=False, code=REFUSED) from error
        said = amounts_of(batch.items)
        path = httpx.URL(self._wire.endpoint).raw_path.decode("ascii")
        headers = {"Content-Type": "application/json"}
        reply = await self._transport.request("POST", path, body, headers, on_retry=on_retry)
        answer = _parsed(self._wire, reply)
        vectors = self._checked(answer, len(batch.items))
        billed = Amounts(
            images=said.images,
            texts=said.texts,
            tokens=said.tokens if answer.tokens is None else answer.tokens,
            pixels=said.pixels if answer.pixels is None else answer.pixels,
        )
        receipt = OwnCharge(
            wire=self._wire.name,
            idempotency_key=idempotency_key,
            model=batch.model.id,
            model_fingerprint=batch.model.fingerprint,
            images=said.images,
            texts=said.texts,
            cost_micro_usd=batch.prices.cost_of(billed),
            price_version=batch.prices.version,
            embeddings_sha256=embeddings_sha256(vectors),
            usage=answer.usage,
            vendor_request=_request_id(reply),
        ).receipt()
        return Answer(
            vectors=vectors,
            model=batch.model.id,
            model_fingerprint=batch.model.fingerprint,
            receipt=receipt,
            replayed=False,
        )

    def _checked(self, answer: WireAnswer, count: int) -> NDArray[np.float32]:
        """The vectors at unit length, float32 (N, D). Raises VendorMisbehaved."""
        if len(answer.vectors) != count:
            _refuse(f"it has {len(answer.vectors)} embeddings for {count} items")
        try:
            vectors = np.array(answer.vectors, dtype=np.float64)
        except (TypeError, ValueError):
            _refuse("its embeddings are not lists of numbers of one length")
        if vectors.ndim != 2 or vectors.shape[1] == 0 or not np.isfinite(vectors).all():
            _refuse("its embeddings are not lists of finite numbers")
        if self._dim and vectors.shape[1] != self._dim:
            _refuse(f"its embeddings have {vectors.shape[1]} numbers where {self._dim} are due")
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        if (norms == 0).any():
            _refuse("an embedding is zero and has no direction")
        self._dim = vectors.shape[1]
        if np.abs(norms - 1).max() > NORM_TOLERANCE and not self._is_normalised:
            self._is_normalised = True
            _log.warning(
                "the vendor's embeddings are not of unit length (the first is %.4g): they are "
                "normalised before they are stored",
                norms[0, 0],
            )
        unit: NDArray[np.float32] = (vectors / norms).astype(np.float32)
        return unit


def wire_model(wire: Wire, name: str, *, dim: int, revision: str) -> WireModel:
    """The model of this name behind a wire, with the fingerprint that follows from its identity."""
    identity = {
        "wire": wire.name,
        "url": wire.endpoint,
        "model": name,
        "revision": revision,
        **wire.identity,
    }
    return WireModel(
        id=name,
        fingerprint=f"sha256:{json_sha256(identity)}",
        weights_sha256="",
        dim=dim,
        preprocess={},
        configuration={},
        embedded=False,
        limits=wire.limits,
    )


def _parsed(wire: Wire, reply: Reply) -> WireAnswer:
    try:
        document = json.loads(reply.content)
        if not isinstance(document, Mapping):
            _refuse("it is not a JSON object")
        return wire.read(document)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        _refuse(f"it cannot be read ({type(error).__name__}: {str(error)[:80]})")


def _request_id(reply: Reply) -> str:
    for name in ("x-request-id", "request-id", "x-trace-id", "x-litellm-call-id"):
        if found := reply.headers.get(name):
            return str(found)[:200]
    return ""


def _refuse(fact: str) -> NoReturn:
    detail = f"The vendor's answer is invalid: {fact}. None of it was stored."
    raise VendorMisbehaved(detail, charged=True, status=200, code="misbehaved")
